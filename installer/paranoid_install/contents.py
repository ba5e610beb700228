"""What is on a disk: its signatures, and without any whether it is blank.

For that its bytes are asked: encryption without a header, a file system whose table is lost, boot
code without its mark have no signature, and all of them are somebody's data.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from paranoid_install import stack
from paranoid_install.disks import Disk, Signature
from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner
from paranoid_install.values import MIB

_PROBE = 4096
_HEAD = 4 * MIB
_TAIL = MIB
_PLACES = 256
_SAMPLE = 64 * 1024
_SECONDS = 10.0
"""A disk that needs 30 ms for each place has been read at all of them by then."""


def probe(runner: Runner, disk: Disk, parts: Iterable[str] = (), *, claimed: bool = False) -> Disk:
    """The disk with all that is on it and on its partitions `parts` (device nodes).

    `claimed` says that this run itself has claimed it. Raises CommandFailed.
    """
    if disk.kind == "image" and not Path(disk.path).exists():
        return replace(disk, signatures=())
    try:
        free = not (disk.mounted or disk.swap or disk.holders or claimed)
        if free and _is_claimed(disk.path):
            disk = replace(disk, holders=("the kernel",))
        if disk.stack:
            name = Path(disk.path).name
            disk = replace(disk, stack=stack.look_closer(runner, name, disk.stack, _is_claimed))
        disk = signatures(runner, disk, parts)
        if disk.signatures == ():
            disk = replace(disk, data=first_data(disk.path, disk.size))
    except OSError as error:  # it went away between two looks
        return replace(disk, unreadable=error.strerror or str(error))
    return disk


def signatures(runner: Runner, disk: Disk, parts: Iterable[str] = ()) -> Disk:
    """The disk with its signatures and those of its partitions, or why it cannot be read.

    wipefs(8) and blkid(8) report a disk whose first sector cannot be read as blank, so both
    ends are read here first. Raises CommandFailed.
    """
    unreadable = _unreadable(disk)
    if unreadable:
        return replace(disk, unreadable=unreadable)
    result = runner.run("wipefs", "--no-act", "--json", disk.path, *parts)
    if result.stdout.strip():
        return replace(disk, signatures=parse_wipefs(result.stdout, disk.path))
    # Some versions print nothing for a blank disk; blkid says so by its exit code, 2.
    runner.run("blkid", "--probe", disk.path, ok=(2,))
    return replace(disk, signatures=())


def table_id(runner: Runner, path: str) -> str:
    """The random id of the partition table on a disk, without a cache; empty where there is none.

    Raises CommandFailed.
    """
    argv = ("blkid", "--probe", "--match-tag", "PTUUID", "--output", "value", path)
    # blkid(8): 2 says that nothing was found.
    return runner.run(*argv, ok=(0, 2)).stdout.strip()


def file_system(runner: Runner, path: str) -> dict[str, str]:
    """What blkid(8) is sure of, without a cache: TYPE, LABEL, UUID; empty when it is not.

    Raises CommandFailed.
    """
    # blkid(8): 2 says that nothing was found, 8 that several things were.
    lines = runner.run(
        "blkid", "--probe", "--output", "export", path, ok=(0, 2, 8)
    ).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def parse_wipefs(text: str, path: str) -> tuple[Signature, ...]:
    """Read `wipefs --json`. Raises CommandFailed for any other output: unknown is not blank."""
    try:
        rows = json.loads(text)["signatures"]
        if not isinstance(rows, list):
            raise TypeError("not a list")  # noqa: TRY301
        return tuple(
            Signature(str(r["device"]), str(r["type"]), str(r.get("label") or "")) for r in rows
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        argv = ("wipefs", "--no-act", "--json", path)
        problem = f"printed what is not a list of signatures ({error})"
        raise CommandFailed(argv, problem, 0, tuple(text.splitlines()[-20:])) from error


def mounts(path: str, offset: int) -> int | None:
    """How often the file system of a new partition was mounted, as far as it counts; None for
    what a run that was cut off would not have left there.

    ext4 counts (s_mnt_count, "The Super Block" in the kernel's documentation of ext4), vfat does
    not. Where mkfs has not been yet, nothing must be. Raises OSError.
    """
    with open(path, "rb") as disk:  # noqa: PTH123 - a device, or an image file
        disk.seek(offset)
        start = disk.read(_SAMPLE)
    if start[1080:1082] == b"\x53\xef":
        return int.from_bytes(start[1076:1078], "little")
    is_vfat = start[82:90] == b"FAT32   " and start[510:512] == b"\x55\xaa"
    return 0 if is_vfat or _is_uniform(start) else None


def first_data(path: str, size: int, clock: Callable[[], float] = time.monotonic) -> str:
    """Where a disk of `size` bytes holds anything, in words; empty for one that reads as blank.

    Read are the first 4 MiB, the last MiB, and 64 KiB at each of 256 places spread evenly between;
    of these as many as come within ten seconds, so that a slow disk does not hold up an install.
    Each piece must be of zeros, or of 0xFF as erased flash memory is. Raises OSError.
    """
    limit = clock() + _SECONDS
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for offset, length, always in _pieces(size):
            if not always and clock() > limit:
                break
            piece = os.pread(descriptor, length, offset)
            if piece and not _is_uniform(piece):
                # Of a piece that mixes both, where the other one begins.
                start = len(piece) - len(piece.lstrip(piece[:1]))
                return f"at byte {offset + (start if piece[0] in (0, 255) else 0)}"
    finally:
        os.close(descriptor)
    return ""


def _pieces(size: int) -> Iterator[tuple[int, int, bool]]:
    """Offset and length of what is read, the ends first; whether it is read at any cost."""
    for offset in range(0, min(_HEAD, size), MIB):
        yield offset, min(MIB, size - offset), True
    yield max(0, size - _TAIL), min(_TAIL, size), True
    between = size - _HEAD - _TAIL
    if between <= 0:
        return
    for number in range(_PLACES):
        offset = _HEAD + between * number // _PLACES
        yield offset - offset % 4096, _SAMPLE, False


def _is_uniform(piece: bytes) -> bool:
    return not piece.strip(b"\0") or not piece.strip(b"\xff")


def _unreadable(disk: Disk) -> str:
    """Why the first or the last 4 KiB cannot be read; empty when they can."""
    try:
        with open(disk.path, "rb", buffering=0) as file:  # noqa: PTH123 - unbuffered on purpose
            for offset in (0, max(0, disk.size - _PROBE)):
                os.posix_fadvise(file.fileno(), offset, _PROBE, os.POSIX_FADV_DONTNEED)
                read = len(os.pread(file.fileno(), min(_PROBE, disk.size), offset))
                if read < min(_PROBE, disk.size):
                    return f"only {read} bytes could be read at byte {offset}"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _is_claimed(path: str) -> bool:
    """Whether the kernel holds the device or a part of it exclusively (open(2), O_EXCL).

    Mounts of btrfs and ZFS have device numbers of their own, so the mount table does not show
    which disks they are on; a member of a pool may be named nowhere at all.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    return False
