"""How much room a closure takes on the target, asked before anything is wiped."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.runner import Runner
from paranoid_install.store import closure, source
from paranoid_install.store.errors import StoreError

BLOCK = 4096
"""Bytes of a block: what mkfs.ext4 takes for anything larger than 512 MiB (mke2fs.conf)."""

_INLINE_SYMLINK = 60
_ENTRY = 8
_DOTS = 24
_THREADS = 4


@dataclass(frozen=True)
class Size:
    """Room for a closure: `bytes` of whole blocks, as `du` counts them on ext4, and `inodes`."""

    paths: int
    bytes: int
    inodes: int


def size(runner: Runner, toplevel: str, *, store: str | None = None) -> Size:
    """The room that the closure of `toplevel` takes on a fresh ext4, within about 1 %.

    Looks at every file's metadata, which the copy has to read anyway. Files that share an inode
    are counted each by itself: not every way of copying keeps them together. Raises
    closure.Unavailable, a StoreError, if the store is not on this machine or has no such closure.
    """
    uri = store or os.environ.get("NIX_REMOTE") or "auto"
    directory = source.local_directory(uri)
    if directory is None:
        raise closure.Unavailable(toplevel, f"the store {uri} is not one of this machine's")
    infos = closure.read(runner, toplevel, uri)
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            sizes = list(pool.map(_tree, (directory / info.name for info in infos)))
    except FileNotFoundError as error:
        raise closure.Unavailable(str(error.filename), "registered, and not there") from None
    # The store's own directory, which holds a name for each path, and Nix's .links in it.
    own = _directory([info.name for info in infos]) + BLOCK
    return Size(
        paths=len(infos),
        bytes=own + sum(tree.bytes for tree in sizes),
        inodes=2 + sum(tree.inodes for tree in sizes),
    )


def _tree(path: Path) -> Size:
    blocks, inodes = 0, 0
    todo = [os.fspath(path)]
    while todo:
        current = todo.pop()
        status = os.lstat(current)
        inodes += 1
        if stat.S_ISDIR(status.st_mode):
            names = os.listdir(current)  # noqa: PTH208 - a Path for each file costs more than lstat
            blocks += _directory(names)
            todo += [f"{current}/{name}" for name in names]
        else:
            blocks += _leaf(status)
    return Size(1, blocks, inodes)


def _leaf(status: os.stat_result) -> int:
    if stat.S_ISLNK(status.st_mode) and status.st_size < _INLINE_SYMLINK:
        return 0
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise StoreError("the store", "holds a device, a socket or a pipe, and none may be there")
    return -(-status.st_size // BLOCK) * BLOCK


def _directory(names: list[str]) -> int:
    """Bytes of an ext4 directory: one block, or a tree of blocks about three quarters full."""
    need = _DOTS + sum(_ENTRY + (len(os.fsencode(name)) + 3) // 4 * 4 for name in names)
    if need <= BLOCK - 12:
        return BLOCK
    return BLOCK * (1 + -(-need * 4 // (BLOCK * 3)))
