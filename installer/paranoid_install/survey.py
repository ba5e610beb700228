"""What this machine is: everything that has to be known of it before a plan can be made.

Reads, and runs programs that only read. Nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from paranoid_install import arrival, configured, contents, disks, keys, outside, record
from paranoid_install.ahead import will_fail
from paranoid_install.configured import Configured
from paranoid_install.disks import Disk
from paranoid_install.errors import Refusal, RefusedError, SpecError
from paranoid_install.layout import Firmware, Layout, layout
from paranoid_install.past import cut_off
from paranoid_install.runner import Runner
from paranoid_install.selection import DevicePath, ImageFile, Needs, Rule, namesakes, select
from paranoid_install.spec import InstallSpec
from paranoid_install.systems import Room, System, boot_bytes, choose, room_of, system_at
from paranoid_install.values import MIB

_PASSING = ("partition", "loop", "memory disk", "compressed memory")
"""Devices that the installed machine will not see; partitions are looked at with their disk."""


@dataclass(frozen=True)
class Survey:
    """The machine as found.

    `memory` is in bytes, None where the target is another machine. `clock` is in seconds since the
    epoch, `boot_bytes` what the system puts onto /boot; None where it is not known. `live_keys`
    open a shell of this machine's root, `live_left` says of each other line why not. `configured`
    is what the configuration or flake given lets in; None where neither is. `unchecked` has a
    sentence for each thing that could not be looked at and is no reason to refuse. `digests` are
    those of what will be copied, by its path.
    """

    disk: Disk
    partitions: tuple[str, ...]
    namesakes: tuple[Refusal, ...]
    layout: Layout
    memory: int | None
    live_keys: tuple[str, ...]
    systems: tuple[System, ...]
    system: System | None
    modules: str
    has_impermanence: bool
    root_in_use: bool
    room: Room | None = None
    boot_bytes: int | None = None
    clock: float | None = None
    unchecked: tuple[str, ...] = ()
    will_fail: tuple[Refusal, ...] = ()
    live_left: tuple[str, ...] = ()
    configured: Configured | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


def survey(
    runner: Runner,
    spec: InstallSpec,
    journal: str = "",
    tell: Callable[[str], None] = lambda _text: None,
) -> Survey:
    """Look at all that the request concerns; `journal` is the text of this boot's runs.

    `tell` is told where a disk has to be waited for.

    Raises RefusedError, SpecError, CommandFailed.
    """
    kind = firmware(spec)
    plan = layout(kind)
    needs = needs_of(spec, plan)

    def look() -> tuple[tuple[Disk, ...], Disk]:
        found = disks.scan()
        return found, _find(runner, spec, found, needs, plan, journal)

    any_of_them = isinstance(spec.disk, Rule) and not spec.disk.names_one
    found, disk = arrival.wait_for(
        look,
        lambda: disks.arrivals(runner),
        arrival.Patience(spec.wait_for_disk, tell, one_of_many=any_of_them),
    )
    if disk.signatures is None:
        disk = _probe(runner, disk, found, plan, journal)
    systems = tuple(system_at(path) for path in spec.systems)
    system = choose(systems, kind)
    room, unchecked = room_of(runner, system.path) if system else (None, ())
    others, unread = _others(runner, disk, found)
    modules = modules_directory()
    live = keys.of_live_root()
    return Survey(
        disk=disk,
        partitions=disks.partitions_of(disk, found),
        namesakes=namesakes(disk, others, needs.labels),
        layout=plan,
        memory=None if disk.kind == "image" else disks.memory(),
        live_keys=live.keys,
        live_left=live.left,
        systems=systems,
        system=system,
        room=room,
        modules=str(modules),
        has_impermanence=(modules / "impermanence").is_dir(),
        root_in_use=_in_use(spec.root),
        boot_bytes=boot_bytes(system.path) if system else None,
        clock=time.time(),
        unchecked=unchecked + unread,
        will_fail=will_fail(runner, plan, built_here=system is None and not spec.flake),
        configured=_configured(runner, spec, modules),
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
    # BIOS reads a disk in sectors of 512 bytes (INT 13h), and GRUB through it.
    sectors = (512,) if plan.firmware == "bios" else (512, 4096)
    return Needs(plan.minimum, plan.maximum, spec.wipe, labels, sectors)


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
    probed = contents.probe(runner, disk, disks.partitions_of(disk, found))
    device = nix_partition(probed, plan)
    if device is not None:
        installed = record.read_from(runner, device, on_nix(plan, record.NAME))
        if installed:
            return replace(probed, installed=installed)
    return replace(probed, left_over=_is_left_over(runner, probed, plan, journal))


def _is_left_over(runner: Runner, disk: Disk, plan: Layout, journal: str) -> bool:
    """Whether all that the disk holds was written by runs of this boot that were cut off.

    A later boot knows nothing of what was done in between, so its journal alone is believed; and
    a file system that was mounted more often than by these runs may hold somebody's data.
    """
    if not journal or not _may_be_ours(disk, plan):
        return False
    mounts = [contents.mounts(disk.path, p.start_mib * MIB) for p in plan.partitions]
    known = [count for count in mounts if count is not None]
    if len(known) < len(mounts):
        return False
    return cut_off(journal, contents.table_id(runner, disk.path), max(known))


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


def _others(
    runner: Runner, disk: Disk, found: tuple[Disk, ...]
) -> tuple[tuple[Disk, ...], tuple[str, ...]]:
    """Every block device that is not the target's own, and what of them could not be read.

    Logical volumes, arrays and mappings too: udev gives labels of theirs the same links. They are
    the target's own when all that they stand on is. What ends with the live system is no matter.
    """
    if disk.kind == "image":
        # An image is seen by the machine that it is taken to.
        return (), ()
    own = disks.stacked_on(disk, found)
    seen = tuple(
        contents.signatures(runner, d, disks.partitions_of(d, found))
        for d in found
        if d.kind not in _PASSING and d.path not in own
    )
    unread = tuple(
        f"whether {d.path} carries a label of this layout was not checked ({d.unreadable})"
        for d in seen
        if d.unreadable
    )
    return seen, unread


def _configured(runner: Runner, spec: InstallSpec, modules: Path) -> Configured | None:
    """What the configuration to be built lets in, where that is what is installed."""
    if spec.systems or spec.skip_login_check:
        return None
    if spec.config:
        return configured.of_directory(runner, modules, spec.config)
    return configured.of_flake(runner, modules, spec.flake) if spec.flake else None


def _in_use(root: str) -> bool:
    from paranoid_install.mounts import mount_table  # noqa: PLC0415

    path = Path(root)
    mounted = any(
        m.mount_point == root or m.mount_point.startswith(root + "/") for m in mount_table()
    )
    return mounted or (path.is_dir() and any(path.iterdir()))


def as_it_is(runner: Runner, disk: Disk, *, claimed: bool) -> Disk:
    """The same disk as it is now, looked at again. Raises RefusedError when it is gone.

    `claimed` says that this run itself holds it exclusively.
    """
    if disk.kind == "image":
        return contents.probe(runner, disks.image(disk.path, disk.size))
    found = disks.scan()
    now = _named(disk.path, found)
    return contents.probe(runner, now, disks.partitions_of(now, found), claimed=claimed)


MINIMUM_ROOT = 64 * MIB
"""Bytes below which a volatile root cannot hold /etc, /run's links and a login."""
