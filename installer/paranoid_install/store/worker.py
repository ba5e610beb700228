"""A program that copies store paths: `python -m paranoid_install.store.worker SOURCE TARGET`.

One interpreter keeps about one core busy, however many threads it has, where files are small;
transfer.py therefore runs this program once a core, through the runner. Standard input has a line a
path: name, SHA-256, NAR size. Standard output has a JSON line for each path put into place,
{"done": NAME}, and {"subject", "problem", "remedy"} for the first that could not be; exit code 1
then. It imports nothing but the standard library and this package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from paranoid_install.store import place
from paranoid_install.store.errors import StoreError

THREADS = 4
"""Paths one process works on at a time: enough for a disk to have reads to reorder."""


def copy_all(
    source: Path,
    target: place.Target,
    tasks: Iterable[place.Expected],
    done: Callable[[str], None],
    *,
    verify: bool,
) -> None:
    """Copy all of `tasks`, calling `done` with a path's name from one thread at a time.

    Raises the first StoreError or OSError, after which no further path is begun.
    """

    def copy(task: place.Expected) -> str | None:
        if target.stopped:
            return None
        place.copy(source, target, task, verify=verify)
        return task.name

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for future in as_completed([pool.submit(copy, task) for task in tasks]):
                name = future.result()
                if name is not None:
                    done(name)
        except BaseException:
            target.stop()
            raise


def arguments(source: Path, target: place.Target, *, verify: bool) -> list[str]:
    """What `main` reads back."""
    return [str(source), str(target.store), "verify" if verify else "trust"]


def line(task: place.Expected) -> str:
    """A task as `main` reads it."""
    return f"{task.name} {task.sha256} {task.size}\n"


def main(argv: list[str]) -> int:
    """Copy what standard input lists; the exit code."""
    source, store, how = argv
    tasks = [
        place.Expected(name, sha256, int(size))
        for name, sha256, size in (text.split() for text in sys.stdin)
    ]
    target = place.Target(Path(store))

    def done(name: str) -> None:
        print(json.dumps({"done": name}), flush=True)

    try:
        copy_all(Path(source), target, tasks, done, verify=how == "verify")
    except StoreError as error:
        report = {"subject": error.subject, "problem": error.problem, "remedy": error.remedy}
    except OSError as error:
        where, problem = str(error.filename or store), error.strerror or str(error)
        report = {"subject": where, "problem": problem, "remedy": ""}
    else:
        return 0
    print(json.dumps(report), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
