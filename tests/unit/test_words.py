"""What is said of the copy on every kind of console."""

from __future__ import annotations

from paranoid_install.store import Method, Report
from paranoid_install.ui import words

COPIED = Report(
    paths=40, bytes=2**30, copied=38, skipped=2, verified=True, method=Method.IMAGE, reason="",
    seconds=3.21,
)  # fmt: skip


def said(**other: object) -> str:
    return words.sentence("store", vars(COPIED) | other)


def test_a_copy_is_told_with_its_size_and_time() -> None:
    assert said() == "38 of 40 store paths copied (squashfs, verified), 1.0 GiB in 3.2 s"
    assert "not verified" in said(verified=False)


def test_a_slow_copy_says_why() -> None:
    told = said(method=Method.DIRECTORY, reason="/iso/nix-store.squashfs is compressed by lz4")
    assert told.endswith(
        " 3.2 s; slowly, through its mount: /iso/nix-store.squashfs is compressed by lz4"
    )


def test_a_copy_that_is_left_to_another_says_why() -> None:
    assert Method.LEFT == words.LEFT
    told = said(method=Method.LEFT, reason="the store ssh://builder is not one of this machine's")
    assert told == (
        "the store is left to nixos-install: the store ssh://builder is not one of this machine's"
    )
