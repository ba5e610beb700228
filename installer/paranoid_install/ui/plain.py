"""Plain lines for serial consoles, pipes and logs: no escape codes, nothing redrawn."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TextIO

from paranoid_install.journal import Event
from paranoid_install.plan import Plan
from paranoid_install.ui import clean, words

_PROGRESS_SECONDS = 5.0


class Plain:
    """One line for each thing worth knowing, with the seconds since the run began."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._shown = 0.0

    def __call__(self, event: Event) -> None:
        text = self._text(event.kind, event.data)
        if text:
            elapsed = time.monotonic() - self._start
            _print(f"[{elapsed:7.1f}] {clean(text)}", self._stream)
            self._stream.flush()

    def _text(self, kind: str, data: Mapping[str, Any]) -> str:
        match kind:
            case "step" if data["state"] == "begin":
                return f"{data['id']}: {data['title']}"
            case "step":
                return f"{data['id']}: {data['state']} after {data['seconds']:.1f} s"
            case "progress":
                return self._progress(data)
            case "line":
                return f"    {data['text']}"
            case "result":
                known = ", ".join(f"{name} {value}" for name, value in words.result(data))
                return f"installed: {known}"
        return words.sentence(kind, data)

    def _progress(self, data: Mapping[str, Any]) -> str:
        now = time.monotonic()
        if data["done"] < data["total"] and now - self._shown < _PROGRESS_SECONDS:
            return ""
        self._shown = now
        return f"    {words.progress(data)}"


def show_plan(plan: Plan, stream: TextIO) -> None:
    """The whole plan: every command in full, every file to be written."""
    _print(f"plan {plan.hash} for {clean(str(plan.disk['path']))}", stream)
    for step in plan.steps:
        mark = " (destructive)" if step.destructive else ""
        _print(f"# {step.id}: {clean(step.title)}{mark}", stream)
        for action in step.actions:
            _print(f"  {clean(action.line)}", stream)
    stream.flush()


def _print(line: str, stream: TextIO) -> None:
    """What a console cannot show is spelt out: it must not end the run."""
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream)
