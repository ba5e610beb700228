"""What an installed machine promises, looked at from outside and from inside.

One suite for all of them: tests/vm/test_system.py runs it on the stand-in that Debian's systemd
runs, tests/nixos/test_system.py on a real NixOS. Each brings a fixture `scene`, and imports every
test from here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from paranoid_install import policy
from tests.vm.vmlab import qemu
from tests.vm.vmlab.install import CANARY_IN_LOG, CANARY_IN_ROOT, LEAVE_CANARIES
from tests.vm.vmlab.process import run
from tests.vm.vmlab.running import Running, running

PLACES = (
    "/", "/srv", "/tmp", "/var/tmp", "/var/lib", "/var/log", "/dev/shm", "/run", "/run/keys",
    "/run/user/0", "/boot", "/etc", "/etc/nixos", "/root", "/home", "/nix", "/nix/persist",
)  # fmt: skip
"""Where root can write. The shell answers 126 for what may not be executed."""

YOUNGER = {
    "dev.tty.legacy_tiocsti": (6, 2),
    "vm.memfd_noexec": (6, 3),
    "kernel.io_uring_disabled": (6, 6),
}
"""Settings of the policy, and the kernel that they came with."""

KEY_ONLY = "Permission denied (publickey)."
"""What the client says when the server offers public keys, and nothing else."""

LOOK = """
cat /proc/sys/kernel/random/boot_id /etc/machine-id
id --user unnumbered
sha256sum /nix/persist/etc/ssh/ssh_host_*
"""

OWNED = "/var/lib/owned"
"""A file of the user whose number stands nowhere but in the uid map."""

LOGIND_MAKES_RUN_USER = """
systemd-run --quiet --property=Type=oneshot --property=RemainAfterExit=yes \
  --property=Requires=user-runtime-dir@0.service --property=After=user-runtime-dir@0.service true
"""

PROGRAMS = """
true=$(IFS=:; for folder in $PATH; do
  if [ -x "$folder/true" ]; then realpath "$folder/true"; break; fi
done)
loader=$(sed -n 's|.* \\(/.*/ld-linux[^ ]*\\)$|\\1|p' /proc/self/maps | head -n 1)
"""
"""Sets `true` and `loader` to files of the store, wherever the machine keeps them."""

BROUGHT_ALONG = f"{PROGRAMS} cp $true /tmp/program && chmod 755 /tmp/program && /tmp/program"


@dataclass(frozen=True)
class Boot:
    """One boot of the machine: its id, and what must be the same at each."""

    id: str
    lasting: tuple[str, ...]


@dataclass(frozen=True)
class BreakGlass:
    """What was seen in the system of the break-glass entry."""

    boot: Boot
    console: str
    executes: bool
    modules_disabled: str
    executing_mounts: set[str]


@dataclass(frozen=True)
class Differences:
    """What is not the same on the stand-in, whose values are the defaults, and on NixOS."""

    may_execute: frozenset[str] = frozenset()
    """Mounts beside the store that are executed from."""
    audit_locked: bool = False
    """No rule is changed before the next boot. The tests of `verify` change the stand-in's."""
    raw_sockets: frozenset[str] = frozenset()
    """Protocols of IP that a daemon of the system reads itself."""


@dataclass(frozen=True)
class Scene:
    """The machine on its last boot, with what came before."""

    machine: Running
    installer_said: str
    boots: tuple[Boot, ...]
    """The ordinary ones before."""
    break_glass: BreakGlass
    differs: Differences = Differences()


