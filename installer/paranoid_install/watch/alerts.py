"""What is told, and how often: alerts as data, their text, and the limit on their rate."""

from __future__ import annotations

import json
import pwd
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from paranoid_install.watch.records import enrichment, visible
from paranoid_install.watch.verdicts import Reason, Verdict

ARGUMENTS = 64
ARGUMENT_BYTES = 1024
KINDS = 1024
"""Kinds of alert that are counted apart in one minute; further ones share one count."""
HELD = 16
"""Kinds of one severity that a summary can name."""

SEVERITY = {
    Reason.MEMFD: 3,
    Reason.DELETED: 3,
    Reason.DESCRIPTOR: 3,
    Reason.FORGED: 3,
    Reason.DENIED: 5,
}
"""Syslog's priority of a reason: 3 hidden on purpose, 4 (all others) started, 5 refused."""


@dataclass(frozen=True)
class Alert:
    """One message. `fields` are printable ASCII only (see `records.visible`), numbers or lists.

    `event` is `execution`, or what is said of the trail itself: `lost`, `stopped`, `resumed`,
    `configuration`, `suppressed`, `dropped`, `ended`. `priority` is syslog's (2 critical, 3
    error, 4 warning, 5 notice). `reasons` and `kind` are what `Limit` counts by.
    """

    event: str
    message: str
    priority: int = 4
    fields: tuple[tuple[str, str | int | tuple[str, ...]], ...] = ()
    kind: tuple[object, ...] = ()
    reasons: tuple[str, ...] = ()

    def json(self) -> str:
        """One line of JSON, ASCII only."""
        return json.dumps(
            {"event": self.event, "message": self.message, "priority": self.priority}
            | dict(self.fields)
        )


@dataclass(frozen=True)
class Origin:
    """What /proc says of a process while it lives. Empty: gone already, or nobody looked."""

    unit: str = ""
    parent: str = ""
    namespace: bool = False


def execution(verdict: Verdict, origin: Origin, *, resolve: bool) -> Alert:
    """The alert on an execution. `resolve`: user names from this machine's password file,
    where auditd wrote none into the record."""
    run = verdict.execution
    names = enrichment(run.syscall_body)
    cut = len(run.argv) > ARGUMENTS or any(len(a or b"") > ARGUMENT_BYTES for a in run.argv)
    argv = tuple(
        visible(word[:ARGUMENT_BYTES]) if word is not None else "?" for word in run.argv[:ARGUMENTS]
    )
    subject = verdict.paths[0] if verdict.paths else run.exe or b"?"
    user = _user(names, b"UID", run.number(b"uid"), resolve)
    login = _user(names, b"AUID", run.number(b"auid"), resolve)
    parent = visible(verdict.parent) if verdict.parent else origin.parent
    raw: dict[str, str | int | tuple[str, ...] | None] = {
        "reasons": names_of(verdict.reasons),
        "paths": tuple(visible(path) for path in verdict.paths),
        "exe": visible(run.exe) if run.exe is not None else None,
        "comm": visible(run.comm) if run.comm is not None else None,
        "argv": argv,
        "argv_cut": "yes" if cut or not run.argv_whole else "no",
        "cwd": visible(run.cwd) if run.cwd is not None else None,
        "success": {True: "yes", False: "no", None: "?"}[run.success],
        "pid": run.number(b"pid"),
        "ppid": run.number(b"ppid"),
        "parent": parent or None,
        "uid": run.number(b"uid"),
        "euid": run.number(b"euid"),
        "auid": run.number(b"auid"),
        "user": user,
        "login": login,
        "tty": visible(run.syscall.get(b"tty", b"?")),
        "session": visible(run.syscall.get(b"ses", b"?")),
        "unit": origin.unit or None,
        "namespace": "other" if origin.namespace else None,
        "key": visible(run.syscall.get(b"key", b"").strip(b'"')) or None,
        "node": visible(run.id.node) or None,
        "milliseconds": run.id.milliseconds,
        "serial": run.id.serial,
    }
    reasons = ", ".join(reason.value for reason in verdict.reasons)
    tried = "tried to execute" if Reason.DENIED in verdict.reasons else "executed"
    message = (
        f"{tried} {visible(subject) or 'an unnamed file'} ({reasons})"
        f" by {user or raw['uid']}, pid {raw['pid']}"
        + (f", parent {parent}" if parent else "")
        + (f", unit {origin.unit}" if origin.unit else "")
        + (f", tty {raw['tty']}" if raw["tty"] not in ("(none)", "?") else "")
    )
    fields = tuple((name, value) for name, value in raw.items() if value is not None)
    kind = (verdict.reasons, subject, run.syscall.get(b"uid"))
    priority = min(SEVERITY.get(reason, 4) for reason in verdict.reasons)
    return Alert("execution", message, priority, fields, kind, names_of(verdict.reasons))


