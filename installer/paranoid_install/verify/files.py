"""Facts that are read from files: of the machine's disk, and of a running kernel."""

from __future__ import annotations

import os
import re
import stat as stats
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paranoid_install import policy
from paranoid_install.mounts import MountEntry, mount_table
from paranoid_install.verify import (
    access_files,
    devices,
    hardware,
    kernel_files,
    parse,
    profile_files,
    search,
)
from paranoid_install.verify.facts import (
    Declared,
    Loader,
    NotApplicable,
    Place,
    Space,
    Stat,
    Unknown,
)
from paranoid_install.verify.mount_checks import executing_of
from paranoid_install.verify.tree import SearchCutError, Tree, limit, of, walk

_LAYOUT = policy.load("layout")
_OWN = policy.load("verify")
_PERSIST = _LAYOUT["persist"]["root"]
_STORE = _LAYOUT["store"]["mountPoint"]
_PROFILE = "/nix/var/nix/profiles/system"
_WRAPPERS = f"{policy.load('mounts')['wrappers']['path']}/bin"
_INCLUDES = 64
_RELEASE = re.compile(r"(\d\d)\.(05|11)")
_ROOTS_NIX = "/root/.config/nix/nix.conf"
SEARCH = 0.4
"""Seconds of work that a search through directories may take; two share the interpreter."""


def nix_conf(tree: Tree) -> dict[str, str]:
    """nix.conf(5) with what it includes."""
    found: dict[str, str] = {}
    read = [0]
    _read_nix(tree, tree.etc("nix/nix.conf"), found, read)
    # The daemon is root's, and reads root's own settings after the machine's.
    if tree.exists(_ROOTS_NIX):
        _read_nix(tree, _ROOTS_NIX, found, read)
    return found


def _read_nix(tree: Tree, path: str, found: dict[str, str], files: list[int]) -> None:
    files[0] += 1
    if files[0] > _INCLUDES:
        raise ValueError(f"{path}: more than {_INCLUDES} files are included")
    for line in tree.text(path).split("\n"):
        words = line.partition("#")[0].split(None, 2)
        if len(words) >= 2 and words[0] in ("include", "!include"):
            other = words[1]
            other = other if other.startswith("/") else f"{path.rpartition('/')[0]}/{other}"
            if words[0] == "include" or tree.exists(other):
                _read_nix(tree, other, found, files)
        elif len(words) >= 2 and words[1] == "=":
            value = words[2].strip() if len(words) == 3 else ""
            if words[0].startswith("extra-"):
                key = words[0].removeprefix("extra-")
                default = _OWN["nix"]["defaults"].get(key, "")
                value = f"{found.get(key, default)} {value}".strip()
                found[key] = value
            else:
                found[words[0]] = value


def channels(tree: Tree) -> tuple[str, ...]:
    """Lines of root's list of channels; none when there is no list."""
    path = "/root/.nix-channels"
    return tuple(tree.text(path).split("\n")[:-1]) if tree.exists(path) else ()


def machine_id(tree: Tree) -> tuple[str, str]:
    """The machine-id in use, and the one on the persist root (empty: none there)."""
    persisted = f"{_PERSIST}/etc/machine-id"
    saved = tree.text(persisted).strip() if tree.exists(persisted) else ""
    running = tree.text("/etc/machine-id").strip() if tree.exists("/etc/machine-id") else saved
    return running, saved


def host_keys(tree: Tree) -> tuple[Stat, ...]:
    """The host keys of the policy that are there."""
    paths = [key["path"] for key in _LAYOUT["hostKeys"]]
    return tuple(tree.stat(path) for path in paths if tree.exists(path))


def secrets(tree: Tree) -> tuple[Stat, ...]:
    """The secrets of the policy that are there, directories with all that is in them."""
    over = limit(SEARCH)
    return tuple(
        of(path, stat)
        for name in _OWN["files"]["secrets"]
        if tree.exists(_PERSIST + name)
        for path, stat in walk(tree.real(_PERSIST + name), over)
        # A link has no mode of its own.
        if not stats.S_ISLNK(stat.st_mode)
    )


def owners(tree: Tree) -> tuple[Stat, ...]:
    """The policy's directories on the persist root that are there, and what is directly in them."""
    found = []
    for directory in _LAYOUT["persist"]["directories"]:
        path = _PERSIST + directory["path"]
        if tree.exists(path):
            found.append(tree.stat(path))
            # Links are nobody's; a name that is gone meanwhile is no drift.
            inside = (f"{path}/{name}" for name in tree.names(path))
            found += [tree.stat(name) for name in inside if tree.is_plain(name)]
    return tuple(found)


