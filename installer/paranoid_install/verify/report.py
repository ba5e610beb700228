"""Answers as a report: plain data that all outputs are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from paranoid_install import __version__
from paranoid_install.verify.baseline import Accepted
from paranoid_install.verify.check import Check, ask
from paranoid_install.verify.facts import Machine
from paranoid_install.verify.rules import rules_of
from paranoid_install.verify.terms import Severity, Status

VERSION = 1
"""Of the report's form, docs/verify.schema.json."""
_LINES = 50
_LENGTH = 400
# What a terminal acts on, what turns the direction of writing, and lone surrogates.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Finding:
    """A check's answer, with evidence that is safe to print, and who accepted it, or once did."""

    check: Check
    status: Status
    evidence: tuple[str, ...]
    accepted: Accepted | None = None
    ended: Accepted | None = None

    @property
    def expired(self) -> bool:
        """Whether it was accepted, until a day that is over."""
        return self.ended is not None

    def counts(self, level: Severity) -> bool:
        """Whether this failed at or above a level, and nobody accepted it."""
        failed = self.status is Status.FAIL and self.accepted is None
        return failed and self.check.severity.rank >= level.rank


@dataclass(frozen=True)
class Report:
    """All answers about one machine. `host` is a name, or the root of a disk; `about` says who
    made the report, and of which system.
    """

    host: str
    root: str
    live: bool
    time: datetime
    fail_on: Severity
    findings: tuple[Finding, ...]
    about: tuple[tuple[str, str], ...] = ()

    @property
    def failed(self) -> bool:
        return any(finding.counts(self.fail_on) for finding in self.findings)

    def count(self, status: Status) -> int:
        """Answers of a kind; a failure that was accepted is none."""
        return sum(f.status is status and f.accepted is None for f in self.findings)

    @property
    def accepted(self) -> int:
        return sum(f.accepted is not None for f in self.findings)

    def as_data(self) -> dict[str, Any]:
        """The report as docs/verify.schema.json has it."""
        return {
            "version": VERSION,
            "tool": __version__,
            "host": printable(self.host),
            "root": printable(self.root),
            "live": self.live,
            "time": self.time.isoformat(timespec="seconds"),
            "fail_on": self.fail_on,
            "failed": self.failed,
            "summary": {
                **{status.name.lower(): self.count(status) for status in Status},
                "accepted": self.accepted,
            },
            "checks": [_as_data(finding) for finding in self.findings],
        }


def _as_data(finding: Finding) -> dict[str, Any]:
    check = finding.check
    accepted = finding.accepted
    rules = rules_of(check.id)
    return {
        "id": check.id,
        "title": check.title,
        "severity": check.severity,
        "status": finding.status,
        "evidence": list(finding.evidence),
        "why": check.why,
        "reference": ", ".join(rules.get("anssi", ())),
        "rules": {profile: list(ids) for profile, ids in rules.items()},
        "option": check.option,
        "accepted": None
        if accepted is None
        else {"reason": printable(accepted.reason), "until": accepted.until.isoformat()},
        "expired": finding.expired,
    }


def judge(
    machine: Machine, checks: Iterable[Check], accepted: Iterable[Accepted], today: date
) -> tuple[Finding, ...]:
    """Each check's answer. A failure that is accepted until `today` or later does not count."""
    by_id = {item.id: item for item in accepted}
    return tuple(_judge(machine, check, by_id.get(check.id), today) for check in checks)


def _judge(machine: Machine, check: Check, accepted: Accepted | None, today: date) -> Finding:
    result = ask(check, machine)
    evidence = _limited(result.evidence)
    if accepted is None or result.status is not Status.FAIL:
        return Finding(check, result.status, evidence)
    if accepted.until < today:
        return Finding(check, result.status, evidence, ended=accepted)
    return Finding(check, result.status, evidence, accepted)


def now() -> datetime:
    """The time of a report."""
    return datetime.now(UTC)


def printable(text: str) -> str:
    r"""One line that no terminal acts on: control characters and foreign bytes are \xNN, \uNNNN."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _limited(lines: tuple[str, ...]) -> tuple[str, ...]:
    shown = tuple(_shortened(printable(line)) for line in lines[:_LINES])
    return (*shown, f"and {len(lines) - _LINES} more") if len(lines) > _LINES else shown


def _shortened(line: str) -> str:
    return line if len(line) <= _LENGTH else f"{line[:_LENGTH]}…"
