"""The hash of a file tree as Nix registers it: SHA-256 over its NAR serialisation.

The format is a list of strings, each an unsigned 64-bit little-endian length, the bytes, and
zeros up to a multiple of eight (Nix manual, "Nix Archive (NAR) format"; E. Dolstra, The Purely
Functional Software Deployment Model, fig. 5.2). Only what Nix keeps of a file is in it: kind,
executable bit, contents, target, and the names in a directory sorted by their bytes.

Nothing is built up in memory: contents pass through one buffer. `hashlib` releases the
interpreter's lock for long input, so threads hash at the speed of as many cores.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from dataclasses import dataclass
from typing import Protocol

from paranoid_install.store.errors import StoreError

BUFFER = 256 * 1024
"""Bytes read at once: long enough to hash outside the interpreter's lock, short enough for a
core's cache."""

_LENGTH = struct.Struct("<Q")
_PADDING = tuple(bytes(-size % 8) for size in range(8))


def _string(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value + _PADDING[len(value) % 8]


def _strings(*values: bytes) -> bytes:
    return b"".join(map(_string, values))


_MAGIC = _string(b"nix-archive-1")
_FILE = _strings(b"(", b"type", b"regular", b"contents")
_PROGRAM = _strings(b"(", b"type", b"regular", b"executable", b"", b"contents")
_SYMLINK = _strings(b"(", b"type", b"symlink", b"target")
_DIRECTORY = _strings(b"(", b"type", b"directory")
_ENTRY = _strings(b"entry", b"(", b"name")
_NODE = _string(b"node")
_CLOSE = _string(b")")
_CLOSE_TWICE = _CLOSE * 2


@dataclass(frozen=True)
class Digest:
    """SHA-256 of a NAR in lower-case hexadecimal, and the NAR's length in bytes."""

    sha256: str
    size: int


class Archive:
    """The NAR of one tree, as it is hashed: say what the tree holds, in the archive's order.

    Short strings are gathered, so that a hash call is worth its cost. Without `hashed` nothing is
    kept, and there is no result.
    """

    def __init__(self, *, hashed: bool) -> None:
        self.hashed = hashed
        self._hash = hashlib.sha256()
        self._size = 0
        self._pending = bytearray()
        self._depth = 0
        self._write(_MAGIC)

    def directory(self) -> None:
        """A directory begins: an `entry` for each object in it, sorted by name, then `leave`."""
        self._depth += 1
        self._write(_DIRECTORY)

    def entry(self, name: bytes) -> None:
        """The next object is of this name."""
        self._write(_ENTRY + _string(name) + _NODE)

    def leave(self) -> None:
        """The innermost directory ends."""
        self._depth -= 1
        self._close()

    def file(self, size: int, *, executable: bool) -> None:
        """A regular file of `size` bytes begins: `contents`, then `end`."""
        self._write((_PROGRAM if executable else _FILE) + _LENGTH.pack(size))

    def contents(self, data: bytes | memoryview) -> None:
        """The file's next bytes."""
        if not self.hashed:
            return
        if len(data) < BUFFER // 4:
            self._write(data)
        else:
            self._flush()
            self._hash.update(data)
            self._size += len(data)

    def end(self, size: int) -> None:
        """The file, which had `size` bytes, ends."""
        self._write(_PADDING[size % 8])
        self._close()

    def symlink(self, target: bytes) -> None:
        """A symlink."""
        self._write(_SYMLINK + _string(target))
        self._close()

    def finish(self) -> Digest:
        """The result, when all is said. Not without `hashed`."""
        self._flush()
        return Digest(self._hash.hexdigest(), self._size)

    def _close(self) -> None:
        self._write(_CLOSE_TWICE if self._depth else _CLOSE)

    def _write(self, data: bytes | memoryview) -> None:
        if self.hashed:
            self._pending += data
            if len(self._pending) >= BUFFER:
                self._flush()

    def _flush(self) -> None:
        self._hash.update(self._pending)
        self._size += len(self._pending)
        self._pending.clear()


class Mirror(Protocol):
    """Acts on each object of a tree as it is read. Paths are those of the tree read."""

    def directory(self, path: bytes) -> None:
        """A directory is entered."""

    def file(self, path: bytes, status: os.stat_result, source: int) -> int | None:
        """A file is open at `source`; the descriptor to write its contents to, or None."""

    def written(self, target: int, status: os.stat_result) -> None:
        """All contents went to `target`, which is closed afterwards."""

    def symlink(self, path: bytes, status: os.stat_result, target: bytes) -> None:
        """A symlink was read."""

    def leave(self, path: bytes, status: os.stat_result) -> None:
        """All that the directory holds was read."""


def digest(path: str | bytes, mirror: Mirror | None = None) -> Digest:
    """Hash the tree at `path`, a symlink at its end not followed.

    Raises StoreError for what a store cannot hold (a device, a socket, a pipe) and for a file
    that changes while it is read; OSError otherwise.
    """
    tree = _Tree(mirror, hashed=True)
    tree.add(os.fsencode(path))
    return tree.archive.finish()


def traverse(path: str | bytes, mirror: Mirror) -> None:
    """As `digest`, without hashing: contents are read only if the mirror wants to write them."""
    _Tree(mirror, hashed=False).add(os.fsencode(path))


class _Directory:
    """A directory that is being read; `names` are those still to come, the next one last."""

    __slots__ = ("names", "path", "status")

    def __init__(self, path: bytes, status: os.stat_result) -> None:
        self.path = path
        self.status = status
        self.names = sorted(os.listdir(path), reverse=True)  # noqa: PTH208 - bytes, not Paths


class _Tree:
    """One tree being read."""

    def __init__(self, mirror: Mirror | None, *, hashed: bool) -> None:
        self.archive = Archive(hashed=hashed)
        self._mirror = mirror
        self._buffer: memoryview | None = None

    def add(self, path: bytes) -> None:
        """Append the tree at `path`. A stack of its own: a hostile depth ends no interpreter."""
        parents: list[_Directory] = []
        while True:
            status = os.lstat(path)
            if stat.S_ISDIR(status.st_mode):
                self.archive.directory()
                if self._mirror is not None:
                    self._mirror.directory(path)
                parents.append(_Directory(path, status))
            else:
                self._leaf(path, status)
            while parents and not parents[-1].names:
                done = parents.pop()
                self.archive.leave()
                if self._mirror is not None:
                    self._mirror.leave(done.path, done.status)
            if not parents:
                return
            name = parents[-1].names.pop()
            path = parents[-1].path + b"/" + name
            self.archive.entry(name)

    def _leaf(self, path: bytes, status: os.stat_result) -> None:
        if stat.S_ISREG(status.st_mode):
            self.archive.file(status.st_size, executable=bool(status.st_mode & stat.S_IXUSR))
            self._file(path, status)
            self.archive.end(status.st_size)
        elif stat.S_ISLNK(status.st_mode):
            target = os.readlink(path)  # noqa: PTH115 - bytes, not Paths
            self.archive.symlink(target)
            if self._mirror is not None:
                self._mirror.symlink(path, status, target)
        else:
            raise StoreError(
                os.fsdecode(path),
                "neither a file, a directory nor a symlink, and a store holds nothing else",
            )

    def _file(self, path: bytes, status: os.stat_result) -> None:
        source = _open(path)
        try:
            target = None if self._mirror is None else self._mirror.file(path, status, source)
            if target is None:
                if self.archive.hashed:
                    self._contents(path, status, source, None)
                return
            try:
                self._contents(path, status, source, target)
                if self._mirror is not None:
                    self._mirror.written(target, status)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _contents(
        self, path: bytes, status: os.stat_result, source: int, target: int | None
    ) -> None:
        size = status.st_size
        if size < BUFFER // 4:
            # One byte more than expected is asked for, so that a file that grew is noticed.
            data = os.read(source, size + 1)
            read = len(data)
            self.archive.contents(data)
            if target is not None:
                write_all(target, data)
        else:
            if self._buffer is None:
                self._buffer = memoryview(bytearray(BUFFER))
            read = 0
            while count := os.readv(source, [self._buffer]):
                chunk = self._buffer[:count]
                self.archive.contents(chunk)
                if target is not None:
                    write_all(target, chunk)
                read += count
        if read != size:
            raise StoreError(
                os.fsdecode(path), f"changed while it was read: {read} bytes instead of {size}"
            )


def _open(path: bytes) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # A change of the time of access is a write to each inode (open(2), O_NOATIME).
        return os.open(path, flags | os.O_NOATIME)
    except PermissionError:
        # Only the owner and root may ask for that.
        return os.open(path, flags)


def write_all(target: int, data: bytes | memoryview) -> None:
    """Write all of `data` to a descriptor (write(2) may take less). Raises OSError."""
    written = os.write(target, data)
    while written < len(data):
        data = data[written:]
        written = os.write(target, data)
