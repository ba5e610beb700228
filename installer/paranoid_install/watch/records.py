"""One audit record: from a line of any of its written forms to a type, an id and a body.

Forms (audit-userspace's README and docs, journald-audit.c, printk of kernel/audit.c):

    type=SYSCALL msg=audit(1364481363.243:24287): arch=c000003e …      auditd, raw
    node=meeka type=SYSCALL msg=audit(…): … <0x1d>ARCH=x86_64 …        auditd, enriched, with node
    [   12.345678] audit: type=1300 audit(1364481363.243:24287): …     kernel log
    {"_TRANSPORT":"audit","MESSAGE":"SYSCALL arch=…", …}               journalctl -o json

Only the writer of a log begins a line, and the kernel writes a value with a space, quote,
control or non-ASCII byte in hexadecimal. So a line's form is told by its beginning, and a
body is split at spaces: whatever a process puts in its arguments can end neither.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

RECORD_BYTES = 16 * 1024
"""Longer lines are cut. The kernel's own limit is 8970 bytes
(MAX_AUDIT_MESSAGE_LENGTH)."""

JOURNAL_BYTES = 4 * RECORD_BYTES + 4096
"""The same for a line of JSON: a byte that is no UTF-8 takes up to four characters."""

SEPARATOR = b"\x1d"
"""auditd writes its own enrichment after this byte; the kernel never writes it."""

NODE = rb"(?:node=([^ \n\x1d]+) )?"
STAMP = rb"([0-9]{1,12}\.[0-9]{3}:[0-9]{1,20})"
_AUDITD = re.compile(
    NODE + rb"type=([A-Z0-9_]+|UNKNOWN\[[0-9]+\]) msg=audit\(" + STAMP + rb"\)(?:: ?|(?= ))"
)
# auditd of RHEL 7 writes its own DAEMON_CONFIG without the colon.
# What printk and dmesg put before a message; a syslog file's prefix is not taken, as any user
# can write such a line with logger(1).
_KERNEL = re.compile(
    rb"(?:<[0-9]{1,3}>)?(?:[0-9]+,[0-9]+,[0-9]+,[^;]*;)?(?:\[[ 0-9.]+\] )?"
    rb"audit: type=([0-9]{1,5}) audit\(" + STAMP + rb"\): ?"
)
_KERNEL_NOTE = re.compile(
    rb"(?:<[0-9]{1,3}>)?(?:[0-9]+,[0-9]+,[0-9]+,[^;]*;)?(?:\[[ 0-9.]+\] )?"
    rb"(audit: (?:audit_lost=|backlog limit exceeded|rate limit exceeded|kauditd hold queue).*"
    rb"|kauditd_printk_skb: [0-9]+ callbacks suppressed)",
    re.DOTALL,
)

_NO_STAMP = b"0.000:0"

NOTE = b"KERNEL_NOTE"
"""Type given to what the kernel's log says of losses; no record of the audit trail itself."""

OTHER = b"KERNEL_OTHER"
"""Type given to other messages of the kernel's log, as the journal holds them."""

_NAMES = {
    b"1300": b"SYSCALL",
    b"1302": b"PATH",
    b"1305": b"CONFIG_CHANGE",
    b"1307": b"CWD",
    b"1309": b"EXECVE",
    b"1320": b"EOE",
    b"1321": b"BPRM_FCAPS",
    b"1327": b"PROCTITLE",
    b"1200": b"DAEMON_START",
    b"1201": b"DAEMON_END",
    b"1202": b"DAEMON_ABORT",
    b"1203": b"DAEMON_CONFIG",
    b"1208": b"DAEMON_ERR",
    b"2000": b"KERNEL",
}

TOLD = frozenset(
    (b"KERNEL", b"CONFIG_CHANGE", b"DAEMON_START", b"DAEMON_END", b"DAEMON_ABORT",
     b"DAEMON_CONFIG", b"DAEMON_ERR")
)  # fmt: skip
"""Types of records that say something of the trail itself: boots, changes, losses."""


@dataclass(frozen=True, slots=True)
class EventId:
    """What the records of one event share. `milliseconds` since 1970; serials restart at boot."""

    node: bytes
    milliseconds: int
    serial: int


@dataclass(frozen=True, slots=True)
class Record:
    """`type` by name (`SYSCALL`), `body` the raw text behind the id, `cut` if it was too long.

    `stamp` is the id as written, `1364481363.243:24287`: what the records of one event share.
    """

    node: bytes
    stamp: bytes
    type: bytes
    body: bytes
    cut: bool = False
    transport: bytes = b""

    @property
    def id(self) -> EventId:
        """The id as numbers."""
        return identity(self.node, self.stamp)

    def written(self) -> tuple[bytes, int]:
        """The record as a line of auditd, with its line feed, and where its body begins."""
        node = b"node=%s " % self.node if self.node else b""
        head = b"%stype=%s msg=audit(%s): " % (node, self.type, self.stamp)
        return b"%s%s\n" % (head, self.body), len(head)


def identity(node: bytes, stamp: bytes) -> EventId:
    """What `stamp` says, as numbers."""
    time, _, serial = stamp.partition(b":")
    return EventId(node, int(time.replace(b".", b"")), int(serial))


