"""A profile's answers as STIG Viewer and eMASS take them (CKL), and as OSCAL assessment results."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as Xml

from paranoid_install import __version__
from paranoid_install.verify.profile import Answer, Standing
from paranoid_install.verify.report import Report, printable
from paranoid_install.verify.rules import Profile

_OSCAL = "1.1.2"
_STATES = {Standing.MET: "satisfied", Standing.NOT_APPLICABLE: "satisfied"}
_REASONS = {Standing.MET: "pass", Standing.NOT_APPLICABLE: "other", Standing.OPEN: "fail",
            Standing.NOT_REVIEWED: "other"}  # fmt: skip
# Ids that stay the same for the same machine and time, so that a report can be made again.
_SPACE = uuid.UUID("6c1cb2a5-6f0e-5b0d-9a35-1f0f4d9d2c61")


def as_ckl(profile: Profile, report: Report, answers: Iterable[Answer]) -> str:
    """A checklist of STIG Viewer 2. Rules are known by their group's id (V-…) alone."""
    top = Xml.Element("CHECKLIST")
    asset = Xml.SubElement(top, "ASSET")
    for name, text in (
        ("ROLE", "None"), ("ASSET_TYPE", "Computing"), ("MARKING", ""),
        ("HOST_NAME", printable(report.host)), ("HOST_IP", ""), ("HOST_MAC", ""), ("HOST_FQDN", ""),
        ("TARGET_COMMENT", f"paranoid-install verify {__version__}"), ("TECH_AREA", ""),
        ("TARGET_KEY", ""), ("WEB_OR_DATABASE", "false"), ("WEB_DB_SITE", ""),
        ("WEB_DB_INSTANCE", ""),
    ):  # fmt: skip
        Xml.SubElement(asset, name).text = text
    stig = Xml.SubElement(Xml.SubElement(top, "STIGS"), "iSTIG")
    info = Xml.SubElement(stig, "STIG_INFO")
    for name, text in (
        ("version", "1"), ("stigid", profile.id), ("releaseinfo", profile.release),
        ("title", profile.title),
    ):  # fmt: skip
        item = Xml.SubElement(info, "SI_DATA")
        Xml.SubElement(item, "SID_NAME").text = name
        Xml.SubElement(item, "SID_DATA").text = text
    for answer in answers:
        _vulnerability(stig, profile, answer)
    Xml.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(top, encoding="unicode") + "\n"


def _vulnerability(stig: Xml.Element, profile: Profile, answer: Answer) -> None:
    item = Xml.SubElement(stig, "VULN")
    for name, text in (
        ("Vuln_Num", answer.id), ("Severity", answer.severity), ("Group_Title", answer.id),
        ("Rule_Title", answer.title), ("STIGRef", f"{profile.title} :: {profile.release}"),
    ):  # fmt: skip
        data = Xml.SubElement(item, "STIG_DATA")
        Xml.SubElement(data, "VULN_ATTRIBUTE").text = name
        Xml.SubElement(data, "ATTRIBUTE_DATA").text = text
    Xml.SubElement(item, "STATUS").text = answer.standing
    Xml.SubElement(item, "FINDING_DETAILS").text = "\n".join(answer.details)
    Xml.SubElement(item, "COMMENTS").text = answer.comment
    Xml.SubElement(item, "SEVERITY_OVERRIDE")
    Xml.SubElement(item, "SEVERITY_JUSTIFICATION")


def as_oscal(profile: Profile, report: Report, answers: Iterable[Answer]) -> dict[str, Any]:
    """OSCAL assessment results. A rule that was not reviewed has an observation and no finding."""
    rules = tuple(answers)
    time = report.time.isoformat(timespec="seconds")

    def identify(*words: str) -> str:
        return str(uuid.uuid5(_SPACE, "\0".join((printable(report.host), time, *words))))

    result: dict[str, Any] = {
        "uuid": identify("result"),
        "title": "paranoid-install verify",
        "description": "What a machine was found to be, rule by rule.",
        "start": time,
        "end": time,
        "reviewed-controls": {"control-selections": [{"include-all": {}}]},
        "observations": [
            _observation(rule, identify("observation", rule.id), time) for rule in rules
        ],
    }
    reviewed = [rule for rule in rules if rule.standing is not Standing.NOT_REVIEWED]
    # The schema has no list without members.
    if reviewed:
        result["findings"] = [
            _finding(
                rule,
                f"{profile.name}-{rule.id}",
                identify("finding", rule.id),
                identify("observation", rule.id),
            )
            for rule in reviewed
        ]
    return {
        "assessment-results": {
            "uuid": identify("results"),
            "metadata": {
                "title": f"{profile.full}: {printable(report.host)}",
                "last-modified": time,
                "version": __version__,
                "oscal-version": _OSCAL,
            },
            "import-ap": {"href": "#" + identify("plan"), "remarks": "no plan was written"},
            "results": [result],
        }
    }


def _observation(rule: Answer, identity: str, time: str) -> dict[str, Any]:
    return {
        "uuid": identity,
        "title": rule.id,
        "description": "; ".join(rule.details) or rule.comment or rule.title,
        "methods": ["TEST" if rule.standing is not Standing.NOT_REVIEWED else "UNKNOWN"],
        "collected": time,
    }


def _finding(rule: Answer, target: str, identity: str, observation: str) -> dict[str, Any]:
    status = {"state": _STATES.get(rule.standing, "not-satisfied"),
              "reason": _REASONS[rule.standing]}  # fmt: skip
    if rule.comment:
        status["remarks"] = rule.comment
    return {
        "uuid": identity,
        "title": rule.id,
        "description": rule.title,
        "target": {"type": "objective-id", "target-id": target, "status": status},
        "related-observations": [{"observation-uuid": observation}],
    }
