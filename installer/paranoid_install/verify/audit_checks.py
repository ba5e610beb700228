"""The audit system, as the kernel has it: rules are loaded, or they are not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.terms import Severity

_AUDIT = policy.load("audit")
_LOCKED = 2
_KEY = re.compile(r"(?:-F key=|-k )(\S+)")
_ARCH = re.compile(r"-F arch=(\S+)")
_CALLS = re.compile(r"-S (\S+)")
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
    return unless([f"{status.lost} records lost since boot"] if status.lost else [])


def _backlog(machine: Machine) -> Result:
    status = known(machine.audit)
    if not status.enabled:
        return not_applicable("auditing is off")
    wanted = _AUDIT["backlogLimit"]
    text = f"limit {status.backlog_limit}, {status.backlog} waiting"
    return unless([text] if status.backlog_limit < wanted else [], text)


def _somebody_reads(machine: Machine) -> Result:
    units = known(machine.units)
    readers = ("auditd.service", "systemd-journald-audit.socket")
    active = [u for u in readers if units.get(u, {}).get("ActiveState") == "active"]
    return unless([] if active else ["neither auditd nor the journal takes records"], *active)


def rule_of(line: str) -> tuple[str, str, frozenset[str]] | None:
    """Key, architecture and system calls of a rule that `auditctl -l` prints; None for others."""
    key, arch, calls = _KEY.search(line), _ARCH.search(line), _CALLS.search(line)
    if key is None or arch is None or calls is None or not line.startswith("-a always,exit"):
        return None
    return key[1], arch[1], frozenset(calls[1].split(","))


def _rules(machine: Machine) -> Result:
    loaded = [rule for line in known(machine.audit_rules) if (rule := rule_of(line))]

    def problems() -> Iterator[str]:
        for rule in _AUDIT["rule"]:
            for arch in rule["architectures"]:
                calls: set[str] = set()
                for key, architecture, found in loaded:
                    if key == rule["key"] and architecture == arch:
                        calls |= found
                missing = [call for call in rule["syscalls"] if call not in calls]
                if missing:
                    yield f"no rule {rule['key']} for {', '.join(missing)} ({arch})"

    return unless(problems())


def _no_exceptions(machine: Machine) -> Result:
    return unless(line for line in known(machine.audit_rules) if _NEVER.match(line))


CHECKS = (
    Check("audit.enabled", "auditing is on", Severity.CRITICAL,
          "without it nobody knows what was started", "paranoid.audit.enable", _enabled, "R73"),
    Check("audit.rules", "the policy's rules are loaded", Severity.CRITICAL,
          "a unit that says it loaded them is no proof", "paranoid.audit.enable", _rules, "R73"),
    Check("audit.exceptions", "no rule takes anything out of the trail", Severity.HIGH,
          "a rule of never comes first, and hides what it fits", "paranoid.audit.rules",
          _no_exceptions, "R73"),
    Check("audit.locked", "the rules cannot be changed before the next boot", Severity.HIGH,
          "the first thing an intruder does as root is to switch them off",
          "paranoid.audit.lock", _locked, "R73"),
    Check("audit.lost", "no records were lost", Severity.HIGH,
          "what was lost may be what matters", "paranoid.audit.enable", _none_lost, "R73"),
    Check("audit.backlog", "many records can wait", Severity.LOW,
          "a burst would lose records", "paranoid.audit.enable", _backlog, "R73"),
    Check("audit.reader", "somebody takes the records", Severity.HIGH,
          "records that nobody takes are in no log", "paranoid.audit.enable",
          _somebody_reads, "R73"),
)  # fmt: skip
