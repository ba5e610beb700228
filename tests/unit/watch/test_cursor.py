"""Where a watch has got to in the journal: kept late rather than early, and exactly at its end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from paranoid_install import runner
from paranoid_install.errors import CommandFailed, SpecError
from paranoid_install.runner import Runner, ShRunner
from paranoid_install.watch import sources
from paranoid_install.watch.command import WatchOptions, run
from paranoid_install.watch.cursor import Cursor


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def place(number: int) -> str:
    return f"s=0a;i={number:x};b=0b;m=1;t=2;x=3"


def entry(number: int, message: str = "x") -> bytes:
    """A line of journalctl's JSON."""
    return json.dumps({"__CURSOR": place(number), "MESSAGE": message}).encode() + b"\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cursor"


def test_a_first_watch_has_no_place_to_begin_from(file: Path) -> None:
    assert Cursor(file).begin is None
    assert not file.exists()


def test_an_orderly_stop_keeps_the_last_entry_that_was_read_whole(file: Path) -> None:
    cursor = Cursor(file, Clock())
    cursor.read(entry(1) + entry(2)[:20], waits=False)
    cursor.read(entry(2)[20:] + entry(3)[:-1], waits=False)
    cursor.stopped()
    assert Cursor(file).begin == place(2)


def test_a_stop_in_the_middle_of_an_event_keeps_the_place_before_it(file: Path) -> None:
    cursor = Cursor(file, Clock())
    cursor.read(entry(1), waits=False)
    cursor.read(entry(2) + entry(3), waits=True)
    cursor.stopped()
    assert Cursor(file).begin == place(1)


def test_while_it_runs_the_place_lags_behind_what_may_still_be_open(file: Path) -> None:
    clock = Clock()
    cursor = Cursor(file, clock)
    seen = []
    for number in range(8):
        clock.now += 5
        cursor.read(entry(number), waits=False)
        seen.append(Cursor(file).begin)
    assert seen == [None, *(place(number) for number in range(7))]


def test_silence_lets_it_catch_up(file: Path) -> None:
    clock = Clock()
    cursor = Cursor(file, clock)
    cursor.read(entry(1), waits=False)
    for _ in range(10):
        clock.now += 1
        cursor.read(b"", waits=False)
    assert Cursor(file).begin == place(1)


def test_a_message_forges_no_place(file: Path) -> None:
    forged = json.dumps({"__CURSOR": place(9)})
    cursor = Cursor(file, Clock())
    cursor.read(entry(1, f"{forged}\n{forged}"), waits=False)
    cursor.stopped()
    assert Cursor(file).begin == place(1)


def test_a_line_without_end_takes_no_memory_and_is_no_place(file: Path) -> None:
    cursor = Cursor(file, Clock())
    cursor.read(entry(1), waits=False)
    for _ in range(10):
        cursor.read(b"x" * 1_000_000, waits=False)
    cursor.read(b"\n", waits=False)
    cursor.stopped()
    assert not file.exists()
    cursor.read(entry(2), waits=False)
    cursor.stopped()
    assert Cursor(file).begin == place(2)


@pytest.mark.parametrize("text", ["", "s=0a;i=1 --merge", "--file=/etc/shadow", "s=0a", "\0é"])
def test_a_file_that_holds_no_cursor_is_known_for_one(file: Path, text: str) -> None:
    file.write_text(text)
    cursor = Cursor(file)
    assert (cursor.begin, cursor.damaged) == (None, True)
    assert not Cursor(file.with_name("absent")).damaged


def test_where_the_place_is_lost_the_boot_is_read_from_its_start_and_that_is_told(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("")
    begins = []

    def journal(
        _runner: Runner, _stop: threading.Event, begin: tuple[str, ...], after: str | None
    ) -> Iterator[bytes]:
        begins.append((begin, after))
        yield from ()

    monkeypatch.setattr(sources, "journal", journal)
    alerts = tmp_path / "alerts"
    run(WatchOptions(resume=file, to_file=alerts, quiet=True, prove=False), ShRunner(cautious=True))
    assert begins == [(sources.BOOT, None)]
    first, *_ = alerts.read_text().splitlines()
    assert json.loads(first)["event"] == "gap"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        Cursor(tmp_path)


def test_a_place_that_cannot_be_kept_is_counted(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path / "absent/cursor", Clock())
    cursor.read(entry(1), waits=False)
    cursor.stopped()
    assert cursor.failed == 1


def test_only_the_journal_is_read_on_from_a_place(file: Path) -> None:
    with pytest.raises(SpecError, match="only the journal"):
        run(WatchOptions(source="-", resume=file), ShRunner(cautious=True))


def journalctl(directory: Path, script: str) -> None:
    file = directory / "journalctl"
    follows = 'follows() { case "$*" in *--follow*) ;; *) false ;; esac; }'
    file.write_text(f"#!/bin/sh\n{follows}\n{script}\n")
    file.chmod(0o755)


def test_what_there_is_after_the_place_is_read_and_then_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the journal has lost the place's entry and nothing comes after it: journalctl
    ends with 1 then."""
    monkeypatch.setattr(runner, "_DIRECTORIES", (str(tmp_path), "/usr/bin", "/bin"))
    for ends in ("echo kept", "exit 1"):
        journalctl(tmp_path, f'follows "$@" || {{ {ends}; exit; }}; echo followed; exec sleep 2')
        read = b""
        stop = threading.Event()
        stream = sources.journal(ShRunner(cautious=True), stop, after=place(1))
        while b"followed" not in read:
            read += next(stream)
        stop.set()
        assert list(stream) == []
        assert read == (b"kept\nfollowed\n" if ends == "echo kept" else b"followed\n")


def test_a_journal_that_cannot_be_followed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_DIRECTORIES", (str(tmp_path), "/usr/bin", "/bin"))
    journalctl(tmp_path, "exit 1")
    with pytest.raises(CommandFailed):
        list(sources.journal(ShRunner(cautious=True), threading.Event(), after=place(1)))