@contextmanager
def on_stage(
    machine: qemu.Machine,
    logs: Path,
    key: Path,
    installer_said: str,
    ordinary_boots: int,
    differs: Differences = Differences(),
) -> Iterator[Scene]:
    """Boot an installed machine some times, once by its break-glass entry, and then to stay up.

    The first ordinary boot leaves canaries, which the next ones look for.
    """
    known = logs / "known_hosts"
    boots = []
    for number in range(1, ordinary_boots + 1):
        with running(machine, logs / f"boot-{number}", key, known) as up:
            up.run(f"[ ! -e {CANARY_IN_ROOT} ]")
            up.run(LEAVE_CANARIES)
            up.run(f"[ -e {OWNED} ] || install -o unnumbered /dev/null {OWNED}")
            boots.append(look(up))
            up.power_off()
    entry = policy.load("breakglass")["name"]
    with running(machine, logs / entry, key, known, second_entry=entry) as up:
        glass = look_through(up)
        up.power_off()
    with running(machine, logs / "last", key, known) as up:
        up.run(LOGIND_MAKES_RUN_USER)
        yield Scene(up, installer_said, tuple(boots), glass, differs)


def look(machine: Running) -> Boot:
    boot, *lasting = machine.run(LOOK).splitlines()
    return Boot(boot, tuple(lasting))


def journal_id(boot: Boot) -> str:
    """A boot's id as journald writes it."""
    return boot.id.replace("-", "")


def look_through(machine: Running) -> BreakGlass:
    return BreakGlass(
        boot=look(machine),
        console=qemu.console(machine.logs),
        executes=machine.ssh(BROUGHT_ALONG).returncode == 0,
        modules_disabled=machine.run("cat /proc/sys/kernel/modules_disabled").strip(),
        executing_mounts=executing_mounts(machine),
    )


def executing_mounts(machine: Running) -> set[str]:
    mounts = [line.split() for line in machine.run("cat /proc/self/mounts").splitlines()]
    return {fields[1] for fields in mounts if "noexec" not in fields[3].split(",")}


@pytest.fixture
def machine(scene: Scene) -> Running:
    return scene.machine


def test_systemd_runs_from_the_store_and_no_unit_failed(machine: Running) -> None:
    assert machine.run("readlink /proc/1/exe").startswith("/nix/store/")
    assert machine.run("systemctl --failed --plain --no-legend") == ""


def test_what_was_to_last_has_lasted(scene: Scene) -> None:
    """Machine-id, host keys, the uid map, the journal, and what is kept under /var."""
    boots = (*scene.boots, scene.break_glass.boot, look(scene.machine))
    assert len({boot.id for boot in boots}) == len(boots)
    assert len({boot.lasting for boot in boots}) == 1
    listed = scene.machine.run("journalctl --list-boots --no-pager")
    assert [boot.id for boot in boots if journal_id(boot) not in listed] == []
    assert scene.machine.run(f"cat {CANARY_IN_LOG}") == "here\n"
    assert scene.machine.run(f"stat --format=%U {OWNED}") == "unnumbered\n"


def test_what_was_to_be_forgotten_is(machine: Running) -> None:
    assert machine.run(f"[ ! -e {CANARY_IN_ROOT} ] && findmnt -n -o FSTYPE,SIZE /").split() == [
        "tmpfs",
        "2G",
    ]


def test_the_machine_shows_the_host_key_that_the_install_reported(scene: Scene) -> None:
    """The client kept the key of the first boot, and would have refused another since."""
    shown = run("ssh-keygen", "-l", "-f", scene.machine.known_hosts)
    [fingerprint] = {line.split()[1] for line in shown.splitlines()}
    assert f"host key ed25519 {fingerprint}" in scene.installer_said


def test_the_operators_key_opens(machine: Running) -> None:
    assert machine.run("id -un") == "root\n"


def test_a_password_does_not(machine: Running) -> None:
    refused = machine.ssh("true", "-o", "PubkeyAuthentication=no")
    assert (refused.returncode, KEY_ONLY in refused.stderr) == (255, True), refused.stderr


def test_another_key_does_not(machine: Running, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other)
    refused = machine.ssh("true", key=other)
    assert (refused.returncode, KEY_ONLY in refused.stderr) == (255, True), refused.stderr


