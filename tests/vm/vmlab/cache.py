"""Where built images live, and how one is made: once for a key, whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]

KEEP = 3
"""Builds of one kind that stay in the cache whatever their age."""

KEEP_SECONDS = 6 * 3600
"""For so long after its last use a build stays in any case: some run may come back to it."""

_held: dict[Path, int] = {}
"""Open directories of the builds that this process uses, each locked until it ends."""


def directory() -> Path:
    """The cache: $PARANOID_CACHE, or paranoid-install below the user's cache directory."""
    stated = os.environ.get("PARANOID_CACHE")
    if stated:
        return Path(stated).resolve()
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "paranoid-install"


def key(*parts: str | bytes) -> str:
    """A name for what is made of these parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(str(len(data)).encode() + b":" + data)
    return digest.hexdigest()[:16]


def contents(paths: Iterable[Path]) -> bytes:
    """Names and bytes of files, for a key; directories count with all that is below them."""
    found: list[bytes] = []
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                found += [str(file.relative_to(REPOSITORY)).encode(), file.read_bytes()]
    return b"\0".join(found)


def build(kind: str, name: str, make: Callable[[Path], None]) -> Path:
    """The directory KIND-NAME of the cache; `make` fills it if it is not there yet.

    Nobody removes it while this process lives.
    """
    root = directory()
    final = root / f"{kind}-{name}"
    while not _hold(final):
        root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=root))
        try:
            work.chmod(0o755)
            make(work)
            try:
                work.rename(final)
            except OSError as error:
                # Another run has made the same meanwhile.
                if error.errno != errno.ENOTEMPTY:
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    final.touch()
    _forget(root, kind)
    return final


def _hold(build: Path) -> bool:
    """Lock a build against removal (flock(2), shared); False if it is not there."""
    try:
        opened = os.open(build, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    fcntl.flock(opened, fcntl.LOCK_SH)
    # It may have been removed, and made anew, before it was locked.
    if not build.exists() or not os.path.samestat(build.stat(), os.fstat(opened)):
        os.close(opened)
        return False
    if build in _held:
        os.close(_held[build])
    _held[build] = opened
    return True


def _forget(root: Path, kind: str) -> None:
    """Remove the builds of a kind that nobody has used for long, but for the last few."""
    builds = sorted(root.glob(f"{kind}-*"), key=_last_use, reverse=True)
    for old in builds[KEEP:]:
        if time.time() - _last_use(old) > KEEP_SECONDS:
            _remove(old)


def _last_use(build: Path) -> float:
    """Seconds since the epoch; now, for one that another run has just removed."""
    try:
        return build.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _remove(build: Path) -> None:
    try:
        opened = os.open(build, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return  # another run has removed it
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Under its name there is never half a build.
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=build.parent))
        build.rename(gone)
        shutil.rmtree(gone)
    except BlockingIOError:
        return  # a run uses it
    finally:
        os.close(opened)
