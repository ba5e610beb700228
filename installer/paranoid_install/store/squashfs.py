"""Reads a squashfs image: names, kinds, contents; without a mount, on as many cores as ask.

Version 4.0 of the format, as the kernel has it (fs/squashfs/squashfs_fs.h; squashfs.rst in its
documentation): a superblock names tables of inodes, directories and fragments, each a run of
compressed blocks of 8 KiB; the contents are blocks of up to 1 MiB, and what is left of a file, or
all of a small one, is in a fragment, a block that many files share. The tables are held in memory,
about 60 bytes an object.

Whatever the image holds, only the errors that are told below come of it, and no name with a slash.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from paranoid_install.store import decompression
from paranoid_install.store.errors import StoreError

_SUPERBLOCK = struct.Struct("<4s4I6H8Q")
_MAGIC = b"hsqs"
_METADATA = 8192
_STORED = 0x8000
"""Bit of a metadata block's length: not compressed."""
_RAW = 1 << 24
"""The same of a block's of contents."""
_NOWHERE = 0xFFFF_FFFF_FFFF_FFFF
_NO_FRAGMENT = 0xFFFF_FFFF

_KIND = struct.Struct("<HH8xI")  # type, mode; number
_BODY = _KIND.size
_BASIC_DIRECTORY = struct.Struct("<I4xHH4x")  # block, size, offset
_DIRECTORY = struct.Struct("<4xII4x2xH4x")  # size, block, offset
_BASIC_FILE = struct.Struct("<IIII")  # start, fragment, offset, size
_FILE = struct.Struct("<QQ8xIII4x")  # start, size, links, fragment, offset
_SYMLINK = struct.Struct("<4xI")  # length
_RUN = struct.Struct("<II4x")  # entries but one, block of their inodes
_ENTRY = struct.Struct("<H2x2xH")  # offset of the inode, length of the name but one
_FRAGMENT = struct.Struct("<QI4x")  # start, length


class Directory(NamedTuple):
    """Where a directory's entries are: offset in the table, and their length in bytes."""

    start: int
    length: int


class File(NamedTuple):
    """A regular file. Files with more `links` than one share a `number`."""

    size: int
    executable: bool
    number: int
    links: int
    start: int
    blocks: tuple[int, ...]
    fragment: int
    offset: int


class Symlink(NamedTuple):
    """A symlink."""

    target: bytes


class _Superblock(NamedTuple):
    block: int
    fragments: int
    compressor: int
    version: tuple[int, int]
    root: int
    fragment_table: int
    inodes: int
    directories: int
    end: int
    """Where the directories end, at the latest."""


def unsupported(path: Path) -> str:
    """Why an image cannot be read here, or nothing. Raises StoreError, OSError."""
    with path.open("rb") as file:
        superblock = _superblock(path, file.fileno())
    name = decompression.NAMES.get(superblock.compressor, f"method {superblock.compressor}")
    if superblock.version != (4, 0):
        return f"{path} is squashfs {'.'.join(map(str, superblock.version))}, not 4.0"
    if superblock.compressor not in decompression.SUPPORTED:
        return f"{path} is compressed by {name}"
    return ""


