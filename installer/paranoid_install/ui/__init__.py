"""What the operator sees: listeners of the journal. Nothing here decides anything."""

from __future__ import annotations

import os
import re
from typing import TextIO

# Escape sequences and other control characters: programs print them, hostile names hold them.
_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)|[\x00-\x1f\x7f-\x9f]"
    # What turns the direction of writing, or ends a line: names could be made to look like others.
    r"|[\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
_SERIAL = ("/dev/console", "/dev/ttyS", "/dev/ttyAMA", "/dev/ttyUSB", "/dev/hvc", "/dev/xvc")


def clean(text: str) -> str:
    """One line without anything that a terminal would act on."""
    return _CONTROL.sub("", text)


def is_screen(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can redraw: no pipe, no log, no serial console."""
    if not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return False
    return not os.ttyname(stream.fileno()).startswith(_SERIAL)
