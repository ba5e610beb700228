"""The second try: an install after one that was cut off, and the boot that proves it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.vm.vmlab.install import volatile_root_faults
from tests.vm.vmlab.lab import Lab
from tests.vm.vmlab.qemu import Disk
from tests.vm.vmlab.results import Results

TMPFS_SIZE = "2G"

# What is on the disk says enough (exit code 0), or the operator has to name it (3, then --wipe).
_SECOND = """\
options="{options} --ssh-key $OUT/operator.pub"
ssh-keygen -q -t ed25519 -N '' -C operator -f $OUT/operator
paranoid-install $options > $OUT/second 2>&1
code=$?
echo $code > $OUT/second-code
if [ $code = 3 ]; then
  paranoid-install $options --wipe target
else
  exit $code
fi
"""


def options(lab: Lab) -> str:
    """What is asked for: the baked system for BIOS, on the disk with the serial number target."""
    system = lab.store.toplevels["bios"]
    return f"--disk serial=target --tmpfs-size {TMPFS_SIZE} --system {system}"


def begin(step: str) -> str:
    """The pattern of what the installer prints with --json when a step begins."""
    return f'"id": "{step}", "title": "[^"]*", "state": "begin"'


def has_begun(step: str, said: str) -> bool:
    """Whether the installer has said so."""
    return re.search(begin(step), said) is not None


def install_again(lab: Lab, disks: tuple[Disk, ...], logs: Path) -> str:
    """Install in a new live system; the exit code of the plain try, "0" or "3"."""
    second = lab.live(_SECOND.format(options=options(lab)), disks, logs / "second")
    assert second.job_exit_code == 0, second.text("job-output")
    return second.text("second-code").strip()


def assert_boots(lab: Lab, disks: tuple[Disk, ...], logs: Path) -> Results:
    """Boot the first disk alone with the others beside it: it is whole, and as asked for."""
    booted = lab.boot(disks, logs / "boot")
    assert volatile_root_faults(booted, TMPFS_SIZE) == []
    assert booted.json("install/record.json")["finished"]
    return booted
