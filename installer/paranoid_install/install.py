"""One install from settings to result: survey, guard, plan, run. What `cli` calls."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from paranoid_install import (
    contents,
    engine,
    guard,
    handover,
    orphans,
    record,
    recovery,
    settings,
    spec,
)
from paranoid_install.actions import Machine, undo_of
from paranoid_install.disks import Disk
from paranoid_install.errors import (
    CommandFailed,
    InstallError,
    LockedError,
    Refusal,
    RefusedError,
    SpecError,
)
from paranoid_install.held import Held, places
from paranoid_install.held import hold as take
from paranoid_install.journal import RUN_DIRECTORY, RUN_JOURNAL, Journal, JournalFile
from paranoid_install.layout import layout
from paranoid_install.locks import locked
from paranoid_install.past import PASSING, RUN, Past, runs, unfinished
from paranoid_install.plan import Plan, Step, make
from paranoid_install.runner import Runner, ShRunner, adopt_orphans, missing
from paranoid_install.signals import Signals
from paranoid_install.spec import InstallSpec
from paranoid_install.survey import Survey, firmware, nix_partition, on_nix, survey

ANSWERS = Path("/etc/paranoid/answers.toml")
"""The answer file that a live image carries; read when no other is named."""

LOCKS = RUN_DIRECTORY / "locks"


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


@dataclass(frozen=True)
class Prepared:
    """A plan that may be run. `before` is what the disk held; `past` the run that is resumed.

    `held` is the disk or the image, kept open until the run ends, by its path.
    """

    plan: Plan
    before: Mapping[str, Any]
    past: Past | None = None
    held: Mapping[str, Held] = field(default_factory=dict)


def prepare(
    wanted: InstallSpec, journal: Journal, signals: Signals, hold: ExitStack | None = None
) -> Prepared:
    """Look at the machine, refuse what must be refused, and make the plan. Writes no disk.

    `hold` is given by a run that means it: it keeps the root and the disk locked against others.
    Raises RefusedError, SpecError, LockedError.
    """
    _require_root()
    adopt_orphans()

    def lock(subject: str) -> None:
        if hold is not None:
            for place in places(subject):
                hold.enter_context(locked(LOCKS, place, subject))

    if hold is not None:
        _release_the_dead(journal, signals)
    lock(wanted.root)
    runner = _runner(journal, signals, orphans.new_mark())
    try:
        found = survey(
            runner, wanted, _run_journal(), lambda text: journal.emit("waiting", text=text)
        )
        # By its kernel name: two links may lead to one disk. Before the guard, which would only
        # see that it is mounted, not by whom.
        lock(found.disk.path)
        past = _past(runner, found) if wanted.resume else None
    except CommandFailed as error:
        # What cannot be looked at is not known to be free.
        problem = f"{error.command}: {error.problem}"
        raise RefusedError("looking at the disks", (Refusal("probe", problem),)) from error
    if past is None:
        guard.check(wanted, found)
        plan = make(wanted, found)
    else:
        guard.check(wanted, recovery.as_it_was(found, past))
        plan = recovery.resumed(wanted, found, past)
    guard.check_hash(plan.hash, wanted.plan_hash)
    guard.check_programs(missing(plan.programs))
    before = past.survey if past else recovery.snapshot(found)
    return Prepared(plan, before, past, _hold(found.disk, hold) if hold is not None else {})


def execute(
    wanted: InstallSpec,
    prepared: Prepared,
    journal: Journal,
    signals: Signals,
    show: Callable[[str], None],
    reveal: Callable[[str], None],
) -> Machine:
    """Run the plan; the machine returned knows the facts. Raises what `engine.run` raises.

    `show` tells the countdown, `reveal` what nobody but a person may see.
    """
    plan, past = prepared.plan, prepared.past
    mark = orphans.new_mark()
    machine = _machine(journal, signals, reveal, mark)
    machine.held.update(prepared.held)

    def count_down(_step: Step) -> None:
        for left in range(wanted.countdown, 0, -1):
            if left <= 10 or left % 10 == 0:
                show(f"{plan.disk['path']} is erased in {left} s; Ctrl-C stops it")
            time.sleep(1)  # a countdown is for people; nothing is waited for

    with _journal_file(journal) as machine.log:
        journal.emit("survey", **prepared.before)
        journal.emit("plan", **plan.as_data())
        warn(plan, journal)
        if past is not None:
            for name in past.facts.keys() - PASSING:
                machine.learn(name, past.facts[name])
        # Before any program of the plan starts, so that each of them can be found by it.
        machine.learn(RUN, mark)
        try:
            engine.run(plan, machine, count_down, past.done if past else ())
        except InstallError as error:
            journal.emit("error", **error.as_data())
            raise
        journal.emit("result", **results(machine))
    return machine


def installed(answers: str, signals: Signals) -> handover.Installed:
    """The disk that the same request has been refused for because it is installed already.

    Raises RefusedError where it is not, and what `prepare` raises.
    """
    # The run that was refused has waited already.
    wanted, journal = replace(read_spec({}, answers), wait_for_disk=0), Journal()
    try:
        prepare(wanted, journal, signals)
    except RefusedError as refusal:
        runner = _runner(journal, signals, orphans.new_mark())
        return handover.find(runner, refusal, layout(firmware(wanted)))
    problem = "the request is not refused: no disk that it means is installed"
    raise RefusedError("hand-over", (Refusal("hand-over", problem, "install it"),))


def warn(plan: Plan, journal: Journal) -> None:
    """Tell what speaks against the plan and is no reason to refuse it."""
    for warning in plan.warnings:
        journal.emit("warning", text=warning)


def clean(journal: Journal, signals: Signals, show: Callable[[str], None]) -> tuple[str, ...]:
    """End what runs of this boot that were killed left at work, and release what they still hold.

    Returns the lines of what could not be. Raises LockedError when such a run is still alive.
    """
    _require_root()
    failed: tuple[str, ...] = ()
    alive: LockedError | None = None
    for past in reversed(runs(_run_journal())):
        undos = [undo for data in past.taken.values() if (undo := undo_of(data)) is not None]
        machine = _machine(journal, signals, show)
        machine.facts.update(past.facts)
        machine.mounted.update(past.mounted)
        mark = past.facts.get(RUN, "")
        # The programs first: what one of them was at may be done when it has ended.
        nothing = not orphans.left(mark) and not any(u.in_effect(machine) for u in undos)
        # A program that a killed run was just starting shows only once the locks are ours.
        if nothing and past.finished:
            continue
        try:
            with ExitStack() as stack:
                for subject in (past.root, str(past.plan["disk"]["path"])):
                    for place in places(subject):
                        stack.enter_context(locked(LOCKS, place, subject))
                stack.enter_context(_journal_file(journal))
                failed += orphans.end(mark)
                still = [undo for undo in undos if undo.in_effect(machine)]
                failed += engine.release(still, machine)
        except LockedError as error:
            alive = error
    if alive is not None:
        raise alive
    return failed


def _release_the_dead(journal: Journal, signals: Signals) -> None:
    """Release what killed runs still hold, so that the next one finds its disk and its root free.

    What is left after it, be it a living run's or busy, is refused where it is looked at.
    """
    # Signals of its own: a release holds them for good, and this run has yet to begin. A living
    # run is met again where the root or the disk is locked, if it concerns this one.
    with signals.shield(), suppress(LockedError):
        clean(journal, Signals(), lambda _line: None)


def status() -> list[str]:
    """The state of the last run of this boot, in lines for a person."""
    past = next(reversed(runs(_run_journal())), None)
    return recovery.describe(past) if past else [f"no run is in {RUN_JOURNAL}"]


def results(machine: Machine) -> dict[str, str]:
    """What the operator needs to know of the new machine."""
    hidden = ("@", "started")
    return {k.replace("-", "_"): v for k, v in machine.facts.items() if not k.startswith(hidden)}


def _past(runner: Runner, found: Survey) -> Past:
    """The run to go on with: of this boot's journal, else of the one kept on the disk itself."""
    past = unfinished(_run_journal(), found.disk.path)
    device = nix_partition(found.disk, found.layout)
    if past is None and device is not None and not found.disk.installed:
        text = record.text_on(runner, device, on_nix(found.layout, record.JOURNAL))
        past = unfinished(text, found.disk.path)
        if past is not None:
            past = recovery.after_reboot(past, found, contents.table_id(runner, found.disk.path))
    if past is None:
        problem = "no unfinished run for this disk is in the journal, nor on the disk"
        remedy = "install without --resume"
        raise RefusedError(found.disk.path, (Refusal("resume", problem, remedy),))
    return past


