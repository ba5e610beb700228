"""Who may import whom, as docs/adr has it; and how large a module may grow."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

_PACKAGE = Path(__file__).parents[2] / "installer/paranoid_install"
_FILES = sorted(p for p in _PACKAGE.rglob("*.py"))
_NAMES = [str(p.relative_to(_PACKAGE)) for p in _FILES]

# A library stands behind one module (or directory), so that it can be replaced there.
_ONLY = {
    "sh": ("runner.py",),
    "pyudev": ("disks.py",),
    "rich": ("ui/",),
    "typer": ("cli.py", "cli_verify.py", "cli_watch.py"),
    "tree_sitter": ("hardware/",),
    "tree_sitter_nix": ("hardware/",),
    "backports": ("store/decompression.py",),
    "compression": ("store/decompression.py",),
    "subprocess": (),
}
# What a pure or low module must not know of: everything that acts or shows.
_ACTING = {"actions", "plan", "engine", "install", "cli", "ui", "guard", "survey", "recovery"}
_MAY_NOT = {
    "errors.py": {"*"},
    "values.py": {"*"},
    "nixlang.py": {"*"},
    "signals.py": {"*"},
    "journal.py": {"*"},
    "settings.py": _ACTING | {"runner", "disks", "spec", "layout"},
    "keys/": _ACTING | {"runner", "disks", "spec", "layout"},
    "configured.py": _ACTING | {"disks", "spec", "layout"},
    "layout.py": _ACTING | {"runner", "disks", "spec"},
    "mounts.py": _ACTING | {"runner", "disks", "spec", "layout"},
    "hardware/": _ACTING | {"runner", "disks", "spec"},
    "runner.py": _ACTING | {"disks", "spec", "layout", "journal"},
    "disks.py": _ACTING | {"spec", "layout", "selection", "journal"},
    "sysfs.py": {"*"},
    "stack.py": _ACTING | {"disks", "spec", "layout", "selection", "journal"},
    "arrival.py": _ACTING | {"runner", "disks", "spec", "layout", "journal"},
    "held.py": _ACTING | {"runner", "disks", "spec", "layout", "selection", "journal"},
    "contents.py": _ACTING | {"spec", "layout", "selection", "journal"},
    "selection.py": _ACTING | {"runner", "spec", "layout", "journal"},
    "spec.py": _ACTING | {"runner", "layout", "journal"},
    "systems.py": _ACTING | {"disks", "spec", "journal"},
    "survey.py": {"actions", "plan", "engine", "install", "cli", "ui", "guard", "recovery"},
    "guard.py": {"actions", "plan", "engine", "install", "cli", "ui", "runner", "recovery"},
    "actions/": {"plan", "engine", "install", "cli", "ui", "guard", "recovery"},
    "plan.py": {"engine", "install", "cli", "ui", "runner", "recovery"},
    "preparation.py": {"plan", "engine", "install", "cli", "ui", "guard", "runner", "recovery"},
    "engine.py": {"install", "cli", "ui", "guard", "recovery", "runner"},
    "install.py": {"cli", "ui"},
    "verify/": _ACTING | {"disks", "spec", "layout", "selection", "journal", "cli_verify"},
}
# What the checks of verify are made of: no runner, no files, no clock.
_PURE = {
    "__future__",
    "dataclasses",
    "itertools",
    "collections",
    "json",
    "re",
    "typing",
    "paranoid_install",
}
_FACTS = {"policy", "mounts", "values", "verify"}


def imported(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it, types aside."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("name", _NAMES)
def test_each_library_stands_behind_one_module(name: str) -> None:
    for module in imported(_PACKAGE / name):
        owners = _ONLY.get(module.split(".")[0], (name,))
        assert name.startswith(owners), f"{name} imports {module}"


@pytest.mark.parametrize("name", _MAY_NOT)
def test_imports_go_one_way(name: str) -> None:
    files = [_PACKAGE / name] if name.endswith(".py") else sorted((_PACKAGE / name).glob("*.py"))
    assert files
    modules = {module for file in files for module in imported(file)}
    own = {m.split(".")[1] for m in modules if m.startswith("paranoid_install.")}
    bad = own if "*" in _MAY_NOT[name] else own & _MAY_NOT[name]
    assert not bad


@pytest.mark.parametrize("file", sorted(_PACKAGE.glob("verify/*_checks.py")), ids=lambda f: f.name)
def test_a_check_sees_nothing_but_facts(file: Path) -> None:
    modules = imported(file)
    assert {module.split(".")[0] for module in modules} <= _PURE
    own = [module.split(".") for module in modules if module.startswith("paranoid_install.")]
    assert {parts[1] for parts in own} <= _FACTS
    acting = {"gather", "files", "programs", "tree", "command"}
    assert not {parts[2] for parts in own if parts[1] == "verify"} & acting


@pytest.mark.parametrize("name", _NAMES)
def test_nothing_else_starts_a_process(name: str) -> None:
    calls = {f"{n.value.id}.{n.attr}" for n in ast.walk(ast.parse((_PACKAGE / name).read_text()))
             if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)}  # fmt: skip
    starts = {"os.system", "os.popen", "os.fork", "os.execv", "os.posix_spawn"}
    # A program that the runner starts, in a process group that the runner ends.
    assert calls & starts == ({"os.fork"} if name == "store/worker.py" else set())


@pytest.mark.parametrize("name", _NAMES)
def test_a_module_is_one_idea(name: str) -> None:
    lines = len((_PACKAGE / name).read_text(encoding="utf-8").splitlines())
    assert lines <= 400
