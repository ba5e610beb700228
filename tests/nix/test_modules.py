"""The modules, judged by the real module system of the nixpkgs at hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import policy
from paranoid_install.configuration import Host, configuration
from paranoid_install.layout import Firmware
from tests.nix.conftest import ROOT, Nix
from tests.nix.test_library import check_rules, exposed
from tests.ssh.server import too_new

Machines = Callable[[str], Any]
Library = Callable[[str], Any]
Program = Callable[[str], str]

SUBJECTS = sorted(path.stem for path in (ROOT / "nix" / "modules").glob("*.nix"))
VARIANTS = (
    "builds",
    "console",
    "journalUpload",
    "lockdown",
    "lowPort",
    "profile",
    "uefi",
    "wheel",
)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_module_is_usable_alone(machines: Machines, subject: str) -> None:
    verdict = machines("alone")[subject]
    assert verdict["failed"] == []
    assert verdict["warnings"] == []
    assert verdict["drvPath"].endswith(".drv")


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_together_in_their_variants(machines: Machines, variant: str) -> None:
    verdict = machines("variants")[variant]
    assert verdict["failed"] == []
    assert verdict["warnings"] == []
    assert verdict["drvPath"].endswith(".drv")


# The machine, and what its refusal has to say.
REFUSALS = {
    "diskOnUefi": "paranoid.boot: device is /dev/vda",
    "emptyPassword": "paranoid.users: .* is set for root",
    "executableDisk": "paranoid.noexec: programs could be started from /data",
    "grubPasswordOnUefi": "paranoid.boot: passwordFile is for GRUB",
    "hardenNobody": "paranoid.harden: nothing defines the unit ngnix",
    "initialPassword": "paranoid.users: .* is set for root",
    "logsInTheClear": "paranoid.logs: url is .*, and logs leave the machine over https only",
    "misspeltSetting": "paranoid.services.web.settings.ProtectKernelTuneables",
    "misspeltUnit": "web.service: ProtectKernelTuneables",
    "noNixFileSystem": "paranoid.noexec: /nix is no file system of its own",
    "keysOnDiskOfNobody": "paranoid.access: .* root is not let in: PermitRootLogin is no",
    "noShell": "paranoid.access: .* backup is not let in: its login shell is none",
    "noSshAtAll": "paranoid.access: no way into this machine remains: the ssh daemon is off",
    "nobodyHoldsAKey": "paranoid.access: .* no user who may log in has a key",
    "onLoopback": "paranoid.access: .* listens on the machine's own loopback alone",
    "portsWithoutNetwork": "paranoid.services.web: it has ports but no network",
    "profileWithoutKeys": "paranoid.access: .* no user who may log in has a key",
    "rootIsNotTmpfs": "paranoid.amnesia: / is of type ext4, not tmpfs",
    "rootMayNotLogIn": "paranoid.access: .* root is not let in: PermitRootLogin is no",
    "shortKey": "paranoid.access: .* sshd takes RSA keys of 3072 bits and more, and it has 2048",
    "scriptAndPackage": "paranoid.services.web: give either script or package",
    "swapInTheClear": "paranoid.amnesia: what is in memory would be written to /dev/vda3",
    "tmpOnTmpfs": "paranoid.noexec: boot.tmp.useTmpfs",
    "userNamespaces": "paranoid.kernel: maxUserNamespaces is 0, but PrivateUsers is set for web",
    "tokenWithoutWebhook": "paranoid.watch: webhookTokenFile is set, and no webhook",
    "vpnOnlyWithoutVpn": "paranoid.access: .* no network reaches the ssh daemon",
    "watchWithoutAudit": "paranoid.watch: nothing is audited",
    "watchWithoutProgram": "paranoid.watch: the package set has no paranoid-install",
    "wireguardWithoutPeers": "paranoid.access: .* no network reaches the ssh daemon",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_is_refused_and_says_why(machines: Machines, name: str) -> None:
    messages = [" ".join(message.split()) for message in machines("refusals")[name]]
    assert any(re.search(REFUSALS[name], message) for message in messages), messages


EXCEPTIONS = (
    "anotherUser",
    "encryptedSwap",
    "executableDiskNamed",
    "newDirective",
    "shortKeyAdmitted",
)


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_is_accepted_once_the_exception_is_said(machines: Machines, name: str) -> None:
    assert machines("refusals")[name] == []


def test_every_refusal_is_looked_at(machines: Machines) -> None:
    assert set(machines("refusals")) == {*REFUSALS, *EXCEPTIONS}


def test_a_persist_root_on_a_partition_of_its_own_is_mounted_not_bound(machines: Machines) -> None:
    options = machines("ownPersist")
    assert "bind" not in options
    assert {"x-initrd.mount", "nosuid", "nodev"} <= set(options)


def test_without_impermanence_nothing_would_persist(machines: Machines) -> None:
    (message,) = machines("withoutImpermanence")
    assert message.startswith("paranoid.amnesia: impermanence is not imported")


@pytest.mark.parametrize(
    "name",
    [
        "destination",
        "device",
        "firmware",
        "port",
        "rate",
        "secretAsPath",
        "secretInStore",
        "size",
    ],
)
def test_a_bad_value_is_not_taken(machines: Machines, name: str) -> None:
    assert machines("rejects")[name]


def test_a_good_value_is_taken(machines: Machines) -> None:
    assert not machines("rejects")["nothing"]


def test_every_option_says_what_it_is_for_its_default_and_an_example(machines: Machines) -> None:
    options = machines("options")
    assert len(options) > 60
    # A service's own description is all that some of its fields have to say.
    for option in options:
        assert option["description"], option
        assert option["hasExample"], option


@pytest.fixture(scope="module")
def meeka(machines: Machines) -> Any:
    return machines("meeka")


class TestMeeka:
    """The example host, with everything on."""

    def test_it_evaluates_without_a_warning(self, meeka: Any) -> None:
        assert meeka["warnings"] == []
        assert meeka["failed"] == []
        assert "-nixos-system-meeka-" in meeka["drvPath"]

    def test_file_systems_are_those_that_the_installer_mounts(
        self, meeka: Any, library: Library
    ) -> None:
        declared = library("(filesystems { }).fileSystems")
        assert set(meeka["fileSystems"]) == set(declared)
        for path, expected in declared.items():
            found = meeka["fileSystems"][path]
            assert found["fsType"] == expected["fsType"], path
            assert found["neededForBoot"] == expected["neededForBoot"], path
            initrd = ["x-initrd.mount"] if expected["neededForBoot"] else []
            assert found["options"] == initrd + expected["options"], path

    def test_devices_are_those_of_hardware_configuration(self, meeka: Any) -> None:
        for path in ("/boot", "/nix"):
            assert meeka["fileSystems"][path]["device"].startswith("/dev/disk/by-uuid/")

    def test_special_mounts_carry_the_policys_flags_and_no_flag_twice(
        self, meeka: Any, library: Library
    ) -> None:
        for path, mount in library("(filesystems { }).special").items():
            options = meeka["special"][path]
            assert set(mount["options"]) <= set(options), path
            assert len(options) == len(set(options)), path

    def test_what_persists_is_the_policys(self, meeka: Any) -> None:
        persist = policy.load("layout")["persist"]
        assert meeka["persisted"] == [directory["path"] for directory in persist["directories"]]
        assert meeka["persistedFiles"] == persist["files"]

    def test_the_toplevel_tells_the_installer_its_layout(self, meeka: Any) -> None:
        assert json.loads(meeka["layout"]) == {
            "version": 1,
            "firmware": "bios",
            "tmpfsSize": "2G",
            "labels": {"boot": "boot", "nix": "nix"},
            "authorizedKeysDirectory": "/nix/persist/etc/ssh/authorized_keys.d",
            "passwordsDirectory": "/nix/persist/etc/passwords",
            "bootDevice": "/dev/vda",
            "keysFrom": "",
        }

    def test_grub_is_written_to_the_disk_that_was_named(self, meeka: Any) -> None:
        assert meeka["grub"] == {"enable": True, "devices": ["/dev/vda"]}

    def test_the_users_runtime_directory_is_closed_after_it_is_mounted(self, meeka: Any) -> None:
        assert re.search(
            r"^ExecStartPost=\S+/mount -o remount,bind,noexec,nosuid,nodev /run/user/%i$",
            meeka["units"]["user-runtime-dir@"],
            re.MULTILINE,
        )

    def test_the_wrappers_are_read_only_but_while_they_are_made(self, meeka: Any) -> None:
        text = meeka["units"]["suid-sgid-wrappers"]
        assert re.search(r"^ExecStartPre=\S+/mount -o remount,bind,rw,nodev /run/w", text, re.M)
        assert re.search(r"^ExecStopPost=\S+/mount -o remount,bind,ro,nodev /run/w", text, re.M)

    def test_huge_pages_are_no_way_around(self, meeka: Any) -> None:
        assert "Options=noexec,nosuid,nodev" in meeka["hugepages"]

    def test_systemd_never_gives_up_on_the_ssh_daemon(self, meeka: Any) -> None:
        unit = meeka["units"]["sshd"].splitlines()
        assert {"StartLimitIntervalSec=0", "Restart=always", "RestartSec=5"} <= set(unit)

    def test_sshd_means_what_the_policy_says(
        self, meeka: Any, program: Program, tmp_path: Path
    ) -> None:
        effective = effective_sshd(meeka["ssh"], program, tmp_path)
        assert effective["passwordauthentication"] == "no"
        assert effective["kbdinteractiveauthentication"] == "no"
        assert effective["authenticationmethods"] == "publickey"
        assert effective["allowtcpforwarding"] == "no"
        assert effective["allowagentforwarding"] == "no"
        assert effective["allowstreamlocalforwarding"] == "no"
        assert effective["disableforwarding"] == "yes"
        assert effective["x11forwarding"] == "no"
        assert effective["permittunnel"] == "no"
        assert "subsystem" not in effective
        assert effective["authorizedkeysfile"].split() == [
            "/nix/persist/etc/ssh/authorized_keys.d/%u",
            "/etc/ssh/authorized_keys.d/%u",
        ]

    def test_host_keys_are_where_they_persist(self, meeka: Any) -> None:
        assert meeka["ssh"]["hostKeys"] == policy.load("layout")["hostKeys"]

    def test_the_firewall_opens_ssh_on_the_private_networks_alone(self, meeka: Any) -> None:
        content = meeka["nftables"]["nixos-fw"]["content"]
        opened = re.findall(r"^(.*\bdport \{ [0-9, ]+ \} accept)$", content, re.MULTILINE)
        assert [line.strip() for line in opened] == [
            "udp dport { 51820 } accept",
            "iifname tailscale0 tcp dport { 22, 80 } accept",
            "iifname wg0 tcp dport { 22 } accept",
        ]
        assert 'iifname { "lo" } accept comment "trusted interfaces"' in content
        assert "type filter hook input priority filter; policy drop;" in content

    def test_what_may_listen_is_written_where_verify_reads_it(self, meeka: Any) -> None:
        declared = json.loads(meeka["listeners"])
        assert declared["version"] == 1
        ssh = [entry for entry in declared["listeners"] if entry["port"] == 22]
        assert {name for entry in ssh for name in entry["interfaces"]} == {"tailscale0", "wg0"}
        assert all(entry["interfaces"] for entry in ssh)

    def test_refused_connections_are_logged_at_a_bounded_rate(self, meeka: Any) -> None:
        content = meeka["nftables"]["nixos-fw"]["content"]
        (line,) = [line for line in content.splitlines() if "refused connection" in line]
        assert "limit rate 10/minute burst 20 packets log" in line
        assert content.index("dport { 22 } accept") < content.index("refused connection")

    def test_nft_takes_every_table(self, meeka: Any, program: Program, tmp_path: Path) -> None:
        rules = tmp_path / "rules"
        rules.write_text(
            "".join(
                f"table {table['family']} {name} {{\n{table['content']}\n}}\n"
                for name, table in meeka["nftables"].items()
            ),
            encoding="utf-8",
        )
        assert set(meeka["nftables"]) == {"nixos-fw", "paranoid-egress"}
        check_rules(program("unshare"), program("nft"), rules)

    def test_the_binary_cache_has_no_address(self, meeka: Any) -> None:
        assert meeka["hosts"]["0.0.0.0"] == ["cache.nixos.org"]

    def test_audit_rules_are_the_policys_and_locked(self, meeka: Any, library: Library) -> None:
        assert meeka["auditRules"] == library("audit.text { lock = true; }")
        assert re.fullmatch(r"-\S+/auditctl -R \S+", meeka["auditExec"])

    def test_missing_audit_rules_fail_a_unit_and_are_named(
        self, meeka: Any, tmp_path: Path
    ) -> None:
        script = meeka["scripts"]["paranoid-audit-check"]
        auditctl = tmp_path / "auditctl"
        script = re.sub(r"/nix/store/\S+/auditctl", str(auditctl), script)
        all_rules = "\n".join(line for line in meeka["auditRules"].splitlines() if "-S" in line)
        for loaded, code, said in (
            (all_rules, 0, ""),
            (all_rules.replace("key=kexec", ""), 1, "no rule is loaded with the key: kexec\n"),
            ("No rules", 1, "no rule is loaded with the key: exec modules kexec ptrace\n"),
        ):
            auditctl.write_text(f"#!/bin/sh\ncat <<'END'\n{loaded}\nEND\n", encoding="utf-8")
            auditctl.chmod(0o755)
            result = subprocess.run(
                ["bash", "-e"], input=script, capture_output=True, text=True, check=False
            )
            assert result.returncode == code
            assert said in result.stderr

    @pytest.mark.parametrize("name", ["paranoid-audit-check", "paranoid-lock-modules"])
    def test_scripts_of_units_are_clean(self, meeka: Any, program: Program, name: str) -> None:
        lint(program("shellcheck"), meeka["scripts"][name])

    def test_audit_is_on_from_the_first_process(self, meeka: Any) -> None:
        assert {"audit=1", "audit_backlog_limit=8192"} <= set(meeka["kernelParams"])

    def test_sysctls_are_the_policys(self, meeka: Any) -> None:
        for setting in policy.load("sysctl")["setting"]:
            assert meeka["sysctl"][setting["key"]] == setting["value"], setting["key"]

    def test_blocked_modules_cannot_be_loaded_by_name_either(self, meeka: Any) -> None:
        assert re.search(r"^install dccp /nix/store/\S+/false$", meeka["modprobe"], re.MULTILINE)

    def test_only_root_uses_nix_and_nothing_is_built(self, meeka: Any) -> None:
        assert meeka["nix"]["allowed-users"] == ["root"]
        assert meeka["nix"]["trusted-users"] == ["root"]
        assert meeka["nix"]["max-jobs"] == 0

    def test_the_password_check_is_the_one_set_uid_program(self, meeka: Any) -> None:
        assert meeka["wrappers"] == ["unix_chkpwd"]

    def test_no_program_lies_ready_that_nobody_asked_for(self, meeka: Any) -> None:
        assert not {"perl", "rsync", "strace", "nano", "sudo", "kexec-tools"} & set(
            meeka["packages"]
        )

    def test_passwords_are_hashes_on_the_disk(self, meeka: Any) -> None:
        assert meeka["users"] == {"root": "/nix/persist/etc/passwords/root"}
        assert meeka["mutableUsers"] is False

    @pytest.mark.parametrize(("unit", "limit"), [("web", 1.5), ("janitor", 0.6)])
    def test_its_services_are_exposed_no_more_than_the_limit(
        self, meeka: Any, program: Program, tmp_path: Path, unit: str, limit: float
    ) -> None:
        path = tmp_path / f"{unit}.service"
        path.write_text(meeka["units"][unit], encoding="utf-8")
        assert exposed(program("systemd-analyze"), path) <= limit

    def test_a_service_listens_on_its_own_ports_alone(self, meeka: Any) -> None:
        lines = meeka["units"]["web"].splitlines()
        assert "SocketBindDeny=any" in lines
        assert [line for line in lines if line.startswith("SocketBindAllow")] == [
            "SocketBindAllow=tcp:8080"
        ]

    def test_a_hardened_unit_of_another_module_keeps_its_own_word(self, meeka: Any) -> None:
        lines = meeka["units"]["nginx"].splitlines()
        assert "ProtectSystem=strict" in lines
        assert "User=nginx" in lines
        assert "InaccessiblePaths=-/nix/persist" in lines
        assert "KeyringMode=private" in lines

    def test_each_service_has_a_directory_of_its_own(self, meeka: Any) -> None:
        for name in ("web", "janitor"):
            rule = meeka["tmpfiles"][f"/srv/{name}"]["d"]
            assert (rule["mode"], rule["user"], rule["group"]) == ("0750", name, name)

    def test_logs_leave_over_tls_with_a_certificate_and_a_buffer_on_the_disk(
        self, meeka: Any
    ) -> None:
        sink = meeka["vector"]["sinks"]["collector"]
        assert sink["uri"].startswith("https://")
        assert set(sink["tls"]) == {"key_file", "crt_file", "ca_file"}
        assert sink["buffer"]["type"] == "disk"
        assert sink["buffer"]["when_full"] == "block"
        assert meeka["vector"]["data_dir"].startswith("/var/lib/")

    def test_the_journal_is_bounded_and_written_out_soon(self, meeka: Any) -> None:
        lines = meeka["journald"].splitlines()
        assert "SystemMaxUse=1G" in lines
        assert "SyncIntervalSec=10s" in lines

    def test_the_virus_scan_runs_by_the_clock(self, meeka: Any) -> None:
        assert meeka["timers"]["paranoid-antivirus"] == "*-*-* 04:00:00"
        assert meeka["timers"]["clamav-freshclam"] == "hourly"


class TestBreakGlass:
    """The boot entry of the example host."""

    @pytest.fixture
    def system(self, meeka: Any) -> Any:
        return meeka["breakGlass"]

    def test_it_evaluates_without_a_warning(self, system: Any) -> None:
        assert system["failed"] == []
        assert system["warnings"] == []

    def test_programs_start_from_everywhere_and_the_root_is_still_mounted_in_the_initrd(
        self, system: Any
    ) -> None:
        assert system["root"] == ["x-initrd.mount", "size=2G", "mode=755", "nosuid", "nodev"]
        assert system["nix"] == ["x-initrd.mount", "nosuid", "nodev"]

    def test_what_stands_in_the_way_of_repairs_is_off(self, system: Any) -> None:
        assert system["auditRules"].splitlines()[-1] == "-e 1"
        assert not system["locksModules"]
        assert system["maxJobs"] == "auto"

    def test_the_audit_and_the_ssh_daemon_stay_as_they_are(self, system: Any) -> None:
        assert "key=exec" in system["auditRules"]
        assert system["ssh"] == "publickey"

    def test_it_says_so_loudly_and_on_record(self, system: Any) -> None:
        breakglass = policy.load("breakglass")
        assert breakglass["notice"] in system["motd"]
        assert f"MESSAGE_ID={breakglass['messageId']}\n" in system["record"]
        assert breakglass["record"] in system["record"]

    def test_its_script_is_clean(self, system: Any, program: Program) -> None:
        lint(program("shellcheck"), system["record"])


class TestBuilder:
    """A UEFI machine that may build, as a jump host on a trusted tailnet."""

    @pytest.fixture
    def builder(self, machines: Machines) -> Any:
        return machines("builder")

    def test_boot_is_readable_by_root_alone(self, builder: Any) -> None:
        assert {"fmask=0077", "dmask=0077", "noexec"} <= set(builder["boot"])

    def test_builds_get_the_one_writable_place_that_executes(self, builder: Any) -> None:
        assert builder["builds"] == ["bind", "exec", "nosuid", "nodev"]
        assert builder["nix"]["build-dir"] == "/nix/var/nix/builds"
        assert builder["nix"]["max-jobs"] == "auto"

    def test_systemd_boot_has_no_editor_and_touches_no_variable(self, builder: Any) -> None:
        assert builder["loader"] == {
            "enable": True,
            "editor": False,
            "configurationLimit": 5,
            "canTouchEfiVariables": False,
            "efiSysMountPoint": "/boot",
            "grub": False,
        }

    def test_a_jump_host_forwards_to_its_destinations_alone(self, builder: Any) -> None:
        assert builder["ssh"]["AllowTcpForwarding"] == "local"
        assert builder["ssh"]["PermitOpen"] == "10.0.0.7:22"
        assert builder["ssh"]["AllowAgentForwarding"] is False

    def test_the_articles_trust_in_the_tailnet_is_an_option(self, builder: Any) -> None:
        assert "tailscale0" in builder["trusted"]

    def test_the_watch_service_says_what_the_command_takes(self, builder: Any) -> None:
        lines = builder["watch"].splitlines()
        (start,) = [line for line in lines if line.startswith("ExecStart=")]
        assert start.replace('"', "").split()[1:] == [
            *("watch", "--quiet", "--journal", "--resume", "/var/lib/paranoid-watch/cursor"),
            *("--allow-unit", "runner.service"),
            *("--webhook", "https://alerts.example.org/a%%20b"),
            *("--webhook-token-file", "%d/token"),
        ]
        assert "LoadCredential=token:/nix/persist/etc/watch/token" in lines

    def test_the_watch_service_is_no_larger_a_target_than_it_must_be(
        self, builder: Any, program: Program, tmp_path: Path
    ) -> None:
        """Two capabilities and the machine's own user namespace are what it costs."""
        path = tmp_path / "paranoid-watch.service"
        path.write_text(builder["watch"], encoding="utf-8")
        assert exposed(program("systemd-analyze"), path) <= 2.0

    def test_ssh_is_open_where_it_is_not_asked_to_be_hidden(self, builder: Any) -> None:
        assert builder["open"] == [22]


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_what_an_install_leaves_evaluates_as_it_stands(
    nix: Nix, nixpkgs: Path, impermanence: Path, tmp_path: Path, firmware: Firmware
) -> None:
    """/etc/nixos as the installer writes it: configuration, modules and policy, no flake."""
    paranoid = tmp_path / "paranoid"
    shutil.copytree(ROOT / "nix", paranoid)
    shutil.copytree(policy.DIRECTORY, paranoid / "policy")
    shutil.copytree(impermanence, paranoid / "impermanence")
    shutil.copy(
        ROOT / "nix" / "hosts" / "meeka" / "hardware-configuration.nix",
        tmp_path / "hardware-configuration.nix",
    )
    host = Host("fresh", "2G", firmware, "/dev/disk/by-id/virtio-target", "/keys/root")
    (tmp_path / "configuration.nix").write_text(configuration(host), encoding="utf-8")
    verdict = nix.evaluate(
        f"""
        let
          inherit (import {nixpkgs}/nixos {{
            system = "x86_64-linux";
            configuration = {tmp_path}/configuration.nix;
          }}) config;
        in
        {{
          inherit (config) warnings;
          failed = builtins.filter (a: !a.assertion) config.assertions;
          drvPath = config.system.build.toplevel.drvPath;
        }}
        """
    )
    assert verdict["warnings"] == []
    assert verdict["failed"] == []
    assert "-nixos-system-fresh-" in verdict["drvPath"]


