"""Facts from real directory trees, real output of programs, and this kernel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import policy
from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Result, ShRunner
from paranoid_install.verify import devices, files, parse, programs
from paranoid_install.verify.check import ask
from paranoid_install.verify.facts import (
    PIECES,
    Declared,
    Group,
    Listener,
    Machine,
    NotApplicable,
    Unknown,
    User,
)
from paranoid_install.verify.gather import gather
from paranoid_install.verify.registry import BY_ID, CHECKS
from paranoid_install.verify.terms import Status
from paranoid_install.verify.tree import SearchCutError, Tree, limit, walk
from tests.unit.verify.machines import mount, paranoid

PROFILE = "nix/var/nix/profiles"
SYSTEM = "nix/store/aaa-system"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHvQbVY0W5kqWqjJ4H2Y1x0mX3dC9n5jQ3l1v8kQyT2b a"


class Programs:
    """Answers from a table; whatever is not in it is missing."""

    def __init__(self, answers: dict[str, str] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[tuple[str, ...]] = []

    def run(self, *argv: str, **_options: object) -> Result:
        self.asked.append(argv)
        if argv[0] not in self.answers:
            raise CommandFailed(argv, "this program is missing; install it and try again", None)
        return Result(argv, 0, self.answers[argv[0]], 0.0)


def write(root: Path, path: str, text: str = "", mode: int = 0o644) -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An installed disk whose volatile root is empty, as it is when it is not running."""
    root = tmp_path / "mnt"
    etc = f"{SYSTEM}/etc"
    write(root, f"{etc}/nix/nix.conf", "allowed-users = root\nsandbox-fallback = false\n")
    write(root, f"{etc}/systemd/coredump.conf", "[Coredump]\nStorage=none\n")
    write(root, f"{SYSTEM}/sw/bin/bash")
    write(root, f"{SYSTEM}/kernel-params", "init_on_alloc=1 quiet\n")
    (root / PROFILE).mkdir(parents=True)
    (root / PROFILE / "system").symlink_to("system-1-link")
    (root / PROFILE / "system-1-link").symlink_to(f"/{SYSTEM}")
    for kind in ("ed25519", "rsa"):
        write(root, f"nix/persist/etc/ssh/ssh_host_{kind}_key", mode=0o600)
    write(root, "nix/persist/etc/machine-id", "0123\n")
    write(root, "nix/persist/etc/passwords/root", "$y$x", 0o600)
    write(root, "nix/persist/var/lib/nixos/uid-map", "{}")
    write(root, "boot/loader/loader.conf", "timeout 3\neditor no\n")
    write(root, "boot/loader/entries/nixos-1.conf", "title NixOS (break-glass)\n")
    return root


def test_a_disk_that_is_not_running_is_judged_by_its_files(disk: Path) -> None:
    machine = gather(disk, Programs())
    for name in ("persistence.machine-id", "persistence.host-keys", "persistence.secrets",
                 "kernel.core-dumps", "nix.allowed-users", "users.packages", "boot.editor",
                 "boot.break-glass", "time.updates", "users.setuid"):  # fmt: skip
        if os.geteuid() != 0 and name.startswith("persistence"):
            continue
        assert ask(BY_ID[name], machine).status is Status.PASS, name
    assert machine.parameters == ("init_on_alloc=1", "quiet")


def test_settings_of_the_kernel_are_those_that_the_disks_system_would_set(disk: Path) -> None:
    settings = {item["key"]: item["value"] for item in policy.load("sysctl")["setting"]}
    text = "".join(f"{key} = {value}\n" for key, value in settings.items())
    write(disk, f"{SYSTEM}/etc/sysctl.d/60-nixos.conf", f"# NixOS\n{text}")
    machine = gather(disk, Programs())
    grouped = [f"kernel.{group['id']}" for group in policy.load("verify")["sysctl"]]
    assert all(ask(BY_ID[name], machine).status is Status.PASS for name in grouped)
    write(disk, f"{SYSTEM}/etc/sysctl.d/70-later.conf", "-kernel/kptr_restrict=0\n")
    assert ask(BY_ID["kernel.addresses"], gather(disk, Programs())).status is Status.FAIL


