"""The steps up to the new file systems: look, let go of what is there, partition, format. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from paranoid_install import layout as layouts
from paranoid_install.actions import (
    Action,
    AttachLoop,
    CheckDisk,
    CheckFileSystem,
    ClaimDisk,
    CreateImage,
    LetGo,
    NoteTable,
    Run,
    SameDisk,
    ScanPartitions,
    ShareDisk,
    WaitForNodes,
)
from paranoid_install.layout import LOOP, partition_path
from paranoid_install.spec import InstallSpec
from paranoid_install.survey import Survey, needs_of


def device(found: Survey) -> str:
    """What is partitioned: the disk, or the loop device of an image."""
    return LOOP if found.disk.kind == "image" else found.disk.path


def guard_title(found: Survey) -> str:
    """What the step before the first write is for."""
    if found.disk.stack:
        return "See that the disk is fit and the one chosen, and let go of what stands on it"
    return "See that the disk is free, fit and the one chosen"


def guard(spec: InstallSpec, found: Survey) -> tuple[Action, ...]:
    """Look once more; then what stands on the disk goes, the top first, and it is claimed."""
    disk = found.disk
    look = (SameDisk(disk.path), CheckDisk(disk, needs_of(spec, found.layout)))
    if not disk.stack:
        return look
    return (*look, *(LetGo(disk.path, holder) for holder in disk.stack), ClaimDisk(disk.path))


def partition(found: Survey) -> tuple[Action, ...]:
    """Take away every old signature, write the table, wait for the partitions."""
    return tuple(_partition(found))


def _partition(found: Survey) -> Iterator[Action]:
    disk, layout, target = found.disk, found.layout, device(found)
    if disk.kind == "image":
        yield CreateImage(disk.path, disk.size)
        yield AttachLoop(disk.path)
        yield ScanPartitions()
    yield SameDisk(target)
    if disk.signatures:
        # Partitions first: their signatures would show through the new table.
        yield Run(("wipefs", "--all", "--force", *found.partitions, target))
    yield Run(layouts.parted_command(target, layout))
    yield NoteTable(target)
    nodes = tuple(partition_path(target, p.number) for p in layout.partitions)
    yield WaitForNodes(nodes)
    for node in nodes:
        # What lay at its ends before would be found beside the new file system. While the
        # disk is claimed nobody can assemble it.
        yield Run(("wipefs", "--all", "--force", node))
    yield ShareDisk(target)


def make_file_systems(found: Survey) -> tuple[Action, ...]:
    """Make each file system, and see that it alone is there."""
    target = device(found)
    return tuple(
        action
        for part in found.layout.partitions
        for action in (
            SameDisk(target),
            Run(layouts.mkfs_command(target, part), seconds=None),
            CheckFileSystem(partition_path(target, part.number), part.fs_type, part.label),
        )
    )
