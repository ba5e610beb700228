"""Why a hardware-configuration.nix is left as it is."""

from __future__ import annotations

from paranoid_install.errors import InstallError


class HardwareError(InstallError):
    """hardware-configuration.nix cannot be patched safely; it stays as it was."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(
            "hardware-configuration.nix",
            problem,
            remedy or "run nixos-generate-config again and see what it wrote",
        )
