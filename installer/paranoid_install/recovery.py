"""What an earlier run wrote down: what it had done, what it may still hold. Reads a journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paranoid_install.actions import undo_of
from paranoid_install.disks import Signature
from paranoid_install.errors import Refusal, RefusedError
from paranoid_install.layout import LOOP
from paranoid_install.plan import Plan, make
from paranoid_install.spec import InstallSpec
from paranoid_install.survey import Survey


@dataclass(frozen=True)
class Past:
    """One run, read from its journal. `finished` says that it came to its end.

    `survey` is what the disk held when the run began; `taken` are the undos of all that
    it took and had not given back, the latest first, as `actions.as_data` describes them.
    """

    plan: Mapping[str, Any]
    survey: Mapping[str, Any]
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
        except ValueError:
            continue
        match event:
            case {"event": "survey"}:
                survey = event
            case {"event": "plan"}:
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


def resumed(spec: InstallSpec, found: Survey, past: Past) -> Plan:
    """The plan of the run to go on with, made again from the same request.

    Raises RefusedError when the machine, the disk or the request is not what the journal says.
    """
    disk = past.plan["disk"]
    for name in ("path", "serial", "wwn", "model", "size"):
        now = getattr(found.disk, name)
        if now != disk[name]:
            problem = f"its {name} is {now!r}, and the run to be resumed had {disk[name]!r}"
            raise RefusedError(found.disk.path, (_no(problem),))
    plan = make(spec, as_it_was(found, past))
    if plan.hash != past.plan["hash"]:
        problem = f"this request makes the plan {plan.hash[:12]}, not {past.plan['hash'][:12]}"
        raise RefusedError("--resume", (_no(problem),))
    return plan


def as_it_was(found: Survey, past: Past) -> Survey:
    """The survey with the disk's contents as they were when the run to be resumed began."""
    held = tuple(Signature(*entry) for entry in past.survey["signatures"])
    return replace(
        found,
        disk=replace(found.disk, signatures=held, installed=past.survey["installed"]),
        partitions=tuple(past.survey["partitions"]),
    )


def snapshot(found: Survey) -> dict[str, Any]:
    """What `as_it_was` needs, for the journal."""
    return {
        "signatures": [[s.device, s.type, s.label] for s in found.disk.signatures or ()],
        "installed": found.disk.installed,
        "partitions": list(found.partitions),
    }


def describe(past: Past) -> list[str]:
    """The state of a run in lines for a person."""
    loop = past.facts.get(LOOP, LOOP)
    steps = [step["id"] for step in past.plan["steps"]]
    rest = [step for step in steps if step not in past.done]
    state = "finished" if past.finished else f"not finished; next is {rest[0]}" if rest else "done"
    lines = [
        f"plan {past.plan['hash'][:12]} for {past.plan['disk']['path']}: {state}",
        f"done: {', '.join(past.done) or 'nothing'}",
    ]
    if past.error:
        lines.append(f"failed in {past.failed}: {past.error}")
    if past.taken:
        lines.append("perhaps still held, see paranoid-install clean:")
        lines += [f"  {undo['line'].replace(LOOP, loop)}" for undo in past.taken]
    return lines


def _follow(past: Past, event: Mapping[str, Any]) -> Past:
    changes: dict[str, Any] = {}
    match event:
        case {"event": "step", "state": "done", "id": str(step)}:
            changes["done"] = (*past.done, step)
        case {"event": "step", "state": "failed", "id": str(step)}:
            changes["failed"] = step
        case {"event": "fact", "name": str(name), "value": str(value)}:
            changes["facts"] = {**past.facts, name: value}
        case {"event": "action", "undo": dict(undo)} if undo_of(undo) is not None:
            changes["taken"] = (undo, *past.taken)
        case {"event": "release", "undo": dict(undo)} if undo in past.taken:
            place = past.taken.index(undo)
            changes["taken"] = past.taken[:place] + past.taken[place + 1 :]
        case {"event": "error", "problem": str(problem)}:
            changes["error"] = problem
        case {"event": "result"}:
            changes["finished"] = True
    return replace(past, **changes)


def _no(problem: str) -> Refusal:
    return Refusal("resume", problem, "start over with --wipe, or resume with the same request")
