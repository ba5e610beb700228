"""What processes last started: how an alert names a parent without asking the machine."""

from __future__ import annotations

PARENTS = 16_384
"""Processes whose program is remembered, to name a parent; at most twice as many are held."""


class Programs:
    """What a process, by node and pid, last started. Two generations: the older one goes when
    the younger has `size` entries."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._young: dict[tuple[bytes, bytes], bytes] = {}
        self._old: dict[tuple[bytes, bytes], bytes] = {}

    def put(self, process: tuple[bytes, bytes], exe: bytes) -> None:
        """Remember that `process` runs `exe` now."""
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[process] = exe

    def get(self, process: tuple[bytes, bytes]) -> bytes | None:
        """The program of `process`, or None when it is not known."""
        exe = self._young.get(process)
        return self._old.get(process) if exe is None else exe
