"""A report as SARIF 2.1.0, which code hosts and their dashboards read."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import quote

from paranoid_install.verify.report import Finding, Report, printable
from paranoid_install.verify.rules import rules_of
from paranoid_install.verify.terms import Severity, Status

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_PATH = re.compile(r"/[^\s:]+")
_LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
}
_KINDS = {
    Status.PASS: "pass",
    Status.FAIL: "fail",
    Status.UNKNOWN: "open",
    Status.NOT_APPLICABLE: "notApplicable",
}


def as_sarif(report: Report) -> dict[str, Any]:
    """One run. Each check is a rule; each answer a result, of the kind that SARIF has for it."""
    rules = [
        {
            "id": finding.check.id,
            "shortDescription": {"text": finding.check.title},
            "fullDescription": {"text": finding.check.why},
            "help": {"text": f"NixOS option: {finding.check.option}"},
            "defaultConfiguration": {"level": _LEVELS[finding.check.severity]},
            "properties": {
                "severity": str(finding.check.severity),
                "tags": [
                    f"{profile}/{rule}"
                    for profile, ids in rules_of(finding.check.id).items()
                    for rule in ids
                ],
            },
        }
        for finding in report.findings
    ]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "paranoid-install verify",
                        "version": report.as_data()["tool"],
                        "rules": rules,
                    }
                },
                # What other machines were found to be is not this one's, and stays.
                "automationDetails": {"id": f"paranoid-install-verify/{printable(report.host)}/"},
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "endTimeUtc": report.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                        "machine": printable(report.host),
                    }
                ],
                "results": [_result(index, f) for index, f in enumerate(report.findings)],
            }
        ],
    }


def _result(index: int, finding: Finding) -> dict[str, Any]:
    failed = finding.status is Status.FAIL
    result: dict[str, Any] = {
        "ruleId": finding.check.id,
        "ruleIndex": index,
        "kind": _KINDS[finding.status],
        # 3.27.10: none for every kind but fail.
        "level": _LEVELS[finding.check.severity] if failed else "none",
        "message": {"text": "; ".join(finding.evidence) or finding.check.title},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _file(finding)}},
                "logicalLocations": [
                    {"fullyQualifiedName": finding.check.option, "kind": "member"}
                ],
            }
        ],
        # The same finding is the same from run to run, whatever else its evidence says.
        "partialFingerprints": {"check/v1": hashlib.sha256(finding.check.id.encode()).hexdigest()},
    }
    if finding.accepted is not None:
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": printable(finding.accepted.reason),
            }
        ]
    elif finding.ended is not None:
        until = finding.ended.until.isoformat()
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "rejected",
                "justification": f"accepted until {until}: {printable(finding.ended.reason)}",
            }
        ]
    return result


def _file(finding: Finding) -> str:
    """The file that the evidence names, or that in which the option is set; below the root."""
    for line in finding.evidence:
        if match := _PATH.match(line):
            return quote(match[0].lstrip("/"))
    return "etc/nixos/configuration.nix"
