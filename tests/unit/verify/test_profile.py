"""The profiles' rules: each is answered, each that facts answer turns when its facts do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from paranoid_install.errors import SpecError
from paranoid_install.runner import ShRunner
from paranoid_install.ui import findings as ui
from paranoid_install.verify import profile_files
from paranoid_install.verify.checklist import as_ckl, as_oscal
from paranoid_install.verify.command import VerifyOptions, run
from paranoid_install.verify.evidence import KINDS, has_evidence
from paranoid_install.verify.facts import Group, Machine, Search, Stat, Unknown, User
from paranoid_install.verify.kernel_checks import KEYS
from paranoid_install.verify.profile import Answer, Standing, answers
from paranoid_install.verify.registry import BY_ID, CHECKS
from paranoid_install.verify.report import Finding, Report, judge
from paranoid_install.verify.rules import PROFILES, mapped, profile
from paranoid_install.verify.terms import Severity, Status
from tests.unit.verify.machines import mount, paranoid
from tests.unit.verify.test_checks import LOOSENINGS

PROFILE = {name: profile(name) for name in PROFILES}
RULES = {(name, rule["id"]): rule for name in PROFILES for rule in profile(name).rules}
STIG = PROFILE["stig"]
CHECKED = [key for key, rule in RULES.items() if has_evidence(rule)]
Key = tuple[str, str]
TODAY = date(2026, 11, 28)
TEXTS = {
    "pam.d/login": "auth required pam_faillock.so preauth deny=3 fail_interval=900",
    "issue": "You are accessing a U.S. Government (USG) system",
    "systemd/coredump.conf": "ProcessSizeMax=0",
    "security/limits.conf": "* hard maxlogins 10",
    "audit/auditd.conf": "space_left_action = syslog\nadmin_space_left_action = email\n"
    "space_left = 25%\nadmin_space_left = 10%\ndisk_full_action = HALT\n"
    "disk_error_action = HALT\nlog_group = root",
    "sssd/pki/sssd_auth_ca_db.pem": "-----BEGIN CERTIFICATE-----",
    "security/pwquality.conf": "ucredit=-1\nlcredit = -1\ndcredit=-1\nocredit=-1\ndifok=8\n"
    "minlen=15\ndictcheck=1",
    "login.defs": "PASS_MIN_DAYS 1\nPASS_MAX_DAYS 60\nFAIL_DELAY 4\nUMASK 077",
    "systemd/timesyncd.conf": "NTP=tick.usnogps.navy.mil\nPollIntervalMaxSec=60",
    "sudoers": "Defaults timestamp_timeout=0\nDefaults use_pty\n%wheel ALL=(ALL:ALL) SETENV: ALL",
    "pam.d/passwd": "password requisite /nix/store/x/pam_pwquality.so",
    "default/useradd": "INACTIVE=35",
    "pam.d/sudo": "auth sufficient pam_p11.so",
    "sssd/sssd.conf": "offline_credentials_expiration = 1",
    "pam_pkcs11/pam_pkcs11.conf": "cert_policy = ca,signature,ocsp_on,crl_auto;",
}
WEAK = {
    "sudoers": "alice ALL=(ALL) NOPASSWD: ALL, !/bin/sh",
    "issue": "NixOS \\\\r",
}


def _rules(name: str) -> tuple[str, ...]:
    lines = []
    for rule in PROFILE[name].rules:
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
            f"-a always,exit -S all -F path=/run/current-system/sw/bin/{program} -F perm=x "
            "-F auid>=1000 -F key=k"
            for program in rule.get("execute", ())
        ]
    return tuple(lines)


SSHD = {
    "stig": {"banner": "/etc/banner", "loglevel": "VERBOSE", "ciphers": "aes256-ctr",
             "permitrootlogin": "no", "clientaliveinterval": "600", "clientalivecountmax": "1",
             "macs": "hmac-sha2-512", "usepam": "yes"},
    "anssi": {"clientaliveinterval": "600"},
    "cis": {"banner": "/etc/banner", "permitrootlogin": "no", "gssapiauthentication": "no",
            "maxstartups": "10:30:60", "clientaliveinterval": "300", "usepam": "yes"},
}  # fmt: skip


def _config(rule: Mapping[str, Any]) -> dict[str, str]:
    """What a rule wants of the kernel; of two names the older one."""
    wanted = rule.get("config", {})
    # What a reason to leave a rule out is about is there, so that none holds.
    return {"X86_64": "y", "ARM64": "y"} | {
        names.rpartition("|")[2]: value for names, value in wanted.items()
    }


def obedient(name: str, id_: str) -> Machine:
    """A machine that meets every rule of a profile that facts answer.

    Of the kernel it has what one rule wants, since those of other processors want otherwise.
    """
    machine = paranoid()
    assert isinstance(machine.sshd, dict)
    assert isinstance(machine.units, dict)
    rules = PROFILE[name].rules
    units = [rule["unit"] for rule in rules if "unit" in rule]
    # What a reason to leave a rule out is about is there, so that none holds.
    forbidden = {unit for rule in rules for unit in rule.get("no_units", ())}
    others = {
        unit for rule in rules for r in rule.get("instead", ()) for unit in r.get("no_units", ())
    }
    programs = [program for rule in rules for program in rule.get("program", ())]
    points = {rule["mount"]["path"] for rule in rules if "mount" in rule}
    return replace(
        machine,
        mounts=tuple(mount(p, "rw,nosuid,nodev,noexec", "tmpfs") for p in ("/", *sorted(points))),
        texts={k: v for k, v in TEXTS.items() if name == "stig" or k != "issue"},
        trees={path: (Stat(path, 0o700, directory=True), Stat(f"{path}/x", 0o400))
               for path in profile_files.tree_names()},
        audit_rules=_rules(name),
        sshd=machine.sshd | {key: (value,) for key, value in SSHD[name].items()},
        units={unit: {"ActiveState": "active"} for unit in (*units, *(others - forbidden))},
        programs=frozenset(programs),
        parameters=("audit=1", "fips=1"),
        interfaces={"lo": True, "eth0": True},
        blocked=frozenset(),
        config=_config(RULES[name, id_]),
        groups=(Group("root", 0), Group("alice", 1000)),
        users=(User("root", 0, "locked", gid=0),
               User("alice", 1000, "hash", declared=True, method="6", gid=1000)),
    )  # fmt: skip


def findings(passing: bool) -> dict[str, Finding]:
    status = Status.PASS if passing else Status.FAIL
    return {check.id: Finding(check, status, ("as it is",)) for check in CHECKS}


def standing(key: Key, machine: Machine, *, checks: bool) -> Standing:
    """The answer to one rule, where its own checks pass or fail and all others fail."""
    own = {k: f for k, f in findings(checks).items() if k in RULES[key].get("checks", ())}
    if "modules" in RULES[key] and checks:
        own["kernel.modules-locked"] = findings(True)["kernel.modules-locked"]
    alone = replace(PROFILE[key[0]], rules=(RULES[key],))
    (found,) = answers(alone, machine, (findings(False) | own).values())
    return found.standing


def _units(machine: Machine, name: str, state: str) -> dict[str, Any]:
    assert isinstance(machine.units, dict)
    return {"units": {**machine.units, name: {"ActiveState": state}}}


def _sshd(machine: Machine, want: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(machine.sshd, dict)
    return {"sshd": {**machine.sshd, want["key"]: ("none 99999",)}}


def _sysctl(machine: Machine, want: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(machine.sysctl, dict)
    return {"sysctl": {**machine.sysctl, **dict.fromkeys(want, "9")}}


def _tree(path: str) -> dict[str, Any]:
    return {"trees": {path: (Stat(path, 0o777, 5, 5, directory=True), Stat(f"{path}/x", 0o666))}}


_WRONG_USERS = {"users": (User("root", 0, "hash", method="1"), User("x", 0, "hash", method="1"))}
_WRONG_TEXTS = {"texts": {name: WEAK.get(name, "#") for name in TEXTS}}
BREAK: dict[str, Callable[[Machine, Any], dict[str, Any]]] = {
    "sshd": _sshd,
    "unit": lambda machine, name: _units(machine, name, "failed"),
    "no_units": lambda machine, names: _units(machine, names[0], "inactive"),
    "audit": lambda _machine, _want: {"audit_rules": ()},
    "watch": lambda _machine, _want: {"audit_rules": ()},
    "execute": lambda _machine, _want: {"audit_rules": ()},
    "program": lambda _machine, _want: {"programs": frozenset()},
    "no_program": lambda _machine, names: {"programs": frozenset(names)},
    "parameter": lambda _machine, word: {"parameters": (word, word.partition("=")[0] + "=0")},
    "no_interfaces": lambda _machine, prefixes: {"interfaces": {f"{prefixes[0]}p3s0": False}},
    "etc": lambda _machine, _want: _WRONG_TEXTS,
    "no_etc": lambda _machine, _want: _WRONG_TEXTS,
    "tree": lambda _machine, want: _tree(want["path"]),
    "unique": lambda _machine, _want: _WRONG_USERS,
    "locked": lambda _machine, _want: _WRONG_USERS,
    "methods": lambda _machine, _want: _WRONG_USERS,
    "groups_exist": lambda _machine, _want: _WRONG_USERS,
    "unique_groups": lambda _machine, _want: {"groups": (Group("root", 0), Group("toor", 0))},
    "loginuid": lambda _machine, _want: {"loginuid": False},
    "sticky": lambda _machine, _want: {
        "search": Search(drops=(Stat("/srv", 0o777, directory=True),))
    },
    "config": lambda _machine, want: {
        "config": dict.fromkeys(want, "m") | {"X86_64": "y", "ARM64": "y"}
    },
    "sysctl": _sysctl,
    "mount": lambda _machine, _want: {"mounts": (mount("/", "rw", "tmpfs"),)},
}
"""The facts that a kind of evidence looks at, otherwise than it wants; `checks` are told apart."""


def broken(key: Key, *kinds: str) -> Machine:
    """The obedient machine with the facts of one rule otherwise; of some kinds, or of all."""
    machine, rule = obedient(*key), RULES[key]
    for kind in kinds or BREAK:
        if kind in rule and kind in BREAK:
            machine = replace(machine, **BREAK[kind](machine, rule[kind]))
    return machine


@pytest.mark.parametrize("key", CHECKED, ids="-".join)
def test_a_rule_that_is_broken_turns(key: Key) -> None:
    met = Standing.NOT_REVIEWED if "look" in RULES[key] else Standing.MET
    assert standing(key, obedient(*key), checks=True) is met
    assert standing(key, broken(key), checks=False) is Standing.OPEN


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_turns_by_each_kind_of_its_facts_alone(kind: str) -> None:
    for key in (key for key in CHECKED if kind in RULES[key]):
        others_hold = kind not in ("checks", "modules")
        assert standing(key, broken(key, kind), checks=others_hold) is Standing.OPEN, key


@pytest.mark.parametrize("check", sorted(mapped()))
def test_a_loosened_machine_opens_each_rule_that_its_check_answers(check: str) -> None:
    machine = LOOSENINGS[check](paranoid())
    found = judge(machine, CHECKS, (), TODAY)
    for name, ids in mapped()[check].items():
        by_id = {answer.id: answer for answer in answers(PROFILE[name], machine, found)}
        for rule in ids:
            assert by_id[rule].standing is Standing.OPEN, rule
            assert check in " ".join(by_id[rule].details)


@pytest.mark.parametrize("name", PROFILES)
def test_a_rule_whose_facts_are_missing_is_not_reviewed(name: str) -> None:
    unknown = {k: replace(f, status=Status.UNKNOWN) for k, f in findings(False).items()}
    for found in answers(PROFILE[name], Machine(), unknown.values()):
        assert found.standing is Standing.NOT_REVIEWED, found.id
    nothing = {k: replace(f, status=Status.NOT_APPLICABLE) for k, f in findings(False).items()}
    for found in answers(PROFILE[name], Machine(), nothing.values()):
        assert found.standing is not Standing.MET, found.id


@pytest.mark.parametrize(
    ("key", "number"),
    [(key, n) for key, rule in RULES.items() for n in range(len(rule.get("instead", ())))],
)
def test_a_reason_to_leave_a_rule_out_holds_with_its_facts_alone(key: Key, number: int) -> None:
    rule = RULES[key]
    reason = rule["instead"][number]
    machine = broken(key)
    if "no_units" in reason:
        machine = replace(machine, units={})
    if "config" in reason:
        machine = replace(machine, config={k.split("|")[0]: v for k, v in reason["config"].items()})
    if "methods" in reason:
        machine = replace(machine, users=(User("a", 1, "hash", method=reason["methods"][0]),))
    status = Status.NOT_APPLICABLE if "nothing" in reason else Status.PASS
    named = (*reason.get("checks", ()), *reason.get("nothing", ()))
    own = {k: replace(f, status=status) for k, f in findings(False).items() if k in named}
    all_findings = (findings(False) | own).values()
    (found,) = [a for a in answers(PROFILE[key[0]], machine, all_findings) if a.id == key[1]]
    assert (found.standing, found.comment) == (Standing.NOT_APPLICABLE, reason["because"])


def test_the_data_names_nothing_that_is_not_there() -> None:
    counts = {name: Counter(rule["severity"] for rule in PROFILE[name].rules) for name in PROFILES}
    # As DISA and ANSSI count theirs; of CIS those are here that facts answer.
    assert counts["stig"] == {"high": 11, "medium": 91, "low": 1}
    assert counts["anssi"].total() == 80
    assert all(has_evidence(rule) for rule in PROFILE["cis"].rules)
    known = {"id", "title", "severity", "instead", "look"} | KINDS.keys()
    assert len(RULES) == sum(count.total() for count in counts.values())
    for key, rule in RULES.items():
        assert rule.keys() <= known, key
        assert has_evidence(rule) or "look" in rule or "instead" in rule
        for part in (rule, *rule.get("instead", ())):
            assert set(part.get("checks", ())) | set(part.get("nothing", ())) <= BY_ID.keys()
            assert part is rule or part.keys() <= KINDS.keys() | {"because"}
            assert part.get("sysctl", {}).keys() <= set(KEYS)


@pytest.mark.parametrize(("name", "rules", "least"), [("stig", 103, 93), ("anssi", 80, 53),
                                                      ("cis", 198, 198)])  # fmt: skip
def test_many_rules_are_answered_from_facts(name: str, rules: int, least: int) -> None:
    machine = paranoid_with_facts()
    found = answers(PROFILE[name], machine, judge(machine, CHECKS, (), TODAY))
    counts = Counter(answer.standing for answer in found)
    assert sum(counts.values()) == rules
    assert rules - counts[Standing.NOT_REVIEWED] >= least, counts
    assert all(a.comment for a in found if a.standing is Standing.NOT_APPLICABLE)


def paranoid_with_facts() -> Machine:
    """The machine of the modules, as far as files go."""
    return replace(
        paranoid(),
        texts=dict.fromkeys(profile_files.text_names()),
        trees={
            path: (Stat(path, 0o444),) if "/etc/" in path and path != "/etc/audit" else None
            for path in profile_files.tree_names()
        },
        blocked=frozenset({"usb_storage", "uas"}),
    )


def _report(machine: Machine) -> tuple[Report, tuple[Answer, ...]]:
    time = datetime(2026, 11, 28, 12, tzinfo=UTC)
    found = judge(machine, CHECKS, (), TODAY)
    hostile = Report("a<b>\x1b", "/", True, time, Severity.HIGH, found)
    return hostile, answers(STIG, machine, found)


def test_the_checklist_has_each_rule_once_in_the_form_of_stig_viewer() -> None:
    report, found = _report(paranoid_with_facts())
    top = Xml.fromstring(as_ckl(STIG, report, found))
    assert [child.tag for child in top] == ["ASSET", "STIGS"]
    vulns = top.findall("STIGS/iSTIG/VULN")
    assert [v.findtext("STIG_DATA/ATTRIBUTE_DATA") for v in vulns] == [
        rule["id"] for rule in STIG.rules
    ]
    for vuln in vulns:
        assert vuln.findtext("STATUS") in {str(s) for s in Standing}
        assert [child.tag for child in vuln][-5:] == [
            "STATUS", "FINDING_DETAILS", "COMMENTS", "SEVERITY_OVERRIDE", "SEVERITY_JUSTIFICATION",
        ]  # fmt: skip


def test_oscal_refers_to_nothing_that_is_not_there() -> None:
    report, found = _report(paranoid_with_facts())
    data = json.loads(json.dumps(as_oscal(STIG, report, found)))["assessment-results"]
    (result,) = data["results"]
    observed = {item["uuid"] for item in result["observations"]}
    assert len(observed) == 103
    for finding in result["findings"]:
        assert {item["observation-uuid"] for item in finding["related-observations"]} <= observed
        assert finding["target"]["status"]["state"] in ("satisfied", "not-satisfied")
    reviewed = [answer for answer in found if answer.standing is not Standing.NOT_REVIEWED]
    assert len(result["findings"]) == len(reviewed)
    assert as_oscal(STIG, report, found) == as_oscal(STIG, report, found)


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
    assert len(rules) == 103
    assert {rule["standing"] for rule in rules} <= {str(s) for s in Standing}
    assert code == (
        8 if any(r["standing"] == "Open" and r["severity"] == "high" for r in rules) else 0
    )
    Xml.parse(tmp_path / "a.ckl")
    for wrong in (
        VerifyOptions(profile="pci"),
        VerifyOptions(ckl=tmp_path / "b"),
        VerifyOptions(profile="cis", ckl=tmp_path / "b"),
        VerifyOptions(oscal=tmp_path / "b"),
    ):
        with pytest.raises(SpecError):
            run(wrong, ShRunner(), ui)


def test_a_disk_that_is_not_running_meets_nothing_that_only_runs(tmp_path: Path) -> None:
    off = answers(STIG, Machine(live=False), judge(Machine(live=False), CHECKS, (), TODAY))
    assert {answer.standing for answer in off} == {Standing.NOT_REVIEWED}
    assert Unknown("x").reason == "x"
    assert not list(tmp_path.iterdir())
