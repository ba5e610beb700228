"""What only a person may see: on terminals, and never where it is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from paranoid_install.errors import RefusedError
from paranoid_install.ui import terminal
from paranoid_install.ui.terminal import Terminals


class Places:
    """A machine with an error output, a controlling terminal and consoles, each as told."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self._stack = stack
        self.directory = directory
        self.error = stack.enter_context((directory / "error.log").open("w+"))
        patch.setattr(terminal, "_ERROR", self.error.fileno())
        patch.setattr(terminal, "_CONTROLLING", directory / "tty")
        patch.setattr(terminal, "_CONSOLES", directory / "active")
        patch.setattr(terminal, "_DEVICES", directory)

    def pty(self) -> tuple[int, Path, int]:
        """Our end, the other's name, the other's descriptor."""
        ours, theirs = os.openpty()
        self._stack.callback(os.close, ours)
        self._stack.callback(os.close, theirs)
        os.set_blocking(ours, False)
        return ours, Path(os.ttyname(theirs)), theirs

    def named(self, name: str) -> int:
        ours, path, _ = self.pty()
        (self.directory / name).symlink_to(path)
        return ours


def on(ours: int) -> str:
    try:
        return os.read(ours, 4096).decode()
    except BlockingIOError:
        return ""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> Places:
    return Places(tmp_path, monkeypatch, stack)


def test_a_terminal_that_hears_the_errors_shows_it(
    places: Places, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _, theirs = places.pty()
    other = places.named("tty")
    monkeypatch.setattr(terminal, "_ERROR", theirs)
    Terminals(stack)("secret")
    assert "secret" in on(ours)
    assert on(other) == ""


def test_a_log_never_has_it_and_the_run_s_own_terminal_does(
    places: Places, stack: ExitStack
) -> None:
    ours = places.named("tty")
    console = places.named("ttyS0")
    (places.directory / "active").write_text("ttyS0\n")
    Terminals(stack)("secret")
    assert "secret" in on(ours)
    assert on(console) == ""
    assert (places.directory / "error.log").read_text() == ""


def test_a_service_shows_it_on_every_console_that_is_one(places: Places, stack: ExitStack) -> None:
    first, second = places.named("tty1"), places.named("ttyS0")
    (places.directory / "hvc0").write_text("")  # a file in the place of a console keeps it
    (places.directory / "active").write_text("tty0 ttyS0 hvc0 ttyS9\n")
    Terminals(stack)("secret")
    assert "secret" in on(first)
    assert "secret" in on(second)
    assert (places.directory / "hvc0").read_text() == ""


def test_where_nobody_would_see_it_the_run_is_refused(places: Places, stack: ExitStack) -> None:
    (places.directory / "active").write_text("ttyS9\n")
    with pytest.raises(RefusedError, match="no terminal and no console"):
        Terminals(stack)


def test_a_terminal_that_takes_nothing_is_a_failure(
    places: Places, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    monkeypatch.setattr(terminal, "_ERROR", theirs)
    shown = Terminals(stack)
    os.close(ours)
    with pytest.raises(OSError, match="no terminal took"):
        shown("secret")
    os.close(theirs)
