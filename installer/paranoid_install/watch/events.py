"""Joins the records of one event, in bounded memory, whatever comes in.

An event is complete at its EOE, or when its SYSCALL, EXECVE, CWD, PROCTITLE and all the PATHs
that `items=` names are there (the journal drops EOE, which has no body); otherwise its time limit
ends it. Nothing is dropped without being counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from paranoid_install.watch.records import EventId, Record, Undecodable, decode, fields

OPEN_EVENTS = 1024
"""Events that may wait for more records at a time."""

EVENT_BYTES = 64 * 1024
"""What is kept of one event's bodies: a program's arguments may be 2 MiB."""

OPEN_BYTES = 16 * 1024**2
"""What all waiting events may hold together."""

LIMIT_MS = 2000
"""How long an event waits for more records; auditd and auparse use two seconds as well."""

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

PARTS = frozenset((b"SYSCALL", b"EXECVE", b"CWD", b"PATH", b"PROCTITLE", b"BPRM_FCAPS", b"EOE"))
"""Types that come as several records of one event; all others stand alone."""


@dataclass(slots=True)
class Event:
    """The raw records of one event. `fields` of SYSCALL are kept parsed, the others as bodies."""

    id: EventId
    deadline: int
    syscall: dict[bytes, bytes] | None = None
    syscall_body: bytes = b""
    execve: list[bytes] = field(default_factory=list)
    cwd: bytes | None = None
    paths: list[bytes] = field(default_factory=list)
    proctitle: bool = False
    size: int = 0
    cut: bool = False
    """Records were longer than kept, or more than EVENT_BYTES came."""

    @property
    def exec(self) -> bool | None:
        """Whether a program was started; None when SYSCALL and EXECVE are both missing."""
        if self.execve:
            return True
        if self.syscall is None:
            return None
        calls = EXECVE_CALLS.get(self.syscall.get(b"arch", b""), frozenset())
        return self.syscall.get(b"syscall", b"") in calls

    def complete(self) -> bool:
        """Whether every record that the kernel announced is here."""
        if not self.proctitle or self.syscall is None:
            return False
        items = self.syscall.get(b"items", b"")
        if not items.isdigit() or len(items) > 6 or len(self.paths) < int(items):
            return False
        return not self.exec or self.cwd is not None


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
    """Open events by id, oldest first."""

    def __init__(
        self,
        counts: Counts,
        *,
        limit_ms: int = LIMIT_MS,
        open_events: int = OPEN_EVENTS,
        open_bytes: int = OPEN_BYTES,
    ) -> None:
        self.open: dict[EventId, Event] = {}
        self._counts = counts
        self._limit_ms = limit_ms
        self._open_events = open_events
        self._open_bytes = open_bytes
        self._bytes = 0

    def add(self, record: Record, now: int) -> Iterator[Event]:
        """Take `record` at `now` (milliseconds, never going back); yields events that end by it."""
        if record.cut:
            self._counts.cut += 1
        event = self.open.get(record.id)
        if event is None:
            # EOE of an event that ended with its PROCTITLE already.
            if record.type == b"EOE":
                return
            event = Event(record.id, now + self._limit_ms)
            self.open[record.id] = event
        self._take(event, record)
        if record.type == b"EOE" or event.complete():
            self._close(event)
            self._counts.events += 1
            yield event
        while len(self.open) > self._open_events or self._bytes > self._open_bytes:
            oldest = next(iter(self.open.values()))
            self._close(oldest)
            self._counts.evicted += 1
            yield oldest

    def expire(self, now: int) -> Iterator[Event]:
        """Yields the events whose time limit has passed. They were opened in order of it."""
        while self.open:
            oldest = next(iter(self.open.values()))
            if oldest.deadline > now:
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

    def _close(self, event: Event) -> None:
        del self.open[event.id]
        self._bytes -= event.size

    def _take(self, event: Event, record: Record) -> None:
        if record.type in (b"EOE", b"BPRM_FCAPS"):
            return
        if record.type == b"PROCTITLE":
            event.proctitle = True
            return
        size = len(record.body) + 64
        if event.size + size > EVENT_BYTES:
            # A PATH is still needed to know what was run: its list is short by nature, the
            # arguments are not.
            event.cut = True
            self._counts.cut += 1
            if record.type == b"EXECVE" or event.size + size > 2 * EVENT_BYTES:
                return
        event.cut = event.cut or record.cut
        event.size += size
        self._bytes += size
        if record.type == b"SYSCALL":
            if event.syscall is None:
                event.syscall = fields(record.body)
                event.syscall_body = record.body
        elif record.type == b"EXECVE":
            event.execve.append(record.body)
        elif record.type == b"CWD":
            event.cwd = record.body if event.cwd is None else event.cwd
        else:
            event.paths.append(record.body)


@dataclass(frozen=True, slots=True)
class PathItem:
    """One PATH record. `name` None: the kernel knew none (execveat of a descriptor)."""

    item: int
    name: bytes | None
    inode: bytes
    device: bytes
    mode: int | None
    owner: bytes
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Execution:
    """One program start, decoded. None: the record or the field is missing or cannot be read."""

    id: EventId
    success: bool | None
    exit: bytes
    exe: bytes | None
    comm: bytes | None
    argv: tuple[bytes | None, ...]
    argv_whole: bool
    cwd: bytes | None
    paths: tuple[PathItem, ...]
    syscall: dict[bytes, bytes]
    syscall_body: bytes

    def number(self, name: bytes) -> int | None:
        """A decimal field of the SYSCALL record, such as pid or uid."""
        value = self.syscall.get(name, b"")
        return int(value) if value.isdigit() and len(value) < 20 else None


def execution(event: Event) -> Execution:
    """Decode an event for which `event.exec` holds."""
    syscall = event.syscall or {}
    argv, whole = arguments(event.execve)
    success = {b"yes": True, b"no": False}.get(syscall.get(b"success", b""))
    return Execution(
        id=event.id,
        success=success,
        exit=syscall.get(b"exit", b""),
        exe=_readable(syscall.get(b"exe")),
        comm=_readable(syscall.get(b"comm")),
        argv=argv,
        argv_whole=whole and not event.cut,
        cwd=_readable(fields(event.cwd).get(b"cwd")) if event.cwd is not None else None,
        paths=tuple(sorted((_path(body) for body in event.paths), key=lambda path: path.item)),
        syscall=syscall,
        syscall_body=event.syscall_body,
    )


def _readable(value: bytes | None) -> bytes | None:
    try:
        return decode(value) if value is not None else None
    except Undecodable:
        return None


def _path(body: bytes) -> PathItem:
    pairs = fields(body)
    item, mode = pairs.get(b"item", b""), pairs.get(b"mode", b"")
    readable = True
    try:
        name = decode(pairs[b"name"])
    except (KeyError, Undecodable):
        name, readable = None, False
    return PathItem(
        # A PATH whose number was cut off might be the first: treat it so.
        item=int(item) if item.isdigit() and len(item) < 7 else 0,
        name=name,
        inode=pairs.get(b"inode", b""),
        device=pairs.get(b"dev", b""),
        mode=int(mode, 8) if mode and not mode.strip(b"01234567") and len(mode) < 12 else None,
        owner=pairs.get(b"ouid", b""),
        readable=readable,
    )


def arguments(bodies: list[bytes]) -> tuple[tuple[bytes | None, ...], bool]:
    """The arguments of one event's EXECVE records, and whether all of them are there.

    A long argument comes in pieces, `a1_len=16384 a1[0]=… a1[1]=…`, and a long list in
    several records (audit_log_execve_info). An unquoted value is always hexadecimal.
    """
    found: dict[int, bytes | None] = {}
    pieces: dict[int, dict[int, bytes | None]] = {}
    count: int | None = None
    for body in bodies:
        for name, value in fields(body).items():
            if name == b"argc":
                count = int(value) if value.isdigit() and len(value) < 10 else None
                continue
            if name[:1] != b"a" or name.endswith(b"_len"):
                continue
            number, bracket, piece = name[1:].partition(b"[")
            if not number.isdigit() or len(number) > 9:
                continue
            text = _readable(value)
            if not bracket:
                found.setdefault(int(number), text)
            elif piece[-1:] == b"]" and piece[:-1].isdigit() and len(piece) < 9:
                pieces.setdefault(int(number), {})[int(piece[:-1])] = text
    for position, parts in pieces.items():
        texts = [parts.get(n) for n in range(len(parts))]
        found[position] = (
            None if None in texts else b"".join(text for text in texts if text is not None)
        )
    known = 0
    while known in found:
        known += 1
    argv = tuple(found[n] for n in range(known))
    return argv, count is not None and known == count and None not in argv