def lint(shellcheck: str, script: str) -> None:
    """Lets shellcheck read a script, which systemd runs with bash -e."""
    result = subprocess.run(
        [shellcheck, "--shell=bash", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def effective_sshd(ssh: Any, program: Program, directory: Path) -> dict[str, str]:
    """What `sshd -T` makes of NixOS's settings, which stand before extraConfig.

    What the sshd at hand doesn't know is left out, host keys are one made here.
    """
    sshd, query = program("sshd"), program("ssh")
    keygen, unshare = program("ssh-keygen"), program("unshare")
    key = directory / "key"
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)

    def known(algorithms: list[str], kind: str) -> list[str]:
        listed = subprocess.run([query, "-Q", kind], capture_output=True, text=True, check=True)
        return [name for name in algorithms if name in listed.stdout.split()]

    kinds = {"KexAlgorithms": "kex", "Ciphers": "cipher", "Macs": "mac"}
    lines = [f"HostKey {key}"]
    for name, value in ssh["settings"].items():
        if value is None or name in too_new():
            continue
        if isinstance(value, list):
            lines.append(f"{name} {','.join(known(value, kinds[name]))}")
        else:
            lines.append(f"{name} {({True: 'yes', False: 'no'}).get(value, value)}")
    lines += [line for line in ssh["extraConfig"].splitlines() if not line.startswith("HostKey")]
    config = directory / "sshd_config"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    # sshd wants its privilege separation directory, which need not be on this machine.
    script = 'mount -t tmpfs tmpfs /run && mkdir -p /run/sshd && exec "$0" -T -f "$1"'
    result = subprocess.run(
        [unshare, "--map-root-user", "--mount", "sh", "-c", script, sshd, str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in result.stderr:
        pytest.skip(f"no mount namespace can be made here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    pairs = (line.partition(" ") for line in result.stdout.splitlines())
    return {name: value for name, _, value in pairs}
