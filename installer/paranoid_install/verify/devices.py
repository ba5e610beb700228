"""What the running kernel says of block devices and network interfaces."""

from __future__ import annotations

from pathlib import Path

from paranoid_install import policy
from paranoid_install.mounts import mount_table, swap_devices, visible
from paranoid_install.verify.facts import Unknown

_LAYOUT = policy.load("layout")
_UP = 0x1
"""IFF_UP, linux/if.h."""


def swaps() -> dict[str, str]:
    """What is swapped to, and whether it is `zram`, `encrypted` or `plain`."""
    return {path: _swap_kind(path) for path in swap_devices()}


def _swap_kind(path: str) -> str:
    name = Path(path).resolve().name
    if name.startswith("zram"):
        return "zram"
    return "encrypted" if is_encrypted(Path("/sys/class/block") / name) else "plain"


def encryption() -> tuple[str, bool] | Unknown:
    """The device that the persist root is on, and whether it lies on an encrypted one."""
    mounted = visible(mount_table())
    entry = mounted.get(_LAYOUT["persist"]["root"]) or mounted.get(_LAYOUT["nix"]["mountPoint"])
    if entry is None:
        return Unknown(f"{_LAYOUT['persist']['root']}: nothing is mounted there")
    device = Path("/sys/dev/block") / entry.device_number
    if not device.exists():
        # ZFS, and file systems of several disks, have a number of their own.
        return Unknown(f"{entry.source}: not one block device")
    return entry.source, is_encrypted(device.resolve())


def is_encrypted(device: Path) -> bool:
    """Whether a block device, by its directory in /sys, is dm-crypt's or lies on such alone.

    A volume on two disks is as open as the more open of the two.
    """
    uuid = device / "dm/uuid"
    if uuid.exists() and uuid.read_text().startswith("CRYPT-"):
        return True
    slaves = device / "slaves"
    below = sorted(slaves.iterdir()) if slaves.exists() else []
    return bool(below) and all(is_encrypted(path.resolve()) for path in below)


def interfaces() -> dict[str, bool]:
    """The network interfaces, and whether each is up."""
    return {
        path.parent.name: bool(int(path.read_text(), 16) & _UP)
        for path in Path("/sys/class/net").glob("*/flags")
    }
