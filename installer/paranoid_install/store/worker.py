"""A program that makes store paths: `python -m paranoid_install.store.worker SOURCE TARGET …`.

One interpreter keeps about one core busy, however many threads it has, where files are small. So
this program forks itself, before it has any thread, into processes that each take the next run of
tasks from one pipe: their memory is mostly shared, and none idles before all are done. Enough of
them, more than cores, keep a disk supplied with reads to reorder.

Standard input has a line a run of tasks, until it ends. Standard output has a JSON line for each
path put into place, {"done": NAME}, and {"subject", "problem", "remedy"} for each failure; exit
code 1 then. It imports nothing but the standard library, this package and, for an image, zstd.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paranoid_install.store import place, squashfs
from paranoid_install.store.errors import StoreError

RUN = 10
"""Most tasks in a run: its line must be below PIPE_BUF, and a store path's name has 255 bytes."""

_WORDS = 4


class Origin(StrEnum):
    """What a path is made from."""

    DIRECTORY = "directory"
    IMAGE = "image"


@dataclass(frozen=True)
class Task:
    """A path to make."""

    expected: place.Expected
    origin: Origin = Origin.DIRECTORY


def line(run: Sequence[Task]) -> str:
    """Tasks that one process does, one after the other, as `main` reads them."""
    words = [
        f"{task.origin} {task.expected.size} {task.expected.sha256} {task.expected.name}"
        for task in run
    ]
    return " ".join(words) + "\n"


def parse(text: str) -> list[Task]:
    """Read what `line` wrote."""
    words = text.split()
    return [
        Task(place.Expected(name, sha256, int(size)), Origin(origin))
        for origin, size, sha256, name in (
            words[at : at + _WORDS] for at in range(0, len(words), _WORDS)
        )
    ]


def arguments(
    source: Path, image: Path | None, target: place.Target, processes: int, *, verify: bool
) -> list[str]:
    """What `main` reads back."""
    how = "verify" if verify else "trust"
    return [str(source), str(image or ""), str(target.store), str(processes), how]


@dataclass(frozen=True)
class Maker:
    """Makes paths of one source."""

    source: Path
    image: squashfs.Reader | None
    target: place.Target
    verify: bool

    def make(self, task: Task) -> None:
        """Put one path into place. Raises StoreError, OSError."""
        if task.origin is Origin.IMAGE and self.image is not None:
            place.unpack(self.image, self.target, task.expected, verify=self.verify)
        else:
            place.copy(self.source, self.target, task.expected, verify=self.verify)


def main(argv: list[str]) -> int:
    """Make what standard input lists; the exit code."""
    source, image, store, processes, how = argv
    target = place.Target(Path(store))
    # Every mode is given in full; with this, files have theirs from the start.
    os.umask(0)
    try:
        reader = squashfs.Reader(Path(image)) if image else None
    except (StoreError, OSError) as error:
        _tell_of(error, image)
        return 1
    maker = Maker(Path(source), reader, target, how == "verify")
    # In packet mode a reader gets one line, whoever else reads (pipe(2), O_DIRECT).
    tasks, giving = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
    children: list[int] = []
    for _ in range(int(processes)):
        child = os.fork()
        if child == 0:
            os.close(giving)
            os._exit(_child(tasks, maker))
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


def _child(tasks: int, maker: Maker) -> int:
    """One process: runs of tasks until there are no more or somebody failed; the exit code."""
    try:
        if maker.image is not None:
            maker.image.reopen()
        while packet := os.read(tasks, select.PIPE_BUF):
            for task in parse(packet.decode()):
                if maker.target.stopped:
                    return 0
                maker.make(task)
                _tell(done=task.expected.name)
    except (StoreError, OSError) as error:
        _tell_of(error, str(maker.target.store))
        maker.target.stop()
        return 1
    return 0


def _end_of(child: int, store: str) -> int:
    """Wait for a process; 0 if it did its part."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        how = signal.strsignal(-code) or f"signal {-code}"
        _tell(subject=store, problem=f"a process that fills it was ended: {how}", remedy="")
    return int(code != 0)


def _tell_of(error: StoreError | OSError, where: str) -> None:
    """`where` names what failed if the error does not."""
    if isinstance(error, StoreError):
        _tell(subject=error.subject, problem=error.problem, remedy=error.remedy)
    else:
        subject = os.fsdecode(error.filename or where)
        _tell(subject=subject, problem=error.strerror or str(error), remedy="")


def _tell(**message: str) -> None:
    # In one write: the processes share the stream, and a write this short is never mixed.
    os.write(1, f"{json.dumps(message)}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
