"""The target store's database: what is valid there, and one transaction that makes paths valid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from paranoid_install.runner import Runner
from paranoid_install.store.closure import STORE, PathInfo

_PATHS_AT_ONCE = 4000


def valid(runner: Runner, root: Path, infos: Sequence[PathInfo]) -> frozenset[str]:
    """Those of the paths that are registered in the store below `root` and exist there."""
    if not (root / "nix/var/nix/db/db.sqlite").exists():
        return frozenset()
    paths = [info.path for info in infos]
    invalid: set[str] = set()
    for start in range(0, len(paths), _PATHS_AT_ONCE):
        listed = runner.run(
            *("nix-store", "--store", str(root), "--check-validity", "--print-invalid"),
            *paths[start : start + _PATHS_AT_ONCE],
        )
        invalid.update(listed.stdout.split("\n"))
    return frozenset(
        path for path in paths if path not in invalid and os.path.lexists(f"{root}{path}")
    )


def load(runner: Runner, root: Path, infos: Sequence[PathInfo]) -> None:
    """Register the paths as valid in the store below `root`, in one transaction."""
    text = "".join(info.registration() for info in infos)
    runner.run("nix-store", "--store", str(root), "--load-db", stdin=text, timeout=None)


def store_directory(root: Path) -> Path:
    """The store's directory below `root`, as the running system sees it."""
    return Path(f"{root}{STORE}")
