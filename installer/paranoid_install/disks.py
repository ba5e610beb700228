"""Disks as udev and the kernel describe them. The one module that talks to udev."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from paranoid_install import stack, sysfs
from paranoid_install.errors import CommandFailed, Refusal, RefusedError
from paranoid_install.held import Identity, file_of_loop, identity_of
from paranoid_install.mounts import MountEntry, mount_table, swap_devices
from paranoid_install.runner import Runner
from paranoid_install.stack import Holder

_SECTOR = 512
_UDEV = Path("/run/udev/control")
_MEMORY_MODULE = 256 * 1024**2


@dataclass(frozen=True)
class Signature:
    """What wipefs(8) finds: the type (`gpt`, `ext4`, `LVM2_member` …), where, and its label."""

    device: str
    type: str
    label: str = ""


@dataclass(frozen=True)
class Disk:
    """A block device, or an image file that becomes one.

    `size` is in bytes. `kind` is `disk`, `partition`, `image`, or what the kernel calls a device
    that is neither (`loop`, `dm`, `md`, `cdrom`, `ram` …). `mounted` are mount points, `holders`
    names of what is stacked on it; both with its partitions'. `live` says why the running system
    depends on it, `below` are names of what it stands on, `stack` is what
    stands on it, from the top. `label_serial` is the serial that is printed on
    a SCSI disk where udev's own is its WWN. `sector` is the logical one, in bytes; `zoned` the
    kernel's word for the zones. `signatures` is None when they were not
    read; `installed` says when paranoid-install has put a system there, `left_over` that all it
    holds is what a run that was cut off has made, `data` where there is something though no
    signature was found. `identity` is what tells it from any other that takes its name; None for
    an image file that is not there yet.
    """

    path: str
    size: int
    kind: str = "disk"
    links: tuple[str, ...] = ()
    serial: str = ""
    wwn: str = ""
    model: str = ""
    transport: str = ""
    read_only: bool = False
    mounted: tuple[str, ...] = ()
    swap: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    live: str = ""
    unreadable: str = ""
    signatures: tuple[Signature, ...] | None = None
    installed: str = ""
    left_over: bool = False
    data: str = ""
    below: tuple[str, ...] = ()
    label_serial: str = ""
    removable: bool = False
    sector: int = 512
    zoned: str = "none"
    stack: tuple[Holder, ...] = ()
    identity: Identity | None = None

    @property
    def token(self) -> str:
        """What the operator says to `--wipe`: the serial, or what comes nearest to one."""
        return self.serial or self.wwn or self.path


def scan() -> tuple[Disk, ...]:
    """Every block device with a size, partitions included, by kernel name.

    Nothing is written and no program is run; signatures are not read. Raises RefusedError where
    udev's library is missing.
    """
    devices = {d.sys_name: d for d in _context().list_devices(subsystem="block")}
    mounts = mount_table()
    swaps = swap_devices()
    live = _live_devices(mounts)
    disks = []
    for name in sorted(devices, key=_natural):
        device = devices[name]
        size = _number(device, "size") * _SECTOR
        if size:
            disks.append(_describe(device, size, mounts, swaps, live))
    return tuple(replace(d, links=own_links(d, disks)) for d in disks)


def _context() -> Any:
    """udev's database. Raises RefusedError where its library cannot be loaded."""
    try:
        import pyudev  # noqa: PLC0415 - costs 30 ms, and --help needs none of it

        return pyudev.Context()
    except (ImportError, OSError) as error:
        problem = f"udev's library, libudev.so.1, cannot be loaded ({error})"
        remedy = "install it (Debian: libudev1, nixpkgs: systemd), or put it into LD_LIBRARY_PATH"
        raise RefusedError("this machine", (Refusal("no-udev", problem, remedy),)) from error


def _monitor(source: str) -> Any:
    """Events of block devices from now on: the kernel's, or udev's, which come later."""
    context = _context()
    import pyudev  # noqa: PLC0415

    monitor = pyudev.Monitor.from_netlink(context, source=source)
    monitor.filter_by("block")
    monitor.start()
    return monitor


def own_links(disk: Disk, disks: Iterable[Disk]) -> tuple[str, ...]:
    """The links that lead to this disk and are claimed by no other.

    Of two disks with one serial udev lets the link lead to either, and may change its mind.
    """
    others = {link for d in disks if d.path != disk.path for link in d.links}
    return tuple(link for link in disk.links if link not in others and _leads_to(link, disk.path))


def _leads_to(link: str, node: str) -> bool:
    try:
        return resolve(link) == node
    except OSError:
        return False