class Reader:
    """An open image.

    Raises StoreError for what is damaged, OSError with the image's name for what the disk refuses.
    An object is named by its position: the offset of its inode.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._superblock = _superblock(path, self._file)
        self._inflate = decompression.of(self._superblock.compressor)
        self._inodes, self._inode_blocks = self._table(
            self._superblock.inodes, self._superblock.directories
        )
        self._directories, self._directory_blocks = self._table(
            self._superblock.directories, self._superblock.end
        )
        self._fragments = self._fragment_table()
        self._held = -1, b""
        self.root = dict(self.entries(self._root()))
        """Positions of the entries of the root, by name."""

    def reopen(self) -> None:
        """After a fork, get a descriptor of its own: the kernel reads ahead by it."""
        os.close(self._file)
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    def node(self, position: int) -> Directory | File | Symlink:
        """The object at `position`."""
        try:
            return self._node(position)
        except (struct.error, KeyError) as error:
            raise self._damaged(f"inode at {position}: {error}") from error

    def entries(self, directory: Directory) -> list[tuple[bytes, int]]:
        """Names and positions of what is in a directory, sorted by name."""
        try:
            found = list(self._entries(directory))
        except (struct.error, KeyError) as error:
            raise self._damaged(f"directory at {directory.start}: {error}") from error
        for name, _ in found:
            if name in {b".", b".."} or b"/" in name or b"\0" in name:
                raise self._damaged(f"{os.fsdecode(name)!r} is no name")
        return sorted(found)

    def contents(self, file: File) -> Iterator[bytes | memoryview]:
        """The bytes of a file, a block at a time, `file.size` in all."""
        left, at, block = file.size, file.start, self._superblock.block
        for size in file.blocks:
            want = min(left, block)
            if size:
                data = self._block(at, size)
                at += size & ~_RAW
            else:
                data = bytes(want)
            if len(data) != want:
                raise self._damaged(f"{len(data)} bytes at {at} instead of {want}")
            yield data
            left -= want
        if left:
            rest = memoryview(self._fragment(file.fragment))[file.offset : file.offset + left]
            if len(rest) != left:
                raise self._damaged(f"fragment {file.fragment} is too short")
            yield rest

    def close(self) -> None:
        """Close the image."""
        os.close(self._file)

    def _root(self) -> Directory:
        block, offset = divmod(self._superblock.root, 1 << 16)
        if block not in self._inode_blocks:
            raise self._damaged("it has no root")
        root = self.node(self._inode_blocks[block] + offset)
        if not isinstance(root, Directory):
            raise self._damaged("its root is no directory")
        return root

    def _node(self, position: int) -> Directory | File | Symlink:
        kind, mode, number = _KIND.unpack_from(self._inodes, position)
        body = position + _BODY
        links = 1
        match kind:
            case 1:
                block, length, offset = _BASIC_DIRECTORY.unpack_from(self._inodes, body)
                return self._directory(block, offset, length)
            case 8:
                length, block, offset = _DIRECTORY.unpack_from(self._inodes, body)
                return self._directory(block, offset, length)
            case 2:
                start, fragment, offset, size = _BASIC_FILE.unpack_from(self._inodes, body)
                body += _BASIC_FILE.size
            case 9:
                start, size, links, fragment, offset = _FILE.unpack_from(self._inodes, body)
                body += _FILE.size
            case 3 | 10:
                (length,) = _SYMLINK.unpack_from(self._inodes, body)
                (target,) = struct.unpack_from(f"{length}s", self._inodes, body + _SYMLINK.size)
                if b"\0" in target:
                    raise self._damaged(f"symlink {number} leads nowhere")
                return Symlink(target)
            case _:
                raise self._damaged(
                    f"inode {number} is neither a file, a directory nor a symlink,"
                    " and a store holds nothing else"
                )
        count, rest = divmod(size, self._superblock.block)
        count += bool(rest and fragment == _NO_FRAGMENT)
        blocks = struct.unpack_from(f"<{count}I", self._inodes, body)
        return File(size, bool(mode & 0o100), number, links, start, blocks, fragment, offset)

    def _directory(self, block: int, offset: int, length: int) -> Directory:
        # The length counts "." and "..", which are not there; an empty one has no place.
        if length <= 3:
            return Directory(0, 0)
        return Directory(self._directory_blocks[block] + offset, length - 3)

    def _entries(self, directory: Directory) -> Iterator[tuple[bytes, int]]:
        at, end = directory.start, directory.start + directory.length
        while at < end:
            count, block = _RUN.unpack_from(self._directories, at)
            at += _RUN.size
            first = self._inode_blocks[block]
            for _ in range(count + 1):
                offset, length = _ENTRY.unpack_from(self._directories, at)
                at += _ENTRY.size
                (name,) = struct.unpack_from(f"{length + 1}s", self._directories, at)
                at += length + 1
                yield name, first + offset

    def _fragment(self, index: int) -> bytes:
        """The small files of a path are in a few fragments: the last one is kept."""
        if self._held[0] != index:
            try:
                start, size = self._fragments[index]
            except IndexError as error:
                raise self._damaged(f"there is no fragment {index}") from error
            self._held = index, self._block(start, size)
        return self._held[1]

    def _block(self, start: int, size: int) -> bytes:
        length, limit = size & ~_RAW, self._superblock.block
        if length > limit:
            raise self._damaged(f"a block of {length} bytes at {start}")
        data = self._read(start, length)
        return data if size & _RAW else self._inflated(data, limit, start)

    def _table(self, start: int, end: int) -> tuple[bytes, dict[int, int]]:
        """A run of metadata blocks, joined, and where in it each begins, by its place."""
        raw = self._read(start, end - start)
        parts: list[bytes] = []
        offsets: dict[int, int] = {}
        at = total = 0
        while at + 2 <= len(raw):
            header = int.from_bytes(raw[at : at + 2], "little")
            length = header & ~_STORED
            data = raw[at + 2 : at + 2 + length]
            if not header & _STORED:
                data = self._inflated(data, _METADATA, start + at)
            offsets[at] = total
            parts.append(data)
            total += len(data)
            at += 2 + length
        return b"".join(parts), offsets

    def _fragment_table(self) -> list[tuple[int, int]]:
        """Start and length of each, from the blocks that an index at the table's place names."""
        count = self._superblock.fragments
        if count == 0:
            return []
        blocks = -(-count * _FRAGMENT.size // _METADATA)
        index = self._read(self._superblock.fragment_table, 8 * blocks)
        data = b"".join(map(self._metadata, struct.unpack(f"<{blocks}Q", index)))
        if len(data) != count * _FRAGMENT.size:
            raise self._damaged(f"{len(data)} bytes of {count} fragments")
        return list(_FRAGMENT.iter_unpack(data))

    def _metadata(self, start: int) -> bytes:
        header = int.from_bytes(self._read(start, 2), "little")
        data = self._read(start + 2, header & ~_STORED)
        return data if header & _STORED else self._inflated(data, _METADATA, start)

    def _inflated(self, data: bytes, limit: int, start: int) -> bytes:
        try:
            return self._inflate(data, limit)
        except decompression.Damaged as error:
            raise self._damaged(f"block at {start}: {error}") from error

    def _read(self, start: int, length: int) -> bytes:
        return _read(self.path, self._file, start, length)

    def _damaged(self, what: str) -> StoreError:
        return _damaged(self.path, what)


def _superblock(path: Path, file: int) -> _Superblock:
    magic, *words = _SUPERBLOCK.unpack(_read(path, file, 0, _SUPERBLOCK.size))
    if magic != _MAGIC:
        raise _damaged(path, "it is no squashfs")
    (_, _, block, fragments, compressor, _, _, _, major, minor, root, used, *tables) = words
    ids, xattrs, inodes, directories, fragment_table, exported = tables
    if not 4096 <= block <= 1024**2:
        raise _damaged(path, f"blocks of {block} bytes")
    # What comes after the directories begins where the first word of one of the others says.
    indexes = [at for at in (ids, xattrs, exported) if at != _NOWHERE]
    indexes += [fragment_table] if fragments else []
    firsts = [int.from_bytes(_read(path, file, at, 8), "little") for at in indexes]
    end = min([*firsts, used])
    # A device is longer than its image, a file may be padded; a shorter one has lost its end.
    if used > os.lseek(file, 0, os.SEEK_END):
        raise _damaged(path, f"it ends before byte {used}")
    if not _SUPERBLOCK.size <= inodes <= directories <= end:
        raise _damaged(path, "its tables are out of order")
    return _Superblock(
        block, fragments, compressor, (major, minor), root,
        fragment_table, inodes, directories, end,
    )  # fmt: skip


def _read(path: Path, file: int, start: int, length: int) -> bytes:
    """Raises StoreError if there is less, OSError with the image's name."""
    data = b""
    while len(data) < length:
        try:
            more = os.pread(file, length - len(data), start + len(data))
        except OverflowError:
            more = b""
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        if not more:
            raise _damaged(path, f"it ends before byte {start + length}")
        data = data + more if data else more
    return data


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(str(path), f"damaged: {what}", "check the installation medium")
