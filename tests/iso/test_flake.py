"""The flake and its lock say the same, and every Nix file of the images parses."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAKE = ROOT / "flake.nix"
LOCK = ROOT / "flake.lock"

NIX_FILES = sorted(
    path
    for place in (FLAKE, ROOT / "iso", ROOT / "nix")
    for path in ([place] if place.is_file() else place.rglob("*.nix"))
)

Nix = Callable[..., subprocess.CompletedProcess[str]]


def test_the_lock_pins_every_input_by_revision_and_hash() -> None:
    nodes = json.loads(LOCK.read_text())["nodes"]
    inputs = nodes["root"]["inputs"]
    assert sorted(inputs) == ["impermanence", "nixpkgs"]
    for name in inputs.values():
        locked = nodes[name]["locked"]
        assert re.fullmatch(r"[0-9a-f]{40}", locked["rev"])
        assert re.fullmatch(r"sha256-[A-Za-z0-9+/]{43}=", locked["narHash"])
        assert locked["lastModified"] > 0


def test_the_lock_is_of_the_addresses_that_the_flake_names() -> None:
    flake = FLAKE.read_text()
    for node in json.loads(LOCK.read_text())["nodes"].values():
        if "original" not in node:
            continue
        address = node["original"]
        parts = [address["owner"], address["repo"], *([address["ref"]] if "ref" in address else [])]
        assert f'"github:{"/".join(parts)}"' in flake
        for key in ("owner", "repo", "type"):
            assert node["locked"][key] == address[key]


def test_impermanence_brings_no_inputs_of_its_own() -> None:
    assert json.loads(LOCK.read_text())["nodes"]["impermanence"]["flake"] is False
    assert re.search(r"impermanence = \{[^}]*flake = false;", FLAKE.read_text())


def test_nix_takes_the_lock_as_it_is(nix: Nix, tmp_path: Path) -> None:
    # Alone: Nix would copy everything that lies beside them.
    for file in (FLAKE, LOCK):
        shutil.copy(file, tmp_path)
    options = ["--extra-experimental-features", "nix-command flakes"]
    seen = nix("nix", *options, "flake", "metadata", "--offline", "--no-update-lock-file",
               "--store", f"{tmp_path}/root", f"path:{tmp_path}")  # fmt: skip
    assert seen.returncode == 0, seen.stderr
    assert (tmp_path / "flake.lock").read_bytes() == LOCK.read_bytes()


@pytest.mark.parametrize("path", NIX_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_it_parses(nix: Nix, path: Path) -> None:
    result = nix("nix-instantiate", "--parse", str(path))
    assert result.returncode == 0, result.stderr
