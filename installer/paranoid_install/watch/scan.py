"""From blocks of lines to verdicts: the shortcut for what is plainly inside the store.

Nearly all executions are of a program in the store under its absolute name. Written by auditd
they are seven lines in a row of one fixed shape, which one regular expression recognises. What
it captures (exe, and name, inode and device of each PATH) is remembered once `Judge.sound` has
said yes to it; from then on a lookup suffices, for an interpreter with a look at its arguments.
Everything else goes through records, events
and judge, line by line, so the shortcut saves time and never changes an answer or a count:
tests/unit/watch/test_scan.py compares the two on hostile streams.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator

from paranoid_install.watch.arguments import speaks
from paranoid_install.watch.events import PARTS, Counts, Event, Joiner, PathItem, arguments
from paranoid_install.watch.judge import Judge, Verdict
from paranoid_install.watch.records import (
    JOURNAL_BYTES,
    RECORD_BYTES,
    Record,
    parse,
)

REMEMBERED = 65_536
"""Combinations of program and PATHs known as plain; forgotten together when there are more."""

# The order of the fields is the kernel's (audit_log_exit, audit_log_name), each written once.
# Every part ends at a byte that the part itself cannot hold, so a failed match goes back over
# each byte once at most: the time stays linear in the length of the lines. What is captured may
# hold anything but a quote, which is faster than a set: only what was remembered passes, and
# nothing with a space, line feed or separator is (`_CLEAN`).
_PATH = (
    rb"\1type=PATH msg=audit\(\2\): item=%s "
    rb'(name="[^"]+" inode=[0-9]+ dev=[0-9a-f:]+) .*\n'
)
_EVENT = re.compile(
    rb"((?:node=[^ \n\x1d]+ )?)"
    rb"type=SYSCALL msg=audit\(([0-9]{10}\.[0-9]{3}:[0-9]{1,20})\): "
    rb"arch=c000003e syscall=(?:59|322) success=yes exit=0 "
    # a0= to a3=, and auid= to fsgid=: classes too poor in letters to hold another field's name.
    rb"a0=[0-9a-f= ]+items=([1-3]) ppid=[0-9]+ pid=([0-9]+) auid=[aefgdisu=0-9 ]+"
    rb"tty=[^ \n\x1d]+ ses=[0-9]+ "
    rb'comm=[^ \n\x1d]+ exe=("[^"]+").*\n'
    rb"(?:\1type=BPRM_FCAPS msg=audit\(\2\): .*\n)?"
    rb"\1type=EXECVE msg=audit\(\2\): (.*)\n"
    rb"\1type=CWD msg=audit\(\2\): .*\n"
    + _PATH % rb"0"
    + rb"(?:" + _PATH % rb"1" + rb"(?:" + _PATH % rb"2" + rb")?)?"
    rb"\1type=PROCTITLE msg=audit\(\2\): .*\n"
    rb"(?:\1type=EOE msg=audit\(\2\): ?\n)?"
)  # fmt: skip
_HEAD = re.compile(
    # argc varies with what follows the script, so it is no part of what is remembered.
    rb'argc=[0-9]+ (a0="[^" \x1d]*" a1="[^" \x1d]*"(?: a2="[^" \x1d]*")?)(?![^ ])'
)
_CLEAN = re.compile(rb"[^ \n\x1d]*")
_STAMP = 14
"""Length of `SSSSSSSSSS.mmm`: of equal length, stamps compare as bytes as they do as numbers."""


class Scanner:
    """Feed it blocks of bytes; it yields verdicts. `notice` receives records that stand alone.

    `now` gives the time in milliseconds for the events' time limit; without it the records'
    own stamps are the clock, as fits a file. `shortcut=False` is for comparison.
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
        self.joiner = Joiner(counts)
        self._notice = notice
        self._now = now
        self._clock = 0
        self.records = False
        """Whether any record has been read."""
        self._rest = b""
        self._skipping = False
        self._shortcut = shortcut
        self._plain: set[tuple[bytes | None, ...]] = set()
        self._speaking: set[tuple[bytes | None, ...]] = set()
        self._heads: set[tuple[bytes, bytes]] = set()
        self._audit_transport = False

    def feed(self, block: bytes | mmap.mmap) -> Iterator[Verdict]:
        """Take the next bytes of the stream; a line may go on in the next block."""
        self.counts.bytes += len(block)
        if self._skipping:
            start = block.find(b"\n") + 1
            if not start:
                return
            self._skipping = False
            block = block[start:]
        if self._rest:
            block = self._rest + block[:]
            self._rest = b""
        position, size = 0, len(block)
        find = block.find
        while position < size:
            if self._shortcut:
                position, match = self._skip(block, position)
                if match is not None:
                    yield from self._slowly(match)
                    position = match.end()
                    continue
            end = find(b"\n", position)
            if end < 0:
                break
            yield from self._line(block[position:end])
            position = end + 1
        if size - position > JOURNAL_BYTES:
            # Longer than any line may be: judge its beginning, skip the rest.
            yield from self._line(block[position : position + JOURNAL_BYTES + 1])
            self._skipping = True
        else:
            self._rest = block[position:]

    def _skip(self, block: bytes | mmap.mmap, position: int) -> tuple[int, re.Match[bytes] | None]:
        """Pass over plain events. Returns where to go on, and a whole event that is none."""
        # Locals, because this loop is what the speed of reading a file hangs on.
        match_event, timed = _EVENT.match, self._now is None
        plain, speaking = self._plain, self._speaking
        waiting, remember, last = self.joiner.open, self.judge.parents.put, b""
        passed = 0
        match = None
        while (match := match_event(block, position)) is not None:
            node, stamp, items, pid, exe, words, first, second, third = match.groups()
            key = (node, items, exe, first, second, third)
            # An event whose lines are together longer than one may be might hold a cut one.
            if pid == b"1" or waiting or match.end() - position > RECORD_BYTES:
                break
            if key not in plain and (key not in speaking or not self._harmless(match, words)):
                break
            position = match.end()
            passed += 1
            if timed and stamp > last:
                last = stamp
            remember((node and node[5:-1], pid), exe[1:-1])
        if passed:
            self.counts.events += passed
            self.judge.tally.executions += passed
            self.judge.tally.inside += passed
            if last:
                self._clock = max(self._clock, int(last[:_STAMP].replace(b".", b"")))
        return position, match

    @property
    def clock(self) -> int:
        """The newest time seen, in milliseconds."""
        return self._clock

    def tick(self) -> Iterator[Verdict]:
        """Let time pass when nothing comes in (only with a clock of its own)."""
        if self._now is not None:
            self._clock = max(self._clock, self._now())
            yield from self._expire()

    def finish(self) -> Iterator[Verdict]:
        """The stream has ended: judge what is still open, a last line without its end as well."""
        if self._rest and not self._skipping:
            rest, self._rest = self._rest, b""
            yield from self._line(rest)
        for event in self.joiner.flush():
            yield from self._judge(event)

    def _expire(self) -> Iterator[Verdict]:
        for event in self.joiner.expire(self._clock):
            yield from self._judge(event)

    def _slowly(self, match: re.Match[bytes]) -> Iterator[Verdict]:
        """Judge an event line by line, and remember its program if that alone made it plain."""
        lines = match[0].split(b"\n")
        lines.pop()
        for line in lines:
            yield from self._line(line)
        node, items, exe, *paths = match.group(1, 3, 5, 7, 8, 9)
        found = tuple(
            item for n, path in enumerate(paths) if path and (item := _item(n, path)) is not None
        )
        clean = _CLEAN.fullmatch(exe) is not None
        if (
            clean
            and len(found) == int(items) == sum(p is not None for p in paths)
            and self.judge.sound(exe[1:-1], found, node and node[5:-1])
        ):
            known = self._speaking if speaks(self.judge.rules, exe[1:-1]) else self._plain
            if len(known) >= REMEMBERED:
                known.clear()
            known.add((node, items, exe, *paths))

    def _harmless(self, match: re.Match[bytes], words: bytes) -> bool:
        """Whether an interpreter's arguments alone show that its script is in the store."""
        head = _HEAD.match(words)
        if head is not None and (match[5], head[1]) in self._heads:
            return True
        exe = match[5][1:-1]
        argv, whole = arguments([words])
        # Known from the first words already, whatever follows them?
        if head is not None and self.judge.harmless(exe, argv[:3], whole=False):
            if len(self._heads) >= REMEMBERED:
                self._heads.clear()
            self._heads.add((match[5], head[1]))
            return True
        return self.judge.harmless(exe, argv, whole)

    def _line(self, line: bytes) -> Iterator[Verdict]:
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
        if self._now is None:
            self._clock = max(self._clock, record.id.milliseconds)
        else:
            self._clock = max(self._clock, self._now())
        if record.type not in PARTS:
            if record.type == b"KERNEL":
                # A boot: what was known of its store's device is known no more.
                self._plain.clear()
                self._speaking.clear()
            self._notice(record)
            return
        yield from self._expire()
        for event in self.joiner.add(record, self._clock):
            yield from self._judge(event)

    def _judge(self, event: Event) -> Iterator[Verdict]:
        if event.exec:
            verdict = self.judge.judge(event)
            if verdict is not None:
                yield verdict
        elif event.exec is None:
            self.counts.fragments += 1


def _item(number: int, captured: bytes) -> PathItem | None:
    name, inode, device = captured.rsplit(b" ", 2)
    if _CLEAN.fullmatch(name) is None:
        return None
    return PathItem(number, name[6:-1], inode[6:], device[4:], None, b"")
