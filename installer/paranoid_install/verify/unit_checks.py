"""Services as systemd runs them; those of paranoid.services are known by their directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, unknown, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.terms import Severity

_UNITS = policy.load("units")
_OWN = policy.load("verify")["units"]
_PERSIST = policy.load("layout")["persist"]["root"]

Properties = Mapping[str, str]


def own(units: Mapping[str, Properties]) -> dict[str, Properties]:
    """The services of paranoid.services: each works in a directory of its own."""
    return {
        name: unit
        for name, unit in units.items()
        if unit.get("WorkingDirectory", "").startswith(f"{_UNITS['stateRoot']}/")
    }


def _services(machine: Machine) -> dict[str, Properties]:
    return own(known(machine.units))


def _none() -> Result:
    return not_applicable("there are no services of paranoid.services")


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _have_users(machine: Machine) -> Result:
    services = _services(machine)
    if not services:
        return _none()

    def problems() -> Iterator[str]:
        for name, unit in services.items():
            if unit.get("DynamicUser") != "yes" and unit.get("User", "") in ("", "root", "0"):
                yield f"{name} runs as root"

    return unless(problems())


def _are_confined(machine: Machine) -> Result:
    services = _services(machine)
    if not services:
        return _none()

    def problems() -> Iterator[str]:
        for name, unit in services.items():
            for directive in _OWN["directives"]:
                wanted = _show(_UNITS["sets"]["service"][directive])
                found = unit.get(directive, "")
                if found != wanted:
                    yield f"{name}: {directive}={found}, not {wanted}"

    return unless(problems())


def _do_not_see_persist(machine: Machine) -> Result:
    services = _services(machine)
    if not services:
        return _none()
    return unless(
        f"{name} sees {_PERSIST}"
        for name, unit in services.items()
        if _PERSIST not in [p.lstrip("-+") for p in unit.get("InaccessiblePaths", "").split()]
    )


def _are_not_exposed(machine: Machine) -> Result:
    services = _services(machine)
    if not services:
        return _none()
    exposure = known(machine.exposure)
    limit = _UNITS["exposureLimit"]
    problems = [
        f"{name}: {exposure[name]:.1f}, more than {limit}"
        for name in services
        if name in exposure and exposure[name] > limit
    ]
    absent = [f"systemd-analyze does not judge {name}" for name in services if name not in exposure]
    return unless(problems) if problems or not absent else unknown(*absent)


def _none_changed(machine: Machine) -> Result:
    units = known(machine.units)
    guarded = {*_OWN["guarded"], *_OWN["shippers"], _OWN["watch"], _OWN["antivirus"], *own(units)}

    def problems() -> Iterator[str]:
        for name in sorted(guarded & units.keys()):
            paths = f"{units[name].get('FragmentPath', '')} {units[name].get('DropInPaths', '')}"
            for path in paths.split():
                if path.startswith(tuple(_OWN["runtime"])):
                    yield f"{name}: {path}"

    return unless(problems())


def _none_failed(machine: Machine) -> Result:
    return unless(
        f"{name} has failed"
        for name, unit in sorted(known(machine.units).items())
        if unit.get("ActiveState") == "failed"
    )


def _watched(machine: Machine) -> Result:
    return _runs(machine, _OWN["watch"])


def _scanned(machine: Machine) -> Result:
    return _runs(machine, _OWN["antivirus"])


def _runs(machine: Machine, name: str) -> Result:
    state = known(machine.units).get(name, {}).get("ActiveState", "not there")
    return unless([] if state == "active" else [f"{name} is {state}"])


def _signatures(machine: Machine) -> Result:
    days = policy.load("verify")["ages"]["signatures"]
    age = known(machine.signatures_age) / 86400
    return unless([f"{age:.0f} days old"] if age > days else [], f"{age:.1f} days old")


CHECKS = (
    Check("units.users", "each service has a user of its own", Severity.HIGH,
          "what runs as root takes the machine with it", "paranoid.services.<name>", _have_users),
    Check("units.confined", "services are confined", Severity.HIGH,
          "a service that is taken over must not reach the rest",
          "paranoid.services.<name>.settings",
          _are_confined),
    Check("units.persist", "services do not see the persist root", Severity.HIGH,
          "keys and password hashes lie there", "paranoid.services.<name>.settings",
          _do_not_see_persist),
    Check("units.exposure", "services are little exposed", Severity.MEDIUM,
          "systemd's own count of what a service could still do",
          "paranoid.services.<name>.settings", _are_not_exposed),
    Check("units.changed", "no unit that guards was changed at run time", Severity.HIGH,
          "a drop-in of an hour ago starts a daemon with other settings, or another in its name",
          "systemd.services.<name>", _none_changed),
    Check("units.failed", "no unit has failed", Severity.MEDIUM,
          "a measure whose unit failed is not there", "systemd.services.<name>", _none_failed),
    Check("units.watch", "the audit trail is watched", Severity.HIGH,
          "records that nobody reads warn nobody", "paranoid.watch.enable", _watched),
    Check("units.antivirus", "the scan for malware runs by the clock", Severity.LOW,
          "a scanner that is only installed finds nothing", "paranoid.antivirus.enable", _scanned),
    Check("units.signatures", "the scanner's signatures are fresh", Severity.LOW,
          "old signatures find old malware", "paranoid.antivirus.enable", _signatures),
)  # fmt: skip
