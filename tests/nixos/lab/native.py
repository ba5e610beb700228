"""The installer in its own package, on this machine's kernel, with a live system's real tools.

Nix, nixos-generate-config, nixos-install and the boot loader's installer are those of the lab's
packages; what is installed is an image file.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.nixos.lab.build import Built, Place
from tests.vm.vmlab.process import LabError

SECONDS = 600

_NIX_CONF = """\
always-allow-substitutes = true
sandbox = true
sandbox-fallback = false
sandbox-paths = /lib64/ld-linux-x86-64.so.2=/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
"""
"""The sandbox as NixOS has it. What the lab's builder has made need not be made in it again; and
Debian's C library names a loader, which make-initrd-ng copies.
"""


def install(place: Place, installer: Built, work: Path, *arguments: str) -> str:
    """Run `paranoid-install` in `work` with these arguments; what it said.

    LabError when it does not end with 0.
    """
    done = subprocess.run(
        place.root.argv(
            "env", f"NIX_PATH=nixpkgs={place.nixpkgs}", f"NIX_CONFIG={_NIX_CONF}",
            f"{installer.path}/bin/paranoid-install", *arguments,
            mounts=mounts(place, installer, work),
        ),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"exit code {done.returncode}: {done.stderr[-4000:]}")
    return done.stdout + done.stderr


def mounts(place: Place, installer: Built, work: Path) -> tuple[str, ...]:
    """bwrap's options: the builder's root with this machine's devices and a live system's tools."""
    grub = _grub(place, installer)
    return (
        # Nix's sandbox mounts a /proc of its own, which the kernel grants where one is seen whole.
        "--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--bind", "/sys", "/sys",
        # As on NixOS. Python would write into it, besides.
        "--ro-bind", str(place.root.nix / "store"), "/nix/store",
        # Compiled into Debian's grub-install.
        "--ro-bind", str(grub / "lib/grub"), "/usr/lib/grub",
        "--ro-bind", str(grub / "share/grub"), "/usr/share/grub",
        "--bind", str(work), str(work), "--chdir", str(work),
    )  # fmt: skip


def _grub(place: Place, installer: Built) -> Path:
    folders = [place.root.store(path) for path in place.root.closure(installer.path)]
    [found] = [path for path in folders if (path / "lib/grub/i386-pc/modinfo.sh").exists()]
    return found
