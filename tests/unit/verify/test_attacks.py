"""Somebody who is, or was, root on the machine and wants a pass: none of these gets one.

docs/results.md has them as a table. Where a program takes a form, it was asked: sudo 1.9.13's
cvtsudoers, sshd, nft in a namespace (test_firewall.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paranoid_install.verify import access_files, files, programs
from paranoid_install.verify.check import ask
from paranoid_install.verify.facts import Loader, Machine, Unknown
from paranoid_install.verify.gather import gather
from paranoid_install.verify.registry import BY_ID
from paranoid_install.verify.terms import Status
from paranoid_install.verify.tree import Tree
from paranoid_install.watch.kernel import Status as Audit
from paranoid_install.watch.kernel import answer
from tests.unit.verify.machines import entry, more, mount, paranoid, piece, unit
from tests.unit.verify.test_gather import KEY, Programs, write

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the files must be root's")


def judged(name: str, machine: Machine) -> Status:
    return ask(BY_ID[name], machine).status


@pytest.mark.parametrize(
    "line",
    [
        "#1000 ALL=(ALL) ALL",
        "#-1 ALL=(ALL) NOPASSWD: ALL",
        "Defaults ! authenticate",
        "Defaults:alice !!!authenticate",
        "Defaults exempt_group=users",
        "mallory ALL=(ALL) ALL",
        "root, mallory ALL=(ALL) ALL",
        "root ,mallory ALL=(ALL) ALL",
        "%wheel,mallory ALL=(ALL) ALL",
        "%#100 ALL=(ALL) ALL",
        "X ALL = (ALL) ALL",
        "ALL ALL=(root) /bin/sh",
        "\tmallory\tALL=(ALL) ALL",
        "Defaultsx ALL=(ALL) ALL",
        'Defaults secure_path="/x"\nmallory ALL=(ALL) ALL',
    ],
)
@pytest.mark.parametrize("where", ["etc/sudoers", "etc/sudoers.d/10-site", "etc/near/x"])
def test_sudo_for_others_or_unasked_is_no_pass(tmp_path: Path, line: str, where: str) -> None:
    main = "root ALL=(ALL:ALL) SETENV: ALL\n%wheel ALL=(ALL:ALL) SETENV: ALL\nUser_Alias X = bob\n"
    write(tmp_path, "etc/sudoers", f"{main}@includedir /etc/sudoers.d\n#includedir near\n")
    machine = piece("sudoers", access_files.sudoers(Tree(tmp_path)))(paranoid())
    assert judged("users.sudoers", machine) is Status.PASS
    file = tmp_path / where
    file.parent.mkdir(exist_ok=True)
    with file.open("a") as opened:
        opened.write(f"{line}\n")
    machine = piece("sudoers", access_files.sudoers(Tree(tmp_path)))(paranoid())
    assert judged("users.sudoers", machine) is Status.FAIL


@pytest.mark.parametrize(
    "include",
    ['@includedir "/etc/in quotes"', "@includedir /etc/in\\ quotes", "@includedir /etc/d.%h",
     "@include /etc/%h", "@include /etc/missing", "@includedir"],
)  # fmt: skip
def test_a_file_that_sudo_includes_in_another_form_is_unknown(tmp_path: Path, include: str) -> None:
    write(tmp_path, "etc/sudoers", f"root ALL=(ALL) ALL\n{include}\n")
    write(tmp_path, "etc/in quotes/10", "mallory ALL=(ALL) NOPASSWD: ALL\n")
    assert judged("users.sudoers", gather(tmp_path, Programs())) is Status.UNKNOWN


@pytest.mark.parametrize(
    "line",
    [
        "auth sufficient pam_permit.so",
        "auth\tsufficient\tpam_permit.so",
        "-auth [success=done default=ignore] pam_permit.so",
        "AUTH optional pam_permit.so",
        "auth sufficient pam_succeed_if.so user = mallory",
        "auth [success=1 default=ignore] pam_listfile.so file=/x sense=allow",
        "auth sufficient pam_exec.so quiet /nix/persist/x",
        "auth sufficient /tmp/pam_unix.so",
        "auth sufficient /nix/store/x/../../../tmp/pam_unix.so",
        "auth sufficient ../../../../tmp/x.so",
        "auth include /tmp/login",
        "@include /tmp/login",
        "session optional /var/lib/x/pam_keylogger.so",
    ],
)
def test_pam_that_lets_in_unasked_fails(tmp_path: Path, line: str) -> None:
    write(tmp_path, "etc/pam.d/sshd", f"# {line}\nauth required \\\n pam_deny.so\n")
    machine = piece("pam", access_files.pam(Tree(tmp_path)))(paranoid())
    assert judged("users.pam", machine) is Status.PASS
    write(tmp_path, "etc/pam.d/other", f"{line}\n")
    machine = piece("pam", access_files.pam(Tree(tmp_path)))(paranoid())
    assert judged("users.pam", machine) is Status.FAIL


@ROOT
@pytest.mark.parametrize(
    "spoil",
    [
        lambda keys: (keys / "root").write_text(f"cert-authority {KEY}\n"),
        lambda keys: (keys / "root").write_text(f'command="a,b",CERT-AUTHORITY {KEY}\n'),
        lambda keys: (keys / "root").write_text(f'command="ssh-ed25519 AAAA" ssh-dss {KEY[12:]}\n'),
        lambda keys: keys.chmod(0o777),
        lambda keys: keys.parent.chmod(0o775),
        lambda keys: os.chown(keys.parent, 1000, 0),
        lambda keys: os.chown(keys / "root", 1000, 0),
        lambda keys: (keys / "root").chmod(0o464),
        lambda keys: _elsewhere(keys, 0o777),
        lambda keys: _elsewhere(keys, 0o755, 1000),
    ],
)
def test_keys_that_others_can_change_or_sign_fail(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    keys = tmp_path / "etc/ssh/authorized_keys.d"
    write(tmp_path, "etc/ssh/authorized_keys.d/root", f'command="a b",restrict {KEY}\n')
    tmp_path.chmod(0o755)
    assert judged("ssh.keys", gather(tmp_path, Programs())) is Status.PASS
    spoil(keys)
    assert judged("ssh.keys", gather(tmp_path, Programs())) is Status.FAIL


def _elsewhere(keys: Path, mode: int, owner: int = 0) -> None:
    """The keys are a link to a file of root's in a directory that others can change."""
    place = keys.parents[2] / "srv"
    place.mkdir()
    (keys / "root").rename(place / "root")
    (keys / "root").symlink_to("/srv/root")
    place.chmod(mode)
    os.chown(place, owner, 0)


