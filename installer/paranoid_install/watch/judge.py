"""Decides what an execution was: plainly inside the store, accepted by a rule, or to be reported.

For a directly executed script `exe` is the interpreter, so PATH item 0, joined to CWD, is
judged as well; so are the other PATHs (interpreter, loader) and what an interpreter's
arguments name. Paths are those of the process: in a namespace or a chroot they can lie. The
device number in PATH cannot: a store path on another device than the store's is forged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from paranoid_install.watch.accepted import is_build, is_wrapper
from paranoid_install.watch.arguments import speaks, told
from paranoid_install.watch.events import Event
from paranoid_install.watch.executions import Execution, PathItem, execution
from paranoid_install.watch.paths import below, lexical, within
from paranoid_install.watch.programs import PARENTS, Programs
from paranoid_install.watch.rules import Allow, Rules
from paranoid_install.watch.verdicts import Reason, Tally, Verdict

NODES = 4096
"""Machines, or boots of the journal, whose store's device is remembered."""

_DELETED = b" (deleted)"
_DESCRIPTOR = re.compile(rb"(?:/proc/(?:self|thread-self|[0-9]+)(?:/task/[0-9]+)?|/dev)/fd/[0-9]+")


Proof = Callable[[PathItem], bool]
"""Whether the file of a PATH record is the one that its store path names on this machine."""

View = Callable[[Execution, Sequence[bytes]], bool | None]
"""Whether names in the store are for the process what they are for this machine; None: cannot
tell."""


