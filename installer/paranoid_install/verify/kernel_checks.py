"""The kernel's own defences, as they are in force."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, passed, unknown, unless
from paranoid_install.verify.facts import Machine, NotApplicable, Piece, Unknown, known
from paranoid_install.verify.terms import Severity

_KERNEL = policy.load("kernel")
_SETTINGS = {setting["key"]: setting for setting in policy.load("sysctl")["setting"]}
MODULES_DISABLED = "kernel.modules_disabled"
USER_NAMESPACES = "user.max_user_namespaces"
KEYS = (*_SETTINGS, MODULES_DISABLED, USER_NAMESPACES)
"""The settings that are read from /proc/sys."""


def _number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _setting(machine: Machine, key: str) -> Piece[str]:
    return known(machine.sysctl).get(key, Unknown(f"{key} was not read"))


def _compare(machine: Machine, keys: list[str], *, at_least: bool) -> Result:
    problems, absent = [], []
    for key in keys:
        found, wanted = _setting(machine, key), _SETTINGS[key]["value"]
        if isinstance(found, NotApplicable):
            continue
        if isinstance(found, Unknown):
            absent.append(found.reason)
            continue
        value = _number(found)
        good = value == wanted or (at_least and isinstance(value, int) and value > wanted)
        if not good:
            problems.append(f"{key} = {found}, not {wanted}")
    return unless(problems) if problems or not absent else unknown(*absent)


def _grouped(group: Mapping[str, Any]) -> Check:
    def function(machine: Machine) -> Result:
        return _compare(machine, group["keys"], at_least=group.get("atLeast", False))

    return Check(
        f"kernel.{group['id']}",
        group["title"],
        Severity(group["severity"]),
        _SETTINGS[group["keys"][0]]["reason"],
        "boot.kernel.sysctl",
        function,
    )


def _modules_are_locked(machine: Machine) -> Result:
    # A kernel that loads no modules has no such setting.
    known(machine.modules)
    found = known(_setting(machine, MODULES_DISABLED))
    return unless([] if found == "1" else [f"{MODULES_DISABLED} = {found}"])


def _few_namespaces(machine: Machine) -> Result:
    found = known(_setting(machine, USER_NAMESPACES))
    number, most = _number(found), _KERNEL["maxUserNamespaces"]
    few = isinstance(number, int) and number <= most
    return unless([] if few else [f"{USER_NAMESPACES} = {found}, more than {most}"])


def _parameters(machine: Machine) -> Result:
    given = known(machine.parameters)

    def problems() -> Iterator[str]:
        for parameter in _KERNEL["parameter"]:
            name, value = parameter["name"], parameter.get("value")
            # Of several of one name the kernel takes the last.
            said = [word for word in given if word.partition("=")[0] == name]
            wanted = name if value is None else f"{name}={value}"
            if not said or said[-1] != wanted:
                yield f"{said[-1]}, not {wanted}" if said else f"no {wanted}"

    return unless(problems())


def _modules(machine: Machine) -> Result:
    blocked = {name.replace("-", "_") for entry in _KERNEL["module"] for name in entry["names"]}
    return unless(f"{name} is loaded" for name in sorted(known(machine.modules) & blocked))


def _lockdown(machine: Machine) -> Result:
    mode = known(machine.lockdown)
    return unless([f"lockdown is {mode}"] if mode == "none" else [], f"lockdown is {mode}")


def _apparmor(machine: Machine) -> Result:
    found = known(machine.apparmor)
    if not found.on:
        return unless(["AppArmor is off"])
    if not found.enforced:
        return unless(["AppArmor is on, and enforces no profile"])
    return unless(found.others, f"{found.enforced} profiles are enforced")


def _vulnerabilities(machine: Machine) -> Result:
    return unless(
        f"{name}: {state}"
        for name, state in sorted(known(machine.vulnerabilities).items())
        if state.startswith("Vulnerable")
    )


def _no_core_dumps(machine: Machine) -> Result:
    storage = known(machine.coredump).get("Storage", "external")
    return passed() if storage == "none" else unless([f"coredump.conf: Storage={storage}"])


CHECKS = (
    *(_grouped(group) for group in policy.load("verify")["sysctl"]),
    Check("kernel.modules-locked", "no more modules can be loaded", Severity.HIGH,
          "a module is code in the kernel", "paranoid.kernel.lockModules",
          _modules_are_locked),
    Check("kernel.user-namespaces", "users have few namespaces", Severity.MEDIUM,
          "most kernel exploits of the last years went through them",
          "paranoid.kernel.maxUserNamespaces", _few_namespaces),
    Check("kernel.parameters", "the kernel was started with its defences", Severity.MEDIUM,
          "some can be chosen at boot alone", "paranoid.kernel.enable", _parameters),
    Check("kernel.modules", "no needless modules are loaded", Severity.MEDIUM,
          "protocols and file systems that nobody uses have a history of holes",
          "paranoid.kernel.allowedModules", _modules),
    Check("kernel.lockdown", "root cannot change the kernel", Severity.MEDIUM,
          "who is root could stay, below everything that looks for them",
          "paranoid.kernel.lockdown", _lockdown),
    Check("kernel.apparmor", "AppArmor confines programs", Severity.LOW,
          "a second fence behind what systemd gives each service",
          "security.apparmor.enable", _apparmor),
    Check("kernel.processor", "no known weakness of the processor is open", Severity.MEDIUM,
          "programs read others' memory through them", "hardware.cpu.<vendor>.updateMicrocode",
          _vulnerabilities),
    Check("kernel.core-dumps", "no memory of dead programs is kept", Severity.MEDIUM,
          "a core dump is a copy of its program's secrets", "paranoid.kernel.enable",
          _no_core_dumps),
)  # fmt: skip
