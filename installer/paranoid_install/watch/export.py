"""A journal's export (`journalctl -o export`) as the lines that `-o json` writes.

An entry is fields and an empty line; a field is `NAME=value`, or, where the value has a line feed
or is no text, the name, a line feed, the length in eight bytes (the least first), the value
and a line feed (systemd's docs/JOURNAL_EXPORT_FORMATS.md).
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator

from paranoid_install.watch.records import JOURNAL_BYTES

BEGINNING = b"__CURSOR="
"""What every export begins with."""

FIELDS = (
    "MESSAGE",
    "_TRANSPORT",
    "_AUDIT_TYPE_NAME",
    "_AUDIT_ID",
    "_SOURCE_REALTIME_TIMESTAMP",
    "_BOOT_ID",
)
"""What is needed of an entry."""

_WANTED = {name.encode(): name for name in FIELDS}
_UNREADABLE = b"{}\n"
_Block = bytes | mmap.mmap


def unexported(blocks: Iterable[_Block]) -> Iterator[_Block]:
    """`blocks` as they are; of an export, its audit and kernel entries as lines of JSON."""
    reader: _Export | None = None
    first = True
    for block in blocks:
        if first and block[: len(BEGINNING)] == BEGINNING:
            reader = _Export()
        first = False
        if reader is None:
            yield block
        else:
            yield b"".join(reader.feed(block))
    if reader is not None:
        yield b"".join(reader.finish())


class _Export:
    """Takes an export block by block, in bounded memory, and gives lines."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0
        self._entry: dict[str, bytes] = {}
        self._broken = False

    def feed(self, block: _Block) -> Iterator[bytes]:
        """The entries that end in `block`."""
        data = self._rest + block[:] if self._rest else block
        position = min(self._skip, len(data))
        self._skip -= position
        while not self._skip:
            end = data.find(b"\n", position)
            if end < 0:
                break
            if end == position:
                yield from self._ended()
                position += 1
                continue
            following = self._field(data, position, end)
            if following is None:
                break
            # A value may be longer than what is here: the rest of it is passed over.
            self._skip = max(0, following - len(data))
            position = min(following, len(data))
        # A longer line is none of ours; what is left of it is too long to be read.
        self._rest = data[position : position + JOURNAL_BYTES + 1]

    def finish(self) -> Iterator[bytes]:
        """The last entry. What is cut off is told as a line that cannot be read."""
        if self._rest or self._skip:
            yield _UNREADABLE
        else:
            yield from self._ended()

    def _field(self, data: _Block, start: int, end: int) -> int | None:
        """Take one field; returns where the next begins, None when more is needed first."""
        equals = data.find(b"=", start, end)
        if equals >= 0:
            self._take(data[start:equals], data[equals + 1 : end])
            return end + 1
        begin = end + 9
        if begin > len(data):
            return None
        length = int.from_bytes(data[end + 1 : begin], "little")
        if length <= JOURNAL_BYTES:
            if begin + length + 1 > len(data):
                return None
            self._take(data[start:end], data[begin : begin + length])
        elif data[start:end] in _WANTED:
            self._broken = True
        return begin + length + 1

    def _take(self, name: bytes, value: bytes) -> None:
        wanted = _WANTED.get(name)
        if wanted is None:
            return
        # Given twice, nobody can tell which is meant.
        self._broken = self._broken or wanted in self._entry
        self._entry[wanted] = value

    def _ended(self) -> Iterator[bytes]:
        entry, broken = self._entry, self._broken
        self._entry, self._broken = {}, False
        if entry.get("_TRANSPORT") not in (b"audit", b"kernel"):
            return
        if broken:
            yield _UNREADABLE
        else:
            shown = {name: _shown(value) for name, value in entry.items()}
            yield json.dumps(shown).encode() + b"\n"


def _shown(value: bytes) -> str | list[int]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return list(value)
