"""Start a virtual machine, wait for its end with a time limit, and read what it reported."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qmp import Qmp
from tests.vm.vmlab.results import Results

OVMF_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")

BUSES = ("virtio", "nvme", "scsi", "cd")
"""`cd` is an optical drive on the SCSI bus: Debian's cloud kernel has no AHCI."""

_GLANCE_SECONDS = 0.2

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
    bad: tuple[str, int] | None = None
    """What fails, "read" or "write", at which sector of 512 bytes."""
    sector: int = 512
    """Bytes of a sector; not of a disk on USB."""
    removable: bool = False
    """A stick, as far as the guest can tell; on SCSI and USB alone."""
    late: str = ""
    """It is plugged in when this is on the serial console; empty: it is there from the start."""
    told_of_errors: bool = False
    """Errors of the image's file are the guest's; else QEMU halts it when the host is full."""


@dataclass(frozen=True)
class DirectBoot:
    """A kernel that QEMU loads itself, without a boot loader."""

    kernel: Path
    initrd: Path
    parameters: str


@dataclass(frozen=True)
class Picture:
    """A screenshot that is kept: of the first moment at which `text` is on the serial console."""

    text: str
    name: str


@dataclass(frozen=True)
class Machine:
    """What to run. Without `direct` it boots from the first of its disks that boots."""

    disks: tuple[Disk, ...]
    accel: str
    firmware: str = "bios"
    direct: DirectBoot | None = None
    job: str | None = None
    """A script for the guest's shell; the guest powers off after it."""
    memory_mib: int = 2048
    cpus: int = 2
    screen: str = "std"
    """What QEMU's -vga takes; "none" leaves the serial console alone."""
    ssh_port: int | None = None
    """A port of the host's loopback that leads to the guest's ssh daemon (10.0.2.15:22). The
    guest reaches nothing from its side."""
    scsi: bool = False
    """A SCSI bus, though no disk is on it yet."""
    state: Path | None = None
    """Where the machine goes on from, instead of from power-off; see warm.py."""


def run(
    machine: Machine, logs: Path, seconds: float, pictures: tuple[Picture, ...] = ()
) -> Results:
    """Run a machine until it powers off, and read its report; see `attend`.

    LabError as well for a machine that ends without a report.
    """
    took = attend(machine, logs, seconds, pictures)
    try:
        return Results.read(logs / "report.tar", took)
    except LabError as error:
        raise LabError(f"{error} after {took:.0f} s\n{_console(logs)}") from error


def attend(
    machine: Machine, logs: Path, seconds: float, pictures: tuple[Picture, ...] = ()
) -> float:
    """Run a machine until it powers off; how many seconds it took.

    In `logs` are left: console.log, report.tar, qemu.log, NAME.ppm for each picture, and a
    screen.ppm if it did not end by itself within `seconds`. Raises LabError for that, for a
    picture whose moment did not come, and for an input or output error that QEMU had to report.
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
            errors = _watch(process, logs, seconds, pictures, _plugs(machine))
        finally:
            process.kill()
            process.wait()
    if errors and not any(disk.bad or disk.told_of_errors for disk in machine.disks):
        raise LabError(f"disk errors: {errors}\n{_console(logs)}")
    return time.monotonic() - start


def _watch(
    process: subprocess.Popen[bytes],
    logs: Path,
    seconds: float,
    pictures: tuple[Picture, ...],
    plugs: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Wait for the machine's end; the errors of its disks."""
    try:
        connection = Qmp(logs / "qmp", seconds=20)
    except LabError as error:
        problem = (logs / "qemu.log").read_text(errors="replace").strip()
        raise LabError(f"{error}; QEMU says: {problem}") from error
    with connection as qmp:
        _wait(qmp, logs, seconds, pictures, plugs)
        errors = [event["data"] for event in qmp.events if event["event"] == "BLOCK_IO_ERROR"]
    code = process.wait(timeout=20)
    if code != 0:
        raise LabError(f"QEMU ended with exit code {code}: {(logs / 'qemu.log').read_text()}")
    return errors