@pytest.mark.skipif(os.geteuid() != 0, reason="the disk's files must be root's")
def test_a_third_of_the_checks_are_answered_of_a_disk_that_is_not_running(disk: Path) -> None:
    etc = f"{SYSTEM}/etc"
    settings = policy.load("sysctl")["setting"]
    write(disk, f"{etc}/sysctl.d/60-nixos.conf",
          "".join(f"{item['key']} = {item['value']}\n" for item in settings))  # fmt: skip
    write(
        disk, f"{etc}/modprobe.d/nixos.conf", "install usb-storage /x/false\ninstall uas /x/false"
    )
    write(disk, f"{etc}/systemd/journald.conf", "[Journal]\nStorage=volatile\n")
    write(disk, f"{etc}/sudoers", "%wheel ALL=(ALL) ALL\n")
    write(disk, "nix/persist/etc/ssh/authorized_keys.d/root", "ssh-ed25519 AAAA x\n")
    write(disk, "nix/persist/var/lib/nixos/gid-map", "{}")
    machine = gather(disk, Programs())
    answered = {
        check.id for check in CHECKS
        if ask(check, machine).status in (Status.PASS, Status.FAIL)
    }  # fmt: skip
    assert len(answered) >= 39, sorted(answered)


@pytest.mark.skipif(os.geteuid() != 0, reason="the disk's files must be root's")
def test_ways_back_in_are_found_on_a_disk(disk: Path) -> None:
    keys = "nix/persist/etc/ssh/authorized_keys.d"
    write(disk, f"{keys}/root", f'restrict,command="a b" {KEY}\n# note\n\n')
    names = ("ssh.keys", "persistence.writable", "users.capabilities", "users.sudoers")
    write(disk, "etc/sudoers", "Defaults x\n@includedir /etc/sudoers.d\n")
    write(disk, "etc/sudoers.d/10-site", "%wheel ALL=(ALL) ALL\n")
    machine = gather(disk, Programs())
    assert [ask(BY_ID[name], machine).status for name in names] == [Status.PASS] * 4
    write(disk, f"{keys}/root", "ssh-dss AAAAB3 x\nnot a key\n")
    write(disk, f"{keys}/web", "", 0o666)
    write(disk, "nix/persist/srv/note", mode=0o666)
    file = write(disk, "nix/persist/srv/tool", mode=0o755)
    # cap_net_raw+ep, as capabilities(7) keeps it.
    os.setxattr(file, "security.capability", bytes.fromhex("0100000200200000" + "0" * 24))
    write(disk, "etc/sudoers.d/10-site", "alice ALL=(ALL) \\\n NOPASSWD: ALL\n")
    machine = gather(disk, Programs())
    assert [ask(BY_ID[name], machine).status for name in names] == [Status.FAIL] * 4
    evidence = " ".join(ask(BY_ID["ssh.keys"], machine).evidence)
    assert (evidence.count("kind ?"), "ssh-dss" in evidence, "/web: mode 0666" in evidence) == (
        1, False, True,
    )  # fmt: skip
    (line,) = ask(BY_ID["users.capabilities"], machine).evidence
    assert line.endswith("/srv/tool: has capabilities")


def test_groups_are_read_as_the_c_library_prints_them() -> None:
    text = "wheel:x:1:alice,bob\ndocker:x:131:\n"
    assert parse.groups(text) == (Group("wheel", 1, ("alice", "bob")), Group("docker", 131))


def test_what_only_runs_is_not_applicable_to_a_disk_and_nothing_is_started(disk: Path) -> None:
    runner = Programs()
    machine = gather(disk, runner)
    assert runner.asked == []
    for name in ("mounts.noexec", "ssh.passwords", "firewall.input", "audit.rules",
                 "kernel.lockdown",
                 "units.users", "users.passwords", "firewall.listeners"):  # fmt: skip
        result = ask(BY_ID[name], machine)
        assert result.status is Status.NOT_APPLICABLE
        assert result.evidence == ("the system on this disk is not running",)


def test_a_loosened_disk_fails(disk: Path) -> None:
    (disk / "nix/persist/etc/passwords/root").chmod(0o644)
    write(disk, "nix/persist/srv/sh", mode=0o755).chmod(0o4755)
    write(disk, "boot/loader/loader.conf", "editor yes\n")
    (disk / "nix/persist/etc/machine-id").unlink()
    machine = gather(disk, Programs())
    failed = {check.id for check in CHECKS if ask(check, machine).status is Status.FAIL}
    assert {
        "persistence.secrets",
        "users.setuid",
        "boot.editor",
        "persistence.machine-id",
    } <= failed


