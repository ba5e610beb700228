"""Handing over to the installed system: real loop devices and mounts, a stand-in for kexec.

Which disk that is, the installer says: here a stand-in, in tests/loop/test_untrusted.py the real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

BOOT_INSTALLED = Path(__file__).parents[2] / "iso" / "boot-installed"
STORE_PATH = "/nix/store/11111111111111111111111111111111"
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


def disk(directory: Path, name: str, *, system: str = TOPLEVEL, kernel: str = "") -> Path:
    """An image of what the installer leaves on /nix, as far as handing over reads it."""
    root = directory / name
    store = root / "store"
    (store / f"{'1' * 32}-k").mkdir(parents=True)
    (store / f"{'1' * 32}-i").mkdir()
    (store / f"{'1' * 32}-k/bzImage").write_text("the kernel\n")
    (store / f"{'1' * 32}-i/initrd").write_text("the initrd\n")
    toplevel = root / TOPLEVEL.removeprefix("/nix/")
    toplevel.mkdir()
    (toplevel / "kernel").symlink_to(kernel or f"{STORE_PATH}-k/bzImage")
    (toplevel / "initrd").symlink_to(f"{STORE_PATH}-i/initrd")
    (toplevel / "init").symlink_to(f"{STORE_PATH}-i/init")
    (toplevel / "kernel-params").write_text("console=ttyS0 quiet\n")
    profiles = root / "var/nix/profiles"
    profiles.mkdir(parents=True)
    (profiles / "system-1-link").symlink_to("/nix/store/gone")
    (profiles / "system-2-link").symlink_to(system)
    (profiles / "system").symlink_to("system-2-link")
    image = directory / f"{name}.img"
    with image.open("wb") as file:
        file.truncate(16 * 1024**2)
    make = ["mkfs.ext4", "-q", "-d", str(root), str(image)]
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

    def attach(self, image: Path) -> str:
        made = subprocess.run(
            ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
        )
        self.attached.append(made.stdout.strip())
        return self.attached[-1]

    def means(self, image: Path) -> None:
        """Let the installer say that this disk is installed."""
        self.program("paranoid-install", f"echo {self.attach(image)}; echo {TOPLEVEL}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "ANSWERS": "/answers",
            "SECURE_BOOT": str(self.directory / "SecureBoot"),
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
    hand_over.program("kexec", 'cat "$2" "${4#--initrd=}" >> ' + str(hand_over.calls))
    hand_over.means(disk(tmp_path, "machine"))
    done = hand_over.run()
    assert done.returncode == 0, done.stderr
    asked, kexec, *loaded, systemctl = hand_over.called
    assert asked == "paranoid-install installed --answers /answers"
    assert kexec.startswith("kexec --load /run/boot-installed.")
    assert kexec.endswith(f"--command-line=init={TOPLEVEL}/init console=ttyS0 quiet")
    assert loaded == ["the kernel", "the initrd"]
    assert systemctl == "systemctl kexec"


def test_a_check_starts_nothing_and_writes_nothing(hand_over: HandOver, tmp_path: Path) -> None:
    image = disk(tmp_path, "machine")
    before = image.read_bytes()
    hand_over.means(image)
    assert hand_over.run("--check").returncode == 0
    assert len(hand_over.called) == 1
    assert image.read_bytes() == before


def test_what_the_installer_does_not_name_is_not_booted(
    hand_over: HandOver, tmp_path: Path
) -> None:
    hand_over.attach(disk(tmp_path, "machine"))
    hand_over.program("paranoid-install", "echo its record cannot be read >&2; exit 3")
    for arguments in ((), ("--check",)):
        done = hand_over.run(*arguments)
        assert done.returncode == 3
        assert "its record cannot be read" in done.stderr
    assert not [call for call in hand_over.called if "kexec" in call]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"system": "/run/evil"}, "leads to /run/evil, not into the store"),
        ({"system": f"{STORE_PATH}-x/../../../run/evil"}, "not into the store"),
        ({"kernel": "/proc/kcore"}, "leads to /proc/kcore, not into the store"),
        ({"kernel": f"{STORE_PATH}-k/../../../../etc/shadow"}, "not into the store"),
    ],
)
def test_what_leads_out_of_the_store_is_not_booted(
    hand_over: HandOver, tmp_path: Path, changes: dict[str, str], sentence: str
) -> None:
    hand_over.means(disk(tmp_path, "machine", **changes))
    done = hand_over.run()
    assert done.returncode == 1
    assert sentence in done.stderr
    assert len(hand_over.called) == 1


def test_a_kernel_that_does_not_load_is_a_failure(hand_over: HandOver, tmp_path: Path) -> None:
    hand_over.program("kexec", "echo refused >&2; exit 1")
    hand_over.means(disk(tmp_path, "machine"))
    done = hand_over.run()
    assert done.returncode == 1
    assert "refused" in done.stderr
    assert "did not take its kernel" in done.stderr
    assert "systemctl kexec" not in hand_over.called


@pytest.mark.parametrize(("value", "on"), [(1, True), (0, False)])
def test_where_secure_boot_is_on_the_failure_says_so(
    hand_over: HandOver, tmp_path: Path, value: int, on: bool
) -> None:
    (tmp_path / "SecureBoot").write_bytes(bytes([6, 0, 0, 0, value]))
    hand_over.program("kexec", "exit 1")
    hand_over.means(disk(tmp_path, "machine"))
    assert ("Secure Boot is on" in hand_over.run().stderr) == on
