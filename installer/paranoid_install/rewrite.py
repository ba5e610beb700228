"""`paranoid-install patch`: the same patch as the install's, on a file of an installed machine."""

from __future__ import annotations

from pathlib import Path

from paranoid_install import hardware
from paranoid_install.actions import write
from paranoid_install.errors import SpecError
from paranoid_install.layout import Layout, layout
from paranoid_install.spec import default_tmpfs_size
from paranoid_install.values import MemorySize


def wanted(plan: Layout, tmpfs_size: str) -> hardware.Patch:
    """What hardware-configuration.nix must say for a layout and a size of the volatile root."""
    return hardware.Patch(
        root_options=(f"size={tmpfs_size}", f"mode={plan.root_mode}", *plan.root_options),
        owned=frozenset(bind.target for bind in plan.binds),
        labels=tuple((p.mount_point, p.label) for p in plan.partitions),
    )


def patch_file(file: Path, tmpfs_size: str) -> bool:
    """Patch the file in place; whether it changed. Raises SpecError and HardwareError.

    Labels and persisted directories are the same for both kinds of firmware.
    """
    try:
        size = MemorySize.parse(tmpfs_size) if tmpfs_size else default_tmpfs_size()
    except ValueError as error:
        raise SpecError("--tmpfs-size", str(error)) from error
    try:
        text = hardware.read(file)
    except OSError as error:
        raise SpecError(str(file), f"cannot be read ({error.strerror})", "check it") from error
    new = hardware.patch(text, wanted(layout("bios"), str(size)))
    if new != text:
        write(file, new, 0o644)
    return new != text
