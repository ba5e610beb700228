"""The live system booted once, and continued from there for each of many short jobs.

The whole state of the machine goes to a file, as for a migration (QEMU's "migrate" and
-incoming; qemu-system(1)). Unlike savevm that takes no disk that can hold snapshots: the disks
stay plain images, which anybody can compare byte by byte.
"""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.vm.vmlab import qemu
from tests.vm.vmlab.lab import LIVE_SECONDS, Lab
from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qemu import Disk, Machine
from tests.vm.vmlab.qmp import Qmp
from tests.vm.vmlab.results import Results

_LOOK_SECONDS = 0.1

# The guest has read the length of its job at boot, so each has this one.
_JOB_BYTES = 4096

_WARM = "live: waiting for a job"

# Waits until QEMU has another job, and runs that. Its file says of itself that it is empty, so it
# is read by cat. An installer that has run once is faster.
_WAIT = f"""\
job=/sys/firmware/qemu_fw_cfg/by_name/opt/paranoid/job/raw
paranoid-install --help > $OUT/help
echo '{_WARM}'
while cat $job | cmp -s - /run/job; do sleep 0.1; done
cat $job > /run/next-job
. /run/next-job
"""

# A disk that was not there is looked for; the kernel makes its device a little later.
_PLUG = """\
for host in /sys/class/scsi_host/host*; do echo '- - -' > $host/scan; done
until [ "$(ls -d /sys/block/sd* 2> /dev/null | wc -l)" = {count} ]; do sleep 0.1; done
udevadm settle
"""


@dataclass(frozen=True)
class Warm:
    """A live system that is up and waits; see `warm_up`."""

    machine: Machine
    state: Path

    def run(
        self, job: str, disks: tuple[Disk, ...], logs: Path, seconds: float = LIVE_SECONDS
    ) -> Results:
        """Go on from the state with these SCSI disks and this job, which sees them as /dev/sda
        and so on; the state stays as it is.

        The first byte that a guest reads or writes of these disks is one of the job's.
        """
        machine = replace(
            self.machine,
            disks=(*self.machine.disks, *(replace(disk, bus="scsi") for disk in disks)),
            job=_padded(_PLUG.format(count=sum(not disk.late for disk in disks)) + job),
            state=self.state,
        )
        return qemu.run(machine, logs, seconds)


def warm_up(lab: Lab, logs: Path, state: Path, *, memory_mib: int = 1024) -> Warm:
    """Boot the live system without a disk to install on, and write its state to a file.

    Raises LabError when it is not up within LIVE_SECONDS.
    """
    machine = replace(lab.live_machine(_padded(_WAIT), (), memory_mib=memory_mib), scsi=True)
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "console.log").unlink(missing_ok=True)
    with (logs / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            qemu.arguments(machine, logs),
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            with Qmp(logs / "qmp", seconds=20) as qmp:
                _save(qmp, logs, state)
        finally:
            process.kill()
            process.wait()
    return Warm(machine, state)


def _save(qmp: Qmp, logs: Path, state: Path) -> None:
    """Write the state as soon as the machine waits; it is there when the file has its name."""
    deadline = time.monotonic() + LIVE_SECONDS
    part = shlex.quote(f"{state}.part")
    asked = False
    while not state.exists():
        if qmp.wait_for_end(_LOOK_SECONDS):
            raise LabError(f"the live system ended:\n{qemu.console(logs)}")
        if time.monotonic() > deadline:
            raise LabError(f"no state after {LIVE_SECONDS} s:\n{qemu.console(logs)}")
        if not asked and _WARM in qemu.console(logs):
            uri = f"exec:cat > {part} && mv {part} {shlex.quote(str(state))}"
            qmp.execute("migrate", uri=uri)
            asked = True


def _padded(job: str) -> str:
    size = len(job.encode())
    if size > _JOB_BYTES:
        raise LabError(f"a job of {size} bytes; a warm machine takes {_JOB_BYTES}")
    return job + "\n" * (_JOB_BYTES - size)