def test_a_link_on_the_disk_does_not_lead_out_of_it(disk: Path, tmp_path: Path) -> None:
    write(tmp_path, "outside/secret", "of the host")
    write(disk, "outside/secret", "of the disk")
    (disk / "one").symlink_to(tmp_path / "outside/secret")
    (disk / "two").symlink_to("../" * 30 + "outside/secret")
    (disk / "three").symlink_to("/outside/secret")
    tree = Tree(disk)
    with pytest.raises(FileNotFoundError):
        tree.text("/one")
    assert tree.text("/two") == tree.text("/three") == "of the disk"


def test_links_in_a_circle_and_pipes_end(disk: Path) -> None:
    (disk / "circle").symlink_to("circle")
    os.mkfifo(disk / "pipe")
    with pytest.raises(OSError, match="symbolic links"):
        Tree(disk).text("/circle")
    with pytest.raises(OSError, match="regular"):
        Tree(disk).text("/pipe")


def test_nix_conf_is_read_with_what_it_includes(disk: Path) -> None:
    write(disk, "etc/nix/nix.conf",
          "trusted-users = root # not alice\ninclude more.conf\n!include /absent.conf\n"
          "extra-trusted-users = bob\n")  # fmt: skip
    write(disk, "etc/nix/more.conf", "allowed-users = root\n")
    assert files.nix_conf(Tree(disk)) == {
        "trusted-users": "root bob",
        "allowed-users": "root",
    }


def test_a_nix_conf_that_includes_itself_is_refused(disk: Path) -> None:
    write(disk, "etc/nix/nix.conf", "include nix.conf\n")
    machine = gather(disk, Programs())
    assert isinstance(machine.nix, Unknown)


def test_a_setting_that_nix_conf_leaves_out_has_nix_own_default(disk: Path) -> None:
    write(disk, "etc/nix/nix.conf", "\n")
    machine = gather(disk, Programs())
    assert ask(BY_ID["nix.allowed-users"], machine).evidence == ("allowed-users = *",)
    assert ask(BY_ID["nix.settings"], machine).evidence == ("sandbox-fallback = true",)


def test_an_empty_disk_passes_nothing_it_was_not_asked(tmp_path: Path) -> None:
    machine = gather(tmp_path, Programs())
    passed = {check.id for check in CHECKS if ask(check, machine).status is Status.PASS}
    assert passed == set()


def test_grub_is_read_from_the_boot_file_system(disk: Path) -> None:
    shutil.rmtree(disk / "boot/loader")
    write(disk, "boot/grub/grub.cfg", 'set superusers="root"\nmenuentry "NixOS break-glass" {\n')
    machine = gather(disk, Programs())
    assert ask(BY_ID["boot.editor"], machine).status is Status.PASS
    assert ask(BY_ID["boot.break-glass"], machine).status is Status.PASS


def test_the_declared_listeners(disk: Path) -> None:
    assert isinstance(files.declared(Tree(disk)), Unknown)
    write(disk, "etc/paranoid/listeners.json", json.dumps({
        "version": 1,
        "listeners": [{"protocol": "tcp", "port": 22, "interfaces": ["wg0"]},
                      {"protocol": "udp", "port": 51820}]}))  # fmt: skip
    assert files.declared(Tree(disk)) == (Declared("tcp", 22, ("wg0",)), Declared("udp", 51820))


@pytest.mark.parametrize("text", ['{"version": 2, "listeners": []}', '{"version": 1}', "[]", "{"])
def test_listeners_of_another_form_are_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse.declared(text)