def _hold(disk: Disk, stack: ExitStack) -> dict[str, Held]:
    """The disk, open until the run ends. Raises RefusedError for one in use, or another one."""
    if disk.identity is None:
        return {}
    try:
        held = take(disk.path, disk.identity, claim=not disk.stack)
    except OSError as error:
        problem = f"cannot be opened ({error.strerror})"
        raise RefusedError(disk.path, (Refusal("changed", problem, "start again"),)) from error
    stack.callback(held.close)
    return {disk.path: held}


def _machine(
    journal: Journal, signals: Signals, show: Callable[[str], None], mark: str = ""
) -> Machine:
    runner = _runner(journal, signals, mark or orphans.new_mark())
    return Machine(runner, journal, show, signals)


def _runner(journal: Journal, signals: Signals, mark: str) -> Runner:
    real = ShRunner(lambda line: journal.emit("command", text=line), signals.shield)
    return orphans.Marking(real, mark)


@contextmanager
def _journal_file(journal: Journal) -> Iterator[JournalFile]:
    log = JournalFile(RUN_JOURNAL)
    journal.listeners.append(log)
    try:
        yield log
    finally:
        journal.listeners.remove(log)
        log.close()


def _run_journal() -> str:
    try:
        return RUN_JOURNAL.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _require_root() -> None:
    if os.geteuid() != 0:
        raise SpecError("this user", "may not write disks", "run it as root")


def _kernel_line() -> str:
    try:
        return Path("/proc/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        print(f"/proc/cmdline cannot be read: {error}", file=sys.stderr)
        return ""
