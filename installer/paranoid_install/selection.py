"""Which disk is meant, and why a disk is refused. Pure: no program runs, nothing is read."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.disks import Disk
from paranoid_install.errors import Refusal, RefusedError
from paranoid_install.values import Size, human


@dataclass(frozen=True)
class DevicePath:
    """A device node or a stable link to one."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class ImageFile:
    """A disk-image file, attached as a loop device."""

    path: str

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True)
class Rule:
    """`auto`, `serial=…`, `wwn=…` or `size>=…`: exactly one disk must fit."""

    key: str
    value: str = ""

    def __str__(self) -> str:
        return self.key + self.value

    @property
    def names_one(self) -> bool:
        """Whether it names a disk, or means whichever fits."""
        return self.key in ("serial=", "wwn=")


Selector = DevicePath | ImageFile | Rule


@dataclass(frozen=True)
class Needs:
    """What the layout asks of a disk, in bytes; `wipe` is the token that the operator gave,
    `sectors` are the sizes of a logical sector that the firmware boots from."""

    minimum: int
    maximum: int | None = None
    wipe: str = ""
    labels: tuple[str, ...] = ()
    sectors: tuple[int, ...] = (512, 4096)


def parse_selector(text: str) -> Selector:
    """Read the value of `--disk`. Raises ValueError with a hint."""
    if not text or not text.isprintable():
        raise ValueError(
            f"{text!r} names no disk; give a device, an image file, or a rule like auto"
        )
    if text == "auto":
        return Rule("auto")
    for key in ("serial=", "wwn="):
        if text.startswith(key):
            if len(text) == len(key):
                raise ValueError(f"{text!r} has no value after the equals sign")
            return Rule(key, text.removeprefix(key))
    if text.startswith("size>="):
        Size.parse(text.removeprefix("size>="))
        return Rule("size>=", text.removeprefix("size>="))
    if text.startswith("/dev/"):
        return DevicePath(text)
    if "/" in text or Path(text).suffix:
        return ImageFile(str(Path(text).absolute()))
    raise ValueError(
        f"{text!r} is neither a device, a file nor a rule; "
        f"did you mean /dev/{text}, or auto, serial=…, wwn=…, size>=20G?"
    )


def refusals(disk: Disk, needs: Needs) -> tuple[Refusal, ...]:
    """Every reason why nothing may be written to this disk, the gravest first."""
    checks: tuple[Callable[[Disk, Needs], Refusal | None], ...] = (
        _not_a_disk,
        _live,
        _mounted,
        _swap,
        _held,
        _read_only,
        _too_small,
        _too_large,
        _sector,
        _zoned,
        _unreadable,
        _not_blank,
    )
    return tuple(reason for check in checks if (reason := check(disk, needs)) is not None)


def select(rule: Rule, disks: Iterable[Disk], needs: Needs) -> Disk:
    """The one disk that a rule means.

    `auto` and `size>=` mean the only disk that fits and is not refused; `serial=` and `wwn=` name a
    disk, refused or not: whoever names one must hear why it is refused. Raises RefusedError with
    every candidate and why it was left out when none or several fit.
    """
    considered = [d for d in disks if d.kind == "disk"]
    named = rule.names_one
    reasons = {d.path: _reasons(rule, d, needs, named=named) for d in considered}
    chosen = [d for d in considered if not reasons[d.path]]
    if len(chosen) == 1:
        return chosen[0]
    candidates = tuple((_describe(d), reasons[d.path]) for d in considered)
    code = "ambiguous"
    if not chosen:
        code, problem = "no-disk", "no disk fits"
        remedy = "see why each was left out, or name one with --disk"
    elif named:
        names = " and ".join(d.path for d in chosen)
        problem = f"{names} both answer to it"
        remedy = "name the one you mean by its stable link under /dev/disk/by-path"
    else:
        problem = f"{len(chosen)} disks fit: {', '.join(_describe(d) for d in chosen)}"
        remedy = "name the one you mean, by serial=… or by a stable link"
    raise RefusedError(f"--disk {rule}", (Refusal(code, problem, remedy),), candidates)


def namesakes(disk: Disk, disks: Iterable[Disk], labels: tuple[str, ...]) -> tuple[Refusal, ...]:
    """Other devices whose file system carries a label that the target will be found by.

    The installed system would mount whichever appears first.
    """
    clashes = (
        (other.path, signature.label)
        for other in disks
        if other.path != disk.path
        for signature in other.signatures or ()
        if signature.label in labels
    )
    return tuple(
        Refusal(
            "label-taken",
            f"{path} already carries the label {label!r}, by which the new system finds its disk",
            "detach that disk, or give its file system another label",
        )
        for path, label in clashes
    )


def _reasons(rule: Rule, disk: Disk, needs: Needs, *, named: bool) -> tuple[Refusal, ...]:
    match rule.key:
        case "serial=" if rule.value not in {disk.serial, disk.label_serial} - {""}:
            known = " or ".join(s for s in (disk.serial, disk.label_serial) if s)
            return (Refusal("other", f"its serial is {known or 'unknown'}"),)
        case "wwn=" if disk.wwn.lower() != rule.value.lower():
            return (Refusal("other", f"its WWN is {disk.wwn or 'unknown'}"),)
        case "size>=" if disk.size < Size.parse(rule.value).bytes:
            return (Refusal("other", f"it has {human(disk.size)}"),)
    if named:
        return ()
    removable = _removable(disk)
    return (*refusals(disk, needs), *((removable,) if removable else ()))


def _describe(disk: Disk) -> str:
    known = [disk.model, disk.serial and f"serial {disk.serial}", human(disk.size)]
    return f"{disk.path} ({', '.join(part for part in known if part)})"