def test_a_search_stays_on_one_file_system_and_ends_in_time(tmp_path: Path) -> None:
    write(tmp_path, "a/b/c")
    (tmp_path / "link").symlink_to("/")
    found = {path.removeprefix(str(tmp_path)) for path, _ in walk(tmp_path, limit(60))}
    assert found == {"", "/a", "/a/b", "/a/b/c", "/link"}
    with pytest.raises(SearchCutError):
        list(walk(tmp_path, limit(-1)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's directories are closed to users")
def test_each_directory_where_a_user_can_write_and_execute_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    for name, mode, owner in (("open", 0o1777, 0), ("closed", 0o755, 0), ("of-a-user", 0o755, 1000),
                              ("read-only", 0o555, 1000), ("closed/group", 0o775, 0)):  # fmt: skip
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, owner, 100)
        (tmp_path / name).chmod(mode)
    (tmp_path / "closed/file").touch(mode=0o666)
    for options, found in (("rw", {"open", "of-a-user", "closed/group"}), ("rw,noexec", set()),
                           ("ro", set())):  # fmt: skip
        table = (mount(str(tmp_path), options),)
        monkeypatch.setattr(files, "mount_table", lambda table=table: table)
        places = files.places()
        assert isinstance(places, tuple)
        assert {place.stat.path.removeprefix(f"{tmp_path}/") for place in places} == found


def test_a_store_that_can_be_written_to_is_not_looked_through(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(files, "mount_table", lambda: (mount(str(tmp_path), "rw"),))
    assert files.places() != ()
    monkeypatch.setattr(files, "_STORE", str(tmp_path))
    assert files.places() == ()


def test_a_hash_is_declared_when_it_is_that_of_the_persist_root() -> None:
    passwd = "\n".join(
        f"{name}:x:{number}:0::/:/bin/sh"
        for number, name in enumerate(["root", "alice", "guest", "daemon", "bob"])
    )
    shadow = "root:$y$1:1::\nalice:$y$2:1::\nguest::1::\ndaemon:!*:1::\nbob:!$y$3:1::\n"
    assert parse.passwords(passwd, shadow, {"root": "$y$1\n"}) == (
        User("root", 0, "hash", declared=True, method="y", gid=0),
        User("alice", 1, "hash", method="y", gid=0),
        User("guest", 2, "empty", gid=0),
        User("daemon", 3, "locked", gid=0),
        User("bob", 4, "locked", gid=0),
    )


def test_a_socket_that_is_gone_at_the_second_look_was_no_listener() -> None:
    sshd = 'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=8,fd=3))\n'
    client = "udp UNCONN 0 0 0.0.0.0:40001 0.0.0.0:*\n"
    other = "udp UNCONN 0 0 0.0.0.0:40002 0.0.0.0:*\n"

    class Looks(Programs):
        def run(self, *argv: str, **options: object) -> Result:
            self.answers["ss"] = sshd + (client if not self.asked else other)
            return super().run(*argv, **options)

    assert programs.listeners(Looks()) == (Listener("tcp", "0.0.0.0", 22, "sshd"),)


def test_ss_is_read() -> None:
    text = (
        'tcp   LISTEN 0 128 0.0.0.0:22   0.0.0.0:* users:(("sshd",pid=8,fd=3))\n'
        "udp   UNCONN 0 0   127.0.0.53%lo:53 0.0.0.0:*\n"
        'tcp   LISTEN 0 64  [::]:443 [::]:* users:(("a b",pid=9,fd=3),("c",pid=10,fd=3))\n'
    )
    assert parse.listeners(text) == (
        Listener("tcp", "0.0.0.0", 22, "sshd"),
        Listener("udp", "127.0.0.53%lo", 53),
        Listener("tcp", "[::]", 443, "a b"),
    )


def test_ss_of_this_machine_is_understood() -> None:
    if shutil.which("ss") is None:
        pytest.skip("ss is not installed")
    text = subprocess.run(["ss", "-H", "-tulpn"], capture_output=True, text=True, check=True).stdout
    assert len(parse.listeners(text)) == len(text.splitlines())


def test_systemctl_and_systemd_analyze_are_read() -> None:
    show = (
        "Id=web.service\nLoadState=loaded\nActiveState=active\nUser=web\n"
        "WorkingDirectory=/srv/web\n\nId=gone.service\nLoadState=not-found\n\n"
        "Id=x.timer\nLoadState=loaded\nActiveState=failed\n"
    )
    # The end of what systemd 252 prints of each.
    analyze = (
        "  UMask=                         Files are world-readable by default            0.1\n\n"
        "\u2192 Overall exposure level for web.service: 1.3 OK \U0001f642\n"
    )
    runner = Programs({"systemctl": show, "systemd-analyze": analyze})
    units = programs.units(runner)
    assert set(units) == {"web.service", "x.timer"}
    assert programs.exposure(runner, units) == {"web.service": 1.3}
    assert runner.asked[-1] == ("systemd-analyze", "security", "--no-pager", "--", "web.service")
    assert isinstance(programs.exposure(runner, {}), NotApplicable)
    assert programs.exposure(runner, Unknown("no bus")) == Unknown("no bus")


# As NixOS 26.05 writes it, with the old name of one setting and gaps.
JOURNALD = """[Journal]
Storage=persistent
RateLimitInterval=0
RateLimitBurst=0


Audit=keep
Compress=yes
ForwardToWall=no
MaxRetentionSec=90day
RuntimeMaxUse=64M
Seal=yes
SyncIntervalSec=10s
SystemKeepFree=512M
SystemMaxFileSize=64M
SystemMaxUse=1G
"""


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("", "", Status.PASS),
        ("Seal=yes\n", "", Status.PASS),
        ("Seal=yes", "Seal=off", Status.FAIL),
        ("RateLimitInterval=0", "RateLimitInterval=30s", Status.FAIL),
        ("ForwardToWall=no\n", "", Status.FAIL),
        ("Storage=persistent", "#Storage=persistent", Status.FAIL),
    ],
)
def test_journald_conf_is_read_as_journald_does(
    disk: Path, old: str, new: str, status: Status
) -> None:
    write(disk, "etc/systemd/journald.conf", JOURNALD.replace(old, new, 1))
    assert ask(BY_ID["logs.journal"], gather(disk, Programs())).status is status


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"etc/systemd/journald.conf.d/60-site.conf": JOURNALD}, Status.PASS),
        ({"run/systemd/journald.conf.d/90-now.conf": "[Journal]\nSeal=no\n"}, Status.FAIL),
        (
            {
                "run/systemd/journald.conf.d/90-now.conf": "[Journal]\nSeal=no\n",
                "etc/systemd/journald.conf.d/91-site.conf": "[Journal]\nSeal=yes\n",
            },
            Status.PASS,
        ),
        ({"etc/systemd/journald.conf.d/README": "Seal=no\n"}, Status.PASS),
    ],
    ids=["a drop-in alone", "a drop-in of /run", "the last name wins", "not a drop-in"],
)
def test_drop_ins_count_as_they_do_for_systemd(
    disk: Path, files: dict[str, str], status: Status
) -> None:
    write(disk, "etc/systemd/journald.conf", JOURNALD)
    for name, text in files.items():
        write(disk, name, text)
    assert ask(BY_ID["logs.journal"], gather(disk, Programs())).status is status


