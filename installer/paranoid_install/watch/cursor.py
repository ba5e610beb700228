"""Where in the journal a watch has got to, kept in a file for the watch after it.

What is kept lags behind what is read, so that every event that began before it has been judged:
after a kill some of it is read, and told, once more, and nothing is missed. An orderly stop keeps
the last place at which no event was open; what is told after it is told once more as well.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from paranoid_install.errors import SpecError
from paranoid_install.watch.events import LIMIT_MS
from paranoid_install.watch.records import JOURNAL_BYTES

_CURSOR = re.compile(r"[0-9a-z]+=[0-9a-f]+(?:;[a-z]=[0-9a-f]+)+")
# Each note is flushed to the disk: seldom enough to be no load.
_EVERY = 5.0
_LAG = LIMIT_MS / 1000 + 1.0


class Cursor:
    """The place that `file` keeps. `begin` is the journal's cursor to read on after, or None.

    `damaged` says that the file holds something else, so that nobody knows where the last watch
    was. Raises SpecError for a file that cannot be read.
    """

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._rest = b""
        self._line = b""
        self._whole = b""
        self._noted = clock()
        self._places: deque[tuple[float, bytes]] = deque()
        self.failed = 0
        text = _read(file)
        self.damaged = text is not None and _CURSOR.fullmatch(text) is None
        self.begin = None if self.damaged else text

    def read(self, block: bytes, *, waits: bool) -> None:
        """Take a block that has been given to the watch, an empty one as well.

        `waits`: an event is open after it, whose other records are to come.
        """
        data = self._rest + block
        end = data.rfind(b"\n")
        if end >= 0:
            self._line = data[data.rfind(b"\n", 0, end) + 1 : end]
            data = data[end + 1 :]
        # Longer than a line may be: what follows it is no whole line, and is not taken for one.
        self._rest = data[: JOURNAL_BYTES + 1]
        if not waits:
            self._whole = self._line
        now = self._clock()
        if now - self._noted < _EVERY:
            return
        self._noted = now
        if self._line and (not self._places or self._places[-1][1] != self._line):
            self._places.append((now, self._line))
        line = b""
        while self._places and now - self._places[0][0] >= _LAG:
            _, line = self._places.popleft()
        self._keep(line)

    def stopped(self) -> None:
        """No more is read; what is open is left to the next watch."""
        self._keep(self._whole)

    def _keep(self, line: bytes) -> None:
        try:
            cursor = json.loads(line)["__CURSOR"]
        except (ValueError, KeyError, TypeError):
            return
        if not isinstance(cursor, str) or _CURSOR.fullmatch(cursor) is None:
            return
        new = self._file.with_name(f"{self._file.name}.new")
        try:
            with new.open("w", encoding="ascii") as file:
                file.write(f"{cursor}\n")
                file.flush()
                # Renamed without, it may be empty after a power cut.
                os.fsync(file.fileno())
            new.rename(self._file)
        except OSError:
            self.failed += 1


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SpecError(
            str(file), f"cannot be read ({error.strerror})", "name another file"
        ) from error
