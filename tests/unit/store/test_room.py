"""The room a closure takes is counted in blocks and inodes before anything is wiped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paranoid_install import store
from paranoid_install.store import closure
from tests.unit.store.recording import Recording

A = "/nix/store/" + "0" * 32 + "-a"


def live(tmp_path: Path) -> Recording:
    (tmp_path / A[1:]).mkdir(parents=True)
    dump = f"{A}\n{'a' * 64}\n1000\n\n0\n"
    return Recording({("--requisites",): f"{A}\n", ("--dump-db",): dump})


def test_files_take_whole_blocks_and_short_symlinks_none(tmp_path: Path) -> None:
    runner = live(tmp_path)
    top = tmp_path / A[1:]
    (top / "one").write_bytes(b"x")
    (top / "two").write_bytes(b"x" * 4097)
    (top / "none").write_bytes(b"")
    (top / "short").symlink_to("a" * 59)
    (top / "long").symlink_to("a" * 60)
    # The store, its .links, the path, one, two (2), long.
    assert store.size(runner, A, store=str(tmp_path)) == store.Size(1, 7 * 4096, 8)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    runner = live(tmp_path)
    os.mkfifo(tmp_path / A[1:] / "pipe")
    with pytest.raises(store.StoreError, match="pipe"):
        store.size(runner, A, store=str(tmp_path))


def test_a_remote_store_cannot_be_measured() -> None:
    with pytest.raises(closure.Unavailable, match="ssh://x is not one of this machine's"):
        store.size(Recording(), A, store="ssh://x")


def test_nor_can_a_path_that_is_gone(tmp_path: Path) -> None:
    runner = live(tmp_path)
    (tmp_path / A[1:]).rmdir()
    with pytest.raises(closure.Unavailable, match="registered, and not there"):
        store.size(runner, A, store=str(tmp_path))
