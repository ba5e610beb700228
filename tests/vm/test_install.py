"""Real installs in virtual machines, and cold boots of what they leave.

Each boots the live system, runs `paranoid-install` there on a blank disk, powers off, and
boots that disk by its own boot loader, twice, from power-off. What the installed machine
says of itself comes back on a virtio port; a machine that says nothing has failed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.vm.conftest import Bench
from tests.vm.vmlab.install import (
    CANARY_IN_LOG,
    CANARY_IN_ROOT,
    LEAVE_CANARIES,
    baked,
    install,
    volatile_root_faults,
)
from tests.vm.vmlab.qemu import Disk
from tests.vm.vmlab.results import Results

# The letters of SCSI disks follow whichever answers first; a serial number does not.
TARGETS = {"virtio": "/dev/vda", "nvme": "/dev/nvme0n1", "scsi": "serial=target"}


def assert_amnesiac(first: Results, second: Results, size: str) -> None:
    """Two boots of one machine, the first of which left canaries."""
    for boot in (first, second):
        assert volatile_root_faults(boot, size) == []
        assert boot.job_exit_code == 0, boot.text("job-output")
    assert CANARY_IN_ROOT not in second.lines("files-root")
    assert CANARY_IN_LOG in second.lines("files-var-log")
    assert (first.text("boots").strip(), second.text("boots").strip()) == ("1", "2")
    assert second.text("machine-id") == first.text("machine-id")
    assert second.host_keys() == first.host_keys()


def assert_as_reported(boot: Results, operator_key: str) -> None:
    """What the install record says is what the machine has."""
    record = boot.json("install/record.json")
    reported = record["host_key_fingerprints"]
    assert boot.host_keys() == reported
    assert set(reported) == {"ed25519", "rsa"}
    assert record["machine_id"] == boot.text("machine-id").strip()
    assert record["toplevel"] == boot.text("toplevel").strip()
    assert boot.text("authorized-keys/root").strip() == operator_key.strip()
    modes = dict(line.split(" ", 2)[::-2] for line in boot.lines("host-key-modes"))
    assert modes["ssh_host_ed25519_key"] == "600"


def boot_twice(bench: Bench, disks: tuple[Disk, ...], firmware: str) -> tuple[Results, Results]:
    first = bench.lab.boot(disks, bench.logs / "boot-1", firmware=firmware, job=LEAVE_CANARIES)
    second = bench.lab.boot(disks, bench.logs / "boot-2", firmware=firmware)
    return first, second


@pytest.mark.parametrize(("firmware", "bus"), [("bios", "virtio"), ("uefi", "nvme")])
def test_an_installed_disk_boots_amnesiac(bench: Bench, firmware: str, bus: str) -> None:
    target = bench.disk("target", bus)
    other = bench.data_disk("data", bus)
    before = digest(other.image)

    options = f"--disk {TARGETS[bus]} --tmpfs-size 2G {baked(bench.lab, firmware)}"
    installed = install(
        bench.lab, (target, other), bench.logs / "install", options, firmware=firmware
    )
    first, second = boot_twice(bench, (target, other), firmware)

    assert_amnesiac(first, second, "2G")
    assert_as_reported(second, installed.text("operator.pub"))
    assert digest(other.image) == before


def test_the_default_path_builds_the_configuration_it_wrote(bench: Bench) -> None:
    """Nothing is baked: /etc/nixos is evaluated and built into the target's store."""
    target = bench.disk("target")
    options = "--disk /dev/vda --tmpfs-size 1G --hostname evaluated"
    installed = install(bench.lab, (target,), bench.logs / "install", options)

    first, second = boot_twice(bench, (target,), "bios")

    assert_amnesiac(first, second, "1G")
    assert_as_reported(second, installed.text("operator.pub"))
    assert second.text("hostname").strip() == "evaluated"


def test_an_image_file_installed_on_the_live_system_boots(bench: Bench) -> None:
    """The image is made on a scratch disk of the live system and booted as a disk of its own."""
    carrier = bench.disk("carrier")
    image = bench.disk("image", mib=3072)
    before = "mkfs.ext4 -q /dev/vda && mkdir /carrier && mount /dev/vda /carrier"
    # The image leaves the live system block by block, through the second disk.
    after = "dd if=/carrier/disk.img of=/dev/vdb bs=4M conv=sparse,fsync status=none"
    options = "--disk /carrier/disk.img --image-size 3G --firmware bios --tmpfs-size 2G " + baked(
        bench.lab, "bios"
    )
    installed = install(
        bench.lab, (carrier, image), bench.logs / "install", options, before=before, after=after
    )

    first, second = boot_twice(bench, (image,), "bios")

    assert_amnesiac(first, second, "2G")
    assert_as_reported(second, installed.text("operator.pub"))


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
