"""The power goes while paranoid-install is at work.

What is cut off before the boot loader is written does not boot, which is shown by trying; a second
install always ends in a system that does; a second disk with data stays as it was.
"""

from __future__ import annotations

import random

import pytest

from tests.vm.conftest import Bench
from tests.vm.test_install import digest
from tests.vm.vmlab import cut
from tests.vm.vmlab.install import baked, job, volatile_root_faults
from tests.vm.vmlab.lab import BOOT_SECONDS, LIVE_SECONDS
from tests.vm.vmlab.qemu import Machine

STEPS = (
    "partition", "format", "mount", "persist", "configure", "identity", "store", "install",
)  # fmt: skip
"""Those before whose end no boot loader is on the disk."""

SEED = 20260714

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


def begin(step: str) -> str:
    """The pattern of what the installer prints with --json when a step begins."""
    return f'"id": "{step}", "title": "[^"]*", "state": "begin"'


def assert_second_install_ends_well(bench: Bench, moment: cut.Moment, *, boots: bool) -> str:
    """Cut, see that nothing boots, install again, boot; the exit code of the plain second try."""
    lab = bench.lab
    target, other = bench.disk("target"), bench.data_disk("data")
    before = digest(other.image)
    options = f"--disk serial=target --tmpfs-size 2G {baked(lab, 'bios')}"

    machine = lab.live_machine(job(f"{options} --json"), (target, other))
    cut.power(machine, bench.logs / "cut", moment, LIVE_SECONDS)
    if not boots:
        alone = Machine((target,), lab.accel)
        cut.does_not_boot(alone, bench.logs / "after", BOOT_SECONDS)
    second = lab.live(_SECOND.format(options=options), (target, other), bench.logs / "second")
    assert second.job_exit_code == 0, second.text("job-output")

    booted = lab.boot((target, other), bench.logs / "boot")
    assert volatile_root_faults(booted, "2G") == []
    assert booted.json("install/record.json")["finished"]
    assert digest(other.image) == before
    return second.text("second-code").strip()


@pytest.mark.full
@pytest.mark.parametrize("step", STEPS)
def test_a_power_cut_as_a_step_begins(bench: Bench, step: str) -> None:
    assert_second_install_ends_well(bench, cut.when(begin(step)), boots=False)


def test_a_power_cut_while_the_system_is_copied(bench: Bench) -> None:
    code = assert_second_install_ends_well(bench, cut.when(begin("store")), boots=False)
    # The journal on the disk says whose it is: nobody has to find out its serial number.
    assert code == "0"


@pytest.mark.full
def test_a_power_cut_before_the_disk_is_let_go(bench: Bench) -> None:
    assert_second_install_ends_well(bench, cut.when(begin("finish")), boots=True)


@pytest.mark.full
@pytest.mark.parametrize("trial", range(20))
def test_a_power_cut_at_any_moment(bench: Bench, trial: int) -> None:
    seconds = random.Random(SEED + trial).uniform(0, 8)
    moment = cut.after(begin("partition"), seconds)
    assert_second_install_ends_well(bench, moment, boots=True)
