"""What may be taken for the disk that is meant, or for a blank one, on a real kernel with udev.

Volume groups and arrays are made in the machine by the tools of Debian: this host's kernel need not
have device mapper or RAID. In each scenario nothing of the target is written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.vm.conftest import LOGS, Bench
from tests.vm.test_refusals import REFUSED, content
from tests.vm.vmlab.lab import DISK_MIB, Lab, blank_disk
from tests.vm.vmlab.qemu import Disk
from tests.vm.vmlab.warm import Warm, warm_up


@dataclass(frozen=True)
class Scenario:
    """What is said of /dev/sda, the target; /dev/sdb is another disk."""

    says: str
    before: str = "true"
    disk: str = "serial=target"
    more: str = ""
    sector: int = 512
    removable: bool = False
    data: bytes = b""


_VOLUME = "modprobe dm-mod; pvcreate -q {0} && vgcreate -q v-g {0} && lvcreate -qy -L 64M -n l v-g"

SCENARIOS = {
    "label-on-a-volume": Scenario(
        "already carries the label 'nix'",
        f"{_VOLUME.format('/dev/sdb')} && mkfs.ext4 -q -L nix /dev/v-g/l",
    ),
    "label-on-an-array": Scenario(
        "already carries the label 'boot'",
        "modprobe md-mod; modprobe raid1; "
        "mdadm --create /dev/md0 --run --metadata=1.0 --level=1 --raid-devices=2 /dev/sdb missing "
        "&& mkfs.ext4 -q -L boot /dev/md0",
    ),
    "its-volume-group-is-active": Scenario(
        "in use by LVM's v--g-l (dm-0); unmount what is on it and let go of it "
        "(vgchange --activate n v-g)",
        _VOLUME.format("/dev/sda"),
        more="--wipe target",
    ),
    "random-bytes": Scenario("holds data of no known kind (at byte 0)", data=os.urandom(1024**2)),
    "sectors-of-4096-bytes": Scenario("has sectors of 4096 bytes", sector=4096),
    "removable": Scenario("is removable", disk="size>=2G", removable=True),
}


@pytest.fixture(scope="module")
def warm(
    request: pytest.FixtureRequest, built_lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warm]:
    logs = LOGS / "identity-warm"
    shutil.rmtree(logs, ignore_errors=True)
    failed_before = request.session.testsfailed
    state = tmp_path_factory.mktemp("warm") / "state"
    yield warm_up(built_lab, logs, state)
    state.unlink()
    if request.session.testsfailed == failed_before:
        shutil.rmtree(logs)


@pytest.mark.full
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_disk_is_not_taken(bench: Bench, warm: Warm, name: str) -> None:
    scenario = SCENARIOS[name]
    target = blank_disk(bench.scratch / "target.raw", DISK_MIB)
    with target.open("r+b") as file:
        file.write(scenario.data)
    other = blank_disk(bench.scratch / "other.raw", 256)
    before = content(target)

    asked = f"paranoid-install --disk '{scenario.disk}' --tmpfs-size 384M --ssh-key /run/key.pub"
    job = (
        "ssh-keygen -q -t ed25519 -N '' -f /run/key\n"
        f"{{ {scenario.before}; }} && udevadm settle || exit 99\n"
        f"{asked} {scenario.more}\n"
    )
    disks = (
        Disk(target, "target", sector=scenario.sector, removable=scenario.removable),
        Disk(other, "other"),
    )
    report = warm.run(job, disks, bench.logs)

    said = " ".join(report.text("job-output").split())
    assert report.job_exit_code == REFUSED, said
    assert scenario.says in said
    if "/dev/sda" not in scenario.before:
        assert content(target) == before
