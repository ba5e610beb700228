"""Runs a plan: writes down, acts, and whatever the way out, releases what was taken."""

from __future__ import annotations

import time
from collections.abc import Callable

from paranoid_install import record
from paranoid_install.actions import Action, Machine
from paranoid_install.errors import InstallError, RefusedError, StepError
from paranoid_install.plan import Plan, Step

Before = Callable[[Step], None]


def run(plan: Plan, machine: Machine, before_destruction: Before = lambda _step: None) -> None:
    """Execute every action of the plan in order.

    `before_destruction` is called once, before the first destructive step. Raises RefusedError
    for a refusal before it, StepError for any other failure (everything of this run is released by
    then, or listed in it), and Interrupted.
    """
    held: list[Action] = []
    touched = False
    step = plan.steps[0]
    machine.learn("plan-hash", plan.hash)
    machine.learn("started", record.now())
    try:
        for step in plan.steps:
            if step.destructive and not touched:
                before_destruction(step)
                touched = True
            _run(step, machine, held)
    except BaseException as error:
        unreleased = release(held, machine)
        if isinstance(error, RefusedError) and not touched:
            raise
        if isinstance(error, (InstallError, OSError)):
            failure = StepError(step.id, error, touched=touched, unreleased=unreleased)
            raise failure from error
        if unreleased:
            error.add_note("not released: " + "; ".join(unreleased))
        raise


def release(held: list[Action], machine: Machine) -> tuple[str, ...]:
    """Take back what is held, the latest first; the lines of those that failed.

    A signal waits until it is done: whoever presses Ctrl-C twice still gets a clean machine.
    """
    failed = []
    machine.signals.hold()
    for action in reversed(held):
        machine.journal.emit("release", line=machine.device(action.line))
        try:
            action.apply(machine)
        except (InstallError, OSError) as error:
            failed.append(f"{machine.device(action.line)} ({error})")
            machine.journal.emit("warning", text=f"could not be released: {failed[-1]}")
    held.clear()
    return tuple(failed)


def _run(step: Step, machine: Machine, held: list[Action]) -> None:
    start = time.monotonic()
    machine.journal.emit("step", id=step.id, title=step.title, state="begin")
    try:
        for action in step.actions:
            _act(action, machine, held)
    except BaseException:
        machine.journal.emit("step", id=step.id, title=step.title, state="failed", **_since(start))
        raise
    machine.journal.emit("step", id=step.id, title=step.title, state="done", **_since(start))


def _act(action: Action, machine: Machine, held: list[Action]) -> None:
    undo = action.undo
    line, undo_line = machine.device(action.line), machine.device(undo.line) if undo else None
    machine.journal.emit("action", line=line, undo=undo_line)
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


def _since(start: float) -> dict[str, float]:
    return {"seconds": round(time.monotonic() - start, 3)}
