"""A squashfs image is read as it was made, and nothing it holds does more than fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paranoid_install.store import decompression, extract, nar, squashfs
from paranoid_install.store.errors import StoreError
from tests.unit.store.images import squash

BLOCK = 128 * 1024
"""mksquashfs's own, unless it is told another."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one path, `p`, of all that makes a squashfs peculiar."""
    top = tmp_path_factory.mktemp("store") / "store"
    path = top / "p"
    (path / "empty").mkdir(parents=True)
    (path / "file").write_bytes(b"")
    for size in (1, 4096, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5):
        (path / f"of-{size}").write_bytes(os.urandom(size // 2) + b"squash" * size)
    (path / "same").write_bytes((path / "of-4096").read_bytes())
    with (path / "sparse").open("wb") as file:
        file.write(b"begin")
        file.truncate(10 * BLOCK + 9)
    (path / "tool").write_bytes(b"#!/bin/sh\n")
    (path / "tool").chmod(0o755)
    (path / "link").symlink_to("../elsewhere/not there")
    (path / "ünï\ncode [*?]").write_bytes(b"x")
    # More entries, and longer names, than one block of the tables holds.
    (path / "many").mkdir()
    for number in range(900):
        (path / "many" / f"{number:0120}").write_bytes(b"%d" % number)
    (path / "deep" / "/".join("d" * 60)).mkdir(parents=True)
    (path / "twin-a").write_bytes(b"twins" * 9)
    (path / "twin-b").hardlink_to(path / "twin-a")
    return top


def extracted(image: Path, target: Path, *, hashed: bool = True) -> nar.Digest | None:
    """The whole of the path `p`, written to target/p; its hash on the way."""
    (target / "links").mkdir(parents=True, exist_ok=True)
    archive = nar.Archive(hashed=hashed)
    with closing(squashfs.Reader(image)) as reader:
        if b"p" not in reader.root:
            raise StoreError("p", f"is not in {image}")
        extract.write(reader, reader.root[b"p"], target / "p", target / "links", archive)
    return archive.finish() if hashed else None


OPTIONS = {
    "gzip": ("-comp", "gzip"),
    "xz": ("-comp", "xz"),
    "xz as nixpkgs had it": ("-comp", "xz", "-Xdict-size", "100%", "-Xbcj", "x86"),
    "zstd as nixpkgs has it": (
        *("-comp", "zstd", "-Xcompression-level", "19", "-b", "1048576"),
        *("-no-hardlinks", "-all-root"),
    ),
    "small blocks": ("-comp", "zstd", "-b", "4096"),
    "tails in fragments": ("-comp", "zstd", "-always-use-fragments"),
    "no fragments": ("-comp", "zstd", "-no-fragments"),
    "nothing compressed": ("-noI", "-noD", "-noF"),
    "only contents compressed": ("-noI", "-noF"),
    "no export table": ("-no-exports", "-no-xattrs"),
    "no duplicates found": ("-no-duplicates",),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_path_comes_out_as_it_went_in(
    store: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    image = squash(store, tmp_path / "image", *options)
    assert squashfs.unsupported(image) == ""
    expected = nar.digest(str(store / "p"))
    assert extracted(image, tmp_path / "out") == expected
    assert nar.digest(str(tmp_path / "out/p")) == expected


def test_without_a_hash_it_is_the_same(store: Path, tmp_path: Path) -> None:
    image = squash(store, tmp_path / "image")
    extracted(image, tmp_path, hashed=False)
    assert nar.digest(str(tmp_path / "p")) == nar.digest(str(store / "p"))


def test_metadata_are_a_stores_whatever_the_image_says(store: Path, tmp_path: Path) -> None:
    image = squash(store, tmp_path / "image", "-force-uid", "1000")
    extracted(image, tmp_path)
    for path in (tmp_path / "p", *(tmp_path / "p").rglob("*")):
        status = path.lstat()
        assert (status.st_uid, status.st_mtime) == (os.getuid(), 1)
        if not path.is_symlink():
            program = path.is_dir() or path.name == "tool"
            assert status.st_mode & 0o7777 == (0o555 if program else 0o444)


def test_hard_links_stay_together_and_are_hashed(store: Path, tmp_path: Path) -> None:
    image = squash(store, tmp_path / "image")
    assert extracted(image, tmp_path) == nar.digest(str(store / "p"))
    assert (tmp_path / "p/twin-a").samefile(tmp_path / "p/twin-b")
    assert not (tmp_path / "p/same").samefile(tmp_path / "p/of-4096")


@pytest.mark.parametrize("name", ["lz4", "lzo"])
def test_another_compression_is_told_beforehand(store: Path, tmp_path: Path, name: str) -> None:
    image = squash(store, tmp_path / "image", "-comp", name)
    assert squashfs.unsupported(image) == f"{image} is compressed by {name}"


def test_each_compression_that_is_supported_has_a_name() -> None:
    assert set(decompression.NAMES) >= decompression.SUPPORTED


def test_what_a_store_cannot_hold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store/p").mkdir(parents=True)
    os.mkfifo(tmp_path / "store/p/pipe")
    image = squash(tmp_path / "store", tmp_path / "image")
    with pytest.raises(StoreError, match="neither a file, a directory nor a symlink"):
        extracted(image, tmp_path / "out")


@pytest.mark.parametrize("name", [b"..", b".", b"a/", b"/a", b"a\0"])
def test_a_name_that_leaves_the_directory_is_refused(tmp_path: Path, name: bytes) -> None:
    mark = b"q" * len(name)
    (tmp_path / "store/p" / os.fsdecode(mark)).mkdir(parents=True)
    image = squash(tmp_path / "store", tmp_path / "image", "-noI")
    # The entry's header has the name's length but one, and the name follows.
    old, new = (bytes([len(name) - 1, 0]) + word for word in (mark, name))
    data = image.read_bytes()
    assert data.count(old) == 1
    image.write_bytes(data.replace(old, new))
    with pytest.raises(StoreError, match="is no name"):
        extracted(image, tmp_path / "out")


def test_a_directory_inside_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store/p/inner/innermost").mkdir(parents=True)
    image = squash(tmp_path / "store", tmp_path / "image", "-noI")
    with closing(squashfs.Reader(image)) as reader:
        top = reader.root[b"p"]
        node = reader.node(top)
        assert isinstance(node, squashfs.Directory)
        ((_, inner),) = reader.entries(node)
    # Inodes are in one block here: an entry's header is the offset of one in it.
    old = inner.to_bytes(2, "little") + b"\0\0\x01\0\x04\0inner"
    data = image.read_bytes()
    at = data.index(b"\x04\0inner") - 6
    assert data[at : at + 2] == old[:2]
    image.write_bytes(data[:at] + top.to_bytes(2, "little") + data[at + 2 :])
    with pytest.raises(StoreError, match="is inside itself"):
        extracted(image, tmp_path / "out")


def test_a_short_image_is_damaged(store: Path, tmp_path: Path) -> None:
    image = squash(store, tmp_path / "image")
    data = image.read_bytes()
    for length in (0, 50, 96, 5000, len(data) // 2, len(data) - 4096):
        image.write_bytes(data[:length])
        with pytest.raises(StoreError, match="damaged: it ends before byte"):
            squashfs.Reader(image).close()


def test_what_is_no_squashfs_is_told(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(bytes(4096))
    with pytest.raises(StoreError, match="damaged: it is no squashfs"):
        squashfs.unsupported(tmp_path / "image")


def test_another_version_is_told(store: Path, tmp_path: Path) -> None:
    image = squash(store, tmp_path / "image")
    data = bytearray(image.read_bytes())
    data[28] = 3
    image.write_bytes(data)
    assert squashfs.unsupported(image) == f"{image} is squashfs 3.0, not 4.0"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small image with its tables bare, so that damage is more than a block that is corrupt."""
    top = tmp_path_factory.mktemp("bare")
    (top / "store/p/many").mkdir(parents=True)
    for number in range(40):
        (top / f"store/p/many/{number}").write_bytes(b"%d" % number * 900)
    (top / "store/p/large").write_bytes(os.urandom(3 * 4096 + 7))
    (top / "store/p/link").symlink_to("large")
    (top / "store/p/zeros").write_bytes(bytes(2 * 4096))
    return squash(top / "store", top / "image", "-noI", "-noF", "-b", "4096").read_bytes()


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[float, int]]:
    """Where, in the superblock and tables laid one after the other, and which bits of the byte."""
    pair = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
    return draw(st.lists(pair, min_size=1, max_size=4))


@settings(deadline=None, max_examples=400)
@given(damages())
def test_damage_fails_or_shows_in_the_hash(bare: bytes, damage: list[tuple[float, int]]) -> None:
    begin, used = (int.from_bytes(bare[at : at + 8], "little") for at in (64, 40))
    places = [*range(96), *range(begin, used)]
    damaged = bytearray(bare)
    for where, bits in damage:
        damaged[places[int(where * len(places))]] ^= bits
    with TemporaryDirectory() as name:
        top = Path(name)
        (top / "image").write_bytes(damaged)
        try:
            if squashfs.unsupported(top / "image"):
                return
            found = extracted(top / "image", top / "out")
        except (StoreError, OSError):
            found = None
        if found is not None:
            assert nar.digest(str(top / "out/p")) == found
        assert {path.name for path in top.iterdir()} <= {"image", "out"}
        assert {path.name for path in (top / "out").glob("*")} <= {"p", "links"}


@pytest.mark.skipif(shutil.which("unsquashfs") is None, reason="unsquashfs is not installed")
def test_unsquashfs_gives_the_same(store: Path, tmp_path: Path) -> None:
    image = squash(store, tmp_path / "image", "-comp", "zstd", "-b", "1048576")
    argv = ["unsquashfs", "-quiet", "-no-progress", "-dest", str(tmp_path / "theirs"), str(image)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert extracted(image, tmp_path / "ours") == nar.digest(str(tmp_path / "theirs/p"))
