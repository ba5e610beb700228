"""The ssh daemon as it runs: what `sshd -T` prints, against sshd.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, unknown, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.terms import Severity

_POLICY = policy.load("sshd")
_LAYOUT = policy.load("layout")
# sshd -T prints an older name for this value.
_ALIASES = {"without-password": "prohibit-password"}
# An sshd before 9.8 has no penalties, and prints nothing of them: off is what it does.
_LACKING = frozenset({"PerSourcePenalties"})


def wanted(value: Any) -> str:
    """A value of the policy as sshd prints it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list) else str(value)


def _differs(key: str, found: str) -> bool:
    value = _POLICY["settings"][key]
    if isinstance(value, list):
        # Fewer algorithms are stricter.
        return not set(found.split(",")) <= set(value)
    found = _ALIASES.get(found, found)
    return found.lower() != wanted(value).lower()


def _settings(machine: Machine, keys: list[str]) -> Result:
    effective = known(machine.sshd)
    problems = []
    absent = []
    for key in keys:
        values = effective.get(key.lower())
        if values is None and key in _LACKING:
            continue
        if values is None:
            absent.append(f"this sshd does not print {key}")
        elif _differs(key, " ".join(values)):
            problems.append(f"{key} {' '.join(values)}")
    return unless(problems) if problems or not absent else unknown(*absent)


def _keys_of_users(machine: Machine) -> Result:
    effective = known(machine.sshd)
    allowed = {*_POLICY["authorizedKeysFiles"], f"{_LAYOUT['persist']['authorizedKeys']}/%u"}
    files = [file for value in effective.get("authorizedkeysfile", ()) for file in value.split()]
    if not files:
        return unknown("this sshd does not print AuthorizedKeysFile")
    return unless(f"AuthorizedKeysFile {file}" for file in files if file not in allowed)


def _host_keys(machine: Machine) -> Result:
    effective = known(machine.sshd)
    allowed = {key["path"] for key in _LAYOUT["hostKeys"]}

    def problems() -> Iterator[str]:
        keys = effective.get("hostkey", ())
        if not keys:
            yield "no HostKey"
        yield from (f"HostKey {key}" for key in keys if key not in allowed)

    return unless(problems())


def _sftp(machine: Machine) -> Result:
    systems = known(machine.sshd).get("subsystem", ())
    return unless(f"Subsystem {system}" for system in systems)


def _grouped(group: Mapping[str, Any]) -> Check:
    def function(machine: Machine) -> Result:
        return _settings(machine, group["keys"])

    return Check(f"ssh.{group['id']}", group["title"], Severity(group["severity"]), group["why"],
                 "paranoid.sshd.enable", function, "R79")  # fmt: skip


CHECKS = (
    *(_grouped(group) for group in policy.load("verify")["sshd"]),
    Check("ssh.authorized-keys", "keys are read from root's files alone", Severity.HIGH,
          "who becomes a user could add a key of their own, and come back",
          "paranoid.sshd.enable", _keys_of_users, "R79"),
    Check("ssh.host-keys", "sshd uses the keys that persist", Severity.HIGH,
          "keys on the volatile root are new at each boot", "paranoid.sshd.enable", _host_keys),
    Check("ssh.sftp", "no file transfer by ssh", Severity.LOW,
          "a second service behind the same door", "paranoid.sshd.sftp", _sftp, "R79"),
)  # fmt: skip
