"""A report as one HTML file: no script, nothing loaded, everything from the machine escaped."""

from __future__ import annotations

from html import escape

from paranoid_install.verify.report import Finding, Report, printable
from paranoid_install.verify.rules import rules_of
from paranoid_install.verify.terms import Severity, Status

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8886; padding: .35em .6em; text-align: left;
         vertical-align: top; }
details summary { cursor: pointer; }
@media (max-width: 45em) {
  thead { display: none; }
  tr, td { display: block; border: 0; padding: .1em 0; }
  tr { border-bottom: 1px solid #8886; padding: .5em 0; }
  td:empty { display: none; }
  td[data-name]::before { content: attr(data-name) ": "; color: #777; }
}
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
ul { margin: .2em 0; padding-left: 1.2em; }
.pass { color: #18794e; } .fail { color: #c00; font-weight: bold; } .unknown { color: #a35200; }
.accepted, .na { color: #777; }
:root { color-scheme: light dark; }
"""
# Whatever might get past the escaping could still neither run nor load anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_UNFOLDED = 5
"""Lines of evidence that are shown without being asked for."""
_ORDER = [Status.FAIL, Status.UNKNOWN, Status.PASS, Status.NOT_APPLICABLE]


def as_html(report: Report) -> str:
    """The report, failures first and the worst of them at the top."""
    findings = sorted(report.findings, key=_rank)
    rows = "\n".join(_row(finding) for finding in findings)
    host = escape(printable(report.host))
    counts = ", ".join(f"{report.count(status)} {status}" for status in _ORDER)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width">
<title>verify: {host}</title><style>{_STYLE}</style></head>
<body><h1>{host}</h1>
<p>{report.time:%Y-%m-%d %H:%M} UTC: {counts}, {report.accepted} accepted.
Findings of severity {report.fail_on} and above count.</p>
<p>Failed: {_by_severity(report)}.</p>
<p>{_about(report)}</p>
<table><thead><tr><th>answer</th><th>severity</th><th>check</th><th>found</th><th>mended by</th>
</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""


def _by_severity(report: Report) -> str:
    failed = [
        finding.check.severity
        for finding in report.findings
        if finding.status is Status.FAIL and finding.accepted is None
    ]
    return ", ".join(f"{failed.count(level)} {level}" for level in reversed(Severity))


def _about(report: Report) -> str:
    return "; ".join(f"{escape(name)}: {escape(printable(text))}" for name, text in report.about)


def _list(lines: tuple[str, ...]) -> str:
    items = "".join(f"<li><code>{escape(line)}</code></li>" for line in lines)
    if not lines:
        return ""
    if len(lines) <= _UNFOLDED:
        return f"<ul>{items}</ul>"
    return f"<details><summary>{len(lines)} lines</summary><ul>{items}</ul></details>"


def _rank(finding: Finding) -> tuple[bool, int, int]:
    return (
        finding.accepted is not None,
        _ORDER.index(finding.status),
        -finding.check.severity.rank,
    )


def _row(finding: Finding) -> str:
    check = finding.check
    answer, style = str(finding.status), finding.status.name.lower()
    note = ""
    if finding.accepted is not None:
        answer, style = "accepted", "accepted"
        until = finding.accepted.until.isoformat()
        note = f"<br>{escape(printable(finding.accepted.reason))} (until {until})"
    elif finding.ended is not None:
        note = f"<br>was accepted until {finding.ended.until.isoformat()}; that has ended"
    if finding.status is Status.NOT_APPLICABLE:
        style = "na"
    found = _list(finding.evidence)
    rules = "; ".join(
        f"{name.upper()} {', '.join(ids)}" for name, ids in rules_of(check.id).items()
    )
    reference = f"<br><small>{escape(rules)}</small>" if rules else ""
    return (
        f'<tr><td class="{style}">{answer}{note}</td><td data-name="severity">{check.severity}</td>'
        f"<td><strong>{escape(check.title)}</strong><br><code>{escape(check.id)}</code><br>"
        f"{escape(check.why)}{reference}</td>"
        f"<td>{found}</td>"
        f'<td data-name="mended by"><code>{escape(check.option)}</code></td></tr>'
    )
