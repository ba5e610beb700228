"""Who may use Nix: what nix.conf(5) says, and what it means where it is silent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, unless
from paranoid_install.verify.facts import Machine, MissingError, Unknown, known
from paranoid_install.verify.terms import Severity

_NIX = policy.load("nix")
_DAEMON = "nix-daemon.service"
# Each names settings, or another file of them (nix.conf(5), environment of Nix).
_SETTINGS = re.compile(r"\bNIX_(?:CONFIG|CONF_DIR|USER_CONF_FILES)=")
_DEFAULTS = policy.load("verify")["nix"]["defaults"]


def _value(machine: Machine, key: str) -> str:
    return _conf(machine).get(key, _DEFAULTS[key])


def _conf(machine: Machine) -> Mapping[str, str]:
    """What nix.conf says. Raises MissingError where the daemon's environment may say otherwise."""
    conf = known(machine.nix)
    if machine.live:
        said = known(machine.units).get(_DAEMON, {}).get("Environment", "")
        if _SETTINGS.search(said):
            raise MissingError(Unknown(f"{_DAEMON}: its environment has settings of its own"))
    return conf


def _beyond(machine: Machine, key: str, allowed: list[str]) -> Result:
    found = _value(machine, key).split()
    return unless(
        f"{key} = {user}" for user in found if user not in allowed and user not in _NIX["wheel"]
    )


def _allowed(machine: Machine) -> Result:
    return _beyond(machine, "allowed-users", _NIX["allowedUsers"])


def _trusted(machine: Machine) -> Result:
    return _beyond(machine, "trusted-users", _NIX["trustedUsers"])


def _settings(machine: Machine) -> Result:
    def problems() -> Iterator[str]:
        for key, value in _NIX["settings"].items():
            found = _value(machine, key)
            if found != str(value).lower():
                yield f"{key} = {found}"

    return unless(problems())


def _no_channels(machine: Machine) -> Result:
    return unless(f"channel {line}" for line in known(machine.channels))


CHECKS = (
    Check("nix.allowed-users", "only administrators talk to the Nix daemon", Severity.HIGH,
          "the daemon builds and runs what it is told to", "paranoid.nix.administrators",
          _allowed),
    Check("nix.trusted-users", "only administrators are trusted by the Nix daemon",
          Severity.CRITICAL, "a trusted user can become root", "paranoid.nix.administrators",
          _trusted),
    Check("nix.settings", "builds are confined, and signatures required", Severity.HIGH,
          "an unsigned path is somebody else's program", "paranoid.nix.enable", _settings),
    Check("nix.channels", "there are no channels", Severity.MEDIUM,
          "who changes what a channel serves changes the machine at its next rebuild",
          "paranoid.nix.channels", _no_channels),
)  # fmt: skip
