"""Values that operators write: sizes of memory and disks."""

from __future__ import annotations

import re
from dataclasses import dataclass

MIB = 1024**2

_UNITS = {"": 1, "K": 1024, "M": MIB, "G": 1024**3, "T": 1024**4}
# ASCII digits alone: int() would also take the digits of other scripts and underscores.
_SIZE = re.compile(r"([0-9]{1,19})([KMGT]?)", re.IGNORECASE | re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,3})%", re.ASCII)
_HINT = "write a whole number with K, M, G or T (powers of 1024), like 512M or 2G"


@dataclass(frozen=True, order=True)
class Size:
    """A number of bytes."""

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Read `512M`, `2G`, `4096`; the units are tmpfs(5)'s, powers of 1024.

        Raises ValueError with a hint for anything else, zero and 2^63 and more included.
        """
        match = _SIZE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not a size; {_HINT}")
        size = int(match[1]) * _UNITS[match[2].upper()]
        if not 0 < size < 2**63:
            raise ValueError(f"{text!r} is out of range; {_HINT}")
        return cls(size)

    def __str__(self) -> str:
        """The shortest form that `parse` reads back to the same value."""
        for unit in ("T", "G", "M", "K"):
            if self.bytes % _UNITS[unit] == 0:
                return f"{self.bytes // _UNITS[unit]}{unit}"
        return str(self.bytes)


@dataclass(frozen=True)
class MemorySize:
    """What tmpfs(5) takes as `size=`: bytes, or a share of the machine's memory in percent."""

    amount: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> MemorySize:
        """Read a `Size`, or `50%` (1 to 100). Raises ValueError with a hint."""
        match = _PERCENT.fullmatch(text.strip())
        if match is None:
            try:
                return cls(Size.parse(text).bytes)
            except ValueError as error:
                raise ValueError(f"{error}, or a share of memory like 50%") from None
        if not 1 <= int(match[1]) <= 100:
            raise ValueError(f"{text!r} is not a share of memory; write 1% to 100%")
        return cls(int(match[1]), percent=True)

    def of(self, memory: int) -> int:
        """Bytes on a machine with `memory` bytes."""
        return memory * self.amount // 100 if self.percent else self.amount

    def __str__(self) -> str:
        return f"{self.amount}%" if self.percent else str(Size(self.amount))


def human(count: int) -> str:
    """Bytes for reading: three significant digits, binary units."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
