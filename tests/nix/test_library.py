"""nix/lib: pure functions over the policy, with builtins alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import policy
from tests.nix.conftest import ROOT, Nix

Library = Callable[[str], Any]
Program = Callable[[str], str]


def test_every_policy_file_is_read_the_same_by_nix_and_by_python(library: Library) -> None:
    names = {path.stem for path in policy.DIRECTORY.glob("*.toml")}
    assert library("policy") == {name: policy.load(name) for name in names}


def test_the_policy_beside_the_modules_comes_first(nix: Nix, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "policy.nix").write_text(
        (ROOT / "nix" / "lib" / "policy.nix").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "only.toml").write_text("value = 1\n", encoding="utf-8")
    assert nix.evaluate(f"import {tmp_path}/lib/policy.nix") == {"only": {"value": 1}}


def test_no_part_needs_nixpkgs() -> None:
    for path in (ROOT / "nix" / "lib").glob("*.nix"):
        assert not re.search(r"\b(lib\.|pkgs|<nixpkgs>)", path.read_text(encoding="utf-8")), path


class TestFileSystems:
    layout = policy.load("layout")

    def test_the_root_is_a_tmpfs_of_the_size_asked_for(self, library: Library) -> None:
        root = library('(filesystems { size = "50%"; }).fileSystems."/"')
        assert root == {
            "device": "none",
            "fsType": "tmpfs",
            "options": ["size=50%", "mode=755", *self.layout["root"]["options"]],
            "neededForBoot": True,
        }

    def test_the_size_is_the_policys_if_none_is_asked_for(self, library: Library) -> None:
        options = library('(filesystems { }).fileSystems."/".options')
        assert f"size={self.layout['root']['size']}" in options

    @pytest.mark.parametrize(("firmware", "kind"), [("bios", "ext4"), ("uefi", "vfat")])
    def test_boot_is_what_the_firmware_reads(
        self, library: Library, firmware: str, kind: str
    ) -> None:
        boot = library(f'(filesystems {{ firmware = "{firmware}"; }}).fileSystems."/boot"')
        assert boot["fsType"] == kind
        assert boot["device"] == "/dev/disk/by-label/boot"
        policys = self.layout["boot"]["options"] + self.layout["boot"][firmware]["options"]
        # Who cannot read it has a machine that answers all the same.
        assert boot["options"] == [*policys, "nofail"]

    def test_store_and_persist_root_are_bound_onto_themselves(self, library: Library) -> None:
        mounts = library("(filesystems { }).fileSystems")
        for path, flag in (("/nix/store", "exec"), ("/nix/persist", "noexec")):
            assert mounts[path]["device"] == path
            assert mounts[path]["fsType"] == "none"
            assert mounts[path]["options"][:2] == ["bind", flag]
            assert mounts[path]["neededForBoot"]

    def test_what_persists_is_what_the_policy_lists(self, library: Library) -> None:
        assert library("(filesystems { }).persisted") == [
            {
                "source": self.layout["persist"]["root"] + directory["path"],
                "target": directory["path"],
                "mode": directory["mode"],
            }
            for directory in self.layout["persist"]["directories"]
        ]

    def test_special_mounts_are_the_policys(self, library: Library) -> None:
        assert library("(filesystems { }).special") == {
            mount["path"]: {"options": mount["options"]}
            for mount in policy.load("mounts")["special"]
        }


class TestSshd:
    def test_lists_stay_lists_where_nixos_declares_them_and_are_text_elsewhere(
        self, library: Library
    ) -> None:
        settings = library("(sshd { }).settings")
        lists = {key for key, value in settings.items() if isinstance(value, list)}
        assert lists == {"KexAlgorithms", "Ciphers", "Macs"}

    def test_keys_given_at_install_time_are_read_beside_the_configurations(
        self, library: Library
    ) -> None:
        assert library("(sshd { }).authorizedKeysFiles") == [
            "/etc/ssh/authorized_keys.d/%u",
            policy.load("layout")["persist"]["authorizedKeys"] + "/%u",
        ]

    def test_an_algorithm_that_is_not_known_can_be_left_out(self, library: Library) -> None:
        assert library(
            '(sshd { without = [ "mlkem768x25519-sha256" "aes256-ctr" ]; }).settings'
        ) == {
            **library("(sshd { }).settings"),
            "KexAlgorithms": ["sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"],
            "Ciphers": ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com"],
        }

    def test_older_kinds_of_keys_are_taken_beside_the_others(self, library: Library) -> None:
        sshd = policy.load("sshd")
        settings = library('(sshd { olderKeys = [ "ecdsa" "rsa-2048" ]; }).settings')
        wanted = sshd["settings"]["PubkeyAcceptedAlgorithms"]
        wanted = wanted + sshd["older"]["ecdsa"]["PubkeyAcceptedAlgorithms"]
        assert settings["PubkeyAcceptedAlgorithms"].split(",") == wanted
        assert settings["RequiredRSASize"] == 2048

    def test_penalties_are_off_unless_somebody_wants_them(self, library: Library) -> None:
        assert library("(sshd { }).settings.PerSourcePenalties") is False
        assert "\nPerSourcePenalties no\n" in library("(sshd { }).text")
        wanted = library('(sshd { penalties = "crash:90"; }).settings.PerSourcePenalties')
        assert wanted == "crash:90"


class TestAudit:
    def test_the_rule_file_goes_on_after_a_bad_line_and_locks_last(self, library: Library) -> None:
        lines = library("audit.text { lock = true; }").splitlines()
        assert lines[:2] == ["-c", "-D"]
        assert lines[-1] == "-e 2"

    def test_unlocked_it_only_switches_on(self, library: Library) -> None:
        assert library("audit.text { }").splitlines()[-1] == "-e 1"

    def test_program_starts_are_recorded(self, library: Library) -> None:
        assert library("audit.rules")[:2] == [
            "-a always,exit -F arch=b64 -S execve,execveat -F key=exec",
            "-a always,exit -F arch=b32 -S execve,execveat -F key=exec",
        ]

    def test_other_rules_take_the_place_of_the_policys(self, library: Library) -> None:
        lines = library('audit.text { rules = [ "-a never,task" ]; }').splitlines()
        assert lines[-2:] == ["-a never,task", "-e 1"]

    def test_every_rule_has_its_key(self, library: Library) -> None:
        rules, keys = library("[ audit.rules audit.keys ]")
        assert {rule.rpartition("key=")[2] for rule in rules} == set(keys)


class TestUnits:
    def test_the_articles_misspelt_directive_is_found(self, library: Library) -> None:
        section = "{ ProtectKernelTuneables = true; ProtectHome = true; X-Mine = 1; }"
        assert library(f"units.unknown {section}") == ["ProtectKernelTuneables"]

    def test_a_service_owns_its_directory_and_writes_nowhere_else(self, library: Library) -> None:
        section = library('units.service "web"')
        assert section["User"] == section["Group"] == "web"
        assert section["WorkingDirectory"] == "/srv/web"
        assert section["ReadWritePaths"] == ["/srv/web"]
        assert section["ProtectSystem"] == "strict"

    def test_a_list_gives_its_directive_once_for_each_value(self, library: Library) -> None:
        text = library('units.render { A = [ "x" "y" ]; B = true; C = 0; D = ""; }')
        assert text == "A=x\nA=y\nB=true\nC=0\nD=\n"

    def test_a_network_service_is_exposed_no_more_than_the_limit(
        self, library: Library, program: Program, tmp_path: Path
    ) -> None:
        analyze = program("systemd-analyze")
        unit = tmp_path / "web.service"
        section, limit = library('[ (units.render (units.service "web")) units.exposureLimit ]')
        unit.write_text(f"[Service]\nExecStart=/nix/store/x/bin/web\n{section}", encoding="utf-8")
        assert exposed(analyze, unit) <= limit

    def test_a_service_without_hardening_is_over_the_limit(
        self, library: Library, program: Program, tmp_path: Path
    ) -> None:
        """Else the test above could not fail."""
        analyze = program("systemd-analyze")
        unit = tmp_path / "web.service"
        unit.write_text("[Service]\nExecStart=/nix/store/x/bin/web\n", encoding="utf-8")
        assert exposed(analyze, unit) > library("units.exposureLimit")


def exposed(analyze: str, unit: Path) -> float:
    """The overall exposure, 0 to 10, that `systemd-analyze security` gives the unit."""
    result = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert found, result.stdout + result.stderr
    return float(found.group(1))


class TestFirewall:
    def test_the_egress_block_is_taken_by_nft(
        self, library: Library, program: Program, tmp_path: Path
    ) -> None:
        nft, unshare = program("nft"), program("unshare")
        content, log = library(
            "[ (firewall.egress policy.firewall.egress.networks) (firewall.logRefused { }) ]"
        )
        rules = tmp_path / "rules"
        rules.write_text(
            f"table inet egress {{\n{content}}}\n"
            f"table inet refused {{\n chain input {{\n {log}\n }}\n}}\n",
            encoding="utf-8",
        )
        check_rules(unshare, nft, rules)
        assert "ip daddr { 151.101.0.0/16 }" in content
        assert "ip6 daddr {" in content

    def test_networks_of_one_kind_alone_make_no_empty_set(self, library: Library) -> None:
        assert "ip6" not in library('firewall.egress [ "198.51.100.0/24" ]')


def check_rules(unshare: str, nft: str, rules: Path) -> None:
    """Lets nft read the rules, in a network namespace that nothing depends on."""
    result = subprocess.run(
        [unshare, "--map-root-user", "--net", nft, "--check", "--file", str(rules)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in result.stderr:
        pytest.skip(f"no network namespace can be made here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
