"""The kernel's tables of what is mounted and swapped to."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class MountEntry:
    """A line of proc_pid_mountinfo(5); `options` are the mount's, the last the file system's.

    `parent` is the number of the mount that this one lies on; that of the root is in no table.
    """

    device_number: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: tuple[str, ...]
    number: int = 0
    parent: int = 0


@dataclass(frozen=True)
class Standing:
    """One mount, told from every other that was ever at its place.

    `id` and `device` are given anew once it is unmounted; `unique` is not, and is 0 on a kernel
    without it (STATX_MNT_ID_UNIQUE, statx(2), Linux 6.8).
    """

    id: int
    device: str
    fs_type: str
    unique: int = 0


def parse_mountinfo(text: str) -> tuple[MountEntry, ...]:
    """Read /proc/self/mountinfo; a line that is not of its form raises ValueError."""
    entries = []
    # The kernel escapes the line feed alone of what splitlines() would part at.
    for line in text.split("\n"):
        if not line:
            continue
        before, separator, after = line.partition(" - ")
        left, right = before.split(" "), after.split(" ")
        if not separator or len(left) < 6 or len(right) < 3:
            raise ValueError(f"not a line of mountinfo: {line!r}")
        entries.append(
            MountEntry(
                device_number=left[2],
                root=_unescape(left[3]),
                mount_point=_unescape(left[4]),
                options=tuple(left[5].split(",")),
                fs_type=right[0],
                source=_unescape(right[1]),
                super_options=tuple(right[2].split(",")),
                number=int(left[0]),
                parent=int(left[1]),
            )
        )
    return tuple(entries)


def visible(table: Iterable[MountEntry]) -> dict[str, MountEntry]:
    """What is found at each mount point, as the kernel walks a path (path_resolution(7)).

    Of several mounts on one point that is the one on top, which need not be the last line; a
    mount below another one's point may not be found at all.
    """
    entries = tuple(table)
    numbers = {entry.number for entry in entries if entry.number != entry.parent}
    lying = {(entry.parent, entry.mount_point): entry for entry in entries}
    first = {e.mount_point: e for e in entries if e.number == e.parent or e.parent not in numbers}
    found = {}
    for point in dict.fromkeys(entry.mount_point for entry in entries):
        top = _walk(point, lying, first)
        if top is not None and top.mount_point == point:
            found[point] = top
    return found


def _walk(
    point: str, lying: Mapping[tuple[int, str], MountEntry], first: Mapping[str, MountEntry]
) -> MountEntry | None:
    here = None
    parts = [part for part in point.split("/") if part]
    for depth in range(len(parts) + 1):
        path = "/" + "/".join(parts[:depth])
        above = first.get(path) or (lying.get((here.number, path)) if here else None)
        while above is not None and above is not here:
            here = above
            above = lying.get((here.number, path))
    return here


def mount_table() -> tuple[MountEntry, ...]:
    """What this process sees mounted, oldest first."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def on_top(target: str) -> MountEntry | None:
    """What is mounted at a path, of several the one that is seen; None where nothing is."""
    return next((m for m in reversed(mount_table()) if m.mount_point == target), None)


def standing(target: str) -> Standing | None:
    """What tells the mount at a path from all others; None where nothing is mounted."""
    entry = on_top(target)
    if entry is None:
        return None
    return Standing(entry.number, entry.device_number, entry.fs_type, _unique_id(target))


def _unique_id(target: str) -> int:
    import ctypes  # noqa: PLC0415

    unique, at_cwd, no_automount, place = 0x4000, -100, 0x800, 144
    found = ctypes.create_string_buffer(256)
    statx = ctypes.CDLL(None, use_errno=True).statx
    if statx(at_cwd, os.fsencode(target), no_automount, unique, found) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), target)
    # struct statx of linux/stat.h: stx_mask is first, stx_mnt_id at byte 144.
    if not int.from_bytes(found.raw[:4], sys.byteorder) & unique:
        return 0
    return int.from_bytes(found.raw[place : place + 8], sys.byteorder)


def swap_devices() -> frozenset[str]:
    """Device nodes and files that are swapped to, from /proc/swaps."""
    try:
        lines = Path("/proc/swaps").read_text(errors="surrogateescape").split("\n")[1:]
    except FileNotFoundError:  # a kernel without swap
        return frozenset()
    return frozenset(_unescape(line.split()[0]) for line in lines if line.strip())


def users(mount_point: str) -> tuple[str, ...]:
    """The processes with a file, a directory or a program on a file system: `name (process N)`.

    Those that another user's confinement hides are not found.
    """
    if all(entry.mount_point != mount_point for entry in mount_table()):
        # It would be asked of the file system above, in the end of the whole machine.
        return ()
    device = Path(mount_point).stat().st_dev
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and any(_is_on(link, device) for link in _links(process)):
            name = _read(process / "comm").strip() or "unknown"
            found.append(f"{name} (process {process.name})")
    return tuple(sorted(found))


def _links(process: Path) -> Iterator[Path]:
    yield from (process / "cwd", process / "root", process / "exe")
    try:
        yield from (process / "fd").iterdir()
    except OSError:  # it has ended
        return


def _is_on(link: Path, device: int) -> bool:
    try:
        return link.stat().st_dev == device
    except OSError:  # it has ended, or the file has
        return False


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
