"""The audit system, as the kernel has it: rules are loaded, or they are not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.terms import Severity

_AUDIT = policy.load("audit")
_LOCKED = 2
_DAEMON = "auditd.service"
_READERS = (_DAEMON, "systemd-journald-audit.socket")
_LOG = "/var/log/audit"
_UNSET = ("unset", "4294967295")
_FIELD = re.compile(r"([A-Za-z0-9_]+)(!=|<=|>=|&=|[=<>&])(.*)")
_NEVER = re.compile(r"-[aA] (?:never,|\w+,exclude)")


def _enabled(machine: Machine) -> Result:
    status = known(machine.audit)
    return unless([] if status.enabled else ["enabled 0"], f"enabled {status.enabled}")


def _locked(machine: Machine) -> Result:
    status = known(machine.audit)
    if not status.enabled:
        return not_applicable("auditing is off")
    return unless([] if status.enabled == _LOCKED else [f"enabled {status.enabled}"])


def _none_lost(machine: Machine) -> Result:
    status = known(machine.audit)
    if not status.enabled:
        return not_applicable("auditing is off")
    lost = [f"{status.lost} records lost since boot"] if status.lost else []
    dropped = [f"more than {status.rate} records a second are dropped"] if status.rate else []
    return unless([*lost, *dropped])


def _backlog(machine: Machine) -> Result:
    status = known(machine.audit)
    if not status.enabled:
        return not_applicable("auditing is off")
    wanted = _AUDIT["backlogLimit"]
    text = f"limit {status.backlog_limit}, {status.backlog} waiting"
    return unless([text] if status.backlog_limit < wanted else [], text)


def _somebody_reads(machine: Machine) -> Result:
    units = known(machine.units)
    active = [u for u in _READERS if units.get(u, {}).get("ActiveState") == "active"]
    if not active:
        return unless(["neither auditd nor the journal takes records"])
    # The journal listens beside a daemon; a daemon is known to the kernel by its number.
    if active == [_DAEMON] and not known(machine.audit).pid:
        return unless([f"{_DAEMON} is active, but the kernel knows of no audit daemon"])
    return unless([], *active)


@dataclass(frozen=True)
class AuditRule:
    """A rule for system calls; `fields` are all that narrow it, beside its architecture and key."""

    key: str
    architecture: str
    calls: frozenset[str]
    fields: frozenset[str]


def rule_of(line: str) -> AuditRule | None:
    """A rule that `auditctl -l` prints; None for those of another list or action.

    Any option that is not known narrows it as well, in a way that the policy does not ask for.
    """
    words = line.split()
    if words[:2] != ["-a", "always,exit"]:
        return None
    said: dict[str, set[str]] = {"arch": set(), "key": set(), "calls": set(), "fields": set()}
    for option, value in itertools.zip_longest(words[2::2], words[3::2], fillvalue=""):
        name, _, rest = value.partition("=")
        if option == "-S":
            said["calls"] |= set(value.split(","))
        elif option == "-k" or (option == "-F" and name == "key"):
            said["key"].add(rest or value)
        elif option == "-F" and name == "arch":
            said["arch"].add(rest)
        else:
            said["fields"].add(_normal(value) if option == "-F" else f"{option} {value}")
    if len(said["arch"]) != 1 or len(said["key"]) != 1:
        return None
    return AuditRule(
        said["key"].pop(), said["arch"].pop(), frozenset(said["calls"]), frozenset(said["fields"])
    )


def _normal(field: str) -> str:
    """auditctl prints in hexadecimal what was written in decimal."""
    match = _FIELD.fullmatch(field)
    if match is None:
        return field
    if match[3] in _UNSET:
        return f"{match[1]}{match[2]}-1"
    try:
        return f"{match[1]}{match[2]}{int(match[3], 0)}"
    except ValueError:
        return field


def _rules(machine: Machine) -> Result:
    loaded = [rule for line in known(machine.audit_rules) if (rule := rule_of(line))]

    def problems() -> Iterator[str]:
        for rule in _AUDIT["rule"]:
            fields = frozenset(_normal(field) for field in rule["fields"])
            for arch in rule["architectures"]:
                of_key = [r for r in loaded if (r.key, r.architecture) == (rule["key"], arch)]
                calls = {call for r in of_key if r.fields == fields for call in r.calls}
                missing = [call for call in rule["syscalls"] if call not in calls]
                if missing:
                    other = sorted({f for r in of_key for f in r.fields ^ fields})
                    why = f", but one that differs in {', '.join(other)}" if other else ""
                    yield f"no rule {rule['key']} for {', '.join(missing)} ({arch}){why}"

    return unless(problems())


def _no_exceptions(machine: Machine) -> Result:
    return unless(line for line in known(machine.audit_rules) if _NEVER.match(line))


def _log_is_closed(machine: Machine) -> Result:
    found = known(machine.trees).get(_LOG)
    if found is None:
        return not_applicable("auditd keeps no log; the journal has the records")
    return unless(str(stat) for stat in found if stat.uid != 0 or stat.mode & 0o077)


CHECKS = (
    Check("audit.enabled", "auditing is on", Severity.CRITICAL,
          "without it nobody knows what was started", "paranoid.audit.enable", _enabled),
    Check("audit.rules", "the policy's rules are loaded", Severity.CRITICAL,
          "a unit that says it loaded them is no proof", "paranoid.audit.enable", _rules),
    Check("audit.exceptions", "no rule takes anything out of the trail", Severity.HIGH,
          "a rule of never comes first, and hides what it fits", "paranoid.audit.rules",
          _no_exceptions),
    Check("audit.locked", "the rules cannot be changed before the next boot", Severity.HIGH,
          "the first thing an intruder does as root is to switch them off",
          "paranoid.audit.lock", _locked),
    Check("audit.lost", "no records were lost", Severity.HIGH,
          "what was lost may be what matters", "paranoid.audit.enable", _none_lost),
    Check("audit.backlog", "many records can wait", Severity.LOW,
          "a burst would lose records", "paranoid.audit.enable", _backlog),
    Check("audit.log", "the audit log is root's alone", Severity.HIGH,
          "who can read it sees every command line, and who can write to it can mend it",
          "paranoid.audit.enable", _log_is_closed),
    Check("audit.reader", "somebody takes the records", Severity.HIGH,
          "records that nobody takes are in no log", "paranoid.audit.enable",
          _somebody_reads),
)  # fmt: skip
