"""evaluate.nix does with a configuration what NixOS's module system would, or refuses it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(
    shutil.which("nix-instantiate") is None, reason="nix-instantiate not installed (nix-bin)"
)


def nix(expression: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nix-instantiate", "--store", "dummy://", "--eval", "--strict", "--json",
         "-E", expression],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def evaluate(configuration: str) -> Any:
    """The merged options of a configuration, given as a Nix expression."""
    done = nix(f"(import {HERE}/evaluate.nix ({configuration})).config")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(configuration: str) -> str:
    done = nix(f"(import {HERE}/evaluate.nix ({configuration})).config")
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_imports_are_merged_by_key() -> None:
    assert evaluate(
        '{ imports = [ { networking.hostName = "a"; } ]; paranoid.boot.firmware = "bios"; }'
    ) == {"networking": {"hostName": "a"}, "paranoid": {"boot": {"firmware": "bios"}}}


def test_lists_are_joined() -> None:
    one = '{ boot.kernelModules = [ "a" ]; imports = [ { boot.kernelModules = [ "b" ]; } ]; }'
    assert evaluate(one) == {"boot": {"kernelModules": ["a", "b"]}}


@pytest.mark.parametrize(
    ("value", "other", "wins"),
    [
        ('lib.mkDefault "weak"', '"plain"', "plain"),
        ('"plain"', 'lib.mkForce "strong"', "strong"),
        ('lib.mkIf false "never"', '"plain"', "plain"),
        ('lib.mkMerge [ (lib.mkDefault "weak") ]', '"plain"', "plain"),
        ('"same"', '"same"', "same"),
    ],
)
def test_priorities_decide(value: str, other: str, wins: str) -> None:
    configuration = (
        f"{{ lib, ... }}: {{ networking.hostName = {value};"
        f" imports = [ {{ networking.hostName = {other}; }} ]; }}"
    )
    assert evaluate(configuration) == {"networking": {"hostName": wins}}


def test_two_different_values_are_a_conflict() -> None:
    message = refusal(
        '{ networking.hostName = "a"; imports = [ { networking.hostName = "b"; } ]; }'
    )
    assert "networking.hostName' has conflicting definitions" in message


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("services.openssh.enable = true", "services"),
        ("networking.hostname = 1", "networking.hostname"),
        ("paranoid.sized = 1", "paranoid.sized"),
    ],
)
def test_an_option_it_does_not_know_is_named(setting: str, name: str) -> None:
    assert f"the option `{name}' is not one" in refusal(f"{{ {setting}; }}")


def test_the_paranoid_modules_are_to_be_imported_once() -> None:
    done = nix(f"(import {HERE}/evaluate.nix {{ }}).paranoid")
    assert "exactly once, not 0 times" in done.stderr


def test_a_size_that_the_two_files_state_differently_is_refused() -> None:
    """hardware-configuration.nix was patched for another size than configuration.nix says."""
    configuration = f"""{{
      imports = [ {HERE.parents[1]}/nix ];
      paranoid.amnesia.size = "1G";
      paranoid.boot.firmware = "bios";
      paranoid.boot.device = "nodev";
      fileSystems."/" = {{ device = "none"; fsType = "tmpfs"; options = [ "size=2G" ]; }};
    }}"""
    expression = f"""
      (import {HERE}/system.nix {{
        evaluated = import {HERE}/evaluate.nix ({configuration});
        pieces = {{
          busybox = "/b"; kernel = "/k"; modules = "/m";
          text = name: executable: content: content;
          tree = name: files: files;
          initrd = {{ files, ... }}: files."mounts";
          run = name: environment: script: environment.initrd;
        }};
      }})
    """
    message = nix(expression).stderr
    assert "/ has more than one size" in message
    assert "size=1G" in message
    assert "size=2G" in message