def image(path: str, size: int) -> Disk:
    """An image file as a disk; `size` is what it has, or will be given, in bytes."""
    file = Path(path)
    exists = file.exists()
    return Disk(
        path=path,
        size=file.stat().st_size if exists and file.stat().st_size else size,
        kind="image",
        read_only=exists and not os.access(path, os.W_OK),
        holders=tuple(_loops_of(file)) if exists else (),
        identity=identity_of(path) if exists else None,
    )


def resolve(path: str) -> str:
    """The kernel's device node behind a stable link. Raises OSError when there is none."""
    try:
        real = Path(path).resolve(strict=True)
    except RuntimeError as error:  # Python 3.11 and 3.12 say so of a circle of links
        raise OSError(str(error)) from error
    if not stat.S_ISBLK(real.stat().st_mode):
        raise OSError(f"{path} is not a block device")
    return str(real)


def wait_for_nodes(runner: Runner, paths: tuple[str, ...], seconds: int = 15) -> None:
    """Wait until the kernel has made the device nodes and udev, if it runs, is done with them.

    `udevadm settle` may return before the event of a node is queued, so the nodes themselves
    are waited for. Raises CommandFailed when the time is over.
    """
    if _UDEV.exists():
        limit = f"--timeout={seconds}"
        runner.run("udevadm", "wait", limit, "--settle", *paths, timeout=seconds + 5)
        return
    # Listening begins before looking: what appears in between is not missed.
    monitor = _monitor("kernel")
    while not all(Path(path).exists() for path in paths):
        if monitor.poll(timeout=seconds) is None:
            missing = ", ".join(path for path in paths if not Path(path).exists())
            problem = f"{missing} did not appear within {seconds} s"
            raise CommandFailed(("wait", *paths), problem, None)


@contextmanager
def arrivals(runner: Runner) -> Iterator[Callable[[float], bool]]:
    """Listen for block devices that come or change.

    Yields what waits for the next, at most so many seconds, and then until udev is done with all
    that came with it; whether there was one. Once when it begins it waits for udev as well.
    """
    monitor = _monitor("udev" if _UDEV.exists() else "kernel")

    def next_event(seconds: float) -> bool:
        come = monitor.poll(timeout=seconds) is not None
        if come:
            settle(runner)
            while monitor.poll(timeout=0) is not None:
                pass
        return come

    settle(runner)
    yield next_event


def settle(runner: Runner, seconds: int = 60) -> None:
    """Wait until udev, if it runs, is done with all that has happened. Raises CommandFailed."""
    if _UDEV.exists():
        runner.run("udevadm", "settle", f"--timeout={seconds}", timeout=seconds + 5)


def partitions_of(disk: Disk, disks: Iterable[Disk]) -> tuple[str, ...]:
    """The device nodes of a disk's partitions among what `scan` found."""
    return tuple(
        d.path
        for d in disks
        if d.kind == "partition" and re.fullmatch(re.escape(disk.path) + r"p?\d+", d.path)
    )


def stacked_on(disk: Disk, disks: Iterable[Disk]) -> frozenset[str]:
    """The device nodes of a disk, its partitions, and of what stands on these and on nothing else.

    A volume group or an array with a member elsewhere is not the disk's own.
    """
    found = tuple(disks)
    own = {disk.path, *partitions_of(disk, found)}
    while True:
        more = {
            d.path
            for d in found
            if d.path not in own and d.below and own.issuperset(f"/dev/{name}" for name in d.below)
        }
        if not more:
            return frozenset(own)
        own |= more


