"""What a passer-by can plug in, and what sends."""

from __future__ import annotations

from paranoid_install.verify.check import Check, Result, not_applicable, passed, unknown, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.kernel_checks import MODULES_DISABLED
from paranoid_install.verify.terms import Severity

_STICKS = frozenset({"usb_storage", "uas"})
_GUARD = "usbguard.service"
_UNASKED = ("0", "2")
"""A bus takes no device, or none but those that are built in, until somebody allows it."""


def _no_sticks(machine: Machine) -> Result:
    if not machine.live:
        return _blocked(machine)
    usb = known(machine.usb)
    if usb.buses and all(value in _UNASKED for value in usb.buses.values()):
        return passed("no bus takes a device unasked")
    if known(machine.units).get(_GUARD, {}).get("ActiveState") == "active":
        return unknown(f"{_GUARD} is active; what its rules allow is not read")
    drivers = sorted(usb.drivers & _STICKS)
    if drivers:
        return unless(f"the driver {name} is there" for name in drivers)
    if known(machine.sysctl).get(MODULES_DISABLED) == "1":
        return passed("no driver of disks is there, and no module can be loaded")
    return _blocked(machine)


def _blocked(machine: Machine) -> Result:
    blocked = known(machine.blocked)
    return unless(
        (f"{name} can be loaded" for name in sorted(_STICKS - blocked)),
        "no driver of disks is there, or can be loaded",
    )


def _nothing_sends(machine: Machine) -> Result:
    radios = known(machine.radios)
    if not radios:
        return not_applicable("there is no radio")
    return unless(
        (f"{name} is not blocked" for name, sends in radios.items() if sends),
        *(f"{name} is blocked" for name in radios),
    )


CHECKS = (
    Check("devices.usb", "disks on USB are not used", Severity.MEDIUM,
          "a stick brings programs in, and carries data out", "paranoid.kernel.enable",
          _no_sticks),
    Check("devices.wireless", "no radio sends", Severity.MEDIUM,
          "a radio is a door that no wall is around", "networking.wireless.enable",
          _nothing_sends),
)  # fmt: skip
