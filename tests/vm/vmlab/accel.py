"""KVM where a guest really runs under it, TCG elsewhere."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.vm.vmlab import cache
from tests.vm.vmlab.process import LabError

_SECONDS = 8
"""A kernel without a root file system panics within two under a KVM that works."""


def choose(kernel: Path) -> str:
    """`kvm` or `tcg`: $PARANOID_ACCEL if set, else what a probe found since the host's boot.

    /dev/kvm is no proof: on some hosts that are guests themselves, a guest hangs under it.
    """
    stated = os.environ.get("PARANOID_ACCEL")
    if stated is not None:
        if stated not in ("kvm", "tcg"):
            raise LabError(f"PARANOID_ACCEL={stated}: write kvm or tcg")
        return stated
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    known = cache.directory() / f"kvm-works-{boot}"
    if not known.exists():
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text("yes" if _guest_runs(kernel) else "no")
    return "kvm" if known.read_text() == "yes" else "tcg"


def _guest_runs(kernel: Path) -> bool:
    try:
        done = subprocess.run(
            ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256",
             "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
             "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and b"Kernel panic" in done.stdout
