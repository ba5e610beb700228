"""Going on with a run that was cut off, and telling what state it is in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paranoid_install.actions import undo_of
from paranoid_install.disks import Signature
from paranoid_install.errors import Refusal, RefusedError
from paranoid_install.layout import LOOP, Layout, partition_path
from paranoid_install.past import BEFORE_FILES, BOOT_LOADER, TABLE, Past
from paranoid_install.plan import Plan, make
from paranoid_install.spec import InstallSpec
from paranoid_install.stack import Holder
from paranoid_install.survey import Survey


def after_reboot(past: Past, found: Survey, table: str) -> Past:
    """The run as far as the disk itself bears it out, where its journal was kept on that disk.

    Whoever had the disk meanwhile may have written any file on it, that journal too. So the table
    is looked at, and all that was written into the file systems is made anew, but for the paths of
    the store, each of which is checked by its hash. Raises RefusedError for a table that is not the
    run's, and where the system may have been started since: its data are somebody's.
    """
    if BOOT_LOADER in past.begun:
        problem = "the system on it may have been started since, so it is not taken up again"
        raise RefusedError(found.disk.path, (_no(problem),))
    expected = _partitions(found.disk.path, found.layout)
    if not table or past.facts.get(TABLE) != table or found.partitions != expected:
        problem = "its partition table is not the one that the run to be resumed has written"
        raise RefusedError(found.disk.path, (_no(problem),))
    done = [step for step in past.done if step in BEFORE_FILES]
    return Past(past.plan, past.survey, done=done, facts={TABLE: table})


def _partitions(disk: str, plan: Layout) -> tuple[str, ...]:
    return tuple(partition_path(disk, partition.number) for partition in plan.partitions)


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
    stack = tuple(
        Holder(kind, name, id_, tuple(nodes))
        for kind, name, id_, *nodes in past.survey.get("stack", ())
    )
    return replace(
        found,
        disk=replace(
            found.disk,
            signatures=held,
            installed=past.survey["installed"],
            left_over=past.survey.get("left_over", False),
            stack=stack,
            holders=tuple(node for holder in stack for node in holder.nodes),
        ),
        partitions=tuple(past.survey["partitions"]),
        unchecked=tuple(past.survey.get("unchecked", ())),
    )


def snapshot(found: Survey) -> dict[str, Any]:
    """What `as_it_was` needs, for the journal."""
    return {
        "signatures": [[s.device, s.type, s.label] for s in found.disk.signatures or ()],
        "stack": [[*holder.key, *holder.nodes] for holder in found.disk.stack],
        "installed": found.disk.installed,
        "left_over": found.disk.left_over,
        "partitions": list(found.partitions),
        "unchecked": list(found.unchecked),
    }


def describe(past: Past) -> list[str]:
    """The state of a run in lines for a person."""
    loop = past.facts.get(LOOP, LOOP)
    rest = [step for step in past.steps if step not in past.done]
    state = "finished" if past.finished else f"not finished; next is {rest[0]}" if rest else "done"
    lines = [
        f"plan {past.plan['hash'][:12]} for {past.plan['disk']['path']}: {state}",
        f"done: {', '.join(past.done) or 'nothing'}",
    ]
    if past.error:
        lines.append(f"failed in {past.failed}: {past.error}")
    taken = [undo for data in past.taken.values() if (undo := undo_of(data)) is not None]
    if taken:
        lines.append("perhaps still held, see paranoid-install clean:")
        lines += [f"  {undo.line.replace(LOOP, loop)}" for undo in reversed(taken)]
    return lines


def _no(problem: str) -> Refusal:
    return Refusal("resume", problem, "start over with --wipe, or resume with the same request")
