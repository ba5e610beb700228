"""Joins the records of one event, in bounded memory, whatever comes in.

An event is complete at its EOE, or when its SYSCALL, EXECVE, CWD and all the PATHs that `items=`
names are there: the kernel writes them in this order, and only PROCTITLE and EOE after them, which
say nothing here and are missing in many logs. Otherwise its limit ends it. Nothing is dropped
without being counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paranoid_install.watch.records import EventId, fields, identity

OPEN_EVENTS = 1024
"""Events that may wait for more records at a time."""

EVENT_BYTES = 64 * 1024
"""What is kept of one event's bodies: a program's arguments may be 2 MiB."""

OPEN_BYTES = 16 * 1024**2
"""What all waiting events may hold together."""

LIMIT_MS = 2000
"""How long an event of a live stream waits for more records; auditd and auparse use two seconds as
well."""

LIMIT_BYTES = 1024 * 1024
"""How much of a file may follow the beginning of an event before its end. Not a time: one stamp
in the far future would end, or keep, all that comes after it."""

EXECVE_CALLS = {
    b"c000003e": frozenset((b"59", b"322", b"1073742344", b"1073742369")),  # x86_64 and x32
    b"40000003": frozenset((b"11", b"358")),  # i386
    b"c00000b7": frozenset((b"221", b"281")),  # aarch64
    b"40000028": frozenset((b"11", b"387")),  # arm
    b"c00000f3": frozenset((b"221", b"281")),  # riscv64
    b"c0000102": frozenset((b"221", b"281")),  # loongarch64
    b"c0000015": frozenset((b"11", b"362")),  # ppc64le
    b"80000015": frozenset((b"11", b"362")),  # ppc64
    b"14": frozenset((b"11", b"362")),  # ppc
    b"80000016": frozenset((b"11", b"354")),  # s390x
    b"16": frozenset((b"11", b"354")),  # s390
    b"80000008": frozenset((b"5057", b"5316")),  # mips64, n64
    b"c0000008": frozenset((b"5057", b"5316")),  # mips64el, n64
    b"a0000008": frozenset((b"6057", b"6320")),  # mips64, n32
    b"e0000008": frozenset((b"6057", b"6320")),  # mips64el, n32
    b"8": frozenset((b"4011", b"4356")),  # mips, o32
    b"40000008": frozenset((b"4011", b"4356")),  # mipsel, o32
    b"8000002b": frozenset((b"59", b"350")),  # sparc64
    b"2": frozenset((b"59", b"350")),  # sparc
    b"f": frozenset((b"11", b"342")),  # parisc
    b"8000000f": frozenset((b"11", b"342")),  # parisc64
    b"4": frozenset((b"11", b"355")),  # m68k
    b"2a": frozenset((b"11", b"358")),  # sh
    b"4000002a": frozenset((b"11", b"358")),  # sh, little endian
    b"400000f3": frozenset((b"221", b"281")),  # riscv32
    b"c0009026": frozenset((b"59", b"513")),  # alpha
}
"""Numbers of execve and execveat, by the record's arch= (asm/unistd.h, linux/audit.h)."""

CALL = (
    # The kernel's own numbers: none of these classes has the letters for another field's name.
    rb"arch=([0-9a-f]++) syscall=([0-9]++) (?:per=[0-9a-f]++ )?success=(yes|no) exit=(-?[0-9]++) "
    rb"a0=[0-9a-f= ]++items=([0-9]{1,6}+) "
)
"""How a SYSCALL begins: architecture, number, success, result, and number of PATHs."""

_CALL = re.compile(CALL)
_CALLED = (b"arch", b"syscall", b"success", b"exit", b"items")

PARTS = frozenset((b"SYSCALL", b"EXECVE", b"CWD", b"PATH", b"PROCTITLE", b"BPRM_FCAPS", b"EOE"))
"""Types that come as several records of one event; all others stand alone."""

_SILENT = frozenset((b"PROCTITLE", b"BPRM_FCAPS", b"EOE"))
"""Those of them in which nothing is told that is asked for here."""


