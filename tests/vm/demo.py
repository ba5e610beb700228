"""The README's first command: one real install in a virtual machine, and two boots of it.

Builds the live system, makes a blank disk, runs `paranoid-install` on /dev/vda, boots the
installed disk twice from power-off, and prints what the machine said of itself. Exit code 1
when something is not as promised.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.vm.vmlab import accel, cache, debian, lab, project, store
from tests.vm.vmlab.install import (
    CANARY_IN_LOG,
    CANARY_IN_ROOT,
    LEAVE_CANARIES,
    baked,
    install,
    volatile_root_faults,
)
from tests.vm.vmlab.lab import Lab
from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qemu import Disk
from tests.vm.vmlab.results import Results

LOGS = cache.REPOSITORY / "build/try"

Made = TypeVar("Made")


def main() -> int:
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    cache.directory().mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="paranoid-try-", dir=cache.directory()) as name:
            faults = show(Path(name))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{time.monotonic() - start:.0f} s in all; logs: {LOGS}")
    for fault in faults:
        print(f"not as promised: {fault}", file=sys.stderr)
    return 1 if faults else 0


def show(scratch: Path) -> list[str]:
    """Install, boot twice, print; what is not as promised."""
    root = timed("live system of Debian's packages", debian.build)
    built = timed("test system and store, by nix-build", lambda: store.build(root))
    image = scratch / "project.squashfs"
    timed("this checkout as an image", lambda: project.build(image))
    accelerator = timed("choice of KVM or TCG", lambda: accel.choose(built.kernel))
    here = Lab(root / "root.squashfs", built, image, accelerator)

    size = "2G"
    disk = Disk(lab.blank_disk(scratch / "disk.raw"), "blank")
    options = f"--disk /dev/vda --tmpfs-size {size} {baked(here, 'bios')}"
    print(f"\nA blank disk of {lab.DISK_MIB} MiB is /dev/vda of a virtual machine ({accelerator}).")
    print("There, on the live system:\n\n  paranoid-install --disk /dev/vda --tmpfs-size 2G …\n")
    installed = timed("install", lambda: install(here, (disk,), LOGS / "install", options))
    print("\n".join(f"    {line}" for line in report_lines(installed)))
    first = timed(
        "first boot, by the disk's own boot loader",
        lambda: here.boot((disk,), LOGS / "boot-1", job=LEAVE_CANARIES),
    )
    second = timed("second boot, after power-off", lambda: here.boot((disk,), LOGS / "boot-2"))
    print("\nWhat the installed machine was seen to be:\n")
    return findings(first, second, size)


def timed(what: str, make: Callable[[], Made]) -> Made:
    """Do it, and print a line with the seconds that it took."""
    print(f"  {what} … ", end="", flush=True)
    start = time.monotonic()
    made = make()
    print(f"{time.monotonic() - start:.0f} s", flush=True)
    return made


def report_lines(installed: Results) -> list[str]:
    """The installer's lines that say when a step was done."""
    return [line for line in installed.lines("job-output") if ": done after" in line]


def findings(first: Results, second: Results, size: str) -> list[str]:
    """Print one line a promise; return those that were not kept."""
    faults = [fault for boot in (first, second) for fault in volatile_root_faults(boot, size)]
    root = second.mounts()["/"]
    flags = ", ".join(sorted(root.options & {"noexec", "nosuid", "nodev"}))
    shown = ", ".join(sorted(o for o in root.super_options if o.startswith(("size=", "mode="))))
    print(f"  /                is {root.fs_type} of {size} ({shown}), {flags}")

    if CANARY_IN_ROOT in second.lines("files-root"):
        faults.append(f"{CANARY_IN_ROOT} outlived a reboot")
    else:
        print(f"  {CANARY_IN_ROOT:<16} written at the first boot, gone at the second")

    if CANARY_IN_LOG in second.lines("files-var-log"):
        print(f"  {CANARY_IN_LOG:<16} written at the first boot, there at the second")
    else:
        faults.append(f"{CANARY_IN_LOG} is gone")

    reported = second.json("install/record.json")["host_key_fingerprints"]
    for kind, fingerprint in sorted(reported.items()):
        seen = {first.host_keys().get(kind), second.host_keys().get(kind)}
        if seen == {fingerprint}:
            print(
                f"  host key         {kind} {fingerprint}: as the install reported, at both boots"
            )
        else:
            faults.append(f"host key {kind}: reported {fingerprint}, seen {seen}")
    if not reported:
        faults.append("the install reported no host key")

    if first.text("machine-id") == second.text("machine-id"):
        print(f"  machine-id       {second.text('machine-id').strip()} at both boots")
    else:
        faults.append("machine-id changed")
    return faults


if __name__ == "__main__":
    raise SystemExit(main())
