"""The processes that make store paths, as the installer sees them: tasks in, names out."""

from __future__ import annotations

import json
import os
import queue
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner
from paranoid_install.store import place, worker
from paranoid_install.store.errors import StoreError
from paranoid_install.store.worker import Task

Done = Callable[[str], None]
"""Receives the name of a path that was made; from another thread."""


class Pool:
    """Runs the worker program and feeds it.

    Left by an exception, it lets no further task begin and waits for those at work.
    """

    def __init__(
        self,
        runner: Runner,
        source: Path,
        image: Path | None,
        target: place.Target,
        processes: int,
        *,
        verify: bool,
    ) -> None:
        self._target = target
        self._failure: dict[str, str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._left: dict[str, Done] = {}
        self._thread = ThreadPoolExecutor(1)
        self._end: Future[object] = self._thread.submit(
            runner.run,
            *(sys.executable, "-S", "-P", "-m", "paranoid_install.store.worker"),
            *worker.arguments(source, image, target, processes, verify=verify),
            stdin=self._lines,
            timeout=None,
            on_line=self._hear,
            env=_environment(),
        )

    def give(self, run: Sequence[Task], done: Done) -> None:
        """Have one process make these, at most worker.RUN, in this order."""
        for task in run:
            self._left[task.expected.name] = done
        self._lines.put(worker.line(run))

    def finish(self) -> None:
        """No more will be given; return when all is made.

        Raises StoreError as the first process that failed told, CommandFailed if none did.
        """
        self._lines.put(None)
        try:
            self._end.result()
        except CommandFailed:
            if self._failure is not None:
                raise StoreError(**self._failure) from None
            raise

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and self._left:
            self._target.stop()
        self._lines.put(None)
        self._thread.shutdown()

    def _hear(self, line: str) -> None:
        message = json.loads(line) if line.startswith("{") else {}
        if "done" in message:
            name = message["done"]
            self._left.pop(name)(name)
        elif "subject" in message and self._failure is None:
            self._failure = message


def _environment() -> dict[str, str]:
    here = str(Path(__file__).resolve().parents[2])
    return {
        # Its interpreter looks for no site-packages: what it imports is where we have it.
        "PYTHONPATH": os.pathsep.join([here, *filter(None, sys.path)]),
        # glibc would give each block's memory back, to fault it in again (mallopt(3)).
        "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
        "MALLOC_TRIM_THRESHOLD_": str(64 * 1024**2),
    }
