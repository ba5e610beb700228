"""Whether the store still is what was put into it."""

from __future__ import annotations

from paranoid_install.values import human
from paranoid_install.verify.check import Check, Result, passed, unknown, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.terms import Severity


def _is_whole(machine: Machine) -> Result:
    sample = known(machine.sample)
    which = (
        f"seed {sample.seed}: {sample.hashed} of {sample.total} paths, {human(sample.size)};"
        f" of {sample.running} that run {sample.running_hashed}"
    )
    if sample.changed:
        return unless([*sample.changed, which])
    foreign = [f"{path}: runs, and was never registered" for path in sample.foreign]
    if foreign and sample.pending:
        return unknown(*foreign, "the newest registrations are in the database's log, not read")
    if foreign:
        return unless([*foreign, which])
    return passed(which) if sample.hashed else unknown(f"nothing was hashed; {which}")


CHECKS = (
    Check("store.integrity", "a sample of the store is what was registered", Severity.CRITICAL,
          "a program that was changed in its place runs under its old name",
          "boot.nixStoreMountOpts", _is_whole),
)  # fmt: skip
