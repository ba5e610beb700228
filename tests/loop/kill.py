"""The kill run: installs ended by SIGKILL at random moments, then taken up again, and compared.

`python -m tests.loop.kill --trials 200` prints a line for each trial, and at the end how many
there were and how many survived: that is, ended in the tree of an undisturbed install. Which
moments and which ways on are chosen follows from `--seed`, which is printed too. SIGTERM ends the
run after the trial at work, and what there was until then is counted.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.journal import RUN_JOURNAL
from paranoid_install.past import runs

from .conftest import Bench, Outcome, build_system, make_bench, make_key, own_mounts
from .trees import Tree, difference, tree

WAYS = ("resume", "again", "power", "power-again")
"""What follows the kill.

`resume`: `clean`, then `--resume`. `again`: the same command once more, nothing else. `power`, and
`power-again`: the same, but first everything that ends with the machine is ended: programs,
mounts, the journal in /run. The pages that were not yet written are not lost, as they would be in
a machine.
"""


@dataclass(frozen=True)
class Trial:
    """One kill: so many seconds after an event of the run, and the way on.

    Events, not seconds from the start: on a loaded machine the same moment comes later.
    """

    number: int
    event: int
    delay: float
    way: str


@dataclass(frozen=True)
class Verdict:
    """What became of a trial. `step` is where the run was cut off, `problem` empty: survived."""

    trial: Trial
    step: str
    course: str
    problem: str = ""

    def __str__(self) -> str:
        what = f"LOST: {self.problem}" if self.problem else "survived"
        trial = self.trial
        return (
            f"{trial.number:4} {trial.way:12} killed {trial.delay:.3f} s after event "
            f"{trial.event:3}, in {self.step:10} {self.course}: {what}"
        )


_LATEST = 0.3
"""Seconds after an event: longer than most programs of a run take."""


class LostError(Exception):
    """A trial that did not end as it must."""


def trials(count: int, seed: int, events: int) -> Iterator[Trial]:
    """Kills spread evenly over a run of so many events."""
    chance = random.Random(seed)
    for number in range(count):
        event = chance.randrange(events)
        yield Trial(number, event, chance.uniform(0, _LATEST), WAYS[number % len(WAYS)])


def attempt(bench: Bench, request: list[str], trial: Trial, expected: Tree) -> Verdict:
    """Make one trial on a bench of its own."""
    RUN_JOURNAL.unlink(missing_ok=True)
    process = bench.start(*request)
    assert process.stdout is not None
    for _line in itertools.islice(process.stdout, trial.event):
        pass
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=trial.delay)
    process.kill()
    if trial.way.startswith("power"):
        _end_everything(bench)
        process.communicate()
    # A program that was left behind may hold the pipes: nobody waits for their end.
    process.wait()
    step = _cut_off_in()
    course: list[str] = []
    try:
        if trial.way.startswith("power"):
            _expect(bench.run_bare("clean"), "clean", course)
            RUN_JOURNAL.unlink(missing_ok=True)
        _go_on(bench, request, trial.way, course)
        problem = _look(bench, trial, expected)
    except LostError as error:
        problem = str(error)
    finally:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        _end_everything(bench)
        bench.run_bare("clean")
    return Verdict(trial, step, ", ".join(course), problem)


def _go_on(bench: Bench, request: list[str], way: str, course: list[str]) -> None:
    if way == "resume":
        _expect(bench.run_bare("clean"), "clean", course)
    if way in ("resume", "power"):
        outcome = bench.run(*request, "--resume")
        if outcome.code != 3:
            _expect(outcome, "resume", course)
            return
        _says(outcome, ("install without --resume",))
        course.append("nothing to resume")
    outcome = bench.run(*request)
    if outcome.code != 3:
        _expect(outcome, "run again", course)
        return
    if "holds the system that paranoid-install put there" in outcome.err:
        course.append("refused: installed already")
        return
    token = f"--wipe {bench.image}"
    _says(outcome, (token,))
    course.append("refused: asks for --wipe")
    _expect(bench.run(*request, *token.split()), "run again with it", course)


def _expect(outcome: Outcome, name: str, course: list[str]) -> None:
    if outcome.code != 0:
        raise LostError(f"{name} ended with {outcome.code}: {outcome.err.strip()}")
    course.append(name)


def _says(outcome: Outcome, sentences: tuple[str, ...]) -> None:
    if not any(sentence in outcome.err for sentence in sentences):
        raise LostError(f"refused with no way on: {outcome.err.strip()}")


def _look(bench: Bench, trial: Trial, expected: Tree) -> str:
    left = bench.left()
    if left:
        return f"still held: {', '.join(left)}"
    found = tree(bench, f"tree-{trial.number}")
    return difference(expected, found)


def _cut_off_in() -> str:
    if not RUN_JOURNAL.exists():
        return "(start)"
    found = runs(RUN_JOURNAL.read_text(encoding="utf-8"))
    if not found:
        return "(start)"
    if found[-1].finished:
        return "(end)"
    steps = [step["id"] for step in found[-1].plan["steps"]]
    return next((str(step) for step in steps if step not in found[-1].done), "(end)")


def _end_everything(bench: Bench) -> None:
    """End what the killed run left behind: all of it has the bench's programs first in PATH."""
    mark = f"PATH={bench.fakes}:".encode()
    while found := [pid for pid in _processes() if mark in _environment(pid)]:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it has ended
        return b""


@contextmanager
def undisturbed(directory: Path, request: list[str]) -> Iterator[tuple[int, Tree, Path]]:
    """How many events an install has that nobody kills, what it leaves, and its modules."""
    with make_bench(directory) as bench:
        outcome = bench.run(*on(bench, request))
        if outcome.code != 0:
            raise LostError(outcome.err)
        yield len(outcome.events), tree(bench, "undisturbed"), bench.modules


def on(bench: Bench, request: list[str]) -> list[str]:
    """The request for this bench's image."""
    return ["--disk", str(bench.image), *request]


def request(system: str, key: Path) -> list[str]:
    """What is asked for in each trial, but for the disk."""
    return ["--image-size", "3G", "--tmpfs-size", "2G", "--ssh-key", str(key),
            "--system", system, "--json"]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.loop.kill", description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--report", type=Path, help="write the lines to this file too")
    options = parser.parse_args()
    own_mounts()
    lines: list[str] = []

    def tell(line: str) -> None:
        print(line, flush=True)
        lines.append(line)
        if options.report is not None:
            options.report.write_text("\n".join(lines) + "\n", encoding="utf-8")

    enough = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: enough.set())
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="paranoid-kill-") as name:
        top = Path(name)
        top.chmod(0o755)
        wanted = request(build_system(), make_key(top))
        with undisturbed(top / "undisturbed", wanted) as (events, expected, modules):
            tell(f"seed {options.seed}, {options.trials} trials over {events} events")
            for trial in trials(options.trials, options.seed, events):
                if enough.is_set():
                    tell("stopped before its end")
                    break
                place = top / f"trial-{trial.number}"
                with make_bench(place, modules) as bench:
                    verdict = attempt(bench, on(bench, wanted), trial, expected)
                verdicts.append(verdict)
                tell(str(verdict))
                shutil.rmtree(place)
    survived = [v for v in verdicts if not v.problem]
    for way in WAYS:
        mine = Counter(not v.problem for v in verdicts if v.trial.way == way)
        tell(f"{way}: {sum(mine.values())} trials, {mine[True]} survived")
    tell(f"all: {len(verdicts)} trials, {len(survived)} survived")
    return 0 if len(survived) == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
