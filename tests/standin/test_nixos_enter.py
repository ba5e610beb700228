"""The stand-in for nixos-enter refuses what is no installation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("nixos-enter")


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: a mount namespace is made")
def test_a_root_without_etc_nixos_is_no_installation(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "--root", tmp_path, "-c", "true"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 126
    assert f"{tmp_path} is not a NixOS installation" in done.stderr
