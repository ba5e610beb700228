"""hardware-configuration.nix: what nixos-generate-config wrote or a person did, and its patch."""

from paranoid_install.hardware.errors import HardwareError
from paranoid_install.hardware.patch import Patch, by_label, patch, read

__all__ = ["HardwareError", "Patch", "by_label", "patch", "read"]
