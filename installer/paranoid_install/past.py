"""A run as its journal tells it. Pure; the one place that knows how a journal is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

TABLE = "@table"
"""The fact that holds the id of the partition table that a run has written."""

BOOT_LOADER = "install"
"""The step at whose end the disk boots."""

MOUNT = "mount"
"""The step in which the new file systems are mounted, each once."""

RECORD = "record"
"""The fact that says where the record is, learned when all else is on the disk."""


@dataclass(frozen=True)
class Past:
    """One run, read from its journal. `finished` says that it came to its end.

    `survey` is what the disk held when the run began; `taken` are the undos of all that
    it took and had not given back, the latest first, as `actions.as_data` describes them.
    """

    plan: Mapping[str, Any]
    survey: Mapping[str, Any]
    begun: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    failed: str = ""
    error: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    taken: tuple[Mapping[str, Any], ...] = ()
    finished: bool = False

    @property
    def root(self) -> str:
        return str(self.plan["root"])


def runs(text: str) -> list[Past]:
    """The runs of a journal, the oldest first.

    A line that was cut off by the end of the machine is passed over, and so is all that it alone
    would have said: what is not written down was not done.
    """
    found: list[Past] = []
    survey: Mapping[str, Any] = {}
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        match event:
            case {
                "event": "survey",
                "signatures": list(),
                "installed": str(),
                "partitions": list(),
            }:
                survey = event
            case {
                "event": "plan",
                "hash": str(),
                "disk": {"path": str()},
                "root": str(),
                "steps": list(),
            }:
                found.append(Past(event, survey))
            case {"event": str()} if found:
                found[-1] = _follow(found[-1], event)
    return found


def unfinished(text: str, disk: str) -> Past | None:
    """The last run of a journal, if it was for this disk and did not come to its end."""
    last = next(reversed(runs(text)), None)
    if last is None or last.finished or last.plan["disk"]["path"] != disk:
        return None
    return last


def cut_off(text: str, table: str, mounts: int) -> bool:
    """Whether the last run of this boot that wrote this partition table did not come to its end.

    Then all that the disk holds is that run's: it was free to be erased before. A table's id is
    random, so no other disk and no table made since is taken for it. `mounts` is how often its file
    system was mounted: once for each run that came so far, or somebody has used it since.
    """
    writers = [past for past in runs(text) if table and past.facts.get(TABLE) == table]
    if not writers or writers[-1].finished:
        return False
    if RECORD in writers[-1].facts:
        return False
    return mounts <= sum(MOUNT in past.begun for past in writers)


def _follow(past: Past, event: Mapping[str, Any]) -> Past:
    changes: dict[str, Any] = {}
    match event:
        case {"event": "step", "state": "begin", "id": str(step)}:
            changes["begun"] = (*past.begun, step)
        case {"event": "step", "state": "done", "id": str(step)}:
            changes["done"] = (*past.done, step)
        case {"event": "step", "state": "failed", "id": str(step)}:
            changes["failed"] = step
        case {"event": "fact", "name": str(name), "value": str(value)}:
            changes["facts"] = {**past.facts, name: value}
        case {"event": "action", "undo": dict(undo)}:
            changes["taken"] = (undo, *past.taken)
        case {"event": "release", "undo": dict(undo)} if undo in past.taken:
            place = past.taken.index(undo)
            changes["taken"] = past.taken[:place] + past.taken[place + 1 :]
        case {"event": "error", "problem": str(problem)}:
            changes["error"] = problem
        case {"event": "result"}:
            changes["finished"] = True
    return replace(past, **changes)
