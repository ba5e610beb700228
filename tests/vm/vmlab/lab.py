"""The lab: the live system with everything built, ready to install and boot machines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tests.vm.vmlab import accel, debian, project, qemu, store, userland
from tests.vm.vmlab.qemu import DirectBoot, Disk, Machine, Picture
from tests.vm.vmlab.results import Results

LIVE_SECONDS = 600
"""Limit of a live boot with an install in it, under TCG on a busy machine."""

BOOT_SECONDS = 300
"""Limit of one cold boot of an installed disk."""

DISK_MIB = 4096


@dataclass(frozen=True)
class Lab:
    """Built images and the accelerator; see `open_lab`."""

    root: Path
    store: store.Store
    project: Path
    accel: str

    def live(
        self,
        job: str,
        disks: tuple[Disk, ...],
        logs: Path,
        *,
        firmware: str = "bios",
        memory_mib: int = 3072,
        seconds: float = LIVE_SECONDS,
    ) -> Results:
        """Boot the live system with these disks and run a script there as root.

        The script's files in $OUT, its output (job-output) and exit code come back.
        """
        machine = self.live_machine(job, disks, firmware=firmware, memory_mib=memory_mib)
        return qemu.run(machine, logs, seconds)

    def live_machine(
        self,
        job: str,
        disks: tuple[Disk, ...],
        *,
        firmware: str = "bios",
        memory_mib: int = 3072,
    ) -> Machine:
        """The machine that `live` runs.

        The first virtio disk given is /dev/vda: the live system's own disks come last.
        """
        images = (
            Disk(self.root, "live-root", read_only=True, slot=0x1C),
            Disk(self.store.image, "live-store", read_only=True, slot=0x1D),
            Disk(self.project, "live-project", read_only=True, slot=0x1E),
        )
        direct = DirectBoot(self.store.kernel, self.store.initrd, "console=ttyS0 panic=-1 quiet")
        placed = tuple(
            replace(d, slot=d.slot or 8 + n) if d.bus != "scsi" else d for n, d in enumerate(disks)
        )
        return Machine(
            disks=placed + images,
            accel=self.accel,
            firmware=firmware,
            direct=direct,
            job=job,
            memory_mib=memory_mib,
        )

    def boot(
        self,
        disks: tuple[Disk, ...],
        logs: Path,
        *,
        firmware: str = "bios",
        job: str = "true",
        memory_mib: int = 1024,
        screen: str = "std",
        pictures: tuple[Picture, ...] = (),
        seconds: float = BOOT_SECONDS,
    ) -> Results:
        """Boot an installed disk, the first one, from power-off; its report comes back."""
        machine = Machine(
            disks, self.accel, firmware, job=job, memory_mib=memory_mib, screen=screen
        )
        return qemu.run(machine, logs, seconds, pictures)


def open_lab(scratch: Path, *, with_debian: bool = False) -> Lab:
    """Build what is not in the cache, and choose the accelerator.

    `with_debian`: what is installed is run by Debian's systemd, not by busybox.
    """
    root = debian.build()
    built = store.build(root, userland.build(root) if with_debian else None)
    image = scratch / "project.squashfs"
    project.build(image)
    return Lab(root / "root.squashfs", built, image, accel.choose(built.kernel))


def blank_disk(path: Path, mib: int = DISK_MIB) -> Path:
    """A sparse file of zeros."""
    with path.open("wb") as file:
        file.truncate(mib * 1024**2)
    return path
