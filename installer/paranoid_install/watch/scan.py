"""From blocks of bytes to verdicts.

There is one way from a record to a verdict: records are joined to events (events.py), and events
are judged (judge.py). The shortcut leaves it where that cannot change an answer or a count: an
event that is plainly inside the store (plain.py) is not decoded; if its lines follow each other it
is not even joined; and lines in auditd's form are told apart by their beginning alone.
tests/unit/watch/test_scan.py compares the two on hostile streams.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Generator, Iterator

from paranoid_install.watch.events import (
    CALL,
    EXECVE_CALLS,
    LIMIT_BYTES,
    LIMIT_MS,
    PARTS,
    Counts,
    Event,
    Joiner,
)
from paranoid_install.watch.judge import Judge
from paranoid_install.watch.plain import EVENT, Plain
from paranoid_install.watch.records import JOURNAL_BYTES, RECORD_BYTES, TOLD, Record, parse
from paranoid_install.watch.verdicts import Verdict

_NODE, _STAMP = rb"(?:node=[^ \n\x1d]++ )?", rb"[0-9]{1,12}+\.[0-9]{3}:[0-9]{1,20}+"
_HEAD = rb"(" + _NODE + rb")type=%s msg=audit\((" + _STAMP + rb")\)"
_PART = re.compile(_HEAD % (rb"(%s)" % b"|".join(sorted(PARTS))) + rb": ?().*+(?<!\r)\n")
_OTHER = re.compile(
    _HEAD % rb"SYSCALL" + rb": " + CALL + rb".*+\n"
    rb"(\1type=CWD msg=audit\(\2\): .*+\n)?"
    rb"((?:\1type=PATH msg=audit\(\2\): .*+\n)+)"
    rb"(?:\1type=PROCTITLE msg=audit\(\2\): .*+\n)?"
    rb"(?:\1type=EOE msg=audit\(\2\): ?\n)?"
)  # fmt: skip
"""An event without arguments: another call, or a start that did not come about."""

_NOISE = re.compile(
    rb"(?:%stype=(?!(?:%s) )[A-Z0-9_]++ msg=audit\(%s\)(?:: ?|(?= )).*+\n)+"
    % (_NODE, b"|".join(sorted(PARTS | TOLD)), _STAMP)
)
"""Records that stand alone, and of which nothing is told."""


class Scanner:
    """Feed it blocks of bytes; it yields verdicts. `notice` receives records that stand alone.

    `now` gives the time in milliseconds for the events' limit; without it the limit is how much
    of the file has been read since, as no record's own stamp need be true. `shortcut=False` is
    for comparison.
    """

    def __init__(
        self,
        judge: Judge,
        counts: Counts,
        *,
        notice: Callable[[Record], None] = lambda _record: None,
        now: Callable[[], int] | None = None,
        shortcut: bool = True,
    ) -> None:
        self.judge = judge
        self.counts = counts
        self.joiner = Joiner(counts, limit=LIMIT_BYTES if now is None else LIMIT_MS)
        self._notice = notice
        self._now = now
        self._moment = 0
        self.records = False
        """Whether any record has been read."""
        self._rest = b""
        self._skipping = False
        self._shortcut = shortcut
        self._plain = Plain(judge)
        self._audit_transport = False

    def feed(self, block: bytes | mmap.mmap) -> Iterator[Verdict]:
        """Take the next bytes of the stream; a line may go on in the next block."""
        before = self.counts.bytes - len(self._rest)
        self.counts.bytes += len(block)
        if self._skipping:
            start = block.find(b"\n") + 1
            if not start:
                return
            self._skipping = False
            before += start
            block = block[start:]
        if self._rest:
            block = self._rest + block[:]
            self._rest = b""
        self._pass_time()
        position = 0
        while True:
            if self._shortcut:
                position = yield from self._shortly(block, position, before)
            end = block.find(b"\n", position)
            if end < 0:
                break
            yield from self._line(block[position:end], before + position)
            position = end + 1
        if len(block) - position > JOURNAL_BYTES:
            # Longer than any line may be: judge its beginning, skip the rest.
            line = block[position : position + JOURNAL_BYTES + 1]
            yield from self._line(line, before + position)
            self._skipping = True
        else:
            self._rest = block[position:]

    def tick(self) -> Iterator[Verdict]:
        """Let time pass when nothing comes in (only with a clock of its own)."""
        if self._now is not None:
            self._pass_time()
            yield from self._expire(self._moment)

    def finish(self) -> Iterator[Verdict]:
        """The stream has ended: judge what is still open, a last line without its end as well."""
        if self._rest and not self._skipping:
            rest, self._rest = self._rest, b""
            yield from self._line(rest, self.counts.bytes - len(rest))
        for event in self.joiner.flush():
            yield from self._judge(event)

    def _shortly(
        self, block: bytes | mmap.mmap, position: int, before: int
    ) -> Generator[Verdict, None, int]:
        """Take what the shortcut can, and return where it cannot go on."""
        # Locals, because this loop is what the speed of reading a file hangs on.
        match_event, match_other = EVENT.match, _OTHER.match
        match_part, match_noise = _PART.match, _NOISE.match
        joiner, knows, live = self.joiner, self._plain.knows, self._now is not None
        waiting, add, moment = joiner.open, joiner.add, self._moment
        start = position
        while True:
            # Only SYSCALL begins an event; a line with its node may be one.
            begun = block[position + 5 : position + 7]
            if begun == b"SY" or block[position : position + 1] == b"n":
                event = match_event(block, position) or match_other(block, position)
                if event is not None:
                    end = event.end()
                    now = moment if live else before + end
                    if (
                        # Longer together than one line may be: one of them might be cut.
                        end - position <= RECORD_BYTES
                        and not (waiting and self._concerned(event, now))
                        and (knows(event) if event.re is EVENT else self._no_start(event))
                    ):
                        self.counts.events += 1
                        position = end
                        continue
            part = match_part(block, position)
            if part is not None:
                end = part.end()
                if end - position > RECORD_BYTES:
                    break
                now = moment if live else before + position
                if waiting and now >= joiner.due:
                    yield from self._expire(now)
                node, kind, stamp = part.group(1, 2, 3)
                for ended in add(node[5:-1], stamp, kind, part[0], part.start(4) - position, now):
                    yield from self._judge(ended)
                position = end
                continue
            noise = match_noise(block, position)
            if noise is None:
                break
            position = noise.end()
        self.records = self.records or position > start
        return position

    def _concerned(self, match: re.Match[bytes], now: int) -> bool:
        """Whether an event that is open has to do with this one, or has to end before it."""
        node, stamp = match.group(1, 2)
        return now >= self.joiner.due or (node[5:-1], stamp) in self.joiner.open

    def _no_start(self, match: re.Match[bytes]) -> bool:
        """Whether a whole event is no start, or one that failed of itself. If so, it is counted."""
        arch, call, success, result, items, cwd, paths = match.group(3, 4, 5, 6, 7, 8, 9)
        calls = EXECVE_CALLS.get(arch)
        if calls is None or paths.count(b"\n") != int(items):
            return False
        return call not in calls or (
            success == b"no" and cwd is not None and self.judge.failed(result)
        )

    def _pass_time(self) -> None:
        if self._now is not None:
            self._moment = max(self._moment, self._now())

    def _expire(self, now: int) -> Iterator[Verdict]:
        for event in self.joiner.expire(now):
            yield from self._judge(event)

    def _line(self, line: bytes, place: int) -> Iterator[Verdict]:
        record = parse(line)
        if record is None:
            if line:
                self.counts.unreadable += 1
            return
        self.records = True
        if record.transport == b"audit":
            self._audit_transport = True
        elif self._audit_transport and record.transport == b"kernel" and record.type in PARTS:
            # Without a daemon the kernel prints to its log as well: the same records once more.
            return
        if record.type not in PARTS:
            if record.type == b"KERNEL":
                self._plain.forget()
            self._notice(record)
            return
        now = self._moment if self._now is not None else place
        yield from self._expire(now)
        written, start = record.written()
        for event in self.joiner.add(
            record.node, record.stamp, record.type, written, start, now, cut=record.cut
        ):
            yield from self._judge(event)

    def _judge(self, event: Event) -> Iterator[Verdict]:
        if event.exec is None:
            self.counts.fragments += 1
        if not event.exec:
            return
        match = self._matched(event) if self._shortcut and not event.cut else None
        if match is not None and self._plain.knows(match):
            return
        verdict = self.judge.judge(event)
        if match is not None:
            self._plain.learn(match)
        if verdict is not None:
            yield verdict

    def _matched(self, event: Event) -> re.Match[bytes] | None:
        text = event.text
        # A body with a line feed in it, as JSON could hold one, would look like two lines.
        if len(text) > RECORD_BYTES or text.count(b"\n") != len(event.parts):
            return None
        return EVENT.fullmatch(text)
