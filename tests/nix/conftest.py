"""Evaluation of the Nix side, as the tests below use it.

PARANOID_NIX_BIN    directory of the nix programs; by default those in PATH
PARANOID_NIXPKGS    a nixpkgs (with lib/ and nixos/), for the tests of the modules
PARANOID_IMPERMANENCE   a source tree of nix-community/impermanence, for the same
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Nix:
    """The nix programs, run for evaluation alone."""

    instantiate: Path

    def parse(self, *files: Path) -> subprocess.CompletedProcess[str]:
        """Whether the files are Nix: return code 0, else what is wrong on stderr."""
        return self._run("--parse", *map(str, files))

    def evaluate(self, expression: str) -> Any:
        """The value of the expression, all of it forced, as JSON gives it."""
        result = self._run("--eval", "--strict", "--json", "--expr", expression)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.instantiate), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "NIX_PATH": ""},
        )


@pytest.fixture(scope="session")
def nix() -> Nix:
    directory = os.environ.get("PARANOID_NIX_BIN")
    program = shutil.which("nix-instantiate", path=directory)
    if program is None:
        pytest.skip(f"nix-instantiate is not in {directory or 'PATH'}")
    return Nix(Path(program))


@pytest.fixture(scope="session")
def library(nix: Nix) -> Callable[[str], Any]:
    """The value of an expression in which nix/lib's parts are in scope by name."""
    lib = ROOT / "nix" / "lib"
    scope = f"""
      let
        policy = import {lib}/policy.nix;
        audit = import {lib}/audit.nix {{ inherit policy; }};
        filesystems = args: import {lib}/filesystems.nix ({{ inherit policy; }} // args);
        firewall = import {lib}/firewall.nix {{ inherit policy; }};
        sshd = args: import {lib}/sshd.nix ({{ inherit policy; }} // args);
        units = import {lib}/units.nix {{ inherit policy; }};
      in
    """

    def evaluate(expression: str) -> Any:
        return nix.evaluate(scope + expression)

    return evaluate


def _tree(variable: str, marker: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    path = Path(value)
    assert (path / marker).exists(), f"{variable}={value}: has no {marker}"
    return path


@pytest.fixture(scope="session")
def nixpkgs() -> Path:
    return _tree("PARANOID_NIXPKGS", "nixos/lib/eval-config.nix")


@pytest.fixture(scope="session")
def impermanence() -> Path:
    return _tree("PARANOID_IMPERMANENCE", "nixos.nix")


@pytest.fixture(scope="session")
def machines(nix: Nix, nixpkgs: Path, impermanence: Path) -> Callable[[str], Any]:
    """One attribute of machines.nix: many machines, evaluated in one process."""
    arguments = f"{{ nixpkgs = {nixpkgs}; impermanence = {impermanence}; }}"
    results: dict[str, Any] = {}

    def evaluate(attribute: str) -> Any:
        if attribute not in results:
            expression = f"(import {Path(__file__).parent}/machines.nix {arguments}).{attribute}"
            results[attribute] = nix.evaluate(expression)
        return results[attribute]

    return evaluate


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of an outside judge; the test is skipped by its name where there is none."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find
