"""The copy of a closure into the store below a root: from the image, from a directory, or not.

    closure ─► what is valid or complete already ─► the rest: image | directory ─► flush ─► register

Each path is made aside, hashed, and renamed into place; all of them are on the disk before the
database says that they are valid. A run that was cut short at any point is taken up path by path.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner, environment
from paranoid_install.store import closure, place, register, source, squashfs, worker
from paranoid_install.store.closure import PathInfo
from paranoid_install.store.errors import StoreError
from paranoid_install.store.flush import Flusher

Progress = Callable[[int, int, int, int], None]
"""Receives NAR bytes done, NAR bytes in all, paths done, paths in all; from any thread."""

MOST_PROCESSES = 4
"""More of them gain nothing on any disk measured, and each takes 15 MiB."""

# Bytes of NAR for which one more program is worth its start, of 20 to 50 ms.
_BATCH = 96 * 1024**2
_SHARE = 16 * 1024**2
_EXTRACTIONS = 2
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])


class Method(StrEnum):
    """How the paths came into the target store."""

    IMAGE = "squashfs"
    DIRECTORY = "directory"
    BOTH = "squashfs and directory"
    NOTHING = "all valid already"
    LEFT = "left to nixos-install"


@dataclass(frozen=True)
class Report:
    """What `put` did. `bytes` are those of the closure's NARs, `seconds` wall time.

    With Method.LEFT nothing was copied, and `reason` says why nixos-install has to.
    """

    paths: int
    bytes: int
    copied: int
    skipped: int
    verified: bool
    method: Method
    reason: str
    seconds: float


def put(
    runner: Runner,
    toplevel: str,
    root: Path,
    *,
    verify: bool = True,
    workers: int | None = None,
    progress: Progress | None = None,
    store: str | None = None,
) -> Report:
    """Copy the closure of `toplevel` into the store below `root` and register it there.

    `verify` compares each path's NAR with its registration before it counts; `workers` is the
    number of processes, by default two a core, four at most; `store` is the URI of the source
    store, by default NIX_REMOTE or that of this machine. Raises StoreError naming a damaged path,
    CommandFailed for a program, OSError for the disk; what is complete by then stays, without
    being registered, and is not copied again by the next run.
    """
    start = time.monotonic()
    store = store or os.environ.get("NIX_REMOTE") or "auto"

    def left(reason: str, infos: Sequence[PathInfo] = ()) -> Report:
        size = closure.total(infos)
        seconds = time.monotonic() - start
        return Report(len(infos), size, 0, 0, False, Method.LEFT, reason, seconds)

    directory = source.local_directory(store)
    if directory is None:
        return left(f"the store {store} is not one of this machine's")
    try:
        infos = closure.read(runner, toplevel, store)
    except closure.Unavailable as error:
        return left(str(error))
    missing = [info.path for info in infos if not os.path.lexists(directory / info.name)]
    if missing:
        return left(f"{missing[0]} is not in {directory}", infos)

    valid = register.valid(runner, root, infos)
    wanted = [info for info in infos if info.path not in valid]
    copy = _Copy(
        runner,
        source.locate(directory),
        place.Target(register.store_directory(root)),
        verify=verify,
        processes=workers or min(2 * _cores(), MOST_PROCESSES),
        count=_Count(infos, progress or (lambda *_: None)),
    )
    copy.count.done(*(info.name for info in infos if info.path in valid))
    copied, method = 0, Method.NOTHING
    if wanted:
        copied, method = copy.run(wanted)
        register.load(runner, root, wanted)
    seconds = time.monotonic() - start
    skipped = len(infos) - copied
    size = closure.total(infos)
    return Report(len(infos), size, copied, skipped, verify, method, "", seconds)


class _Count:
    """Counts what is done, for one listener, from any thread."""

    def __init__(self, infos: Sequence[PathInfo], progress: Progress) -> None:
        self._sizes = {info.name: info.nar_size for info in infos}
        self._total = sum(self._sizes.values())
        self._names: set[str] = set()
        self._bytes = 0
        self._progress = progress
        self._lock = threading.Lock()

    def done(self, *names: str) -> int:
        """Count the paths; the bytes of their NARs."""
        with self._lock:
            size = sum(self._sizes[name] for name in names)
            self._bytes += size
            self._names.update(names)
            self._progress(self._bytes, self._total, len(self._names), len(self._sizes))
            return size

    def undone(self, names: Iterable[str]) -> set[str]:
        """Those not counted."""
        with self._lock:
            return set(names) - self._names


@dataclass(frozen=True)
class _Copy:
    """One copy, with what all of its parts need."""

    runner: Runner
    source: source.Source
    target: place.Target
    verify: bool
    processes: int
    count: _Count

    def run(self, wanted: Sequence[PathInfo]) -> tuple[int, Method]:
        """Put all of `wanted` into place and on the disk; how many were copied, and whence."""
        tasks = [place.Expected(info.name, info.sha256, info.nar_size) for info in wanted]
        try:
            self.target.open()
            tasks = self._incomplete(tasks)
            image = self.source.image
            in_image = self._in_image(tasks)
            rest = [task for task in tasks if task.name not in in_image]
            with Flusher(self.target.store) as flusher:
                if image is not None and in_image:
                    chosen = [task for task in tasks if task.name in in_image]
                    self._extract(image.file, chosen, flusher)
                if rest:
                    self._copy(rest, flusher)
                undone = self.count.undone(task.name for task in tasks)
                if undone:
                    raise StoreError(min(undone), "was not copied, though no worker failed")
                flusher.finish()
        finally:
            self.target.close()
        method = {
            (False, False): Method.NOTHING,
            (True, False): Method.IMAGE,
            (False, True): Method.DIRECTORY,
            (True, True): Method.BOTH,
        }[bool(in_image), bool(rest)]
        return len(tasks), method

    def _incomplete(self, tasks: Sequence[place.Expected]) -> list[place.Expected]:
        """Those that are not in place, whole, from a run that was cut short."""
        found = [task for task in tasks if os.path.lexists(self.target.store / task.name)]
        if not found:
            return list(tasks)
        with ThreadPoolExecutor(self.processes) as pool:
            whole = pool.map(lambda task: place.is_complete(self.target, task), found)
            complete = {task.name for task, is_whole in zip(found, whole, strict=True) if is_whole}
        self.count.done(*complete)
        return [task for task in tasks if task.name not in complete]

    def _in_image(self, tasks: Sequence[place.Expected]) -> frozenset[str]:
        image = self.source.image
        if image is None or shutil.which("unsquashfs", path=environment()["PATH"]) is None:
            return frozenset()
        names = set(os.listdir(image.point))  # noqa: PTH208 - names, not Paths
        if image.above is not None:
            names -= set(os.listdir(image.above))  # noqa: PTH208
        return frozenset(task.name for task in tasks) & names

    def _extract(self, image: Path, tasks: Sequence[place.Expected], flusher: Flusher) -> None:
        """Batches in the image's own order, a few at once: one is hashed, others are extracted."""

        def batch(number: int, tasks: Sequence[place.Expected]) -> None:
            if self.target.stopped:
                return
            made = self.target.staging / f"batch-{number}"
            names = [task.name for task in tasks]
            squashfs.extract(self.runner, image, names, made, _cores())
            for task in tasks:
                if self.target.stopped:
                    return
                place.adopt(made / task.name, self.target, task, verify=self.verify)
                flusher.wrote(self.count.done(task.name))

        batches = _batches(sorted(tasks, key=lambda task: task.name))
        self._all(min(self.processes, _EXTRACTIONS), batch, list(enumerate(batches)))

    def _copy(self, tasks: Sequence[place.Expected], flusher: Flusher) -> None:
        """A few processes, each with its share of the bytes."""

        def done(name: str) -> None:
            flusher.wrote(self.count.done(name))

        worth = max(1, sum(task.size for task in tasks) // _SHARE)
        shares = [share for share in _shares(tasks, min(self.processes, worth)) if share]
        if len(shares) == 1:
            directory = self.source.directory
            worker.copy_all(directory, self.target, shares[0], done, verify=self.verify)
            return
        self._all(len(shares), self._work, [(share, done) for share in shares])

    def _all(self, threads: int, function: Callable[..., None], calls: Sequence[Any]) -> None:
        """Make all the calls; the first error stops the rest and is raised."""
        with ThreadPoolExecutor(threads) as pool:
            try:
                futures = [pool.submit(function, *arguments) for arguments in calls]
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.target.stop()
                raise

    def _work(self, tasks: Sequence[place.Expected], done: Callable[[str], None]) -> None:
        """Run one worker program; its failure becomes ours."""
        failure: list[dict[str, str]] = []

        def hear(line: str) -> None:
            message = json.loads(line) if line.startswith("{") else {}
            if "done" in message:
                done(message["done"])
            elif "subject" in message:
                failure.append(message)

        try:
            self.runner.run(
                *(sys.executable, "-S", "-P", "-m", "paranoid_install.store.worker"),
                *worker.arguments(self.source.directory, self.target, verify=self.verify),
                stdin="".join(map(worker.line, tasks)),
                timeout=None,
                on_line=hear,
                env={"PYTHONPATH": _PACKAGE_PARENT},
            )
        except CommandFailed:
            if failure:
                raise StoreError(**failure[0]) from None
            raise


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _batches(tasks: Sequence[place.Expected]) -> list[list[place.Expected]]:
    """Neighbours, until their sum is worth starting a program for."""
    batches: list[list[place.Expected]] = [[]]
    size = 0
    for task in tasks:
        if size >= _BATCH:
            batches.append([])
            size = 0
        batches[-1].append(task)
        size += task.size
    return batches


def _shares(tasks: Sequence[place.Expected], count: int) -> list[list[place.Expected]]:
    """`count` shares of about the same bytes, the largest path first in each."""
    shares: list[list[place.Expected]] = [[] for _ in range(count)]
    loads = [0] * count
    for task in sorted(tasks, key=lambda task: task.size, reverse=True):
        least = loads.index(min(loads))
        shares[least].append(task)
        # Opening files costs as well; without a constant all tiny paths would go to one share.
        loads[least] += task.size + 64 * 1024
    return shares
