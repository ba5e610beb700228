"""What happens in a run, as events: written down before anything acts, and told to listeners."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = str | int | float | bool | None | Mapping[str, Any] | list[Any]

# What announces an act is on the disk before it, and with it all that was written earlier; the
# end is as well. A process that is killed loses nothing, flushed or not.
_FLUSHED = frozenset({"plan", "action", "result", "error"})


@dataclass(frozen=True)
class Event:
    """One thing that happened. `kind` and the keys of `data`: docs/reference.md."""

    kind: str
    data: Mapping[str, Value]
    time: float

    def as_json(self) -> str:
        """One line of JSON, without its line feed."""
        return json.dumps({"event": self.kind, "time": round(self.time, 3), **self.data})


RUN_DIRECTORY = Path("/run/paranoid-install")
RUN_JOURNAL = RUN_DIRECTORY / "journal.jsonl"
"""The journal of this boot's runs, one after the other."""

Listener = Callable[[Event], None]


@dataclass
class Journal:
    """Passes events on. A listener that fails is dropped and the others told; no run stops."""

    listeners: list[Listener] = field(default_factory=list)

    def emit(self, kind: str, **data: Value) -> None:
        event = Event(kind, data, time.time())
        for listener in tuple(self.listeners):
            try:
                listener(event)
            except Exception as error:
                self.listeners.remove(listener)
                name = getattr(listener, "path", type(listener).__name__)
                self.emit("warning", text=f"{name} is not told any more: {error!r}")


class JournalFile:
    """Appends events as JSON lines, readable by root alone, flushed before anything acts."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._start = os.fstat(self._fd).st_size

    def __call__(self, event: Event) -> None:
        try:
            os.write(self._fd, event.as_json().encode() + b"\n")
            if event.kind in _FLUSHED:
                os.fsync(self._fd)
        except OSError:
            # Who is dropped for this must not hold the file system of a disk that is gone.
            self.close()
            raise

    def this_run(self) -> str:
        """What was written since this file was opened."""
        with self.path.open(encoding="utf-8") as file:
            file.seek(self._start)
            return file.read()

    def close(self) -> None:
        """Close the file. Harmless when it is closed already."""
        if self._fd >= 0:
            descriptor, self._fd = self._fd, -1
            os.close(descriptor)
