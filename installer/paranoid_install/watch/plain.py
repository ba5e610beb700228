"""What is plainly inside the store, known at a glance from the text of an event.

Nearly all executions are of a program in the store under its absolute name, and look alike. One
regular expression recognises them. What it captures (exe, and name, inode and device of each PATH)
is remembered once `Judge.sound` has said yes to it; from then on a lookup suffices, for an
interpreter with a look at its arguments.
"""

from __future__ import annotations

import re

from paranoid_install.watch.arguments import speaks
from paranoid_install.watch.executions import PathItem, arguments
from paranoid_install.watch.judge import Judge

REMEMBERED = 65_536
"""Combinations of program and PATHs known as plain; forgotten together when there are more."""

# The order of the fields is the kernel's (audit_log_exit, audit_log_name), each written once.
# Every part ends at a byte that the part itself cannot hold, so none need ever give back what it
# took (`+` behind a repetition): the time stays linear in the length of the lines. What is captured
# may hold anything but a quote, which is faster than a set: only what was remembered passes, and
# nothing with a space, line feed or separator is (`_CLEAN`).
_PATH = (
    rb"\1type=PATH msg=audit\(\2\): item=%s "
    rb'(name="[^"]++" inode=[0-9]++ dev=[0-9a-f:]++) .*+\n'
)
EVENT = re.compile(
    rb"((?:node=[^ \n\x1d]++ )?)"
    rb"type=SYSCALL msg=audit\(([0-9]{1,12}+\.[0-9]{3}:[0-9]{1,20}+)\): "
    # Whatever the call's number means on this architecture: EXECVE says that it was a start.
    rb"arch=[0-9a-f]++ syscall=[0-9]++ (?:per=[0-9a-f]++ )?success=yes exit=0 "
    # a0= to a3=, and auid= to fsgid=: classes too poor in letters to hold another field's name.
    rb"a0=[0-9a-f= ]++items=([1-3]) ppid=[0-9]++ pid=([0-9]++) auid=[aefgdisu=0-9 ]++"
    rb"tty=[^ \n\x1d]++ ses=[0-9]++ "
    rb'comm=[^ \n\x1d]++ exe=("[^"]++").*+\n'
    rb"(?:\1type=BPRM_FCAPS msg=audit\(\2\): .*+\n)?"
    rb"\1type=EXECVE msg=audit\(\2\): (.*+)\n"
    rb"\1type=CWD msg=audit\(\2\): .*+\n"
    + _PATH % rb"0"
    + rb"(?:" + _PATH % rb"1" + rb"(?:" + _PATH % rb"2" + rb")?)?"
    rb"(?:\1type=PROCTITLE msg=audit\(\2\): .*+\n)?"
    rb"(?:\1type=EOE msg=audit\(\2\): ?\n)?"
)  # fmt: skip
"""Node, stamp, items, pid, exe, the arguments, and up to three PATHs."""

_HEAD = re.compile(
    # argc varies with what follows the script, so it is no part of what is remembered.
    rb'argc=[0-9]+ (a0="[^" \x1d]*" a1="[^" \x1d]*"(?: a2="[^" \x1d]*")?)(?![^ ])'
)
_CLEAN = re.compile(rb"[^ \n\x1d]*")

_Key = tuple[bytes | None, ...]


class Plain:
    """What `judge` has found sound, by what EVENT captures of it."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._programs: set[_Key] = set()
        self._speaking: set[_Key] = set()
        self._heads: set[tuple[bytes, bytes]] = set()

    def knows(self, match: re.Match[bytes]) -> bool:
        """Whether the event is plainly inside the store. If so, it is counted as such."""
        key, pid = match.group(1, 3, 5, 7, 8, 9), match[4]
        # Process 1 may be about to leave the initrd.
        if pid == b"1" or (
            key not in self._programs and (key not in self._speaking or not self._harmless(match))
        ):
            return False
        self._judge.passed(key[0][5:-1], pid, key[2][1:-1])
        return True

    def learn(self, match: re.Match[bytes]) -> None:
        """Remember the event's program and files, if they alone make it plain."""
        node, items, exe, *paths = match.group(1, 3, 5, 7, 8, 9)
        found = tuple(
            item for n, path in enumerate(paths) if path and (item := _item(n, path)) is not None
        )
        if (
            _CLEAN.fullmatch(exe) is not None
            and len(found) == int(items) == sum(path is not None for path in paths)
            and self._judge.sound(exe[1:-1], found, node[5:-1])
            and not self._judge.looks(exe[1:-1])
        ):
            speaking = speaks(self._judge.rules, exe[1:-1])
            known = self._speaking if speaking else self._programs
            if len(known) >= REMEMBERED:
                known.clear()
            known.add((node, items, exe, *paths))

    def forget(self) -> None:
        """A boot: what was known of its store's device is known no more."""
        self._programs.clear()
        self._speaking.clear()

    def _harmless(self, match: re.Match[bytes]) -> bool:
        """Whether an interpreter's arguments alone show that its script is in the store."""
        quoted, words = match.group(5, 6)
        head = _HEAD.match(words)
        if head is not None and (quoted, head[1]) in self._heads:
            return True
        exe = quoted[1:-1]
        argv, whole = arguments([words])
        # Known from the first words already, whatever follows them?
        if head is not None and self._judge.harmless(exe, argv[:3], whole=False):
            if len(self._heads) >= REMEMBERED:
                self._heads.clear()
            self._heads.add((quoted, head[1]))
            return True
        return self._judge.harmless(exe, argv, whole)


def _item(number: int, captured: bytes) -> PathItem | None:
    name, inode, device = captured.rsplit(b" ", 2)
    if _CLEAN.fullmatch(name) is None:
        return None
    return PathItem(number, name[6:-1], inode[6:], device[4:], None, b"")
