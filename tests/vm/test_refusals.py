"""What must not be erased is not: disks that the installer refuses, on a real kernel with udev.

The live system boots once. Each scenario goes on from there with disks of its own and asks for an
install: the exit code is 3, the sentence names the reason, and no byte of a disk is another one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.vm.conftest import LOGS, Bench
from tests.vm.vmlab.lab import DISK_MIB, Lab, blank_disk
from tests.vm.vmlab.process import run
from tests.vm.vmlab.qemu import Disk
from tests.vm.vmlab.warm import Warm, warm_up

REFUSED = 3
BLOCK = 4096


def nothing(image: Path) -> None:
    """A blank disk."""


def ext4(image: Path) -> None:
    run("mkfs.ext4", "-q", "-L", "data", image)


def table(image: Path) -> None:
    run("parted", "--script", image, "mklabel", "gpt", "mkpart", "data", "1MiB", "100%")


def lvm(image: Path) -> None:
    """A label of LVM2 on the second sector (lib/format_text/layout.h of LVM2)."""
    rest = struct.pack("<I8s", 32, b"LVM2 001") + b"A" * 32
    rest += bytes(512 - 20 - len(rest))
    # A CRC-32 that begins with a number of LVM's own and is not inverted at the end.
    checksum = zlib.crc32(rest, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
    write(image, 512, struct.pack("<8sQI", b"LABELONE", 1, checksum) + rest)


def raid(image: Path) -> None:
    """A member's superblock, version 1.2, 4 KiB in (include/uapi/linux/raid/md_p.h)."""
    block = bytearray(256)
    struct.pack_into("<II", block, 0, 0xA92B4EFC, 1)
    block[16:32] = b"R" * 16
    struct.pack_into("<Q", block, 144, 8)
    total = sum(word for (word,) in struct.iter_unpack("<I", block))
    struct.pack_into("<I", block, 216, (total & 0xFFFFFFFF) + (total >> 32))
    write(image, 4096, bytes(block))


def luks(image: Path) -> None:
    write(image, 0, b"LUKS\xba\xbe" + (1).to_bytes(2, "big"))


def zfs(image: Path) -> None:
    """Uberblocks: magic and version; libblkid wants four of them in a label."""
    for number in range(16):
        write(image, 0x20000 + number * 1024, struct.pack("<QQ", 0x00BAB10C, 5000))


def write(image: Path, offset: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@dataclass(frozen=True)
class Plug:
    """A disk of a scenario, and what it holds."""

    holds: Callable[[Path], None] = nothing
    serial: str = "target"
    mib: int = DISK_MIB
    read_only: bool = False
    bad: tuple[str, int] | None = None


@dataclass(frozen=True)
class Scenario:
    """What is asked for, on a machine with which disks, and what is said to it."""

    says: str
    disks: tuple[Plug, ...]
    disk: str = "serial=target"
    size: str = "384M"
    before: str = "true"


TWINS = (Plug(serial="twin"), Plug(serial="twin"))
TWO = (Plug(serial="one"), Plug(serial="other"))

SCENARIOS = {
    "not-blank": Scenario("is not blank: ext4 'data'", (Plug(ext4),)),
    "ambiguous-rule": Scenario("2 disks fit: ", TWO, disk="auto"),
    "live-medium": Scenario(
        "the running system's /nix/.ro-store is on it", (Plug(),), disk="serial=live-store"
    ),
    "read-only": Scenario("is read-only", (Plug(read_only=True),)),
    "too-small": Scenario("has 256 MiB, and the layout needs", (Plug(mib=256),)),
    "mounted": Scenario(
        "mounted at /mounted",
        (Plug(ext4),),
        before="mkdir /mounted && mount -o ro,noload /dev/sda /mounted",
    ),
    "partitioned": Scenario("is not blank: a GPT partition table", (Plug(table),)),
    "LVM": Scenario("is not blank: an LVM physical volume", (Plug(lvm),)),
    "RAID": Scenario("is not blank: a RAID member", (Plug(raid),)),
    "LUKS": Scenario("is not blank: a LUKS volume", (Plug(luks),)),
    "ZFS": Scenario("is not blank: a ZFS pool member", (Plug(zfs),)),
    "unreadable": Scenario("cannot be read (Input/output error)", (Plug(bad=("read", 0)),)),
    "duplicate-serial": Scenario("both answer to it", TWINS, disk="serial=twin"),
    "no-such-disk": Scenario("no disk fits", (Plug(),), disk="serial=nowhere"),
    "tmpfs-larger-than-memory": Scenario(
        "the tmpfs of 64G is larger than this machine's memory", (Plug(),), size="64G"
    ),
}

QUICK = {"not-blank", "ambiguous-rule", "live-medium"}
"""The ways in which most disks are lost: these run always, the others with --full."""


@pytest.fixture(scope="module")
def warm(
    request: pytest.FixtureRequest, built_lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Warm]:
    logs = LOGS / "refusals-warm"
    shutil.rmtree(logs, ignore_errors=True)
    failed_before = request.session.testsfailed
    state = tmp_path_factory.mktemp("warm") / "state"
    yield warm_up(built_lab, logs, state)
    state.unlink()
    if request.session.testsfailed == failed_before:
        shutil.rmtree(logs)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.full) for n in SCENARIOS]
)
def test_it_is_refused_and_no_byte_is_written(bench: Bench, warm: Warm, name: str) -> None:
    scenario = SCENARIOS[name]
    disks = tuple(
        plugged(bench.scratch / f"{n}.raw", plug) for n, plug in enumerate(scenario.disks)
    )
    before = [content(disk.image) for disk in disks]

    asked = f"paranoid-install --disk {scenario.disk} --tmpfs-size {scenario.size}"
    job = (
        "ssh-keygen -q -t ed25519 -N '' -f /run/key\n"
        f"{scenario.before} && {asked} --ssh-key /run/key.pub\n"
    )
    report = warm.run(job, disks, bench.logs)

    said = report.text("job-output")
    assert report.job_exit_code == REFUSED, said
    assert scenario.says in " ".join(said.split())
    assert [content(disk.image) for disk in disks] == before


def plugged(image: Path, plug: Plug) -> Disk:
    blank_disk(image, plug.mib)
    plug.holds(image)
    return Disk(image, plug.serial, read_only=plug.read_only, bad=plug.bad)


def content(image: Path) -> str:
    """A digest of every byte of a sparse file; zeros count as the holes that they may be."""
    digest = hashlib.sha256()
    with image.open("rb") as file:
        end = 0
        while (start := next_data(file.fileno(), end)) is not None:
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            for offset in range(start - start % BLOCK, end, BLOCK):
                block = os.pread(file.fileno(), BLOCK, offset)
                if block.strip(b"\0"):
                    digest.update(b"%d:" % offset + block)
    return digest.hexdigest()


def next_data(file: int, offset: int) -> int | None:
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:  # only a hole is left, or nothing
            raise
        return None
