"""Every .nix file of the project is Nix, and written in its one style where that shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nix.conftest import ROOT, Nix

FOLDERS = ("nix", "iso", "tests", "scripts", "bench")
FILES = sorted(
    [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.nix")]
    + list(ROOT.glob("*.nix"))
)


def test_files_are_found() -> None:
    assert len(FILES) > 20


def test_every_file_parses(nix: Nix) -> None:
    result = nix.parse(*FILES)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_as_the_formatter_leaves_them(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for number, line in enumerate(text.splitlines(), start=1):
        assert line == line.rstrip(), f"{path}:{number}: white space at the end"
        assert "\t" not in line, f"{path}:{number}: a tab"


def test_the_guide_to_the_modules_names_each_of_them() -> None:
    guide = (ROOT / "docs" / "modules.md").read_text(encoding="utf-8")
    for path in (ROOT / "nix" / "modules").glob("*.nix"):
        assert f"| `{path.stem}`" in guide, path.stem


def test_each_module_is_one_subject_and_says_which() -> None:
    for path in sorted((ROOT / "nix" / "modules").glob("*.nix")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# Subject: "), path
        imports = (ROOT / "nix" / "default.nix").read_text(encoding="utf-8")
        assert f"./modules/{path.name}\n" in imports, f"{path} is not imported by default.nix"
