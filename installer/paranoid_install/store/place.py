"""One path on its way into the target store: made or checked aside, then renamed into place.

Everything unfinished is in one directory inside the store, so that a rename suffices and what a
run that was cut short left behind is found by its name. Nothing of it is a store path's name:
`nix-store --verify` and the garbage collector never take it for one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.store import extract, nar, squashfs, tree
from paranoid_install.store.errors import StoreError

STAGING = ".paranoid-install"
_STOP = "stop"
_LINKS = "links"


@dataclass(frozen=True)
class Expected:
    """A path's entry in the store's directory, and what its NAR must be."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Target:
    """The store directory that is filled, seen from outside, like /mnt/nix/store."""

    store: Path

    @property
    def staging(self) -> Path:
        return self.store / STAGING

    def open(self) -> None:
        """Make the store directory, if it is missing, and an empty staging directory."""
        self.store.mkdir(parents=True, exist_ok=True)
        # As Nix sets it itself (libstore, LocalStore): written to by root and its builders only.
        self.store.chmod(0o1775)
        self.close()
        self.staging.mkdir(0o700)
        (self.staging / _LINKS).mkdir(0o700)

    def close(self) -> None:
        """Remove the staging directory with all that is unfinished."""
        if self.staging.exists():
            shutil.rmtree(self.staging)

    def stop(self) -> None:
        """Tell every worker, in whatever process, to begin no further path."""
        (self.staging / _STOP).touch()

    @property
    def stopped(self) -> bool:
        return (self.staging / _STOP).exists()


def copy(source: Path, target: Target, expected: Expected, *, verify: bool) -> None:
    """Copy the path from the store at `source` and put it into place.

    With `verify`, the bytes are hashed between reading and writing, so that they pass through a
    core's cache once. Raises StoreError on a mismatch; nothing is in place then.
    """
    origin = source / expected.name
    made = target.staging / expected.name
    clone = source.stat().st_dev == target.store.stat().st_dev
    mirror = tree.Copy(origin, made, target.staging / _LINKS, clone=clone)
    if verify:
        _compare(origin, nar.digest(os.fspath(origin), mirror), expected)
    else:
        nar.traverse(os.fspath(origin), mirror)
    _rename(made, target, expected)


def unpack(image: squashfs.Reader, target: Target, expected: Expected, *, verify: bool) -> None:
    """Write the path from an image's root and put it into place; otherwise as `copy`."""
    made = target.staging / expected.name
    position = image.root.get(os.fsencode(expected.name))
    if position is None:
        raise StoreError(f"/nix/store/{expected.name}", f"is not in {image.path}")
    archive = nar.Archive(hashed=verify)
    extract.write(image, position, made, target.staging / _LINKS, archive)
    if verify:
        _compare(image.path / expected.name, archive.finish(), expected)
    _rename(made, target, expected)


def is_complete(target: Target, expected: Expected) -> bool:
    """Whether the path is in place with the right contents; its metadata are made right."""
    made = target.store / expected.name
    if not os.path.lexists(made):
        return False
    try:
        found = nar.digest(os.fspath(made), tree.Canonical())
    except StoreError:
        return False
    return found == nar.Digest(expected.sha256, expected.size)


def _compare(made: Path, found: nar.Digest, expected: Expected) -> None:
    if found != nar.Digest(expected.sha256, expected.size):
        raise StoreError(
            f"/nix/store/{expected.name}",
            f"damaged: the NAR of {made} has SHA-256 {found.sha256} and {found.size} bytes,"
            f" registered are {expected.sha256} and {expected.size}",
            "check the installation medium, or run `nix-store --verify --check-contents` on it",
        )


def _rename(made: Path, target: Target, expected: Expected) -> None:
    final = target.store / expected.name
    if os.path.lexists(final):
        # Incomplete or damaged, as is_complete said: a rename replaces no directory that is full.
        final.rename(target.staging / f"{expected.name}.old")
    made.rename(final)
