"""hardware-configuration.nix: what nixos-generate-config wrote or a person did, and its patch."""

from paranoid_install.hardware.errors import HardwareError
from paranoid_install.hardware.patch import Patch, patch, read

__all__ = ["HardwareError", "Patch", "patch", "read"]
