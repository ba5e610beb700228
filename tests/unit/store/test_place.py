"""A path is in place whole and right, or not at all."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from paranoid_install.store import nar, place, squashfs
from paranoid_install.store.errors import StoreError
from tests.unit.store.images import squash

NAME = "0" * 32 + "-hello"


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / NAME).mkdir(parents=True)
    (tmp_path / "source" / NAME / "file").write_bytes(b"hello")
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> place.Target:
    target = place.Target(tmp_path / "mnt/nix/store")
    target.open()
    return target


@pytest.fixture
def hello(source: Path) -> place.Expected:
    digest = nar.digest(str(source / NAME))
    return place.Expected(NAME, digest.sha256, digest.size)


def test_a_copied_path_is_in_place_and_complete(
    source: Path, target: place.Target, hello: place.Expected
) -> None:
    place.copy(source, target, hello, verify=True)
    assert place.is_complete(target, hello)
    target.close()
    assert names(target.store) == [NAME]


def test_a_changed_byte_is_named_and_not_put_into_place(
    source: Path, target: place.Target, hello: place.Expected
) -> None:
    (source / NAME / "file").write_bytes(b"hellO")
    with pytest.raises(StoreError, match=f"^/nix/store/{NAME}: damaged") as caught:
        place.copy(source, target, hello, verify=True)
    assert "nix-store --verify --check-contents" in caught.value.remedy
    target.close()
    assert names(target.store) == []


def test_unverified_it_is_copied_all_the_same(
    source: Path, target: place.Target, hello: place.Expected
) -> None:
    (source / NAME / "file").write_bytes(b"hellO")
    place.copy(source, target, hello, verify=False)
    assert not place.is_complete(target, hello)


def test_what_comes_from_an_image_is_checked_before_it_is_in_place(
    source: Path, target: place.Target, hello: place.Expected, tmp_path: Path
) -> None:
    good = squash(source, tmp_path / "good.squashfs")
    (source / NAME / "file").write_bytes(b"hell")
    bad = squash(source, tmp_path / "bad.squashfs")
    with (
        closing(squashfs.Reader(bad)) as image,
        pytest.raises(StoreError, match=f"^/nix/store/{NAME}: damaged: the NAR of {bad}/{NAME}"),
    ):
        place.unpack(image, target, hello, verify=True)
    assert names(target.store) == [place.STAGING]
    target.open()
    with closing(squashfs.Reader(good)) as image:
        place.unpack(image, target, hello, verify=True)
    assert place.is_complete(target, hello)


@pytest.mark.parametrize("left", ["file", "full directory", "symlink", "pipe"])
def test_what_a_run_cut_short_left_is_replaced(
    source: Path, target: place.Target, hello: place.Expected, left: str
) -> None:
    final = target.store / NAME
    if left == "file":
        final.write_bytes(b"")
    elif left == "symlink":
        final.symlink_to("/etc")
    elif left == "pipe":
        os.mkfifo(final)
    else:
        final.mkdir()
        (final / "file").write_bytes(b"")
    assert not place.is_complete(target, hello)
    place.copy(source, target, hello, verify=True)
    assert place.is_complete(target, hello)
    target.close()
    assert names(target.store) == [NAME]


def test_opening_removes_what_is_unfinished_and_sets_the_mode(target: place.Target) -> None:
    (target.staging / "batch-0/x").mkdir(parents=True)
    target.stop()
    target.store.chmod(0o777)
    target.open()
    assert names(target.staging) == ["links"]
    assert not target.stopped
    assert target.store.stat().st_mode & 0o7777 == 0o1775
