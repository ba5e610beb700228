"""On the disk and its loop device, before any file system is mounted."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from paranoid_install import contents, disks, stack
from paranoid_install.actions.base import Action, Machine, Passing, Plain
from paranoid_install.disks import Disk
from paranoid_install.errors import CommandFailed, InstallError, Refusal, RefusedError
from paranoid_install.held import changed, file_of_loop
from paranoid_install.layout import LOOP
from paranoid_install.mounts import mount_table, swap_devices
from paranoid_install.past import SEQUENCE, TABLE
from paranoid_install.selection import Needs, refusals
from paranoid_install.stack import Holder
from paranoid_install.survey import as_it_is

_TAKING_DOWN = 600.0
"""Seconds: what is still in memory is written out first."""


@dataclass(frozen=True)
class CheckDisk(Plain):
    """Look at the disk once more right before it is written: is it the same, is it still free?"""

    disk: Disk
    needs: Needs

    @property
    def line(self) -> str:
        return f"wipefs --no-act {shlex.quote(self.disk.path)}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("wipefs", "blkid")

    def apply(self, machine: Machine) -> None:
        claimed = self.disk.path in machine.held and machine.held[self.disk.path].claimed
        now = as_it_is(machine.runner, self.disk, claimed=claimed)
        if now.signatures == self.disk.signatures:
            now = replace(now, left_over=self.disk.left_over)
        reasons = refusals(now, self.needs)
        for name in ("size", "serial", "wwn", "model"):
            before, after = getattr(self.disk, name), getattr(now, name)
            if before != after:
                problem = f"its {name} was {before!r} when it was chosen and is {after!r} now"
                reasons = (Refusal("changed", problem, "start again"), *reasons)
        if {h.key for h in now.stack} - {h.key for h in self.disk.stack}:
            problem = f"is now in use by {'; '.join(h.words for h in now.stack)}"
            reasons = (Refusal("changed", problem, "start again"), *reasons)
        if reasons:
            raise RefusedError(self.disk.path, reasons)


@dataclass(frozen=True)
class SameDisk(Passing):
    """See that a name still leads to the device or the file that the run holds open.

    An image file that is yet to be made has no name that could lead elsewhere.
    """

    path: str

    @property
    def line(self) -> str:
        return f"test {shlex.quote(self.path)} -ef /proc/self/fd/DISK"

    def apply(self, machine: Machine) -> None:
        if self.path in machine.held:
            machine.held[self.path].check()
        elif self.path == LOOP or os.path.lexists(self.path):
            raise changed(machine.device(self.path), "is not held by this run")


@dataclass(frozen=True)
class LetGo(Passing):
    """Take down a volume group, an array or a mapping that stands on the disk, if it still does.

    Nothing of it is erased: whoever stops the run now can bring it up again.
    """

    disk: str
    holder: Holder

    @property
    def line(self) -> str:
        return shlex.join(self.holder.command)

    @property
    def programs(self) -> tuple[str, ...]:
        return self.holder.command[:1]

    def apply(self, machine: Machine) -> None:
        # Looked up on the disk itself: what a plan or a journal calls so may be another by now.
        name = Path(self.disk).name
        for holder in stack.read(name, mount_table(), swap_devices()):
            if holder.key != self.holder.key:
                continue
            if holder.obstacles:
                problem = f"is in use by {holder.words}"
                raise RefusedError(self.disk, (Refusal("held", problem, "start again"),))
            machine.runner.run(*holder.command, timeout=_TAKING_DOWN)


@dataclass(frozen=True)
class ClaimDisk(Passing):
    """Open the disk exclusively, now that nothing stands on it: nobody can put anything there."""

    path: str

    @property
    def line(self) -> str:
        return "udevadm settle; exec {CLAIMED}< /proc/self/fd/DISK  # O_EXCL"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("udevadm",)

    def apply(self, machine: Machine) -> None:
        # udev looks at what has just been let go of, and may hold it for that long.
        disks.settle(machine.runner)
        machine.held[self.path].claim()


@dataclass(frozen=True)
class ShareDisk(Passing):
    """Give up the exclusive claim on the disk, for mkfs and mount claim its partitions."""

    path: str

    @property
    def line(self) -> str:
        return "exec {SHARED}< /proc/self/fd/DISK {DISK}>&-"

    def apply(self, machine: Machine) -> None:
        machine.held[self.path].share()


@dataclass(frozen=True)
class CreateImage(Plain):
    """Make a sparse image file of `size` bytes, for root alone: it will hold private keys.

    One that is there keeps its mode. It is kept when the run fails.
    """

    path: str
    size: int

    @property
    def line(self) -> str:
        return f"(umask 077; {shlex.join(['truncate', f'--size={self.size}', self.path])})"

    def apply(self, machine: Machine) -> None:
        if self.path not in machine.held:
            # What took the name since it was looked at is somebody else's.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(self.path, flags, 0o600), "wb"):
                machine.held[self.path] = machine.hold(self.path)
        machine.held[self.path].check()
        os.truncate(f"/proc/self/fd/{machine.held[self.path].descriptor}", self.size)


@dataclass(frozen=True)
class AttachLoop(Passing):
    """Attach an image file as a loop device with partitions."""

    path: str

    @property
    def line(self) -> str:
        return shlex.join(["losetup", "--find", "--show", "--partscan", self.path]) + f"  # {LOOP}"

    @property
    def undo(self) -> Action:
        return DetachLoop(self.path)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("losetup",)

    def apply(self, machine: Machine) -> None:
        result = machine.runner.run("losetup", "--find", "--show", "--partscan", self.path)
        device = result.stdout.strip()
        if not device.startswith("/dev/loop"):
            raise CommandFailed(result.argv, f"printed {device!r}, which is no loop device", 0)
        try:
            self._hold(machine, device)
        except (RefusedError, OSError):
            machine.runner.run("losetup", "--detach", device)
            raise
        machine.learn(LOOP, device)
        machine.learn(SEQUENCE, _sequence(device))

    def _hold(self, machine: Machine, device: str) -> None:
        """Keep the device, once it is seen to have the file that is held."""
        held = machine.hold(device)
        if file_of_loop(device) != machine.held[self.path].identity.number:
            held.close()
            raise changed(self.path, "led to another file when it was attached")
        machine.held[LOOP] = held


@dataclass(frozen=True)
class ScanPartitions(Passing):
    """Tell the kernel which partitions a loop device has, where it has some already.

    A kernel built without this table's parser does not scan it, whatever losetup(8) asks for;
    partx(8) reads the table itself. It ends with 1 where there is none yet.
    """

    @property
    def line(self) -> str:
        return f"partx --update {LOOP}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("partx",)

    def apply(self, machine: Machine) -> None:
        machine.runner.run("partx", "--update", machine.device(LOOP), ok=(0, 1))


@dataclass(frozen=True)
class DetachLoop(Passing):
    """Detach the image file's loop device."""

    path: str

    @property
    def line(self) -> str:
        return f"losetup --detach {LOOP}"

    def in_effect(self, machine: Machine) -> bool:
        """Whether a device belongs to this file: the one noted, attached as it was then.

        A run that was killed before it noted one may have attached it all the same.
        """
        device = self._attached(machine.facts.get(LOOP, ""))
        noted = machine.facts.get(SEQUENCE)
        return device != "" and (noted is None or noted == _sequence(device))

    def apply(self, machine: Machine) -> None:
        if LOOP not in machine.facts:
            machine.learn(LOOP, self._attached())
        held = machine.held.pop(LOOP, None)
        if held is not None:
            # While it is open the kernel only promises to detach it.
            held.close()
        machine.runner.run("losetup", "--detach", machine.device(LOOP))

    def _attached(self, noted: str = "") -> str:
        names = f"{Path(noted).name or 'loop*'}/loop/backing_file"
        for node in sorted(Path("/sys/class/block").glob(names)):
            try:
                file = node.read_text(errors="replace").strip()
            except OSError:  # detached meanwhile
                continue
            if file == self.path:
                return f"/dev/{node.parents[1].name}"
        return ""


