"""The checkout as an image of its own, so that a change of the code rebuilds no root."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.vm.vmlab import cache
from tests.vm.vmlab.process import run

_PARTS = ("installer", "nix", "tests/standin", "tests/vm/live", "pyproject.toml")


def build(image: Path) -> None:
    """Write the project's image; it takes a fraction of a second, so it is never cached."""
    tree = image.with_suffix(".tree")
    for part in _PARTS:
        source, target = cache.REPOSITORY / part, tree / part
        target.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-a", source, target)
    _stand_in_for_impermanence(tree / "nix/impermanence")
    run(
        "mksquashfs", tree, image, "-comp", "zstd", "-Xcompression-level", "1",
        "-all-root", "-noappend", "-quiet", "-no-progress", "-wildcards", "-e", "... __pycache__",
    )  # fmt: skip
    shutil.rmtree(tree)


def _stand_in_for_impermanence(target: Path) -> None:
    """The flake's input, which a checkout has not: the installer copies it, and minios'
    evaluation stops before it (minios/evaluate.nix)."""
    if not target.exists():
        target.mkdir()
        (target / "nixos.nix").write_text('throw "this is not impermanence"\n')
