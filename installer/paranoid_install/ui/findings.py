"""A report of `verify` for people: a table on a terminal, lines anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paranoid_install.ui import clean, is_screen
from paranoid_install.values import human
from paranoid_install.verify.compare import Change
from paranoid_install.verify.ephemeral import Mortals
from paranoid_install.verify.profile import Answer, Standing
from paranoid_install.verify.report import Finding, Report
from paranoid_install.verify.terms import Status

_STYLES = {
    "pass": "green",
    "fail": "bold red",
    "unknown": "yellow",
    "n/a": "dim",
    "accepted": "dim",
}
_FILES = 50


def show(report: Report, stream: TextIO) -> None:
    """Every check: answer, severity, id, title, and what was found where it does not pass."""
    if is_screen(stream):
        _table(report, stream)
    else:
        for finding in report.findings:
            _lines(finding, stream)
    _say(summary(report), stream)


def summary(report: Report) -> str:
    """The counts of the four answers, and what they come to."""
    counts = ", ".join(f"{report.count(status)} {status}" for status in Status)
    verdict = "findings" if report.failed else "no findings"
    return (
        f"{report.host}: {counts}, {report.accepted} accepted; "
        f"{verdict} of severity {report.fail_on} or above"
    )


def show_profile(report: Report, answers: Sequence[Answer], stream: TextIO) -> None:
    """Every rule: how the machine stands to it, its severity, id and title, and why."""
    for answer in answers:
        _say(f"{answer.standing:<15}{answer.severity:<8}{answer.id}  {answer.title}", stream)
        for line in (*answer.details, *([answer.comment] if answer.comment else [])):
            _say(f"    {line}", stream)
    counts = ", ".join(
        f"{sum(answer.standing is standing for answer in answers)} {standing}"
        for standing in Standing
    )
    _say(f"{report.host}: {len(answers)} rules: {counts}", stream)


def show_changes(changes: Sequence[Change], stream: TextIO) -> None:
    """What differs between two reports, a line a change and one for each piece of evidence."""
    for change in changes:
        mark = "worse" if change.worse else "changed"
        _say(f"{mark}: {change.id} ({change.severity}): {change.before} -> {change.after}", stream)
        for line in change.gone:
            _say(f"  - {line}", stream)
        for line in change.new:
            _say(f"  + {line}", stream)
    if not changes:
        _say("no change", stream)


def show_mortals(mortals: Mortals, stream: TextIO) -> None:
    """The largest files that die at the next boot, and the sum of all."""
    for file in mortals.files[:_FILES]:
        _say(f"{human(file.size):>10}  {file.path}", stream)
    if len(mortals.files) > _FILES:
        _say(f"{'':>10}  and {len(mortals.files) - _FILES} more", stream)
    whole = "" if mortals.complete else " at least; the search was cut off"
    _say(f"{human(mortals.size)} in {len(mortals.files)} files die at the next boot{whole}", stream)


def _answer(finding: Finding) -> str:
    return "accepted" if finding.accepted is not None else str(finding.status)


def _notes(finding: Finding) -> list[str]:
    """What stands below a title: nothing for a check that passes."""
    if finding.status is Status.PASS:
        return []
    notes = list(finding.evidence)
    if finding.accepted is not None:
        notes.append(f"accepted until {finding.accepted.until}: {finding.accepted.reason}")
    elif finding.expired:
        notes.append("was accepted; that has ended")
    if finding.status is Status.FAIL and finding.accepted is None:
        notes.append(f"{finding.check.why}; mended by {finding.check.option}")
    return notes


def _lines(finding: Finding, stream: TextIO) -> None:
    check = finding.check
    _say(f"{_answer(finding):8} {check.severity:8} {check.id}: {check.title}", stream)
    for note in _notes(finding):
        _say(f"    {note}", stream)


def _table(report: Report, stream: TextIO) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("answer", "severity", "check"):
        table.add_column(name)
    for finding in report.findings:
        check = finding.check
        answer = _answer(finding)
        # Text, not markup: brackets in what was found mean nothing.
        told = Text(f"{check.id}: {check.title}")
        for note in _notes(finding):
            told.append(f"\n  {clean(note)}", style="dim")
        table.add_row(Text(answer, style=_STYLES[answer]), Text(str(check.severity)), told)
    Console(file=stream, highlight=False).print(table)


def _say(line: str, stream: TextIO) -> None:
    encoding = stream.encoding or "utf-8"
    print(clean(line).encode(encoding, "backslashreplace").decode(encoding), file=stream)