def _sequence(device: str) -> str:
    """The number of a disk that no other has in this boot; empty before Linux 5.15."""
    try:
        return Path(f"/sys/class/block/{Path(device).name}/diskseq").read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class WaitForNodes(Passing):
    """Wait until the kernel and udev have made the partitions' device nodes."""

    paths: tuple[str, ...]

    @property
    def line(self) -> str:
        return shlex.join(["udevadm", "wait", "--settle", *self.paths])

    def apply(self, machine: Machine) -> None:
        disks.wait_for_nodes(machine.runner, tuple(machine.device(path) for path in self.paths))


@dataclass(frozen=True)
class NoteTable(Plain):
    """Note the id of the partition table just written: by it a later run knows what is ours."""

    device: str

    @property
    def line(self) -> str:
        return f"blkid --probe --match-tag PTUUID --output value {shlex.quote(self.device)}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("blkid",)

    def apply(self, machine: Machine) -> None:
        device = machine.device(self.device)
        table = contents.table_id(machine.runner, device)
        if not table:
            problem = "found no partition table where one was just written"
            raise CommandFailed(("blkid", "--probe", device), problem, 2)
        machine.learn(TABLE, table)


@dataclass(frozen=True)
class CheckFileSystem(Plain):
    """See that a partition holds the file system just made, and nothing else beside it.

    Signatures that are left over would make libblkid unsure, and udev give no link to it.
    """

    device: str
    fs_type: str
    label: str

    @property
    def line(self) -> str:
        return f"wipefs --no-act --json {self.device}  # {self.fs_type} {self.label!r} alone"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("wipefs", "blkid")

    def apply(self, machine: Machine) -> None:
        device = machine.device(self.device)
        printed = machine.runner.run("wipefs", "--no-act", "--json", device).stdout
        # Some versions print nothing where they find nothing.
        rows = contents.parse_wipefs(printed, device) if printed.strip() else ()
        beside = {(s.type, s.label) for s in rows}
        known = contents.file_system(machine.runner, device)
        found = beside | {(known.get("TYPE", "nothing"), known.get("LABEL", ""))}
        made = (self.fs_type, self.label)
        if found != {made} or not known.get("UUID"):
            said = ", ".join(f"{kind} {label}".strip() for kind, label in sorted(found - {made}))
            problem = (
                f"{self.fs_type} {self.label!r} was just made, and there is {said or 'no UUID'}"
            )
            raise InstallError(device, problem, "look at it with blkid --probe")
        machine.learn(f"@uuid-{self.label}", known["UUID"])