def names_of(reasons: Iterable[Reason]) -> tuple[str, ...]:
    """The reasons as alerts carry them."""
    return tuple(reason.value for reason in reasons)


def _user(names: dict[bytes, bytes], field: bytes, uid: int | None, resolve: bool) -> str | None:
    given = names.get(field)
    if given is not None:
        return visible(given.strip(b'"'))
    if uid is None or not resolve:
        return None
    if uid == 0xFFFFFFFF:
        return "unset"
    try:
        return visible(pwd.getpwuid(uid).pw_name.encode())
    except (KeyError, OverflowError):
        return None


@dataclass
class Limit:
    """Lets through `per_kind` alerts of one kind a minute, and `total` of each severity; 0 is no
    limit. The first of each reason in a minute always passes, whatever went before it.

    So nobody can use up with harmless alerts what a more serious one needs. Times are seconds;
    one that lies before the minute begins a new one. What is held back is counted, and told by
    `summary` when the minute is over, the most serious first.
    """

    per_kind: int
    total: int
    start: float | None = None
    suppressed: int = 0
    suppressed_ever: int = 0
    passed: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    counts: dict[object, int] = field(default_factory=dict)
    held: dict[int, dict[object, tuple[str, int]]] = field(default_factory=dict)

    def admit(self, alert: Alert, now: float) -> bool:
        """Whether `alert` may go out at `now`. What is said of the trail itself (it has no kind)
        always may."""
        if not alert.kind:
            return True
        if self.start is None:
            self.start = now
        kind: object = alert.kind
        if kind not in self.counts and len(self.counts) >= KINDS:
            kind = "others"
        count = self.counts.get(kind, 0) + 1
        self.counts[kind] = count
        # Those beyond the table are many files, not one again and again: `total` limits them.
        often = bool(self.per_kind) and count > self.per_kind and kind != "others"
        many = bool(self.total) and self.passed[alert.priority] >= self.total
        first = any(not self.reasons[reason] for reason in alert.reasons)
        self.reasons.update(alert.reasons)
        if (often or many) and not first:
            self._hold(alert, kind)
            return False
        self.passed[alert.priority] += 1
        return True

    def _hold(self, alert: Alert, kind: object) -> None:
        self.suppressed += 1
        self.suppressed_ever += 1
        held = self.held.setdefault(alert.priority, {})
        text, number = held.get(kind, (alert.message, 0))
        if kind in held or len(held) < HELD:
            held[kind] = (text, number + 1)

    def summary(self, now: float, *, final: bool = False) -> Iterator[Alert]:
        """When the minute is over (or `final`): what was held back in it, if anything."""
        if self.start is None or (0 <= now - self.start < 60 and not final):
            return
        if self.suppressed:
            most = [
                f"{number} x {text}"
                for priority in sorted(self.held)
                for text, number in sorted(
                    self.held[priority].values(), key=lambda entry: -entry[1]
                )[:3]
            ]
            yield Alert(
                "suppressed",
                f"{self.suppressed} further alerts suppressed, the most serious first: "
                + "; ".join(most),
                min(self.held),
                (("count", self.suppressed),),
            )
        self.start, self.suppressed = None, 0
        for table in (self.passed, self.reasons, self.counts, self.held):
            table.clear()


Sink = Callable[[Alert], None]


@dataclass(frozen=True)
class Channel:
    """Sinks that share one limit: what stays on the machine, and what goes out of it."""

    limit: Limit
    sinks: Sequence[Sink]

    def offer(self, alert: Alert, now: float) -> None:
        """Tell what was held back in a minute that is over, and `alert` if it may go out."""
        self.summarize(now)
        if self.limit.admit(alert, now):
            self.tell(alert)

    def summarize(self, now: float, *, final: bool = False) -> None:
        """Tell what was held back, once its minute is over."""
        for summary in self.limit.summary(now, final=final):
            self.tell(summary)

    def tell(self, alert: Alert) -> None:
        """Give `alert` to every sink."""
        for sink in self.sinks:
            sink(alert)
