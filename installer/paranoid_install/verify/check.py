"""What a check is, what it may answer, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from paranoid_install.verify.facts import Machine, MissingError, NotApplicable, Search
from paranoid_install.verify.terms import Severity, Status


@dataclass(frozen=True)
class Result:
    """An answer with what was found; evidence holds raw text of the machine."""

    status: Status
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One question to a machine.

    `id` never changes once released. `option` is the NixOS option that mends a failure.
    """

    id: str
    title: str
    severity: Severity
    why: str
    option: str
    function: Callable[[Machine], Result]


def passed(*evidence: str) -> Result:
    """The machine is as it should be."""
    return Result(Status.PASS, evidence)


def unless(problems: Iterable[str], *evidence: str) -> Result:
    """Fails with the problems as evidence; passes when there are none."""
    found = tuple(problems)
    return Result(Status.FAIL, found) if found else Result(Status.PASS, evidence)


def unknown(*reasons: str) -> Result:
    """The check cannot be made."""
    return Result(Status.UNKNOWN, reasons)


def searched(problems: Iterable[str], search: Search) -> Result:
    """As `unless`, of what a walk met; with nothing found, one that was cut cannot tell."""
    found = tuple(problems)
    if search.cut and not found:
        return unknown("too many files to look through in the time for it")
    return unless(found)


def not_applicable(reason: str) -> Result:
    """There is nothing on this machine that the check is about."""
    return Result(Status.NOT_APPLICABLE, (reason,))


def ask(check: Check, machine: Machine) -> Result:
    """The check's answer; a missing piece makes it unknown or not applicable."""
    try:
        return check.function(machine)
    except MissingError as missing:
        if isinstance(missing.piece, NotApplicable):
            return not_applicable(missing.piece.reason)
        return unknown(missing.piece.reason)
