"""Facts that programs of the running machine tell. Each asks, none changes anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paranoid_install import policy
from paranoid_install.runner import Runner
from paranoid_install.verify import parse
from paranoid_install.verify.facts import Listener, NotApplicable, Piece, Unknown
from paranoid_install.verify.unit_checks import own
from paranoid_install.watch import kernel

SECONDS = 10.0
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
    """Listening sockets with their programs (ss(8)).

    A client's UDP socket looks like one until it is connected (getaddrinfo(3) of sshd -T makes
    some), so what a second look does not find any more is none.
    """
    before, now = (
        parse.listeners(runner.run("ss", "-H", "-tulpn", timeout=SECONDS).stdout) for _ in range(2)
    )
    return tuple(one for one in now if one in before)


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
    # Without --all a unit that was stopped is left out, as if nobody had configured it.
    argv = ("systemctl", "show", "--all", wanted, "--", *patterns)
    return parse.units(runner.run(*argv, timeout=SECONDS).stdout)


def exposure(runner: Runner, units: Piece[dict[str, dict[str, str]]]) -> Piece[dict[str, float]]:
    """systemd's count for the services of paranoid.services, which are among `units`."""
    if isinstance(units, Unknown | NotApplicable):
        return units
    services = own(units)
    if not services:
        return NotApplicable("there are no services of paranoid.services")
    # All units of a machine would take a second or more; asked for some, it has no short form.
    argv = ("systemd-analyze", "security", "--no-pager", "--", *services)
    return parse.exposure(runner.run(*argv, timeout=SECONDS).stdout)


def tailscale(runner: Runner) -> str:
    """The state of Tailscale's daemon (tailscale(8)): Running, NeedsLogin, Stopped …"""
    return parse.tailscale(runner.run("tailscale", "status", "--json", timeout=SECONDS).stdout)


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
    "tailscale": tailscale,
    "clock": clock,
}
"""Pieces that programs of the running machine tell, each by itself."""