@pytest.mark.parametrize("key", ["trustedusercakeys", "authorizedprincipalscommand"])
def test_who_signs_keys_is_no_file_of_roots(key: str) -> None:
    machine = entry("sshd", key, ("/etc/ssh/ca.pub",))(paranoid())
    assert judged("ssh.authorized-keys", machine) is Status.FAIL


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("sshd: /nix/store/x/bin/sshd -D -f /etc/ssh/sshd_config [listener] 0 of 10-100", True),
        ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", True),
        ("sshd: /x/sshd -D -f /tmp/evil [listener] 0 of 10-100 startups", False),
        ("sshd: /x/sshd -D -oPermitRootLogin=yes [listener] 0 of 10-100 startups", False),
        ("sshd: /x/sshd -D -o PasswordAuthentication yes [listener] 0 of 10-100", False),
        ("sshd: alice [priv]", True),
    ],
)
def test_an_sshd_with_options_of_its_own_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str, known: bool
) -> None:
    write(tmp_path, "17/cmdline", f"{title}\0")
    monkeypatch.setattr(programs, "_PROC", tmp_path)
    printed = (Path(__file__).parent / "data/sshd-T.txt").read_text()
    found = programs.sshd(Programs({"sshd": printed}), Tree(tmp_path))
    assert isinstance(found, Unknown) != known


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        # What is written by /srv (noexec) executes by /opt (read-only).
        ((mount("/opt", "ro,nosuid,nodev", root="/persist/srv"),), "/srv"),
        ((mount("/opt", "ro,nosuid,nodev", root="/persist/srv/web/bin"),), "/srv/web/bin"),
        ((mount("/opt", "ro,nosuid,nodev", root="/"),), "/"),
        ((mount("/opt", "ro,nosuid,nodev", root="/store"),), ""),
        ((mount("/opt", "ro,nosuid,nodev", root="/", device="fd:09"),), ""),
        # The store itself, once its directory is reached by another mount of the disk.
        ((mount("/mnt", "rw,nosuid,nodev,noexec", root="/"),), "/mnt/store"),
    ],
)
def test_a_read_only_mount_of_what_can_be_written_to_elsewhere_executes(
    entries: tuple[Any, ...], says: str
) -> None:
    result = ask(BY_ID["mounts.noexec"], more("mounts", *entries)(paranoid()))
    assert (result.status is Status.FAIL) == bool(says), result.evidence
    assert not says or says in result.evidence[0]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('set superusers="root"', Status.PASS),
        ("  set superusers=root # me", Status.PASS),
        ('# set superusers="root"', Status.FAIL),
        ('set superusers=""', Status.FAIL),
        ("set superusers=", Status.FAIL),
        ('echo "set superusers=root"', Status.FAIL),
    ],
)
def test_grub_is_closed_by_a_name_and_not_by_a_remark(text: str, status: Status) -> None:
    machine = piece("loader", Loader("grub", f"timeout=3\n{text}\n", ()))(paranoid())
    assert judged("boot.editor", machine) is status


