"""The copy of a closure, with real Nix, real images and a real ext4 behind a loop device."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench import corpus
from paranoid_install import orphans, store
from paranoid_install.runner import ShRunner
from paranoid_install.store import closure, nar, place

TOP = Path(__file__).resolve().parents[2]
SHAPE = corpus.Shape("test", paths=24, files=300, bytes=60_000_000)
LINKED = corpus.store_name("linked")
LATE = corpus.store_name("late")


def run(*argv: str | Path, stdin: str | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in argv], input=stdin, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


@dataclass(frozen=True)
class Live:
    """A source store: its root (a URI of Nix too), and the toplevel in it."""

    root: Path
    toplevel: str
    paths: tuple[str, ...]

    @property
    def uri(self) -> str:
        return str(self.root)


def register(root: Path, path: str, references: tuple[str, ...]) -> None:
    real = f"{root}{path}"
    archive = subprocess.run(["nix-store", "--dump", real], capture_output=True, check=True).stdout
    digest = run("nix-hash", "--type", "sha256", real).strip()
    lines = [path, digest, str(len(archive)), "", str(len(references)), *references, ""]
    run("nix-store", "--store", root, "--load-db", stdin="\n".join(lines))


def tools() -> list[str]:
    names = ("nix-store", "nix-env", "mksquashfs", "mkfs.ext4")
    return [name for name in names if shutil.which(name) is None]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Live:
    """A store on disk: a generated closure and, above it, a path full of peculiarities."""
    if tools():
        pytest.skip(f"not installed: {', '.join(tools())}")
    root = tmp_path_factory.mktemp("plain")
    made = corpus.make(SHAPE, root)
    top = root / "nix/store" / LINKED
    (top / "bin").mkdir(parents=True)
    (top / "bin/one?[x]").write_bytes(os.urandom(200_000))
    (top / "bin/two").hardlink_to(top / "bin/one?[x]")
    (top / "bin/tool").write_bytes(b"#!/bin/sh\n")
    (top / "bin/tool").chmod(0o555)
    (top / "bin/broken").symlink_to("/nowhere/at all")
    (top / "ünï\ncode").write_bytes(b"")
    (top / "many").mkdir()
    for number in range(700):
        (top / "many" / f"{number:060}").write_bytes(b"x" * number)
    # As `nix-store --optimise` leaves it: a file of another path is the same inode.
    other = next(p for p in (root / made.paths[0][1:]).rglob("f*") if p.is_file())
    (top / "shared").hardlink_to(other)
    for path in (*top.rglob("*"), top):
        if not path.is_symlink() and not path.samefile(other):
            path.chmod(0o555 if path.is_dir() or path.name == "tool" else 0o444)
        os.utime(path, (1, 1), follow_symlinks=False)
    toplevel = f"/nix/store/{LINKED}"
    register(root, toplevel, (made.toplevel, toplevel))
    return Live(root, toplevel, (*made.paths, toplevel))


@pytest.fixture(scope="module")
def live(plain: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The same as a live system shows it: over a squashfs, with one path written since."""
    root = tmp_path_factory.mktemp("live")
    image = root / "nix-store.squashfs"
    # A root of another owner and mode than a store's, as images are made.
    run(*("mksquashfs", plain.root / "nix/store", image, "-quiet", "-no-progress"),
        *("-comp", "zstd", "-root-mode", "0777", "-force-uid", "1000"))  # fmt: skip
    shutil.copytree(plain.root / "nix/var", root / "nix/var")
    for name in (".ro-store", ".rw-store", "store"):
        (root / "nix" / name).mkdir()
    lower, upper = root / "nix/.ro-store", root / "nix/.rw-store"
    run("mount", "-o", "loop,ro", image, lower)
    run("mount", "-t", "tmpfs", "none", upper)
    (upper / "store").mkdir()
    (upper / "work").mkdir()
    options = f"lowerdir={lower},upperdir={upper}/store,workdir={upper}/work"
    run("mount", "-t", "overlay", "-o", options, "overlay", root / "nix/store")
    late = root / "nix/store" / LATE
    late.write_bytes(b"written on the live system")
    late.chmod(0o444)
    os.utime(late, (1, 1))
    toplevel = f"/nix/store/{LATE}"
    register(root, toplevel, (plain.toplevel,))
    yield Live(root, toplevel, (*plain.paths, toplevel))
    for directory in ("store", ".rw-store", ".ro-store"):
        run("umount", root / "nix" / directory)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    yield from filesystem(tmp_path, "300M")


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    yield from filesystem(tmp_path, "30M")


