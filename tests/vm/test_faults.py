"""What happens to a machine in the middle of an install, and what the installer says of it.

After each of these the second try, in the same live system, ends in a machine that boots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from tests.vm.conftest import Bench
from tests.vm.test_install import digest
from tests.vm.test_power_cut import begin
from tests.vm.vmlab.install import baked, volatile_root_faults

# `deed` is done when the installer's events match `moment`.
_JOB = """\
ssh-keygen -q -t ed25519 -N '' -C operator -f $OUT/operator
set -- {options} --ssh-key $OUT/operator.pub
paranoid-install "$@" --json > $OUT/events 2> $OUT/errors &
pid=$!
if [ -n '{moment}' ]; then
  tail --follow --lines=+1 --pid=$pid $OUT/events | grep -qm1 '{moment}'
  {deed}
fi
wait $pid
echo $? > $OUT/code
findmnt --noheadings --output TARGET > $OUT/mounts
{mend}
if [ -n '{again}' ]; then paranoid-install "$@" {again}; fi
"""


@dataclass(frozen=True)
class Fault:
    """A deed at a moment, the exit code it must end in, and a word of the error."""

    deed: str
    code: int
    says: str = ""
    step: str = "store"
    mend: str = "true"
    again: str = "--plain"


UNPLUG = "echo 1 > $(readlink -f /sys/block/vda/device/..)/remove"
PLUG = "echo 1 > /sys/bus/pci/rescan && udevadm settle"

FAULTS = {
    "SIGTERM": Fault("kill -TERM $pid", 143),
    "SIGINT": Fault("kill -INT $pid", 130),
    "SIGKILL": Fault("kill -KILL $pid", 137),
    "SIGKILL-in-identity": Fault("kill -KILL $pid", 137, step="identity"),
    "the-disk-is-full": Fault(
        "dd if=/dev/zero of=/mnt/nix/filler bs=1M; true", 5, "space", mend="umount -R /mnt; true"
    ),
    "the-disk-is-gone": Fault(UNPLUG, 5, mend=PLUG, again="--wipe target"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_and_the_second_try_boots(bench: Bench, name: str) -> None:
    fault = FAULTS[name]
    lab, target, other = bench.lab, bench.disk("target"), bench.data_disk("data")
    before = digest(other.image)

    script = _JOB.format(
        options=f"--disk serial=target --tmpfs-size 2G {baked(lab, 'bios')}",
        moment=begin(fault.step), deed=fault.deed, mend=fault.mend, again=fault.again,
    )  # fmt: skip
    live = lab.live(script, (target, other), bench.logs / "live")

    assert int(live.text("code")) == fault.code, live.text("errors")
    assert fault.says in live.text("errors")
    assert "Traceback" not in live.text("errors")
    if fault.code in (5, 130, 143):
        assert not [line for line in live.lines("mounts") if line.startswith("/mnt")]
    assert live.job_exit_code == 0, live.text("job-output")
    booted = lab.boot((target, other), bench.logs / "boot")
    assert volatile_root_faults(booted, "2G") == []
    assert digest(other.image) == before


BAD_SECTORS = {
    "the-first-cannot-be-read": ("read", 0, 3, "cannot be read"),
    "one-of-nix-cannot-be-written": ("write", 1048578, 5, "Input/output error"),
}


@pytest.mark.full
@pytest.mark.parametrize("name", BAD_SECTORS)
def test_a_bad_sector_is_an_error_and_no_blank_disk(bench: Bench, name: str) -> None:
    way, sector, code, says = BAD_SECTORS[name]
    lab, target = bench.lab, bench.disk("target")
    before = digest(target.image)
    bad = replace(target, bad=(way, sector))

    script = _JOB.format(
        options=f"--disk serial=target --tmpfs-size 2G {baked(lab, 'bios')}",
        moment="", deed="true", mend="true", again="",
    )  # fmt: skip
    live = lab.live(script, (bad,), bench.logs / "live")

    assert int(live.text("code")) == code, live.text("errors")
    assert says in live.text("errors")
    assert (digest(target.image) == before) == (code == 3)
    assert not [line for line in live.lines("mounts") if line.startswith("/mnt")]
