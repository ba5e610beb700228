"""Where built images live, and how one is made: once for a key, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]

KEEP = 3
"""Builds of one kind that stay in the cache; older ones are removed."""


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
    """The directory KIND-NAME of the cache; `make` fills it if it is not there yet."""
    root = directory()
    final = root / f"{kind}-{name}"
    if not final.exists():
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


def _forget(root: Path, kind: str) -> None:
    builds = sorted(root.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in builds[KEEP:]:
        shutil.rmtree(old)