def filesystem(tmp_path: Path, size: str) -> Iterator[Path]:
    image, root = tmp_path / "disk.img", tmp_path / "mnt"
    run("truncate", "--size", size, image)
    run("mkfs.ext4", "-q", "-F", "-b", "4096", image)
    root.mkdir()
    run("mount", "-o", "loop", image, root)
    yield root
    run("umount", root)


def rows(root: Path) -> tuple[object, ...]:
    """The database's contents, without what each registration makes anew."""
    with sqlite3.connect(f"file:{root}/nix/var/nix/db/db.sqlite?mode=ro", uri=True) as database:
        paths = database.execute(
            "select path, hash, deriver, narSize, ultimate, sigs, ca from ValidPaths order by path"
        ).fetchall()
        references = database.execute(
            "select a.path, b.path from Refs join ValidPaths a on a.id = referrer"
            " join ValidPaths b on b.id = reference order by 1, 2"
        ).fetchall()
    database.close()
    return paths, references


def listing(directory: Path) -> dict[str, tuple[int, int, int, int]]:
    """Mode, owner, group and modification time of all that is in the store."""
    found = {}
    for path in directory.rglob("*"):
        if ".links" not in path.parts:
            status = path.lstat()
            found[str(path.relative_to(directory))] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns,
            )  # fmt: skip
    return found


def check(root: Path) -> None:
    run("nix-store", "--store", root, "--verify", "--check-contents")


def put(live: Live, root: Path, workers: int | None = None, *, verify: bool = True) -> store.Report:
    return store.put(
        ShRunner(), live.toplevel, root, store=live.uri, workers=workers, verify=verify
    )


def nixs_own(live: Live, root: Path) -> None:
    """The command by which nixos-install copies."""
    config = "sandbox = false\nsubstituters =\nbuild-users-group =\n"
    subprocess.run(
        ["nix-env", "--store", root, "--extra-substituters", f"local?root={live.root}&trusted=1",
         "-p", root / "nix/var/nix/profiles/system", "--set", live.toplevel],
        check=True, capture_output=True, env={**os.environ, "NIX_CONFIG": config},
    )  # fmt: skip


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
@pytest.mark.parametrize("workers", [1, 3])
def test_from_a_directory_it_is_what_nix_itself_copies(
    plain: Live, target: Path, tmp_path: Path, workers: int, verify: bool
) -> None:
    report = put(plain, target, workers, verify=verify)
    assert (report.method, report.copied) == (store.Method.DIRECTORY, len(plain.paths))
    assert report.verified is verify
    check(target)
    own = tmp_path / "own"
    nixs_own(plain, own)
    assert rows(target) == rows(own)
    assert listing(target / "nix/store") == listing(own / "nix/store")


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "unverified"])
def test_from_a_live_system_it_is_what_nix_itself_copies(
    live: Live, target: Path, tmp_path: Path, verify: bool
) -> None:
    report = put(live, target, verify=verify)
    assert (report.method, report.copied) == (store.Method.BOTH, len(live.paths))
    check(target)
    own = tmp_path / "own"
    nixs_own(live, own)
    assert rows(target) == rows(own)
    assert listing(target / "nix/store") == listing(own / "nix/store")


def test_the_store_directory_is_nobodys_to_write(live: Live, target: Path) -> None:
    put(live, target)
    status = (target / "nix/store").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o1775, 0)
    assert not (target / "nix/store" / place.STAGING).exists()


