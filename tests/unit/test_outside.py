"""Files that somebody else made: read where they are small files, and told by what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paranoid_install import outside


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * outside.LIMIT)
    assert outside.read(tmp_path / "a") == b"x" * outside.LIMIT


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/full", "/", "/proc/self"])
def test_what_is_no_file_is_not_read(path: str) -> None:
    with pytest.raises(OSError, match="is no regular file"):
        outside.read(path)


def test_nobody_waits_for_the_writer_of_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="is no regular file"):
        outside.read(tmp_path / "fifo")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1024**4)
    with pytest.raises(OSError, match="has more than 1048576 bytes"):
        outside.read(tmp_path / "a")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "sub/file").write_text("text")
    (top / "link").symlink_to("sub/file")
    os.mkfifo(top / "fifo")
    return top


def _move(top: Path) -> None:
    (top / "sub/file").rename(top / "sub/other")


def _link(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").symlink_to("sub")


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda top: (top / "sub/file").write_text("texT"),
    "mode": lambda top: (top / "sub/file").chmod(0o600),
    "name": _move,
    "target": _link,
    "another": lambda top: (top / "sub/new").touch(),
    "directory": lambda top: (top / "new").mkdir(),
    "kind": lambda top: (top / "fifo").unlink(),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_a_copy_would_keep_is_told_by_the_digest(tree: Path, name: str) -> None:
    before = outside.digest(tree)
    assert outside.digest(tree) == before
    CHANGES[name](tree)
    assert outside.digest(tree) != before


def test_neither_time_nor_place_is_told(tree: Path) -> None:
    before = outside.digest(tree)
    os.utime(tree / "sub/file", (1, 1))
    assert outside.digest(tree.rename(tree.with_name("moved"))) == before


def test_a_single_file_has_a_digest_and_a_missing_one_none(tree: Path) -> None:
    assert outside.digest(tree / "sub/file") != outside.digest(tree)
    with pytest.raises(OSError, match="No such file"):
        outside.digest(tree / "none")
