"""A disk is blank when nothing is there, not when nothing is known."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from paranoid_install.contents import first_data

SIZE = 64 * 1024**2


def made(tmp_path: Path, *pieces: tuple[int, bytes]) -> str:
    file = tmp_path / "disk"
    with file.open("wb") as disk:
        disk.truncate(SIZE)
        for offset, data in pieces:
            disk.seek(offset)
            disk.write(data)
    return str(file)


def test_zeros_are_blank(tmp_path: Path) -> None:
    assert first_data(made(tmp_path), SIZE) == ""


def test_erased_flash_memory_is_blank(tmp_path: Path) -> None:
    assert first_data(made(tmp_path, (0, b"\xff" * SIZE)), SIZE) == ""


@pytest.mark.parametrize(
    ("offset", "data", "where"),
    [
        (0, os.urandom(2048).replace(b"\0", b"x").replace(b"\xff", b"x"), "at byte 0"),
        (0, b"\xeb\x63\x90boot code without its mark", "at byte 0"),
        (1024**2 + 1080, b"\x53\xef", "at byte 1049656"),
        (32256 + 1080, b"\x53\xef", "at byte 33336"),
        (SIZE - 512, b"backup", f"at byte {SIZE - 512}"),
        (30 * 1024**2, b"a" * 1024**2, "at byte 31"),
        (512, b"\xff", "at byte 512"),
    ],
    ids=["random", "boot code", "ext4 at 1 MiB", "ext4 at sector 63", "end", "middle", "one byte"],
)
def test_anything_else_is_data(tmp_path: Path, offset: int, data: bytes, where: str) -> None:
    assert first_data(made(tmp_path, (offset, data)), SIZE).startswith(where)


def test_a_slow_disk_is_read_at_both_ends_whatever_the_time(tmp_path: Path) -> None:
    late = itertools.count(0, 100).__next__
    assert first_data(made(tmp_path, (30 * 1024**2, b"a" * 1024**2)), SIZE, late) == ""
    assert first_data(made(tmp_path, (SIZE - 1, b"a")), SIZE, late) == f"at byte {SIZE - 1}"
