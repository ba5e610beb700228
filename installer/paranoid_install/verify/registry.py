"""All checks, in the order in which they are shown."""

from __future__ import annotations

from paranoid_install.verify import (
    audit_checks,
    device_checks,
    firewall_checks,
    kernel_checks,
    mount_checks,
    nix_checks,
    persistence_checks,
    ssh_checks,
    store_checks,
    system_checks,
    unit_checks,
    user_checks,
    vpn_checks,
)
from paranoid_install.verify.check import Check

CHECKS: tuple[Check, ...] = (
    *mount_checks.CHECKS,
    *persistence_checks.CHECKS,
    *store_checks.CHECKS,
    *ssh_checks.CHECKS,
    *firewall_checks.CHECKS,
    *vpn_checks.CHECKS,
    *nix_checks.CHECKS,
    *user_checks.CHECKS,
    *audit_checks.CHECKS,
    *kernel_checks.CHECKS,
    *device_checks.CHECKS,
    *unit_checks.CHECKS,
    *system_checks.CHECKS,
)
BY_ID = {check.id: check for check in CHECKS}
