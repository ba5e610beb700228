"""What stands on a disk: volume groups, arrays, opened encryption; and how each is let go of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path

from paranoid_install import sysfs
from paranoid_install.errors import CommandFailed
from paranoid_install.mounts import MountEntry
from paranoid_install.runner import Runner

_TITLES = {
    "group": "the volume group",
    "encryption": "the opened encryption",
    "array": "the RAID array",
    "mapping": "the mapping",
    "other": "the device",
}
_GROUP_ID = 32
"""Characters of a volume group's UUID at the start of those of its volumes (dm_build_uuid in LVM's
lib/activate/dev_manager.c)."""


@dataclass(frozen=True)
class Holder:
    """One thing that stands on a disk, and goes as one.

    `kind` is one of `group`, `encryption`, `array`, `mapping`, and `other` for what only a person
    can let go of. `name` is what its tool calls it, `id` what tells it from another of that name,
    empty where nothing does; `nodes` are the kernel names of its devices. `elsewhere` are other
    disks that it lies on, `used` says what is done with it.
    """

    kind: str
    name: str
    id: str = ""
    nodes: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    used: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is, whatever state it is in."""
        return (self.kind, self.name, self.id)

    @property
    def command(self) -> tuple[str, ...]:
        """The command that lets go of it; empty where none is known."""
        match self.kind:
            case "group":
                # Of two groups with one name, as cloned disks have them, the name means both.
                return ("vgchange", "--activate", "n", "--select", f"vg_uuid={_hyphens(self.id)}")
            case "encryption":
                return ("cryptsetup", "close", self.name)
            case "array":
                return ("mdadm", "--stop", f"/dev/{self.name}")
            case "mapping":
                return ("dmsetup", "remove", self.name)
        return ()

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Every reason why it may not be let go of."""
        lies = (f"which also lies on {' and '.join(self.elsewhere)}",) if self.elsewhere else ()
        unknown = () if self.command else ("which only a person can let go of",)
        return (*(f"which is {use}" for use in self.used), *lies, *unknown)

    @property
    def words(self) -> str:
        """It and its obstacles, for the person at the console."""
        said = f"{_TITLES.get(self.kind, 'the device')} {self.name} ({', '.join(self.nodes)})"
        return ", ".join((said, *self.obstacles))


def read(disk: str, mounts: Iterable[MountEntry], swaps: Iterable[str]) -> tuple[Holder, ...]:
    """What stands on a disk and its partitions, by kernel name; what is on top comes first.

    As far as the kernel tells; where else a volume group lies, LVM alone knows: `look_closer`.
    """
    found = _gather([disk, *sysfs.partitions(disk)])
    mounts, swaps = tuple(mounts), frozenset(swaps)
    return tuple(_describe(holder, disk, mounts, swaps) for holder in _top_first(found))


def look_closer(
    runner: Runner, disk: str, holders: tuple[Holder, ...], is_claimed: Callable[[str], bool]
) -> tuple[Holder, ...]:
    """The same, with where else LVM says that they lie, and whether the kernel uses their tops.

    A file system with device numbers of its own, or a mount that another process alone sees, is in
    no table. What cannot be told counts as the worse. Raises OSError.
    """
    groups = _members(runner) if any(h.kind == "group" for h in holders) else {}
    return tuple(
        _in_use(_spread(holder, disk, groups), is_claimed) if holder.command else holder
        for holder in holders
    )


def _gather(below: list[str]) -> dict[Holder, set[str]]:
    """Everything that stands on these devices, with its devices."""
    found: dict[Holder, set[str]] = {}
    pending = list(below)
    while pending:
        for name in sysfs.entries(sysfs.node(pending.pop()) / "holders"):
            holder = _identify(name)
            more = {name, *_volumes(holder)} - found.setdefault(holder, set())
            found[holder] |= more
            pending += more
    return found


def _identify(name: str) -> Holder:
    """Device mapper's users begin their UUIDs with their own name (LVM-, CRYPT-, mpath-)."""
    node = sysfs.node(name)
    title, uuid = sysfs.attribute(node, "dm/name"), sysfs.attribute(node, "dm/uuid")
    if uuid.startswith("LVM-"):
        # Two hyphens are one of the name's own; a single one parts group and volume.
        group = title.replace("--", "\0").partition("-")[0].replace("\0", "-")
        return Holder("group", group, uuid.removeprefix("LVM-")[:_GROUP_ID])
    if uuid.startswith("CRYPT-"):
        return Holder("encryption", title, uuid)
    if title and not uuid.startswith("mpath-"):
        return Holder("mapping", title, uuid)
    if (node / "md").is_dir():
        return Holder("array", name, sysfs.attribute(node, "md/uuid"))
    return Holder("other", title or name, uuid)


