"""The words of every report. Apart from all else, for the command line loads them at each start."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad it is when a check fails, worst last."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class Status(StrEnum):
    """The four answers. Unknown is never taken for pass."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "n/a"
