"""The copy of a closure into the store below a root: from the image, from a directory, or not.

    closure ─► what is valid or complete already ─► the rest: image | directory ─► flush ─► register

Each path is made aside, hashed, and renamed into place; all of them are on the disk before the
database says that they are valid. A run that was cut short at any point is taken up path by path.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paranoid_install.runner import Runner, environment
from paranoid_install.store import closure, place, register, source, squashfs
from paranoid_install.store.closure import PathInfo
from paranoid_install.store.errors import StoreError
from paranoid_install.store.flush import Flusher
from paranoid_install.store.pool import Done, Pool
from paranoid_install.store.worker import Task

Progress = Callable[[int, int, int, int], None]
"""Receives NAR bytes done, NAR bytes in all, paths done, paths in all; from any thread."""

PROCESSES = 12
"""Processes that copy from a directory, unless told: reads in flight for a disk to reorder. More
gain nothing on any disk measured, where there are no more cores. What an image gave is hashed from
the page cache, by a process a core."""

# Bytes of NAR for which a program is worth its start, of 20 to 50 ms.
_BATCH = 96 * 1024**2


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
    number of processes, by default one a core, and twelve at least where they wait for a disk;
    `store` is the URI of the source store, by default NIX_REMOTE or that of this machine. Raises
    StoreError naming a damaged path, CommandFailed for a program, OSError for the disk; what is
    complete by then stays, without being registered, and is not copied again by the next run.
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
    origin = source.locate(directory)
    image = origin.image if _can_extract() else None
    target = place.Target(register.store_directory(root))
    processes = workers or (_cores() if image is not None else max(PROCESSES, _cores()))
    try:
        # Its start takes as long as the questions to the source store: both at once.
        with Pool(runner, directory, target, processes, verify=verify) as pool:
            try:
                infos = closure.read(runner, toplevel, store)
            except closure.Unavailable as error:
                return left(str(error))
            in_image = image.shown() if image is not None else frozenset[str]()
            for info in infos:
                # An overlay is slow to be asked for each of its entries.
                if info.name not in in_image and not os.path.lexists(directory / info.name):
                    return left(f"{info.path} is not in {directory}", infos)
            target.open()
            valid = register.valid(runner, root, infos)
            wanted = [info for info in infos if info.path not in valid]
            count = _Count(infos, progress or (lambda *_: None))
            count.done(*(info.name for info in infos if info.path in valid))
            copied, method = _Copy(runner, image, in_image, target, pool, count).run(wanted)
    finally:
        target.close()
    if wanted:
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
    """One copy, with what all of its parts need. `image` is None for a copy from the directory."""

    runner: Runner
    image: source.Image | None
    in_image: frozenset[str]
    target: place.Target
    pool: Pool
    count: _Count

    def run(self, wanted: Sequence[PathInfo]) -> tuple[int, Method]:
        """Put all of `wanted` into place and on the disk; how many were copied, and whence."""
        tasks = [place.Expected(info.name, info.sha256, info.nar_size) for info in wanted]
        tasks = self._incomplete(tasks)
        chosen = [task for task in tasks if task.name in self.in_image]
        rest = [task for task in tasks if task.name not in self.in_image]
        with Flusher(self.target.store) as flusher:

            def done(name: str) -> None:
                flusher.wrote(self.count.done(name))

            if self.image is not None and chosen:
                self._extract(self.image.file, chosen, done)
            # The largest first: what is begun last should not take long.
            rest.sort(key=lambda task: task.size, reverse=True)
            self.pool.give(map(Task, rest), done)
            self.pool.finish()
            undone = self.count.undone(task.name for task in tasks)
            if undone:
                raise StoreError(min(undone), "was not copied, though no worker failed")
            flusher.finish()
        method = {
            (False, False): Method.NOTHING,
            (True, False): Method.IMAGE,
            (False, True): Method.DIRECTORY,
            (True, True): Method.BOTH,
        }[bool(chosen), bool(rest)]
        return len(tasks), method

    def _incomplete(self, tasks: Sequence[place.Expected]) -> list[place.Expected]:
        """Those that are not in place, whole, from a run that was cut short."""
        found = [task for task in tasks if os.path.lexists(self.target.store / task.name)]
        if not found:
            return list(tasks)
        with ThreadPoolExecutor(_cores()) as pool:
            whole = pool.map(lambda task: place.is_complete(self.target, task), found)
            complete = {task.name for task, is_whole in zip(found, whole, strict=True) if is_whole}
        self.count.done(*complete)
        return [task for task in tasks if task.name not in complete]

    def _extract(self, image: Path, tasks: Sequence[place.Expected], done: Done) -> None:
        """Batches in the image's own order, one a core: while one is hashed, others come."""

        def extract(number: int, tasks: Sequence[place.Expected]) -> None:
            # What is extracted waits in the page cache to be hashed: not more than fits.
            self.pool.wait(_BATCH)
            if self.target.stopped:
                return
            batch = f"batch-{number}"
            names = [task.name for task in tasks]
            squashfs.extract(self.runner, image, names, self.target.staging / batch)
            self.pool.give((Task(task, batch) for task in tasks), done)

        batches = _batches(sorted(tasks, key=lambda task: task.name))
        with ThreadPoolExecutor(max(2, _cores())) as threads:
            try:
                for future in as_completed(
                    [threads.submit(extract, *batch) for batch in enumerate(batches)]
                ):
                    future.result()
            except BaseException:
                self.target.stop()
                raise


def _can_extract() -> bool:
    return shutil.which("unsquashfs", path=environment()["PATH"]) is not None


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
