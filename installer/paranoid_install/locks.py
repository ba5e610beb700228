"""One run at a time on a disk, and one at a root: advisory locks that die with their holder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from paranoid_install.errors import LockedError


@contextmanager
def locked(directory: Path, subject: str) -> Iterator[None]:
    """Hold the lock of a disk or a root while inside.

    Raises LockedError with the process that holds it. flock(2): the kernel lets go of it when
    the holder ends, however it ends, so a lock is never stale.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # A path may hold any byte but these two; the name must be one for each path.
    file = directory / f"{quote(subject, safe='')}.lock"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 64, 0).decode(errors="replace").strip()
            problem = f"another install is at work on it (process {holder or 'unknown'})"
            raise LockedError(subject, problem, "wait for it, or stop it first") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
