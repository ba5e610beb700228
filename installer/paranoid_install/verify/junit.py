"""A report as JUnit XML, which continuous integration reads: a test case a check."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from paranoid_install.verify.report import Report, printable
from paranoid_install.verify.terms import Status


def as_junit(report: Report) -> str:
    """One suite. Unknown is an error, not applicable and accepted are skipped."""
    suite = Xml.Element(
        "testsuite",
        name="paranoid-install verify",
        hostname=printable(report.host),
        timestamp=report.time.strftime("%Y-%m-%dT%H:%M:%S"),
        tests=str(len(report.findings)),
        failures=str(report.count(Status.FAIL)),
        errors=str(report.count(Status.UNKNOWN)),
        skipped=str(report.count(Status.NOT_APPLICABLE) + report.accepted),
    )
    for finding in report.findings:
        check = finding.check
        subject, _, name = check.id.partition(".")
        case = Xml.SubElement(suite, "testcase", classname=subject, name=f"{name}: {check.title}")
        text = "\n".join(finding.evidence)
        if finding.accepted is not None:
            reason = f"accepted: {printable(finding.accepted.reason)}"
            Xml.SubElement(case, "skipped", message=reason)
        elif finding.status is Status.FAIL:
            failure = Xml.SubElement(case, "failure", type=check.severity, message=check.why)
            ended = finding.ended
            was = f"accepted until {ended.until}; that has ended\n" if ended is not None else ""
            failure.text = f"{was}{text}\noption: {check.option}"
        elif finding.status is Status.UNKNOWN:
            Xml.SubElement(case, "error", type="unknown", message=text)
        elif finding.status is Status.NOT_APPLICABLE:
            Xml.SubElement(case, "skipped", message=text)
    return Xml.tostring(suite, encoding="unicode", xml_declaration=False) + "\n"
