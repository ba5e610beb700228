"""What happens to the files of a store path: copied, or given the metadata Nix wants.

Nix's canonical metadata (libstore, canonicalisePathMetaData): mode 0444, or 0555 for a directory
and for what its owner may execute; modification time 1; owner and group root; nothing else.
Extended attributes are not taken along, as a NAR has none.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

TIME = (1, 1)
"""Access and modification time of everything in a store, in seconds."""
_TIME_NS = 1_000_000_000


PLAIN, PROGRAM = 0o444, 0o555
"""Permission bits of files in a store; a directory has those of a program."""


def mode_of(status: os.stat_result) -> int:
    """Permission bits of a file or directory in a store."""
    executable = stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IXUSR
    return PROGRAM if executable else PLAIN


class Copy:
    """Writes the tree that is read (see nar.Mirror) a second time, at `target`.

    Files that are one inode in the source become one inode in the target, through names in
    `links`, a directory beside the target shared by all workers; where two workers meet at the
    same inode at once, or the target allows no more links, it becomes a second copy. `clone` asks
    the kernel to copy or to share extents, which it can within one file system only.
    """

    def __init__(self, source: Path, target: Path, links: Path, *, clone: bool) -> None:
        self._prefix = len(os.fsencode(source))
        self._target = os.fsencode(target)
        self._links = os.fsencode(links)
        self._clone = clone
        self._share: bytes | None = None
        self._path = b""

    def directory(self, path: bytes) -> None:
        os.mkdir(self._at(path), 0o755)  # noqa: PTH102 - bytes, not Paths

    def file(self, path: bytes, status: os.stat_result, source: int) -> int | None:
        self._path = self._at(path)
        self._share = None
        if status.st_nlink > 1:
            self._share = self._links + b"/%x-%x" % (status.st_dev, status.st_ino)
            if link(self._share, self._path):
                return None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(self._path, flags, mode_of(status))
        try:
            cloned = self._clone and _copy_in_kernel(source, target, status.st_size)
            if cloned:
                self.written(target, status)
        except OSError:
            os.close(target)
            raise
        if cloned:
            os.close(target)
            return None
        return target

    def written(self, target: int, status: os.stat_result) -> None:
        settle(target, mode_of(status))
        if self._share is not None:
            link(self._path, self._share)

    def symlink(self, path: bytes, status: os.stat_result, target: bytes) -> None:  # noqa: ARG002
        copy = self._at(path)
        os.symlink(target, copy)  # noqa: PTH211
        os.utime(copy, TIME, follow_symlinks=False)

    def leave(self, path: bytes, status: os.stat_result) -> None:
        copy = self._at(path)
        os.chmod(copy, mode_of(status))  # noqa: PTH101
        os.utime(copy, TIME)

    def _at(self, path: bytes) -> bytes:
        return self._target + path[self._prefix :]


class Canonical:
    """Gives the tree that is read (see nar.Mirror) the metadata of a store, where it differs."""

    def directory(self, path: bytes) -> None:
        """Nothing yet: a directory is fixed after what it holds."""

    def file(self, path: bytes, status: os.stat_result, source: int) -> int | None:
        if status.st_uid != 0 or status.st_gid != 0:
            os.fchown(source, 0, 0)
        if stat.S_IMODE(status.st_mode) != mode_of(status):
            os.fchmod(source, mode_of(status))
        if status.st_mtime_ns != _TIME_NS:
            os.utime(path, TIME, follow_symlinks=False)
        return None

    def written(self, target: int, status: os.stat_result) -> None:
        """Never called: `file` writes nothing."""

    def symlink(self, path: bytes, status: os.stat_result, target: bytes) -> None:  # noqa: ARG002
        if status.st_uid != 0 or status.st_gid != 0:
            os.lchown(path, 0, 0)
        if status.st_mtime_ns != _TIME_NS:
            os.utime(path, TIME, follow_symlinks=False)

    def leave(self, path: bytes, status: os.stat_result) -> None:
        if status.st_uid != 0 or status.st_gid != 0:
            os.lchown(path, 0, 0)
        if stat.S_IMODE(status.st_mode) != mode_of(status):
            os.chmod(path, mode_of(status))  # noqa: PTH101
        if status.st_mtime_ns != _TIME_NS:
            os.utime(path, TIME)


def _copy_in_kernel(source: int, target: int, size: int) -> bool:
    """True if the kernel copied all; False, with nothing written, if it cannot between these.

    copy_file_range(2) shares extents where the file system can (btrfs, XFS, bcachefs), so that
    no ioctl_ficlone(2) is needed besides.
    """
    left = size
    while left:
        try:
            count = os.copy_file_range(source, target, left)
        except OSError as error:
            unable = {errno.EXDEV, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
            if left == size and error.errno in unable:
                return False
            raise
        if count == 0:
            # Some file systems copy nothing and say so (procfs does); a shorter file, or such.
            os.lseek(source, 0, os.SEEK_SET)
            os.ftruncate(target, 0)
            os.lseek(target, 0, os.SEEK_SET)
            return False
        left -= count
    # The reader hashes the same descriptor afterwards.
    os.lseek(source, 0, os.SEEK_SET)
    return True


def settle(target: int, mode: int) -> None:
    """Give a file that is written the metadata of a store: the owner is who writes, root."""
    # A look is cheaper than a change, which the journal of the file system would note.
    if stat.S_IMODE(os.fstat(target).st_mode) != mode:
        os.fchmod(target, mode)
    os.utime(target, TIME)


def link(existing: bytes, new: bytes) -> bool:
    """True if `new` names the same inode now; False where that is not to be had."""
    try:
        os.link(existing, new, follow_symlinks=False)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EEXIST, errno.EMLINK}:
            return False
        raise
    return True
