"""Squashfs images of directories, made by the program that makes those of live systems."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def squash(tree: Path, image: Path, *options: str) -> Path:
    """`tree` as an image, compressed by gzip unless `options`, which are mksquashfs's, say."""
    program = shutil.which("mksquashfs")
    if program is None:
        pytest.skip("mksquashfs is not installed")
    argv = [program, str(tree), str(image), "-quiet", "-no-progress", "-noappend", *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return image
