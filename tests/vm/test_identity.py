"""Which disk is meant, on a real kernel with udev, LVM, RAID and encryption.

The live system boots once. Each scenario goes on from there with /dev/sda, the target, and
/dev/sdb, another disk: either the right one is written, or none is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.vm.conftest import LOGS, Bench
from tests.vm.test_refusals import REFUSED, content
from tests.vm.vmlab.install import baked
from tests.vm.vmlab.lab import DISK_MIB, Lab, blank_disk
from tests.vm.vmlab.qemu import Disk
from tests.vm.vmlab.warm import Warm, warm_up

_FAILED_UNTOUCHED = 4


@dataclass(frozen=True)
class Scenario:
    """What is said, where nothing is written; `before` is what the live system had done."""

    says: str
    before: str = "true"
    disk: str = "serial=target"
    more: str = ""
    sector: int = 512
    removable: bool = False
    other_serial: str = "other"
    data: bytes = b""
    code: int = REFUSED


def group(*disks: str, name: str = "v-g") -> str:
    """An active volume group over these disks."""
    all_of_them = " ".join(disks)
    return (
        f"modprobe dm-mod && pvcreate -q {all_of_them} && vgcreate -q {name} {all_of_them} && "
        f"lvcreate -qy -L 64M -n l {name}"
    )


def mirror(*disks: str, label: str = "data") -> str:
    """An active array with one half of it missing."""
    members = f"--raid-devices={len(disks) + 1} {' '.join(disks)} missing"
    return (
        "modprobe md-mod && modprobe raid1 && "
        f"mdadm --create /dev/md0 --run --metadata=1.0 --level=1 {members} && "
        f"mkfs.ext4 -q -L {label} /dev/md0"
    )


STACK = (
    # An array, encryption on it, a volume group in that, and encryption on one of its volumes.
    f"modprobe dm-crypt && {mirror('/dev/sda')} && "
    "echo secret > /run/pass && luks='cryptsetup --batch-mode --key-file /run/pass' && "
    "fast='--pbkdf pbkdf2 --pbkdf-force-iterations 1000' && "
    "$luks $fast luksFormat /dev/md0 && $luks open /dev/md0 outer && "
    f"{group('/dev/mapper/outer')} && "
    "$luks $fast luksFormat /dev/v-g/l && $luks open /dev/v-g/l inner"
)
WIPE = "--wipe target"

REFUSALS = {
    "label-on-a-volume": Scenario(
        "already carries the label 'nix'",
        f"{group('/dev/sdb')} && mkfs.ext4 -q -L nix /dev/v-g/l",
    ),
    "label-on-an-array": Scenario(
        "already carries the label 'boot'", mirror("/dev/sdb", label="boot")
    ),
    "two-disks-of-one-serial": Scenario("both answer to it", other_serial="target"),
    "its-group-is-active": Scenario(
        "in use by the volume group v-g (dm-0); let go of it (vgchange", group("/dev/sda")
    ),
    "its-group-lies-on-another-disk-too": Scenario(
        "which also lies on /dev/sdb", group("/dev/sda", "/dev/sdb"), more=WIPE
    ),
    "its-array-lies-on-another-disk-too": Scenario(
        "which also lies on /dev/sdb", mirror("/dev/sda", "/dev/sdb"), more=WIPE
    ),
    "its-volume-is-mounted": Scenario(
        "which is mounted at /media",
        f"{group('/dev/sda')} && mkfs.ext4 -q /dev/v-g/l && mount /dev/v-g/l /media",
        more=WIPE,
    ),
    "its-volume-is-mounted-where-nobody-sees-it": Scenario(
        "which is used by the kernel (dm-0)",
        f"{group('/dev/sda')} && mkfs.ext4 -q /dev/v-g/l && "
        "{ unshare --mount sh -c 'mount /dev/v-g/l /media && echo > /run/up && exec sleep 600' & } "
        "&& until [ -e /run/up ]; do sleep 0.1; done",
        more=WIPE,
    ),
    "its-volume-is-swap": Scenario(
        "which is swapped to (dm-0)",
        f"{group('/dev/sda')} && mkswap -q /dev/v-g/l && swapon /dev/v-g/l",
        more=WIPE,
    ),
    "its-volume-is-open": Scenario(
        # Without a claim, as a virtual machine has its disks: LVM itself says no.
        "the disk was not touched",
        f"{group('/dev/sda')} && exec 7< /dev/v-g/l",
        more=WIPE,
        code=_FAILED_UNTOUCHED,
    ),
    "random-bytes": Scenario("holds data of no known kind (at byte 0)", data=os.urandom(1024**2)),
    "sectors-of-4096-bytes": Scenario("has sectors of 4096 bytes", sector=4096),
    "removable": Scenario("is removable", disk="size>=2G", removable=True),
}  # fmt: skip

QUICK = {"its-group-lies-on-another-disk-too", "label-on-a-volume"}


@pytest.fixture(scope="module")
def warm(
    request: pytest.FixtureRequest, built_lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warm]:
    logs = LOGS / "identity-warm"
    shutil.rmtree(logs, ignore_errors=True)
    failed_before = request.session.testsfailed
    state = tmp_path_factory.mktemp("warm") / "state"
    # The system that is installed has a root of 2 GiB.
    yield warm_up(built_lab, logs, state, memory_mib=3072)
    state.unlink()
    if request.session.testsfailed == failed_before:
        shutil.rmtree(logs)


def job(before: str, disk: str, more: str, after: str = "true") -> str:
    """A script that does something as a person would have, and asks for an install.

    Its own sums are of what both disks hold, with what was still in memory.
    """
    asked = f"paranoid-install --disk '{disk}' --ssh-key /run/key.pub {more}"
    return (
        "ssh-keygen -q -t ed25519 -N '' -f /run/key\n"
        f"{{ {before}; }} && udevadm settle || exit 99\n"
        "sums() { sync; for d in a b; do head -c 64M /dev/sd$d | sha256sum; done; }\n"
        "sums > $OUT/before\n"
        f"{asked}\n"
        "code=$?\n"
        "sums > $OUT/after\n"
        f"{after}\n"
        "exit $code\n"
    )


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in REFUSALS]
)
def test_no_disk_is_written(bench: Bench, warm: Warm, name: str) -> None:
    scenario = REFUSALS[name]
    target = blank_disk(bench.scratch / "target.raw", DISK_MIB)
    with target.open("r+b") as file:
        file.write(scenario.data)
    other = blank_disk(bench.scratch / "other.raw", 256)
    before = content(target)
    disks = (
        Disk(target, "target", sector=scenario.sector, removable=scenario.removable),
        Disk(other, scenario.other_serial),
    )
    asked = job(scenario.before, scenario.disk, scenario.more)
    report = warm.run(asked, disks, bench.logs)

    said = " ".join(report.text("job-output").split())
    assert report.job_exit_code == scenario.code, said
    assert scenario.says in said
    assert report.text("before") == report.text("after")
    if "/dev/sda" not in scenario.before:
        assert content(target) == before


@pytest.mark.full
@pytest.mark.parametrize("before", [group("/dev/sda"), STACK], ids=["group", "stack"])
def test_what_stands_on_a_disk_that_is_to_be_wiped_goes_first(
    bench: Bench, warm: Warm, before: str
) -> None:
    target, other = bench.scratch / "target.raw", bench.scratch / "other.raw"
    disks = (Disk(blank_disk(target), "target"), Disk(blank_disk(other, 256), "other"))
    # A group on another disk stays as it is.
    beside = f"{before} && {group('/dev/sdb', name='beside')}"
    after = "lsblk > $OUT/lsblk; blkid --probe -o export /dev/sda2 > $OUT/nix"
    more = f"{WIPE} {baked(bench.lab, 'bios')}"
    report = warm.run(job(beside, "serial=target", more, after), disks, bench.logs)

    said = report.text("job-output")
    assert report.job_exit_code == 0, said
    assert "LABEL=nix" in report.text("nix")
    assert "beside-l" in report.text("lsblk")
    assert "v--g" not in report.text("lsblk")
    first, second = report.text("before").splitlines()
    assert report.text("after").splitlines()[1] == second
    assert report.text("after").splitlines()[0] != first


WAITING = "waiting up to 120 s for a disk"


@pytest.mark.full
def test_the_disk_that_comes_late_is_the_one_that_is_written(bench: Bench, warm: Warm) -> None:
    target, other = bench.scratch / "target.raw", bench.scratch / "other.raw"
    disks = (
        Disk(blank_disk(other, 256), "other"),
        Disk(blank_disk(target), "target", late=WAITING),
    )
    before = content(other)
    after = "blkid --probe -o export /dev/sdb2 > $OUT/nix"
    more = f"--wait-for-disk 120 {baked(bench.lab, 'bios')}"
    report = warm.run(job("true", "auto", more, after), disks, bench.logs)

    said = report.text("job-output")
    assert report.job_exit_code == 0, said
    assert "LABEL=nix" in report.text("nix")
    assert content(other) == before


@pytest.mark.full
def test_the_first_of_two_disks_that_come_late_is_not_taken(bench: Bench, warm: Warm) -> None:
    images = [blank_disk(bench.scratch / f"{name}.raw") for name in ("first", "second")]
    before = [content(image) for image in images]
    # What the second one is plugged in at.
    prepared = (
        "mkdir -p /run/udev/rules.d\n"
        "cat > /run/udev/rules.d/99-first.rules << 'END'\n"
        'ACTION=="add", KERNEL=="sda", RUN+="/bin/sh -c \'echo the first is there > /dev/ttyS0\'"\n'
        "END\n"
        "udevadm control --reload"
    )
    disks = (
        Disk(images[0], "first", late=WAITING),
        Disk(images[1], "second", late="the first is there"),
    )
    report = warm.run(job(prepared, "auto", "--wait-for-disk 120"), disks, bench.logs)

    said = " ".join(report.text("job-output").split())
    assert report.job_exit_code == REFUSED, said
    assert "2 disks fit" in said
    assert [content(image) for image in images] == before
