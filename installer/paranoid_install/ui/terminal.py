"""What a person alone may see: shown on terminals, never on what is kept or passed on."""

from __future__ import annotations

import os
import select
import time
from contextlib import ExitStack
from pathlib import Path

from paranoid_install.errors import Refusal, RefusedError

_ERROR = 2
_CONTROLLING = Path("/dev/tty")
_CONSOLES = Path("/sys/class/tty/console/active")
_DEVICES = Path("/dev")
_SECONDS = 5.0
"""Seconds that a terminal has to take a line: one that is held, with Ctrl-S say, takes none."""


class Terminals:
    """The terminals of who started the run, else the consoles of the machine; held while open.

    A standard error that is a pipe or a file may be a log: it is passed over, and the terminal that
    the run belongs to is asked (tty(4)), and where it has none, as under systemd, all consoles.
    """

    def __init__(self, stack: ExitStack) -> None:
        """Raises RefusedError where there is none: nobody would see what is shown only once."""
        if os.isatty(_ERROR):
            self._open = [os.dup(_ERROR)]
        else:
            self._open = _opened((_CONTROLLING,)) or _opened(_consoles())
        for descriptor in self._open:
            stack.callback(os.close, descriptor)
        if self._open:
            return
        problem = "there is no terminal and no console that could show it"
        remedy = "run it on a terminal (ssh -t), or give --root-password-hash-file"
        raise RefusedError("--generate-root-password", (Refusal("no-terminal", problem, remedy),))

    def __call__(self, line: str) -> None:
        """Show a line on all of them. Raises OSError when none has taken it."""
        took = [_write(descriptor, f"\n{line}\n".encode()) for descriptor in self._open]
        if not any(took):
            raise OSError("no terminal took what had to be shown")


def _consoles() -> tuple[Path, ...]:
    try:
        names = _CONSOLES.read_text(encoding="ascii").split()
    except OSError:  # a kernel without
        return ()
    # tty0 is whichever virtual terminal is in front; the one in front at boot is tty1.
    return tuple(_DEVICES / ("tty1" if name == "tty0" else name) for name in names)


def _opened(places: tuple[Path, ...]) -> list[int]:
    found = []
    for place in places:
        try:
            descriptor = os.open(place, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # a console that this machine has not got
            continue
        if os.isatty(descriptor):
            found.append(descriptor)
        else:
            os.close(descriptor)
    return found


def _write(descriptor: int, data: bytes) -> bool:
    end = time.monotonic() + _SECONDS
    while data:
        left = end - time.monotonic()
        if left <= 0 or not select.select((), (descriptor,), (), left)[1]:
            return False
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            continue
        except OSError:
            return False
    return True
