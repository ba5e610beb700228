"""Facts that programs of the running machine tell. Each asks, none changes anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paranoid_install import policy
from paranoid_install.runner import Runner
from paranoid_install.verify import parse
from paranoid_install.verify.facts import Listener, NotApplicable, Unknown
from paranoid_install.verify.unit_checks import own
from paranoid_install.watch import kernel

SECONDS = 3.0
"""Time limit of each program."""
_UNITS = policy.load("verify")["units"]
_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "User",
    "DynamicUser",
    "WorkingDirectory",
    "InaccessiblePaths",
    *_UNITS["directives"],
)


def sshd(runner: Runner) -> dict[str, tuple[str, ...]]:
    """The daemon's effective settings (sshd(8), -T: extended test mode)."""
    return parse.sshd(runner.run("sshd", "-T", timeout=SECONDS).stdout)


def ruleset(runner: Runner) -> tuple[Any, ...]:
    """The loaded rules of the packet filter (nft(8))."""
    return parse.ruleset(runner.run("nft", "-j", "list", "ruleset", timeout=SECONDS).stdout)


def listeners(runner: Runner) -> tuple[Listener, ...]:
    """Listening sockets with their programs (ss(8))."""
    return parse.listeners(runner.run("ss", "-H", "-tulpn", timeout=SECONDS).stdout)


def audit(_runner: Runner) -> kernel.Status | Unknown:
    """The kernel's audit state, over netlink."""
    found = kernel.status(timeout=SECONDS)
    return found or Unknown("the kernel does not tell its audit state (is this root?)")


def audit_rules(runner: Runner) -> tuple[str, ...]:
    """The rules that are loaded (auditctl(8), -l: list)."""
    return parse.audit_rules(runner.run("auditctl", "-l", timeout=SECONDS).stdout)


def units(runner: Runner) -> dict[str, dict[str, str]]:
    """All loaded services, timers and sockets with the properties that checks look at."""
    wanted = f"--property={','.join(_PROPERTIES)}"
    patterns = ("*.service", "*.timer", "*.socket")
    return parse.units(
        runner.run("systemctl", "show", wanted, "--", *patterns, timeout=SECONDS).stdout
    )


def exposure(runner: Runner) -> dict[str, float] | NotApplicable:
    """systemd's count for the services of paranoid.services."""
    if not own(units(runner)):
        return NotApplicable("there are no services of paranoid.services")
    # Asked for one unit it would print how the number comes about; for none, one line a unit.
    argv = ("systemd-analyze", "security", "--json=short", "--no-pager")
    return parse.exposure(runner.run(*argv, timeout=SECONDS).stdout)


def clock(runner: Runner) -> dict[str, str]:
    """Whether the clock is synchronised (timedatectl(1))."""
    return parse.settings(runner.run("timedatectl", "show", timeout=SECONDS).stdout)


FROM_PROGRAMS: dict[str, Callable[[Runner], Any]] = {
    "sshd": sshd,
    "ruleset": ruleset,
    "listeners": listeners,
    "audit": audit,
    "audit_rules": audit_rules,
    "units": units,
    "exposure": exposure,
    "clock": clock,
}
"""Pieces that programs of the running machine tell."""
