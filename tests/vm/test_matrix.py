"""Every kind of machine: firmware, bus, one disk or two, little memory, with and without a screen.

A disk with somebody's data is attached in every run and is the same afterwards.
"""

from __future__ import annotations

import pytest

from tests.vm.conftest import Bench
from tests.vm.test_install import assert_amnesiac, assert_as_reported, digest
from tests.vm.vmlab.install import LEAVE_CANARIES, install
from tests.vm.vmlab.qemu import BUSES, Disk, Picture

SMALL_MIB, USUAL_MIB = 768, 2048


@pytest.mark.full
@pytest.mark.parametrize("disks", ["one-disk", "two-disks"])
@pytest.mark.parametrize("bus", [bus for bus in BUSES if bus != "cd"])
@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_machine_is_installed_and_boots(
    bench: Bench, firmware: str, bus: str, disks: str
) -> None:
    target, data = bench.disk("target", bus), bench.data_disk("data", bus)
    spare: tuple[Disk, ...] = ()
    if disks == "two-disks":
        # Two blank ones: no rule may choose, so the operator names the one that is meant.
        spare = (bench.disk("spare", bus, mib=2048),)
        memory, size, option, screen = SMALL_MIB, "384M", "--disk serial=target", "std"
    else:
        memory, size, option, screen = USUAL_MIB, "1G", "--disk auto", "none"
    others = (*spare, data)
    before = [digest(other.image) for other in others]

    installed = install(
        bench.lab, (target, *others), bench.logs / "install",
        f"{option} --tmpfs-size {size} --hostname matrix --firmware {firmware}",
        firmware=firmware, memory_mib=memory,
    )  # fmt: skip
    pictures = (Picture("Linux version", "starting"),) if screen == "std" else ()
    first, second = (
        bench.lab.boot(
            (target, *others), bench.logs / f"boot-{number}", firmware=firmware, job=job,
            memory_mib=memory, screen=screen, pictures=pictures,
        )
        for number, job in ((1, LEAVE_CANARIES), (2, "true"))
    )  # fmt: skip

    assert_amnesiac(first, second, size)
    assert_as_reported(second, installed.text("operator.pub"))
    assert [digest(other.image) for other in others] == before
