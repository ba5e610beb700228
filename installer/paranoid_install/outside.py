"""Files from outside: read whole, bounded, only where they are files; and told by their hash."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

LIMIT = 1024**2
"""Bytes of a file that an operator names; keys, hashes and answers have a few thousand."""


def read(path: str | Path, limit: int = LIMIT) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises OSError for all else.

    A FIFO would be waited for until somebody writes, and /dev/zero never ends.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "is no regular file", str(path))
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(None, f"has more than {limit} bytes", str(path))
    return content


def read_text(path: str | Path, limit: int = LIMIT) -> str:
    """The same as text. Raises UnicodeDecodeError, a ValueError, for what is not UTF-8."""
    return read(path, limit).decode()


def digest(path: str | Path) -> str:
    """SHA-256 in hex over a file, or a directory with all below it: names, modes, contents, links.

    What a copy keeps is told, and nothing else: neither times nor owners. Raises OSError.
    """
    told = hashlib.sha256()
    top = Path(path)
    for place in [top, *sorted(top.rglob("*"))] if top.is_dir() else [top]:
        about = place.stat() if place == top else place.lstat()
        name = os.fsencode(place.relative_to(top))
        told.update(b"%d:%s %o " % (len(name), name, about.st_mode))
        if stat.S_ISLNK(about.st_mode):
            target = os.fsencode(place.readlink())
            told.update(b"%d:%s " % (len(target), target))
        elif stat.S_ISREG(about.st_mode):
            told.update(_of_file(place))
    return told.hexdigest()


def _of_file(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