class Event:
    """The records of one event that matter here, as lines, each with the length of its head."""

    __slots__ = (
        "cut", "cwd", "deadline", "execves", "exit", "failed", "items", "node", "parts", "paths",
        "proctitle", "size", "stamp", "started",
    )  # fmt: skip

    def __init__(self, node: bytes, stamp: bytes, deadline: int) -> None:
        self.node = node
        self.stamp = stamp
        self.deadline = deadline
        self.parts: list[tuple[bytes, bytes, int]] = []
        self.items = -1
        """How many PATHs the kernel announced; -1: SYSCALL is missing, or does not say it."""
        self.paths = 0
        self.execves = 0
        self.cwd = False
        self.proctitle = False
        self.started: bool | None = None
        """Whether SYSCALL alone says that a program was to be started; None: cannot tell."""
        self.failed = False
        self.exit: bytes | None = None
        """The call's result; None where SYSCALL is missing."""
        self.size = 0
        self.cut = False
        """Records were longer than kept, or more than EVENT_BYTES came."""

    @property
    def id(self) -> EventId:
        """What its records share, as numbers."""
        return identity(self.node, self.stamp)

    @property
    def exec(self) -> bool | None:
        """Whether a program was started; None when neither SYSCALL nor EXECVE tells."""
        return True if self.execves else self.started

    @property
    def text(self) -> bytes:
        """Its lines in the order in which they came."""
        return b"".join([line for _, line, _ in self.parts])

    def bodies(self, kind: bytes) -> list[bytes]:
        """The bodies of its records of one type, in the order in which they came."""
        return [line[start:-1] for name, line, start in self.parts if name == kind]

    def called(self, line: bytes, start: int) -> None:
        """Take what SYSCALL says: the first one only."""
        match = _CALL.match(line, start)
        if match is not None:
            arch, call, success, self.exit, items = match.groups()
        else:
            pairs = fields(line[start:-1])
            arch, call, success, self.exit, items = (pairs.get(name, b"") for name in _CALLED)
        calls = EXECVE_CALLS.get(arch)
        self.started = None if calls is None or not call else call in calls
        self.failed = success == b"no"
        if items.isdigit() and len(items) < 7:
            self.items = int(items)

    def complete(self) -> bool:
        """Whether every record that the kernel announced is here. Without a PATH there is no last
        one: PROCTITLE is waited for."""
        if not 0 <= self.items <= self.paths or not (self.items or self.proctitle):
            return False
        if self.execves:
            return self.cwd
        return not self.started or (self.failed and self.cwd)


@dataclass
class Counts:
    """What was seen and what was lost on the way, since the start."""

    bytes: int = 0
    unreadable: int = 0
    """Lines that hold no record, or none that can be read."""
    cut: int = 0
    events: int = 0
    expired: int = 0
    evicted: int = 0
    fragments: int = 0


class Joiner:
    """Open events by node and stamp, oldest first. `limit` is in the unit of the callers' `now`."""

    def __init__(
        self,
        counts: Counts,
        *,
        limit: int = LIMIT_MS,
        open_events: int = OPEN_EVENTS,
        open_bytes: int = OPEN_BYTES,
    ) -> None:
        self.open: dict[tuple[bytes, bytes], Event] = {}
        self.due = 0
        """Before this moment no open event is at its limit."""
        self._counts = counts
        self._limit = limit
        self._open_events = open_events
        self._open_bytes = open_bytes
        self._bytes = 0

    def add(
        self,
        node: bytes,
        stamp: bytes,
        kind: bytes,
        line: bytes,
        start: int,
        now: int,
        *,
        cut: bool = False,
    ) -> Sequence[Event]:
        """Take the record in `line`, whose body begins at `start`; returns events that end by it.

        `line` ends with a line feed; `now` never goes back.
        """
        if cut:
            self._counts.cut += 1
        event = self.open.get((node, stamp))
        if event is None:
            # What says nothing here comes also after the event's end.
            if kind in _SILENT:
                return ()
            event = Event(node, stamp, now + self._limit)
            if not self.open:
                self.due = event.deadline
            self.open[node, stamp] = event
        if cut:
            event.cut = True
        if kind not in _SILENT:
            self._take(event, kind, line, start)
        elif kind == b"PROCTITLE":
            event.proctitle = True
        if (event.paths >= event.items >= 0 and event.complete()) or kind == b"EOE":
            self._close(event)
            self._counts.events += 1
            return (event,)
        if len(self.open) > self._open_events or self._bytes > self._open_bytes:
            return list(self._evict())
        return ()

    def expire(self, now: int) -> Iterator[Event]:
        """Yields the events that are at their limit. They were opened in order of it."""
        while self.open:
            oldest = next(iter(self.open.values()))
            if oldest.deadline > now:
                self.due = oldest.deadline
                return
            self._close(oldest)
            self._counts.expired += 1
            yield oldest

    def flush(self) -> Iterator[Event]:
        """Yields all that is open: the stream has ended."""
        while self.open:
            oldest = next(iter(self.open.values()))
            self._close(oldest)
            self._counts.expired += 1
            yield oldest

    def _evict(self) -> Iterator[Event]:
        while len(self.open) > self._open_events or self._bytes > self._open_bytes:
            oldest = next(iter(self.open.values()))
            self._close(oldest)
            self._counts.evicted += 1
            yield oldest

    def _close(self, event: Event) -> None:
        del self.open[event.node, event.stamp]
        self._bytes -= event.size

    def _take(self, event: Event, kind: bytes, line: bytes, start: int) -> None:
        size = len(line) - start + 64
        if event.size + size > EVENT_BYTES:
            # A PATH is still needed to know what was run: its list is short by nature, the
            # arguments are not.
            event.cut = True
            self._counts.cut += 1
            if kind == b"EXECVE" or event.size + size > 2 * EVENT_BYTES:
                return
        event.size += size
        self._bytes += size
        event.parts.append((kind, line, start))
        if kind == b"PATH":
            event.paths += 1
        elif kind == b"EXECVE":
            event.execves += 1
        elif kind == b"CWD":
            event.cwd = True
        elif event.exit is None:
            event.called(line, start)
