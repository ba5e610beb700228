"""Installs in the live system and what must be true of the machine they leave."""

from __future__ import annotations

from pathlib import Path

from paranoid_install.values import Size
from tests.vm.vmlab.lab import Lab
from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qemu import Disk
from tests.vm.vmlab.results import Results

CANARY_IN_ROOT = "/canary"
CANARY_IN_LOG = "/var/log/canary"

LEAVE_CANARIES = f"""
for file in {CANARY_IN_ROOT} {CANARY_IN_LOG}; do
  echo here > $file && cat $file || exit 1
done
"""
"""A job for an installed machine's first boot: it fails if a canary cannot be read back."""

_JOB = """\
set -e
# The key is made here, as an operator brings one along; the private half leaves with the report.
ssh-keygen -q -t ed25519 -N '' -C operator -f $OUT/operator
{before}
paranoid-install {options} --ssh-key $OUT/operator.pub
{after}
"""


def job(options: str, before: str = "", after: str = "") -> str:
    """The script that installs with these options of paranoid-install."""
    return _JOB.format(options=options, before=before, after=after)


def install(
    lab: Lab,
    disks: tuple[Disk, ...],
    logs: Path,
    options: str,
    *,
    firmware: str = "bios",
    memory_mib: int = 3072,
    before: str = "",
    after: str = "",
) -> Results:
    """Run a real install in the live system; LabError with its output if it does not succeed."""
    results = lab.live(
        job(options, before, after), disks, logs, firmware=firmware, memory_mib=memory_mib
    )
    if results.job_exit_code != 0:
        raise LabError(
            f"the install ended with exit code {results.job_exit_code}:\n"
            + results.text("job-output")
        )
    return results


def baked(lab: Lab, firmware: str) -> str:
    """The option that installs the system baked for this firmware."""
    return f"--system {lab.store.toplevels[firmware]}"


def volatile_root_faults(boot: Results, size: str) -> list[str]:
    """What is wrong with `/`; nothing if it is a tmpfs of this size with the policy's options."""
    root = boot.mounts()["/"]
    faults = []
    if root.fs_type != "tmpfs":
        faults.append(f"/ is {root.fs_type}, not tmpfs")
    kibibytes = f"size={Size.parse(size).bytes // 1024}k"
    if kibibytes not in root.super_options:
        faults.append(f"/ has {sorted(root.super_options)}, not {kibibytes}")
    if "mode=755" not in root.super_options:
        faults.append("/ has not mode=755")
    missing = {"noexec", "nosuid", "nodev"} - root.options
    if missing:
        faults.append(f"/ lacks {sorted(missing)}")
    return faults
