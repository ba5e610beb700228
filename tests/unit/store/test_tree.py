"""A copy has Nix's canonical metadata, whatever the source had."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from paranoid_install.store import nar, tree


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    top = tmp_path / "origin"
    (top / "bin").mkdir(parents=True)
    (top / "bin/run").write_bytes(b"#!/bin/sh\n")
    (top / "bin/run").chmod(0o4711)
    (top / "large").write_bytes(os.urandom(nar.BUFFER * 2 + 3))
    (top / "large").chmod(0o600)
    (top / "link").symlink_to("/nowhere")
    (top / "empty").write_bytes(b"")
    return top


def copy(origin: Path, *, clone: bool = False) -> tuple[Path, nar.Digest]:
    target = origin.parent / "copy"
    links = origin.parent / "links"
    links.mkdir(exist_ok=True)
    return target, nar.digest(str(origin), tree.Copy(origin, target, links, clone=clone))


def metadata(top: Path) -> dict[str, tuple[str, int]]:
    found = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        found[str(path.relative_to(top))] = (stat.filemode(status.st_mode), status.st_mtime_ns)
    return found


CANONICAL = {
    ".": ("dr-xr-xr-x", 10**9),
    "bin": ("dr-xr-xr-x", 10**9),
    "bin/run": ("-r-xr-xr-x", 10**9),
    "large": ("-r--r--r--", 10**9),
    "empty": ("-r--r--r--", 10**9),
    "link": ("lrwxrwxrwx", 10**9),
}


@pytest.mark.parametrize("clone", [False, True], ids=["through a buffer", "in the kernel"])
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_copy_is_the_same_to_nix_and_canonical(origin: Path, clone: bool, umask: int) -> None:
    before = os.umask(umask)
    try:
        target, digest = copy(origin, clone=clone)
    finally:
        os.umask(before)
    assert digest == nar.digest(str(origin)) == nar.digest(str(target))
    assert metadata(target) == CANONICAL


def test_without_hashing_the_copy_is_the_same(origin: Path) -> None:
    (origin.parent / "links").mkdir()
    target = origin.parent / "copy"
    nar.traverse(str(origin), tree.Copy(origin, target, origin.parent / "links", clone=False))
    assert nar.digest(str(target)) == nar.digest(str(origin))
    assert metadata(target) == CANONICAL


def test_where_the_kernel_cannot_copy_the_buffer_does(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    target, digest = copy(origin, clone=True)
    assert digest == nar.digest(str(target))


def test_a_kernel_that_copies_nothing_loses_nothing(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    target, digest = copy(origin, clone=True)
    assert digest == nar.digest(str(origin)) == nar.digest(str(target))


def test_a_failing_disk_is_not_taken_for_that(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "copy_file_range", fail)
    with pytest.raises(OSError, match="Input/output error"):
        copy(origin, clone=True)


def test_hard_links_stay_one_inode(origin: Path) -> None:
    (origin / "again").hardlink_to(origin / "large")
    target, digest = copy(origin)
    assert digest == nar.digest(str(target))
    assert (target / "again").samefile(target / "large")
    assert not (target / "empty").samefile(target / "large")


def test_where_no_more_links_are_allowed_it_is_copied(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    (origin / "again").hardlink_to(origin / "large")
    monkeypatch.setattr(os, "link", refuse)
    target, digest = copy(origin)
    assert digest == nar.digest(str(target))
    assert not (target / "again").samefile(target / "large")


def test_short_writes_are_continued(origin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:1000]))
    target, digest = copy(origin)
    assert digest == nar.digest(str(target))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to root")
def test_what_was_extracted_is_made_canonical(origin: Path) -> None:
    for path in [origin, *origin.rglob("*")]:
        os.chown(path, 1234, 1234, follow_symlinks=False)
    before = nar.digest(str(origin))
    assert nar.digest(str(origin), tree.Canonical()) == before
    assert metadata(origin) == CANONICAL
    assert {path.lstat().st_uid for path in origin.rglob("*")} == {0}
