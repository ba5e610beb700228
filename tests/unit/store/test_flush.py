"""What the disk refused is an error of the copy, whenever it was refused."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from paranoid_install.store.flush import Flusher

LIMIT = 60
"""Seconds after which it hangs."""


class Disk:
    """Stands in for the C library: syncfs fails the first `failures` times."""

    def __init__(self, failures: int) -> None:
        self.calls = 0
        self.called = threading.Event()
        self.failures = failures

    def syncfs(self, file: int) -> int:
        os.fstat(file)
        self.calls += 1
        self.called.set()
        if self.calls <= self.failures:
            ctypes.set_errno(errno.EIO)
            return -1
        return 0


def test_a_short_copy_is_flushed_once_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flusher, "PAUSE", LIMIT)
    with Flusher(tmp_path) as flusher:
        disk = Disk(0)
        flusher._libc = disk  # type: ignore[assignment]
        flusher.finish()
    assert disk.calls == 1


def test_a_longer_one_is_flushed_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flusher, "PAUSE", 0.001)
    with Flusher(tmp_path) as flusher:
        disk = Disk(0)
        flusher._libc = disk  # type: ignore[assignment]
        assert disk.called.wait(LIMIT)


def test_an_error_in_the_middle_is_raised_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flusher, "PAUSE", 0.001)
    with Flusher(tmp_path) as flusher:
        disk = Disk(1)
        flusher._libc = disk  # type: ignore[assignment]
        assert disk.called.wait(LIMIT)
        with pytest.raises(OSError, match="Input/output error"):
            flusher.finish()
    assert disk.calls >= 2


def test_a_real_directory_is_flushed(tmp_path: Path) -> None:
    with Flusher(tmp_path) as flusher:
        flusher.finish()


def test_a_copy_that_failed_waits_for_no_disk(tmp_path: Path) -> None:
    flusher = Flusher(tmp_path)
    disk = Disk(0)
    flusher._libc = disk  # type: ignore[assignment]
    flusher.close()
    flusher.close()
    assert disk.calls == 0
