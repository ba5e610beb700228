"""One run at a time on a disk, and one at a root: advisory locks that die with their holder."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from paranoid_install.errors import LockedError

_LONGEST_NAME = 255
"""Bytes of a file's name (NAME_MAX, limits.h)."""


@contextmanager
def locked(directory: Path, subject: str, shown: str = "") -> Iterator[None]:
    """Hold the lock of a disk or a root while inside; `shown` is what a person calls it.

    Raises LockedError with the process that holds it. flock(2): the kernel lets go of it when
    the holder ends, however it ends, so a lock is never stale. A program that a killed holder was
    just starting has the lock until exec(2) closes it: that is waited for.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / _name(os.fsencode(subject))
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            if not _has_ended(holder):
                problem = f"another install is at work on it (process {holder or 'unknown'})"
                raise LockedError(
                    shown or subject, problem, "wait for it, or stop it first"
                ) from None
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _name(path: bytes) -> str:
    """One name for each path, which may hold bytes that a name may not, and be longer."""
    name = f"{quote(path, safe='')}.lock"
    return name if len(name) <= _LONGEST_NAME else f"{hashlib.sha256(path).hexdigest()}.lock"


def _has_ended(holder: str) -> bool:
    """Whether this process is no more, or only waits to be reaped; False for what is no number."""
    if not holder.isascii() or not holder.isdigit():
        return False
    try:
        state = (
            Path(f"/proc/{holder}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        )
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between open and read
        return True
    return state in {"Z", "X"}