def parse(line: bytes) -> Record | None:
    """The record that `line` (without its line feed) holds, or None when it holds none."""
    if line[:1] == b"{":
        return _journal(line)
    if line[-1:] == b"\r":
        # A file that was carried over another system; the kernel writes no such byte.
        line = line[:-1]
    cut = len(line) > RECORD_BYTES
    if cut:
        line = line[:RECORD_BYTES]
    match = _AUDITD.match(line)
    if match is not None:
        node, kind, stamp = match.groups()
        if kind.startswith(b"UNKNOWN["):
            kind = _NAMES.get(kind[8:-1], kind)
        return Record(node or b"", stamp, kind, line[match.end() :], cut)
    match = _KERNEL.match(line)
    if match is not None:
        number, stamp = match.groups()
        return Record(b"", stamp, _NAMES.get(number, number), line[match.end() :], cut, b"kernel")
    match = _KERNEL_NOTE.match(line)
    if match is not None:
        return Record(b"", _NO_STAMP, NOTE, match[1], cut, b"kernel")
    return None


def _journal(line: bytes) -> Record | None:  # noqa: PLR0911 - each doubt ends it
    """A record from one line of `journalctl -o json`.

    Only fields with a leading underscore are the journal's own; MESSAGE is used together with
    them, because long field names are dropped and their number is capped (journald-audit.c).
    """
    if len(line) > JOURNAL_BYTES:
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        # Nested deeper than the parser goes: the journal's own entries are not nested at all.
        return None
    message = _bytes(entry.get("MESSAGE")) if isinstance(entry, dict) else None
    if message is None:
        return None
    transport = entry.get("_TRANSPORT")
    if transport == "kernel":
        # Nothing but the kernel writes this transport without /dev/kmsg, which is root's.
        found = parse(message) if message[:1] != b"{" else None
        if found is None or found.transport != b"kernel":
            return Record(b"", _NO_STAMP, OTHER, b"", transport=b"kernel")
        return replace(found, node=_boot(entry))
    kind, number, stamp = (
        entry.get(name) for name in ("_AUDIT_TYPE_NAME", "_AUDIT_ID", "_SOURCE_REALTIME_TIMESTAMP")
    )
    if transport != "audit" or not all(isinstance(v, str) for v in (kind, number, stamp)):
        return None
    if not (number.isascii() and number.isdigit() and stamp.isascii() and stamp.isdigit()):
        return None
    name, _, body = message.partition(b" ")
    if name != kind.encode(errors="replace") or len(number) > 20 or len(stamp) > 18:
        return None
    node = _boot(entry)
    if name.startswith(b"UNKNOWN["):
        name = _NAMES.get(name[8:-1], name)
    cut = len(body) > RECORD_BYTES
    milliseconds = int(stamp) // 1000
    written = b"%d.%03d:%d" % (milliseconds // 1000, milliseconds % 1000, int(number))
    return Record(node, written, name, body[:RECORD_BYTES], cut, b"audit")


def _boot(entry: dict[str, object]) -> bytes:
    boot = entry.get("_BOOT_ID")
    return boot.encode(errors="replace")[:64] if isinstance(boot, str) else b""


def _bytes(value: object) -> bytes | None:
    """A field of journalctl's JSON: a string, or an array of numbers when it is no UTF-8."""
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    if isinstance(value, list):
        try:
            return bytes(value)
        except (TypeError, ValueError):
            return None
    return None


def fields(body: bytes) -> dict[bytes, bytes]:
    """The raw `name=value` pairs of a body before its enrichment; the first of a name wins."""
    return _pairs(body.partition(SEPARATOR)[0])


def enrichment(body: bytes) -> dict[bytes, bytes]:
    """What auditd added after the separator: names of users, system calls (`AUID="root"`)."""
    return _pairs(body.partition(SEPARATOR)[2])


def _pairs(text: bytes) -> dict[bytes, bytes]:
    pairs: dict[bytes, bytes] = {}
    for token in text.split(b" "):
        name, equals, value = token.partition(b"=")
        if equals and name not in pairs:
            pairs[name] = value
    return pairs


class Undecodable(ValueError):
    """A value that is neither quoted, nor hexadecimal, nor one of the kernel's own words."""


def decode(value: bytes) -> bytes | None:
    """The bytes that an untrusted string field stands for.

    `"…"` literally, `(null)` and `(none)` as None, otherwise hexadecimal, as
    audit_log_untrustedstring writes it. Raises Undecodable (a record cut off, say).
    """
    if value[:1] == b'"':
        if len(value) < 2 or value[-1:] != b'"' or b'"' in value[1:-1]:
            raise Undecodable(value)
        return value[1:-1]
    if value in (b"(null)", b"(none)"):
        return None
    try:
        # fromhex would also skip white space; a value holds none.
        return bytes.fromhex(value.decode("ascii"))
    except ValueError:
        raise Undecodable(value) from None


def visible(raw: bytes) -> str:
    r"""`raw` for people: printable ASCII as it is, anything else as \xNN, a backslash doubled.

    No terminal escape, line feed or right-to-left mark survives, and the form can be read back.
    """
    return "".join(_SHOWN[byte] for byte in raw)


_SHOWN = [
    "\\\\" if n == 0x5C else chr(n) if 0x20 <= n < 0x7F else f"\\x{n:02x}" for n in range(256)
]
