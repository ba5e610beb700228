"""Builds of systems.nix, each with what is in it: paths, sizes, seconds."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from tests.nixos.lab import pool, root, tree
from tests.vm.vmlab import cache
from tests.vm.vmlab.process import LabError, run

SYSTEMS = Path(__file__).parents[1] / "systems.nix"

_UNLISTED = "unlisted"


@dataclass(frozen=True)
class Place:
    """Where builds happen. `key` is the private key of the machines' operator."""

    root: root.Root
    nixpkgs: Path
    impermanence: Path
    key: Path

    def expression(self, attribute: str) -> str:
        """Nix for one attribute of systems.nix."""
        public = self.key.with_suffix(".pub").read_text().strip()
        return (
            f"(import {SYSTEMS} {{ nixpkgs = {self.nixpkgs}; "
            f'impermanence = {self.impermanence}; key = "{public}"; }}).{attribute}'
        )


@dataclass(frozen=True)
class Built:
    """One build. `outside` is where its path lies on this machine."""

    path: str
    outside: Path
    seconds: float
    paths: int
    bytes: int


def open_place() -> Place:
    """Everything that a build needs, made where it is not in the cache.

    From PARANOID_NIXPKGS, PARANOID_IMPERMANENCE and PARANOID_CRATES (tests/nixos/README.md).
    """
    nixpkgs = Path(os.environ["PARANOID_NIXPKGS"]).resolve()
    impermanence = Path(os.environ["PARANOID_IMPERMANENCE"]).resolve()
    builder = root.build(nixpkgs, impermanence)
    packages = pool.build(builder)
    return Place(builder, tree.build(nixpkgs, packages), impermanence, _operator())


def build(place: Place, attribute: str, logs: Path) -> Built:
    """Build an attribute of systems.nix; what Nix says goes to a file in `logs`.

    LabError first of all for packages that no row of packages.toml stands for, by their names.
    """
    expression = place.expression(attribute)
    start = time.monotonic()
    [derivation] = place.root.run("nix-instantiate", "--expr", expression).split()
    missing = unlisted(place, derivation)
    if missing:
        raise LabError(f"packages.toml has no row for {', '.join(missing)} (wanted by {attribute})")
    logs.mkdir(parents=True, exist_ok=True)
    # Python packages have a second output, with the wheel.
    path, *_ = place.root.run(
        "nix-store", "--realise", derivation,
        "--add-root", str(_links(place) / attribute),
        log=logs / f"build-{attribute}.log",
    ).split()  # fmt: skip
    path = place.root.run("readlink", "-f", path).strip()
    closure = place.root.closure(path)
    sizes = place.root.run("nix-store", "--query", "--size", *closure).split()
    return Built(
        path=path,
        outside=place.root.store(path),
        seconds=time.monotonic() - start,
        paths=len(closure),
        bytes=sum(map(int, sizes)),
    )


def unlisted(place: Place, derivation: str) -> list[str]:
    """Names of the packages below that nixpkgs would compile and the table does not know."""
    shown = json.loads(place.root.run("nix", "derivation", "show", "--recursive", derivation))
    entries = (
        one.get("structuredAttrs", {}).get("entry", {}) for one in shown["derivations"].values()
    )
    return sorted({entry["name"] for entry in entries if entry.get(_UNLISTED)})


def _links(place: Place) -> Path:
    """Roots of Nix's garbage collector, seen from inside."""
    folder = place.root.nix / "var/nix/gcroots/lab"
    folder.mkdir(parents=True, exist_ok=True)
    return Path("/nix/var/nix/gcroots/lab")


def _operator() -> Path:
    """A key pair that is made once, so that images with it are not built anew each time."""
    folder = cache.build("nixos-operator", cache.key("ed25519"), _make_operator)
    return folder / "operator"


def _make_operator(work: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", work / "operator")