def _volumes(holder: Holder) -> set[str]:
    """Every active volume of a group, also of those that stand on other disks alone."""
    if holder.kind != "group":
        return set()
    mark = f"LVM-{holder.id}"
    names = (n for n in sysfs.entries(sysfs.CLASS) if n.startswith("dm-"))
    return {n for n in names if sysfs.attribute(sysfs.node(n), "dm/uuid").startswith(mark)}


def _top_first(found: dict[Holder, set[str]]) -> list[Holder]:
    """In the order in which they can be let go of. What stands in a circle comes last."""
    left = {replace(h, nodes=tuple(sorted(nodes))) for h, nodes in found.items()}
    ordered: list[Holder] = []
    while left:
        free = [h for h in left if not _above(h) & {n for o in left - {h} for n in o.nodes}]
        ordered += sorted(free or left, key=lambda h: h.key)
        left -= set(ordered)
    return ordered


def _above(holder: Holder) -> set[str]:
    """Kernel names of what must go before it: holders, and the volumes of a RAID container."""
    names = {n for node in holder.nodes for n in sysfs.entries(sysfs.node(node) / "holders")}
    if holder.kind == "array":
        # metadata_version in the kernel's Documentation/admin-guide/md.rst.
        volumes = (f"external:/{holder.name}/", f"external:-{holder.name}/")
        names |= {
            n
            for n in sysfs.entries(sysfs.CLASS)
            if sysfs.attribute(sysfs.node(n), "md/metadata_version").startswith(volumes)
        }
    return names


def _describe(
    holder: Holder, disk: str, mounts: tuple[MountEntry, ...], swaps: frozenset[str]
) -> Holder:
    below = frozenset(chain.from_iterable(sysfs.disks_below(n) for n in holder.nodes))
    numbers = {sysfs.number(n) for n in holder.nodes}
    places = [m.mount_point for m in mounts if m.device_number in numbers]
    used = [f"mounted at {', '.join(places)}"] if places else []
    used += [f"swapped to ({n})" for n in holder.nodes if f"/dev/{n}" in swaps]
    elsewhere = tuple(f"/dev/{name}" for name in sorted(below - {disk}))
    return replace(holder, used=tuple(used), elsewhere=elsewhere)


def _members(runner: Runner) -> dict[str, list[str]] | str:
    """The devices of each volume group by its UUID, as LVM sees them; or why they are not known."""
    try:
        argv = ("pvs", "--reportformat", "json", "--options", "pv_name,vg_uuid")
        rows = json.loads(runner.run(*argv).stdout)["report"][0]["pv"]
        groups: dict[str, list[str]] = {}
        for row in rows:
            groups.setdefault(str(row["vg_uuid"]).replace("-", ""), []).append(str(row["pv_name"]))
    except CommandFailed as error:
        return f"pvs: {error.problem}"
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"pvs did not answer in the expected form ({error})"
    return groups


def _spread(holder: Holder, disk: str, groups: dict[str, list[str]] | str) -> Holder:
    if holder.kind != "group":
        return holder
    if isinstance(groups, str) or holder.id not in groups:
        reason = groups if isinstance(groups, str) else "LVM does not know it"
        return replace(holder, elsewhere=(*holder.elsewhere, f"disks that are unknown ({reason})"))
    others = set(holder.elsewhere)
    for member in groups[holder.id]:
        if member.startswith("/dev/"):
            name = Path(member).resolve().name
            others |= {f"/dev/{below}" for below in sysfs.disks_below(name) - {disk}}
        else:  # LVM's word for one that it misses
            others.add("a disk that is not attached")
    return replace(holder, elsewhere=tuple(sorted(others)))


def _in_use(holder: Holder, is_claimed: Callable[[str], bool]) -> Holder:
    if holder.used:
        return holder
    tops = [n for n in holder.nodes if not sysfs.entries(sysfs.node(n) / "holders")]
    held = [n for n in tops if is_claimed(f"/dev/{n}")]
    return replace(holder, used=(f"used by the kernel ({', '.join(held)})",)) if held else holder


def _hyphens(uuid: str) -> str:
    """A UUID in LVM's own form: groups of 6, 4, 4, 4, 4, 4 and 6 (lib/uuid/uuid.c)."""
    ends = (0, 6, 10, 14, 18, 22, 26, 32)
    return "-".join(uuid[a:b] for a, b in pairwise(ends))
