"""A sample of the store's paths, hashed and compared with what was registered.

What runs now comes first; then the system's own parts; then paths by chance. The store's database
is read as it lies on the disk (ValidPaths of Nix's schema), and nothing is written beside it.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from paranoid_install import policy
from paranoid_install.store import nar
from paranoid_install.store.errors import StoreError
from paranoid_install.verify.facts import Sample, Unknown
from paranoid_install.verify.tree import SearchCutError, Tree, limit

SECONDS = 1.5
"""Seconds of work that reading the database, looking at what runs, and hashing may each take.

A slow machine that spent all on the first would never hash anything.
"""
MOST = 512 * 1024**2
"""Bytes that are hashed."""
_STORE: str = policy.load("layout")["store"]["mountPoint"]
_DATABASE = "/nix/var/nix/db/db.sqlite"
_SYSTEM = "/nix/var/nix/profiles/system"
_NAME = re.compile(rb"/nix/store/([0-9a-z]{32}-[0-9a-zA-Z+._?=-]+)")
_OBJECT = 64
"""Bytes that an archive has for each directory, at least."""
_STEPS = 10_000
_PROC = Path("/proc")


def sample(tree: Tree, live: bool, seed: int) -> Sample | Unknown:
    """Hash paths of the store for a while. The same seed draws the same paths in the same order.

    Raises OSError or ValueError where the database cannot be read.
    """
    if not tree.exists(_DATABASE):
        return Unknown(f"{_DATABASE}: not there, so nobody knows what was put into the store")
    database = tree.real(_DATABASE)
    if not database.is_file():
        # Opening a pipe would wait for its other end.
        return Unknown(f"{_DATABASE}: not a regular file")
    registered = _registered(database, limit(SECONDS))
    chance = random.Random(seed)  # noqa: S311 - a sample, no secret
    store = tree.real(_STORE)
    first = sorted(_running(limit(SECONDS)) if live else ())
    own = sorted(_parts(tree) - set(first))
    rest = sorted(registered.keys() - set(first) - set(own))
    for names in (first, own, rest):
        chance.shuffle(names)
    hashed, size, changed = _hash(store, registered, (*first, *own, *rest), limit(SECONDS))
    there = [name for name in first if os.path.lexists(store / name)]
    return Sample(
        seed=seed,
        hashed=len(hashed),
        size=size,
        total=len(registered),
        running=len(there),
        running_hashed=len(hashed & set(there)),
        changed=changed,
        foreign=tuple(f"{_STORE}/{name}" for name in there if name not in registered),
        pending=_is_pending(database),
    )


def _registered(database: Path, over: Callable[[], bool]) -> dict[str, tuple[str, int]]:
    """Each path's name with the SHA-256 of its archive, and its size."""
    # Immutable: neither locks nor files beside it, at the price of what only its log has yet.
    address = f"{database.as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as opened:
            # A foreign database can be made to work without end.
            opened.set_progress_handler(over, _STEPS)
            rows = opened.execute("select path, hash, narSize from ValidPaths").fetchall()
    except sqlite3.Error as error:
        raise ValueError(f"{database}: {error}") from error
    return {
        str(path).rpartition("/")[2]: (str(hashed).removeprefix("sha256:"), int(size or 0))
        for path, hashed, size in rows
    }


def _is_pending(database: Path) -> bool:
    log = Path(f"{database}-wal")
    return log.exists() and log.stat().st_size > 0


def _running(over: Callable[[], bool]) -> set[str]:
    """Names of the paths that processes have mapped: programs and their libraries."""
    found: set[bytes] = set()
    for directory in _PROC.iterdir():
        if directory.name.isdigit() and not over():
            try:
                found.update(_NAME.findall((directory / "maps").read_bytes()))
            except OSError:  # it has ended, or is another user's
                continue
    return {name.decode() for name in found}


def _parts(tree: Tree) -> set[str]:
    """The system's path, and those that it links to: kernel, initrd, systemd, /etc, programs."""
    top = tree.real(_SYSTEM)
    if not top.is_dir():
        return set()
    links = [os.fsencode(path.readlink()) for path in top.iterdir() if path.is_symlink()]
    return {top.name, *(match[1].decode() for link in links if (match := _NAME.match(link)))}


def _hash(
    store: Path,
    registered: dict[str, tuple[str, int]],
    names: Iterable[str],
    over: Callable[[], bool],
) -> tuple[set[str], int, tuple[str, ...]]:
    """Which paths were hashed, how many bytes that were, and what is wrong with some."""
    hashed: set[str] = set()
    wrong: list[str] = []
    size = 0
    for name, wanted, length in _known(registered, names):
        if over():
            break
        # A large one that does not fit is left to a run that begins with it.
        if size + length > MOST or not os.path.lexists(store / name):
            continue
        try:
            found = nar.digest(str(store / name), _Bound(length, over)).sha256
        except SearchCutError:
            break
        except StoreError as error:
            wrong.append(f"{error.subject}: {error.problem}")
        else:
            if found != wanted:
                wrong.append(f"{_STORE}/{name}: not the contents that were registered")
        hashed.add(name)
        size += length
    return hashed, size, tuple(wrong)


def _known(
    registered: dict[str, tuple[str, int]], names: Iterable[str]
) -> Iterator[tuple[str, str, int]]:
    for name in names:
        if name in registered:
            yield name, *registered[name]


class _Bound:
    """Ends the reading of a tree that is larger than what was registered, or takes too long."""

    def __init__(self, size: int, over: Callable[[], bool]) -> None:
        self._left = size
        self._over = over

    def _spend(self, path: bytes, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise StoreError(os.fsdecode(path), "more than what was registered")
        if self._over():
            raise SearchCutError

    def directory(self, path: bytes) -> None:
        self._spend(path, _OBJECT)

    def file(self, path: bytes, status: os.stat_result, _source: int) -> None:
        self._spend(path, status.st_size)

    def written(self, target: int, status: os.stat_result) -> None:
        pass

    def symlink(self, path: bytes, _status: os.stat_result, target: bytes) -> None:
        self._spend(path, len(target))

    def leave(self, path: bytes, status: os.stat_result) -> None:
        pass
