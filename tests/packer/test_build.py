"""Real builds with packer, of guests that install and of one that does not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vm.vmlab import image
from tests.vm.vmlab.lab import open_lab
from tests.vm.vmlab.qemu import Disk

TEMPLATE = Path(__file__).parents[2] / "scripts/packer/qemu.pkr.hcl"

_TOOLS = ("packer", "qemu-system-x86_64", "qemu-img", "parted", "debugfs", "xorriso")
_MISSING = [tool for tool in _TOOLS if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}"),
]

# Sends a word to the first serial line and powers off, by the ports of QEMU's `pc` machine:
#   xor ax, ax;  mov ds, ax;  mov si, text;  next: lodsb;  test al, al;  jz off;
#   mov dx, 0x3f8;  out dx, al;  jmp next;
#   off: mov dx, 0x604;  mov ax, 0x2000;  out dx, ax;  hlt
GUEST = bytes.fromhex("31c0 8ed8 be1c7c ac 84c0 7406 baf803 ee ebf5 ba0406 b80020 ef f4 ebfd")


def build(directory: Path, iso: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["packer", "build", "-color=false", "-var", f"iso={iso}",
         "-var", f"output={directory / 'out'}", "-var", "accelerator=tcg", *more, TEMPLATE],
        env={**os.environ, "CHECKPOINT_DISABLE": "1", "PACKER_CACHE_DIR": str(directory / "cache")},
        cwd=directory, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip


@pytest.fixture
def idle_medium(tmp_path: Path) -> Path:
    """A medium that boots, says so on the serial line, and powers off: it installs nothing."""
    tree, iso = tmp_path / "tree", tmp_path / "idle.iso"
    tree.mkdir()
    code = GUEST + b"no disk fits\r\n\0"
    (tree / "boot.img").write_bytes(code.ljust(2048, b"\0"))
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-b", "boot.img", "-no-emul-boot",
         "-boot-load-size", "4", "-o", iso, tree],
        check=True, capture_output=True,
    )  # fmt: skip
    return iso


def test_the_build_fails_when_the_guest_powers_off_without_an_installation(
    tmp_path: Path, idle_medium: Path
) -> None:
    done = build(tmp_path, idle_medium, "-var", "memory=1024", "-var", "timeout=3m")
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "no partition table is on it: the installation failed" in said
    assert "no disk fits" in said
    assert not list((tmp_path / "out").glob("paranoid.*"))


_LAB = ("mmdebstrap", "mksquashfs", "nix-build", "depmod", "ssh-keygen", *image.PROGRAMS)
_LAB_MISSING = [tool for tool in _LAB if shutil.which(tool) is None]


@pytest.mark.full
@pytest.mark.skipif(bool(_LAB_MISSING), reason=f"not installed: {', '.join(_LAB_MISSING)}")
@pytest.mark.skipif(os.geteuid() != 0, reason="not root: the live root is built as root")
def test_copies_of_an_image_boot_as_machines_of_their_own(tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True
    )
    lab = open_lab(tmp_path, with_debian=True)
    answers = {
        "disk": "auto",
        "tmpfs-size": "2G",
        "then": "poweroff",
        "ssh-key": [(tmp_path / "key.pub").read_text().strip()],
    }
    image.build(lab, tmp_path / "image.iso", "paranoid.seal", answers)
    done = build(tmp_path, tmp_path / "image.iso", "-var", "disk_size=4G", "-var", "timeout=12m")
    assert done.returncode == 0, done.stdout + done.stderr

    made = tmp_path / "out/paranoid.raw"
    copies = [Disk(tmp_path / f"{name}.raw", name) for name in ("one", "other")]
    for copy in copies:
        subprocess.run(["cp", "--sparse=always", made, copy.image], check=True)
    one, other = (lab.boot((copy,), tmp_path / f"logs-{copy.serial}") for copy in copies)
    again = lab.boot((copies[0],), tmp_path / "logs-again")

    for first in (one, other):
        assert set(first.host_keys()) == {"ed25519", "rsa"}
        assert len(first.text("machine-id").strip()) == 32
        assert first.json("install/record.json")["sealed"] is True
    assert not set(one.host_keys().values()) & set(other.host_keys().values())
    assert one.text("machine-id") != other.text("machine-id")
    # What was made at the first boot is kept.
    assert again.host_keys() == one.host_keys()
    assert again.text("machine-id") == one.text("machine-id")
