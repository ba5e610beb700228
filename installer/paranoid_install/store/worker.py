"""A program that makes store paths: `python -m paranoid_install.store.worker SOURCE TARGET …`.

One interpreter keeps about one core busy, however many threads it has, where files are small. So
this program forks itself, before it has any thread, into processes that each take the next task
from one pipe: their memory is mostly shared, and none idles before all are done. Enough of them,
more than cores, keep a disk supplied with reads to reorder.

Standard input has a line a task, until it ends. Standard output has a JSON line for each path put
into place, {"done": NAME}, and {"subject", "problem", "remedy"} for each failure; exit code 1
then. It imports nothing but the standard library and this package.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.store import place
from paranoid_install.store.errors import StoreError

HERE = "."
"""The batch of a task that is copied from the source store."""


@dataclass(frozen=True)
class Task:
    """A path to make: copied from the source, or, if it was extracted, adopted from `batch`.

    `batch` is the name of a directory in the target's staging directory.
    """

    expected: place.Expected
    batch: str = HERE

    def line(self) -> str:
        """As `main` reads it; below PIPE_BUF, as a store path's name has at most 255 bytes."""
        expected = self.expected
        return f"{self.batch} {expected.size} {expected.sha256} {expected.name}\n"


def parse(line: str) -> Task:
    """Read a line that `Task.line` wrote."""
    batch, size, sha256, name = line.split()
    return Task(place.Expected(name, sha256, int(size)), batch)


def arguments(source: Path, target: place.Target, processes: int, *, verify: bool) -> list[str]:
    """What `main` reads back."""
    return [str(source), str(target.store), str(processes), "verify" if verify else "trust"]


def make(source: Path, target: place.Target, task: Task, *, verify: bool) -> None:
    """Put one path into place. Raises StoreError, OSError."""
    if task.batch == HERE:
        place.copy(source, target, task.expected, verify=verify)
    else:
        made = target.staging / task.batch / task.expected.name
        place.adopt(made, target, task.expected, verify=verify)


def main(argv: list[str]) -> int:
    """Make what standard input lists; the exit code."""
    source, store, processes, how = argv
    target = place.Target(Path(store))
    # Every mode is given in full; with this, files have theirs from the start.
    os.umask(0)
    # In packet mode a reader gets one task, whoever else reads (pipe(2), O_DIRECT).
    tasks, giving = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    children: list[int] = []
    for _ in range(int(processes)):
        child = os.fork()
        if child == 0:
            os.close(giving)
            os._exit(_child(tasks, Path(source), target, verify=how == "verify"))
        children.append(child)
    os.close(tasks)
    # BrokenPipeError: no process is left to take one.
    with contextlib.suppress(BrokenPipeError):
        _feed(giving, children)
    os.close(giving)
    return max([_end_of(child, store) for child in children])


def _feed(giving: int, children: list[int]) -> None:
    """Hand out the lines of standard input, until there are no more or a process has ended.

    None ends by itself while tasks may come: it failed, and nobody may wait for more from us.
    """
    ready = select.poll()
    for file in (sys.stdin.fileno(), *map(os.pidfd_open, children)):
        ready.register(file, select.POLLIN)
    pending = b""
    while [file for file, _ in ready.poll()] == [sys.stdin.fileno()]:
        data = os.read(sys.stdin.fileno(), 64 * 1024)
        if not data:
            return
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            os.write(giving, line)


def _child(tasks: int, source: Path, target: place.Target, *, verify: bool) -> int:
    """One process: tasks until there are no more or somebody failed; the exit code."""
    try:
        while (packet := os.read(tasks, 4096)) and not target.stopped:
            task = parse(packet.decode())
            make(source, target, task, verify=verify)
            _tell(done=task.expected.name)
    except StoreError as error:
        _fail(target, error.subject, error.problem, error.remedy)
    except OSError as error:
        where = os.fsdecode(error.filename or target.store)
        _fail(target, where, error.strerror or str(error), "")
    else:
        return 0
    return 1


def _end_of(child: int, store: str) -> int:
    """Wait for a process; 0 if it did its part."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        how = signal.strsignal(-code) or f"signal {-code}"
        _tell(subject=store, problem=f"a process that fills it was ended: {how}", remedy="")
    return int(code != 0)


def _fail(target: place.Target, subject: str, problem: str, remedy: str) -> None:
    _tell(subject=subject, problem=problem, remedy=remedy)
    target.stop()


def _tell(**message: str) -> None:
    # In one write: the processes share the stream, and a write this short is never mixed.
    os.write(1, f"{json.dumps(message)}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
