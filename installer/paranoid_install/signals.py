"""Signals that end a run become exceptions, so that what it holds is released first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked the run to end. Not an Exception: no handler of failures may take it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it."""
        return 128 + self.number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


class Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into Interrupted, except inside `shield`."""

    def __init__(self) -> None:
        self._shields = 0
        self._pending: int | None = None

    @contextmanager
    def raised(self) -> Iterator[None]:
        """While inside, a signal raises Interrupted."""
        before = {number: signal.signal(number, self._arrive) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def shield(self) -> Iterator[None]:
        """While inside, a signal waits: between an action's effect and the note of its undo.

        It is raised on the way out, unless something else is. Python raises signals in the main
        thread alone: other threads need no shield, and must not count as one.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._shields == 0 and self._pending is not None:
            number, self._pending = self._pending, None
            raise Interrupted(number)

    def hold(self) -> None:
        """From now on signals wait for good: the run is on its way out and releases."""
        self._shields += 1

    def _arrive(self, number: int, _frame: FrameType | None) -> None:
        if self._shields:
            self._pending = number
        else:
            raise Interrupted(number)
