"""What --config and --flake would let in, asked of the real Nix before anything is written.

Where no nixpkgs is at hand, a stand-in of its <nixpkgs/nixos> takes a module for its own result.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from paranoid_install import configured
from paranoid_install.configured import Configured
from paranoid_install.runner import ShRunner
from tests.nix.conftest import ROOT
from tests.unit.samples import KEY

MODULES = ROOT / "nix"
KNOWN_HOSTS = f"""
{{ ... }}:
{{
  imports = [ ./hardware-configuration.nix ];
  services.openssh.enable = true;
  # {KEY}
  programs.ssh.knownHosts."git.example.org".publicKey = "{KEY}";
  users.users.root.openssh.authorizedKeys.keys = [ ];
}}
"""
WITH_KEY = KNOWN_HOSTS.replace("keys = [ ]", f'keys = [ "{KEY}" ]')

# Enough of NixOS's defaults for a machine with sshd.
STAND_IN = """
{ configuration }:
let
  module = import configuration { };
  hardware = map import module.imports;
  keys = module.users.users.root.openssh.authorizedKeys.keys;
in
builtins.deepSeq hardware {
  config = {
    users.users.root = {
      name = "root";
      shell = "/run/current-system/sw/bin/bash";
      openssh.authorizedKeys = { inherit keys; keyFiles = [ ]; };
      hashedPasswordFile = "/nix/persist/etc/passwords/root";
    };
    users.groups = { };
    services.openssh = {
      inherit (module.services.openssh) enable;
      ports = [ 22 ];
      listenAddresses = [ ];
      settings = { PermitRootLogin = "prohibit-password"; UsePAM = true; };
      authorizedKeysFiles = [ "/etc/ssh/authorized_keys.d/%u" ];
      extraConfig = "";
    };
    services.tailscale = { enable = false; interfaceName = "tailscale0"; };
    networking.wireguard.interfaces = { };
    networking.firewall = {
      enable = true;
      allowedTCPPorts = [ 22 ];
      trustedInterfaces = [ ];
      interfaces = { };
    };
  };
}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for a configuration, with the stand-in as <nixpkgs>."""
    found = shutil.which("nix-instantiate", path=os.environ.get("PARANOID_NIX_BIN"))
    if found is None:
        pytest.skip("nix-instantiate is not there")
    monkeypatch.setenv("PATH", f"{Path(found).parent}:{os.environ['PATH']}")
    (tmp_path / "nixpkgs/nixos").mkdir(parents=True)
    (tmp_path / "nixpkgs/nixos/default.nix").write_text(STAND_IN)
    monkeypatch.setenv("NIX_PATH", f"nixpkgs={tmp_path}/nixpkgs")
    directory = tmp_path / "a config"
    directory.mkdir()
    return directory


def asked(directory: Path, text: str, modules: Path = MODULES) -> Configured:
    (directory / "configuration.nix").write_text(text)
    return configured.of_directory(ShRunner(), modules, str(directory))


def test_a_key_of_roots_counts(place: Path) -> None:
    found = asked(place, WITH_KEY)
    assert (found.ways, found.unchecked) == (("root",), "")
    assert found.passwords
    assert not found.reads_ours
    assert found.accepts is not None
    assert "ssh-ed25519" in found.accepts.algorithms


def test_the_modules_may_lie_where_the_package_has_them(place: Path, tmp_path: Path) -> None:
    modules = shutil.copytree(MODULES / "lib", tmp_path / "package/nix/lib").parent
    assert asked(place, WITH_KEY, modules).ways == ("root",)


def test_a_key_in_a_remark_or_of_another_host_does_not(place: Path) -> None:
    found = asked(place, KNOWN_HOSTS)
    assert (found.ways, found.unchecked) == ((), "")
    assert found.why == "no user who may log in has a key"


def test_the_configurations_own_hardware_file_is_read_and_nothing_is_left_beside_it(
    place: Path,
) -> None:
    (place / "hardware-configuration.nix").write_text('throw "mine"')
    assert "mine" in asked(place, WITH_KEY).unchecked
    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{ ... }: {", "syntax error"),
        ('throw "no such thing"', "no such thing"),
        ("{ ... }: { imports = [ ./none.nix ]; }", "nix-instantiate could not evaluate it"),
    ],
)
def test_what_does_not_evaluate_was_not_checked(place: Path, text: str, problem: str) -> None:
    found = asked(place, text)
    assert found.ways == ()
    assert problem in found.unchecked


def test_without_nixpkgs_or_nix_it_was_not_checked(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIX_PATH", "")
    assert "nixpkgs" in asked(place, WITH_KEY).unchecked
    monkeypatch.setenv("PATH", "/none")
    monkeypatch.setattr("paranoid_install.runner._DIRECTORIES", ())
    assert "nix-instantiate" in asked(place, WITH_KEY).unchecked


def test_a_flake_is_asked_the_same(place: Path) -> None:
    (place / "configuration.nix").write_text(WITH_KEY)
    (place / "hardware-configuration.nix").write_text("{ }")
    (place / "nixos.nix").write_text(STAND_IN)
    (place / "flake.nix").write_text(
        "{ outputs = _: { nixosConfigurations.host = "
        "import ./nixos.nix { configuration = ./configuration.nix; }; }; }"
    )
    flake = place.rename(place.with_name("flake"))
    found = configured.of_flake(ShRunner(), MODULES, f"path:{flake}#host")
    assert (found.ways, found.unchecked) == (("root",), "")
    assert configured.of_flake(ShRunner(), MODULES, f"path:{flake}#none").unchecked
    assert "names no configuration" in configured.of_flake(ShRunner(), MODULES, "f").unchecked


@pytest.mark.parametrize(("text", "ways"), [(KNOWN_HOSTS, ()), (WITH_KEY, ("root",))])
def test_with_the_real_module_system(
    place: Path,
    nixpkgs: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    ways: tuple[str, ...],
) -> None:
    monkeypatch.setenv("NIX_PATH", f"nixpkgs={nixpkgs}")
    found = asked(place, text)
    assert (found.ways, found.unchecked) == (ways, "")
    assert found.accepts is not None
    assert found.accepts.rsa_bits == 1024
