"""The rules of a profile, each answered of a machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from paranoid_install.verify.evidence import Known, has_evidence, problems
from paranoid_install.verify.facts import Machine, MissingError
from paranoid_install.verify.report import Finding, printable
from paranoid_install.verify.rules import Profile
from paranoid_install.verify.terms import Severity

SEVERITIES = {"high": Severity.HIGH, "medium": Severity.MEDIUM, "low": Severity.LOW}


class Standing(StrEnum):
    """How a machine stands to a rule, in the words of STIG Viewer."""

    MET = "NotAFinding"
    OPEN = "Open"
    NOT_APPLICABLE = "Not_Applicable"
    NOT_REVIEWED = "Not_Reviewed"


@dataclass(frozen=True)
class Answer:
    """A rule with how the machine stands to it: what was found, and why it is judged so."""

    id: str
    title: str
    severity: str
    standing: Standing
    details: tuple[str, ...] = ()
    comment: str = ""
    checks: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        return {**vars(self), "details": list(self.details), "checks": list(self.checks)}


def answers(profile: Profile, machine: Machine, findings: Iterable[Finding]) -> tuple[Answer, ...]:
    """Every rule of the profile, in order."""
    known = Known(machine, {finding.check.id: finding for finding in findings})
    return tuple(_answer(known, rule) for rule in profile.rules)


def _answer(known: Known, rule: Mapping[str, Any]) -> Answer:
    def answer(standing: Standing, details: Iterable[str] = (), comment: str = "") -> Answer:
        return Answer(
            rule["id"], rule["title"], rule["severity"], standing,
            tuple(printable(line) for line in details), comment, tuple(rule.get("checks", ())),
        )  # fmt: skip

    reason = _missing = ""
    if has_evidence(rule):
        try:
            found = problems(known, rule)
        except MissingError as error:
            _missing = error.piece.reason
        else:
            if not found and "look" not in rule:
                return answer(Standing.MET)
            reason = _instead(known, rule)
            if found and not reason:
                return answer(Standing.OPEN, found)
    reason = reason or _instead(known, rule)
    if reason:
        return answer(Standing.NOT_APPLICABLE, (), reason)
    look = f"to look at: {rule['look']}" if "look" in rule else ""
    return answer(Standing.NOT_REVIEWED, [f"cannot tell: {_missing}"] if _missing else [], look)


def _instead(known: Known, rule: Mapping[str, Any]) -> str:
    """Why the rule does not apply, when the facts of one such reason are known to hold."""
    for reason in rule.get("instead", ()):
        try:
            if not problems(known, reason):
                return str(reason["because"])
        except MissingError:
            continue
    return ""
