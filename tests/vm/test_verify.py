"""`verify` on the installed machine: what it says of it, and that it sees each loosened setting.

Where the test system lacks what NixOS's modules make, `dressed` puts it there;
tests/minios/README.md says what the test system is.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import policy
from paranoid_install.verify.registry import BY_ID
from tests.vm.vmlab.loosenings import DRESSING, IN_NAMESPACE, LOOSENINGS, NOT_LOOSENED
from tests.vm.vmlab.running import Running
from tests.vm.vmlab.standing import COMMAND, Standing

pytestmark = pytest.mark.full

HOST = {"kernel.processor", "users.setuid"}
"""What the host decides: weaknesses of its processor, and whether an emulated machine looks
through its directories in the time that a search may take."""

BARE = {
    "mounts.wrappers": ("unknown", "no set-uid wrappers"),
    "firewall.ssh": ("fail", "no listeners.json says that the port is meant to be open"),
    "firewall.listeners": ("unknown", "no listeners.json"),
    "nix.allowed-users": ("unknown", "no nix.conf"),
    "nix.trusted-users": ("unknown", "no nix.conf"),
    "nix.settings": ("unknown", "no nix.conf"),
    "users.wrappers": ("unknown", "no set-uid wrappers"),
    "users.wrappers-owner": ("unknown", "no set-uid wrappers"),
    "users.sudo": ("unknown", "no set-uid wrappers"),
    "kernel.core-dumps": ("unknown", "no coredump.conf"),
    "kernel.lockdown": ("fail", "Debian's kernel is not locked down"),
    "units.users": ("n/a", "no service of paranoid.services"),
    "units.confined": ("n/a", "no service of paranoid.services"),
    "units.persist": ("n/a", "no service of paranoid.services"),
    "units.exposure": ("n/a", "no service of paranoid.services"),
    "units.watch": ("fail", "no paranoid-watch.service"),
    "units.antivirus": ("fail", "no paranoid-antivirus.timer"),
    "units.signatures": ("n/a", "no scanner"),
    "logs.sent": ("fail", "nothing sends the journal"),
    "logs.sealed": ("n/a", "nothing sends the journal"),
    "logs.heartbeat": ("n/a", "nothing sends the journal"),
    "boot.editor": ("fail", "the test system's GRUB has no superusers"),
    "boot.kernel": ("n/a", "no /run/booted-system"),
}
"""What is not a pass on the test system as it was installed, and why; `DRESSING` mends it."""

LACKING = {
    "mounts.boot": ("n/a", "ext4 under BIOS"),
    "mounts.swap": ("n/a", "no swap"),
    "mounts.encrypted": ("fail", "the installer makes no encrypted disk"),
    "users.sudo": ("n/a", "no sudo"),
    "audit.locked": ("fail", "rules that are locked cannot be loosened"),
    "boot.secure": ("n/a", "started by BIOS"),
    "devices.usb": ("n/a", "no USB"),
    "devices.wireless": ("n/a", "no radio"),
    "kernel.apparmor": ("fail", "no profile is loaded"),
    "users.sudoers": ("n/a", "no sudo"),
    "users.pam": ("fail", "Debian's common-auth ends with pam_permit"),
    "time.supported": ("unknown", "Debian's os-release has no end of support"),
    "vpn.tailscale": ("n/a", "no private network is configured"),
    "vpn.wireguard": ("n/a", "no private network is configured"),
    "persistence.secrets": ("n/a", "no password file was asked for"),
    "time.clock": ("unknown", "no timedated"),
}
"""What is no pass on it in any case, and why."""

YOUNGER = {"kernel.memfd": (6, 3), "kernel.io-uring": (6, 6), "kernel.terminals": (6, 2)}
"""Checks of settings that came with this kernel; unknown with an older one."""

Answers = dict[str, tuple[str, list[str]]]


@dataclass(frozen=True)
class Asker:
    """A process on the machine that loosens, asks and mends."""

    process: subprocess.Popen[str]

    def ask(self, loosen: str = "true", mend: str = "true") -> Answers:
        """The answers of all checks while the machine is loosened."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"loosen": loosen, "mend": mend}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, "the asking process has ended"
        answer: dict[str, Any] = json.loads(line)
        assert answer["trouble"] == ""
        print(f"gathered in {answer['seconds']} s")
        return {name: (status, evidence) for name, (status, evidence) in answer["checks"].items()}


@pytest.fixture(scope="module")
def machine(standing: Standing) -> Iterator[Running]:
    with standing.up("verified") as up:
        yield up


@pytest.fixture(scope="module")
def bare(machine: Running) -> dict[str, Any]:
    """The report on the machine as it was installed."""
    report: dict[str, Any] = json.loads(machine.run(f"{COMMAND} verify --json || [ $? -eq 8 ]"))
    return report


