"""What is held stays what it was, whatever its name comes to mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paranoid_install.errors import RefusedError
from paranoid_install.held import Identity, hold, identity_of, places


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "disk.img"
    file.write_bytes(b"one")
    return file


def test_a_name_that_still_leads_there_is_the_same(image: Path) -> None:
    held = hold(str(image), identity_of(str(image)))
    held.check()
    held.close()
    held.close()


@pytest.mark.parametrize("change", ["gone", "replaced", "a link"])
def test_a_name_that_leads_elsewhere_is_refused(image: Path, change: str) -> None:
    held = hold(str(image))
    other = image.with_name("other.img")
    other.write_bytes(b"two")
    image.unlink()
    if change == "replaced":
        other.rename(image)
    elif change == "a link":
        image.symlink_to(other)
    with pytest.raises(RefusedError, match=r"not there any more|now leads to another disk"):
        held.check()
    assert os.pread(held.descriptor, 9, 0) == b"one"
    held.close()


def test_what_is_not_what_was_looked_at_is_not_held(image: Path) -> None:
    with pytest.raises(RefusedError, match="is another disk than the one that was looked at"):
        hold(str(image), Identity("file 0:0"))


def test_a_shared_hold_still_knows_its_file(image: Path) -> None:
    held = hold(str(image))
    held.share()
    assert not held.claimed
    held.check()
    held.close()


def test_a_hold_that_was_shared_first_can_be_claimed_later(image: Path) -> None:
    held = hold(str(image), claim=False)
    assert not held.claimed
    held.claim()
    descriptor = held.descriptor
    held.claim()
    assert (held.claimed, held.descriptor) == (True, descriptor)
    held.check()
    held.close()


@pytest.mark.parametrize("how", ["symbolic", "hard", "directory", "dots"])
def test_every_name_of_a_file_shares_a_place(image: Path, how: str) -> None:
    other = image.with_name("other")
    match how:
        case "symbolic":
            other.symlink_to(image)
        case "hard":
            other.hardlink_to(image)
        case "directory":
            other.symlink_to(image.parent)
            other = other / image.name
        case _:
            other = image.parent / "." / ".." / image.parent.name / image.name
    assert set(places(str(image))) & set(places(str(other)))


def test_a_file_that_is_not_there_yet_has_one_place_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert places(str(tmp_path / "new.img")) == places(str(tmp_path / "link/new.img"))


def test_two_files_share_no_place(image: Path) -> None:
    other = image.with_name("other")
    missing = image.with_name("missing")
    other.touch()
    assert not set(places(str(image))) & set(places(str(other)))
    assert not set(places(str(missing))) & set(places(str(other)))
