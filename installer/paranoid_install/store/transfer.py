"""The copy of a closure into the store below a root: from the image, from a directory, or not.

    closure ─► what is valid or complete already ─► the rest: image | directory ─► flush ─► register

Each path is made aside, hashed, and renamed into place; all of them are on the disk before the
database says that they are valid. A run that was cut short at any point is taken up path by path.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from paranoid_install.runner import Runner
from paranoid_install.store import closure, place, register, source, squashfs, worker
from paranoid_install.store.closure import PathInfo
from paranoid_install.store.errors import StoreError
from paranoid_install.store.flush import Flusher
from paranoid_install.store.pool import Pool
from paranoid_install.store.worker import Origin, Task

Progress = Callable[[int, int, int, int], None]
"""Receives NAR bytes done, NAR bytes in all, paths done, paths in all; from any thread."""

PROCESSES = 16
"""Processes that copy from a directory, unless told: reads in flight for a disk to reorder. More
gain nothing on any disk measured, where there are no more cores. From an image, which keeps cores
busy rather than the disk, a process a core copies."""

RUN = 4 * 1024**2
"""Bytes of NAR that one process takes of an image at once: neighbours share blocks."""

LARGE = 32 * 1024**2
"""Bytes of NAR from which a path is begun first: what is begun last should not take long."""


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

    With Method.LEFT nothing was copied, and `reason` says why nixos-install has to; otherwise it
    says why an image was read through its mount, if one was.
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
    number of processes, by default one a core, and PROCESSES at least where they wait for a disk;
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
    image = source.locate(directory).image
    reason = squashfs.unsupported(image.file) if image is not None else ""
    if reason:
        image = None
    target = place.Target(register.store_directory(root))
    processes = workers or (_cores() if image is not None else max(PROCESSES, _cores()))
    try:
        # Its start takes as long as the questions to the source store: both at once.
        file = image.file if image is not None else None
        with Pool(runner, directory, file, target, processes, verify=verify) as pool:
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
            copied, method = _Copy(in_image, target, pool, count).run(wanted)
    finally:
        target.close()
    if wanted:
        register.load(runner, root, wanted)
    seconds = time.monotonic() - start
    skipped = len(infos) - copied
    size = closure.total(infos)
    return Report(len(infos), size, copied, skipped, verify, method, reason, seconds)


class _Count:
    """Counts what is done, for one listener, from any thread."""

    def __init__(self, infos: Sequence[PathInfo], progress: Progress) -> None:
        self._sizes = {info.name: info.nar_size for info in infos}
        self._total = sum(self._sizes.values())
        self._names: set[str] = set()
        self._bytes = 0
        self._progress = progress
        self._lock = threading.Lock()

    def done(self, *names: str) -> None:
        """Count the paths and the bytes of their NARs."""
        with self._lock:
            self._bytes += sum(self._sizes[name] for name in names)
            self._names.update(names)
            self._progress(self._bytes, self._total, len(self._names), len(self._sizes))

    def undone(self, names: Iterable[str]) -> set[str]:
        """Those not counted."""
        with self._lock:
            return set(names) - self._names


@dataclass(frozen=True)
class _Copy:
    """One copy, with what all of its parts need."""

    in_image: frozenset[str]
    target: place.Target
    pool: Pool
    count: _Count

    def run(self, wanted: Sequence[PathInfo]) -> tuple[int, Method]:
        """Put all of `wanted` into place and on the disk; how many were copied, and whence."""
        paths = [place.Expected(info.name, info.sha256, info.nar_size) for info in wanted]
        paths = self._incomplete(paths)
        chosen = [path for path in paths if path.name in self.in_image]
        rest = [path for path in paths if path.name not in self.in_image]
        with Flusher(self.target.store) as flusher:
            for run in image_runs(chosen):
                self.pool.give([Task(path, Origin.IMAGE) for path in run], self.count.done)
            for path in sorted(rest, key=lambda path: path.size, reverse=True):
                self.pool.give([Task(path)], self.count.done)
            self.pool.finish()
            undone = self.count.undone(path.name for path in paths)
            if undone:
                raise StoreError(min(undone), "was not copied, though no worker failed")
            flusher.finish()
        method = {
            (False, False): Method.NOTHING,
            (True, False): Method.IMAGE,
            (False, True): Method.DIRECTORY,
            (True, True): Method.BOTH,
        }[bool(chosen), bool(rest)]
        return len(paths), method

    def _incomplete(self, paths: Sequence[place.Expected]) -> list[place.Expected]:
        """Those that are not in place, whole, from a run that was cut short."""
        found = [path for path in paths if os.path.lexists(self.target.store / path.name)]
        if not found:
            return list(paths)
        with ThreadPoolExecutor(_cores()) as pool:
            whole = pool.map(lambda path: place.is_complete(self.target, path), found)
            complete = {path.name for path, is_whole in zip(found, whole, strict=True) if is_whole}
        self.count.done(*complete)
        return [path for path in paths if path.name not in complete]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def image_runs(paths: Sequence[place.Expected]) -> list[list[place.Expected]]:
    """What is copied from an image, as one process takes it at once: the large paths, then the
    others in the image's own order, which is that of their names."""
    large = [path for path in paths if path.size >= LARGE]
    runs = [[path] for path in sorted(large, key=lambda path: path.size, reverse=True)]
    run: list[place.Expected] = []
    for path in sorted(paths, key=lambda path: path.name):
        if path.size >= LARGE:
            continue
        if len(run) == worker.RUN or sum(each.size for each in run) >= RUN:
            run = []
        if not run:
            runs.append(run)
        run.append(path)
    return runs
