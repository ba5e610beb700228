"""The power goes while paranoid-install is at work.

What is cut off before the boot loader is written does not boot, which is shown by trying; a second
install always ends in a system that does; a second disk with data stays as it was.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.vm.conftest import Bench
from tests.vm.test_install import digest
from tests.vm.vmlab import again, cut, qemu
from tests.vm.vmlab.again import begin, has_begun
from tests.vm.vmlab.install import job
from tests.vm.vmlab.lab import BOOT_SECONDS, LIVE_SECONDS, Lab, blank_disk
from tests.vm.vmlab.qemu import Disk, Machine

STEPS = (
    "partition", "format", "mount", "persist", "configure", "identity", "store", "install",
)  # fmt: skip
"""Those before whose end no boot loader is on the disk."""

TRIALS = 20
SEED = 20260714


def assert_second_install_ends_well(bench: Bench, moment: cut.Moment) -> str:
    """Cut, see that nothing boots, install again, boot; the exit code of the plain second try.

    After the boot loader's turn has come the disk may boot or not: then it is not tried.
    """
    lab = bench.lab
    target, other = bench.disk("target"), bench.data_disk("data")
    before = digest(other.image)

    machine = lab.live_machine(job(f"{again.options(lab)} --json"), (target, other))
    cut.power(machine, bench.logs / "cut", moment, LIVE_SECONDS)
    if not has_begun("install", qemu.console(bench.logs / "cut")):
        assert_does_not_boot(bench, target)
    code = again.install_again(lab, (target, other), bench.logs)
    again.assert_boots(lab, (target, other), bench.logs)
    assert digest(other.image) == before
    return code


def assert_does_not_boot(bench: Bench, target: Disk) -> None:
    alone = Machine((target,), bench.lab.accel)
    cut.does_not_boot(alone, bench.logs / "after", BOOT_SECONDS)


@pytest.mark.parametrize(
    "step",
    [step if step == "store" else pytest.param(step, marks=pytest.mark.full) for step in STEPS],
)
def test_a_power_cut_as_a_step_begins(bench: Bench, step: str) -> None:
    code = assert_second_install_ends_well(bench, cut.when(begin(step)))
    # Since then somebody may have used the disk: in a later boot it has to be named.
    assert code == "3" or step != "store"


@pytest.mark.full
def test_a_power_cut_before_the_disk_is_let_go(bench: Bench) -> None:
    assert_second_install_ends_well(bench, cut.when(begin("finish")))


@pytest.fixture(scope="session")
def install_seconds(built_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long an install takes here, from its first write to the beginning of its last step."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    target = Disk(blank_disk(scratch / "target.raw"), "target")
    script = job(f"{again.options(built_lab)} --json > $OUT/events")
    events = built_lab.live(script, (target,), scratch / "logs").lines("events")
    target.image.unlink()
    begun = {
        event["id"]: float(event["time"])
        for event in map(json.loads, events)
        if event["event"] == "step" and event["state"] == "begin"
    }
    return begun["finish"] - begun["partition"]


@pytest.mark.full
@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_power_cut_at_any_moment(bench: Bench, install_seconds: float, trial: int) -> None:
    """Moments are spread over the whole of an install, the same share of it in every run."""
    share = random.Random(SEED + trial).random()
    note(bench.logs, f"{share:.3f} of {install_seconds:.1f} s after the first write")
    # This install may be faster than the one that was measured.
    moment = cut.first(
        cut.after(begin("partition"), share * install_seconds), cut.when(begin("finish"))
    )
    assert_second_install_ends_well(bench, moment)


def note(logs: Path, text: str) -> None:
    (logs / "moment").write_text(f"{text}\n")
