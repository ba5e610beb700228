"""Signals that end a run become exceptions, so that what it holds is released first."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_KNOCK = signal.SIGURG
"""Ignored by default (signal(7)), so that nothing else is hurt by it."""

_KNOCK_SECONDS = 0.05
"""Seconds between two knocks at a main thread that does not answer."""


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
    """Turns the first of SIGINT, SIGTERM and SIGHUP into Interrupted, except inside `shield`.

    Those after it wait for good: who asks twice must not cut off what the first one began.
    """

    def __init__(self) -> None:
        self._shields = 0
        self._pending: int | None = None
        self._answered = True
        self._holds_nothing = False

    @contextmanager
    def raised(self) -> Iterator[None]:
        """While inside, the first signal raises Interrupted."""
        with ExitStack() as stack:
            # First, for it takes a while: what comes until then ends the process as it always did.
            stack.enter_context(self._heard())
            for number in _ENDING:
                stack.callback(signal.signal, number, signal.signal(number, self._arrive))
            yield

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
            self.hold()
            raise Interrupted(number)

    def end_at_once(self) -> None:
        """From now on a signal ends the process there and then: for work that holds nothing.

        An exception can be lost on its way: Python passes over one that is raised in a callback of
        an import or of the garbage collector, and C code forgets one in a comparison.
        """
        self._holds_nothing = True

    def hold(self) -> None:
        """From now on signals wait for good: the run is on its way out and releases."""
        self._shields += 1

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """While inside, a signal is heard even by a main thread that is asleep in the kernel.

        Python runs handlers between two of its instructions. A signal that comes after the last
        of them and before the system call, or that the kernel gives to another thread, would wait
        for the end of the call: of nixos-install, say. So a thread that is told of each signal
        (signal.set_wakeup_fd) interrupts the main thread until its handler has run.
        """
        main = threading.get_ident()
        told, tell = socket.socketpair()
        tell.setblocking(False)
        before = signal.set_wakeup_fd(tell.fileno(), warn_on_full_buffer=False)
        knocked = signal.signal(_KNOCK, self._answer)

        def listen() -> None:
            while numbers := told.recv(64):
                self._answered = not any(number in _ENDING for number in numbers)
                while not self._answered:
                    signal.pthread_kill(main, _KNOCK)
                    # Not until there is more to read: each knock is told of as well.
                    select.select([], [], [], _KNOCK_SECONDS)

        listener = threading.Thread(target=listen, name="signals", daemon=True)
        listener.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            tell.close()
            listener.join()
            told.close()
            signal.signal(_KNOCK, knocked)

    def _answer(self, _number: int, _frame: FrameType | None) -> None:
        self._answered = True

    def _arrive(self, number: int, _frame: FrameType | None) -> None:
        if self._holds_nothing:
            os.write(2, f"stopped by {Interrupted(number)}\n".encode())
            os._exit(Interrupted(number).exit_code)
        elif self._shields:
            self._pending = number
        else:
            self.hold()
            raise Interrupted(number)