@dataclass
class Judge:
    """`device` is the store's as in PATH records (`fe:02`), on every machine; None: each machine's
    is taken from the first one seen of it, in each of its boots."""

    rules: Rules
    device: bytes | None = None
    proof: Proof | None = None
    view: View | None = None
    tally: Tally = field(default_factory=Tally)
    parents: Programs = field(default_factory=lambda: Programs(PARENTS))
    _initrd: dict[bytes, int] = field(default_factory=dict)
    _learned: dict[bytes, bytes] = field(default_factory=dict)

    def device_of(self, node: bytes) -> bytes | None:
        """The store's device on the machine `node` (the journal's records: in that boot)."""
        return self.device if self.device is not None else self._learned.get(node)

    def booted(self, node: bytes, milliseconds: int) -> None:
        """Note the kernel's first record of a boot: programs of the initrd follow."""
        if len(self._initrd) >= 64:
            self._initrd.pop(next(iter(self._initrd)))
        self._initrd[node] = milliseconds + self.rules.initrd_ms
        # Devices may be numbered otherwise in another boot.
        self._learned.pop(node, None)

    def passed(self, node: bytes, pid: bytes, exe: bytes) -> None:
        """Count an execution that is known to be plainly inside the store."""
        self.tally.executions += 1
        self.tally.inside += 1
        self.parents.put((node, pid), exe)

    def failed(self, result: bytes) -> bool:
        """Whether a start with this result failed, and was not refused. If so, it is counted."""
        if result in self.rules.denied:
            return False
        self.tally.executions += 1
        self.tally.failed += 1
        return True

    def judge(self, event: Event) -> Verdict | None:
        """The verdict on an event for which `event.exec` holds; None: plainly inside the store,
        or a start that failed for another reason than a refusal."""
        if event.failed and event.exit is not None and self.failed(event.exit):
            return None
        self.tally.executions += 1
        run = execution(event)
        node, pid = run.id.node, run.syscall.get(b"pid", b"")
        parent = self.parents.get((node, run.syscall.get(b"ppid", b"")))
        if run.success is not False and run.exe is not None:
            self.parents.put((node, pid), run.exe)
        if (
            run.success is True
            and pid != b"1"
            and run.exe is not None
            and self.sound(run.exe, run.paths, node)
            and self.harmless(run.exe, run.argv, run.argv_whole)
            and not self.looks(run.exe)
        ):
            self.tally.inside += 1
            return None
        reasons, paths = self._reasons(run)
        accepted = self._accepted(run, reasons, paths)
        if pid == b"1" and run.exe is not None and run.exe.startswith(self.rules.store):
            self._leave_initrd(run)
        if not reasons:
            if run.success is False:
                self.tally.failed += 1
            else:
                self.tally.inside += 1
                self._learn(run)
            return None
        if accepted is None:
            self.tally.reported += 1
        else:
            self.tally.accepted += 1
        return Verdict(
            run, tuple(dict.fromkeys(reasons)), tuple(dict.fromkeys(paths)), accepted, parent
        )

    def sound(self, exe: bytes | None, paths: tuple[PathItem, ...], node: bytes = b"") -> bool:
        """Whether program and PATHs are all in the store of `node`, whatever else the event says.

        Once true it stays true until the node's next boot: that is what `scan` relies on. What an
        interpreter's arguments name is another question: `harmless`.
        """
        device = self.device_of(node)
        return (
            exe is not None
            and device is not None
            and self._in_store(exe)
            and not exe.endswith(_DELETED)
            and bool(paths)
            and paths[0].item == 0
            and paths[0].device == device
            and all(self._plain_path(exe, paths[0], path, device) for path in paths)
        )

    def harmless(self, exe: bytes, argv: tuple[bytes | None, ...], whole: bool) -> bool:
        """Whether the arguments of `exe` name no file but by absolute names in the store."""
        if not speaks(self.rules, exe):
            return True
        answer = told(self.rules, exe, argv, whole)
        return answer.certain and all(
            self._in_store(script) and b":" not in script for script in answer.scripts
        )

    def looks(self, exe: bytes) -> bool:
        """Whether the process has to be looked at, as its arguments name files that it opens."""
        return self.view is not None and speaks(self.rules, exe)

    def _plain_path(self, exe: bytes, first: PathItem, path: PathItem, device: bytes) -> bool:
        if path.name is None:
            return False
        if self._in_store(path.name):
            return path.device == device and (self.proof is None or self.proof(path))
        return self._is_link(path.name) or self._is_program(exe, first, path, device)

    def _is_program(
        self, exe: bytes, first: PathItem, path: PathItem, device: bytes | None
    ) -> bool:
        """Whether any name led to the program in the store itself, by its inode (live only).

        Of a name with a link in it the kernel makes two PATHs: of what it leads to, which is what
        was started, and of the link. Not so for a script: its interpreter opens the name anew, and
        it may lead elsewhere then.
        """
        return (
            self.proof is not None
            and path.name == first.name
            and first.item == 0
            and first.device == device
            and self._in_store(exe)
            and self.proof(replace(first, name=exe))
        )

    def _in_store(self, path: bytes) -> bool:
        return within(path, self.rules.store)

    def _is_link(self, path: bytes) -> bool:
        return b"/../" not in path + b"/" and any(below(path, link) for link in self.rules.links)

    def _reasons(self, run: Execution) -> tuple[list[Reason], list[bytes]]:
        reasons: list[Reason] = []
        paths: list[bytes] = []

        def found(reason: Reason, path: bytes) -> None:
            reasons.append(reason)
            paths.append(path)

        exe = run.exe
        if run.success is False:
            # Here exe is the caller: only the name that was tried tells.
            for path in run.paths[:1]:
                name = self._resolve(run, path.name)
                if name is None or not (self._in_store(name) or self._is_link(name)):
                    found(Reason.DENIED, name or b"?")
            if not run.paths:
                found(Reason.DENIED, b"?")
            return reasons, paths
        inside = exe is not None and self._in_store(exe)
        if exe is None:
            found(Reason.INCOMPLETE, b"?")
        elif exe.startswith(b"/memfd:"):
            found(Reason.MEMFD, exe)
        elif exe.endswith(_DELETED):
            found(Reason.DELETED, exe)
        elif not inside:
            found(Reason.OUTSIDE, exe)
        if not run.paths or run.paths[0].item != 0:
            found(Reason.INCOMPLETE, exe or b"?")
        for path in run.paths:
            self._judge_path(run, path, inside, found)
        if exe is not None and inside:
            self._judge_arguments(run, exe, found)
        return reasons, paths

    def _judge_path(
        self, run: Execution, path: PathItem, inside: bool, found: Callable[[Reason, bytes], None]
    ) -> None:
        first = path.item == 0
        if not path.readable:
            found(Reason.INCOMPLETE, run.exe or b"?")
            return
        if not path.name or _DESCRIPTOR.match(path.name):
            self._judge_descriptor(run, path, inside, found)
            return
        name = self._resolve(run, path.name)
        if name is None:
            found(Reason.INCOMPLETE, path.name)
        elif self._in_store(name):
            absolute = path.name.startswith(b"/")
            if path.device and (
                self._elsewhere(run, path)
                or (self.proof is not None and absolute and not self.proof(path))
            ):
                found(Reason.FORGED, name)
        elif run.exe is not None and self._is_program(
            run.exe, run.paths[0], path, self.device_of(run.id.node)
        ):
            return
        elif self._is_link(name) or (run.exe is not None and lexical(name) == run.exe):
            # A link's own entry is on another device than what it leads to.
            if inside and first and self._elsewhere(run, path):
                found(Reason.FORGED, run.exe or name)
        elif inside:
            found(Reason.SCRIPT, name)
        else:
            found(Reason.OUTSIDE, name)

    def _judge_descriptor(
        self, run: Execution, path: PathItem, inside: bool, found: Callable[[Reason, bytes], None]
    ) -> None:
        # The name says nothing. A program is known by exe; a script by its arguments, where the
        # kernel puts the descriptor's name.
        if not inside:
            found(Reason.DESCRIPTOR, path.name or b"")
            return
        handed = [word for word in run.argv[1:4] if word and _DESCRIPTOR.match(word)]
        if handed:
            found(Reason.DESCRIPTOR, handed[0])
        elif not run.argv:
            found(Reason.INCOMPLETE, run.exe or b"?")
        elif path.item == 0 and self._elsewhere(run, path):
            found(Reason.FORGED, run.exe or b"?")

    def _judge_arguments(
        self, run: Execution, exe: bytes, found: Callable[[Reason, bytes], None]
    ) -> None:
        if not speaks(self.rules, exe):
            return
        answer = told(self.rules, exe, run.argv, run.argv_whole)
        loader = exe.rpartition(b"/")[2].startswith(b"ld")
        stored: list[bytes] = []
        for script in answer.scripts:
            for part in script.split(b":") if loader else (script,):
                name = self._resolve(run, part)
                if name is None:
                    found(Reason.INCOMPLETE, part)
                elif self._in_store(name):
                    stored.append(name)
                elif not self._is_link(name):
                    found(Reason.LOADED if loader else Reason.INTERPRETED, name)
        if not answer.certain:
            found(Reason.INCOMPLETE, exe)
        if stored and self.view is not None:
            seen = self.view(run, stored)
            if seen is None:
                self.tally.unseen += 1
            elif not seen:
                found(Reason.FORGED, stored[0])

    def _elsewhere(self, run: Execution, path: PathItem) -> bool:
        device = self.device_of(run.id.node)
        return device is not None and bool(path.device) and path.device != device

    def _resolve(self, run: Execution, name: bytes | None) -> bytes | None:
        """`name` joined to CWD; None when CWD is needed and missing."""
        if name is None or name.startswith(b"/"):
            return name
        if run.cwd is None or not run.cwd.startswith(b"/"):
            return None
        while name.startswith(b"./"):
            name = name[2:].lstrip(b"/")
        return run.cwd.rstrip(b"/") + b"/" + name

    def _accepted(
        self, run: Execution, reasons: list[Reason], paths: list[bytes]
    ) -> Allow | str | None:
        if not reasons:
            return None
        if Reason.INCOMPLETE not in reasons:
            if is_build(self.rules, run, paths):
                return "builds"
            if set(reasons) == {Reason.OUTSIDE} and is_wrapper(self.rules, run, paths):
                return "wrappers"
            if self._is_initrd(run, paths):
                return "initrd"
        return next(
            (
                allow
                for allow in self.rules.allow
                if not allow.unit and _fits(allow, reasons, paths)
            ),
            None,
        )

    def _is_initrd(self, run: Execution, paths: list[bytes]) -> bool:
        end = self._initrd.get(run.id.node)
        return (
            end is not None
            and run.id.milliseconds <= end
            and run.syscall.get(b"auid") == b"4294967295"
            and all(
                self._in_store(path) or any(below(path, p) for p in self.rules.initrd)
                for path in paths
            )
        )

    def _leave_initrd(self, run: Execution) -> None:
        """Process 1 starts the system: `…-nixos-system-…/init`, as the boot loader names it."""
        name = run.paths[0].name if run.paths else None
        if name is not None and self._in_store(name) and name.endswith(b"/init"):
            self._initrd.pop(run.id.node, None)

    def _learn(self, run: Execution) -> None:
        # The initrd has a store of its own, on another device.
        first = run.paths[0]
        if run.id.node in self._initrd and run.id.milliseconds <= self._initrd[run.id.node]:
            return
        if (
            self.device_of(run.id.node) is None
            and first.device
            and first.name
            and self._in_store(first.name)
        ):
            if len(self._learned) >= NODES:
                self._learned.clear()
            self._learned[run.id.node] = first.device


def accepts(allowed: Sequence[Allow], verdict: Verdict, unit: str) -> bool:
    """Whether an exception by `unit` fits: alone, or with its path for every file reported."""
    return any(
        allow.unit == unit and (not allow.path or _fits(allow, verdict.reasons, verdict.paths))
        for allow in allowed
        if allow.unit
    )


_BY_PATH = frozenset(
    (Reason.OUTSIDE, Reason.SCRIPT, Reason.INTERPRETED, Reason.LOADED, Reason.DENIED)
)


def _fits(allow: Allow, reasons: Sequence[Reason], paths: Sequence[bytes]) -> bool:
    # A path that is gone, forged or unknown is no ground for an exception.
    return _BY_PATH.issuperset(reasons) and all(
        b"/../" not in path and below(path, allow.path) for path in paths
    )
