"""What happens to a machine in the middle of an install, and what the installer says of it.

After each of these the second try ends in a machine that boots.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.vm.conftest import Bench
from tests.vm.test_install import digest
from tests.vm.vmlab import again, image, qemu
from tests.vm.vmlab.again import begin
from tests.vm.vmlab.lab import LIVE_SECONDS, blank_disk
from tests.vm.vmlab.process import run
from tests.vm.vmlab.qemu import Disk, Machine

# What a first try leaves behind for the test to look at, and then the second try.
_JOB = """\
ssh-keygen -q -t ed25519 -N '' -C operator -f $OUT/operator
set -- {options} --ssh-key $OUT/operator.pub
{before}
paranoid-install {first} --json > $OUT/events 2> $OUT/errors &
pid=$!
{deed}
wait $pid
echo $? > $OUT/code
findmnt --noheadings --output TARGET > $OUT/mounts
losetup --noheadings --output NAME > $OUT/loops
{mend}
{second}
"""

_WAIT = "tail --follow --lines=+1 --pid=$pid $OUT/events | grep -qm1 '{moment}'"


@dataclass(frozen=True)
class Fault:
    """A deed as a step begins, the exit code that it must end in, and a word of the error.

    `before` and `mend` are done before the first and before the second try; `first` and `again`
    are what these are asked.
    """

    deed: str
    code: int
    says: str = ""
    step: str = "store"
    before: str = "true"
    first: str = '"$@"'
    mend: str = "true"
    again: str = '"$@"'
    disk_mib: int = 4096


UNPLUG = "echo 1 > $(readlink -f /sys/block/vda/device/..)/remove"
PLUG = "echo 1 > /sys/bus/pci/rescan && udevadm settle"

# All but 8 MiB, root's reserve too.
FILL_NIX = "fallocate -l $(($(stat -f -c '%f * %S' /mnt/nix) - 8 * 1024 * 1024)) /mnt/nix/filler"
# Bytes and inodes: an empty file takes none of the former.
FILL_ROOT = """\
mount -o remount,size=1M,nr_inodes=200 /mnt
dd if=/dev/zero of=/mnt/filler bs=4k status=none
for number in $(seq 200); do : > /mnt/filler-$number; done
"""
# A system like the baked one, which needs 3 GiB more. The database believes what it is told.
LARGER = """\
small=$(printf '%s\\n' "$@" | grep ^/nix/store/)
large=/nix/store/00000000000000000000000000000001-large
filler=/nix/store/00000000000000000000000000000002-filler
cp -a $small $large
truncate -s 3G $filler
hash=$(printf '%064d' 0)
printf '%s\\n' $filler $hash 1000 '' 0 $large $hash 1000 '' 2 $small $filler | nix-store --load-db
"""

FAULTS = {
    "SIGTERM": Fault("kill -TERM $pid", 143),
    "SIGINT": Fault("kill -INT $pid", 130),
    "SIGKILL": Fault("kill -KILL $pid", 137),
    "SIGKILL-in-identity": Fault("kill -KILL $pid", 137, step="identity"),
    "the-disk-is-full": Fault(FILL_NIX, 5, "No space left on device"),
    "the-tmpfs-is-full": Fault(FILL_ROOT, 5, "No space left on device"),
    "the-disk-is-gone": Fault(UNPLUG, 5, mend=PLUG, again='"$@" --wipe target'),
    "the-system-is-too-large": Fault(
        "true",
        3,
        "the system takes 3.",
        step="",
        before=LARGER,
        first='"${@/$small/$large}"',
        disk_mib=3072,
    ),
}
"""By name. Of each the disk must be free again and a second disk as before."""


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_and_the_second_try_boots(bench: Bench, name: str) -> None:
    fault = FAULTS[name]
    lab, other = bench.lab, bench.data_disk("data")
    target = bench.disk("target", mib=fault.disk_mib)
    before = digest(other.image)

    wait = _WAIT.format(moment=begin(fault.step)) if fault.step else "true"
    script = _JOB.format(
        options=again.options(lab), before=fault.before, first=fault.first,
        deed=f"{wait}\n{fault.deed}", mend=fault.mend, second=f"paranoid-install {fault.again}",
    )  # fmt: skip
    live = lab.live(script, (target, other), bench.logs / "live")

    assert int(live.text("code")) == fault.code, live.text("errors")
    assert fault.says in live.text("errors")
    assert not has_traceback(live.lines("errors"))
    if fault.code != 137:  # nobody can take back anything after SIGKILL
        assert held(live.lines("mounts")) == []
        assert live.text("loops") == ""
    assert live.job_exit_code == 0, live.text("job-output")
    again.assert_boots(lab, (target, other), bench.logs)
    assert digest(other.image) == before


def has_traceback(errors: list[str]) -> bool:
    """Whether the installer itself broke: a program's own words are quoted behind a bar."""
    return any(line.startswith("Traceback") for line in errors)


def held(mounts: list[str]) -> list[str]:
    """What is mounted at the target's root or below it."""
    return [point for point in map(str.strip, mounts) if point.split("/")[:2] == ["", "mnt"]]


