"""The auto-install image on a blank machine: nobody is there, and nothing but its kernel
command line says what to do.

The image is made of Debian's kernel and live root, and of iso/'s own unit and scripts. The
machine boots it, counts down, installs, and powers off; then its disk boots alone; then the
machine is started once more with the image still in it, and first in the boot order.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.conftest import LOGS, Bench
from tests.vm.vmlab import image, qemu
from tests.vm.vmlab.install import volatile_root_faults
from tests.vm.vmlab.lab import LIVE_SECONDS, Lab
from tests.vm.vmlab.process import run
from tests.vm.vmlab.qemu import Disk, Machine, Picture

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in image.PROGRAMS),
    reason="needs " + ", ".join(image.PROGRAMS),
)

PARAMETERS = "quiet paranoid.disk=auto paranoid.tmpfs-size=2G paranoid.countdown=5"

COUNTDOWN = Picture("/dev/vda is erased in 3 s; Ctrl-C stops it", "countdown")


@dataclass(frozen=True)
class Medium:
    """The image, and the operator's key that it lets in."""

    file: Path
    operator_key: str


@pytest.fixture(scope="module")
def medium(built_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Medium:
    directory = tmp_path_factory.mktemp("medium")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", directory / "key")
    key = (directory / "key.pub").read_text().strip()
    answers = {"ssh-key": [key], "then": "poweroff"}
    image.build(built_lab, directory / "image.iso", PARAMETERS, answers)
    return Medium(directory / "image.iso", key)


# As a USB stick the medium is a disk like any other, with a partition table: `auto` must
# not count it.
@pytest.mark.parametrize(
    ("firmware", "bus"),
    [("bios", "cd"), pytest.param("uefi", "scsi", marks=pytest.mark.full)],
)
def test_a_blank_machine_installs_itself_once(
    bench: Bench, medium: Medium, firmware: str, bus: str
) -> None:
    target = bench.disk("target")
    with_medium = (Disk(medium.file, "medium", bus, read_only=True), target)
    accel = bench.lab.accel

    machine = Machine(with_medium, accel, firmware, memory_mib=3072)
    qemu.attend(machine, bench.logs / "install", LIVE_SECONDS, (COUNTDOWN,))
    installing = qemu.console(bench.logs / "install")
    assert "finish: done after" in installing
    assert "***" not in installing, "it wanted a person"
    if firmware == "bios":  # Debian's cloud kernel has no driver for a screen under UEFI
        keep(bench.logs / "install/countdown.ppm")

    alone = bench.lab.boot((target,), bench.logs / "alone", firmware=firmware)
    assert volatile_root_faults(alone, "2G") == []
    # Whoever watches the console learns how to know the machine again.
    assert alone.host_keys()["ed25519"] in installing
    assert alone.text("authorized-keys/root").strip() == medium.operator_key
    assert alone.json("install/record.json")["toplevel"] == bench.lab.store.toplevels[firmware]

    again = qemu.run(
        Machine(with_medium, accel, firmware, job="true", memory_mib=3072),
        bench.logs / "again",
        LIVE_SECONDS,
    )
    handing_over = qemu.console(bench.logs / "again")
    assert "This machine is installed already. Booting what is on its disk." in handing_over
    assert "is erased in" not in handing_over
    # The same machine at its second boot: nothing of it was made anew.
    assert (alone.text("boots").strip(), again.text("boots").strip()) == ("1", "2")
    for name in ("install/record.json", "machine-id", "toplevel"):
        assert again.text(name) == alone.text(name), name
    assert again.host_keys() == alone.host_keys()


def keep(picture: Path) -> None:
    """Keep a screenshot for people after a test that passed; it must show something."""
    pixels = picture.read_bytes().split(b"\n", 3)[3]
    assert len(set(pixels)) > 1, f"{picture} is of one colour"
    shutil.copy(picture, LOGS)
