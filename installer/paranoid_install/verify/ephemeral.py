"""What lies on the volatile root and would be gone after the next boot."""

from __future__ import annotations

import stat as stats
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.report import printable
from paranoid_install.verify.tree import SearchCutError, limit, walk

SEARCH = 10.0
"""Seconds of work that the search may take."""
_OWN = policy.load("verify")["ephemeral"]


@dataclass(frozen=True)
class Mortal:
    """A file, with the bytes that it takes on its file system."""

    path: str
    size: int


@dataclass(frozen=True)
class Mortals:
    """Files that would be lost, largest first; `complete`: all directories were looked into."""

    files: tuple[Mortal, ...]
    complete: bool

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def as_data(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "complete": self.complete,
            "files": [{"path": printable(f.path), "size": f.size} for f in self.files],
        }


def mortals(root: Path) -> Mortals:
    """Regular files on the file system of `root` itself, links and what NixOS makes anew aside.

    Raises PermissionError for a directory that may not be looked into.
    """
    found = []
    complete = True
    top = str(root).rstrip("/")
    try:
        for path, stat in walk(root, limit(SEARCH)):
            if stats.S_ISREG(stat.st_mode) and is_missed(path.removeprefix(top)):
                found.append(Mortal(path, stat.st_blocks * 512))
    except SearchCutError:
        complete = False
    return Mortals(tuple(sorted(found, key=lambda file: (-file.size, file.path))), complete)


def is_missed(path: str) -> bool:
    """Whether a file that is gone after a boot does not come back by itself."""
    if _is_in(path, _OWN["missed"]):
        return True
    return not _is_in(path, _OWN["made"])


def _is_in(path: str, places: list[str]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in places)
