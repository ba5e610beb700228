"""One install from settings to result: survey, guard, plan, run. What `cli` calls."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from paranoid_install import engine, guard, settings, spec
from paranoid_install.actions import Machine
from paranoid_install.errors import CommandFailed, Refusal, RefusedError, SpecError
from paranoid_install.journal import Journal, JournalFile
from paranoid_install.locks import locked
from paranoid_install.plan import Plan, Step, make
from paranoid_install.runner import ShRunner, missing
from paranoid_install.signals import Signals
from paranoid_install.spec import InstallSpec
from paranoid_install.survey import survey

ANSWERS = Path("/etc/paranoid/answers.toml")
"""The answer file that a live image carries; read when no other is named."""

RUN_DIRECTORY = Path("/run/paranoid-install")


def read_spec(flags: Mapping[str, tuple[str, ...]], answers: str) -> InstallSpec:
    """The request merged with all other sources. Raises SpecError."""
    kernel_line = _kernel_line()
    file = (
        answers
        or os.environ.get("PARANOID_ANSWERS", "")
        or settings.kernel_answers_file(kernel_line)
        or (str(ANSWERS) if ANSWERS.exists() else "")
    )
    return spec.build(
        settings.merge(
            settings.from_flags(flags),
            settings.from_environment(os.environ),
            settings.from_kernel(kernel_line),
            settings.from_answers(file) if file else {},
        )
    )


def prepare(wanted: InstallSpec, journal: Journal, hold: ExitStack | None = None) -> Plan:
    """Look at the machine, refuse what must be refused, and make the plan. Writes no disk.

    `hold` is given by a run that means it: it keeps the root and the disk locked against others.
    Raises RefusedError, SpecError, LockedError.
    """
    if os.geteuid() != 0:
        raise SpecError("this user", "may not write disks", "run it as root")

    def lock(subject: str) -> None:
        if hold is not None:
            hold.enter_context(locked(RUN_DIRECTORY / "locks", subject))

    lock(wanted.root)
    runner = ShRunner(lambda line: journal.emit("command", text=line))
    try:
        found = survey(runner, wanted)
    except CommandFailed as error:
        # What cannot be looked at is not known to be free.
        problem = f"{error.command}: {error.problem}"
        raise RefusedError("looking at the disks", (Refusal("probe", problem),)) from error
    # By its kernel name: two links may lead to one disk. Before the guard, which would only see
    # that it is mounted, not by whom.
    lock(found.disk.path)
    guard.check(wanted, found)
    plan = make(wanted, found)
    guard.check_programs(missing(plan.programs))
    return plan


def execute(
    wanted: InstallSpec,
    plan: Plan,
    journal: Journal,
    signals: Signals,
    show: Callable[[str], None],
) -> Machine:
    """Run the plan; the machine returned knows the facts. Raises what `engine.run` raises."""
    runner = ShRunner(lambda line: journal.emit("command", text=line))
    machine = Machine(runner, journal, show, signals)

    def count_down(_step: Step) -> None:
        for left in range(wanted.countdown, 0, -1):
            if left <= 10 or left % 10 == 0:
                show(f"{plan.disk['path']} is erased in {left} s; Ctrl-C stops it")
            time.sleep(1)  # a countdown is for people; nothing is waited for

    with ExitStack() as stack:
        log = stack.enter_context(JournalFile(RUN_DIRECTORY / "journal.jsonl"))
        journal.listeners.append(log)
        stack.callback(lambda: journal.listeners.remove(log))
        journal.emit("plan", **plan.as_data())
        for warning in plan.warnings:
            journal.emit("warning", text=warning)
        engine.run(plan, machine, count_down)
        journal.emit("result", **results(machine))
    return machine


def results(machine: Machine) -> dict[str, str]:
    """What the operator needs to know of the new machine."""
    hidden = ("@", "started")
    return {k.replace("-", "_"): v for k, v in machine.facts.items() if not k.startswith(hidden)}


def _kernel_line() -> str:
    try:
        return Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        print(f"/proc/cmdline cannot be read: {error}", file=sys.stderr)
        return ""