def uid_maps(tree: Tree) -> tuple[str, ...]:
    """The maps that NixOS keeps of users' and groups' numbers."""
    path = _OWN["files"]["uidMaps"]
    names = tree.names(path) if tree.exists(path) else ()
    return tuple(name for name in names if name in ("uid-map", "gid-map"))


def journald(tree: Tree) -> dict[str, str]:
    """journald.conf(5)."""
    return _systemd(tree, "journald.conf")


def coredump(tree: Tree) -> dict[str, str]:
    """coredump.conf(5)."""
    return _systemd(tree, "coredump.conf")


def upload(tree: Tree) -> dict[str, str]:
    """journal-upload.conf(5)."""
    return _systemd(tree, "journal-upload.conf")


def _systemd(tree: Tree, name: str) -> dict[str, str]:
    """The settings of /etc/systemd/NAME with those of its drop-ins, of which the last one wins.

    Drop-ins are read in the order of their names, whichever of the directories they are in; of
    two with one name that in /etc counts (systemd.unit(5), systemd-system.conf(5)).
    """
    dropped: dict[str, str] = {}
    for top in ("/usr/lib", "/run", "/etc"):
        directory = f"{top}/systemd/{name}.d"
        names = tree.names(directory) if tree.exists(directory) else ()
        dropped |= {file: f"{directory}/{file}" for file in names if file.endswith(".conf")}
    main = tree.etc(f"systemd/{name}")
    paths = [path for _, path in sorted(dropped.items())]
    if tree.exists(main) or not paths:
        paths.insert(0, main)
    found: dict[str, str] = {}
    for path in paths:
        found |= parse.settings(tree.text(path))
    return found


def blocked(tree: Tree) -> frozenset[str]:
    """Modules that modprobe.d(5) keeps from being loaded; names are with underscores."""
    found: dict[str, str] = {}
    for top in ("/usr/lib", "/lib", "/run", "/etc"):
        directory = tree.etc("modprobe.d") if top == "/etc" else f"{top}/modprobe.d"
        names = tree.names(directory) if tree.exists(directory) else ()
        found |= {name: f"{directory}/{name}" for name in names if name.endswith(".conf")}
    return parse.blocked_modules("\n".join(tree.text(path) for _, path in sorted(found.items())))


def programs(tree: Tree) -> frozenset[str]:
    """What everybody finds in the system's path."""
    return frozenset(tree.names(f"{_PROFILE}/sw/bin"))


def loader(tree: Tree) -> Loader | Unknown:
    """systemd-boot's or GRUB's configuration, from the boot file system."""
    boot = _LAYOUT["boot"]["mountPoint"]
    if tree.exists(f"{boot}/loader/loader.conf"):
        entries = f"{boot}/loader/entries"
        names = tree.names(entries) if tree.exists(entries) else ()
        texts = tuple(tree.text(f"{entries}/{name}") for name in names)
        return Loader("systemd-boot", tree.text(f"{boot}/loader/loader.conf"), (*names, *texts))
    if tree.exists(f"{boot}/grub/grub.cfg"):
        text = tree.text(f"{boot}/grub/grub.cfg")
        menu = tuple(line for line in text.splitlines() if "menuentry" in line)
        return Loader("grub", text, menu)
    return Unknown(f"no configuration of a boot loader in {boot}; is it mounted?")


def parameters(tree: Tree, live: bool) -> tuple[str, ...]:
    """The kernel's command line: the running one's, or what the disk's system asks for."""
    if live:
        return tuple(Path("/proc/cmdline").read_text(errors="surrogateescape").split())
    return tuple(tree.text(f"{_PROFILE}/kernel-params").split())


def system_age(tree: Tree) -> float:
    """Seconds since the system profile was last pointed elsewhere."""
    return time.time() - tree.modified(_PROFILE)


def support(tree: Tree) -> float | Unknown:
    """Seconds until the end of the day on which the release gets its last fixes (os-release(5)).

    NixOS does not say the day: a release of May is kept until the end of the year, one of
    November until the end of June (NixOS RFC 80 and 85).
    """
    said = parse.settings(tree.text(tree.etc("os-release")))
    words = {key: value.strip("'\"") for key, value in said.items()}
    day = words.get("SUPPORT_END", "")
    release = _RELEASE.fullmatch(words.get("VERSION_ID", ""))
    if not day and release and "nixos" in (words.get("ID"), words.get("ID_LIKE")):
        year = 2000 + int(release[1])
        day = f"{year}-12-31" if release[2] == "05" else f"{year + 1}-06-30"
    if not day:
        return Unknown("os-release: neither SUPPORT_END nor a release of NixOS")
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + 86400 - time.time()


