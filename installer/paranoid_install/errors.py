"""Every way an install can fail, and the exit code that says whether the disk was touched.

InstallError        1  never raised itself
├ SpecError         2  the request is wrong
├ RefusedError      3  a check said no, or the choice is ambiguous; the disk is untouched
├ StepError         4  a step failed before the first destructive one
│                   5  after it; everything of this run was released
│                   6  after it, and something could not be released
├ LockedError       7  another run holds the disk or the root
├ FindingsError     8  verify found something
└ CommandFailed        a program failed; the engine turns it into a StepError
"""

from __future__ import annotations

import os
import shlex
import tempfile
import traceback
from dataclasses import dataclass
from typing import Any, ClassVar

INTERRUPTED = 130
TERMINATED = 143


class InstallError(Exception):
    """A failure with a sentence for the person at the console: object, problem, remedy."""

    exit_code: ClassVar[int] = 1

    def __init__(self, subject: str, problem: str, remedy: str = "") -> None:
        super().__init__(subject, problem, remedy)
        self.subject = subject
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        sentence = f"{self.subject}: {self.problem}"
        return f"{sentence}; {self.remedy}" if self.remedy else sentence

    def report(self) -> list[str]:
        """Lines for the person at the console; the first is the sentence."""
        return [f"error: {self}"]

    def as_data(self) -> dict[str, Any]:
        """The failure for `--json`, as docs/events.schema.json has it."""
        return {
            "type": type(self).__name__,
            "exit_code": self.exit_code,
            "subject": self.subject,
            "problem": self.problem,
            "remedy": self.remedy,
        }


class SpecError(InstallError):
    """The request cannot be understood or contradicts itself."""

    exit_code = 2


@dataclass(frozen=True)
class Refusal:
    """One reason why a disk, or the request as a whole, is refused."""

    code: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class RefusedError(InstallError):
    """A check said no before anything was written.

    `reasons` holds every reason found, the first of which is the sentence;
    `candidates` maps each disk considered to why it was refused (empty: it was eligible).
    """

    exit_code = 3

    def __init__(
        self,
        subject: str,
        reasons: tuple[Refusal, ...],
        candidates: tuple[tuple[str, tuple[Refusal, ...]], ...] = (),
    ) -> None:
        super().__init__(subject, reasons[0].problem, reasons[0].remedy)
        self.reasons = reasons
        self.candidates = candidates

    def report(self) -> list[str]:
        also = [f"  also: {reason}" for reason in self.reasons[1:]]
        disks = [
            f"  {disk}: {'; '.join(r.problem for r in reasons) or 'fits'}"
            for disk, reasons in self.candidates
        ]
        return super().report() + also + disks

    def as_data(self) -> dict[str, Any]:
        return super().as_data() | {
            "reasons": [vars(reason) for reason in self.reasons],
            "candidates": [
                {"disk": disk, "reasons": [vars(reason) for reason in reasons]}
                for disk, reasons in self.candidates
            ],
        }


class LockedError(InstallError):
    """Another run holds the disk or the root."""

    exit_code = 7


class FindingsError(InstallError):
    """Verify found something at or above the level asked for."""

    exit_code = 8


class CommandFailed(InstallError):
    """A program ended with an exit code that was not expected, was missing, or ran out of time.

    `code` is the exit code (negative: the signal that ended it; None: it never ran or had
    to be ended); `tail` holds the last lines that it printed.
    """

    def __init__(
        self, argv: tuple[str, ...], problem: str, code: int | None, tail: tuple[str, ...] = ()
    ) -> None:
        super().__init__(argv[0], problem)
        self.argv = argv
        self.code = code
        self.tail = tail

    @property
    def command(self) -> str:
        return shlex.join(self.argv)


class StepError(InstallError):
    """A step failed. `code` answers: was the disk touched, is anything of this run left?

    `log` names the file with the traceback of a failure that nobody has foreseen.
    """

    def __init__(
        self,
        step: str,
        cause: Exception,
        *,
        touched: bool,
        may_boot: bool = False,
        unreleased: tuple[str, ...] = (),
    ) -> None:
        problem = str(cause)
        if isinstance(cause, CommandFailed):
            problem = f"{cause.command}: {cause.problem}"
        foreseen = isinstance(cause, (InstallError, OSError))
        if not foreseen:
            problem = f"this is a bug in paranoid-install: {cause!r}"
        super().__init__(f"step {step}", problem)
        self.log = "" if foreseen else keep_traceback(cause)
        self.step = step
        self.cause = cause
        self.touched = touched
        self.may_boot = may_boot
        self.unreleased = unreleased
        self.tail = cause.tail if isinstance(cause, CommandFailed) else ()

    @property
    def code(self) -> int:
        """The exit code: 4 before the disk was touched, 5 after, 6 with something still held."""
        if self.unreleased:
            return 6
        return 5 if self.touched else 4

    def report(self) -> list[str]:
        state = "changed, and does not boot" if self.touched else "not touched"
        if self.may_boot:
            state = "changed, and may boot already: install again before it is used"
        return [
            *super().report(),
            *(f"  | {line}" for line in self.tail),
            *([f"  the traceback is in {self.log}"] if self.log else []),
            f"  the disk was {state}",
            *(f"  still held: {line}" for line in self.unreleased),
        ]

    def as_data(self) -> dict[str, Any]:
        return super().as_data() | {
            "exit_code": self.code,
            "step": self.step,
            "touched": self.touched,
            "tail": list(self.tail),
            "log": self.log,
            "unreleased": list(self.unreleased),
        }


def keep_traceback(error: BaseException) -> str:
    """Write a traceback to a new file, readable by its owner alone; its path, or why there is none.

    Without one the failure is still told, with its own exit code.
    """
    try:
        descriptor, path = tempfile.mkstemp(prefix="paranoid-install-", suffix=".log")
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except OSError as full:
        return f"no file ({full.strerror or full})"
    return path
