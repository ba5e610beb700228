"""The STIG's rules: each is answered, each that facts answer turns when its facts do."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from paranoid_install import policy
from paranoid_install.errors import SpecError
from paranoid_install.runner import ShRunner
from paranoid_install.ui import findings as ui
from paranoid_install.verify import profile_files
from paranoid_install.verify.checklist import as_ckl, as_oscal
from paranoid_install.verify.command import VerifyOptions, run
from paranoid_install.verify.evidence import KINDS, has_evidence
from paranoid_install.verify.facts import Machine, Stat, Unknown, User
from paranoid_install.verify.profile import Answer, Standing, answers
from paranoid_install.verify.registry import BY_ID, CHECKS
from paranoid_install.verify.report import Finding, Report, judge
from paranoid_install.verify.terms import Severity, Status
from tests.unit.verify.machines import paranoid

RULES: list[dict[str, Any]] = policy.load("stig")["rule"]
BY_NAME = {rule["id"]: rule for rule in RULES}
CHECKED = [rule["id"] for rule in RULES if has_evidence(rule)]
TODAY = date(2026, 11, 28)
TEXTS = {
    "pam.d/login": "auth required pam_faillock.so preauth deny=3 fail_interval=900",
    "issue": "You are accessing a U.S. Government (USG) system",
    "security/limits.conf": "* hard maxlogins 10",
    "audit/auditd.conf": "space_left_action = syslog\nadmin_space_left_action = email\n"
    "space_left = 25%\nadmin_space_left = 10%\ndisk_full_action = HALT\n"
    "disk_error_action = HALT\nlog_group = root",
    "sssd/pki/sssd_auth_ca_db.pem": "-----BEGIN CERTIFICATE-----",
    "security/pwquality.conf": "ucredit=-1\nlcredit = -1\ndcredit=-1\nocredit=-1\ndifok=8\n"
    "minlen=15\ndictcheck=1",
    "login.defs": "PASS_MIN_DAYS 1\nPASS_MAX_DAYS 60\nFAIL_DELAY 4\nUMASK 077",
    "systemd/timesyncd.conf": "NTP=tick.usnogps.navy.mil\nPollIntervalMaxSec=60",
    "sudoers": "Defaults timestamp_timeout=0\n%wheel ALL=(ALL:ALL) SETENV: ALL",
    "pam.d/passwd": "password requisite /nix/store/x/pam_pwquality.so",
    "default/useradd": "INACTIVE=35",
    "pam.d/sudo": "auth sufficient pam_p11.so",
    "sssd/sssd.conf": "offline_credentials_expiration = 1",
    "pam_pkcs11/pam_pkcs11.conf": "cert_policy = ca,signature,ocsp_on,crl_auto;",
}
WEAK = {"sudoers": "alice ALL=(ALL) NOPASSWD: ALL"}


def _rules() -> tuple[str, ...]:
    lines = []
    for rule in RULES:
        for want in rule.get("audit", ()):
            for arch in ("b64", "b32"):
                fields = "".join(
                    f" {field}" if field.startswith("-C") else f" -F {field}"
                    for field in want["fields"]
                )
                calls = ",".join(want["calls"])
                lines.append(f"-a always,exit -F arch={arch} -S {calls}{fields} -F key=k")
        lines += [f"-w {path} -p wa -k k" for path in rule.get("watch", ())]
        lines += [
            f"-a always,exit -S all -F path=/run/current-system/sw/bin/{name} -F perm=x "
            "-F auid>=1000 -F key=k"
            for name in rule.get("execute", ())
        ]
    return tuple(lines)


def obedient() -> Machine:
    """A machine that meets every rule that facts answer."""
    machine = paranoid()
    assert isinstance(machine.sshd, dict)
    assert isinstance(machine.units, dict)
    wanted = {"banner": "/etc/banner", "loglevel": "VERBOSE", "ciphers": "aes256-ctr",
              "permitrootlogin": "no", "clientaliveinterval": "600", "clientalivecountmax": "1",
              "macs": "hmac-sha2-512", "usepam": "yes"}  # fmt: skip
    units = [rule["unit"] for rule in RULES if "unit" in rule]
    # What a reason to leave a rule out is about is there, so that none holds.
    others = [
        unit for rule in RULES for r in rule.get("instead", ()) for unit in r.get("no_units", ())
    ]
    programs = [name for rule in RULES for name in rule.get("program", ())]
    return replace(
        machine,
        texts=TEXTS,
        trees={path: (Stat(path, 0o700, directory=True), Stat(f"{path}/x", 0o600))
               for path in profile_files.tree_names()},
        audit_rules=_rules(),
        sshd=machine.sshd | {key: (value,) for key, value in wanted.items()},
        units=machine.units | {unit: {"ActiveState": "active"} for unit in (*units, *others)},
        programs=frozenset(programs),
        parameters=("audit=1", "fips=1"),
        interfaces={"lo": True, "eth0": True},
        users=(User("root", 0, "locked"), User("alice", 1000, "hash", declared=True, method="6")),
    )  # fmt: skip


def findings(passing: bool) -> dict[str, Finding]:
    status = Status.PASS if passing else Status.FAIL
    return {check.id: Finding(check, status, ("as it is",)) for check in CHECKS}


def standing(name: str, machine: Machine, *, checks: bool) -> Standing:
    """The answer to one rule, where its own checks pass or fail and all others fail."""
    own = {k: f for k, f in findings(checks).items() if k in BY_NAME[name].get("checks", ())}
    found = answers(machine, (findings(False) | own).values())
    return next(answer.standing for answer in found if answer.id == name)


def broken(rule: dict[str, Any]) -> Machine:
    """The same with the facts of one rule otherwise."""
    machine = obedient()
    assert isinstance(machine.sshd, dict)
    assert isinstance(machine.units, dict)
    changes: dict[str, Any] = {}
    if "sshd" in rule:
        changes["sshd"] = {**machine.sshd, rule["sshd"]["key"]: ("0",)}
    if "unit" in rule:
        changes["units"] = {**machine.units, rule["unit"]: {"ActiveState": "failed"}}
    if "no_units" in rule:
        changes["units"] = {**machine.units, rule["no_units"][0]: {"ActiveState": "inactive"}}
    if rule.keys() & {"audit", "watch", "execute"}:
        changes["audit_rules"] = ()
    if rule.keys() & {"program", "no_program"}:
        changes["programs"] = frozenset(rule.get("no_program", ()))
    if "parameter" in rule:
        changes["parameters"] = (rule["parameter"], rule["parameter"].partition("=")[0] + "=0")
    if "no_interfaces" in rule:
        changes["interfaces"] = {"wlp3s0": False}
    if rule.keys() & {"etc", "no_etc"}:
        changes["texts"] = {name: WEAK.get(name, "#") for name in TEXTS}
    if "tree" in rule:
        path = rule["tree"]["path"]
        stats = (Stat(path, 0o777, 5, 5, directory=True), Stat(f"{path}/x", 0o666))
        changes["trees"] = {path: stats}
    if rule.keys() & {"unique", "locked", "methods"}:
        changes["users"] = (User("root", 0, "hash", method="1"), User("x", 0, "hash", method="1"))
    return replace(machine, **changes)


@pytest.mark.parametrize("name", CHECKED)
def test_a_rule_that_is_broken_turns(name: str) -> None:
    rule = BY_NAME[name]
    met = Standing.NOT_REVIEWED if "look" in rule else Standing.MET
    assert standing(name, obedient(), checks=True) is met
    assert standing(name, broken(rule), checks=False) is Standing.OPEN


@pytest.mark.parametrize("name", [n for n in CHECKED if "look" not in BY_NAME[n]])
def test_a_rule_whose_facts_are_missing_is_not_reviewed(name: str) -> None:
    unknown = {k: replace(f, status=Status.UNKNOWN) for k, f in findings(False).items()}
    for found in answers(Machine(), unknown.values()):
        assert found.standing is Standing.NOT_REVIEWED, found.id
    nothing = {k: replace(f, status=Status.NOT_APPLICABLE) for k, f in findings(False).items()}
    for found in answers(Machine(), nothing.values()):
        assert found.standing is not Standing.MET, found.id


@pytest.mark.parametrize(
    ("name", "number"),
    [(rule["id"], n) for rule in RULES for n in range(len(rule.get("instead", ())))],
)
def test_a_reason_to_leave_a_rule_out_holds_with_its_facts_alone(name: str, number: int) -> None:
    rule = BY_NAME[name]
    reason = rule["instead"][number]
    machine = broken(rule)
    if "no_units" in reason:
        machine = replace(machine, units={})
    if "methods" in reason:
        machine = replace(machine, users=(User("a", 1, "hash", method=reason["methods"][0]),))
    status = Status.NOT_APPLICABLE if "nothing" in reason else Status.PASS
    named = (*reason.get("checks", ()), *reason.get("nothing", ()))
    own = {k: replace(f, status=status) for k, f in findings(False).items() if k in named}
    (found,) = [a for a in answers(machine, (findings(False) | own).values()) if a.id == name]
    assert (found.standing, found.comment) == (Standing.NOT_APPLICABLE, reason["because"])


def test_the_data_names_nothing_that_is_not_there() -> None:
    assert len(BY_NAME) == len(RULES) == 104
    assert Counter(rule["severity"] for rule in RULES) == {"high": 11, "medium": 92, "low": 1}
    known = {"id", "title", "severity", "instead", "look"} | KINDS.keys()
    for rule in RULES:
        assert rule.keys() <= known, rule["id"]
        assert has_evidence(rule) or "look" in rule or "instead" in rule
        for part in (rule, *rule.get("instead", ())):
            assert set(part.get("checks", ())) | set(part.get("nothing", ())) <= BY_ID.keys()
            assert part is rule or part.keys() <= KINDS.keys() | {"because"}


def test_many_rules_are_answered_from_facts() -> None:
    found = answers(paranoid_with_facts(), judge(paranoid_with_facts(), CHECKS, (), TODAY))
    counts = Counter(answer.standing for answer in found)
    assert sum(counts.values()) == 104
    assert 104 - counts[Standing.NOT_REVIEWED] >= 90
    assert all(a.comment for a in found if a.standing is Standing.NOT_APPLICABLE)


def paranoid_with_facts() -> Machine:
    """The machine of the modules, as far as files go."""
    return replace(
        paranoid(),
        texts=dict.fromkeys(profile_files.text_names()),
        trees={"/etc/nixos": (Stat("/etc/nixos", 0o755, directory=True),), "/var/log/audit": None},
    )


def _report(machine: Machine) -> tuple[Report, tuple[Answer, ...]]:
    time = datetime(2026, 11, 28, 12, tzinfo=UTC)
    found = judge(machine, CHECKS, (), TODAY)
    hostile = Report("a<b>\x1b", "/", True, time, Severity.HIGH, found)
    return hostile, answers(machine, found)


def test_the_checklist_has_each_rule_once_in_the_form_of_stig_viewer() -> None:
    report, found = _report(paranoid_with_facts())
    top = Xml.fromstring(as_ckl(report, found))
    assert [child.tag for child in top] == ["ASSET", "STIGS"]
    vulns = top.findall("STIGS/iSTIG/VULN")
    assert [v.findtext("STIG_DATA/ATTRIBUTE_DATA") for v in vulns] == list(BY_NAME)
    for vuln in vulns:
        assert vuln.findtext("STATUS") in {str(s) for s in Standing}
        assert [child.tag for child in vuln][-5:] == [
            "STATUS", "FINDING_DETAILS", "COMMENTS", "SEVERITY_OVERRIDE", "SEVERITY_JUSTIFICATION",
        ]  # fmt: skip


def test_oscal_refers_to_nothing_that_is_not_there() -> None:
    report, found = _report(paranoid_with_facts())
    data = json.loads(json.dumps(as_oscal(report, found)))["assessment-results"]
    (result,) = data["results"]
    observed = {item["uuid"] for item in result["observations"]}
    assert len(observed) == 104
    for finding in result["findings"]:
        assert {item["observation-uuid"] for item in finding["related-observations"]} <= observed
        assert finding["target"]["status"]["state"] in ("satisfied", "not-satisfied")
    reviewed = [answer for answer in found if answer.standing is not Standing.NOT_REVIEWED]
    assert len(result["findings"]) == len(reviewed)
    assert as_oscal(report, found) == as_oscal(report, found)


def test_the_command_writes_them_and_ends_with_8_for_open_rules(tmp_path: Path) -> None:
    options = VerifyOptions(
        root=tmp_path,
        profile="stig",
        as_json=True,
        ckl=tmp_path / "a.ckl",
        oscal=tmp_path / "a.json",
    )
    with (tmp_path / "out").open("w+") as out:
        code = run(options, ShRunner(), ui, out)
        out.seek(0)
        rules = json.load(out)["rules"]
    assert len(rules) == 104
    assert {rule["standing"] for rule in rules} <= {str(s) for s in Standing}
    assert code == (
        8 if any(r["standing"] == "Open" and r["severity"] == "high" for r in rules) else 0
    )
    Xml.parse(tmp_path / "a.ckl")
    for wrong in (VerifyOptions(profile="cis"), VerifyOptions(ckl=tmp_path / "b")):
        with pytest.raises(SpecError):
            run(wrong, ShRunner(), ui)


def test_a_disk_that_is_not_running_meets_nothing_that_only_runs(tmp_path: Path) -> None:
    off = answers(Machine(live=False), judge(Machine(live=False), CHECKS, (), TODAY))
    assert {answer.standing for answer in off} == {Standing.NOT_REVIEWED}
    assert Unknown("x").reason == "x"
    assert not list(tmp_path.iterdir())
