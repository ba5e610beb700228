"""One run at a time on a disk and at a root."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install.errors import LockedError
from paranoid_install.locks import locked


def test_the_second_hears_who_the_first_is(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "/dev/vda"),
        pytest.raises(LockedError) as caught,
        locked(tmp_path, "/dev/vda"),
    ):
        pass
    assert str(caught.value) == (
        f"/dev/vda: another install is at work on it (process {os.getpid()}); "
        "wait for it, or stop it first"
    )
    assert caught.value.exit_code == 7


def test_a_lock_ends_with_its_block_whatever_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="x"), locked(tmp_path, "/dev/vda"):
        raise OSError("x")
    with locked(tmp_path, "/dev/vda"):
        pass


KILLED = """
import os, signal, sys
from pathlib import Path
from paranoid_install.locks import locked

with locked(Path(sys.argv[1]), "/mnt"):
    if os.fork() == 0:
        print("begun", flush=True)
        sys.stdin.read()
        os.execv("/bin/sh", ["sh", "-c", "echo started"])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_holder_was_just_starting_has_started_when_the_lock_is_had(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as killed:  # fmt: skip
        assert killed.stdin is not None
        assert killed.stdout is not None
        assert killed.stdout.readline() == "begun\n"
        killed.wait()
        threading.Timer(0.2, killed.stdin.close).start()
        with locked(tmp_path, "/mnt"):
            assert killed.stdin.closed
        assert killed.stdout.read() == "started\n"


def test_a_lock_of_another_thing_is_another_lock(tmp_path: Path) -> None:
    with locked(tmp_path, "/mnt"), locked(tmp_path, "/dev/vda"), locked(tmp_path, "/dev/vd/a"):
        assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("path", ["/" + "deep/" * 600 + "disk.img", "/\udcff.img"])
def test_any_path_that_a_file_may_have_can_be_locked(tmp_path: Path, path: str) -> None:
    with locked(tmp_path, path):
        with pytest.raises(LockedError), locked(tmp_path, path):
            pass
        with locked(tmp_path, path + "2"):
            pass


def test_locks_are_root_s_alone(tmp_path: Path) -> None:
    with locked(tmp_path / "locks", "/mnt"):
        modes = [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "locks").rglob("*")]
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "locks").stat().st_mode) == 0o700


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("data")
    (tmp_path / "%2Fmnt.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path, "/mnt"):
        pass
    assert victim.read_text() == "data"


_PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


@given(_PATHS, _PATHS)
def test_two_paths_never_share_a_lock(
    tmp_path_factory: pytest.TempPathFactory, one: str, other: str
) -> None:
    place = tmp_path_factory.getbasetemp() / "locks"
    with locked(place, one):
        if one == other:
            with pytest.raises(LockedError), locked(place, other):
                pass
        else:
            with locked(place, other):
                pass
