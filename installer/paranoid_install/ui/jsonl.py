"""One JSON object a line on standard output; the schema is docs/events.schema.json."""

from __future__ import annotations

from typing import TextIO

from paranoid_install.journal import Event


class JsonLines:
    """Prints every event as it comes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: Event) -> None:
        print(event.as_json(), file=self._stream, flush=True)
