"""Real installs onto image files and loop devices of this machine, with real tools."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from paranoid_install.journal import RUN_DIRECTORY
from paranoid_install.mounts import mount_table

HERE = Path(__file__).parent
TOP = HERE.parents[1]
STANDIN = TOP / "tests/standin"
TOOLS = ("nix-build", "parted", "mkfs.ext4", "losetup", "grub-install", "ssh-keygen", "busybox")
NIX_OPTIONS = ("--option", "sandbox", "false", "--option", "substitute", "false",
               "--option", "build-users-group", "")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.loop)


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Skip, by name, where a real install cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("loop devices and mounts need root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if not Path("/dev/loop-control").exists():
        pytest.skip("this kernel has no loop devices")
    own_mounts()


def own_mounts() -> None:
    """Give the tests a mount namespace of their own (unshare(2)).

    Another process that makes a namespace meanwhile would copy our mounts into it, and hold the
    loop devices below them after we have unmounted; and a killed test leaves nothing behind.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) != 0:  # CLONE_NEWNS
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    # And a journal of their own, so that no other run of this boot is cleaned up or resumed.
    RUN_DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "--types", "tmpfs", "none", RUN_DIRECTORY], check=True)


def build(expression: Path, **arguments: str) -> str:
    """Build a store path with the machine's own Nix."""
    words = [word for name, value in arguments.items() for word in ("--argstr", name, value)]
    done = subprocess.run(
        ["nix-build", "--no-out-link", *NIX_OPTIONS, str(expression), *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="session")
def system(tools: None) -> str:
    """A toplevel for BIOS that lets nobody in by itself."""
    return build_system()


def build_system() -> str:
    """Build that toplevel with this machine's busybox."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    return build(HERE / "system.nix", firmware="bios", keys="", busybox=busybox)


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A public key file."""
    return make_key(tmp_path_factory.mktemp("key"))


def make_key(directory: Path) -> Path:
    """Make a key pair; its public file."""
    path = directory / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def last(self, event: str) -> dict[str, object]:
        return [e for e in self.events if e["event"] == event][-1]


@dataclass(frozen=True)
class Bench:
    """One test's place: an image, a root to mount at, programs that come first in PATH."""

    image: Path
    root: Path
    fakes: Path
    modules: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def fake(self, name: str, script: str) -> None:
        """Put a shell script in the place of a program; `$REAL` is the real one."""
        real = shutil.which(name, path=self.path)
        file = self.fakes / name
        file.write_text(f"#!/bin/sh\nREAL={real}\n{script}\n")
        file.chmod(0o755)

    @property
    def path(self) -> str:
        return f"{STANDIN}:{os.environ['PATH']}:/usr/sbin:/sbin"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.fakes}:{self.path}",
            "PYTHONPATH": str(TOP / "installer"),
            "PARANOID_MODULES": str(self.modules),
            "HOME": "/root",
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "paranoid_install", "--root", str(self.root), *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*arguments),
            env=self.environment, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> Outcome:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return Outcome(process.returncode, out, err)

    def run_on_terminal(self, *arguments: str) -> tuple[Outcome, str]:
        """Run with pipes for the output, and a terminal that the run belongs to; what is on it."""
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *self.command(*arguments)],
            env=self.environment, stdin=theirs, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        out, err = process.communicate(timeout=300)
        os.set_blocking(ours, False)
        try:
            shown = os.read(ours, 65536).decode()
        except BlockingIOError:
            shown = ""
        os.close(theirs)
        os.close(ours)
        return Outcome(process.returncode, out, err), shown

    def run_bare(self, *words: str) -> Outcome:
        """Run a subcommand, which takes no root."""
        done = subprocess.run(
            [sys.executable, "-m", "paranoid_install", *words],
            env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        return Outcome(done.returncode, done.stdout, done.stderr)

    def left(self) -> list[str]:
        """What a run left behind: mounts below the root, loop devices of the image."""
        mounts = [m.mount_point for m in mount_table() if m.mount_point.startswith(str(self.root))]
        loops = subprocess.run(
            ["losetup", "--noheadings", "--output", "NAME", "--associated", self.image],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        return mounts + loops


@contextmanager
def make_bench(directory: Path, modules: Path = TOP / "nix") -> Iterator[Bench]:
    """A place for an install below a directory, with a copy of these modules."""
    # nixos-install refuses a root that others cannot reach, and pytest's directories are private.
    root = Path(f"/mnt/paranoid-test-{os.getpid()}-{directory.name}")
    modules = directory / "modules"
    shutil.copytree(TOP / "nix", modules)
    (modules / "impermanence").mkdir(exist_ok=True)
    script = modules / "impermanence/create-directories.bash"
    script.write_text("#!/usr/bin/env bash\n")
    # As in a store.
    script.chmod(0o555)
    (directory / "fakes").mkdir()
    bench = Bench(directory / "disk.img", root, directory / "fakes", modules)
    yield bench
    # A run that a test gave up would hold its locks against the tests that follow.
    for process in bench.started:
        process.kill()
        process.communicate()
    if root.exists():
        root.rmdir()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A place for one test alone."""
    with make_bench(tmp_path) as bench:
        yield bench


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A place for one install that several tests look at."""
    with make_bench(tmp_path_factory.mktemp("shared")) as bench:
        yield bench


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A loop device of 3 GiB, blank."""
    image = tmp_path / "other.img"
    with image.open("wb") as file:
        file.truncate(3 * 1024**3)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], capture_output=True, text=True, check=True
    ).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


@dataclass(frozen=True)
class Opened:
    """An installed image, its partitions mounted to be looked at."""

    boot: Path
    nix: Path
    table: str

    @property
    def persist(self) -> Path:
        return self.nix / "persist"


def _unmount(place: Path) -> None:
    subprocess.run(["umount", place], check=True)


@contextmanager
def opened_image(image: Path, directory: Path) -> Iterator[Opened]:
    """Mount an installed image's partitions by offset: a kernel need not read a loop's table."""
    run = subprocess.run
    table = run(["parted", "--machine", "--script", image, "unit", "B", "print"],
                capture_output=True, text=True, check=True).stdout  # fmt: skip
    places = {}
    for line in table.splitlines()[2:]:
        number, start, _end, size = line.rstrip(";").split(":")[:4]
        places[number] = (start.rstrip("B"), size.rstrip("B"))
    boot, nix = directory / "boot", directory / "nix"
    with ExitStack() as stack:
        for number, place in (("1", boot), ("2", nix)):
            place.mkdir()
            start, size = places[number]
            options = f"loop,ro,offset={start},sizelimit={size}"
            run(["mount", "--options", options, image, place], check=True)
            stack.callback(_unmount, place)
        yield Opened(boot, nix, table)