def test_a_file_of_drop_ins_needs_no_other(disk: Path) -> None:
    for main in disk.rglob("journald.conf"):
        main.unlink()
    assert isinstance(gather(disk, Programs()).journald, Unknown)
    write(disk, "etc/systemd/journald.conf.d/60-site.conf", JOURNALD)
    assert ask(BY_ID["logs.journal"], gather(disk, Programs())).status is Status.PASS


def test_keywords_of_sshd_are_read_in_any_case() -> None:
    text = "Port 22\nPermitRootLogin without-password\nhostkey /a\nHostKey /b\nTCPKeepAlive false\n"
    assert parse.sshd(text) == {
        "port": ("22",), "permitrootlogin": ("without-password",), "hostkey": ("/a", "/b"),
        "tcpkeepalive": ("no",),
    }  # fmt: skip


class RealSshd:
    """The sshd of this machine, with the configuration of a disk."""

    def __init__(self, disk: Path) -> None:
        self._file = str(disk / "etc/ssh/sshd_config")

    def run(self, *argv: str, **options: Any) -> Result:
        own = () if "-f" in argv else ("-f", self._file)
        return ShRunner().run(*argv, *own, **options)


def sshd_disk(root: Path, text: str) -> Path:
    if shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("sshd is not installed")
    key = root / "key"
    root.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    write(root, "etc/ssh/sshd_config", f"HostKey {key}\nPasswordAuthentication no\n{text}\n")
    return root


