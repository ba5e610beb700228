"""What comes with the machine: its firmware, USB and radios, as the running kernel has them."""

from __future__ import annotations

from pathlib import Path

from paranoid_install.mounts import mount_table, visible
from paranoid_install.verify.facts import NotApplicable, Unknown, Usb

_EFI = Path("/sys/firmware/efi")
_VARIABLES = _EFI / "efivars"
_SECURE_BOOT = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
# shim writes it when somebody switched its own checks off (MokManager, mokutil(1)).
_SHIM_UNCHECKED = "MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23"
_USB = Path("/sys/bus/usb")
_RFKILL = Path("/sys/class/rfkill")
_NET = Path("/sys/class/net")


def secure_boot() -> bool | NotApplicable | Unknown:
    """Whether the firmware starts what is signed alone (UEFI specification, 3.3), and shim too."""
    if not _EFI.exists():
        return NotApplicable("this machine was not started by UEFI")
    mount = visible(mount_table()).get(str(_VARIABLES))
    if mount is None or mount.fs_type != "efivarfs":
        return Unknown(f"{_VARIABLES}: the firmware's variables are not mounted")
    return _variable(_SECURE_BOOT) == 1 and _variable(_SHIM_UNCHECKED) != 1


def _variable(name: str) -> int | None:
    file = _VARIABLES / name
    # Four bytes of attributes, then the value.
    return file.read_bytes()[4] if file.exists() else None


def usb() -> Usb | NotApplicable:
    """USB's buses with what the kernel does with a device that comes, and drivers of disks.

    Documentation/usb/authorization.rst: 0 is no device, 2 those that are built in, 1 all.
    """
    if not _USB.exists():
        return NotApplicable("this kernel speaks no USB")
    buses = {
        path.parent.name: path.read_text().strip()
        for path in (_USB / "devices").glob("usb*/authorized_default")
    }
    drivers = frozenset(path.name.replace("-", "_") for path in (_USB / "drivers").iterdir())
    return Usb(buses, drivers)


def radios() -> dict[str, bool]:
    """The machine's radios, and whether each may send (Documentation/driver-api/rfkill.rst)."""
    found = {}
    for path in sorted(_RFKILL.glob("rfkill*")):
        blocked = any((path / kind).read_text().strip() != "0" for kind in ("soft", "hard"))
        name, kind = ((path / part).read_text().strip() for part in ("name", "type"))
        found[f"{name} ({kind})"] = not blocked
    for path in sorted(_NET.glob("*/phy80211")):
        # A kernel without rfkill can block none.
        if not list(path.glob("rfkill*")):
            found[f"{path.parent.name} (wlan)"] = True
    return found
