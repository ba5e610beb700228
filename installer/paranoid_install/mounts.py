"""The kernel's tables of what is mounted and swapped to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class MountEntry:
    """A line of proc_pid_mountinfo(5); `options` are the mount's, the last the file system's."""

    device_number: str
    root: str
    mount_point: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: tuple[str, ...]


def parse_mountinfo(text: str) -> tuple[MountEntry, ...]:
    """Read /proc/self/mountinfo; a line that is not of its form raises ValueError."""
    entries = []
    for line in text.splitlines():
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
            )
        )
    return tuple(entries)


def mount_table() -> tuple[MountEntry, ...]:
    """What this process sees mounted, oldest first."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))


def swap_devices() -> frozenset[str]:
    """Device nodes and files that are swapped to, from /proc/swaps."""
    try:
        lines = Path("/proc/swaps").read_text(errors="surrogateescape").splitlines()[1:]
    except FileNotFoundError:  # a kernel without swap
        return frozenset()
    return frozenset(_unescape(line.split()[0]) for line in lines if line.strip())


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