@pytest.mark.parametrize(
    "block",
    [
        "Match Address *\n PasswordAuthentication yes",
        "match user x,y,!z address 10.0.0.0/8\n PasswordAuthentication yes",
        "Match all\nPasswordAuthentication yes",
        "Match Group nobody\nX11Forwarding no\nMatch LocalPort 2222\nPasswordAuthentication=yes",
        "Include {root}/etc/ssh/more.conf",
        "Match User alice\nInclude {root}/etc/ssh/yes*",
    ],
)
def test_what_a_match_block_opens_is_found(tmp_path: Path, block: str) -> None:
    root = tmp_path / "mnt"
    disk = sshd_disk(root, block.replace("{root}", str(root)))
    for name, text in (("yes.conf", ""), ("more.conf", "Match User bob\n")):
        write(disk, f"etc/ssh/{name}", f"{text}PasswordAuthentication yes\n")
    # Inside the disk the same files have their own names.
    (disk / str(tmp_path)[1:]).mkdir(parents=True)
    (disk / str(root)[1:]).symlink_to("/")
    runner = RealSshd(disk)
    everybody = "yes" if block.startswith("Match all") else "no"
    found = programs.sshd(runner, Tree(disk))
    assert isinstance(found, dict), found
    assert found["passwordauthentication"] == (everybody,)
    blocks = programs.sshd_blocks(runner, Tree(disk))
    assert isinstance(blocks, tuple), blocks
    machine = replace(paranoid(), sshd_blocks=blocks)
    evidence = ask(BY_ID["ssh.passwords"], machine).evidence
    assert any(line.startswith("PasswordAuthentication yes (Match ") for line in evidence)


def test_blocks_in_a_form_that_is_not_followed_are_unknown(tmp_path: Path) -> None:
    disk = sshd_disk(tmp_path / "mnt", "Match Address *\nPasswordAuthentication yes")
    write(tmp_path, "other/etc/ssh/sshd_config", "# another file\n")
    assert isinstance(programs.sshd_blocks(RealSshd(disk), Tree(tmp_path / "other")), Unknown)
    machine = replace(paranoid(), sshd_blocks=Unknown("?"))
    assert ask(BY_ID["ssh.passwords"], machine).status is Status.UNKNOWN


def test_a_configuration_without_blocks_has_none(tmp_path: Path) -> None:
    disk = sshd_disk(tmp_path / "mnt", "X11Forwarding no")
    assert programs.sshd_blocks(RealSshd(disk), Tree(disk)) == ()


def test_no_audit_rules_are_none() -> None:
    assert parse.audit_rules("No rules\n") == ()


# The input half of what NixOS 26.05 makes of a machine with these modules.
NFT = """
table inet nixos-fw {
  set temp-ports {
    comment "Temporarily opened ports"
    type inet_proto . inet_service
    flags interval
    auto-merge
  }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname { lo } accept comment "trusted interfaces"
    icmpv6 type echo-reply accept
    ct state vmap {
      invalid : drop, established : accept, related : accept,
      new : jump input-allow, untracked: jump input-allow,
    }
  }
  chain input-allow {
    iifname tailscale0 tcp dport { 22 } accept
    tcp dport { 80, 443 } accept
    meta l4proto . th dport @temp-ports accept
    icmp type echo-request accept comment "allow ping"
    icmpv6 type != { nd-redirect, 139 } accept
    ip6 daddr fe80::/64 udp dport 546 accept comment "DHCPv6 client"
    meta pkttype host limit rate 10/minute burst 20 packets log level info prefix "refused connection: "
  }
}
"""  # noqa: E501 - as NixOS writes it


