"""What the tests of the flake and the images share: a nix, and a nixpkgs where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def program(name: str) -> str | None:
    """A program of Nix, from PARANOID_NIX_BIN where that is set."""
    return shutil.which(name, path=os.environ.get("PARANOID_NIX_BIN"))


@pytest.fixture(scope="session")
def nix() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of Nix by its name and arguments; its output is captured."""
    if program("nix-instantiate") is None:
        pytest.skip("needs nix (Debian: nix-bin), or PARANOID_NIX_BIN=DIRECTORY")

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        found = program(name)
        assert found is not None, name
        return subprocess.run([found, *arguments], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def evaluate(nix: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[str], Any]:
    """The value of an expression in which `outputs` is what the flake gives, and `nixpkgs` a path.

    Nothing may be warned about: the first warning is a failure.
    """
    nixpkgs = os.environ.get("PARANOID_NIXPKGS")
    impermanence = os.environ.get("PARANOID_IMPERMANENCE")
    if not nixpkgs or not impermanence:
        pytest.skip("needs PARANOID_NIXPKGS and PARANOID_IMPERMANENCE=DIRECTORY")

    def run(expression: str) -> Any:
        bound = (
            f"let nixpkgs = {nixpkgs}; root = {ROOT}; outputs = import {ROOT}/nix/outputs.nix "
            f"{{ inherit nixpkgs; impermanence = {impermanence}; }}; in {expression}"
        )
        result = nix("nix-instantiate", "--eval", "--strict", "--json", "--expr", bound)
        assert result.returncode == 0, result.stderr
        assert "evaluation warning" not in result.stderr, result.stderr
        return json.loads(result.stdout)

    return run