@pytest.mark.parametrize(
    ("word", "opens"),
    [
        ("systemd.debug_shell", True), ("systemd.debug_shell=tty9", True),
        ("systemd.debug_shell=0", False), ("rd.break=pre-mount", True), ("init=/bin/sh", True),
        ("init=/nix/store/x-nixos-system/init", False), ("init=/nix/storex/init", True),
        ("boot.shell_on_fail", True), ("single", True), ("mitigations=off", True),
        ("mitigations=auto", False), ("audit=0", True), ("systemd.unit=rescue.target", True),
        ("quiet", False),
    ],
)  # fmt: skip
def test_a_parameter_that_opens_a_shell_fails(word: str, opens: bool) -> None:
    machine = more("parameters", word)(paranoid())
    assert (judged("boot.shell", machine) is Status.FAIL) == opens


def test_a_shell_that_runs_without_a_login_fails() -> None:
    machine = unit("debug-shell.service", ActiveState="active")(paranoid())
    assert judged("boot.shell", machine) is Status.FAIL


def test_an_audit_daemon_that_the_kernel_does_not_know_reads_nothing() -> None:
    machine = unit("systemd-journald-audit.socket", ActiveState="inactive")(paranoid())
    machine = unit("auditd.service", ActiveState="active")(machine)
    assert judged("audit.reader", machine) is Status.PASS
    machine = piece("audit", Audit(2, 0, 8192, 0, 0))(machine)
    assert judged("audit.reader", machine) is Status.FAIL


def test_a_limit_of_records_a_second_drops_the_rest() -> None:
    machine = piece("audit", Audit(2, 812, 8192, 0, 0, rate=1))(paranoid())
    assert judged("audit.lost", machine) is Status.FAIL
    # struct nlmsghdr, struct audit_status
    numbers = (0, 2, 0, 812, 7, 8192, 0, 0)
    data = (48).to_bytes(4, "little") + (1000).to_bytes(2, "little") + bytes(10)
    found = answer(data + b"".join(n.to_bytes(4, "little") for n in numbers))
    assert isinstance(found, Audit)
    assert found.rate == 7


@pytest.mark.parametrize(
    ("line", "hidden"),
    [
        ("passwd: files mymachines systemd", False),
        ("passwd:\tfiles [success=merge] systemd # ldap", False),
        ("passwd: files sss", True),
        ("passwd: files [NOTFOUND=return] ldap", True),
        ("shadow: files sss", False),
    ],
)
def test_users_that_a_source_does_not_list_are_unknown(
    tmp_path: Path, line: str, hidden: bool
) -> None:
    write(tmp_path, "etc/nsswitch.conf", f"{line}\n")
    found = programs.users(Programs({"getent": "root:x:0:0::/:/bin/sh\n"}), Tree(tmp_path))
    assert isinstance(found, Unknown) == hidden


@pytest.mark.parametrize(
    "said", ["NIX_CONFIG=trusted-users = mallory", "A=b NIX_USER_CONF_FILES=/x", "NIX_CONF_DIR=/x"]
)
def test_a_nix_daemon_with_settings_in_its_environment_is_unknown(said: str) -> None:
    machine = unit("nix-daemon.service", Environment=said)(paranoid())
    for name in ("nix.trusted-users", "nix.allowed-users", "nix.settings"):
        assert judged(name, machine) is Status.UNKNOWN
        usual = unit("nix-daemon.service", Environment="CURL_CA_BUNDLE=/etc/ssl")(paranoid())
        assert judged(name, usual) is Status.PASS


def test_roots_own_nix_conf_counts(tmp_path: Path) -> None:
    write(tmp_path, "etc/nix/nix.conf", "trusted-users = root\n")
    write(tmp_path, "root/.config/nix/nix.conf", "extra-trusted-users = mallory\n")
    assert files.nix_conf(Tree(tmp_path)) == {"trusted-users": "root mallory"}


@ROOT
def test_a_secret_below_a_secret_directory_is_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "nix/persist/etc/wireguard/old/private.key", mode=0o600)
    assert judged("persistence.secrets", gather(tmp_path, Programs())) is Status.PASS
    write(tmp_path, "nix/persist/etc/wireguard/old/private.key", mode=0o644)
    assert judged("persistence.secrets", gather(tmp_path, Programs())) is Status.FAIL


@pytest.mark.parametrize("name", ["sshd.service", "web.service", "paranoid-watch.service"])
@pytest.mark.parametrize(
    ("key", "path", "changed"),
    [
        ("FragmentPath", "/etc/systemd/system/x.service", False),
        ("FragmentPath", "/run/systemd/transient/x.service", True),
        ("FragmentPath", "/run/systemd/system/x.service", True),
        ("DropInPaths", "/nix/store/x/overrides.conf /run/systemd/system/x.d/y.conf", True),
        ("DropInPaths", "/etc/systemd/system.control/x.d/50-MemoryMax.conf", True),
    ],
)
def test_a_unit_that_guards_is_not_another_one(
    name: str, key: str, path: str, changed: bool
) -> None:
    machine = unit(name, **{key: path})(paranoid())
    assert (judged("units.changed", machine) is Status.FAIL) == changed
