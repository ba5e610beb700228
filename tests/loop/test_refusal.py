"""Disks that must not be written, as real ones: exit code 3, a sentence, not a byte changed."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from .conftest import Bench, Outcome


def refused(bench: Bench, disk: str, key: Path, system: str, *more: str) -> Outcome:
    """Run, and see that the disk is the same, that nothing is left, and that it was refused."""
    before = checksum(disk)
    outcome = bench.run("--disk", disk, "--ssh-key", str(key), "--system", system, "--json", *more)
    assert outcome.code == 3, outcome.err
    assert checksum(disk) == before
    assert bench.left() == []
    assert "Traceback" not in outcome.err
    started = [e for e in outcome.events if e["event"] in ("step", "action", "plan")]
    assert started == []
    return outcome


def checksum(disk: str) -> str:
    # The first and the last MiB and the size: what any tool that writes a disk writes first.
    with Path(disk).open("rb") as file:
        size = file.seek(0, 2)
        digest = hashlib.sha256(str(size).encode())
        for place in (0, max(0, size - 1024**2)):
            file.seek(place)
            digest.update(file.read(1024**2))
    return digest.hexdigest()


def test_a_file_system_without_a_table(bench: Bench, loop: str, key: Path, system: str) -> None:
    subprocess.run(["mkfs.ext4", "-q", "-L", "data", loop], check=True)
    outcome = refused(bench, loop, key, system)
    assert f"{loop}: is not blank: ext4 'data'" in outcome.err


def test_a_partition_table_alone(bench: Bench, loop: str, key: Path, system: str) -> None:
    subprocess.run(["parted", "-s", loop, "mklabel", "gpt"], check=True)
    assert "a GPT partition table" in refused(bench, loop, key, system).err


def test_another_disks_token(bench: Bench, loop: str, key: Path, system: str) -> None:
    subprocess.run(["mkfs.ext4", "-q", loop], check=True)
    outcome = refused(bench, loop, key, system, "--wipe", "SERIAL-OF-ANOTHER")
    assert "--wipe SERIAL-OF-ANOTHER names another" in outcome.err


def test_a_mounted_disk_even_with_its_token(
    bench: Bench, loop: str, key: Path, system: str, tmp_path: Path
) -> None:
    subprocess.run(["mkfs.ext4", "-q", loop], check=True)
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", "--read-only", loop, place], check=True)
    try:
        outcome = refused(bench, loop, key, system, "--wipe", loop)
    finally:
        subprocess.run(["umount", place], check=True)
    assert f"mounted at {place}" in outcome.err


def test_swap(bench: Bench, loop: str, key: Path, system: str) -> None:
    subprocess.run(["mkswap", "-q", loop], check=True, stdout=subprocess.DEVNULL)
    if subprocess.run(["swapon", loop], check=False).returncode != 0:
        pytest.skip("this kernel lets no loop device be swapped to")
    try:
        outcome = refused(bench, loop, key, system, "--wipe", loop)
    finally:
        subprocess.run(["swapoff", loop], check=True)
    assert "is used as swap" in outcome.err


def test_a_read_only_disk(bench: Bench, tmp_path: Path, key: Path, system: str) -> None:
    image = tmp_path / "ro.img"
    with image.open("wb") as file:
        file.truncate(3 * 1024**3)
    device = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", image],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    try:
        assert "is read-only" in refused(bench, device, key, system).err
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_disk_that_is_too_small_keeps_its_table(
    bench: Bench, tmp_path: Path, key: Path, system: str
) -> None:
    image = tmp_path / "small.img"
    with image.open("wb") as file:
        file.truncate(256 * 1024**2)
    subprocess.run(["parted", "-s", image, "mklabel", "msdos"], check=True)
    outcome = refused(bench, str(image), key, system, "--wipe", str(image))
    assert "has 256 MiB, and the layout needs" in outcome.err


def test_an_image_that_is_attached_elsewhere(
    bench: Bench, loop: str, key: Path, system: str, tmp_path: Path
) -> None:
    outcome = refused(bench, str(tmp_path / "other.img"), key, system)
    assert f"in use by {Path(loop).name}" in outcome.err


def test_nobody_could_log_in(bench: Bench, loop: str, system: str) -> None:
    # The live root's own keys would count: this machine's root has none to give.
    if Path("/root/.ssh/authorized_keys").exists():
        pytest.skip("root of this machine has ssh keys, which count as given")
    outcome = bench.run("--disk", loop, "--system", system, "--json")
    assert outcome.code == 3
    assert "nobody could log in" in outcome.err


def test_a_root_that_is_in_use(bench: Bench, loop: str, key: Path, system: str) -> None:
    bench.root.mkdir()
    (bench.root / "file").touch()
    try:
        outcome = refused(bench, loop, key, system)
    finally:
        (bench.root / "file").unlink()
    assert f"{bench.root}: is mounted or not empty" in outcome.err


def test_a_system_for_other_firmware(bench: Bench, loop: str, key: Path, system: str) -> None:
    outcome = refused(bench, loop, key, system, "--firmware", "uefi")
    assert "is made for bios firmware" in outcome.err


def test_a_size_that_the_system_was_not_built_for(
    bench: Bench, loop: str, key: Path, system: str
) -> None:
    outcome = refused(bench, loop, key, system, "--tmpfs-size", "1G")
    assert "has a root of 2G, and --tmpfs-size is 1G" in outcome.err


def test_more_memory_than_there_is(bench: Bench, loop: str, key: Path, system: str) -> None:
    outcome = refused(bench, loop, key, system, "--tmpfs-size", "4T")
    assert "larger than this machine's memory" in outcome.err
