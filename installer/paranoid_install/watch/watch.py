"""The run of `paranoid-install watch`: what is done with verdicts, with time, and with silence."""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from paranoid_install.watch import kernel
from paranoid_install.watch.alerts import Alert, Channel, Origin, execution
from paranoid_install.watch.events import Counts
from paranoid_install.watch.judge import Judge, accepts
from paranoid_install.watch.records import NOTE, TOLD, Record, visible
from paranoid_install.watch.scan import Scanner
from paranoid_install.watch.verdicts import Verdict

_LOST = re.compile(rb"audit_lost=([0-9]{1,18})")
_OFF = re.compile(rb"(?:^| )audit_enabled=0(?= )(?!.* res=0)")
_TEXT = 1024


@dataclass
class Watch:
    """Alerts on what `judge` reports, and on what happens to the trail itself.

    `live` has processes and a kernel to ask: `origin` looks a process up, `probe` executes
    something harmless to see whether it is recorded, `status` asks the kernel. `clock` is in
    seconds and never goes back; without it (a file) no time passes, and each record's own stamp
    says in which minute it belongs.
    """

    judge: Judge
    channels: Sequence[Channel]
    clock: Callable[[], float] | None = None
    origin: Callable[[int | None, int | None], Origin] = lambda _pid, _ppid: Origin()
    probe: Callable[[], None] | None = None
    status: Callable[[], kernel.Status | None] | None = None
    shortcut: bool = True
    counts: Counts = field(default_factory=Counts)
    lost: int = 0
    """Records that the kernel says it lost, since its boot."""
    off: int = 0
    """How often a record says that auditing was switched off, or that its daemon lost some."""

    def __post_init__(self) -> None:
        clock = self.clock
        self.scanner = Scanner(
            self.judge,
            self.counts,
            notice=self._notice,
            now=None if clock is None else lambda: int(clock() * 1000),
            shortcut=self.shortcut,
        )
        self._seen = 0
        self._last = self._asked = self._told = self._now()
        self._probed: float | None = None
        self._stopped = False
        self._enabled = True
        self._mute = False
        self._known_lost: int | None = None
        self._dropped = (0, 0, 0)
        self._unseen, self._unseen_told = 0, self._told

    def feed(self, block: bytes | mmap.mmap) -> None:
        """Take a block of a source; an empty one lets time pass."""
        if len(block):
            for verdict in self.scanner.feed(block):
                self._report(verdict)
        if self.clock is not None:
            for verdict in self.scanner.tick():
                self._report(verdict)
            self._silence()
            self._ask()
        now = self._now()
        for channel in self.channels if self.clock is not None else ():
            channel.summarize(now)
        if now - self._told >= 60:
            self._told = now
            self._tell_dropped()
        if now - self._unseen_told >= 3600:
            self._unseen_told = now
            self._tell_unseen()

    @property
    def unread(self) -> bool:
        """Whether there was no record at all, or something that could not be read: lines, records
        cut, or events whose SYSCALL is missing."""
        counts = self.counts
        return not self.scanner.records or bool(counts.unreadable or counts.cut or counts.fragments)

    @property
    def waits(self) -> bool:
        """Whether an event is open, so that more of its records are to come."""
        return bool(self.scanner.joiner.open)

    def finish(self, *, leave: bool = False) -> None:
        """The source has ended: judge what is open, tell what was held back.

        `leave`: what is open is read once more, by the watch after this one, which judges it.
        """
        for verdict in () if leave else self.scanner.finish():
            self._report(verdict)
        for channel in self.channels:
            channel.summarize(self._now(), final=True)
        self._tell_dropped()
        self._tell_unseen()

    def tell(self, alert: Alert) -> None:
        """Give `alert` to every sink, whatever the limits."""
        for channel in self.channels:
            channel.tell(alert)

    def _offer(self, alert: Alert, milliseconds: int) -> None:
        # In a file, the minute is the one in which it happened.
        now = self.clock() if self.clock is not None else milliseconds / 1000
        for channel in self.channels:
            channel.offer(alert, now)

    def totals(self) -> tuple[tuple[str, int], ...]:
        """All counts since the start, by name."""
        tally = asdict(self.judge.tally)
        counts = asdict(self.counts)
        rest = {
            "suppressed": max(c.limit.suppressed_ever for c in self.channels),
            "lost": self.lost,
        }
        return tuple((tally | counts | rest).items())

    def _now(self) -> float:
        return self.clock() if self.clock is not None else 0.0

    def _report(self, verdict: Verdict) -> None:
        if verdict.accepted is not None:
            return
        run = verdict.execution
        origin = self.origin(run.number(b"pid"), run.number(b"ppid"))
        if accepts(self.judge.rules.allow, verdict, origin.unit):
            self.judge.tally.reported -= 1
            self.judge.tally.accepted += 1
            return
        self._offer(execution(verdict, origin, resolve=self.clock is not None), run.id.milliseconds)

    def _notice(self, record: Record) -> None:
        if record.type == b"KERNEL":
            if b"state=initialized" in record.body:
                self.judge.booted(record.id.node, record.id.milliseconds)
        elif record.type == NOTE:
            match = _LOST.search(record.body)
            self.lost = max(self.lost, int(match[1])) if match else self.lost
            self._limited(
                "lost", f"the kernel's log says: {visible(record.body[:_TEXT])}", 2, record
            )
        elif record.type in TOLD:
            if _OFF.search(record.body) or record.type in (b"DAEMON_ABORT", b"DAEMON_ERR"):
                self.off += 1
            what = visible(record.body[:_TEXT].partition(b"\x1d")[0])
            self._limited("configuration", f"{visible(record.type)}: {what}", 4, record)

    def _limited(self, event: str, message: str, priority: int, record: Record) -> None:
        # These come from the stream, so they could flood as well.
        alert = Alert(event, message, priority, kind=(event,), reasons=(event,))
        self._offer(alert, record.id.milliseconds)

    def _silence(self) -> None:
        now, report = self._now(), self.judge.rules.report
        if self.counts.bytes != self._seen:
            self._seen = self.counts.bytes
            if self._stopped:
                self.tell(Alert("resumed", f"records arrive again, after {now - self._last:.0f} s"))
            self._last, self._stopped, self._probed = now, False, None
        elif self.probe is None or self._stopped:
            return
        elif self._probed is None:
            if report.silence and now - self._last >= report.silence:
                self._probed = now
                self.probe()
        elif now - self._probed >= report.grace:
            self._stopped = True
            self.tell(
                Alert(
                    "stopped",
                    f"the audit stream has stopped: no record for {now - self._last:.0f} s,"
                    " not even of a program started to test it;"
                    " check auditctl -s, auditctl -l and the journal",
                    2,
                )
            )

    def _ask(self) -> None:
        now = self._now()
        if self.status is None or (
            self._known_lost is not None and now - self._asked < self.judge.rules.report.status
        ):
            return
        self._asked = now
        found = self.status()
        if found is None:
            if not self._mute:
                self._mute = True
                self.tell(
                    Alert(
                        "lost",
                        "the kernel does not say how many records it lost;"
                        " run with CAP_AUDIT_CONTROL",
                    )
                )
            self._known_lost = self._known_lost or 0
            return
        if found.lost > (self._known_lost or 0):
            more = found.lost - (self._known_lost or 0)
            self.tell(
                Alert(
                    "lost",
                    f"the kernel lost {more} audit records ({found.lost} since boot);"
                    " what they held is unknown; raise audit.backlogLimit",
                    2,
                    (("count", more), ("total", found.lost)),
                )
            )
        self._known_lost = self.lost = found.lost
        if (found.enabled != 0) != self._enabled:
            self._enabled = found.enabled != 0
            self.tell(
                Alert("resumed", "auditing is on again")
                if self._enabled
                else Alert("stopped", "auditing is switched off in the kernel (enabled=0)", 2)
            )

    def _tell_unseen(self) -> None:
        # By the hour: most scripts are over before their records are here.
        new = self.judge.tally.unseen - self._unseen
        if new:
            self._unseen += new
            message = (
                f"{new} interpreters of the store had ended before it could be seen whether the"
                " store was theirs as well"
            )
            self.tell(Alert("unseen", message, 6, (("count", new),)))

    def _tell_dropped(self) -> None:
        counts = self.counts
        now = (counts.evicted, counts.cut, counts.unreadable)
        if now != self._dropped:
            evicted, cut, unreadable = (a - b for a, b in zip(now, self._dropped, strict=True))
            self._dropped = now
            self.tell(
                Alert(
                    "dropped",
                    f"{evicted} events judged before they were complete, as too many were open;"
                    f" {cut} records cut, {unreadable} lines that hold no record",
                    5,
                    (("evicted", evicted), ("cut", cut), ("unreadable", unreadable)),
                )
            )
