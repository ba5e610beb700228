"""A run as its journal tells it. Pure; the one place that knows how a journal is read back.

A journal may come from a disk that anybody had: only what is known by name and of the right form is
taken from it, in one pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paranoid_install.layout import LOOP, SYSTEM
from paranoid_install.mounts import Standing

TABLE = "@table"
"""The fact that holds the id of the partition table that a run has written."""

SEQUENCE = "@loop-sequence"
"""The fact that tells the loop device of a run from a later one of the same name."""

RUN = "@run"
"""The fact that holds the mark of the programs that a run starts."""

PASSING = frozenset({LOOP, SEQUENCE, RUN})
"""Facts of what ends with the run, or with the machine."""

BOOT_LOADER = "install"
"""The step at whose end the disk boots."""

MOUNT = "mount"
"""The step in which the new file systems are mounted, each once."""

BEFORE_FILES = ("select", "guard", "partition", "format")
"""The steps before the first file is written: what they did is seen on the disk itself."""

RECORD = "record"
"""The fact that says where the record is, learned when all else is on the disk."""

_FACTS = {
    LOOP: r"/dev/loop\d+",
    SEQUENCE: r"\d*",
    RUN: r"[0-9a-f]{32}",
    TABLE: r"[0-9a-fA-F-]+",
    RECORD: r"/.+",
    SYSTEM: r"/nix/store/[A-Za-z0-9+._?=-]+",
    "plan-hash": r"[0-9a-f]{64}",
    "started": r"[0-9T:+-]+",
    "toplevel": r"/nix/store/[A-Za-z0-9+._?=-]+",
    "machine-id": r"[0-9a-f]{32}",
    "host-key-ed25519": r"SHA256:[A-Za-z0-9+/]+",
    "host-key-rsa": r"SHA256:[A-Za-z0-9+/]+",
}


@dataclass
class Past:
    """One run, read from its journal. `finished` says that it came to its end.

    `survey` is what the disk held when the run began; `taken` are the undos of all that
    it took and had not given back, the earliest first, as `actions.as_data` describes them, by
    what they say; `mounted` is what it had put at each place.
    """

    plan: Mapping[str, Any]
    survey: Mapping[str, Any]
    begun: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    failed: str = ""
    error: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    taken: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = field(default_factory=dict)
    mounted: dict[str, Standing] = field(default_factory=dict)
    finished: bool = False

    @property
    def root(self) -> str:
        return str(self.plan["root"])

    @property
    def steps(self) -> list[str]:
        return [str(step["id"]) for step in self.plan["steps"]]


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
        if not isinstance(event, dict):
            continue
        if event.get("event") == "survey":
            survey = event if _is_survey(event) else {}
        elif event.get("event") == "plan" and _is_plan(event) and survey:
            found.append(Past(event, survey))
        elif found:
            _follow(found[-1], event)
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


def _is_survey(event: Mapping[str, Any]) -> bool:
    match event:
        case {"signatures": list(signatures), "installed": str(), "partitions": list(partitions)}:
            stack = event.get("stack", [])
            if not isinstance(stack, list):
                return False
            entries = [*signatures, *stack, partitions, event.get("unchecked", [])]
            texts = all(isinstance(e, list) and all(isinstance(t, str) for t in e) for e in entries)
            return texts and all(len(s) == 3 for s in signatures) and all(len(h) > 2 for h in stack)
    return False


def _is_plan(event: Mapping[str, Any]) -> bool:
    match event:
        case {
            "hash": str(),
            "disk": {
                "path": str(),
                "serial": str(),
                "wwn": str(),
                "model": str(),
                "size": int(),
            },
            "root": str(),
            "steps": list(steps),
        }:
            return all(isinstance(s, dict) and isinstance(s.get("id"), str) for s in steps)
    return False


def _is_undo(undo: Mapping[str, Any]) -> bool:
    return all(isinstance(value, str) for value in undo.values())


def _follow(past: Past, event: Mapping[str, Any]) -> None:
    match event:
        case {"event": "step", "state": "begin", "id": str(step)}:
            past.begun.append(step)
        case {"event": "step", "state": "done", "id": str(step)}:
            past.done.append(step)
        case {"event": "step", "state": "failed", "id": str(step)}:
            past.failed = step
        case {"event": "fact", "name": str(name), "value": str(value)}:
            if re.fullmatch(_FACTS.get(name, "(?!)"), value, re.ASCII):
                past.facts[name] = value
        case {"event": "action", "undo": dict(undo)} if _is_undo(undo):
            past.taken[tuple(sorted(undo.items()))] = undo
        case {"event": "mounted", "target": str(target), "id": int(mount_id), "unique": int(unique),
              "device": str(device), "fs_type": str(fs_type)}:  # fmt: skip
            past.mounted[target] = Standing(mount_id, device, fs_type, unique)
        case {"event": "release", "undo": dict(undo)} if _is_undo(undo):
            past.taken.pop(tuple(sorted(undo.items())), None)
        case {"event": "error", "problem": str(problem)}:
            past.error = problem
        case {"event": "result"}:
            past.finished = True
