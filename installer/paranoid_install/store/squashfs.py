"""Extraction of some store paths from a squashfs image, by unsquashfs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner
from paranoid_install.store.errors import StoreError

_QUEUE = "4"
"""MiB unsquashfs may hold of each, data and fragments; its own default is 256."""


def extract(runner: Runner, image: Path, names: Sequence[str], target: Path) -> None:
    """Write the entries `names` of the image's root below `target`, which must not exist.

    Decompresses on one core: several at once take less time than one on several.

    Raises StoreError with unsquashfs's own words. A name that the image has not got is left out
    without an error. `target` gets the mode of the image's root, whatever that is.
    """
    options = (
        *("-quiet", "-no-progress", "-no-xattrs"),
        # A store path's name may hold a "?".
        "-no-wildcards",
        *("-data-queue", _QUEUE, "-frag-queue", _QUEUE, "-processors", "1"),
    )
    try:
        runner.run("unsquashfs", *options, "-dest", str(target), str(image), *names, timeout=None)
    except CommandFailed as failure:
        words = failure.tail[-1] if failure.tail else ""
        raise StoreError(str(image), f"unsquashfs: {failure.problem}: {words}") from failure
