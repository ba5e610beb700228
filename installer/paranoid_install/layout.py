"""The disk and mount layout, made of the policy for one disk and one kind of firmware. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from paranoid_install import policy
from paranoid_install.values import MIB

Firmware = Literal["bios", "uefi"]

MSDOS_LIMIT = 2 * 1024**4
"""Bytes that an msdos partition table can address with sectors of 512 bytes."""

LOOP = "@LOOP@"
"""Stands for the loop device of an image file until it is attached."""


SYSTEM = "@SYSTEM@"
"""Stands for the toplevel that the plan builds, until it is built."""


@dataclass(frozen=True)
class Partition:
    """One partition. `end_mib` None reaches to the end of the disk; `options` are its mount's."""

    number: int
    label: str
    fs_type: str
    mount_point: str
    start_mib: int
    end_mib: int | None
    flags: tuple[str, ...]
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bind:
    """A directory of the persist root, seen at `target`; both are paths on the target."""

    source: str
    target: str
    mode: int


@dataclass(frozen=True)
class HostKey:
    """An ssh host key, by ssh-keygen(1)'s type; `path` is on the target."""

    type: str
    bits: int | None
    path: str


@dataclass(frozen=True)
class Layout:
    """All that is written on the disk and mounted from it."""

    firmware: Firmware
    table: Literal["msdos", "gpt"]
    boot: Partition
    nix: Partition
    root_options: tuple[str, ...]
    root_mode: str
    persist: str
    binds: tuple[Bind, ...]
    host_keys: tuple[HostKey, ...]
    machine_id: str
    authorized_keys: str
    passwords: str
    record: str
    minimum: int

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return (self.boot, self.nix)

    @property
    def maximum(self) -> int | None:
        """Bytes of the largest disk that the partition table covers; None: any."""
        return MSDOS_LIMIT if self.table == "msdos" else None


def layout(firmware: Firmware) -> Layout:
    """The policy's layout for a kind of firmware."""
    data = policy.load("layout")
    boot, nix, persist = data["boot"], data["nix"], data["persist"]
    kind: dict[str, Any] = boot[firmware]
    root = persist["root"]
    return Layout(
        firmware=firmware,
        table=kind["table"],
        boot=Partition(
            number=1,
            label=boot["label"],
            fs_type=kind["fsType"],
            mount_point=boot["mountPoint"],
            start_mib=boot["startMiB"],
            end_mib=kind["endMiB"],
            flags=("boot",) if kind["table"] == "msdos" else ("esp",),
            options=tuple(kind["options"]),
        ),
        nix=Partition(
            number=2,
            label=nix["label"],
            fs_type=nix["fsType"],
            mount_point=nix["mountPoint"],
            start_mib=kind["endMiB"],
            end_mib=None,
            flags=(),
        ),
        root_options=tuple(data["root"]["options"]),
        root_mode=data["root"]["mode"],
        persist=root,
        binds=tuple(
            Bind(root + entry["path"], entry["path"], int(entry["mode"], 8))
            for entry in persist["directories"]
        ),
        host_keys=tuple(
            HostKey(key["type"], key.get("bits"), key["path"]) for key in data["hostKeys"]
        ),
        machine_id=root + "/etc/machine-id",
        authorized_keys=persist["authorizedKeys"],
        passwords=persist["passwords"],
        record=persist["record"],
        # One MiB at the end of the disk holds GPT's second table.
        minimum=(kind["endMiB"] + nix["minimumMiB"] + 1) * MIB,
    )


def partition_path(disk: str, number: int) -> str:
    """The kernel's name of a partition: `p` parts the number from a name that ends in a digit.

    Source: disk_name() in the kernel's block/partitions/core.c. A loop device not yet
    attached (LOOP) will end in a digit.
    """
    separator = "p" if disk[-1:].isdigit() or disk == LOOP else ""
    return f"{disk}{separator}{number}"


def parted_command(disk: str, plan: Layout) -> tuple[str, ...]:
    """One invocation of parted(8) that writes the whole table.

    Each further invocation makes udev remove and add every partition again. MiB throughout:
    parted's `512M` is decimal and leaves a gap.
    """
    words = ["parted", "--script", "--align", "optimal", disk, "unit", "MiB", "mklabel", plan.table]
    for partition in plan.partitions:
        # msdos has no partition names; there the word is the partition's type.
        name = "primary" if plan.table == "msdos" else partition.label
        kind = "fat32" if partition.fs_type == "vfat" else partition.fs_type
        end = "100%" if partition.end_mib is None else f"{partition.end_mib}MiB"
        words += ["mkpart", name, kind, f"{partition.start_mib}MiB", end]
    for partition in plan.partitions:
        for flag in partition.flags:
            words += ["set", str(partition.number), flag, "on"]
    return tuple(words)


def mkfs_command(disk: str, partition: Partition) -> tuple[str, ...]:
    """The command that makes a partition's file system with its label."""
    device = partition_path(disk, partition.number)
    match partition.fs_type:
        case "vfat":
            return ("mkfs.vfat", "-F", "32", "-n", partition.label, device)
        case "ext4":
            # Nothing is read that was not written: discard would only take time, on a thin
            # volume or a SAN minutes.
            words = ("mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-L", partition.label)
            return (*words, device)
        case other:
            raise ValueError(f"policy layout.toml: no mkfs is known for {other!r}")


def clear_commands(root: str, plan: Layout) -> tuple[tuple[str, ...], ...]:
    """What takes away all that an earlier run left on the disk, but for the paths of its store.

    Each of those is checked by its hash before it counts; anything else may be from anybody. New
    file systems hold nothing. In the store what begins with a dot is no path: Nix's links to files
    of the same content, and what a copy had not finished.
    """
    boot, nix = (root + partition.mount_point for partition in plan.partitions)
    away = ("-exec", "rm", "--recursive", "--force", "{}", "+")
    top = ("-mindepth", "1", "-maxdepth", "1", "!", "-name", "lost+found")
    store = ("!", "(", "-name", "store", "-type", "d", ")")
    inside = ("-mindepth", "2", "-maxdepth", "2", "-path", "*/store/*", "-name", ".*")
    return (
        ("find", boot, *top, *away),
        ("find", nix, *top, *store, *away),
        ("find", nix, *inside, *away),
    )