def loaded(rules: str) -> Machine:
    """A machine with these rules, which were loaded for real into a network of their own."""
    for program in ("unshare", "nft"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is not installed")
    # Another network namespace: this machine's own rules are not touched.
    made = subprocess.run(
        ["unshare", "-rn", "sh", "-c", "PATH=$PATH:/usr/sbin; nft -f - && nft -j list ruleset"],
        input=rules, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    if made.returncode != 0 and "not permitted" in made.stderr:
        pytest.skip("unshare may not make a network here")
    assert made.returncode == 0, made.stderr
    return Machine(ruleset=parse.ruleset(made.stdout))


def answers(machine: Machine) -> dict[str, Status]:
    names = ("firewall.input", "firewall.ssh", "firewall.vpn", "firewall.log")
    return {name.partition(".")[2]: ask(BY_ID[name], machine).status for name in names}


def test_rules_that_nft_has_loaded_are_understood() -> None:
    assert set(answers(loaded(NFT)).values()) == {Status.PASS}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("input", "policy drop", "policy accept"),
        ("input", "tcp dport { 80, 443 }", "meta l4proto udp"),
        ("ssh", "{ 80, 443 }", "{ 20-30, 443 }"),
        ("ssh", "iifname tailscale0 tcp", 'iifname { "eth0", "tailscale0" } tcp'),
        ("ssh", "auto-merge", "elements = { tcp . 20-30 }"),
        ("ssh", "auto-merge", "elements = { tcp . 22 }"),
        ("vpn", "iifname { lo }", 'iifname { lo, "tailscale0" }'),
        ("log", "log level info prefix", "log level info prefix \"x\" #"),
    ],
)  # fmt: skip
def test_one_rule_that_nft_has_loaded_differently_fails(name: str, old: str, new: str) -> None:
    assert old in NFT
    found = answers(loaded(NFT.replace(old, new)))
    assert [key for key, status in found.items() if status is Status.FAIL] == [name]


def block(sys: Path, name: str, uuid: str = "", on: tuple[str, ...] = ()) -> Path:
    """A block device's directory as /sys has it."""
    device = sys / name
    (device / "slaves").mkdir(parents=True)
    for below in on:
        (device / "slaves" / below).symlink_to(sys / below)
    if uuid:
        write(device, "dm/uuid", uuid + "\n")
    return device


def test_a_volume_is_as_encrypted_as_all_that_it_lies_on(tmp_path: Path) -> None:
    plain, other = block(tmp_path, "vda2"), block(tmp_path, "vdb")
    crypt = block(tmp_path, "dm-0", "CRYPT-LUKS2-0123-nix", ("vda2",))
    inside = block(tmp_path, "dm-1", "LVM-0123", ("dm-0",))
    half = block(tmp_path, "dm-2", "LVM-4567", ("dm-0", "vdb"))
    found = [devices.is_encrypted(device) for device in (plain, other, crypt, inside, half)]
    assert found == [False, False, True, True, False]


def test_the_disk_that_is_looked_at_for_encryption_has_to_be_mounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def mounted(*entries: object) -> object:
        monkeypatch.setattr(devices, "mount_table", lambda: entries)
        return devices.encryption()

    assert isinstance(mounted(), Unknown)
    assert mounted(mount("/nix", "rw", device="0:999")) == Unknown("none: not one block device")


def test_owners_are_those_of_persisted_directories_and_of_what_is_in_them(disk: Path) -> None:
    write(disk, "nix/persist/srv/web/deep", mode=0o600)
    (disk / "nix/persist/srv/link").symlink_to("/etc/passwd")
    found = files.owners(Tree(disk))
    assert [stat.path for stat in found] == [
        "/nix/persist/srv", "/nix/persist/srv/web", "/nix/persist/var/lib",
        "/nix/persist/var/lib/nixos",
    ]  # fmt: skip


def test_the_state_of_tailscale_is_its_backends() -> None:
    text = '{"Version": "1.80.0", "BackendState": "NeedsLogin", "Self": {"Online": false}}'
    assert programs.tailscale(Programs({"tailscale": text})) == "NeedsLogin"


def test_this_kernel_is_asked_and_each_piece_has_an_answer_or_a_reason() -> None:
    machine = gather(Path("/"), Programs({"nft": "no JSON", "ss": "x y"}))
    for name in PIECES:
        value = getattr(machine, name)
        assert value is not None
        if isinstance(value, Unknown | NotApplicable):
            assert value.reason != "not looked at", name
    assert isinstance(machine.mounts, tuple)
    assert machine.mounts
    assert machine.sshd == Unknown("sshd: this program is missing; install it and try again")
    assert isinstance(machine.ruleset, Unknown)
    assert isinstance(machine.listeners, Unknown)


def test_each_program_is_only_asked() -> None:
    runner = Programs()
    gather(Path("/"), runner)
    assert {argv[:2] for argv in runner.asked} == {
        ("sshd", "-T"),
        ("getent", "passwd"),
        ("getent", "group"),
        ("nft", "-j"),
        ("ss", "-H"),
        ("tailscale", "status"),
        ("auditctl", "-l"),
        ("systemctl", "show"),
        ("timedatectl", "show"),
    }