@pytest.mark.parametrize("kind", ["plain", "live"])
def test_hard_links_stay_together(
    kind: str, plain: Live, target: Path, request: pytest.FixtureRequest
) -> None:
    put(request.getfixturevalue(kind), target)
    top = target / plain.toplevel[1:]
    assert (top / "bin/two").samefile(top / "bin/one?[x]")
    assert (top / "shared").stat().st_nlink == 2


def test_nixos_install_finds_nothing_left_to_copy(live: Live, target: Path) -> None:
    put(live, target)
    subprocess.run(
        ["nix-env", "--store", target, "-p", target / "nix/var/nix/profiles/system",
         "--set", live.toplevel],
        check=True, capture_output=True,
        env={**os.environ, "NIX_CONFIG": "substituters =\nbuild-users-group =\n"},
    )  # fmt: skip


def test_the_room_is_told_beforehand(live: Live, target: Path) -> None:
    size = store.size(ShRunner(), live.toplevel, store=live.uri)
    put(live, target)
    used = int(run("du", "--count-links", "-s", "-B1", target / "nix/store").split()[0])
    inodes = run("find", target / "nix/store", "-printf", "x\\n").count("x")
    assert size.bytes == pytest.approx(used, rel=0.01)
    assert size.inodes == inodes


@pytest.fixture
def damaged(plain: Live, tmp_path: Path) -> tuple[Live, str]:
    """A store with one byte of one path changed, and the path."""
    root = tmp_path / "damaged"
    run("cp", "-a", plain.root, root)
    path = plain.paths[3]
    file = next(p for p in (root / path[1:]).rglob("f*") if p.is_file())
    file.chmod(0o644)
    contents = bytearray(file.read_bytes())
    contents[len(contents) // 2] ^= 1
    file.write_bytes(contents)
    file.chmod(0o444)
    return Live(root, plain.toplevel, plain.paths), path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_flipped_byte_in_a_directory_is_found(
    damaged: tuple[Live, str], target: Path, workers: int
) -> None:
    source, path = damaged
    with pytest.raises(store.StoreError, match=f"^{path}: damaged"):
        put(source, target, workers)
    assert not (target / path[1:]).exists()
    assert not (target / "nix/var/nix/db/db.sqlite").exists()


def test_a_flipped_byte_in_an_image_is_found(
    damaged: tuple[Live, str], target: Path, tmp_path: Path
) -> None:
    source, path = damaged
    image = tmp_path / "damaged.squashfs"
    run("mksquashfs", source.root / "nix/store", image, "-quiet", "-no-progress")
    run("mount", "-o", "loop,ro", image, source.root / "nix/store")
    try:
        with pytest.raises(store.StoreError, match=f"^{path}: damaged"):
            put(source, target)
    finally:
        run("umount", source.root / "nix/store")
    assert not (target / "nix/var/nix/db/db.sqlite").exists()


def test_an_image_that_is_not_read_here_is_copied_through_its_mount(
    plain: Live, target: Path, tmp_path: Path
) -> None:
    image, root = tmp_path / "other.squashfs", tmp_path / "other"
    run(*("mksquashfs", plain.root / "nix/store", image, "-quiet", "-no-progress"),
        *("-comp", "lz4"))  # fmt: skip
    (root / "nix/store").mkdir(parents=True)
    shutil.copytree(plain.root / "nix/var", root / "nix/var")
    mounted = subprocess.run(["mount", "-o", "loop,ro", image, root / "nix/store"], check=False)
    if mounted.returncode != 0:
        pytest.skip("this kernel does not know lz4 in squashfs")
    try:
        report = put(replace(plain, root=root), target)
    finally:
        run("umount", root / "nix/store")
    assert report.method is store.Method.DIRECTORY
    assert report.reason == f"{image} is compressed by lz4"
    check(target)


def test_an_image_cut_short_is_an_error(plain: Live, target: Path, tmp_path: Path) -> None:
    image = tmp_path / "short.squashfs"
    run("mksquashfs", plain.root / "nix/store", image, "-quiet", "-no-progress")
    data = bytearray(image.read_bytes())
    data[4096 : len(data) // 2] = bytes(len(data) // 2 - 4096)
    image.write_bytes(data)
    root = tmp_path / "short"
    (root / "nix/store").mkdir(parents=True)
    shutil.copytree(plain.root / "nix/var", root / "nix/var")
    run("mount", "-o", "loop,ro", image, root / "nix/store")
    try:
        with pytest.raises(store.StoreError, match=r"short\.squashfs: damaged: block at"):
            put(replace(plain, root=root), target)
    finally:
        run("umount", root / "nix/store")
    assert not (target / "nix/var/nix/db/db.sqlite").exists()


def test_the_second_run_copies_nothing(live: Live, target: Path) -> None:
    put(live, target)
    again = put(live, target)
    assert (again.method, again.copied, again.skipped) == (
        store.Method.NOTHING, 0, len(live.paths),
    )  # fmt: skip


def test_a_registered_path_that_is_gone_is_copied_again(live: Live, target: Path) -> None:
    put(live, target)
    shutil.rmtree(target / live.paths[2][1:])
    assert put(live, target).copied == 1
    check(target)


KILLED = """
import os, signal, sys
from pathlib import Path
from paranoid_install import store
from paranoid_install.orphans import Marking
from paranoid_install.runner import ShRunner

def progress(bytes_done, bytes_total, paths_done, paths_total):
    if paths_done >= 5:
        os.kill(os.getpid(), signal.SIGKILL)

store.put(Marking(ShRunner(), sys.argv[2]), sys.argv[1], Path(sys.argv[2]), store=sys.argv[3],
          workers=1, progress=progress)
"""


@pytest.mark.parametrize("kind", ["plain", "live"])
def test_a_killed_run_is_taken_up_path_by_path(
    kind: str, target: Path, request: pytest.FixtureRequest
) -> None:
    source: Live = request.getfixturevalue(kind)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, source.toplevel, target, source.uri],
        env={**os.environ, "PYTHONPATH": str(TOP / "installer")}, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert (target / "nix/store" / place.STAGING).exists()
    # As an install does first: the worker was not killed, and may be at work on a path.
    assert orphans.end(str(target)) == ()
    report = put(source, target)
    assert report.skipped >= 5
    assert report.copied == len(source.paths) - report.skipped
    check(target)
    assert not (target / "nix/store" / place.STAGING).exists()


def test_a_full_disk_is_an_error_and_registers_nothing(plain: Live, tiny: Path) -> None:
    with pytest.raises((store.StoreError, OSError), match="No space left"):
        put(plain, tiny, 2)
    assert not (tiny / "nix/var/nix/db/db.sqlite").exists()
    assert not (tiny / "nix/store" / place.STAGING).exists()


def test_our_hash_is_nixs(plain: Live) -> None:
    for info in closure.read(ShRunner(), plain.toplevel, plain.uri):
        assert nar.digest(f"{plain.root}{info.path}") == nar.Digest(info.sha256, info.nar_size)


def measure(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=TOP, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'installer'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_way_that_is_measured_leaves_the_same_closure(tmp_path: Path) -> None:
    """A small run of the measurement, which compares every byte; no time is looked at."""
    out = str(tmp_path / "out")
    measure("bench", "--smoke", "--no-plot", "--scratch", str(tmp_path), "--out", out)
    result = json.loads((tmp_path / "out/speed.json").read_text())
    assert [found["source"] for found in result["comparisons"]] == ["directory", "squashfs"]
    for found in result["comparisons"]:
        assert len(found["samples"]) == 8
        assert all(len(samples) == 1 for samples in found["samples"].values())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_an_install_costs_besides_is_measured_on_a_real_one() -> None:
    """One run of that measurement, which fails if the install or the script does."""
    _, *rows = measure("bench.fixed", "--runs", "1").splitlines()
    seconds = {row[:16].strip(): float(row[16:]) for row in rows}
    assert list(seconds) == [
        "whole", "store", "nixos-install", "boot loader", "host keys", "rest",
        "shell script", "more than it",
    ]  # fmt: skip
    parts = seconds["whole"] - seconds["rest"]
    assert parts == pytest.approx(sum(list(seconds.values())[1:5]), abs=0.05)
