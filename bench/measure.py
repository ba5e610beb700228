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
from bench.methods import NIX_CONFIG, READY, Method
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
        before = os.times()
        process = _ready(method)
        scene.cold()
        load = os.getloadavg()[0]
        start = time.monotonic()
        _, err = process.communicate("\n")
        wall = time.monotonic() - start
        after = os.times()
        _require_success(method, process, err)
        if method.registers:
            _require_valid(source, root, check=check)
    cpu = after.children_user + after.children_system
    return Sample(wall, cpu - before.children_user - before.children_system, load)


def memory(method: Method, source: scene.Source, scratch: Path) -> Memory:
    """Peak memory of the method's process tree, read 50 times a second."""
    with scene.disk(scratch, disk_size(source)) as root:
        process = _ready(method)
        scene.cold()
        errors: list[str] = []
        waiter = threading.Thread(target=lambda: errors.append(process.communicate("\n")[1]))
        waiter.start()
        proportional = resident = 0
        while waiter.is_alive():
            pss, rss = _tree_memory(process.pid)
            proportional, resident = max(proportional, pss), max(resident, rss)
            waiter.join(_CADENCE)
        _require_success(method, process, *errors)
        _require_valid(source, root, check=False)
    return Memory(proportional, resident)


def _ready(method: Method) -> subprocess.Popen[str]:
    """The method's program, started, which begins when it reads a line."""
    script = method.script if method.waits else f"echo {READY}; read -r; {method.script}"
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", f"{script}; true"],
        env={**os.environ, **environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if process.stdout is None or process.stdout.readline() != f"{READY}\n":
        _, err = process.communicate()
        _require_success(method, process, err)
        raise RuntimeError(f"{method.name}: was never ready")
    return process


def _require_success(method: Method, process: subprocess.Popen[str], err: str) -> None:
    if process.returncode != 0:
        tail = "\n".join(err.splitlines()[-10:])
        raise RuntimeError(f"{method.name}: exit {process.returncode}\n{tail}")


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
    }