BAD_SECTORS = {
    "the-first-cannot-be-read": ("read", 0, 3, "cannot be read"),
    "one-of-nix-cannot-be-written": ("write", 1048578, 5, "Input/output error"),
}
"""What fails, at which sector, the exit code, and a word of the error."""


def first_try(bench: Bench, disks: tuple[Disk, ...], code: int, says: str) -> None:
    """A try that must end so, with everything released; nobody does anything to it."""
    script = _JOB.format(
        options=again.options(bench.lab),
        before="true", first='"$@"', deed="true", mend="true", second="true",
    )  # fmt: skip
    live = bench.lab.live(script, disks, bench.logs / "live")
    assert int(live.text("code")) == code, live.text("errors")
    assert says in live.text("errors")
    assert not has_traceback(live.lines("errors"))
    assert held(live.lines("mounts")) == []


@pytest.mark.full
@pytest.mark.parametrize("name", BAD_SECTORS)
def test_a_bad_sector_is_an_error_and_no_blank_disk(bench: Bench, name: str) -> None:
    way, sector, code, says = BAD_SECTORS[name]
    target = bench.disk("target")
    before = digest(target.image)

    first_try(bench, (replace(target, bad=(way, sector)),), code, says)

    assert (digest(target.image) == before) == (code == 3)
    # The same disk, mended.
    again.install_again(bench.lab, (target,), bench.logs)
    again.assert_boots(bench.lab, (target,), bench.logs)


@pytest.fixture
def narrow_host(tmp_path: Path) -> Iterator[Path]:
    """A file system of the host with less room than the disk that is to grow on it."""
    place = tmp_path / "host"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={16 * 1024**2}", "disks", place)
    yield place
    run("umount", place)


@pytest.mark.full
def test_a_full_disk_of_the_host_is_an_error_and_with_more_room_it_boots(
    bench: Bench, narrow_host: Path
) -> None:
    target = Disk(blank_disk(narrow_host / "target.raw"), "target", told_of_errors=True)
    other = bench.data_disk("data")
    before = digest(other.image)

    # In which words the guest's kernel has it depends on what it was writing.
    first_try(bench, (target, other), 5, "the disk was changed, and does not boot")

    run("mount", "-o", f"remount,size={5 * 1024**3}", narrow_host)
    again.install_again(bench.lab, (target, other), bench.logs)
    again.assert_boots(bench.lab, (target, other), bench.logs)
    assert digest(other.image) == before


# The auto-install image, whose installer is a service of a real systemd. This unit is beside it.
_STOPPER = """\
[Unit]
Description=The test
[Service]
Environment=PATH=@path@ HOME=/root LC_ALL=C.UTF-8
ExecStart=/bin/bash /sys/firmware/qemu_fw_cfg/by_name/opt/paranoid/job/raw
StandardOutput=journal+console
StandardError=inherit
"""

_STOP = """\
out=/run/results unit=paranoid-install.service
mkdir $out
grep -qm1 '] store: ' < <(tail -F --lines=+1 /run/paranoid-install.log 2> /dev/null)
systemctl stop $unit
systemctl show --property=ExecMainCode,ExecMainStatus $unit > $out/unit
findmnt --noheadings --output TARGET > $out/mounts
cp /run/paranoid-install.log $out/log
# Nobody says --wipe: what the disk holds is the stopped run's.
systemctl start $unit
echo $? > $out/second-code
cp /run/paranoid-install.log $out/second-log
tar -c -C $out -f /dev/virtio-ports/paranoid.results .
systemctl poweroff
"""


@pytest.mark.full
@pytest.mark.skipif(
    any(shutil.which(program) is None for program in image.PROGRAMS),
    reason="needs " + ", ".join(image.PROGRAMS),
)
def test_systemctl_stop_is_taken_back_and_the_second_start_boots(
    bench: Bench, tmp_path: Path
) -> None:
    lab, target, other = bench.lab, bench.disk("target"), bench.data_disk("data")
    before = digest(other.image)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", tmp_path / "key")
    answers = {
        "disk": "serial=target",
        "tmpfs-size": again.TMPFS_SIZE,
        "ssh-key": [(tmp_path / "key.pub").read_text().strip()],
    }
    medium = tmp_path / "image.iso"
    image.build(lab, medium, "quiet", answers, units={"stopper.service": _STOPPER})

    disks = (Disk(medium, "medium", "cd", read_only=True), target, other)
    machine = Machine(disks, lab.accel, job=_STOP, memory_mib=3072)
    stopped = qemu.run(machine, bench.logs / "live", LIVE_SECONDS)

    assert "stopped by SIGTERM" in stopped.text("log")
    assert set(stopped.lines("unit")) == {"ExecMainCode=1", "ExecMainStatus=143"}
    assert held(stopped.lines("mounts")) == []
    assert stopped.text("second-code").strip() == "0", stopped.text("second-log")
    again.assert_boots(lab, (target, other), bench.logs)
    assert digest(other.image) == before
