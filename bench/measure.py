"""Runs one method on a fresh disk with cold caches, and looks at what it left."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench import scene
from bench.methods import NIX_CONFIG, Method
from bench.shell import run

_TOP = Path(__file__).resolve().parents[1]
_CADENCE = 0.02


@dataclass(frozen=True)
class Sample:
    """Wall and CPU time in seconds, and the load average of the minute before."""

    wall: float
    cpu: float
    load: float


@dataclass(frozen=True)
class Memory:
    """Peaks of a process tree in bytes: proportional (shared pages counted once) and resident."""

    proportional: int
    resident: int


def once(method: Method, source: scene.Source, scratch: Path, *, check: bool) -> Sample:
    """Time one run. With `check`, every byte that it left is compared with its registration.

    Raises RuntimeError when the method fails or leaves something wrong.
    """
    with scene.disk(scratch, disk_size(source)) as root:
        scene.cold()
        load = os.getloadavg()[0]
        before = os.times()
        start = time.monotonic()
        run("bash", "-euo", "pipefail", "-c", method.script, env=environment())
        wall = time.monotonic() - start
        after = os.times()
        if method.registers:
            _require_valid(source, root, check=check)
    cpu = after.children_user + after.children_system
    return Sample(wall, cpu - before.children_user - before.children_system, load)


def memory(method: Method, source: scene.Source, scratch: Path) -> Memory:
    """Peak memory of the method's process tree, read 50 times a second."""
    with scene.disk(scratch, disk_size(source)) as root:
        scene.cold()
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", f"{method.script}; true"],
            env={**os.environ, **environment()},
            stdout=subprocess.DEVNULL,
        )
        waiter = threading.Thread(target=process.wait)
        waiter.start()
        proportional = resident = 0
        while waiter.is_alive():
            pss, rss = _tree_memory(process.pid)
            proportional, resident = max(proportional, pss), max(resident, rss)
            waiter.join(_CADENCE)
        if process.returncode != 0:
            raise RuntimeError(f"{method.name}: exit {process.returncode}")
        _require_valid(source, root, check=False)
    return Memory(proportional, resident)


def environment() -> dict[str, str]:
    """What a method's programs find in their environment besides ours."""
    return {"NIX_CONFIG": NIX_CONFIG, "PYTHONPATH": f"{_TOP}:{_TOP / 'installer'}"}


def disk_size(source: scene.Source) -> int:
    """Room for the closure twice, as a disk has more than it needs."""
    return max(2 * source.corpus.shape.bytes + source.corpus.shape.files * 8192, 300 * 1024**2)


def _require_valid(source: scene.Source, root: Path, *, check: bool) -> None:
    wanted = source.corpus.paths
    found = run("nix-store", "--store", str(root), "--query", "--requisites", wanted[-1]).split()
    if sorted(found) != sorted(wanted):
        raise RuntimeError(f"{len(found)} paths registered instead of {len(wanted)}")
    if check:
        run("nix-store", "--store", str(root), "--verify", "--check-contents")


def _tree_memory(top: int) -> tuple[int, int]:
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                text = Path(entry.path, "stat").read_text(encoding="ascii", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    tree = {top}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in tree} - tree
        tree |= more
        grown = bool(more)
    sums = {"Pss": 0, "Rss": 0}
    for pid in tree:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in rollup.splitlines():
            key, _, value = line.partition(":")
            if key in sums:
                sums[key] += int(value.split()[0]) * 1024
    return sums["Pss"], sums["Rss"]


def machine() -> dict[str, str | int]:
    """What the figures were measured on."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": model[0] if model else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "nix": run("nix-store", "--version").strip(),
        "unsquashfs": subprocess.run(
            ["unsquashfs", "-version"], capture_output=True, text=True, check=False
        ).stdout.splitlines()[0],
    }
