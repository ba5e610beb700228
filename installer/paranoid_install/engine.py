"""Runs a plan: writes down, acts, and whatever the way out, releases what was taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from paranoid_install import record
from paranoid_install.actions import Action, Machine, as_data
from paranoid_install.errors import RefusedError, StepError
from paranoid_install.past import BOOT_LOADER
from paranoid_install.plan import Plan, Step

Before = Callable[[Step], None]


def run(
    plan: Plan,
    machine: Machine,
    before_destruction: Before = lambda _step: None,
    done: Collection[str] = (),
) -> None:
    """Execute every action of the plan in order.

    `before_destruction` is called once, before the step ahead of the first destructive one, which
    is the last to look. Of the steps `done` by an earlier run only what does not last is done
    again, mounts above all. Raises RefusedError for a refusal before it, StepError for any other
    failure, a bug's included (everything of this run is released by then, or listed in it), and
    Interrupted.
    """
    held: list[Action] = []
    written: list[str] = []
    may_boot = False
    step = plan.steps[0]
    machine.learn("plan-hash", plan.hash)
    machine.learn("started", record.now())
    first = next((n for n, s in enumerate(plan.steps) if s.destructive), None)
    try:
        for number, step in enumerate(plan.steps):
            again = step if step.id not in done else _passing(step)
            if first is not None and number == max(0, first - 1):
                next_one = plan.steps[first]
                if next_one.id not in done:
                    before_destruction(next_one)
            if step.destructive and step.id in done:
                written.append(step.id)
            may_boot = may_boot or step.id == BOOT_LOADER
            _run(again, machine, held, written)
    except BaseException as error:
        unreleased = release(held, machine)
        touched = bool(written)
        if isinstance(error, RefusedError) and not touched:
            raise
        if isinstance(error, Exception):
            # Also one that nobody has foreseen: what it left on the disk is the same.
            raise StepError(
                step.id, error, touched=touched, may_boot=may_boot, unreleased=unreleased
            ) from error
        if unreleased:
            error.add_note("not released: " + "; ".join(unreleased))
        raise


def release(held: Sequence[Action], machine: Machine) -> tuple[str, ...]:
    """Take back what is held, the latest first; the lines of those that failed.

    A signal waits until it is done: whoever presses Ctrl-C twice still gets a clean machine.
    """
    failed = []
    machine.signals.hold()
    for action in reversed(held):
        try:
            action.apply(machine)
            _released(action, machine, planned=False)
        except Exception as error:
            failed.append(f"{machine.device(action.line)} ({error})")
            machine.journal.emit("warning", text=f"could not be released: {failed[-1]}")
    return tuple(failed)


def _passing(step: Step) -> Step:
    return replace(step, actions=tuple(a for a in step.actions if not a.lasts))


def _run(step: Step, machine: Machine, held: list[Action], written: list[str]) -> None:
    """Run one step; `written` gets its id once it does what stays on the disk."""
    start = time.monotonic()
    machine.journal.emit("step", id=step.id, title=step.title, state="begin")
    try:
        for action in step.actions:
            if step.destructive and action.lasts:
                written.append(step.id)
            _act(action, machine, held)
    except BaseException:
        machine.journal.emit("step", id=step.id, title=step.title, state="failed", **_since(start))
        raise
    machine.journal.emit("step", id=step.id, title=step.title, state="done", **_since(start))


def _act(action: Action, machine: Machine, held: list[Action]) -> None:
    undo = action.undo
    described = as_data(undo) if undo is not None else None
    machine.journal.emit("action", line=machine.device(action.line), undo=described)
    if undo is None and action not in held:
        action.apply(machine)
        return
    # Between the effect and the note of it no signal may come.
    with machine.signals.shield():
        action.apply(machine)
        if undo is not None:
            held.append(undo)
        elif action in held:
            # The plan itself takes back what it did: done, and nothing left to release.
            held.remove(action)
            _released(action, machine, planned=True)


def _released(action: Action, machine: Machine, *, planned: bool) -> None:
    line = machine.device(action.line)
    machine.journal.emit("release", line=line, undo=as_data(action), planned=planned)


def _since(start: float) -> dict[str, float]:
    return {"seconds": round(time.monotonic() - start, 3)}
