"""The policy data: complete, free of contradictions, and each value said once."""

from __future__ import annotations

import re
from typing import Any

import pytest

from paranoid_install import policy

PERSIST = policy.load("layout")["persist"]["root"]
FILES = sorted(path.stem for path in policy.DIRECTORY.glob("*.toml"))


def strings(value: Any) -> list[str]:
    """All strings in a policy value, keys of tables not among them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [found for inner in value.values() for found in strings(inner)]
    if isinstance(value, list):
        return [found for inner in value for found in strings(inner)]
    return []


@pytest.mark.parametrize("name", FILES)
def test_nothing_persists_beside_the_persist_root(name: str) -> None:
    for text in strings(policy.load(name)):
        if "persist" in text and "/" in text and " " not in text:
            assert text.removeprefix("-").startswith(PERSIST), text


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_is_for(name: str) -> None:
    first = (policy.DIRECTORY / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")


class TestSysctl:
    settings = policy.load("sysctl")["setting"]

    def test_each_has_a_reason_and_says_what_it_breaks(self) -> None:
        for setting in self.settings:
            assert set(setting) == {"key", "value", "reason", "breaks"}
            assert setting["reason"]
            assert setting["breaks"]

    def test_each_is_set_once(self) -> None:
        keys = [setting["key"] for setting in self.settings]
        assert len(keys) == len(set(keys))

    def test_keys_are_kernel_settings(self) -> None:
        for setting in self.settings:
            assert re.fullmatch(r"(dev|fs|kernel|net|user|vm)(\.[a-z0-9_]+)+", setting["key"])

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("vm.memfd_noexec", 1),
            ("kernel.kptr_restrict", 2),
            ("kernel.yama.ptrace_scope", 2),
            ("kernel.io_uring_disabled", 2),
            ("kernel.kexec_load_disabled", 1),
            ("dev.tty.legacy_tiocsti", 0),
        ],
    )
    def test_the_hard_ones_are_there(self, key: str, value: int) -> None:
        assert {setting["key"]: setting["value"] for setting in self.settings}[key] == value


class TestKernel:
    kernel = policy.load("kernel")

    def test_each_parameter_has_a_reason_and_says_what_it_breaks(self) -> None:
        for parameter in self.kernel["parameter"]:
            assert set(parameter) - {"value"} == {"name", "reason", "breaks"}

    def test_no_module_is_named_twice(self) -> None:
        names = [name for entry in self.kernel["module"] for name in entry["names"]]
        assert len(names) == len(set(names))

    def test_modules_that_the_machine_needs_are_not_blocked(self) -> None:
        names = {name for entry in self.kernel["module"] for name in entry["names"]}
        assert not names & {"ext4", "vfat", "tun", "wireguard", "nf_tables", "erofs", "overlay"}


class TestSsh:
    sshd = policy.load("sshd")

    @pytest.mark.parametrize(
        "key",
        [
            "PasswordAuthentication",
            "KbdInteractiveAuthentication",
            "AllowTcpForwarding",
            "AllowAgentForwarding",
            "AllowStreamLocalForwarding",
            "X11Forwarding",
            "PermitTunnel",
            "PermitEmptyPasswords",
        ],
    )
    def test_is_off(self, key: str) -> None:
        assert self.sshd["settings"][key] is False

    def test_a_public_key_is_the_only_proof(self) -> None:
        assert self.sshd["settings"]["AuthenticationMethods"] == "publickey"

    def test_a_jump_host_changes_forwarding_and_nothing_else(self) -> None:
        assert set(self.sshd["jumpHost"]) == {"AllowTcpForwarding", "DisableForwarding"}
        assert self.sshd["jumpHost"]["AllowTcpForwarding"] == "local"

    def test_no_setting_is_said_twice_in_another_case(self) -> None:
        keys = [key.lower() for key in self.sshd["settings"]]
        assert len(keys) == len(set(keys))

    def test_home_directories_hold_no_keys(self) -> None:
        assert all(path.startswith("/etc/") for path in self.sshd["authorizedKeysFiles"])


class TestAudit:
    audit = policy.load("audit")

    def test_every_program_start_is_recorded_whatever_its_call_and_architecture(self) -> None:
        (rule,) = [rule for rule in self.audit["rule"] if rule["key"] == "exec"]
        assert set(rule["syscalls"]) == {"execve", "execveat"}
        assert set(rule["architectures"]) == {"b64", "b32"}
        assert rule["fields"] == []

    def test_no_rule_watches_a_path(self) -> None:
        """A watch on a path that isn't there doesn't load (auditctl(8), -w)."""
        for rule in self.audit["rule"]:
            assert set(rule) == {"key", "why", "architectures", "syscalls", "fields"}
            assert not any(field.startswith(("path=", "dir=")) for field in rule["fields"])

    def test_a_full_backlog_neither_loses_at_once_nor_hangs_for_minutes(self) -> None:
        assert self.audit["backlogLimit"] >= 8192
        assert 0 < self.audit["backlogWaitTime"] < 15000

    def test_auditd_is_warned_before_it_stops(self) -> None:
        daemon = self.audit["daemon"]
        assert daemon["space_left"] > daemon["admin_space_left"]


class TestMounts:
    layout = policy.load("layout")
    mounts = policy.load("mounts")

    def test_only_the_store_executes(self) -> None:
        for options in (
            self.layout["root"]["options"],
            self.layout["boot"]["options"],
            self.layout["nix"]["options"],
            self.layout["persist"]["options"],
            self.mounts["hugepages"]["options"],
            self.mounts["userRuntime"]["options"],
            *(mount["options"] for mount in self.mounts["special"]),
        ):
            assert "noexec" in options
            assert "nosuid" in options
        assert "exec" in self.layout["store"]["options"]

    def test_set_uid_programs_cannot_be_added_to(self) -> None:
        assert "ro" in self.mounts["wrappers"]["options"]

    def test_the_user_and_group_numbers_persist(self) -> None:
        """/var/lib/nixos holds them; files would change owner at the next boot."""
        paths = [directory["path"] for directory in self.layout["persist"]["directories"]]
        assert any("/var/lib/nixos".startswith(path) for path in paths)


class TestUnits:
    units = policy.load("units")
    known = policy.load("directives")["service"]

    @pytest.mark.parametrize("name", ["service", "existing"])
    def test_systemd_knows_every_directive(self, name: str) -> None:
        assert set(self.units["sets"][name]) <= set(self.known)

    def test_the_articles_misspelling_is_unknown(self) -> None:
        assert "ProtectKernelTuneables" not in self.known
        assert "ProtectKernelTunables" in self.known

    def test_known_directives_are_sorted_and_said_once(self) -> None:
        assert self.known == sorted(set(self.known))

    @pytest.mark.parametrize("name", ["service", "existing"])
    @pytest.mark.parametrize(
        "directive",
        [
            "ProtectSystem",
            "ProtectHome",
            "NoNewPrivileges",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "InaccessiblePaths",
        ],
    )
    def test_the_articles_directives_are_all_there(self, name: str, directive: str) -> None:
        assert self.units["sets"][name][directive]

    def test_the_persist_root_is_hidden_from_services(self) -> None:
        for hardening in self.units["sets"].values():
            assert [path.removeprefix("-") for path in hardening["InaccessiblePaths"]] == [PERSIST]

    def test_the_milder_set_asks_for_nothing_that_the_strict_one_leaves_open(self) -> None:
        assert set(self.units["sets"]["existing"]) <= set(self.units["sets"]["service"])


def test_only_root_is_trusted_by_nix() -> None:
    nix = policy.load("nix")
    assert nix["trustedUsers"] == nix["allowedUsers"] == ["root"]
    assert nix["settings"]["sandbox"]
    assert nix["settings"]["require-sigs"]
    assert not nix["settings"]["sandbox-fallback"]


def test_no_setting_of_nix_is_one_of_its_experiments() -> None:
    """NixOS builds nix.conf only if nix takes all of it, and flakes are not switched on there."""
    experiments = {"accept-flake-config", "commit-lock-file-summary", "flake-registry"}
    assert not experiments & set(policy.load("nix")["settings"])


def test_the_two_ways_in_are_two_networks() -> None:
    vpn = policy.load("vpn")
    assert vpn["tailscale"]["interface"] != vpn["wireguard"]["interface"]
    assert vpn["tailscale"]["port"] != vpn["wireguard"]["port"]


def test_what_a_power_cut_loses_is_bounded() -> None:
    journal = policy.load("logs")["journal"]
    assert journal["Storage"] == "persistent"
    assert int(journal["SyncIntervalSec"].removesuffix("s")) <= 10
    assert journal["RateLimitBurst"] == 0
