"""What would fail long after the wipe, and can be known before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from paranoid_install.errors import CommandFailed, Refusal
from paranoid_install.layout import Layout
from paranoid_install.mounts import swap_devices
from paranoid_install.runner import Runner

_FILE_SYSTEMS = Path("/proc/filesystems")


def will_fail(runner: Runner, plan: Layout, *, built_here: bool) -> tuple[Refusal, ...]:
    """Every reason why a later step cannot succeed on this machine.

    `built_here` says that the target's configuration is built, with the live system's nixpkgs.
    """
    reasons = list(_file_systems(runner, plan))
    if built_here:
        reasons += [*_swap(), *_nixpkgs(runner)]
    return tuple(reasons)


def _file_systems(runner: Runner, plan: Layout) -> Iterator[Refusal]:
    known = {line.split()[-1] for line in _FILE_SYSTEMS.read_text(encoding="ascii").splitlines()}
    for kind in sorted({p.fs_type for p in plan.partitions} - known):
        try:
            runner.run("modprobe", "--dry-run", "--quiet", kind)
        except CommandFailed:
            problem = f"this machine's kernel has neither {kind} nor a module for it"
            yield Refusal("file-system", problem, "boot a live system that can mount it")


def _swap() -> Iterator[Refusal]:
    """nixos-generate-config writes active swap partitions down, zram aside."""
    active = sorted(s for s in swap_devices() if s.startswith("/dev/") and "/zram" not in s)
    if active:
        problem = (
            f"the swap on {', '.join(active)} is active here, would be taken into the new "
            "machine's configuration, and fail its build"
        )
        yield Refusal("swap-active", problem, "switch it off: swapoff --all")


def _nixpkgs(runner: Runner) -> Iterator[Refusal]:
    try:
        runner.run("nix-instantiate", "--find-file", "nixpkgs/nixos")
    except CommandFailed as error:
        problem = f"no nixpkgs is known to build the system from ({error.problem})"
        remedy = "set NIX_PATH=nixpkgs=…, or give --system or --flake"
        yield Refusal("nixpkgs", problem, remedy)
