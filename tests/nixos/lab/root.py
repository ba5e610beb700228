"""The builder's root: Debian testing with its own Nix, entered in namespaces of its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.vm.vmlab import cache, debian
from tests.vm.vmlab.process import LabError

PACKAGES = Path(__file__).parents[1] / "builder-packages.txt"

SUITE = "testing"

_NIX_CONF = """\
build-users-group =
experimental-features = nix-command
filter-syscalls = false
max-jobs = 2
sandbox = false
substituters =
"""
"""Unprivileged builders and the sandbox are off: what lays packages out is Debian's own."""


APART = ("--unshare-pid", "--proc", "/proc", "--dev", "/dev")
"""A builder sees no process and no device of this machine."""


@dataclass(frozen=True)
class Root:
    """`tree` is made once; `nix` is its /nix, which grows with every build.

    `shared` are directories of this machine that are there inside by the same names, so that an
    expression means the same on both sides.
    """

    tree: Path
    nix: Path
    shared: tuple[Path, ...]

    def run(self, *argv: str | Path, seconds: float = 3600, log: Path | None = None) -> str:
        """Run a program inside as root; its standard output. What it says goes to `log`, too."""
        inside = self.argv(*map(str, argv))
        result = subprocess.run(
            inside,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        if log is not None:
            log.write_text(result.stderr)
        if result.returncode != 0:
            raise LabError(f"{' '.join(map(str, argv))}: {result.stderr.strip()[-4000:]}")
        return result.stdout

    def closure(self, path: str) -> list[str]:
        """A store path and all that it refers to."""
        return self.run("nix-store", "--query", "--requisites", path).split()

    def store(self, path: str) -> Path:
        """Where a store path lies outside."""
        return self.nix / path.removeprefix("/nix/")

    def argv(self, *argv: str, mounts: tuple[str, ...] = APART) -> list[str]:
        """What `run` runs; `mounts` are bwrap's options for what is beside the tree and /nix."""
        return [
            "bwrap", "--die-with-parent", "--clearenv", "--cap-add", "ALL",
            "--bind", str(self.tree), "/", "--bind", str(self.nix), "/nix",
            "--perms", "1777", "--tmpfs", "/tmp", "--tmpfs", "/run", *mounts,
            *(word for path in self.shared for word in ("--bind", str(path), str(path))),
            "--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf",
            "--setenv", "HOME", "/root", "--setenv", "LC_ALL", "C.UTF-8",
            "--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin",
            *argv,
        ]  # fmt: skip


def build(*shared: Path) -> Root:
    """Made by mmdebstrap where it is not in the cache: two minutes.

    `shared` is for Root, beside the cache and the checkout.
    """
    name = cache.key(SUITE, "\n".join(debian.listed(PACKAGES)), _NIX_CONF)
    tree = cache.build("nixos-root", name, _make) / "tree"
    nix = cache.directory() / f"nixos-store-{name}"
    nix.mkdir(exist_ok=True)
    everywhere = {cache.directory(), cache.REPOSITORY, *shared}
    return Root(tree, nix, tuple(sorted(everywhere)))


def _make(work: Path) -> None:
    tree = work / "tree"
    debian.bootstrap(
        tree,
        debian.listed(PACKAGES),
        # Where the clock is behind, the lists of testing come from the future.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::Check-Date "false"',
        suite=SUITE,
    )
    (tree / "nix").mkdir(exist_ok=True)
    (tree / "etc/nix").mkdir(exist_ok=True)
    (tree / "etc/nix/nix.conf").write_text(_NIX_CONF)