def memory() -> int:
    """Bytes of memory that this machine was given.

    /proc/meminfo counts what the kernel has to give out; firmware and the kernel itself took some
    of it before. Memory comes in multiples of 256 MiB, so the next one is what was given.
    """
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return -(-int(line.split()[1]) * 1024 // _MEMORY_MODULE) * _MEMORY_MODULE
    raise RuntimeError("/proc/meminfo: no MemTotal line")


def firmware_is_uefi() -> bool:
    """Whether the running system was started by UEFI firmware."""
    return Path("/sys/firmware/efi").is_dir()


def _describe(
    device: Any,
    size: int,
    mounts: tuple[MountEntry, ...],
    swaps: frozenset[str],
    live: dict[str, str],
) -> Disk:
    def text(*names: str) -> str:
        # Hostile firmware may put anything into these; only what prints is kept.
        for name in names:
            value = device.properties.get(name, "")
            if value:
                return "".join(c for c in str(value) if c.isprintable()).strip()
        return ""

    name = device.sys_name
    sys = Path(device.sys_path)
    children = [name, *(c.sys_name for c in device.children if c.subsystem == "block")]
    numbers = {sysfs.number(n) for n in children}
    nodes = {f"/dev/{n}" for n in children}
    return Disk(
        path=device.device_node or f"/dev/{name}",
        size=size,
        kind=_kind(device),
        links=tuple(sorted(device.device_links)),
        # Without udev's database the kernel's own attributes are what there is.
        serial=text("ID_SERIAL_SHORT", "ID_SERIAL")
        or sysfs.attribute(sys, "serial", "device/serial"),
        wwn=text("ID_WWN_WITH_EXTENSION", "ID_WWN") or sysfs.attribute(sys, "wwid", "device/wwid"),
        model=text("ID_MODEL") or sysfs.attribute(sys, "device/model"),
        transport=text("ID_BUS") or _transport(sys),
        read_only=_number(device, "ro") == 1,
        mounted=tuple(m.mount_point for m in mounts if m.device_number in numbers),
        swap=tuple(sorted(nodes & swaps)),
        holders=tuple(
            sorted(h for n in children for h in sysfs.entries(sysfs.node(n) / "holders"))
        ),
        live=next((live[n] for n in children if n in live), ""),
        below=tuple(sysfs.entries(sysfs.node(name) / "slaves")),
        label_serial=text("ID_SCSI_SERIAL"),
        removable=_number(device, "removable") == 1,
        sector=_number(device, "queue/logical_block_size") or _SECTOR,
        zoned=sysfs.attribute(sys, "queue/zoned") or "none",
        stack=stack.read(name, mounts, swaps) if _kind(device) != "partition" else (),
        identity=Identity(f"device {sysfs.number(name)}", _number(device, "diskseq"), size),
    )


def _kind(device: Any) -> str:
    name = device.sys_name
    if device.device_type == "partition":
        return "partition"
    for prefix, kind in (
        ("loop", "loop"), ("dm-", "device mapper"), ("md", "RAID array"), ("sr", "optical drive"),
        ("zram", "compressed memory"), ("ram", "memory disk"), ("fd", "floppy drive"),
        ("nbd", "network block device"), ("mtdblock", "flash memory"), ("drbd", "DRBD device"),
        ("bcache", "bcache device"), ("zd", "ZFS volume"), ("rbd", "RADOS block device"),
    ):  # fmt: skip
        if name.startswith(prefix):
            return kind
    # The boot and general purpose areas of an eMMC are devices of their own.
    return "eMMC boot area" if re.fullmatch(r"mmcblk\d+(boot\d+|gp\d+|rpmb)", name) else "disk"


def _transport(sys: Path) -> str:
    name = sys.name
    for prefix, transport in (("nvme", "nvme"), ("vd", "virtio"), ("mmcblk", "mmc")):
        if name.startswith(prefix):
            return transport
    return ""


def _live_devices(mounts: tuple[MountEntry, ...]) -> dict[str, str]:
    """Kernel names of the devices that the running system itself depends on, with the reason.

    Followed from the mounts that it cannot do without, through loop devices to the file system
    that holds their backing file, through device mapper and RAID to their members.
    """
    essential = ("/", "/nix", "/nix/store", "/nix/.ro-store", "/iso", "/boot", "/usr", "/run/live")
    by_number = {sysfs.number(path.name): path.name for path in sysfs.CLASS.iterdir()}
    found: dict[str, str] = {}
    pending = [
        (by_number[m.device_number], f"the running system's {m.mount_point} is on it")
        for m in mounts
        if m.device_number in by_number
        and (m.mount_point in essential or m.mount_point.startswith("/run/live/"))
    ]
    while pending:
        name, reason = pending.pop()
        if name in found:
            continue
        found[name] = reason
        node = sysfs.node(name)
        pending += [(slave, reason) for slave in sysfs.entries(node / "slaves")]
        if (node / "partition").exists():
            pending.append((node.resolve().parent.name, reason))
        backing = sysfs.attribute(node, "loop/backing_file")
        below = _mount_of(backing, mounts) if backing else None
        if below is not None and below.device_number in by_number:
            pending.append((by_number[below.device_number], reason))
    return found


def _mount_of(path: str, mounts: tuple[MountEntry, ...]) -> MountEntry | None:
    """The mount that a path lies in: the longest mount point, the last where two are stacked."""
    inside = [
        m
        for m in mounts
        if path == m.mount_point or path.startswith(m.mount_point.rstrip("/") + "/")
    ]
    return max(inside, key=lambda m: len(m.mount_point), default=None) if inside else None


def _loops_of(file: Path) -> list[str]:
    """The loop devices of a file, by its inode: it may have more names than one."""
    number = identity_of(str(file)).number
    attached = [n.name for n in sorted(sysfs.CLASS.glob("loop*")) if (n / "loop").is_dir()]
    return [name for name in attached if file_of_loop(f"/dev/{name}") == number]


def _number(device: Any, name: str) -> int:
    value = sysfs.attribute(Path(device.sys_path), name)
    return int(value) if value.isdigit() else 0


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
