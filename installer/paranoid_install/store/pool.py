"""The processes that make store paths, as the installer sees them: tasks in, names out."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner
from paranoid_install.store import place, worker
from paranoid_install.store.errors import StoreError
from paranoid_install.store.worker import Task

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])


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
        target: place.Target,
        processes: int,
        *,
        verify: bool,
    ) -> None:
        self._target = target
        self._failure: dict[str, str] | None = None
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._left: dict[str, tuple[int, Done]] = {}
        self._changed = threading.Condition()
        self._thread = ThreadPoolExecutor(1)
        self._end: Future[object] = self._thread.submit(
            runner.run,
            *(sys.executable, "-S", "-P", "-m", "paranoid_install.store.worker"),
            *worker.arguments(source, target, processes, verify=verify),
            stdin=self._lines,
            timeout=None,
            on_line=self._hear,
            env={"PYTHONPATH": _PACKAGE_PARENT},
        )
        self._end.add_done_callback(self._ended)

    def give(self, tasks: Iterable[Task], done: Done) -> None:
        """Have these made, in this order as far as one can speak of one."""
        for task in tasks:
            with self._changed:
                self._left[task.expected.name] = task.expected.size, done
            self._lines.put(task.line())

    def wait(self, most: int) -> None:
        """Return when no more than `most` bytes of NAR are still to be made, or none ever will."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes() <= most or self._end.done())

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
            self._left[name][1](name)
            with self._changed:
                del self._left[name]
                self._changed.notify_all()
        elif "subject" in message and self._failure is None:
            self._failure = message

    def _bytes(self) -> int:
        return sum(size for size, _ in self._left.values())

    def _ended(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()
