"""The disk that is written is the one that was looked at, whatever its name means by then."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Bench, Outcome
from .test_refusal import checksum


@contextmanager
def counting(
    bench: Bench, disk: str, key: Path, system: str, *more: str
) -> Iterator[list[Outcome]]:
    """A run that counts down to its first write while inside; its outcome afterwards."""
    given = ("--ssh-key", str(key), "--system", system, "--json", "--countdown", "3", *more)
    process = bench.start("--disk", disk, *given)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "is erased in 3 s" in first, first + process.stderr.read()
    outcomes: list[Outcome] = []
    yield outcomes
    out, err = process.communicate(timeout=300)
    outcomes.append(Outcome(process.returncode, out, first + err))


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[str]:
    """A loop device with somebody's data."""
    image = tmp_path / "victim.img"
    with image.open("wb") as file:
        file.truncate(3 * 1024**3)
    subprocess.run(["mkfs.ext4", "-q", "-L", "data", image], check=True)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=True
    ).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


def test_a_name_that_is_moved_to_another_disk_during_the_countdown(
    bench: Bench, loop: str, victim: str, key: Path, system: str
) -> None:
    before = checksum(victim), checksum(loop)
    with counting(bench, loop, key, system) as outcomes:
        subprocess.run(["mount", "--bind", victim, loop], check=True)
    moved = checksum(loop)
    subprocess.run(["umount", loop], check=True)
    assert (moved, checksum(loop)) == before
    (outcome,) = outcomes
    assert outcome.code == 3, outcome.err
    assert f"{loop}: now leads to another disk than the one that was looked at" in outcome.err
    assert bench.left() == []


@pytest.mark.parametrize("how", ["a link", "a file"])
def test_an_image_whose_name_is_given_to_another_during_the_countdown(
    bench: Bench, key: Path, system: str, tmp_path: Path, how: str
) -> None:
    other = tmp_path / "victim.img"
    for image in (bench.image, other):
        with image.open("wb") as file:
            file.truncate(3 * 1024**3)
    before = checksum(str(other))
    with counting(bench, str(bench.image), key, system) as outcomes:
        bench.image.unlink()
        if how == "a link":
            bench.image.symlink_to(other)
        else:
            other.rename(bench.image)
    (outcome,) = outcomes
    assert outcome.code == 3, outcome.err
    assert "now leads to another disk" in outcome.err
    assert checksum(str(bench.image)) == before
    assert bench.left() == []


def test_a_name_that_is_taken_before_the_image_could_be_made(
    bench: Bench, key: Path, system: str
) -> None:
    size = ("--image-size", "3G")
    with counting(bench, str(bench.image), key, system, *size) as outcomes:
        bench.image.write_bytes(b"data" * 1000)
    (outcome,) = outcomes
    assert outcome.code == 3, outcome.err
    assert bench.image.read_bytes() == b"data" * 1000


@pytest.mark.parametrize("name", ["symbolic", "hard", "through a directory"])
def test_two_names_of_one_image_are_one_lock(
    bench: Bench, key: Path, system: str, tmp_path: Path, name: str
) -> None:
    with bench.image.open("wb") as file:
        file.truncate(3 * 1024**3)
    other = tmp_path / "other-name.img"
    match name:
        case "symbolic":
            other.symlink_to(bench.image)
        case "hard":
            other.hardlink_to(bench.image)
        case _:
            (tmp_path / "directory").symlink_to(tmp_path)
            other = tmp_path / "directory" / bench.image.name
    second = ("--root", f"{bench.root}-2", "--ssh-key", str(key), "--system", system)
    with counting(bench, str(bench.image), key, system) as outcomes:
        refused = bench.run("--disk", str(other), *second)
        bench.started[0].terminate()
    assert refused.code == 7, refused.err
    assert f"another install is at work on it (process {bench.started[0].pid})" in refused.err
    assert outcomes[0].code == 143


def test_two_names_of_one_root_are_one_lock(
    bench: Bench, loop: str, key: Path, system: str
) -> None:
    second = bench.root.with_name(bench.root.name + "-2")
    for directory in (bench.root, second):
        directory.mkdir()
    subprocess.run(["mount", "--bind", bench.root, second], check=True)
    given = ("--image-size", "3G", "--ssh-key", str(key), "--system", system)
    with counting(bench, loop, key, system):
        refused = bench.run("--disk", str(bench.image), *given, "--root", str(second))
        bench.started[0].terminate()
    subprocess.run(["umount", second], check=True)
    second.rmdir()
    assert refused.code == 7, refused.err


def test_a_disk_that_appears_late_is_waited_for(
    bench: Bench, key: Path, system: str, tmp_path: Path
) -> None:
    device = subprocess.run(
        ["losetup", "--find"], capture_output=True, text=True, check=True
    ).stdout.strip()
    late = tmp_path / "late.img"
    with late.open("wb") as file:
        file.truncate(3 * 1024**3)
    given = ("--ssh-key", str(key), "--system", system, "--dry-run", "--wait-for-disk", "120")
    process = bench.start("--disk", device, *given)
    assert process.stderr is not None
    said = process.stderr.readline()
    assert f"waiting up to 120 s for a disk; {device}: {device} has no size" in said, said
    subprocess.run(["losetup", device, late], check=True)
    out, err = process.communicate(timeout=60)
    subprocess.run(["losetup", "--detach", device], check=True)
    assert process.returncode == 0, err
    assert f"Use {device} (3.0 GiB; blank)" in out


def test_a_disk_that_does_not_appear_is_refused_when_the_time_is_over(
    bench: Bench, key: Path, system: str
) -> None:
    given = ("--ssh-key", str(key), "--system", system, "--wait-for-disk", "2")
    outcome = bench.run("--disk", "serial=nowhere", *given)
    assert outcome.code == 3
    assert "no disk fits, also after 2 s" in outcome.err