@pytest.fixture(scope="module")
def asker(machine: Running, bare: dict[str, Any]) -> Iterator[Asker]:
    """The machine with all that NixOS's modules make and the test system lacks."""
    assert bare["live"]
    machine.run(DRESSING)
    source = (Path(__file__).parent / "machine/ask_verify.py").read_text()
    command = f"{COMMAND.partition(' -m ')[0]} -c {shlex.quote(source)}"
    argv = machine.argv("ssh", destination=("root@127.0.0.1", command))
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Asker(process)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def dressed(asker: Asker) -> Answers:
    """What verify says of it before anything is loosened."""
    return asker.ask()


@pytest.fixture(scope="module")
def too_old(machine: Running) -> set[str]:
    release = machine.run("uname -r").split(".")
    kernel = (int(release[0]), int(release[1]))
    return {name for name, since in YOUNGER.items() if kernel < since}


def no_pass(answers: Answers) -> dict[str, str]:
    return {n: status for n, (status, _) in answers.items() if status != "pass" and n not in HOST}


def changed(before: Answers, after: Answers) -> dict[str, str]:
    return {
        name: status
        for name, (status, _) in after.items()
        if status != before[name][0] and (name not in HOST or status == "fail")
    }


def test_each_check_is_loosened_or_said_why_not() -> None:
    named = [*LOOSENINGS, *IN_NAMESPACE, *NOT_LOOSENED]
    assert sorted(named) == sorted(BY_ID)


def test_a_machine_as_installed_passes_all_but_what_it_lacks(
    bare: dict[str, Any], too_old: set[str]
) -> None:
    answers = {item["id"]: (item["status"], item["evidence"]) for item in bare["checks"]}
    expected = {name: status for name, (status, _) in (LACKING | BARE).items()}
    assert no_pass(answers) == expected | dict.fromkeys(too_old, "unknown"), answers
    assert bare["failed"]


def test_a_machine_with_the_modules_files_passes_all_that_apply(
    dressed: Answers, too_old: set[str]
) -> None:
    expected = {name: status for name, (status, _) in LACKING.items()}
    assert no_pass(dressed) == expected | dict.fromkeys(too_old, "unknown"), dressed


@pytest.mark.parametrize("name", LOOSENINGS)
def test_a_loosened_setting_turns_its_own_check_red(
    asker: Asker, dressed: Answers, name: str
) -> None:
    if dressed[name][0] == "fail":
        pytest.skip(f"{name} fails on this host as it is: {dressed[name][1]}")
    loosening = LOOSENINGS[name]
    found = asker.ask(loosening.loosen, loosening.mend)
    assert changed(dressed, found) == {name: "fail", **loosening.also}, found
    assert found[name][1]


@pytest.mark.parametrize("name", IN_NAMESPACE)
def test_another_root_turns_its_own_check_red(
    machine: Running, dressed: Answers, name: str
) -> None:
    script, also = IN_NAMESPACE[name]
    inside = shlex.quote(f"{script} && {COMMAND} verify --json")
    report = json.loads(
        machine.run(f"unshare --mount --propagation private sh -c {inside} || [ $? -eq 8 ]")
    )
    found = {item["id"]: (item["status"], item["evidence"]) for item in report["checks"]}
    assert changed(dressed, found) == {name: "fail", **also}, found


def test_what_was_loosened_is_mended_and_nothing_stays(asker: Asker, dressed: Answers) -> None:
    """Else a later loosening would have been looked at on a machine that was loose already."""
    assert changed(dressed, asker.ask()) == {}


def test_two_reports_differ_by_what_was_loosened(machine: Running, dressed: Answers) -> None:
    assert dressed
    report = f"{COMMAND} verify --json"
    machine.run(
        f"{report} > /run/before.json || [ $? -eq 8 ]\n"
        "sysctl -qw kernel.sysrq=1 fs.suid_dumpable=1\n"
        f"{report} > /run/after.json || [ $? -eq 8 ]\n"
        "sysctl -qw kernel.sysrq=0 fs.suid_dumpable=0"
    )
    compare = f"{COMMAND} verify diff /run/before.json /run/after.json --fail-on medium --json"
    done = machine.ssh(compare)
    assert (done.returncode, [change["id"] for change in json.loads(done.stdout)]) == (
        8,
        ["kernel.sysrq", "kernel.suid-dump"],
    )


def test_verify_changes_nothing(machine: Running, dressed: Answers) -> None:
    """Not one record of the kernel's settings, rules, mounts or files is another afterwards."""
    assert dressed
    keys = " ".join(one["key"] for one in policy.load("sysctl")["setting"])
    state = (
        "cat /proc/self/mounts; nft list ruleset; auditctl -l; auditctl -s | grep -v backlog;"
        f" sysctl {keys} 2> /dev/null;"
        " find /etc /srv /nix/persist/etc /boot -xdev -printf '%p %m %U %C@\\n' | sort"
    )
    before = machine.run(state)
    machine.run(f"{COMMAND} verify --json > /dev/null || [ $? -eq 8 ]")
    assert machine.run(state) == before


def test_locked_rules_are_seen(asker: Asker, dressed: Answers) -> None:
    """The last one: no rule changes after it until the next boot."""
    assert dressed["audit.locked"][0] == "fail"
    assert changed(dressed, asker.ask("auditctl -e 2")) == {"audit.locked": "pass"}
