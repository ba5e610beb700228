"""Closures to measure with: made from a seed, registered in a scratch store.

A closure is a chain of store paths under ``ROOT/nix/store`` that looks like a
system's: file sizes are log-normal with a long tail, about a third of the
files is executable, one entry in twelve is a symlink, and the bytes compress
to about 40 % (as a NixOS closure does with zstd). The same arguments give the
same bytes on every machine.

The hashes in the registration come from ``nix-hash``, the sizes from counting
what was written: neither comes from the code under measurement.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.shell import run

_ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
"""Nix's base 32: no e, o, t, u."""

_BLOCK = 4096


@dataclass(frozen=True)
class Shape:
    """What a closure looks like.

    ``bytes`` is the sum of the file sizes in bytes (met within 1 %),
    ``paths`` the number of store paths, ``files`` that of regular files.
    """

    name: str
    paths: int
    files: int
    bytes: int
    seed: int = 1


SYSTEM = Shape("system", paths=600, files=12_000, bytes=1_200_000_000)
SMALL = Shape("small-files", paths=200, files=20_000, bytes=80_000_000)
SMOKE = Shape("smoke", paths=12, files=60, bytes=1_500_000)


@dataclass(frozen=True)
class Corpus:
    """A closure on disk: its store's root, its top and all of its paths."""

    shape: Shape
    root: Path
    toplevel: str
    paths: tuple[str, ...]


def store_name(label: str) -> str:
    """A store path's name whose hash part follows from ``label`` alone."""
    digest = hashlib.sha256(label.encode()).digest()
    return "".join(_ALPHABET[byte % 32] for byte in digest) + "-" + label


def make(shape: Shape, root: Path) -> Corpus:
    """Write and register the closure below ``root``, which must be empty."""
    store = root / "nix/store"
    store.mkdir(parents=True)
    rng = random.Random(f"{shape.seed}/{shape.name}")
    names = [store_name(f"{shape.name}-{i:04}") for i in range(shape.paths)]
    hands = zip(names, _deal(shape, rng), strict=True)
    sizes = [_write_path(store / name, rng, files) for name, files in hands]
    paths = tuple(f"/nix/store/{name}" for name in names)
    _register(root, paths, sizes)
    return Corpus(shape, root, paths[-1], paths)


def _deal(shape: Shape, rng: random.Random) -> list[list[int]]:
    """File sizes in bytes for each path: every path has one file at least."""
    weights = [math.exp(rng.gauss(0, 2.0)) for _ in range(shape.files)]
    scale = shape.bytes / sum(weights)
    sizes = [max(1, int(weight * scale)) for weight in weights]
    share = [math.exp(rng.gauss(0, 1.5)) for _ in range(shape.paths)]
    hands: list[list[int]] = [[size] for size in sizes[: shape.paths]]
    for size in sizes[shape.paths :]:
        hands[rng.choices(range(shape.paths), share)[0]].append(size)
    return hands


def _content(rng: random.Random, size: int) -> Iterator[bytes]:
    """``size`` bytes, of which the odd part of each block does not compress."""
    filler = b"".join(b"%08x nix store path filler\n" % n for n in range(1024))
    for start in range(0, size, _BLOCK):
        take = min(_BLOCK, size - start)
        noise = rng.randbytes(take * 3 // 8)
        at = rng.randrange(len(filler) - _BLOCK)
        yield noise + filler[at : at + take - len(noise)]


def _string(length: int) -> int:
    """Bytes a string of ``length`` takes in a NAR: length field and padding."""
    return 8 + (length + 7) // 8 * 8


_REGULAR = sum(map(_string, (1, 4, 7, 8, 1)))  # ( type regular contents … )
_EXECUTABLE = sum(map(_string, (10, 0)))
_SYMLINK = sum(map(_string, (1, 4, 7, 6, 1)))
_DIRECTORY = sum(map(_string, (1, 4, 9, 1)))
_ENTRY = sum(map(_string, (5, 1, 4, 4, 1)))
_MAGIC = _string(13)


def _write_path(path: Path, rng: random.Random, sizes: list[int]) -> int:
    """Write one store path and return the bytes of its NAR."""
    nar = _MAGIC
    tree: dict[str, int] = {}
    path.mkdir()
    nar += _DIRECTORY
    for index, size in enumerate(sizes):
        folder = f"d{index // 24:03}"
        if folder not in tree:
            tree[folder] = 1
            (path / folder).mkdir()
            nar += _DIRECTORY + _ENTRY + _string(len(folder))
        name = f"f{index:05}"
        target = path / folder / name
        executable = rng.random() < 0.33
        with target.open("wb") as file:
            for chunk in _content(rng, size):
                file.write(chunk)
        target.chmod(0o555 if executable else 0o444)
        os.utime(target, (1, 1))
        nar += _REGULAR + _ENTRY + _string(len(name)) + _string(size)
        nar += _EXECUTABLE if executable else 0
        if index % 12 == 0:
            link = path / folder / f"l{index:05}"
            link.symlink_to(name)
            os.utime(link, (1, 1), follow_symlinks=False)
            nar += _SYMLINK + _ENTRY + _string(len(link.name)) + _string(len(name))
    for directory in [path / folder for folder in tree] + [path]:
        directory.chmod(0o555)
        os.utime(directory, (1, 1))
    return nar


def _register(root: Path, paths: tuple[str, ...], sizes: list[int]) -> None:
    real = [f"{root}{path}" for path in paths]
    hashes = run("nix-hash", "--type", "sha256", *real).split()
    lines: list[str] = []
    for index, (path, digest, size) in enumerate(zip(paths, hashes, sizes, strict=True)):
        top = index == len(paths) - 1
        references = paths if top else paths[max(0, index - 3) : index + 1]
        name = path.rpartition("/")[2].partition("-")[2]
        deriver = "" if index % 5 == 0 else f"/nix/store/{store_name(name + '.drv')}"
        lines += [path, digest, str(size), deriver, str(len(references)), *references]
    run("nix-store", "--store", str(root), "--load-db", stdin="\n".join(lines) + "\n")