def test_a_key_in_the_home_directory_does_not(machine: Running, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other)
    public = other.with_suffix(".pub").read_text().strip()
    machine.run(
        f"mkdir -p -m 700 /root/.ssh && umask 077 && echo '{public}' > /root/.ssh/authorized_keys"
    )
    assert machine.ssh("true", key=other).returncode == 255


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("-W", "127.0.0.1:22"), "administratively prohibited"),
        (("-N", "-R", "0:127.0.0.1:22"), "remote port forwarding failed"),
    ],
    ids=["from the client", "from the machine"],
)
def test_no_connection_is_forwarded(machine: Running, options: tuple[str, ...], says: str) -> None:
    refused = machine.client(
        "ssh", *options, "-o", "ExitOnForwardFailure=yes", destination=("root@127.0.0.1",)
    )
    assert (refused.returncode, says in refused.stderr) == (255, True), refused.stderr


def test_no_agent_is_forwarded(machine: Running, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    command = ["ssh-agent", "-D", "-a", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout is not None
            agent.stdout.readline()  # the socket is there when it says so
            done = machine.ssh(
                'echo "agent:$SSH_AUTH_SOCK"', "-v", "-A", "-o", f"IdentityAgent={path}"
            )
        finally:
            agent.kill()
    assert "Requesting authentication agent forwarding" in done.stderr
    assert done.stdout == "agent:\n"


def test_no_file_is_copied_by_sftp(machine: Running, tmp_path: Path) -> None:
    batch = tmp_path / "batch"
    batch.write_text("ls /\n")
    refused = machine.client("sftp", "-b", str(batch), destination=("root@127.0.0.1",))
    assert (refused.returncode, "subsystem request failed" in refused.stderr) == (255, True)


def test_nothing_that_can_be_written_executes(machine: Running) -> None:
    found = machine.run(
        f"""{PROGRAMS}
        for place in {" ".join(PLACES)}; do
          copy=$place/program
          cp "$true" "$copy" && chmod 755 "$copy" || exit 1
          "$copy"; direct=$?
          "$loader" "$copy"; loaded=$?
          rm "$copy"
          echo "$place $direct $loaded"
        done 2> /dev/null
        """
    )
    assert found.splitlines() == [f"{place} 126 127" for place in PLACES]


def test_what_is_in_the_store_executes_and_nothing_can_be_added(machine: Running) -> None:
    assert machine.run(f"{PROGRAMS} echo $true").startswith("/nix/store/")
    machine.run(f"{PROGRAMS} $true && $loader $true")
    refused = machine.ssh(f"{PROGRAMS} cp $true /nix/store/program")
    assert (refused.returncode, "Read-only file system" in refused.stderr) == (1, True)


def test_no_mount_but_the_store_may_execute(scene: Scene) -> None:
    """/proc and /sys are the kernel's: no file can be made there."""
    allowed = {"/nix/store", "/proc", "/sys", *scene.differs.may_execute}
    assert executing_mounts(scene.machine) <= allowed
    assert "/nix/store" in executing_mounts(scene.machine)


def test_no_file_in_memory_executes(machine: Running) -> None:
    if machine.ssh("cat /proc/sys/vm/memfd_noexec").returncode != 0:
        pytest.skip(f"kernel {machine.run('uname -r').strip()} has no vm.memfd_noexec (6.3)")
    done = machine.ssh(
        f"{PROGRAMS} python=$(ls -d /nix/store/*/bin/python3 | head -n 1);"
        "$python -c \"import os, sys; f = os.memfd_create('p');"
        " os.write(f, open(sys.argv[1], 'rb').read());"
        " os.execv(f'/proc/self/fd/{f}', ['p'])\" $true"
    )
    assert (done.returncode, "PermissionError" in done.stderr) == (1, True), done.stderr


def test_nothing_listens_but_the_ssh_daemon(scene: Scene) -> None:
    listening = [line.split() for line in scene.machine.run("ss -H -tulwn").splitlines()]
    found = {(fields[0], fields[4].rsplit(":", 1)[1]) for fields in listening}
    assert found == {("tcp", "22"), *(("raw", number) for number in scene.differs.raw_sockets)}


def test_the_packet_filter_drops_what_is_not_declared(machine: Running) -> None:
    rules = machine.run("nft list ruleset")
    assert "type filter hook input priority filter; policy drop;" in rules
    assert re.findall(r"^\s*tcp dport (.*)", rules, re.MULTILINE) == ["22 accept"]
    # NixOS lets DHCP of its kind through, and has a set of ports to be opened for a while: empty.
    others = re.findall(r"^\s*(.*(?:udp|th) dport .*)$", rules, re.MULTILINE)
    assert [line for line in others if "DHCP" not in line and "@temp-ports" not in line] == []
    assert "elements" not in rules
    assert policy.load("firewall")["log"]["prefix"] in rules


def test_the_kernels_settings_are_the_policys(machine: Running) -> None:
    wanted = {one["key"]: str(one["value"]) for one in policy.load("sysctl")["setting"]}
    paths = " ".join(key.replace(".", "/") for key in wanted)
    answer = machine.run(
        f"cd /proc/sys; for p in {paths}; do [ ! -e $p ] || echo $p $(cat $p); done"
    )
    found = dict(line.replace("/", ".").split() for line in answer.splitlines())
    release = machine.run("uname -r").split(".")
    kernel = (int(release[0]), int(release[1]))
    unknown = {key for key, since in YOUNGER.items() if kernel < since}
    assert found == {key: value for key, value in wanted.items() if key not in unknown}


def test_no_kernel_module_is_loaded_any_more(machine: Running) -> None:
    """The lock follows the last unit of the boot, so it may still be to come."""
    machine.run("systemctl start paranoid-lock-modules")
    assert machine.run("cat /proc/sys/kernel/modules_disabled") == "1\n"


def test_the_audit_rules_are_the_policys(scene: Scene) -> None:
    machine = scene.machine
    loaded = {
        (arch, frozenset(calls.split(",")), key)
        for arch, calls, key in re.findall(
            r"-a always,exit -F arch=(\S+) -S (\S+) .*-F key=(\S+)", machine.run("auditctl -l")
        )
    }
    assert loaded == {
        (arch, frozenset(rule["syscalls"]), rule["key"])
        for rule in policy.load("audit")["rule"]
        for arch in rule["architectures"]
    }
    status = dict(re.findall(r"(\w+) (\d+)", machine.run("auditctl -s")))
    assert (status["enabled"], status["lost"]) == ("2" if scene.differs.audit_locked else "1", "0")


def test_a_program_start_is_on_record_with_its_arguments(machine: Running) -> None:
    machine.run("env echo seen-by-audit")
    machine.run(
        "timeout 60 sh -c 'until grep -q a1=.seen-by-audi[t] /var/log/audit/audit.log;"
        " do sleep 0.2; done'"
    )
    trail = machine.run("journalctl --no-pager -b _TRANSPORT=audit -n 2000")
    assert 'a1="seen-by-audit"' in trail


class TestBreakGlass:
    """The entry for the day when the paranoid system is in its owner's way."""

    def test_it_executes_what_is_brought_along(self, scene: Scene) -> None:
        assert scene.break_glass.executes
        assert {"/", "/nix", "/run", "/dev/shm"} <= scene.break_glass.executing_mounts

    def test_it_loads_modules(self, scene: Scene) -> None:
        assert scene.break_glass.modules_disabled == "0"

    def test_it_says_so_on_the_console(self, scene: Scene) -> None:
        assert policy.load("breakglass")["notice"] in scene.break_glass.console

    def test_its_use_is_on_record_afterwards(self, scene: Scene) -> None:
        settings = policy.load("breakglass")
        [line] = scene.machine.run(f"cat {settings['record']}").splitlines()
        assert line.endswith(f"booted, boot id {scene.break_glass.boot.id}")
        found = scene.machine.run(
            f"journalctl --no-pager --output=cat --boot={journal_id(scene.break_glass.boot)}"
            f" MESSAGE_ID={settings['messageId']}"
        )
        assert found == f"{settings['notice']}\n"
