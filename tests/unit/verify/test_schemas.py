"""Checklist, OSCAL and SARIF against their publishers' schemas, which are not in this repository.

PARANOID_SCHEMAS names a directory with them: U_Checklist_Schema_V2.xsd (of DISA's STIG Viewer),
oscal_assessment-results_schema.json (of a release of usnistgov/OSCAL) and
sarif-schema-2.1.0.json (of oasis-tcs/sarif-spec). The checklist's needs lxml as well.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from paranoid_install.verify.baseline import Accepted
from paranoid_install.verify.checklist import as_ckl, as_oscal
from paranoid_install.verify.facts import Machine
from paranoid_install.verify.profile import answers
from paranoid_install.verify.registry import CHECKS
from paranoid_install.verify.report import Report, judge
from paranoid_install.verify.rules import PROFILES, profile
from paranoid_install.verify.sarif import as_sarif
from paranoid_install.verify.terms import Severity
from tests.unit.verify.machines import paranoid
from tests.unit.verify.test_report import HOSTILE, WILD

_SCHEMAS = Path(os.environ.get("PARANOID_SCHEMAS", "/nowhere"))
given = pytest.mark.skipif(not _SCHEMAS.is_dir(), reason="PARANOID_SCHEMAS names no directory")
MACHINES = {"paranoid": paranoid(), "nothing known": Machine(), "hostile": WILD(paranoid())}
TODAY = date(2026, 11, 28)


def _report(machine: Machine) -> Report:
    accepted = (
        Accepted("logs.sent", HOSTILE, date(2030, 1, 1)),
        Accepted("users.setuid", HOSTILE, date(2020, 1, 1)),
    )
    findings = judge(machine, CHECKS, accepted, TODAY)
    time = datetime(2026, 11, 28, tzinfo=UTC)
    return Report(f"a<b>{HOSTILE}", "/", True, time, Severity.HIGH, findings)


def _oscal(name: str, machine: Machine) -> dict[str, Any]:
    report = _report(machine)
    return as_oscal(profile(name), report, answers(profile(name), machine, report.findings))


def _json(file: str, data: dict[str, Any]) -> list[str]:
    # Python's expressions have no classes of Unicode, and its resolver no ids that are fragments.
    text = (_SCHEMAS / file).read_text(encoding="utf-8")
    text = text.replace(r"(\\p{L}|_)(\\p{L}|\\p{N}|[.\\-_])*", r"[A-Za-z_][\\w.-]*")
    text = re.sub(r'"\$id"\s*:\s*"#[^"]*",', "", text)
    schema = json.loads(text)
    validator = jsonschema.validators.validator_for(schema)
    return [error.message for error in validator(schema).iter_errors(data)]


@given
@pytest.mark.parametrize("machine", MACHINES)
def test_sarif_is_as_oasis_has_it(machine: str) -> None:
    data = as_sarif(_report(MACHINES[machine]))
    assert _json("sarif-schema-2.1.0.json", data) == []
    data["runs"][0]["results"][0]["kind"] = "nonsense"
    assert _json("sarif-schema-2.1.0.json", data) != []


@given
@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("machine", MACHINES)
def test_oscal_is_as_nist_has_it(name: str, machine: str) -> None:
    data = _oscal(name, MACHINES[machine])
    assert _json("oscal_assessment-results_schema.json", data) == []
    data["assessment-results"]["results"][0]["observations"][0]["uuid"] = "none"
    assert _json("oscal_assessment-results_schema.json", data) != []


@given
@pytest.mark.parametrize("machine", MACHINES)
def test_the_checklist_is_as_disa_has_it(machine: str) -> None:
    etree = pytest.importorskip("lxml.etree")
    schema = etree.XMLSchema(etree.parse(str(_SCHEMAS / "U_Checklist_Schema_V2.xsd")))
    report = _report(MACHINES[machine])
    stig = profile("stig")
    text = as_ckl(stig, report, answers(stig, MACHINES[machine], report.findings))
    assert schema.validate(etree.fromstring(text.encode())), schema.error_log
    assert not schema.validate(etree.fromstring(text.replace("<STATUS>", "<STATUS>x").encode()))


def _lists(data: Any) -> Iterator[list[Any]]:
    if isinstance(data, list):
        yield data
    inside = data if isinstance(data, list) else data.values() if isinstance(data, dict) else ()
    for inner in inside:
        yield from _lists(inner)


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("machine", MACHINES)
def test_oscal_has_no_empty_list_and_no_name_that_is_no_token(name: str, machine: str) -> None:
    """What its schema asks and a program gets wrong first; this needs no schema."""
    data = _oscal(name, MACHINES[machine])
    assert all(_lists(data))
    for finding in data["assessment-results"]["results"][0].get("findings", ()):
        assert re.fullmatch(r"[A-Za-z_][\w.-]*", finding["target"]["target-id"])
