"""The private networks that the machine is administered through: up, where they are configured."""

from __future__ import annotations

import re

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.terms import Severity

_OWN = policy.load("verify")["vpn"]
_WIREGUARD = re.compile(_OWN["wireguard"])


def _tailscale(machine: Machine) -> Result:
    if _OWN["tailscale"] not in known(machine.units):
        return not_applicable("paranoid.vpn.tailscale is off")
    state = known(machine.tailscale)
    return unless([] if state == "Running" else [f"tailscale is {state}"], state)


def _wireguard(machine: Machine) -> Result:
    names = [m[1] for unit in known(machine.units) if (m := _WIREGUARD.fullmatch(unit))]
    if not names:
        return not_applicable("paranoid.vpn.wireguard is off")
    there = known(machine.interfaces)
    return unless(
        (
            f"{name}: {'down' if name in there else 'no such interface'}"
            for name in names
            if not there.get(name)
        ),
        *names,
    )


CHECKS = (
    Check("vpn.tailscale", "Tailscale is up where it is configured", Severity.HIGH,
          "whoever administers the machine through it is locked out",
          "paranoid.vpn.tailscale.authKeyFile", _tailscale),
    Check("vpn.wireguard", "WireGuard is up where it is configured", Severity.HIGH,
          "the second way in is missed on the day when the first is gone",
          "paranoid.vpn.wireguard.enable", _wireguard),
)  # fmt: skip