def _not_a_disk(disk: Disk, _needs: Needs) -> Refusal | None:
    # A loop device is taken when it is named: it is how an image already attached is installed to.
    if disk.kind in ("disk", "image", "loop"):
        return None
    article = "an" if disk.kind[0] in "aeio" else "a"
    return Refusal(
        "not-a-disk", f"is {article} {disk.kind}, not a whole disk", "name the disk as a whole"
    )


def _live(disk: Disk, _needs: Needs) -> Refusal | None:
    return Refusal("live", disk.live, "name another disk") if disk.live else None


def _mounted(disk: Disk, _needs: Needs) -> Refusal | None:
    if not disk.mounted:
        return None
    places = ", ".join(disk.mounted)
    return Refusal("mounted", f"mounted at {places}", "unmount it or name another disk")


def _swap(disk: Disk, _needs: Needs) -> Refusal | None:
    if not disk.swap:
        return None
    names = ", ".join(disk.swap)
    return Refusal(
        "swap", f"{names} is used as swap", "switch it off with swapoff, or name another"
    )


def _held(disk: Disk, needs: Needs) -> Refusal | None:
    """Whoever names a disk to be wiped means what stands on it too, and nothing of another disk."""
    if not disk.holders:
        return None
    if not disk.stack:
        remedy = "stop what uses it, a loop device, a pool or a volume, or name another disk"
        return Refusal("held", f"in use by {', '.join(disk.holders)}", remedy)
    in_the_way = any(holder.obstacles for holder in disk.stack)
    if _is_named(disk, needs) and not in_the_way:
        return None
    commands = "; ".join(shlex.join(h.command) for h in disk.stack if h.command)
    remedy = f"let go of it ({commands}), or name another disk"
    if in_the_way:
        remedy = f"see to that first, then {remedy}"
    else:
        remedy = f"{remedy}, or say --wipe {disk.token} to let go of it and erase all of it"
    return Refusal("held", f"in use by {'; '.join(h.words for h in disk.stack)}", remedy)


def _is_named(disk: Disk, needs: Needs) -> bool:
    return needs.wipe != "" and needs.wipe in (disk.token, disk.label_serial)


def _read_only(disk: Disk, _needs: Needs) -> Refusal | None:
    if not disk.read_only:
        return None
    return Refusal("read-only", "is read-only", "clear its write protection or name another disk")


def _too_small(disk: Disk, needs: Needs) -> Refusal | None:
    if disk.size >= needs.minimum:
        return None
    problem = f"has {human(disk.size)}, and the layout needs {human(needs.minimum)}"
    return Refusal("too-small", problem, "name a larger disk")


def _too_large(disk: Disk, needs: Needs) -> Refusal | None:
    if needs.maximum is None or disk.size <= needs.maximum:
        return None
    problem = f"has {human(disk.size)}, and an msdos partition table covers {human(needs.maximum)}"
    return Refusal("too-large", problem, "install with UEFI firmware, or name a smaller disk")


def _sector(disk: Disk, needs: Needs) -> Refusal | None:
    if disk.sector in needs.sectors:
        return None
    problem = f"has sectors of {disk.sector} bytes, from which this firmware does not boot"
    return Refusal("sector", problem, "install with UEFI firmware, or name another disk")


def _zoned(disk: Disk, _needs: Needs) -> Refusal | None:
    if disk.zoned != "host-managed":
        return None
    problem = "is host-managed zoned storage, which ext4 cannot be written to"
    return Refusal("zoned", problem, "name another disk")


def _removable(disk: Disk) -> Refusal | None:
    """A rule that names no disk does not mean a stick that happens to be plugged in."""
    if not disk.removable:
        return None
    return Refusal("removable", "is removable", "name it, if it is the one that is meant")


def _unreadable(disk: Disk, _needs: Needs) -> Refusal | None:
    if not disk.unreadable:
        return None
    problem = f"cannot be read ({disk.unreadable}), so nothing is known of what it holds"
    return Refusal("unreadable", problem, "replace the disk or name another")


def _not_blank(disk: Disk, needs: Needs) -> Refusal | None:
    if _is_named(disk, needs) or disk.left_over or not (disk.signatures or disk.data):
        return None
    found = ", ".join(
        dict.fromkeys(
            _name(s.type) + (f" {s.label!r}" if s.label else "") for s in disk.signatures or ()
        )
    )
    given = f" (--wipe {needs.wipe} names another)" if needs.wipe else ""
    if disk.installed:
        problem = f"holds the system that paranoid-install put there at {disk.installed}{given}"
        remedy = f"boot it, or to erase all of it say --wipe {disk.token}"
        return Refusal("installed", problem, remedy)
    if not disk.signatures:
        problem = f"holds data of no known kind ({disk.data}){given}"
        return Refusal("unknown-data", problem, f"to erase all of it say --wipe {disk.token}")
    return Refusal(
        "not-blank",
        f"is not blank: {found}{given}",
        f"to erase all of it say --wipe {disk.token}",
    )


_NAMES = {
    "dos": "an msdos partition table",
    "gpt": "a GPT partition table",
    "PMBR": "a protective MBR",
    "LVM2_member": "an LVM physical volume",
    "linux_raid_member": "a RAID member",
    "crypto_LUKS": "a LUKS volume",
    "zfs_member": "a ZFS pool member",
    "BitLocker": "a BitLocker volume",
    "ntfs": "an NTFS file system (Windows)",
    "swap": "swap space",
    "iso9660": "an ISO 9660 image",
}


def _name(kind: str) -> str:
    return _NAMES.get(kind, kind)
