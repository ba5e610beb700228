"""The disk of a run, held open: what is written is what was looked at, whatever its name means now.

While a descriptor is open the kernel gives the device's number to no other device, and a disk's
sequence number (BLKGETDISKSEQ, linux/fs.h; Linux 5.15) is never given twice in one boot. The name
alone may be moved to another disk at any time, so it is compared right before each program that is
given it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

from paranoid_install.errors import Refusal, RefusedError

_BLKGETDISKSEQ = 0x80081280
_BLKGETSIZE64 = 0x80081272
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO64 = 232
"""Bytes of struct loop_info64 (linux/loop.h): it begins with device and inode of the file."""


@dataclass(frozen=True)
class Identity:
    """What makes a device or a file this one: kind and numbers, for a disk its sequence number.

    `sequence` is 0 where there is none; `size` is in bytes, 0 for a file.
    """

    number: str
    sequence: int = 0
    size: int = 0


@dataclass
class Held:
    """An open device or image file. `claimed` says that no other may open it exclusively."""

    path: str
    descriptor: int
    identity: Identity
    claimed: bool = field(default=False)

    def check(self) -> None:
        """Raise RefusedError unless the name still leads to what is held, and it is unchanged."""
        try:
            now = identity_of(self.path)
            held = _identity(self.descriptor)
        except OSError as error:
            raise changed(self.path, f"is not there any more ({error.strerror})") from error
        if now != self.identity or held != self.identity:
            raise changed(self.path, "now leads to another disk than the one that was looked at")

    def claim(self) -> None:
        """Open it exclusively as well, once nothing stands on it any more.

        Raises RefusedError while anything does; OSError.
        """
        if self.claimed:
            return
        claimed = _open_exclusively(f"/proc/self/fd/{self.descriptor}", self.path)
        self.close()
        self.descriptor, self.claimed = claimed, True

    def share(self) -> None:
        """Give up the claim and keep the device: mkfs and mount claim its partitions."""
        shared = os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)
        self.close()
        self.descriptor, self.claimed = shared, False

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1


def hold(path: str, expected: Identity | None = None, *, claim: bool = True) -> Held:
    """Open a device exclusively, or an image file, and keep it.

    Without `claim` it is only kept: for what stands on it is yet to go.
    Raises RefusedError when it is in use, or is not the one that was looked at; OSError.
    """
    claimed = claim and stat.S_ISBLK(os.stat(path).st_mode)  # noqa: PTH116 - the same call as below
    if claimed:
        descriptor = _open_exclusively(path, path)
    else:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    held = Held(path, descriptor, _identity(descriptor), claimed)
    try:
        if expected is not None and held.identity != expected:
            raise changed(path, "is another disk than the one that was looked at")
        held.check()
    except RefusedError:
        held.close()
        raise
    return held


def identity_of(path: str) -> Identity:
    """What a name leads to now. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _identity(descriptor)
    finally:
        os.close(descriptor)


def file_of_loop(device: str) -> str:
    """The file behind a loop device as `Identity.number`; empty for a device without one."""
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.ENOENT, errno.ENODEV):
            raise
        return ""
    try:
        status = fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, bytes(_LOOP_INFO64))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return ""
    finally:
        os.close(descriptor)
    number, inode = struct.unpack_from("<QQ", status)
    return f"file {number}:{inode}"


def places(path: str) -> tuple[str, ...]:
    """Every subject that a lock of this path is needed for, whatever name it goes by.

    A device is its number. A file or directory is its inode, and where there is none yet, or a
    mount will hide it, its place in the directory above.
    """
    real = Path(os.path.realpath(path))
    try:
        status = real.stat()
    except FileNotFoundError:
        return (_place(real),)
    if stat.S_ISBLK(status.st_mode):
        return (_number(status),)
    return (_place(real), _number(status))


def changed(path: str, problem: str) -> RefusedError:
    """The refusal of what is no longer what was looked at."""
    return RefusedError(path, (Refusal("changed", problem, "start again"),))


def _open_exclusively(path: str, shown: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_EXCL)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        problem = "the kernel holds it, or a part of it, for something else"
        remedy = "see what uses it with lsblk and findmnt, or name another disk"
        raise RefusedError(shown, (Refusal("held", problem, remedy),)) from error


def _place(path: Path) -> str:
    above = next(parent for parent in path.parents if parent.is_dir())
    return f"{_number(above.stat())}/{path.relative_to(above)}"


def _identity(descriptor: int) -> Identity:
    status = os.fstat(descriptor)
    if not stat.S_ISBLK(status.st_mode):
        return Identity(_number(status))
    return Identity(
        _number(status),
        _u64(descriptor, _BLKGETDISKSEQ, missing=(errno.ENOTTY, errno.EINVAL)),
        _u64(descriptor, _BLKGETSIZE64),
    )


def _number(status: os.stat_result) -> str:
    if stat.S_ISBLK(status.st_mode):
        return f"device {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return f"file {status.st_dev}:{status.st_ino}"


def _u64(descriptor: int, request: int, missing: tuple[int, ...] = ()) -> int:
    try:
        (value,) = struct.unpack("=Q", fcntl.ioctl(descriptor, request, bytes(8)))
    except OSError as error:
        if error.errno not in missing:
            raise
        return 0
    return int(value)
