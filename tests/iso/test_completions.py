"""The completion of the shells that the package installs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paranoid_install.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def completion(shell: str) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "nix/completions.py", shell],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "installer")},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_every_setting_is_completed(shell: str) -> None:
    words = completion(shell)
    for setting in SETTINGS:
        assert (f"-l {setting.name} " if shell == "fish" else f"--{setting.name}") in words


def test_bash_offers_what_begins_as_the_word_does() -> None:
    asked = (
        completion("bash")
        + 'compgen -W "$(complete -p paranoid-install | cut -d"\'" -f2)" -- --tmp'
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--tmpfs-size"]
