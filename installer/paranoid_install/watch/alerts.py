"""What is told, and how often: alerts as data, their text, and the limit on their rate."""

from __future__ import annotations

import json
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from paranoid_install.watch.judge import Reason, Verdict
from paranoid_install.watch.records import enrichment, visible

ARGUMENTS = 64
ARGUMENT_BYTES = 1024
KINDS = 1024
"""Kinds of alert that are counted apart in one minute; further ones share one count."""


@dataclass(frozen=True)
class Alert:
    """One message. `fields` are printable ASCII only (see `records.visible`), numbers or lists.

    `event` is `execution`, or what is said of the trail itself: `lost`, `stopped`, `resumed`,
    `configuration`, `suppressed`, `dropped`, `ended`. `priority` is syslog's (2 critical, 4
    warning, 5 notice).
    """

    event: str
    message: str
    priority: int = 4
    fields: tuple[tuple[str, str | int | tuple[str, ...]], ...] = ()
    kind: tuple[object, ...] = ()

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
        "reasons": tuple(reason.value for reason in verdict.reasons),
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
    return Alert("execution", message, 5 if Reason.DENIED in verdict.reasons else 4, fields, kind)


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
    """Lets through `per_kind` alerts of one kind a minute and `total` of all; 0 is no limit.

    Times are seconds that never go back. What is held back is counted, and told by `summary`
    when the minute is over. Alerts on the trail itself always pass.
    """

    per_kind: int
    total: int
    start: float | None = None
    passed: int = 0
    suppressed: int = 0
    suppressed_ever: int = 0
    counts: dict[object, int] = field(default_factory=dict)
    held: dict[object, tuple[str, int]] = field(default_factory=dict)

    def admit(self, alert: Alert, now: float) -> bool:
        """Whether `alert` may go out at `now`."""
        if alert.event != "execution":
            return True
        if self.start is None:
            self.start = now
        kind: object = alert.kind
        if kind not in self.counts and len(self.counts) >= KINDS:
            kind = "others"
        count = self.counts.get(kind, 0) + 1
        self.counts[kind] = count
        if (self.per_kind and count > self.per_kind) or (self.total and self.passed >= self.total):
            self.suppressed += 1
            self.suppressed_ever += 1
            text, number = self.held.get(kind, (alert.message, 0))
            if kind in self.held or len(self.held) < 16:
                self.held[kind] = (text, number + 1)
            return False
        self.passed += 1
        return True

    def summary(self, now: float, *, final: bool = False) -> Iterator[Alert]:
        """When the minute is over (or `final`): what was held back in it, if anything."""
        if self.start is None or (now - self.start < 60 and not final):
            return
        if self.suppressed:
            most = sorted(self.held.values(), key=lambda entry: -entry[1])[:5]
            yield Alert(
                "suppressed",
                f"{self.suppressed} further alerts suppressed; most often: "
                + "; ".join(f"{number} x {text}" for text, number in most),
                fields=(("count", self.suppressed),),
            )
        self.start, self.passed, self.suppressed = None, 0, 0
        self.counts.clear()
        self.held.clear()


Sink = Callable[[Alert], None]
