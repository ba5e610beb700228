"""Machines that are not allowed to end by themselves: cut off, or shown not to boot."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.vm.vmlab import qemu
from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qemu import Machine
from tests.vm.vmlab.qmp import Qmp

_LOOK_SECONDS = 0.05

SILENCE_SECONDS = 30.0
"""For so long nothing is said by a disk that the firmware has given the machine to.

A boot loader speaks within a few seconds, under TCG and on a busy machine as well.
"""

_NO_DISK_BOOTS = "No bootable device"
_DISK_BEGINS = "Booting from 0000:7c00"

Moment = Callable[[str], bool]
"""Whether the moment has come, from all that the serial console has said."""


def when(pattern: str) -> Moment:
    """The moment at which `pattern` is on the console."""
    return lambda said: re.search(pattern, said) is not None


def after(pattern: str, seconds: float) -> Moment:
    """The moment `seconds` after `pattern` came on the console."""
    seen: list[float] = []

    def come(said: str) -> bool:
        if not seen and re.search(pattern, said):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= seconds

    return come


def first(*moments: Moment) -> Moment:
    """The moment at which one of these has come."""

    def come(said: str) -> bool:
        # All of them look: some have a clock to start.
        return any([moment(said) for moment in moments])  # noqa: C419

    return come


def power(machine: Machine, logs: Path, moment: Moment, seconds: float) -> None:
    """Run a machine and cut its power at a moment: QEMU is killed.

    What the guest had not flushed is lost with it; what it had given to its disk is on the disk.
    Raises LabError if the machine ends before, or the moment does not come within `seconds`.
    """
    _run(machine, logs, (), lambda: moment(qemu.console(logs)), seconds)


def does_not_boot(machine: Machine, logs: Path, seconds: float) -> None:
    """Turn a BIOS machine on, and see that nothing boots.

    Either its firmware says that no disk boots, or it starts the code that parted(8) puts into
    every partition table, and then no boot loader and no kernel says a word. Raises LabError if
    one does, or the firmware does not get so far within `seconds`.
    """
    firmware = logs / "firmware.log"
    extra = (
        *("-chardev", f"file,id=firmware,path={firmware}"),
        *("-device", "isa-debugcon,iobase=0x402,chardev=firmware"),
    )
    silent = after(_DISK_BEGINS, SILENCE_SECONDS)

    def ended() -> bool:
        if qemu.console(logs).strip():
            raise LabError(f"something booted:\n{qemu.console(logs)}")
        said = firmware.read_text(errors="replace") if firmware.exists() else ""
        return _NO_DISK_BOOTS in said or silent(said)

    _run(machine, logs, extra, ended, seconds)


def _run(
    machine: Machine,
    logs: Path,
    extra: tuple[str, ...],
    ended: Callable[[], bool],
    seconds: float,
) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "console.log").unlink(missing_ok=True)
    command = [*qemu.arguments(machine, logs), *extra]
    deadline = time.monotonic() + seconds
    with (logs / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            with Qmp(logs / "qmp", seconds=20) as qmp:
                while not ended():
                    if qmp.wait_for_end(_LOOK_SECONDS):
                        raise LabError(f"ended before its moment:\n{qemu.console(logs)}")
                    if time.monotonic() > deadline:
                        raise LabError(
                            f"the moment did not come in {seconds:.0f} s:\n{qemu.console(logs)}"
                        )
        finally:
            process.kill()
            process.wait()
