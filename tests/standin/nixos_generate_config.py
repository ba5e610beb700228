"""A stand-in for nixos-generate-config: the same file for the same mounts.

What it writes has the real tool's form to the byte, because the installer patches that
form: a tmpfs root comes out with no options, a bind mount as `fsType = "none"`, a loop
device as its backing file. It knows fewer kinds of hardware than the real one; btrfs, LUKS
and stratis are not there.

Options: --root DIR, --dir DIR, --force, --no-filesystems, --show-hardware-config.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_DEFAULT_DIRECTORY = "/etc/nixos"

# Mounted by NixOS itself, never to be declared.
_SPECIAL = ("/proc", "/dev", "/sys", "/run")

_CONFIGURATION = """\
# The system's configuration. Options: configuration.nix(5), or `nixos-help`.
{{ config, lib, pkgs, ... }}:

{{
  imports =
    [ ./hardware-configuration.nix
    ];

{boot_loader}
  system.stateVersion = "26.05";
}}
"""
_GRUB = """\
  boot.loader.grub.enable = true;
  # boot.loader.grub.device = "/dev/sda"; # the disk to install GRUB on
"""
_SYSTEMD_BOOT = """\
  boot.loader.systemd-boot.enable = true;
  boot.loader.efi.canTouchEfiVariables = true;
"""


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo, unescaped; `root` is the path inside the file system."""

    device_number: str
    root: str
    point: str
    options: tuple[str, ...]
    fs_type: str
    source: str
    super_options: tuple[str, ...]


@dataclass(frozen=True)
class Hardware:
    """What is found in /sys: module names, imports, swap devices, the platform."""

    platform: str
    imports: tuple[str, ...] = ()
    initrd_modules: tuple[str, ...] = ()
    kernel_modules: tuple[str, ...] = ()
    swap_devices: tuple[str, ...] = ()


@dataclass
class Options:
    """The command line, read. `root` is empty for the running system."""

    root: str = ""
    directory: str = _DEFAULT_DIRECTORY
    force: bool = False
    filesystems: bool = True
    show: bool = False


