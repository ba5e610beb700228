"""What this machine is: everything that has to be known of it before a plan can be made.

Reads, and runs programs that only read. Nothing is written.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paranoid_install import disks, keys, outside, record
from paranoid_install.disks import Disk
from paranoid_install.errors import Refusal, RefusedError, SpecError
from paranoid_install.layout import Firmware, Layout, layout
from paranoid_install.past import cut_off
from paranoid_install.runner import Runner
from paranoid_install.selection import DevicePath, ImageFile, Needs, Rule, namesakes, select
from paranoid_install.spec import InstallSpec
from paranoid_install.values import MIB


@dataclass(frozen=True)
class System:
    """A toplevel that may be installed, and what it says of itself in etc/paranoid/layout.json.

    `declared` is None for a system that was not made by the paranoid modules.
    """

    path: str
    keys: tuple[str, ...] = ()
    declared: Mapping[str, Any] | None = None

    @property
    def firmware(self) -> str:
        return str(self.declared["firmware"]) if self.declared else ""

    @property
    def tmpfs_size(self) -> str:
        return str(self.declared["tmpfsSize"]) if self.declared else ""


@dataclass(frozen=True)
class Room:
    """What the closure of the system takes on ext4: bytes of whole blocks, and inodes."""

    bytes: int
    inodes: int


@dataclass(frozen=True)
class Survey:
    """The machine as found.

    `memory` is in bytes, None where the target is another machine. `clock` is in seconds since the
    epoch, `boot_bytes` what the system puts onto /boot; None where it is not known. `unchecked` has
    a sentence for each thing that could not be looked at and is no reason to refuse. `digests` are
    those of what will be copied, by its path.
    """

    disk: Disk
    partitions: tuple[str, ...]
    namesakes: tuple[Refusal, ...]
    layout: Layout
    memory: int | None
    live_keys: tuple[str, ...]
    config_has_keys: bool
    systems: tuple[System, ...]
    system: System | None
    modules: str
    has_impermanence: bool
    root_in_use: bool
    room: Room | None = None
    boot_bytes: int | None = None
    clock: float | None = None
    unchecked: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


def survey(runner: Runner, spec: InstallSpec, journal: str = "") -> Survey:
    """Look at all that the request concerns; `journal` is the text of this boot's runs.

    Raises RefusedError, SpecError, CommandFailed.
    """
    kind = firmware(spec)
    plan = layout(kind)
    needs = needs_of(spec, plan)
    found = disks.scan()
    disk = _find(runner, spec, found, needs, plan, journal)
    if disk.signatures is None:
        disk = _probe(runner, disk, found, plan, journal)
    systems = tuple(_system(path) for path in spec.systems)
    system = _choose(systems, kind)
    room, unchecked = room_of(runner, system.path) if system else (None, ())
    modules = modules_directory()
    return Survey(
        disk=disk,
        partitions=disks.partitions_of(disk, found),
        namesakes=namesakes(disk, _others(runner, disk, found, plan), needs.labels),
        layout=plan,
        memory=None if disk.kind == "image" else disks.memory(),
        live_keys=keys.of_live_root(),
        config_has_keys=bool(spec.config) and keys.in_directory(spec.config),
        systems=systems,
        system=system,
        room=room,
        modules=str(modules),
        has_impermanence=(modules / "impermanence").is_dir(),
        root_in_use=_in_use(spec.root),
        boot_bytes=_boot_bytes(system.path) if system else None,
        clock=time.time(),
        unchecked=unchecked,
        digests=_digests(spec, str(modules)),
    )


POLICY = str(Path(__file__).with_name("policy"))


def _digests(spec: InstallSpec, modules: str) -> dict[str, str]:
    copied = [spec.root_password_hash_file]
    if not spec.flake:
        copied += [spec.config] if spec.config else [modules, POLICY]
    try:
        return {path: outside.digest(path) for path in copied if path}
    except OSError as error:
        subject = str(error.filename or "what is to be copied")
        raise SpecError(subject, f"cannot be read ({error.strerror})", "check it") from error


def needs_of(spec: InstallSpec, plan: Layout) -> Needs:
    """What the layout asks of a disk."""
    labels = tuple(p.label for p in plan.partitions)
    return Needs(plan.minimum, plan.maximum, spec.wipe, labels)


def modules_directory() -> Path:
    """Where the NixOS modules that come with the installer are.

    In order: $PARANOID_MODULES, beside the installed package, the checkout's nix/.
    Raises SpecError where there are none.
    """
    import os  # noqa: PLC0415

    package = Path(__file__).resolve().parent
    named = os.environ.get("PARANOID_MODULES")
    places = [Path(named)] if named else [package / "nix", package.parents[1] / "nix"]
    for place in places:
        if (place / "default.nix").is_file():
            return place
    problem = "the NixOS modules are not there"
    raise SpecError(str(places[0]), problem, "set PARANOID_MODULES to the directory nix/")


def firmware(spec: InstallSpec) -> Firmware:
    """The kind of firmware that the request means: said, or what started this machine."""
    match spec.firmware:
        case "bios":
            return "bios"
        case "uefi":
            return "uefi"
        case "auto":
            return "uefi" if disks.firmware_is_uefi() else "bios"


def _probe(
    runner: Runner, disk: Disk, found: tuple[Disk, ...], plan: Layout, journal: str = ""
) -> Disk:
    """The disk with what it holds, when it was installed by us before, and if not to the end."""
    probed = disks.probe(runner, disk, disks.partitions_of(disk, found))
    device = nix_partition(probed, plan)
    kept = ""
    if device is not None:
        installed = record.read_from(runner, device, on_nix(plan, record.NAME))
        if installed:
            return replace(probed, installed=installed)
        kept = record.text_on(runner, device, on_nix(plan, record.JOURNAL))
    if not (journal or kept) or not _may_be_ours(probed, plan):
        return probed
    table = disks.table_id(runner, probed.path)
    ours = cut_off(journal, table, this_boot=True) or cut_off(kept, table, this_boot=False)
    return replace(probed, left_over=ours)


def _may_be_ours(disk: Disk, plan: Layout) -> bool:
    """Whether the disk holds a table and nothing else but file systems of the layout."""
    tables = {("dos", ""), ("gpt", ""), ("PMBR", "")}
    made = {(p.fs_type, p.label) for p in plan.partitions}
    return bool(disk.signatures) and {(s.type, s.label) for s in disk.signatures or ()} <= (
        tables | made
    )


def nix_partition(disk: Disk, plan: Layout) -> str | None:
    """The partition of a disk that looks like our /nix; None where there is none."""
    for signature in disk.signatures or ():
        if (signature.type, signature.label) == (plan.nix.fs_type, plan.nix.label):
            device = f"/dev/{signature.device}"
            return device if device != disk.path else None
    return None


def on_nix(plan: Layout, name: str) -> str:
    """Where a file of the record's directory is, seen from the root of /nix's own file system."""
    return f"{plan.record.removeprefix(plan.nix.mount_point)}/{name}"


def _find(
    runner: Runner,
    spec: InstallSpec,
    found: tuple[Disk, ...],
    needs: Needs,
    plan: Layout,
    journal: str,
) -> Disk:
    match spec.disk:
        case ImageFile(path):
            return disks.image(path, spec.image_size.bytes if spec.image_size else 0)
        case DevicePath(path):
            return _named(path, found)
        case Rule() as rule:
            whole = (d for d in found if d.kind == "disk")
            return select(
                rule,
                tuple(_probe(runner, d, found, plan, journal) for d in whole),
                needs,
            )


def _named(path: str, found: tuple[Disk, ...]) -> Disk:
    try:
        node = disks.resolve(path)
    except OSError as error:
        known = ", ".join(d.path for d in found if d.kind == "disk") or "none at all"
        problem = f"there is no such disk ({error.strerror or error})"
        raise RefusedError(
            path, (Refusal("unknown", problem, f"this machine has {known}"),)
        ) from error
    for disk in found:
        if disk.path == node:
            return disk
    problem = f"{node} has no size: no medium, or not a disk"
    raise RefusedError(path, (Refusal("no-medium", problem, "name another disk"),))


def _others(runner: Runner, disk: Disk, found: tuple[Disk, ...], plan: Layout) -> tuple[Disk, ...]:
    """All other disks with their signatures, as far as they can be read."""
    if disk.kind == "image":
        # An image is seen by the machine that it is taken to.
        return ()
    whole = (d for d in found if d.kind == "disk" and d.path != disk.path)
    return tuple(_probe(runner, d, found, plan) for d in whole)


def _system(path: str) -> System:
    file = Path(path) / "etc/paranoid/layout.json"
    if not file.exists():
        return System(path, keys.of_system(path))
    try:
        declared = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(str(file), f"cannot be read ({error})", "build the system again") from error
    known = isinstance(declared, dict) and declared.get("version") == 1
    if not known or not {"firmware", "tmpfsSize", "labels"} <= set(declared):
        problem = "is not the description of a layout that this installer knows"
        raise SpecError(str(file), problem, "build the system with modules of the same release")
    return System(path, keys.of_system(path), declared)


def room_of(runner: Runner, toplevel: str) -> tuple[Room | None, tuple[str, ...]]:
    """The room for a closure, and what could not be checked where the store cannot tell it.

    That is no refusal: nixos-install may know the store by other ways. Raises RefusedError for a
    store that tells nonsense or cannot be read: its copy would fail as well, after the wipe.
    """
    from paranoid_install.store import StoreError, room  # noqa: PLC0415
    from paranoid_install.store.closure import Unavailable  # noqa: PLC0415

    try:
        size = room.size(runner, toplevel)
    except Unavailable as error:
        return None, (f"whether the disk has room for the system was not checked ({error})",)
    except StoreError as error:
        raise _damaged(error.subject, error.problem, error.remedy) from error
    except OSError as error:
        raise _damaged(str(error.filename or toplevel), error.strerror or str(error)) from error
    return Room(size.bytes, size.inodes), ()


def _damaged(subject: str, problem: str, remedy: str = "") -> RefusedError:
    remedy = remedy or "see what is wrong with it: nix-store --verify --check-contents"
    return RefusedError(subject, (Refusal("store", problem, remedy),))


def _boot_bytes(toplevel: str) -> int | None:
    """The bytes of kernel and initrd, which are copied onto /boot; None where it has neither."""
    files = [Path(toplevel, name) for name in ("kernel", "initrd")]
    return sum(file.stat().st_size for file in files if file.exists()) or None


def _choose(systems: tuple[System, ...], firmware: Firmware) -> System | None:
    """The system made for this firmware; one that does not say is taken as it is."""
    if not systems:
        return None
    fitting = [s for s in systems if s.firmware in ("", firmware)]
    if len(fitting) == 1:
        return fitting[0]
    paths = ", ".join(s.path for s in systems)
    if fitting:
        raise SpecError(
            "--system", f"{len(fitting)} of {paths} fit {firmware} firmware", "give one"
        )
    kinds = " and ".join(sorted({s.firmware for s in systems}))
    problem = f"{paths} is made for {kinds} firmware, and this install is for {firmware}"
    raise RefusedError(
        "--system", (Refusal("firmware", problem, "give a system made for it, or --firmware"),)
    )


def _in_use(root: str) -> bool:
    from paranoid_install.mounts import mount_table  # noqa: PLC0415

    path = Path(root)
    mounted = any(
        m.mount_point == root or m.mount_point.startswith(root + "/") for m in mount_table()
    )
    return mounted or (path.is_dir() and any(path.iterdir()))


def as_it_is(runner: Runner, disk: Disk) -> Disk:
    """The same disk as it is now, looked at again. Raises RefusedError when it is gone."""
    if disk.kind == "image":
        return disks.probe(runner, disks.image(disk.path, disk.size))
    found = disks.scan()
    now = _named(disk.path, found)
    return disks.probe(runner, now, disks.partitions_of(now, found))


MINIMUM_ROOT = 64 * MIB
"""Bytes below which a volatile root cannot hold /etc, /run's links and a login."""
