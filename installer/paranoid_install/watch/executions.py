"""A program start, decoded from the records of its event."""

from __future__ import annotations

from dataclasses import dataclass

from paranoid_install.watch.events import Event
from paranoid_install.watch.records import EventId, Undecodable, decode, fields


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
    called, cwd = event.bodies(b"SYSCALL"), event.bodies(b"CWD")
    syscall = fields(called[0]) if called else {}
    argv, whole = arguments(event.bodies(b"EXECVE"))
    paths = [_path(body) for body in event.bodies(b"PATH")]
    success = {b"yes": True, b"no": False}.get(syscall.get(b"success", b""))
    return Execution(
        id=event.id,
        success=success,
        exit=syscall.get(b"exit", b""),
        exe=_readable(syscall.get(b"exe")),
        comm=_readable(syscall.get(b"comm")),
        argv=argv,
        argv_whole=whole and not event.cut,
        cwd=_readable(fields(cwd[0]).get(b"cwd")) if cwd else None,
        paths=tuple(sorted(paths, key=lambda path: path.item)),
        syscall=syscall,
        syscall_body=called[0] if called else b"",
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
