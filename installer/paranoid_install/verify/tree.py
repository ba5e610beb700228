"""Files below a root, with links resolved inside it: those of another machine's disk name its own
paths, and must not lead into this one's."""

from __future__ import annotations

import errno
import json
import os
import stat as stats
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from paranoid_install.verify.facts import Stat

_LINKS = 40
"""As many links as the kernel follows (path_resolution(7))."""
_SYSTEM = "/nix/var/nix/profiles/system"
_TEXT = 8 * 1024**2
_ENTRIES = 1024


class Tree:
    """Reads below `root`, and never writes. All methods raise OSError.

    They raise SearchCutError once `over` says that enough was read.
    """

    def __init__(self, root: Path, over: Callable[[], bool] = lambda: False) -> None:
        self.root = root
        self._over = over

    def real(self, path: str) -> Path:
        """The file that `path` means, all links followed as if `root` were /."""
        if self._over():
            raise SearchCutError
        done: list[str] = []
        waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                del done[-1:]
                continue
            done.append(part)
            here = self.root.joinpath(*done)
            if here.is_symlink():
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = str(here.readlink())
                done = [] if target.startswith("/") else done[:-1]
                waiting += [p for p in reversed(target.split("/")) if p not in ("", ".")]
        return self.root.joinpath(*done)

    def text(self, path: str) -> str:
        """A regular file's text; foreign bytes as surrogates.

        More than 8 MiB raise OSError: what stands behind them could be what counts.
        """
        # A pipe, or a device, on a foreign disk would never end.
        descriptor = os.open(self.real(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            if not stats.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            found = file.read(_TEXT + 1)
            if len(found) > _TEXT:
                raise OSError(errno.EFBIG, f"larger than {_TEXT} bytes", path)
            return found.decode(errors="surrogateescape")

    def json(self, path: str) -> Any:
        """A regular file's JSON; other text raises ValueError, text that is too deep too."""
        try:
            return json.loads(self.text(path))
        except RecursionError as error:
            raise ValueError(f"{path}: too deep") from error

    def stat(self, path: str) -> Stat:
        """Owner and mode of what `path` means."""
        return of(path, self.real(path).stat())

    def open_above(self, path: str) -> tuple[Stat, ...]:
        """The directories on the way to the file that `path` means which others may change.

        Who can rename in one of them can put another file there; a sticky bit prevents that.
        """
        found = []
        for directory in self.real(path).parents:
            if not directory.is_relative_to(self.root):
                break
            stat = of(f"/{directory.relative_to(self.root)}".replace("/.", "/"), directory.stat())
            if stat.uid != 0 or (stat.mode & 0o022 and not stat.mode & stats.S_ISVTX):
                found.append(stat)
        return tuple(found)

    def modified(self, path: str) -> float:
        """Seconds since the epoch when `path` itself was last changed; a link is not followed."""
        parent, _, name = path.rpartition("/")
        return (self.real(parent) / name).lstat().st_mtime

    def names(self, path: str) -> tuple[str, ...]:
        """What a directory holds, sorted."""
        return tuple(sorted(entry.name for entry in self.real(path).iterdir()))

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`; raises OSError when that cannot be told."""
        try:
            self.real(path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_plain(self, path: str) -> bool:
        """Whether there is a file or directory at `path` itself, and no link."""
        parent, _, name = path.rpartition("/")
        try:
            mode = (self.real(parent) / name).lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
        return not stats.S_ISLNK(mode)

    def etc(self, name: str) -> str:
        """The path of /etc/NAME, or of the same file of the system profile on a disk whose
        volatile root is not mounted."""
        path = f"/etc/{name}"
        return path if self.exists(path) else f"{_SYSTEM}{path}"


def of(path: str, found: os.stat_result) -> Stat:
    """A stat of the kernel as a fact."""
    return Stat(
        path,
        stats.S_IMODE(found.st_mode),
        found.st_uid,
        found.st_gid,
        stats.S_ISDIR(found.st_mode),
    )


class SearchCutError(Exception):
    """A search had to end before all was seen."""


def limit(seconds: float) -> Callable[[], bool]:
    """Whether this thread has worked for `seconds` from now on, or waited for ten times as long.

    By the clock on the wall alone, a machine that is busy would have no answer.
    """
    worked, passed = time.thread_time() + seconds, time.monotonic() + 10 * seconds
    return lambda: time.thread_time() > worked or time.monotonic() > passed


def walk(top: Path, over: Callable[[], bool]) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `top`, itself included, on its file system alone; links are not followed.

    Directories that this user may not read raise PermissionError, since something could be in
    them. SearchCutError is raised when `over` says so.
    """
    found = top.lstat()
    device = found.st_dev
    yield str(top), found
    waiting = [str(top)] if stats.S_ISDIR(found.st_mode) else []
    while waiting:
        if over():
            raise SearchCutError
        try:
            entries = os.scandir(waiting.pop())
        except (FileNotFoundError, NotADirectoryError):  # it is gone
            continue
        with entries:
            for number, entry in enumerate(entries, 1):
                # A directory can be as large as a disk.
                if number % _ENTRIES == 0 and over():
                    raise SearchCutError
                try:
                    stat = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.st_dev != device:
                    continue
                yield entry.path, stat
                if stats.S_ISDIR(stat.st_mode):
                    waiting.append(entry.path)