def _wait(
    qmp: Qmp, logs: Path, seconds: float, pictures: tuple[Picture, ...], plugs: Mapping[str, str]
) -> None:
    """Until the machine ends; on the way its pictures are taken and its late disks plugged in."""
    deadline = time.monotonic() + seconds
    missing = list(pictures)
    to_come = dict(plugs)
    left = seconds
    # The console is a file, so its text is looked for anew; without pictures nothing is.
    while not qmp.wait_for_end(min(_GLANCE_SECONDS, left) if missing or to_come else left):
        said = console(logs)
        for picture in [p for p in missing if p.text in said]:
            qmp.execute("screendump", filename=str(logs / f"{picture.name}.ppm"))
            missing.remove(picture)
        for text in [text for text in to_come if text in said]:
            line = f"device_add {to_come.pop(text)}"
            words: dict[str, Any] = {"command-line": line}
            problem = qmp.execute("human-monitor-command", **words)
            if problem:
                raise LabError(f"{line}: {problem}")
        left = deadline - time.monotonic()
        if left <= 0:
            qmp.execute("screendump", filename=str(logs / "screen.ppm"))
            raise LabError(f"still running after {seconds:.0f} s\n{_console(logs)}")
    if missing or to_come:
        never = ", ".join(repr(text) for text in [*(p.text for p in missing), *to_come])
        raise LabError(f"never said {never}\n{_console(logs)}")


def arguments(machine: Machine, logs: Path) -> list[str]:
    """QEMU's command line. It never restarts a guest: a boot loop would end in silence."""
    result = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
        "-machine", "q35", "-accel", machine.accel, "-cpu", "max",
        "-smp", str(machine.cpus), "-m", str(machine.memory_mib),
        "-display", "none", "-vga", machine.screen,
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
    if machine.ssh_port is not None:
        forwarded = f"hostfwd=tcp:127.0.0.1:{machine.ssh_port}-10.0.2.15:22"
        result += ["-netdev", f"user,id=net,restrict=on,{forwarded}"]
        result += ["-device", "virtio-net-pci,netdev=net"]
    if machine.state is not None:
        result += ["-incoming", f"exec:cat {shlex.quote(str(machine.state))}"]
    if machine.scsi or any(disk.bus in ("scsi", "cd") for disk in machine.disks):
        result += ["-device", "virtio-scsi-pci,id=scsi"]
    for number, disk in enumerate(machine.disks):
        result += _disk(disk, number)
    return result


def _plugs(machine: Machine) -> dict[str, str]:
    """What each late disk is to QEMU, by the text that it comes with."""
    return {d.late: _device(d, number) for number, d in enumerate(machine.disks) if d.late}


def _disk(disk: Disk, number: int) -> list[str]:
    options = [f"if=none,id=disk{number}", *_file(disk)]
    # Nothing of a test has to survive a power cut of the host.
    options += ["cache=unsafe", "readonly=on" if disk.read_only else "discard=unmap"]
    if disk.bad or disk.told_of_errors:
        options += ["werror=report", "rerror=report"]
    drive = ["-drive", ",".join(options)]
    if disk.late:
        return drive
    return [*drive, "-device", f"{_device(disk, number)},bootindex={number + 1}"]


def _device(disk: Disk, number: int) -> str:
    device = {
        "virtio": "virtio-blk-pci",
        "nvme": "nvme",
        "scsi": "scsi-hd,bus=scsi.0",
        "cd": "scsi-cd,bus=scsi.0",
    }[disk.bus]
    device += f",drive=disk{number},serial={disk.serial}"
    if disk.sector != 512:
        device += f",logical_block_size={disk.sector},physical_block_size={disk.sector}"
    if disk.removable:
        device += ",removable=on"
    if disk.slot is not None:
        device += f",addr={disk.slot:#x}"
    return device


def _file(disk: Disk) -> list[str]:
    if disk.bad is None:
        return [f"file={disk.image},format={disk.format}"]
    way, sector = disk.bad
    inject = "file.inject-error.0"
    return [
        f"driver={disk.format},file.driver=blkdebug",
        f"file.image.driver=file,file.image.filename={disk.image}",
        f"{inject}.event=none,{inject}.iotype={way},{inject}.errno=5,{inject}.sector={sector}",
    ]


def console(logs: Path) -> str:
    """What the machine has said on its serial console."""
    file = logs / "console.log"
    return file.read_text(errors="replace") if file.exists() else ""


def _console(logs: Path) -> str:
    tail = "\n".join(f"  {line}" for line in console(logs).splitlines()[-_CONSOLE_LINES:])
    return f"the last of {logs / 'console.log'}:\n{tail}"
