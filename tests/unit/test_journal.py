"""What is written down and what is shown: nothing that a terminal would act on, nothing lost."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from paranoid_install.journal import Event, Journal, JournalFile
from paranoid_install.plan import make
from paranoid_install.ui import clean, is_screen
from paranoid_install.ui.console import Screen, plan_table
from paranoid_install.ui.jsonl import JsonLines
from paranoid_install.ui.plain import Plain, show_plan
from tests.unit.samples import BLANK, machine_found, request

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\x07\r\nX\u202eY"


def test_the_journal_file_is_root_s_and_flushed_line_by_line(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "run/journal.jsonl")
    Journal([file]).emit("fact", name="a", value="b\nc")
    lines = file.path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["value"] for line in lines] == ["b\nc"]
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700
    file.close()


def test_this_run_is_what_came_since_the_file_was_opened(tmp_path: Path) -> None:
    for value in ("one", "two"):
        file = JournalFile(tmp_path / "journal.jsonl")
        Journal([file]).emit("fact", name="run", value=value)
        assert [json.loads(x)["value"] for x in file.this_run().splitlines()] == [value]
        file.close()


def test_a_terminal_that_is_gone_stops_nothing() -> None:
    heard: list[Event] = []

    def gone(_event: Event) -> None:
        raise BrokenPipeError

    journal = Journal([gone, heard.append])
    journal.emit("line", text="a")
    journal.emit("line", text="b")
    assert [e.data["text"] for e in heard][::2] == [
        "function is not told any more: BrokenPipeError()",
        "b",
    ]
    assert journal.listeners == [heard.append]


@given(st.text())
def test_what_is_shown_has_no_control_character(text: str) -> None:
    cleaned = clean(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in cleaned)
    assert not set(cleaned) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2028\u2029")


def test_a_hostile_disk_and_program_reach_plain_lines_clean() -> None:
    out = io.StringIO()
    disk = BLANK.__class__(**{**vars(BLANK), "model": HOSTILE, "serial": HOSTILE})
    show_plan(make(request(), machine_found(disk)), out)
    journal = Journal([Plain(out)])
    for kind, data in (("line", {"text": HOSTILE}), ("warning", {"text": HOSTILE}),
                       ("result", {"x": HOSTILE}), ("release", {"line": HOSTILE, "planned": False}),
                       ("step", {"id": "s", "title": HOSTILE, "state": "begin"})):  # fmt: skip
        journal.emit(kind, **data)
    assert journal.listeners, "a listener failed"
    text = out.getvalue().replace("\n", "")
    assert clean(text) == text


def test_a_hostile_disk_and_program_reach_the_screen_clean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = BLANK.__class__(**{**vars(BLANK), "model": f"[red]{HOSTILE}"})
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    console.print(plan_table(make(request(), machine_found(disk))))
    screen = Screen()
    monkeypatch.setattr(screen, "_console", console)
    screen(Event("warning", {"text": f"[bold]{HOSTILE}"}, 0))
    screen(Event("result", {"disk": HOSTILE}, 0))
    screen.show(HOSTILE)
    text = out.getvalue().replace("\n", "")
    assert clean(text) == text
    assert "[bold]" in text, "the text was taken for markup"


def test_json_lines_are_one_object_a_line_whatever_is_in_them() -> None:
    out = io.StringIO()
    Journal([JsonLines(out)]).emit("line", text=HOSTILE)
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["text"] == HOSTILE
    assert line.isascii()


def test_a_console_without_unicode_does_not_end_the_run() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Plain(stream)(Event("line", {"text": "Grüße – \udcff"}, 0))
    assert b"Gr\\xfc\\xdfe" in raw.getvalue()


@pytest.mark.parametrize("name", ["TERM"])
def test_a_pipe_is_no_screen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "xterm")
    assert not is_screen(io.StringIO())


def test_a_file_that_cannot_be_written_to_is_dropped_and_holds_its_disk_no_longer() -> None:
    # /dev/full takes no byte (full(4)), like a disk that is gone.
    def held() -> list[str]:
        return [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]

    log = JournalFile(Path("/dev/full"))
    journal = Journal([log])
    assert "/dev/full" in held()
    journal.emit("fact", name="a", value="b")
    assert journal.listeners == []
    assert "/dev/full" not in held()
    log.close()
