"""What is said of an event, the same on every kind of console."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paranoid_install.values import human

Data = Mapping[str, Any]


def progress(data: Data) -> str:
    """How far the copy of the closure is."""
    return (
        f"{human(data['done'])} of {human(data['total'])}, "
        f"{data['paths_done']} of {data['paths_total']} store paths"
    )


def result(data: Data) -> list[tuple[str, str]]:
    """What the operator needs to know of the new machine, by name."""
    return [(name.replace("_", " "), str(value)) for name, value in data.items()]


def sentence(kind: str, data: Data) -> str:
    """An event in one line; empty for one that needs none."""
    return _SENTENCES[kind](data) if kind in _SENTENCES else ""


LEFT = "left to nixos-install"
"""store.Method.LEFT; the store is imported by an install alone."""


def _store(data: Data) -> str:
    if data["method"] == LEFT:
        return f"the store is {LEFT}: {data['reason']}"
    how = "verified" if data["verified"] else "not verified"
    why = f"; slowly, through its mount: {data['reason']}" if data["reason"] else ""
    return (
        f"{data['copied']} of {data['paths']} store paths copied ({data['method']}, {how}), "
        f"{human(data['bytes'])} in {data['seconds']:.1f} s{why}"
    )


_SENTENCES: Mapping[str, Callable[[Data], str]] = {
    "warning": lambda data: f"warning: {data['text']}",
    "release": lambda data: "" if data["planned"] else f"released: {data['line']}",
    "store": _store,
}
