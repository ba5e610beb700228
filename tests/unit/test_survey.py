"""What cannot be looked at is told, and what makes no sense is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from paranoid_install import recovery
from paranoid_install.errors import CommandFailed, RefusedError
from paranoid_install.past import runs
from paranoid_install.plan import make
from paranoid_install.systems import Room, System, room_of
from tests.unit.samples import machine_found, request
from tests.unit.store.recording import Recording
from tests.unit.test_recovery import line

A = "/nix/store/" + "0" * 32 + "-a"
SENTENCE = "whether the disk has room for the system was not checked"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of this machine with one path in it."""
    (tmp_path / A[1:]).mkdir(parents=True)
    monkeypatch.setenv("NIX_REMOTE", str(tmp_path))
    return tmp_path


def telling(dump: str) -> Recording:
    return Recording({("--requisites",): f"{A}\n", ("--dump-db",): dump})


WHOLE = f"{A}\n{'a' * 64}\n1000\n\n0\n"


def test_the_room_is_told_and_nothing_is_left_unchecked(store: Path) -> None:
    assert store.is_dir()
    room, unchecked = room_of(telling(WHOLE), A)
    assert isinstance(room, Room)
    assert unchecked == ()


@pytest.mark.parametrize(
    ("remote", "problem"),
    [("", "last words"), ("ssh://x", "the store ssh://x is not one of this machine's")],
)
def test_a_store_that_cannot_be_asked_is_no_refusal_and_is_told(
    store: Path, monkeypatch: pytest.MonkeyPatch, remote: str, problem: str
) -> None:
    monkeypatch.setenv("NIX_REMOTE", remote or str(store))
    failure = CommandFailed(("nix-store",), "exit code 1", 1, ("its last words",))
    room, unchecked = room_of(Recording({("--requisites",): failure}), A)
    assert room is None
    (sentence,) = unchecked
    assert sentence.startswith(SENTENCE)
    assert problem in sentence


def test_what_was_not_checked_is_a_warning_of_the_plan() -> None:
    found = machine_found(system=System(A), unchecked=(SENTENCE,))
    assert SENTENCE in make(request(), found).warnings


def test_a_run_is_gone_on_with_although_the_store_can_be_asked_again() -> None:
    then = machine_found(unchecked=(SENTENCE,))
    plan = make(request(), then)
    (past,) = runs(line("survey", **recovery.snapshot(then)) + line("plan", **plan.as_data()))
    assert recovery.resumed(request(), machine_found(), past).hash == plan.hash


@pytest.mark.parametrize("dump", ["garbage\n", "", WHOLE.replace("1000", "-1")])
def test_a_store_that_tells_nonsense_is_refused(store: Path, dump: str) -> None:
    assert store.is_dir()
    with pytest.raises(RefusedError) as caught:
        room_of(telling(dump), A)
    assert caught.value.exit_code == 3
    assert caught.value.remedy


def test_a_medium_that_cannot_be_read_is_refused(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: str) -> None:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr("paranoid_install.store.room.os.lstat", damaged)
    with pytest.raises(RefusedError, match="Input/output error") as caught:
        room_of(telling(WHOLE), A)
    assert caught.value.subject == str(store / A[1:])
