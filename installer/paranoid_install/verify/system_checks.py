"""Logs, boot and time."""

from __future__ import annotations

import re
from collections.abc import Iterator

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, passed, unknown, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.ssh_checks import wanted
from paranoid_install.verify.terms import Severity

_LOGS = policy.load("logs")
_SHIPPERS = policy.load("verify")["units"]["shippers"]
_DAYS = policy.load("verify")["ages"]["system"]
_OPEN = policy.load("verify")["boot"]
_STORE = policy.load("layout")["store"]["mountPoint"]
# An empty list is none.
_SUPERUSERS = re.compile(r"^\s*set\s+superusers=[\"']?[^\s\"'#]", re.MULTILINE)
_ENTRY = policy.load("breakglass")["name"]
_DEFAULTS = policy.load("verify")["journald"]["defaults"]
# Names that journald still takes, and the forms of yes and no (systemd.syntax(7)).
_OLD_KEYS = {"RateLimitInterval": "RateLimitIntervalSec"}
_OFF = ("0", "no", "false", "off")
_BOOLEANS = {"true": "yes", "on": "yes", "1": "yes", "false": "no", "off": "no"}


def _journal(machine: Machine) -> Result:
    found = {_OLD_KEYS.get(key, key): value for key, value in known(machine.journald).items()}

    def problems() -> Iterator[str]:
        for key, value in _LOGS["journal"].items():
            said = found.get(key, _DEFAULTS.get(key, ""))
            if _BOOLEANS.get(said.lower(), said) != wanted(value):
                yield f"journald.conf: {key}={said}, not {wanted(value)}"

    return unless(problems())


def _shipper(machine: Machine) -> str:
    units = known(machine.units)
    return next((name for name in _SHIPPERS if name in units), "")


def _logs_leave(machine: Machine) -> Result:
    name = _shipper(machine)
    if not name:
        return unless(["nothing sends the journal"])
    state = known(machine.units)[name].get("ActiveState", "")
    return unless([] if state == "active" else [f"{name} is {state}"], name)


def _logs_are_sealed(machine: Machine) -> Result:
    name = _shipper(machine)
    if not name:
        return not_applicable("nothing sends the journal")
    if name != _SHIPPERS[0]:
        return unknown(f"the settings of {name} are in the store, under a name not known")
    found = known(machine.upload)

    def problems() -> Iterator[str]:
        if not found.get("URL", "").startswith("https://"):
            yield f"URL={found.get('URL', '')}"
        for key in ("ServerKeyFile", "ServerCertificateFile", "TrustedCertificateFile"):
            if found.get(key, "") in ("", "-", "all"):
                yield f"no {key}"

    return unless(problems())


def _heartbeat(machine: Machine) -> Result:
    if not _shipper(machine):
        return not_applicable("nothing sends the journal")
    name = f"{_LOGS['heartbeat']['identifier']}.timer"
    state = known(machine.units).get(name, {}).get("ActiveState", "not there")
    return unless([] if state == "active" else [f"{name} is {state}"])


def _editor(machine: Machine) -> Result:
    loader = known(machine.loader)
    if loader.kind == "grub":
        return passed() if _SUPERUSERS.search(loader.text) else unless(["grub: no superusers"])
    said = [line.split() for line in loader.text.splitlines() if line.split()[:1] == ["editor"]]
    closed = bool(said) and said[-1][1:2] in (["no"], ["0"], ["false"], ["off"])
    return unless([] if closed else ["loader.conf: no line `editor no`"])


def _no_open_shell(machine: Machine) -> Result:
    def problems() -> Iterator[str]:
        for word in known(machine.parameters):
            name, _, value = word.partition("=")
            opened = word in _OPEN["open"] or (name in _OPEN["open"] and value not in _OFF)
            first = name in ("init", "rdinit") and not value.startswith(f"{_STORE}/")
            if opened or first:
                yield f"the kernel was started with {word}"
        if machine.live:
            units = known(machine.units)
            for name in _OPEN["shells"]:
                if units.get(name, {}).get("ActiveState") == "active":
                    yield f"{name} is active"

    return unless(problems())


def _starts_signed(machine: Machine) -> Result:
    on = known(machine.secure_boot)
    return unless([] if on else ["Secure Boot is off"])


def _break_glass(machine: Machine) -> Result:
    entries = known(machine.loader).entries
    return unless([] if any(_ENTRY in entry for entry in entries) else [f"no entry {_ENTRY}"])


def _kernel_is_current(machine: Machine) -> Result:
    booted, installed = known(machine.kernels)
    return unless([] if booted == installed else [f"booted {booted}, installed {installed}"])


def _clock(machine: Machine) -> Result:
    clock = known(machine.clock)
    if "NTPSynchronized" not in clock:
        return unknown("timedatectl does not say")
    synchronised = clock["NTPSynchronized"] == "yes"
    return unless([] if synchronised else ["the clock is not synchronised"])


def _updated(machine: Machine) -> Result:
    age = known(machine.system_age) / 86400
    text = f"last changed {age:.0f} days ago"
    return unless([text] if age > _DAYS else [], text)


def _supported(machine: Machine) -> Result:
    days = known(machine.support) / 86400
    ended = [f"the release got its last fixes {-days:.0f} days ago"] if days <= 0 else []
    return unless(ended, f"for {days:.0f} more days")


CHECKS = (
    Check("logs.journal", "the journal is kept, bounded and sealed", Severity.MEDIUM,
          "a journal in memory is gone after a boot", "paranoid.logs.enable", _journal),
    Check("logs.sent", "logs leave the machine", Severity.HIGH,
          "who becomes root can erase what is on it", "paranoid.logs.shipper", _logs_leave),
    Check("logs.sealed", "both sides of the log transport prove who they are", Severity.HIGH,
          "anybody on the way could take the logs, or feed false ones",
          "paranoid.logs.trustedCertificateFile", _logs_are_sealed),
    Check("logs.heartbeat", "silence of the logs is told from peace", Severity.LOW,
          "a collector cannot miss what it never expected", "paranoid.logs.enable", _heartbeat),
    Check("boot.editor", "the boot menu cannot be edited", Severity.HIGH,
          "init=/bin/sh at the console makes anybody root", "paranoid.boot.passwordFile", _editor),
    Check("boot.shell", "no shell stands open, and no defence was left out", Severity.CRITICAL,
          "a parameter of one boot gives root to whoever is at the console",
          "boot.kernelParams", _no_open_shell),
    Check("boot.break-glass", "there is an entry for the day nobody gets in", Severity.MEDIUM,
          "a locked-out owner has the disk wiped", "paranoid.breakglass.enable", _break_glass),
    Check("boot.secure", "the firmware starts what is signed alone", Severity.LOW,
          "who reaches the disk could put another kernel on it", "boot.lanzaboote.enable",
          _starts_signed),
    Check("boot.kernel", "the running kernel is the installed one", Severity.LOW,
          "a mended hole is open until the next boot", "system.autoUpgrade.allowReboot",
          _kernel_is_current),
    Check("time.clock", "the clock is right", Severity.MEDIUM,
          "certificates, and the order of logs on several machines, hang on it",
          "services.timesyncd.enable", _clock),
    Check("time.updates", "the system is not old", Severity.MEDIUM,
          "holes are mended upstream every week", "system.autoUpgrade.enable", _updated),
    Check("time.supported", "the release still gets fixes", Severity.HIGH,
          "a hole that is found tomorrow stays open", "system.autoUpgrade.enable", _supported),
)  # fmt: skip
