"""A nixpkgs whose standard environment is the lab's: the given tree, and two files replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.nixos.lab.pool import TABLE
from tests.vm.vmlab import cache
from tests.vm.vmlab.process import run

_STDENV = "pkgs/stdenv/default.nix"
_MODULES = "nixos/modules/module-list.nix"
_LAB = "pkgs/stdenv/debian"

_SUFFIXES = (".nix", ".py", ".toml", ".xml")

_LINKED = (_STDENV, _MODULES)
"""Files of nixpkgs that are replaced: all others are the given tree's own."""


def build(nixpkgs: Path, pool: Path) -> Path:
    """The tree; the given one is linked, not copied, where both lie on one file system."""
    packages = TABLE.parent
    name = cache.key(str(nixpkgs), Path(__file__).read_bytes())
    tree = cache.build("nixos-tree", name, lambda work: _link(nixpkgs, work / "nixpkgs"))
    lab = tree / "nixpkgs" / _LAB
    files = sorted(path for path in packages.rglob("*") if path.suffix in _SUFFIXES)
    state = cache.key(*(path.read_bytes() for path in [*files, pool / "pool.json"]))
    # Left alone where it is the same: another run may be reading it.
    if not (lab / state).exists():
        shutil.rmtree(lab, ignore_errors=True)
        shutil.copytree(packages, lab)
        shutil.copy(pool / "pool.json", lab)
        (lab / state).touch()
    return tree / "nixpkgs"


def _link(nixpkgs: Path, target: Path) -> None:
    same = nixpkgs.stat().st_dev == target.parent.stat().st_dev
    run("cp", "--archive", *(["--link"] if same else []), nixpkgs, target, seconds=600)
    modules = (target / _MODULES).read_text()
    for name in _LINKED:
        (target / name).unlink()
    (target / _STDENV).write_text("import ./debian/stages.nix\n")
    (target / _MODULES).write_text(f"({modules}) ++ [ ../../{_LAB}/helped.nix ]\n")