def main() -> None:
    os.umask(0o022)
    options = parse(sys.argv[1:])
    found = read_mounts(Path("/proc/self/mountinfo").read_text())
    # A single file bound somewhere is no file system to the real tool.
    mounts = [mount for mount in found if Path(mount.point).is_dir()]
    entries = None
    if options.filesystems:
        entries = filesystems(mounts, options.root, stable_device, backing_file)
    text = hardware_configuration(find_hardware(), entries)
    if options.show:
        sys.stdout.write(text)
        return
    if options.directory == _DEFAULT_DIRECTORY:
        directory = Path(options.root + _DEFAULT_DIRECTORY)
    else:
        directory = Path(options.directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    _write(directory / "hardware-configuration.nix", text)
    configuration = directory / "configuration.nix"
    if options.force or not configuration.exists():
        efi = Path("/sys/firmware/efi/efivars").exists()
        boot_loader = _SYSTEMD_BOOT if efi else _GRUB
        _write(configuration, _CONFIGURATION.format(boot_loader=boot_loader))
    else:
        sys.stderr.write(f"warning: not overwriting existing {configuration}\n")


def parse(argv: list[str]) -> Options:
    options = Options()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in ("--root", "--dir"):
            if not words:
                _die(f"‘{word}’ requires an argument")
            value = words.pop(0)
            if word == "--dir":
                options.directory = value
            elif value == "/":
                _die("no need to specify `/` with `--root`, it is the default")
            else:
                # Not resolved: the real tool finds no mounts below a symbolic link either.
                options.root = str(Path(value).absolute())
        elif word == "--force":
            options.force = True
        elif word == "--no-filesystems":
            options.filesystems = False
        elif word == "--show-hardware-config":
            options.show = True
        else:
            _die(f"unrecognized argument ‘{word}’")
    return options


def read_mounts(mountinfo: str) -> Iterator[Mount]:
    """The lines of mountinfo (proc_pid_mountinfo(5)) in their order."""
    for line in mountinfo.splitlines():
        before, after = line.split(" - ", 1)
        fields = before.split(" ")
        fs_type, source, super_options = after.split(" ", 2)
        yield Mount(
            device_number=fields[2],
            root=_unescape(fields[3]),
            point=_unescape(fields[4]),
            options=tuple(fields[5].split(",")),
            fs_type=fs_type,
            source=_unescape(source),
            super_options=tuple(super_options.split(",")),
        )


def filesystems(
    mounts: Iterable[Mount],
    root: str,
    stable: Callable[[str], str],
    backing: Callable[[str], str | None],
) -> str:
    """The `fileSystems` entries for what is mounted at and below `root`.

    `stable` names a device by a lasting link, `backing` the file behind a loop device.
    """
    text = ""
    seen: dict[str, str] = {}
    for mount in mounts:
        if not _below(mount.point, root):
            continue
        point = mount.point[len(root) :] or "/"
        if any(_below(point, special) for special in _SPECIAL):
            continue
        read_only_store = "rw" in mount.super_options and "ro" in mount.options
        if point == "/nix/store" and read_only_store:
            continue
        if mount.device_number in seen:
            base = seen[mount.device_number]
            inside = "" if mount.root == "/" else mount.root
            source = ("" if base == "/" else base) + inside
            text += _entry(point, source, "none", ["bind"])
            continue
        seen[mount.device_number] = point
        if mount.fs_type in ("fuse", "fuseblk"):
            sys.stderr.write(f"warning: no entry for the FUSE file system {point}\n")
            continue
        if mount.fs_type == "btrfs":
            _die(f"{point}: btrfs is beyond this stand-in")
        device, extra = mount.source, []
        file = backing(device)
        if file is not None:
            device, extra = file, ["loop"]
        if mount.fs_type == "vfat":
            extra += [o for o in mount.super_options if "fmask" in o or "dmask" in o]
        if point == "/tmp" and mount.fs_type == "tmpfs":
            continue
        text += _entry(point, stable(device), mount.fs_type, extra)
    return text


def hardware_configuration(hardware: Hardware, entries: str | None) -> str:
    """The whole file; `entries` None leaves file systems and swap out."""
    middle = ""
    if entries is not None:
        swap = [f'{{ device = "{device}"; }}' for device in hardware.swap_devices]
        middle = f"\n{entries}  swapDevices ={_lines(swap)};\n"
    return (
        "# Do not modify this file!  It was generated by ‘nixos-generate-config’\n"
        "# and may be overwritten by future invocations.  Please make changes\n"
        "# to /etc/nixos/configuration.nix instead.\n"
        "{ config, lib, pkgs, modulesPath, ... }:\n"
        "\n"
        "{\n"
        f"  imports ={_lines(list(hardware.imports))};\n"
        "\n"
        f"  boot.initrd.availableKernelModules = [{_strings(hardware.initrd_modules)} ];\n"
        "  boot.initrd.kernelModules = [ ];\n"
        f"  boot.kernelModules = [{_strings(hardware.kernel_modules)} ];\n"
        "  boot.extraModulePackages = [ ];\n"
        f"{middle}"
        "\n"
        f'  nixpkgs.hostPlatform = lib.mkDefault "{hardware.platform}";\n'
        "}\n"
    )


def find_hardware(sys_root: Path = Path("/sys")) -> Hardware:
    """Storage and USB controllers, block devices, active swap, and whether QEMU runs this."""
    virtualization = _virtualization(sys_root)
    imports = []
    if virtualization in ("qemu", "kvm", "bochs"):
        imports.append('(modulesPath + "/profiles/qemu-guest.nix")')
    elif virtualization == "none":
        imports.append('(modulesPath + "/installer/scan/not-detected.nix")')
    cpu = Path("/proc/cpuinfo").read_text()
    features = re.search(r"^flags\s*:(.*)$", cpu, re.MULTILINE)
    flags = features[1].split() if features else []
    kernel_modules = [
        module for flag, module in (("vmx", "kvm-intel"), ("svm", "kvm-amd")) if flag in flags
    ]
    modules = [*_controller_modules(sys_root), *_block_modules(sys_root)]
    return Hardware(
        platform=f"{os.uname().machine}-linux",
        imports=tuple(imports),
        initrd_modules=tuple(dict.fromkeys(modules)),
        kernel_modules=tuple(kernel_modules),
        swap_devices=tuple(_swap_devices()),
    )


def stable_device(device: str) -> str:
    """The first link of /dev/mapper, by-uuid or by-label to the same device; else itself."""
    if not device.startswith("/") or not Path(device).exists():
        return device
    number = Path(device).stat().st_rdev
    for directory in ("/dev/mapper", "/dev/disk/by-uuid", "/dev/disk/by-label"):
        for link in sorted(Path(directory).glob("*")):
            if link.exists() and link.stat().st_rdev == number:
                return str(link)
    return device


def backing_file(device: str) -> str | None:
    """The file behind a loop device; a partition of one has the file of the whole, as in
    the real tool."""
    match = re.search(r"/dev/loop(\d+)", device)
    if match is None:
        return None
    return Path(f"/sys/block/loop{match[1]}/loop/backing_file").read_text().rstrip("\n")


def _controller_modules(sys_root: Path) -> Iterator[str]:
    for device in sorted((sys_root / "bus/pci/devices").glob("*")):
        kind = (device / "class").read_text()
        module = _module(device / "driver/module")
        # Storage, FireWire, USB: what a disk or a keyboard may hang on.
        if module and kind.startswith(("0x01", "0x0c00", "0x0c03")):
            yield module
        ids = ((device / "vendor").read_text().strip(), (device / "device").read_text().strip())
        if ids in (("0x1af4", "0x1004"), ("0x1af4", "0x1048")):
            yield "virtio_scsi"


def _block_modules(sys_root: Path) -> Iterator[str]:
    for device in sorted((sys_root / "class/block").glob("*")):
        module = _module(device / "device/driver/module")
        if module:
            yield module


def _module(link: Path) -> str | None:
    return link.resolve().name if link.exists() else None


def _virtualization(sys_root: Path) -> str:
    if shutil.which("systemd-detect-virt"):
        done = subprocess.run(
            ["systemd-detect-virt"], stdout=subprocess.PIPE, text=True, check=False
        )
        return done.stdout.strip()
    vendor = sys_root / "class/dmi/id/sys_vendor"
    return "qemu" if vendor.exists() and vendor.read_text().strip() == "QEMU" else "none"


def _swap_devices() -> Iterator[str]:
    swaps = Path("/proc/swaps")
    for line in swaps.read_text().splitlines()[1:] if swaps.exists() else []:
        name, kind = line.split()[:2]
        if kind == "partition" and not name.startswith("/dev/zram"):
            yield stable_device(name)


def _entry(point: str, device: str, fs_type: str, options: list[str]) -> str:
    text = f'  fileSystems."{point}" =\n    {{ device = "{device}";\n      fsType = "{fs_type}";\n'
    if options:
        text += f"      options = [{_strings(dict.fromkeys(options))} ];\n"
    return text + "    };\n\n"


def _strings(items: Iterable[str]) -> str:
    return "".join(f' "{item}"' for item in items)


def _lines(items: list[str]) -> str:
    if not items:
        return " [ ]"
    return "\n    [ " + "      ".join(f"{item}\n" for item in items) + "    ]"


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _write(path: Path, text: str) -> None:
    sys.stderr.write(f"writing {path}...\n")
    path.write_text(text)


def _die(message: str) -> NoReturn:
    sys.stderr.write(f"nixos-generate-config: {message}\n")
    raise SystemExit(2)
