"""A tree out of a squashfs image, written as a store has it, and hashed on its way.

The hash is taken of the very bytes that are written, while a core's cache has them: reading back
what another program has extracted takes as long as the hash.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from paranoid_install.store import nar, squashfs, tree
from paranoid_install.store.errors import StoreError


class _Directory(NamedTuple):
    """A directory that is being written; `entries` are those still to come, the next one last."""

    path: bytes
    position: int
    entries: list[tuple[bytes, int]]


def write(
    image: squashfs.Reader, position: int, target: Path, links: Path, archive: nar.Archive
) -> None:
    """Write the tree at `position` of the image to `target`, and tell `archive` of it.

    Files that are one inode in the image become one inode, through names in `links` (see
    tree.Copy). Raises StoreError for a damaged image, OSError.
    """
    # A stack of its own, as in nar: a hostile depth ends no interpreter.
    parents: list[_Directory] = []
    path = os.fsencode(target)
    while True:
        node = image.node(position)
        if isinstance(node, squashfs.Directory):
            if any(parent.position == position for parent in parents):
                raise StoreError(os.fsdecode(path), f"is inside itself in {image.path}")
            os.mkdir(path, 0o755)  # noqa: PTH102 - bytes, not Paths
            archive.directory()
            parents.append(_Directory(path, position, image.entries(node)[::-1]))
        elif isinstance(node, squashfs.Symlink):
            os.symlink(node.target, path)  # noqa: PTH211
            os.utime(path, tree.TIME, follow_symlinks=False)
            archive.symlink(node.target)
        else:
            _file(image, node, path, os.fsencode(links), archive)
        while parents and not parents[-1].entries:
            done = parents.pop().path
            os.chmod(done, tree.PROGRAM)  # noqa: PTH101
            os.utime(done, tree.TIME)
            archive.leave()
        if not parents:
            return
        name, position = parents[-1].entries.pop()
        path = parents[-1].path + b"/" + name
        archive.entry(name)


def _file(
    image: squashfs.Reader, file: squashfs.File, path: bytes, links: bytes, archive: nar.Archive
) -> None:
    archive.file(file.size, executable=file.executable)
    share = links + b"/%d" % file.number if file.links > 1 else None
    if share is not None and tree.link(share, path):
        for data in image.contents(file) if archive.hashed else ():
            archive.contents(data)
    else:
        _write(image, file, path, archive)
        if share is not None:
            tree.link(path, share)
    archive.end(file.size)


def _write(image: squashfs.Reader, file: squashfs.File, path: bytes, archive: nar.Archive) -> None:
    mode = tree.PROGRAM if file.executable else tree.PLAIN
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        for data in image.contents(file):
            for start in range(0, len(data), nar.BUFFER):
                part = memoryview(data)[start : start + nar.BUFFER]
                archive.contents(part)
                nar.write_all(target, part)
        tree.settle(target, mode)
    finally:
        os.close(target)
