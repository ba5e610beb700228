"""Taking the identity out of a disk image, on a real file system behind a partition table."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SEAL = Path(__file__).parents[2] / "iso" / "seal"
START = 1024**2
RECORD = "/persist/log/record.json"

needed = ["mkfs.ext4", "debugfs", "dumpe2fs", "e2fsck", "jq"]
pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in needed), reason=f"needs {', '.join(needed)}"
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "persist/ssh").mkdir(parents=True)
    (root / "persist/log").mkdir()
    (root / "persist/ssh/key").write_text("THE-PRIVATE-KEY" * 500)
    (root / "persist/machine-id").write_text("THE-MACHINE-ID\n")
    (root / "persist/kept").write_text("kept")
    record = {"toplevel": "/nix/store/x", "machine_id": "m", "host_key_fingerprints": {"rsa": "f"}}
    (root / "persist/log/record.json").write_text(json.dumps(record))
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(START + 16 * 1024**2)
    make = ["mkfs.ext4", "-q", "-d", str(root), "-E", f"offset={START}", str(disk), "16M"]
    subprocess.run(make, check=True, capture_output=True)
    return disk


def seal(image: Path, *files: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SEAL, str(image), str(START), RECORD, *files],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def cat(image: Path, path: str) -> str:
    done = subprocess.run(
        ["debugfs", "-R", f"cat {path}", f"{image}?offset={START}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_the_files_are_gone_and_nothing_of_them_is_left_on_the_disk(image: Path) -> None:
    assert b"THE-PRIVATE-KEY" in image.read_bytes()
    done = seal(image, "/persist/ssh/key", "/persist/machine-id")
    assert done.returncode == 0, done.stderr
    left = image.read_bytes()
    assert b"THE-PRIVATE-KEY" not in left
    assert b"THE-MACHINE-ID" not in left
    assert cat(image, "/persist/ssh/key") == ""
    assert cat(image, "/persist/kept") == "kept"


def test_the_record_names_no_identity_any_more_and_all_else(image: Path) -> None:
    assert seal(image, "/persist/machine-id").returncode == 0
    assert json.loads(cat(image, RECORD)) == {
        "toplevel": "/nix/store/x",
        "machine_id": "",
        "host_key_fingerprints": {},
    }


def test_a_file_that_is_not_there_is_an_error(image: Path) -> None:
    done = seal(image, "/persist/ssh/another")
    assert done.returncode == 1
    assert "no /persist/ssh/another" in done.stderr
