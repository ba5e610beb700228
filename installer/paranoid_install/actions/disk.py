"""On the disk and its loop device, before any file system is mounted."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from paranoid_install import disks
from paranoid_install.actions.base import Action, Machine, Passing, Plain
from paranoid_install.disks import Disk
from paranoid_install.errors import CommandFailed, Refusal, RefusedError
from paranoid_install.layout import LOOP
from paranoid_install.past import SEQUENCE, TABLE
from paranoid_install.selection import Needs, refusals
from paranoid_install.survey import as_it_is


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
        now = as_it_is(machine.runner, self.disk)
        if now.signatures == self.disk.signatures:
            now = replace(now, left_over=self.disk.left_over)
        reasons = refusals(now, self.needs)
        for name in ("size", "serial", "wwn", "model"):
            before, after = getattr(self.disk, name), getattr(now, name)
            if before != after:
                problem = f"its {name} was {before!r} when it was chosen and is {after!r} now"
                reasons = (Refusal("changed", problem, "start again"), *reasons)
        if reasons:
            raise RefusedError(self.disk.path, reasons)


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

    def apply(self, machine: Machine) -> None:  # noqa: ARG002
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.truncate(self.size)


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
        machine.learn(LOOP, device)
        machine.learn(SEQUENCE, _sequence(device))


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
        table = disks.table_id(machine.runner, device)
        if not table:
            problem = "found no partition table where one was just written"
            raise CommandFailed(("blkid", "--probe", device), problem, 2)
        machine.learn(TABLE, table)