def signatures_age(tree: Tree) -> float | NotApplicable:
    """Seconds since ClamAV's signatures were renewed."""
    directory = policy.load("antivirus")["databaseDirectory"]
    if not tree.exists(directory):
        return NotApplicable("no scanner is installed")
    names = [n for n in tree.names(directory) if n.endswith((".cvd", ".cld"))]
    if not names:
        return float("inf")
    return time.time() - max(tree.modified(f"{directory}/{name}") for name in names)


def declared(tree: Tree) -> tuple[Declared, ...] | Unknown:
    """The ports that the configuration opens; unknown when it does not say."""
    path: str = _OWN["listeners"]["declared"]
    found = tree.etc(path.removeprefix("/etc/"))
    if not tree.exists(found):
        return Unknown(f"{path}: not there, so nobody knows which ports are meant to be open")
    return parse.declared(tree.text(found))


def declared_passwords(tree: Tree) -> dict[str, str]:
    """The password files of the persist root, by the name of their user."""
    directory = _LAYOUT["persist"]["passwords"]
    names = tree.names(directory) if tree.exists(directory) else ()
    return {name: tree.text(f"{directory}/{name}") for name in names}


def wrappers(tree: Tree) -> tuple[Stat, ...]:
    """The programs with privileges."""
    return tuple(tree.stat(f"{_WRAPPERS}/{name}") for name in tree.names(_WRAPPERS))


def places() -> tuple[Place, ...] | Unknown:
    """Directories where others than root may write and execute."""
    over = limit(SEARCH)
    found = []
    try:
        for entry in executing_of(mount_table()):
            if entry.mount_point == _STORE:
                # Too much to look through, and a fault by itself: mounts.store.
                continue
            for path, stat in walk(Path(entry.mount_point), over):
                if stats.S_ISDIR(stat.st_mode) and _is_others(stat):
                    found.append(Place(entry.mount_point, of(path, stat)))
    except SearchCutError:
        if not found:
            return Unknown(f"too many files to look through in {SEARCH} s")
    return tuple(found)


def _is_others(stat: os.stat_result) -> bool:
    mode = stat.st_mode
    return bool(
        (stat.st_uid != 0 and mode & stats.S_IWUSR)
        or (stat.st_gid != 0 and mode & stats.S_IWGRP)
        or mode & stats.S_IWOTH
    )


def mounts() -> tuple[MountEntry, ...]:
    return mount_table()


def space() -> Space:
    """Of the root."""
    found = os.statvfs("/")
    size = found.f_blocks * found.f_frsize
    return Space(size, size - found.f_bfree * found.f_frsize)


FROM_TREE: dict[str, Callable[[Tree], Any]] = {
    "nix": nix_conf,
    "machine_id": machine_id,
    "host_keys": host_keys,
    "secrets": secrets,
    "owners": owners,
    "key_files": access_files.key_files,
    "allotted": search.allotted,
    "blocked": blocked,
    "sudoers": access_files.sudoers,
    "pam": access_files.pam,
    "texts": profile_files.texts,
    "uid_maps": uid_maps,
    "journald": journald,
    "coredump": coredump,
    "programs": programs,
    "loader": loader,
    "system_age": system_age,
    "support": support,
}
"""Pieces that a disk shows whether it runs or not."""

FROM_LIVE_TREE: dict[str, Callable[[Tree], Any]] = {
    "channels": channels,
    "upload": upload,
    "trees": profile_files.trees,
    "declared": declared,
    "wrappers": wrappers,
    "signatures_age": signatures_age,
}
"""Pieces in files that are made at boot, or mean something while the machine runs alone."""

FROM_KERNEL: dict[str, Callable[[], Any]] = {
    "mounts": mounts,
    "places": places,
    "space": space,
    "swaps": devices.swaps,
    "encryption": devices.encryption,
    "interfaces": devices.interfaces,
    "sysctl": kernel_files.sysctl,
    "modules": kernel_files.modules,
    "lockdown": kernel_files.lockdown,
    "config": kernel_files.config,
    "secure_boot": hardware.secure_boot,
    "usb": hardware.usb,
    "radios": hardware.radios,
    "apparmor": kernel_files.apparmor,
    "vulnerabilities": kernel_files.vulnerabilities,
    "kernels": kernel_files.kernels,
}
"""Pieces of the running kernel."""
