"""The configuration.nix of a paranoid host that needs nothing from outside but nixpkgs. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from paranoid_install import nixlang
from paranoid_install.layout import Firmware, Layout

STATE_VERSION = "26.05"
"""The NixOS release whose defaults a new machine starts with."""


@dataclass(frozen=True)
class Host:
    """What differs from machine to machine. `boot_device` is where GRUB goes on BIOS.

    An image starts on machines other than the one that makes it. `keys_on_disk` and `password` say
    what lets root in that stands in no configuration.
    """

    hostname: str
    tmpfs_size: str
    firmware: Firmware
    boot_device: str
    authorized_keys: str
    system: str = ""
    is_image: bool = False
    keys_on_disk: bool = True
    password: bool = False


def configuration(host: Host) -> str:
    """The text of configuration.nix."""
    note = ""
    if host.system:
        note = (
            f"#\n# This machine was installed from a system built elsewhere:\n# {host.system}\n"
            "# The first nixos-rebuild replaces it by what stands here. Systems are built there\n"
            "# and pushed; to build on this machine, set paranoid.nix.buildOnMachine = true.\n"
        )
    settings = {
        "networking.hostName": nixlang.string(host.hostname),
        "paranoid.enable": "true",
        "paranoid.amnesia.size": nixlang.string(host.tmpfs_size),
        "paranoid.boot.firmware": nixlang.string(host.firmware),
    }
    if not host.system:
        # Else nobody could rebuild it: there is no other machine that knows of this one.
        settings["paranoid.nix.buildOnMachine"] = "true"
    if host.is_image:
        # The generator knows what this machine's disk hangs on, not what the image's will.
        settings["hardware.enableAllHardware"] = "true"
    if host.firmware == "bios":
        settings["paranoid.boot.device"] = nixlang.string(host.boot_device)
    settings |= _ways_in(host)
    settings["system.stateVersion"] = nixlang.string(STATE_VERSION)
    lines = "".join(f"  {name} = {value};\n" for name, value in settings.items())
    return (
        "# Written by paranoid-install. Yours to edit: nixos-rebuild reads it.\n"
        f"# Public keys of root: {host.authorized_keys}\n"
        f"{note}"
        "{ ... }:\n\n{\n"
        "  imports = [\n    ./hardware-configuration.nix\n    ./paranoid\n  ];\n\n"
        f"{lines}}}\n"
    )


def file_systems(layout: Layout, tmpfs_size: str) -> str:
    """What the generator will find mounted for a layout, as a Nix set."""
    options = (f"size={tmpfs_size}", f"mode={layout.root_mode}", *layout.root_options)
    mounts = [("/", "none", "tmpfs", options)] + [
        (p.mount_point, f"/dev/disk/by-label/{p.label}", p.fs_type, p.options)
        for p in layout.partitions
    ]
    entries = (
        f"{nixlang.string(place)} = {{ device = {nixlang.string(device)}; "
        f"fsType = {nixlang.string(kind)}; options = {nixlang.strings(given or ('defaults',))}; }};"
        for place, device, kind, given in mounts
    )
    return f"{{ {' '.join(entries)} }}"


def _ways_in(host: Host) -> dict[str, str]:
    """What `paranoid.access` cannot see: it would refuse the configuration, after the wipe."""
    ways = {}
    if not host.keys_on_disk and not host.password and not host.system:
        # Asked for with --skip-login-check. A system built elsewhere has a way in of its own, and
        # what would lose it is better refused.
        ways["paranoid.access.enable"] = "false"
    if host.keys_on_disk:
        ways["paranoid.access.keysOnDisk"] = nixlang.strings(("root",))
    if host.password:
        ways["paranoid.access.console"] = "true"
    return ways
