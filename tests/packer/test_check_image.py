"""What a guest leaves on its disk, judged: only a finished and sealed installation gets a name."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "scripts/packer/check_image.py"
MIB = 1024**2
SYSTEM = "/nix/store/0-nixos"
RECORD = {"toplevel": SYSTEM, "finished": "2026-01-01T00:00:00", "sealed": True}

_TOOLS = ("parted", "mkfs.ext4", "debugfs", "qemu-img")
_MISSING = [tool for tool in _TOOLS if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")


def disk(directory: Path, files: dict[str, str]) -> Path:
    """An image with a small /boot and these files on /nix, as an installation leaves it."""
    root, image = directory / "root", directory / "unchecked"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    table = "mklabel msdos mkpart primary 1MiB 4MiB mkpart primary 4MiB 100%"
    offset = ["-E", f"offset={4 * MIB}"]
    make = ["mkfs.ext4", "-q", "-F", "-d", str(root), *offset, str(image), "16M"]
    subprocess.run(["parted", "--script", image, *table.split()], check=True, capture_output=True)
    subprocess.run(make, check=True, capture_output=True)
    return image


def check(image: Path) -> subprocess.CompletedProcess[str]:
    console = image.with_name("console.log")
    console.write_text("first\nthe guest's \x1b[31mlast words\n")
    return subprocess.run(
        [sys.executable, CHECK, image, image.with_name("paranoid"), console],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def record(**changes: object) -> dict[str, str]:
    text = json.dumps({**RECORD, **changes})
    return {"persist/var/log/paranoid-install/record.json": text}


def test_a_sealed_installation_becomes_raw_and_qcow2(tmp_path: Path) -> None:
    done = check(disk(tmp_path, record()))
    assert done.returncode == 0, done.stderr
    assert SYSTEM in done.stdout
    assert not (tmp_path / "unchecked").exists()
    assert json.loads((tmp_path / "paranoid.json").read_text()) == RECORD
    same = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2"]
    same += [str(tmp_path / f"paranoid.{kind}") for kind in ("raw", "qcow2")]
    assert subprocess.run(same, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"store/x": ""}, "no install record"),
        (record(finished=""), "does not say that the installation was finished"),
        (record(sealed=False), "is not sealed"),
        ({"persist/var/log/paranoid-install/record.json": "{"}, "no install record"),
        ({**record(), "persist/etc/ssh/ssh_host_rsa_key": "k"}, "ssh_host_rsa_key"),
        ({**record(), "persist/etc/machine-id": "0123"}, "/nix/persist/etc/machine-id"),
    ],
)
def test_any_other_is_refused_and_keeps_its_name(
    tmp_path: Path, files: dict[str, str], problem: str
) -> None:
    image = disk(tmp_path, files)
    done = check(image)
    assert done.returncode == 1
    assert problem in done.stderr
    assert image.exists()
    assert not list(tmp_path.glob("paranoid.*"))


def test_a_blank_disk_is_refused_with_the_end_of_the_console(tmp_path: Path) -> None:
    image = tmp_path / "unchecked"
    image.write_bytes(bytes(MIB))
    done = check(image)
    assert done.returncode == 1
    assert "no partition table" in done.stderr
    assert done.stderr.endswith("  first\n  the guest's last words\n")
