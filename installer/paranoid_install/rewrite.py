"""`paranoid-install patch`: the same patch as the install's, on a file of an installed machine."""

from __future__ import annotations

from pathlib import Path

from paranoid_install import hardware
from paranoid_install.actions import write
from paranoid_install.errors import SpecError
from paranoid_install.layout import Layout, layout
from paranoid_install.spec import default_tmpfs_size
from paranoid_install.values import MemorySize


def wanted(plan: Layout, tmpfs_size: str, *, copied: bool = False) -> hardware.Patch:
    """What hardware-configuration.nix must say for a layout and a size of the volatile root.

    `copied`: it is for a disk of which copies are made, whose labels alone all have.
    """
    return hardware.Patch(
        root_options=(f"size={tmpfs_size}", f"mode={plan.root_mode}", *plan.root_options),
        owned=tuple((bind.target, bind.source) for bind in plan.binds),
        labels=tuple((p.mount_point, p.label) for p in plan.partitions),
        devices=tuple(
            (p.mount_point, hardware.by_label(p.label)) for p in plan.partitions if copied
        ),
    )


def patch_file(file: Path, tmpfs_size: str) -> Path | None:
    """Patch the file; the path under which the old one is kept, None where it was as it should be.

    The new one is written beside it and takes its place in one move. Labels and persisted
    directories are the same for both kinds of firmware. Raises SpecError and HardwareError, and
    then nothing has changed.
    """
    try:
        size = MemorySize.parse(tmpfs_size) if tmpfs_size else default_tmpfs_size()
    except ValueError as error:
        raise SpecError("--tmpfs-size", str(error)) from error
    try:
        # A link stays one: what it leads to is replaced.
        real = file.resolve(strict=True)
        text = hardware.read(real)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "a circle of links"
        raise SpecError(str(file), f"cannot be read ({reason})", "check it") from error
    new = hardware.patch(text, wanted(layout("bios"), str(size)))
    if new == text:
        return None
    try:
        kept = _keep(real)
        write(real, new, real.stat().st_mode & 0o777)
    except OSError as error:
        problem = f"cannot be written ({error.strerror})"
        raise SpecError(str(file), problem, "it is as it was; mend that and try again") from error
    return kept


def _keep(file: Path) -> Path:
    """Give the file a second name, the first that is free, and return it. Raises OSError."""
    number = 0
    while True:
        kept = file.with_name(f"{file.name}.old{f'.{number}' if number else ''}")
        try:
            kept.hardlink_to(file)
        except FileExistsError:
            number += 1
        else:
            return kept
