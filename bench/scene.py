"""Where a measurement takes place: the source as a directory and as a live image, and a disk.

Everything is mounted in a mount namespace of its own and goes with the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.corpus import Corpus
from bench.shell import run

_CLONE_NEWNS = 0x00020000


@dataclass(frozen=True)
class Source:
    """A closure in a store below `root`; `kind` is "directory" or "squashfs"."""

    kind: str
    root: Path
    corpus: Corpus


def own_mounts() -> None:
    """Leave the machine's mount table alone (unshare(2)). Raises OSError without root."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare: a measurement needs root")
    run("mount", "--make-rprivate", "/")


@contextmanager
def live(corpus: Corpus, scratch: Path) -> Iterator[Source]:
    """The closure mounted as a live system has it: an overlay over a zstd squashfs.

    Block size and options are those of nixpkgs' make-squashfs.nix; a lower level of zstd than
    there only makes the image larger, decompression takes the same time.
    """
    image, root = scratch / f"{corpus.shape.name}.squashfs", scratch / f"live-{corpus.shape.name}"
    run(
        *("mksquashfs", f"{corpus.root}/nix/store", str(image), "-quiet", "-no-progress"),
        *("-all-root", "-no-hardlinks", "-b", "1048576", "-comp", "zstd"),
        *("-Xcompression-level", "6"),
    )
    shutil.copytree(corpus.root / "nix/var", root / "nix/var")
    lower, upper, store = root / "nix/.ro-store", root / "nix/.rw-store", root / "nix/store"
    for directory in (lower, upper, store):
        directory.mkdir()
    with (
        _mounted(lower, "-o", "loop,ro", str(image)),
        _mounted(upper, "-t", "tmpfs", "none"),
    ):
        (upper / "store").mkdir()
        (upper / "work").mkdir()
        options = f"lowerdir={lower},upperdir={upper}/store,workdir={upper}/work"
        with _mounted(store, "-t", "overlay", "-o", options, "overlay"):
            yield Source("squashfs", root, corpus)


@contextmanager
def disk(scratch: Path, size: int) -> Iterator[Path]:
    """The root of a fresh ext4 of `size` bytes, on a loop device over a file laid out at once.

    As on a disk, nothing is in memory twice: the device passes its file's page cache by, where the
    file system below allows it.
    """
    image, root = scratch / "disk.img", scratch / "root"
    root.mkdir(exist_ok=True)
    if not image.exists() or image.stat().st_size != size:
        image.unlink(missing_ok=True)
        run("fallocate", "--length", str(size), str(image))
    run("mkfs.ext4", "-q", "-F", "-E", "nodiscard", str(image))
    device = run("losetup", "--find", "--show", str(image)).strip()
    try:
        with contextlib.suppress(RuntimeError):
            run("losetup", "--direct-io=on", device)
        with _mounted(root, device):
            yield root
    finally:
        run("losetup", "--detach", device)


@contextmanager
def _mounted(point: Path, *words: str) -> Iterator[None]:
    run("mount", *words, str(point))
    try:
        yield
    finally:
        run("umount", str(point))


def cold() -> None:
    """Write what is dirty and drop every cache, so that a measurement begins at the disk."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
