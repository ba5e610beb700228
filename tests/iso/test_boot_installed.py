"""Handing over to the installed system: real loop devices and mounts, a stand-in for kexec."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BOOT_INSTALLED = Path(__file__).parents[2] / "iso" / "boot-installed"
# Not the policy's: another test's disk may be attached at the same time.
LABEL = "handover"
RECORD = "persist/var/log/paranoid-install"
TOPLEVEL = "/nix/store/00000000000000000000000000000000-nixos-system-machine"

needed = ["mkfs.ext4", "losetup", "blkid", "mount"]
pytestmark = [
    pytest.mark.loop,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in needed), reason=f"needs {', '.join(needed)}"
    ),
    pytest.mark.skipif(not Path("/dev/loop-control").exists(), reason="needs loop devices"),
]


def disk(directory: Path, name: str, *, installed: bool = True) -> Path:
    """An image of what the installer leaves on /nix, as far as handing over reads it."""
    root = directory / name
    store = root / "store"
    (store / "k").mkdir(parents=True)
    (store / "i").mkdir()
    (store / "k/bzImage").write_text("the kernel\n")
    (store / "i/initrd").write_text("the initrd\n")
    toplevel = root / TOPLEVEL.removeprefix("/nix/")
    toplevel.mkdir()
    (toplevel / "kernel").symlink_to("/nix/store/k/bzImage")
    (toplevel / "initrd").symlink_to("/nix/store/i/initrd")
    (toplevel / "kernel-params").write_text("console=ttyS0 quiet\n")
    profiles = root / "var/nix/profiles"
    profiles.mkdir(parents=True)
    (profiles / "system-1-link").symlink_to("/nix/store/gone")
    (profiles / "system-2-link").symlink_to(TOPLEVEL)
    (profiles / "system").symlink_to("system-2-link")
    if installed:
        (root / RECORD).mkdir(parents=True)
        (root / RECORD / "record.json").write_text("{}")
    image = directory / f"{name}.img"
    with image.open("wb") as file:
        file.truncate(16 * 1024**2)
    make = ["mkfs.ext4", "-q", "-L", LABEL, "-d", str(root), str(image)]
    subprocess.run(make, check=True, capture_output=True)
    return image


class HandOver:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.attached: list[str] = []
        self.calls = directory / "calls"
        self.calls.touch()
        (directory / "bin").mkdir()
        for name in ("kexec", "systemctl"):
            self.program(name, "")

    def program(self, name: str, body: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.calls}\n{body}\n')
        path.chmod(0o755)

    def attach(self, image: Path) -> None:
        made = subprocess.run(
            ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
        )
        device = made.stdout.strip()
        # Partitions that partx told the kernel of outlive their loop device, and blkid passes over
        # a disk that has any. Most have none, and partx calls that a failure.
        subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
        self.attached.append(device)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "NIX_LABEL": LABEL,
            "RECORD": RECORD,
        }
        return subprocess.run(
            [BOOT_INSTALLED, *arguments],
            env=environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    @property
    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def hand_over(tmp_path: Path) -> Iterator[HandOver]:
    machine = HandOver(tmp_path)
    yield machine
    for device in machine.attached:
        subprocess.run(["losetup", "--detach", device], check=True)
    left = [p for p in Path("/run").glob("boot-installed.*") if p.is_mount()]
    assert left == []


def test_the_current_generation_is_started_by_kexec(hand_over: HandOver, tmp_path: Path) -> None:
    # What is behind a mount point cannot be looked at afterwards: kexec reads it here.
    hand_over.program("kexec", 'cat "$2" "${3#--initrd=}" >> ' + str(hand_over.calls))
    hand_over.attach(disk(tmp_path, "machine"))
    done = hand_over.run()
    assert done.returncode == 0, done.stderr
    kexec, *loaded, systemctl = hand_over.called
    assert kexec.startswith("kexec --load /run/boot-installed.")
    assert kexec.endswith(f"--command-line=init={TOPLEVEL}/init console=ttyS0 quiet")
    assert loaded == ["the kernel", "the initrd"]
    assert systemctl == "systemctl kexec"


def test_a_check_starts_nothing_and_writes_nothing(hand_over: HandOver, tmp_path: Path) -> None:
    image = disk(tmp_path, "machine")
    before = image.read_bytes()
    hand_over.attach(image)
    assert hand_over.run("--check").returncode == 0
    assert hand_over.called == []
    assert image.read_bytes() == before


def test_a_disk_without_a_record_was_not_installed(hand_over: HandOver, tmp_path: Path) -> None:
    hand_over.attach(disk(tmp_path, "machine", installed=False))
    done = hand_over.run("--check")
    assert done.returncode == 1
    assert "0 installed disks" in done.stderr


def test_without_a_disk_there_is_nothing_to_boot(hand_over: HandOver) -> None:
    assert hand_over.run("--check").returncode == 1


def test_two_installed_disks_are_not_chosen_between(hand_over: HandOver, tmp_path: Path) -> None:
    hand_over.attach(disk(tmp_path, "one"))
    hand_over.attach(disk(tmp_path, "two"))
    done = hand_over.run()
    assert done.returncode == 1
    assert "2 installed disks" in done.stderr
    assert hand_over.called == []


def test_a_kernel_that_does_not_load_is_a_failure(hand_over: HandOver, tmp_path: Path) -> None:
    hand_over.program("kexec", "echo refused >&2; exit 1")
    hand_over.attach(disk(tmp_path, "machine"))
    done = hand_over.run()
    assert done.returncode != 0
    assert "refused" in done.stderr
    assert "systemctl kexec" not in hand_over.called
