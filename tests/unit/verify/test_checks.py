"""Each check: it passes on a paranoid machine, one loosened fact turns it red and no other, and
without its facts it is unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import policy
from paranoid_install.verify.check import Check, ask
from paranoid_install.verify.facts import (
    PIECES,
    AppArmor,
    Group,
    KeyFile,
    Listener,
    Loader,
    Machine,
    NotApplicable,
    Sample,
    Space,
    Stat,
    Unknown,
    Usb,
    User,
)
from paranoid_install.verify.kernel_checks import KEYS, MODULES_DISABLED, USER_NAMESPACES
from paranoid_install.verify.registry import BY_ID, CHECKS
from paranoid_install.verify.rules import rules_of
from paranoid_install.verify.terms import Status
from paranoid_install.watch.kernel import Status as Audit
from tests.unit.verify.machines import (
    ACCEPT,
    PLACE,
    RULESET,
    SHIPPER,
    SYSCTL,
    WEB,
    Loosening,
    allow,
    audit_rules,
    entry,
    met,
    more,
    mount,
    on,
    paranoid,
    piece,
    port,
    remounted,
    unit,
    without,
)

_OPEN_CHAIN = {**RULESET[1]["chain"], "policy": "accept"}
_SSHD = {
    "passwords": ("passwordauthentication", "yes"),
    "methods": ("authenticationmethods", "any"),
    "root": ("permitrootlogin", "yes"),
    "forwarding": ("allowtcpforwarding", "yes"),
    "users-files": ("permituserrc", "yes"),
    "limits": ("logingracetime", "120"),
    "log": ("loglevel", "INFO"),
    "key-exchange": ("kexalgorithms", "sntrup761x25519-sha512,diffie-hellman-group14-sha1"),
    "ciphers": ("macs", "hmac-sha1"),
    "signatures": ("requiredrsasize", "1024"),
}
LOOSENINGS: dict[str, Loosening] = {
    "mounts.root-volatile": remounted("/", "rw,noexec,nosuid,nodev", fs_type="ext4"),
    "mounts.root-limit": remounted("/", "rw,noexec,nosuid,nodev", super_options=("rw",)),
    "mounts.root-room": piece("space", Space(2 << 30, (2 << 30) - 1)),
    "mounts.noexec": remounted("/var/lib", "rw,nosuid,nodev"),
    "mounts.user-exec": piece("places", (PLACE,)),
    "mounts.nosuid": remounted("/srv", "rw,noexec,nodev"),
    "mounts.nodev": remounted("/srv", "rw,noexec,nosuid"),
    "mounts.store": remounted("/nix/store", "rw,nosuid,nodev"),
    "mounts.wrappers": remounted("/run/wrappers", "rw,nodev"),
    "mounts.masked": more("mounts", mount("/proc/sys/kernel/panic", "ro,noexec", "tmpfs", "/2")),
    "mounts.boot": remounted("/boot", "rw,nosuid,nodev,noexec", super_options=("rw",)),
    "mounts.swap": piece("swaps", {"/dev/vda3": "plain"}),
    "mounts.encrypted": piece("encryption", ("/dev/vda2", False)),
    "persistence.directories": without("/var/log"),
    "persistence.host-keys": piece("host_keys", ()),
    "persistence.machine-id": piece("machine_id", ("1", "2")),
    "persistence.uid-maps": piece("uid_maps", ()),
    "persistence.owners": more("owners", Stat("/nix/persist/srv/x", 0o755, 4242, directory=True)),
    "persistence.secrets": more("secrets", Stat("/nix/persist/etc/passwords/web", 0o644)),
    **{f"ssh.{name}": entry("sshd", key, (value,)) for name, (key, value) in _SSHD.items()},
    "ssh.authorized-keys": entry("sshd", "authorizedkeysfile", (".ssh/authorized_keys",)),
    "ssh.host-keys": entry("sshd", "hostkey", ("/etc/ssh/ssh_host_ed25519_key",)),
    "ssh.sftp": entry("sshd", "subsystem", ("sftp internal-sftp",)),
    "firewall.input": piece("ruleset", ({"chain": _OPEN_CHAIN}, *RULESET[2:])),
    "firewall.ssh": more("ruleset", allow(port({"set": [22, {"range": [22, 22]}]}), ACCEPT)),
    "firewall.vpn": more("ruleset", allow(on("lo", "tailscale0"), ACCEPT)),
    "firewall.log": piece("ruleset", (*RULESET[:5], *RULESET[6:])),
    "firewall.egress": piece("ruleset", RULESET[:-1]),
    "firewall.listeners": more("listeners", Listener("tcp", "[::]", 4444, "nc")),
    "vpn.tailscale": piece("tailscale", "NeedsLogin"),
    "vpn.wireguard": piece("interfaces", {"wg0": False}),
    "nix.allowed-users": entry("nix", "allowed-users", "*"),
    "nix.trusted-users": entry("nix", "trusted-users", "root alice"),
    "nix.settings": entry("nix", "require-sigs", "false"),
    "nix.channels": piece("channels", ("https://example.org/channel nixos",)),
    "users.root": more("users", User("toor", 0, "locked")),
    "users.empty-passwords": more("users", User("guest", 1000, "empty")),
    "users.passwords": more("users", User("alice", 1000, "hash", method="y")),
    "users.sudo": piece("wrappers", (Stat("/run/wrappers/bin/sudo", 0o4511),)),
    "users.wrappers": more("wrappers", Stat("/run/wrappers/bin/su", 0o4511)),
    "users.wrappers-owner": piece("wrappers", (Stat("/run/wrappers/bin/unix_chkpwd", 0o4577),)),
    "users.setuid": met(setuid=(Stat("/nix/persist/srv/x", 0o4755),)),
    "users.hashes": more("users", User("a", 1, "hash", declared=True, method="1")),
    "users.groups": more("groups", Group("docker", 131, ("alice", "root"))),
    "users.sudoers": more("sudoers", "alice ALL=(ALL) NOPASSWD: ALL"),
    "users.pam": entry("pam", "sshd", ("auth sufficient pam_permit.so",)),
    "boot.shell": more("parameters", "systemd.debug_shell"),
    "units.changed": unit("sshd.service", DropInPaths="/run/systemd/system/sshd.service.d/x.conf"),
    "users.capabilities": met(capable=("/nix/persist/srv/x",)),
    "persistence.writable": met(loose=(Stat("/nix/persist/srv/x", 0o666),)),
    "persistence.ownerless": met(uids={4242: "/nix/persist/srv/x"}),
    "store.integrity": piece("sample", Sample(7, 9, 1, 9, changed=("/nix/store/a: other",))),
    "devices.usb": piece("usb", Usb({"usb1": "1"}, frozenset({"uas"}))),
    "devices.wireless": piece("radios", {"phy0 (wlan)": True}),
    "kernel.apparmor": piece("apparmor", AppArmor(on=False)),
    "ssh.keys": more("key_files", KeyFile(Stat("/etc/ssh/x", 0o664), ("ssh-ed25519",))),
    "audit.log": piece("trees", {"/var/log/audit": (Stat("/var/log/audit/audit.log", 0o644),)}),
    "boot.secure": piece("secure_boot", False),
    "users.packages": piece("programs", frozenset({"perl"})),
    "audit.enabled": piece("audit", Audit(0, 0, 8192, 0, 0)),
    "audit.rules": piece("audit_rules", audit_rules()[1:]),
    "audit.exceptions": more("audit_rules", "-a never,exit -F arch=b64 -S execve -F key=x"),
    "audit.locked": piece("audit", Audit(1, 812, 8192, 0, 0)),
    "audit.lost": piece("audit", Audit(2, 812, 8192, 3, 0)),
    "audit.backlog": piece("audit", Audit(2, 812, 64, 0, 0)),
    "audit.reader": unit("systemd-journald-audit.socket", ActiveState="inactive"),
    **{
        f"kernel.{group['id']}": entry("sysctl", group["keys"][-1], "-1")
        for group in policy.load("verify")["sysctl"]
    },
    "kernel.modules-locked": entry("sysctl", MODULES_DISABLED, "0"),
    "kernel.user-namespaces": entry("sysctl", USER_NAMESPACES, "65"),
    "kernel.parameters": more("parameters", "vsyscall=emulate"),
    "kernel.modules": piece("modules", frozenset({"usb_storage"})),
    "kernel.lockdown": piece("lockdown", "none"),
    "kernel.processor": piece("vulnerabilities", {"mds": "Vulnerable: no microcode"}),
    "kernel.core-dumps": piece("coredump", {}),
    "units.users": unit(WEB, User="root"),
    "units.confined": unit(WEB, ProtectSystem="full"),
    "units.persist": unit(WEB, InaccessiblePaths=""),
    "units.exposure": piece("exposure", {WEB: 9.6}),
    "units.failed": unit("x.service", ActiveState="failed"),
    "units.watch": unit("paranoid-watch.service", ActiveState="inactive"),
    "units.antivirus": unit("paranoid-antivirus.timer", ActiveState="inactive"),
    "units.signatures": piece("signatures_age", 30 * 86400.0),
    "logs.journal": entry("journald", "Storage", "volatile"),
    "logs.sent": unit(SHIPPER, ActiveState="activating"),
    "logs.sealed": entry("upload", "URL", "http://logs.example.org:19532"),
    "logs.heartbeat": unit("paranoid-heartbeat.timer", ActiveState="inactive"),
    "boot.editor": piece("loader", Loader("systemd-boot", "timeout 3\n", ("break-glass",))),
    "boot.break-glass": piece("loader", Loader("systemd-boot", "editor no\n", ("nixos-1.conf",))),
    "boot.kernel": piece("kernels", ("/nix/store/a-linux/bzImage", "/nix/store/b-linux/bzImage")),
    "time.clock": piece("clock", {"NTPSynchronized": "no"}),
    "time.supported": piece("support", -86400.0),
    "time.updates": piece("system_age", 400 * 86400.0),
}  # fmt: skip


def red(machine: Machine) -> list[str]:
    return [check.id for check in CHECKS if ask(check, machine).status is Status.FAIL]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_paranoid_machine_passes(check: Check) -> None:
    result = ask(check, paranoid())
    assert result.status is Status.PASS, result.evidence


def test_each_check_has_a_loosening() -> None:
    assert set(LOOSENINGS) == {check.id for check in CHECKS}
    assert len(BY_ID) == len(CHECKS)


def test_a_boot_file_system_that_is_not_there_is_a_finding() -> None:
    """The boot goes on without it: nobody else would say so."""
    assert ask(BY_ID["mounts.boot"], without("/boot")(paranoid())).status is Status.FAIL


@pytest.mark.parametrize("name", LOOSENINGS)
def test_a_loosened_fact_turns_its_own_check_red(name: str) -> None:
    loosened = LOOSENINGS[name](paranoid())
    assert red(loosened) == [name]
    assert ask(BY_ID[name], loosened).evidence


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_check_without_its_facts_is_unknown(check: Check) -> None:
    assert ask(check, Machine()).status is Status.UNKNOWN


ASIDE = ("declared", "texts", "allotted", "blocked", "loginuid", "config")
"""Pieces that profiles alone ask for, or that a check needs only without others."""


@pytest.mark.parametrize("name", PIECES)
def test_no_check_fails_for_want_of_a_fact(name: str) -> None:
    # Nor does one pass that has just asked for it: some check has to change its answer.
    for missing, answer in (
        (Unknown("no permission"), Status.UNKNOWN),
        (NotApplicable("not running"), Status.NOT_APPLICABLE),
    ):
        machine = piece(name, missing)(paranoid())
        answers = {check.id: ask(check, machine) for check in CHECKS}
        assert not [i for i, result in answers.items() if result.status is Status.FAIL]
        if name not in ASIDE:
            told = [r.evidence for r in answers.values() if r.status is answer]
            assert (missing.reason,) in told


@pytest.mark.parametrize("key", KEYS)
def test_each_kernel_setting_is_looked_at(key: str) -> None:
    wrong = entry("sysctl", key, str(int(SYSCTL[key]) + 1 if SYSCTL[key] == "0" else 0))
    if SYSCTL[key] == "64":
        wrong = entry("sysctl", key, "100")
    assert len(red(wrong(paranoid()))) == 1


@pytest.mark.parametrize("key", policy.load("sshd")["settings"])
def test_each_setting_of_sshd_is_looked_at(key: str) -> None:
    groups = [group for group in policy.load("verify")["sshd"] if key in group["keys"]]
    assert len(groups) == 1
    assert red(entry("sshd", key.lower(), ("wrong",))(paranoid())) == [f"ssh.{groups[0]['id']}"]


def test_a_kernel_without_a_setting_is_no_pass() -> None:
    lacking = entry("sysctl", "vm.memfd_noexec", Unknown("this kernel has no such setting"))
    assert ask(BY_ID["kernel.memfd"], lacking(paranoid())).status is Status.UNKNOWN


def test_a_wrong_setting_fails_although_another_is_unknown() -> None:
    machine = entry("sysctl", "kernel.kptr_restrict", Unknown("?"))(paranoid())
    machine = entry("sysctl", "kernel.dmesg_restrict", "0")(machine)
    assert red(machine) == ["kernel.addresses"]


def test_settings_of_ipv6_are_nothing_without_it() -> None:
    off = entry("sysctl", "net.ipv6.conf.all.accept_redirects", NotApplicable("no IPv6"))
    assert ask(BY_ID["kernel.redirects"], off(paranoid())).status is Status.PASS


def test_stricter_than_the_policy_passes() -> None:
    machine = entry("sysctl", "kernel.yama.ptrace_scope", "3")(paranoid())
    machine = entry("sysctl", "kernel.unprivileged_bpf_disabled", "2")(machine)
    machine = entry("sshd", "ciphers", ("aes256-gcm@openssh.com",))(machine)
    assert red(machine) == []


@pytest.mark.parametrize(
    ("what", "fails"),
    [
        (mount("/mnt", "rw,relatime"), ["mounts.noexec"]),
        (mount("/mnt", "ro,relatime", device="fd:07"), []),
        (mount("/mnt", "rw,relatime", more="ro"), []),
        (mount("/nix/var/nix/builds", "rw,nosuid,nodev", device="fd:07"), []),
        # A mount over another one is what is seen.
        (mount("/srv", "rw,nosuid,nodev", root="/persist/srv"), ["mounts.noexec"]),
        (mount("/var/lib", "rw,nosuid,nodev,noexec", root="/lib", device="fd:07"),
         ["persistence.directories"]),
    ],
)  # fmt: skip
def test_what_is_mounted_over_counts(what: object, fails: list[str]) -> None:
    assert red(more("mounts", what)(paranoid())) == fails


@pytest.mark.parametrize(
    ("rule", "fails"),
    [
        (allow(on("tailscale0"), port(22), ACCEPT), []),
        (allow(on("eth0"), port(22), ACCEPT), ["firewall.ssh"]),
        (allow(port(22), {"drop": None}), []),
        (allow(port("@nowhere"), {"drop": None}), []),
        (allow(port(443), ACCEPT), ["firewall.input"]),
        (allow(port(22), {"limit": {"rate": 1, "per": "day", "inv": True}}, {"drop": None}), []),
        (allow(ACCEPT), ["firewall.input"]),
        (allow({"counter": {"packets": 1, "bytes": 2}}, ACCEPT), ["firewall.input"]),
        (allow({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}},
               ACCEPT), ["firewall.input", "firewall.ssh"]),
    ],
)  # fmt: skip
def test_rules_that_new_connections_reach_by_a_jump_count(
    rule: dict[str, object], fails: list[str]
) -> None:
    assert red(more("ruleset", rule)(paranoid())) == fails


@pytest.mark.parametrize(
    "rule",
    [
        allow(port("@nowhere"), ACCEPT),
        allow({"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@by-interface"}}),
        allow({"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}},
                        "data": {"set": [["ssh", ACCEPT]]}}}),
        allow({"xt": {"type": "match", "name": "comment"}}, port(22), ACCEPT),
        allow({"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 1}}, port(22),
              ACCEPT),
    ],
)  # fmt: skip
def test_ports_in_a_form_that_is_not_followed_are_unknown(rule: dict[str, object]) -> None:
    machine = more("ruleset", rule)(paranoid())
    assert ask(BY_ID["firewall.ssh"], machine).status is Status.UNKNOWN


def matching(key: dict[str, Any], right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": key, "right": right}}


_SOURCE = {"payload": {"protocol": "ip", "field": "saddr"}}
_EVERYTHING = (
    matching({"ct": {"key": "state"}}, "new", "in"),
    matching(_SOURCE, {"set": [{"range": ["0.0.0.0", "255.255.255.255"]}]}),
    matching(_SOURCE, "10.0.0.0", "!="),
    matching({"meta": {"key": "iifname"}}, "lo", "!="),
    matching({"meta": {"key": "iifname"}}, "e*"),
    port({"range": [0, 65535]}),
    matching({"payload": {"protocol": "th", "field": "dport"}}, 9, ">"),
    matching({"fib": {"result": "type", "flags": ["daddr"]}}, "local"),
    matching({"meta": {"key": "nfproto"}}, "ipv4"),
    matching({"payload": {"protocol": "tcp", "field": "flags"}}, "syn", "in"),
    {"limit": {"rate": 10, "per": "second"}},
    {"counter": {"packets": 0, "bytes": 0}},
)


@pytest.mark.parametrize("match", _EVERYTHING)
def test_one_rule_for_everybody_fails_in_each_form(match: dict[str, Any]) -> None:
    machine = more("ruleset", allow(match, ACCEPT))(paranoid())
    assert "firewall.input" in red(machine)
    assert ask(BY_ID["firewall.ssh"], machine).status is not Status.PASS


def test_a_rule_set_that_parts_without_end_is_unknown() -> None:
    rules = [allow(matching(_SOURCE, f"8.{n >> 8}.{n & 255}.0"), port(n), {"continue": None})
             for n in range(1, 9000)]  # fmt: skip
    machine = more("ruleset", *rules)(paranoid())
    assert ask(BY_ID["firewall.input"], machine).status is Status.UNKNOWN


def test_a_chain_that_drops_nothing_lets_nothing_in_either() -> None:
    other = {"family": "inet", "table": "other"}
    chain = {**RULESET[1]["chain"], **other, "policy": "accept"}
    rule = {"rule": {**other, "chain": "input", "expr": [ACCEPT]}}
    machine = more("ruleset", {"chain": chain}, rule)(paranoid())
    assert red(machine) == []


def test_only_one_family_that_drops_is_not_enough() -> None:
    half = {"chain": {**RULESET[1]["chain"], "family": "ip"}}
    machine = piece("ruleset", (half, *RULESET[2:]))(paranoid())
    assert ask(BY_ID["firewall.input"], machine).evidence == (
        "ip6 tcp 1-21, 23-65535 over any other interface",
        "ip6 udp 1-65535 over any other interface",
    )


@pytest.mark.parametrize(
    ("entry", "masks"),
    [
        (mount("/proc/sys", "ro", "proc", "/sys"), False),
        (mount("/sys/kernel/security", "rw", "securityfs"), False),
        (mount("/sys/fs/cgroup", "rw", "cgroup2"), False),
        (mount("/proc/sys/kernel/kptr_restrict", "rw", "proc", "/sys/kernel/yama/ptrace_scope"),
         True),
        (mount("/proc/cmdline", "ro", "ext4", "/run/over"), True),
        (mount("/proc", "rw", "tmpfs"), True),
        (mount("/sys", "ro", "overlay"), True),
        (mount("/sys/kernel/security", "rw", "tmpfs"), True),
        (mount("/sys/class/rfkill", "rw", "sysfs", "/class/leds"), True),
        (mount("/sys/firmware/efi/efivars", "rw", "bpf"), True),
        (mount("/nix/store/x-openssh/bin/sshd", "ro", "tmpfs", "/sshd"), True),
        (mount("/run/wrappers/bin", "ro,nosuid,nodev,noexec", "tmpfs"), True),
        (mount("/systemd", "ro", "tmpfs"), False),
    ],
)  # fmt: skip
def test_what_hides_the_kernels_word_is_told_from_what_belongs_there(
    entry: Any, masks: bool
) -> None:
    found = ask(BY_ID["mounts.masked"], more("mounts", entry)(paranoid()))
    assert (found.status is Status.FAIL) == masks, found.evidence


def test_a_machine_that_only_swaps_to_ciphers_passes() -> None:
    machine = piece("swaps", {"/dev/dm-0": "encrypted"})(paranoid())
    assert ask(BY_ID["mounts.swap"], machine).status is Status.PASS


@pytest.mark.parametrize(
    ("name", "loosening"),
    [
        ("mounts.swap", piece("swaps", {})),
        ("users.sudo", piece("wrappers", ())),
        ("audit.lost", piece("audit", Audit(0, 0, 64, 0, 0))),
        ("firewall.egress", piece("ruleset", RULESET[:6])),
        ("firewall.ssh", piece("ruleset", ())),
        ("firewall.vpn", piece("ruleset", ())),
        ("units.users", piece("units", {})),
        ("vpn.tailscale", piece("units", {})),
        ("vpn.wireguard", piece("units", {})),
        ("kernel.lockdown", piece("lockdown", NotApplicable("built without"))),
    ],
)
def test_what_is_not_there_is_not_applicable(name: str, loosening: Loosening) -> None:
    assert ask(BY_ID[name], loosening(paranoid())).status is Status.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("stat", "says"),
    [
        (Stat("/nix/persist/etc/nixos", 0o755, 1000, directory=True), "not root's with 0755"),
        (Stat("/nix/persist/etc/nixos", 0o775, directory=True), "not root's with 0755"),
        (Stat("/nix/persist/srv/web", 0o750, 0, directory=True), "not web's"),
        (Stat("/nix/persist/var/lib/db", 0o750, 991), "nobody has this number"),
    ],
)
def test_an_owner_that_drifted_is_named(stat: Stat, says: str) -> None:
    machine = more("owners", stat)(paranoid())
    assert red(machine) == ["persistence.owners"]
    [evidence] = ask(BY_ID["persistence.owners"], machine).evidence
    assert (stat.path in evidence, says in evidence) == (True, True)


@pytest.mark.parametrize(
    ("loosening", "says"),
    [
        (more("groups", Group("docker", 131, ("eve",))), "eve is in docker"),
        # The same number under another name, and a group that needs no members.
        (more("groups", Group("games", 6, ("eve",))), "eve is in disk, by the name games"),
        (more("groups", Group("games", 0, ("eve",))), "eve is in root, by the name games"),
        (more("users", User("eve", 1000, "locked", gid=6)), "eve: its group is disk"),
    ],
)
def test_a_group_counts_by_its_number(loosening: Loosening, says: str) -> None:
    machine = loosening(paranoid())
    assert red(machine) == ["users.groups"]
    assert ask(BY_ID["users.groups"], machine).evidence == (says,)


def test_a_walk_that_was_cut_passes_nothing() -> None:
    for name in ("users.setuid", "users.capabilities", "persistence.writable",
                 "persistence.ownerless"):  # fmt: skip
        assert ask(BY_ID[name], met(cut=True)(paranoid())).status is Status.UNKNOWN
        assert ask(BY_ID[name], met(cut=True)(LOOSENINGS[name](paranoid()))).status is Status.FAIL


def test_without_a_persist_root_nobody_can_tell_what_is_on_it() -> None:
    machine = met(persist=False)(paranoid())
    for name in ("persistence.writable", "persistence.ownerless"):
        assert ask(BY_ID[name], machine).status is Status.UNKNOWN


def test_whose_files_are_on_a_disk_is_known_where_nixos_gave_the_numbers() -> None:
    disk = replace(paranoid(), users=NotApplicable("off"), groups=NotApplicable("off"))
    for allotted, status in (((frozenset({0, 990}), frozenset({0})), Status.PASS),
                             ((frozenset({0}), frozenset({0})), Status.UNKNOWN)):  # fmt: skip
        machine = piece("allotted", allotted)(disk)
        assert ask(BY_ID["persistence.ownerless"], machine).status is status


@pytest.mark.parametrize(
    ("usb", "more_facts", "status"),
    [
        (Usb({"usb1": "0", "usb2": "2"}, frozenset({"usb_storage"})), {}, Status.PASS),
        (Usb({"usb1": "0", "usb2": "1"}, frozenset({"usb_storage"})), {}, Status.FAIL),
        (Usb({"usb1": "1"}), {"blocked": frozenset({"usb_storage", "uas"})}, Status.PASS),
        (Usb({"usb1": "1"}), {"blocked": frozenset({"usb_storage"})}, Status.FAIL),
        (Usb({"usb1": "1"}), {}, Status.UNKNOWN),
        (Usb({}), {}, Status.UNKNOWN),
        (Usb({"usb1": "1"}), {"units": {"usbguard.service": {"ActiveState": "active"}}},
         Status.UNKNOWN),
        (NotApplicable("this kernel speaks no USB"), {}, Status.NOT_APPLICABLE),
    ],
)  # fmt: skip
def test_sticks_are_kept_out_by_the_bus_the_driver_or_its_absence(
    usb: Any, more_facts: dict[str, Any], status: Status
) -> None:
    machine = replace(paranoid(), usb=usb, sysctl={}, **more_facts)
    assert ask(BY_ID["devices.usb"], machine).status is status


def test_a_disk_that_is_not_running_says_which_drivers_it_would_not_load() -> None:
    for names, status in (({"usb_storage", "uas"}, Status.PASS), ({"uas"}, Status.FAIL)):
        machine = replace(paranoid(), live=False, blocked=frozenset(names))
        assert ask(BY_ID["devices.usb"], machine).status is status


@pytest.mark.parametrize(
    ("sample", "status"),
    [
        (Sample(1, 0, 0, 9), Status.UNKNOWN),
        (Sample(1, 9, 1, 9, foreign=("/nix/store/x",)), Status.FAIL),
        # It may be that it was registered a moment ago.
        (Sample(1, 9, 1, 9, foreign=("/nix/store/x",), pending=True), Status.UNKNOWN),
        (Sample(1, 9, 1, 9, changed=("/nix/store/x: y",), pending=True), Status.FAIL),
    ],
)
def test_the_store_is_judged_by_what_was_hashed(sample: Sample, status: Status) -> None:
    result = ask(BY_ID["store.integrity"], piece("sample", sample)(paranoid()))
    assert result.status is status
    assert "seed 1: " in " ".join(result.evidence) or sample.foreign


def test_apparmor_that_enforces_nothing_is_none() -> None:
    for found in (AppArmor(on=True), AppArmor(on=True, enforced=2, others=("a (complain)",))):
        machine = piece("apparmor", found)(paranoid())
        assert red(machine) == ["kernel.apparmor"]


def test_owners_on_a_disk_that_is_not_running_are_the_policys_alone() -> None:
    machine = piece("users", NotApplicable("not running"))(paranoid())
    drifted = more("owners", Stat("/nix/persist/srv/x", 0o755, 4242, directory=True))(machine)
    assert ask(BY_ID["persistence.owners"], drifted).status is Status.PASS
    open_one = more("owners", Stat("/nix/persist/var/log", 0o777, directory=True))(machine)
    assert ask(BY_ID["persistence.owners"], open_one).status is Status.FAIL


def test_an_interface_that_is_not_there_is_not_up() -> None:
    machine = piece("interfaces", {"lo": True})(paranoid())
    assert ask(BY_ID["vpn.wireguard"], machine).evidence == ("wg0: no such interface",)


def test_a_service_that_systemd_does_not_judge_is_unknown() -> None:
    machine = piece("exposure", {"sshd.service": 7.9})(paranoid())
    assert ask(BY_ID["units.exposure"], machine).status is Status.UNKNOWN


def test_grub_is_closed_by_a_password() -> None:
    for text, status in (('set superusers="root"', Status.PASS), ("", Status.FAIL)):
        machine = piece("loader", Loader("grub", text, ("menuentry break-glass",)))(paranoid())
        assert ask(BY_ID["boot.editor"], machine).status is status


def test_the_policy_groups_each_kernel_setting_once() -> None:
    grouped = [key for group in policy.load("verify")["sysctl"] for key in group["keys"]]
    assert sorted(grouped) == sorted(item["key"] for item in policy.load("sysctl")["setting"])


def _rules(check: str) -> str:
    return "; ".join(f"{p.upper()} {', '.join(ids)}" for p, ids in rules_of(check).items())


def test_the_documentation_lists_each_check_as_it_is() -> None:
    text = (Path(__file__).parents[3] / "docs/verify.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and ". " not in line[:9]]
    listed = [row for row in rows if "." in row.split(" ")[1]]
    assert listed == [
        f"| {c.id} | {c.severity} | {c.title} | {_rules(c.id)} | `{c.option}` |" for c in CHECKS
    ]


def test_an_option_of_ours_that_mends_is_one_that_the_modules_have() -> None:
    text = (Path(__file__).parents[3] / "docs/options.md").read_text()
    documented = {line.strip("# `") for line in text.splitlines() if line.startswith("### ")}
    parents = {option.rpartition(".")[0] for option in documented}
    own = {check.option for check in CHECKS if check.option.startswith("paranoid.")}
    assert own <= documented | parents
