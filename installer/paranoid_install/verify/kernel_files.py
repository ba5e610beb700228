"""What the kernel says in /proc and /sys, and what a disk's system would set."""

from __future__ import annotations

import gzip
from pathlib import Path

from paranoid_install.verify import parse
from paranoid_install.verify.facts import AppArmor, NotApplicable, Piece, Unknown
from paranoid_install.verify.kernel_checks import KEYS
from paranoid_install.verify.tree import Tree


def sysctl() -> dict[str, Piece[str]]:
    """Each of the policy's settings, as the kernel has it."""
    return {key: _sysctl(key) for key in KEYS}


def _sysctl(key: str) -> Piece[str]:
    if key.startswith("net.ipv6.") and not Path("/proc/sys/net/ipv6").exists():
        return NotApplicable("this kernel speaks no IPv6")
    try:
        return Path("/proc/sys", *key.split(".")).read_text().strip()
    except FileNotFoundError:
        return Unknown(f"{key}: this kernel has no such setting")
    except OSError as error:
        return Unknown(f"{key}: {error.strerror}")


def configured(tree: Tree) -> dict[str, Piece[str]]:
    """Each of the policy's settings, as the system on a disk would set it (sysctl.d(5))."""
    directory = tree.etc("sysctl.d")
    found: dict[str, str] = {}
    for name in tree.names(directory):
        if name.endswith(".conf"):
            for line in tree.text(f"{directory}/{name}").split("\n"):
                key, equals, value = line.strip().removeprefix("-").partition("=")
                if equals and not key.startswith(("#", ";")):
                    found[key.strip().replace("/", ".")] = value.strip()
    absent = "the system on this disk does not set it"
    return {key: found.get(key, Unknown(f"{key}: {absent}")) for key in KEYS}


def config() -> dict[str, str] | Unknown:
    """What the running kernel was built with, where it says so (CONFIG_IKCONFIG_PROC)."""
    file = Path("/proc/config.gz")
    if not file.exists():
        return Unknown(f"{file}: this kernel does not say what it was built with")
    with gzip.open(file, "rt", encoding="utf-8") as opened:
        return parse.kernel_config(opened.read())


def modules() -> frozenset[str] | NotApplicable:
    """Loaded modules."""
    if not Path("/proc/modules").exists():
        return NotApplicable("this kernel loads no modules")
    return frozenset(line.split()[0] for line in Path("/proc/modules").read_text().splitlines())


def lockdown() -> str | NotApplicable | Unknown:
    """The kernel's lockdown mode."""
    security = Path("/sys/kernel/security")
    if not (security / "lsm").exists():
        return Unknown(f"{security}: securityfs is not mounted")
    file = security / "lockdown"
    if not file.exists():
        return NotApplicable("this kernel was built without lockdown")
    return parse.lockdown(file.read_text())


def apparmor() -> AppArmor | Unknown:
    """Whether AppArmor is on, and its profiles (apparmor(7))."""
    switch = Path("/sys/module/apparmor/parameters/enabled")
    if not switch.exists() or switch.read_text().strip() != "Y":
        return AppArmor(on=False)
    profiles = Path("/sys/kernel/security/apparmor/profiles")
    if not profiles.exists():
        return Unknown(f"{profiles}: not there; is securityfs mounted?")
    return parse.apparmor(profiles.read_text(errors="surrogateescape"))


def vulnerabilities() -> dict[str, str]:
    """The processor's known weaknesses, and what the kernel does about them."""
    directory = Path("/sys/devices/system/cpu/vulnerabilities")
    return {file.name: file.read_text().strip() for file in directory.iterdir()}


def kernels() -> tuple[str, str] | NotApplicable:
    """The kernel that was booted, and the one of the system that runs."""
    booted, current = Path("/run/booted-system/kernel"), Path("/run/current-system/kernel")
    if not booted.exists() or not current.exists():
        return NotApplicable("this is no NixOS")
    return str(booted.resolve()), str(current.resolve())
