"""One walk over the disk, for files by which somebody could come back, and for whose files are."""

from __future__ import annotations

import os
import stat as stats
from pathlib import Path

from paranoid_install import policy
from paranoid_install.verify.facts import Search, Stat, Unknown
from paranoid_install.verify.tree import SearchCutError, Tree, limit, of, walk

SECONDS = 1.0
"""Seconds of work that the walk may take."""
_SEARCHED: list[str] = policy.load("verify")["files"]["searched"]
_SET_ID = stats.S_ISUID | stats.S_ISGID
_CAPABILITY = "security.capability"
_MAPS = policy.load("verify")["files"]["uidMaps"]


def search(tree: Tree, live: bool) -> Search | Unknown:
    """What lies on the persist root and, while the machine runs, on the volatile root.

    On the volatile root set-uid files, capabilities and directories without a sticky bit count
    alone: the rest of it is made anew.
    """
    persistent = [top for top in _SEARCHED if tree.exists(top)]
    if not persistent and not live:
        return Unknown(f"{', '.join(_SEARCHED)}: not there; is the disk mounted?")
    seen = _Seen()
    over = limit(SECONDS)
    try:
        for top in persistent:
            for path, stat in walk(tree.real(top), over):
                seen.privileged(path, stat)
                seen.owned(path, stat)
        for path, stat in walk(Path("/"), over) if live else ():
            seen.privileged(path, stat)
    except SearchCutError:
        seen.cut = True
    return seen.found(persist=bool(persistent))


class _Seen:
    """What the walk has met so far."""

    def __init__(self) -> None:
        self.cut = False
        self._setuid: list[Stat] = []
        self._capable: list[str] = []
        self._loose: list[Stat] = []
        self._drops: list[Stat] = []
        self._uids: dict[int, str] = {}
        self._gids: dict[int, str] = {}

    def privileged(self, path: str, stat: os.stat_result) -> None:
        if stats.S_ISREG(stat.st_mode):
            if stat.st_mode & _SET_ID:
                self._setuid.append(of(path, stat))
            if _CAPABILITY in _attributes(path):
                self._capable.append(path)

        elif stats.S_ISDIR(stat.st_mode) and _is_everybodys(stat):
            self._drops.append(of(path, stat))

    def owned(self, path: str, stat: os.stat_result) -> None:
        self._uids.setdefault(stat.st_uid, path)
        self._gids.setdefault(stat.st_gid, path)
        if _is_everybodys(stat):
            self._loose.append(of(path, stat))

    def found(self, *, persist: bool) -> Search:
        return Search(
            tuple(self._setuid), tuple(self._capable), tuple(self._loose),
            self._uids, self._gids, self.cut, persist, tuple(self._drops),
        )  # fmt: skip


def _is_everybodys(stat: os.stat_result) -> bool:
    mode = stat.st_mode
    # A link has no mode, a socket's is who may speak to its service.
    if stats.S_ISLNK(mode) or stats.S_ISSOCK(mode) or not mode & stats.S_IWOTH:
        return False
    # The sticky bit keeps others' files in a directory, and means nothing on a file.
    return not (stats.S_ISDIR(mode) and mode & stats.S_ISVTX)


def _attributes(path: str) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except FileNotFoundError:
        return []


def allotted(tree: Tree) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers that NixOS gave to users and groups, 0 included."""
    users, groups = (
        frozenset({0, *_numbers(tree, f"{_MAPS}/{name}")}) for name in ("uid-map", "gid-map")
    )
    return users, groups


def _numbers(tree: Tree, path: str) -> list[int]:
    return [int(number) for number in tree.json(path).values()]
