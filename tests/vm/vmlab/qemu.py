"""Start a virtual machine, wait for its end with a time limit, and read what it reported."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qmp import Qmp
from tests.vm.vmlab.results import Results

OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")

BUSES = ("virtio", "nvme", "scsi")

_CONSOLE_LINES = 25
"""Lines of the serial console that an error shows; all of them are in console.log."""


@dataclass(frozen=True)
class Disk:
    """A disk of a machine. `bus` is one of BUSES; every disk has a serial number."""

    image: Path
    serial: str
    bus: str = "virtio"
    format: str = "raw"
    read_only: bool = False
    slot: int | None = None
    """PCI slot: it orders the letters of virtio disks."""


@dataclass(frozen=True)
class DirectBoot:
    """A kernel that QEMU loads itself, without a boot loader."""

    kernel: Path
    initrd: Path
    parameters: str


@dataclass(frozen=True)
class Machine:
    """What to run. Without `direct` it boots from its first disk."""

    disks: tuple[Disk, ...]
    accel: str
    firmware: str = "bios"
    direct: DirectBoot | None = None
    job: str | None = None
    """A script for the guest's shell; the guest powers off after it."""
    memory_mib: int = 2048
    cpus: int = 2


def run(machine: Machine, logs: Path, seconds: float) -> Results:
    """Run a machine until it powers off, and read its report.

    In `logs` are left: console.log, report.tar, qemu.log, and a screen.ppm if it did not
    end by itself within `seconds`. Raises LabError for that, for a machine that ends
    without a report, and for an input or output error that QEMU had to report.
    """
    logs.mkdir(parents=True, exist_ok=True)
    for old in ("console.log", "report.tar", "screen.ppm", "qmp", "vars.fd"):
        (logs / old).unlink(missing_ok=True)
    start = time.monotonic()
    command = arguments(machine, logs)
    (logs / "command").write_text(" ".join(command) + "\n")
    with (logs / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _watch(process, logs, seconds)
        finally:
            process.kill()
            process.wait()
    took = time.monotonic() - start
    try:
        return Results.read(logs / "report.tar", took)
    except LabError as error:
        raise LabError(f"{error} after {took:.0f} s\n{_console(logs)}") from error


def _watch(process: subprocess.Popen[bytes], logs: Path, seconds: float) -> None:
    try:
        connection = Qmp(logs / "qmp", seconds=20)
    except LabError as error:
        problem = (logs / "qemu.log").read_text(errors="replace").strip()
        raise LabError(f"{error}; QEMU says: {problem}") from error
    with connection as qmp:
        ended = qmp.wait_for_end(seconds)
        if not ended:
            qmp.execute("screendump", filename=str(logs / "screen.ppm"))
            raise LabError(f"still running after {seconds:.0f} s\n{_console(logs)}")
        errors = [event["data"] for event in qmp.events if event["event"] == "BLOCK_IO_ERROR"]
    if errors:
        raise LabError(f"disk errors: {errors}\n{_console(logs)}")
    code = process.wait(timeout=20)
    if code != 0:
        raise LabError(f"QEMU ended with exit code {code}: {(logs / 'qemu.log').read_text()}")


def arguments(machine: Machine, logs: Path) -> list[str]:
    """QEMU's command line. It never restarts a guest: a boot loop would end in silence."""
    result = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
        "-machine", "q35", "-accel", machine.accel, "-cpu", "max",
        "-smp", str(machine.cpus), "-m", str(machine.memory_mib),
        "-display", "none", "-vga", "std",
        "-object", "rng-random,id=rng,filename=/dev/urandom",
        "-device", "virtio-rng-pci,rng=rng",
        "-chardev", f"file,id=serial,path={logs / 'console.log'}", "-serial", "chardev:serial",
        "-qmp", f"unix:{logs / 'qmp'},server=on,wait=off",
        "-device", "virtio-serial-pci",
        "-chardev", f"file,id=results,path={logs / 'report.tar'}",
        "-device", "virtserialport,chardev=results,name=paranoid.results",
    ]  # fmt: skip
    if machine.firmware == "uefi":
        variables = logs / "vars.fd"
        shutil.copyfile(OVMF_VARS, variables)
        pflash = "if=pflash,format=raw"
        result += ["-drive", f"{pflash},unit=0,readonly=on,file={OVMF_CODE}"]
        result += ["-drive", f"{pflash},unit=1,file={variables}"]
    if machine.direct is not None:
        result += ["-kernel", str(machine.direct.kernel), "-initrd", str(machine.direct.initrd)]
        result += ["-append", machine.direct.parameters]
    if machine.job is not None:
        job = logs / "job"
        job.write_text(machine.job)
        result += ["-fw_cfg", f"name=opt/paranoid/job,file={job}"]
    if any(disk.bus == "scsi" for disk in machine.disks):
        result += ["-device", "virtio-scsi-pci,id=scsi"]
    for number, disk in enumerate(machine.disks):
        result += _disk(disk, number)
    return result


def _disk(disk: Disk, number: int) -> list[str]:
    options = [f"if=none,id=disk{number},file={disk.image},format={disk.format}"]
    # Nothing of a test has to survive a power cut of the host.
    options += ["cache=unsafe", "readonly=on" if disk.read_only else "discard=unmap"]
    device = {
        "virtio": "virtio-blk-pci",
        "nvme": "nvme",
        "scsi": "scsi-hd,bus=scsi.0",
    }[disk.bus]
    device += f",drive=disk{number},serial={disk.serial},bootindex={number + 1}"
    if disk.slot is not None:
        device += f",addr={disk.slot:#x}"
    return ["-drive", ",".join(options), "-device", device]


def _console(logs: Path) -> str:
    console = logs / "console.log"
    lines = console.read_text(errors="replace").splitlines() if console.exists() else []
    tail = "\n".join(f"  {line}" for line in lines[-_CONSOLE_LINES:])
    return f"the last of {console}:\n{tail}"
