"""What the live system does with each answer of the installer, with stand-ins for its programs."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

AUTOINSTALL = Path(__file__).parents[2] / "iso" / "autoinstall"


class Machine:
    """A live system with consoles tty1 and ttyS0, whose programs do as they are told."""

    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self.devices = directory / "dev"
        self.log = directory / "log"
        self.calls = directory / "calls"
        self.active = directory / "active"
        for made in (self.bin, self.devices):
            made.mkdir()
        for console in ("tty1", "ttyS0"):
            (self.devices / console).touch()
        self.active.write_text("tty0 ttyS0\n")
        self.calls.touch()
        for name in ("paranoid-install", "boot-installed", "udevadm"):
            self.program(name, "")
        self.program("systemctl", '[ "$1" != is-system-running ] || echo running')

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.calls}\n{body}\n')
        path.chmod(0o755)

    def start(
        self, console: int | None = None, *, installed: str = "boot", refused: str = "wait"
    ) -> subprocess.Popen[bytes]:
        """Start the script, with a terminal for its console where one is given."""
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "ANSWERS": "/etc/paranoid/answers.toml",
            "WHEN_INSTALLED": installed,
            "WHEN_REFUSED": refused,
            "AUTOINSTALL_LOG": str(self.log),
            "AUTOINSTALL_CONSOLES": str(self.active),
            "AUTOINSTALL_DEVICES": str(self.devices),
        }
        # As systemd starts it with StandardInput=tty-force.
        taking = [] if console is None else ["setsid", "--ctty"]
        return subprocess.Popen(
            [*taking, AUTOINSTALL],
            env=environment,
            stdin=subprocess.DEVNULL if console is None else console,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def run(self, *, installed: str = "boot", refused: str = "wait") -> int:
        with self.start(installed=installed, refused=refused) as script:
            try:
                return script.wait(timeout=30)
            finally:
                script.kill()

    @property
    def called(self) -> list[str]:
        return [c for c in self.calls.read_text().splitlines() if "is-system-running" not in c]

    @property
    def shells(self) -> list[str]:
        return [c.split()[-1] for c in self.called if c.startswith("systemctl start")]


BOTH_SHELLS = ["paranoid-shell@tty1.service", "paranoid-shell@ttyS0.service"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def ends_with(code: int, machine: Machine, *, installed: bool = False) -> None:
    machine.program("paranoid-install", f"echo a word of the installer; exit {code}")
    machine.program("boot-installed", "exit 0" if installed else "exit 1")


def test_it_waits_for_udev_and_then_installs_as_the_image_answers(machine: Machine) -> None:
    machine.run()
    assert machine.called[:2] == [
        "udevadm settle --timeout=60",
        "paranoid-install --plain --answers /etc/paranoid/answers.toml",
    ]


def test_what_the_installer_says_is_on_every_console_and_in_the_log(machine: Machine) -> None:
    machine.program("paranoid-install", "echo one; echo two >&2; exit 5")
    machine.run()
    for place in (machine.devices / "tty1", machine.devices / "ttyS0", machine.log):
        assert place.read_text().startswith("one\ntwo\n")


def test_the_log_is_for_root_alone(machine: Machine) -> None:
    machine.log.touch(0o644)
    machine.run()
    assert stat.S_IMODE(machine.log.stat().st_mode) == 0o600


def test_why_a_disk_is_not_booted_is_told(machine: Machine) -> None:
    ends_with(3, machine)
    machine.program("boot-installed", "echo its record names another disk >&2; exit 3")
    machine.run()
    assert "nothing is booted: its record names another disk" in machine.log.read_text()


def test_a_console_that_is_not_there_stops_nothing(machine: Machine) -> None:
    (machine.devices / "ttyS0").unlink()
    (machine.devices / "ttyS0").mkdir()  # opening it for writing fails
    ends_with(0, machine)
    assert machine.run() == 0
    assert "a word of the installer" in (machine.devices / "tty1").read_text()


def test_after_an_installation_that_powers_off_nothing_more_is_done(machine: Machine) -> None:
    ends_with(0, machine)
    machine.program("systemctl", "echo stopping")
    assert machine.run() == 0
    assert machine.shells == []


def test_after_an_installation_that_does_nothing_more_a_person_gets_a_shell(
    machine: Machine,
) -> None:
    ends_with(0, machine)
    assert machine.run() == 0
    assert machine.shells == BOTH_SHELLS


@pytest.mark.parametrize("code", [1, 5, 6, 7, 130, 143])
def test_a_failure_waits_for_a_person_whatever_the_image_says_of_refusals(
    machine: Machine, code: int
) -> None:
    ends_with(code, machine, installed=True)
    assert machine.run(refused="poweroff", installed="poweroff") == code
    assert machine.shells == BOTH_SHELLS
    assert f"exit code {code}" in machine.log.read_text()
    assert not any("poweroff" in call or "kexec" in call for call in machine.called)


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_refusal_waits_for_a_person(machine: Machine, code: int) -> None:
    ends_with(code, machine)
    assert machine.run() == code
    assert machine.shells == BOTH_SHELLS
    assert "systemctl poweroff" not in machine.called


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_refusal_powers_off_where_the_image_says_so(machine: Machine, code: int) -> None:
    ends_with(code, machine)
    assert machine.run(refused="poweroff") == code
    assert machine.called[-1] == "systemctl poweroff"
    assert machine.shells == []


def test_a_machine_that_is_installed_boots_from_its_disk(machine: Machine) -> None:
    ends_with(3, machine, installed=True)
    assert machine.run() == 3
    assert machine.called[-2:] == ["boot-installed --check", "boot-installed"]
    assert machine.shells == []
    assert "installed already" in (machine.devices / "ttyS0").read_text()


def test_a_machine_that_is_installed_and_does_not_boot_waits_for_a_person(
    machine: Machine,
) -> None:
    ends_with(3, machine)
    machine.program("boot-installed", '[ "${1-}" = --check ] || { echo no kernel; exit 1; }')
    assert machine.run() == 3
    assert "no kernel" in machine.log.read_text()
    assert machine.shells == BOTH_SHELLS


@pytest.mark.parametrize(("when", "last"), [
    ("poweroff", "systemctl poweroff"),
    ("wait", "systemctl start --no-block paranoid-shell@ttyS0.service"),
])  # fmt: skip
def test_the_image_says_what_else_becomes_of_an_installed_machine(
    machine: Machine, when: str, last: str
) -> None:
    ends_with(3, machine, installed=True)
    assert machine.run(installed=when) == 3
    assert machine.called[-1] == last
    assert "boot-installed" not in machine.called


def test_only_a_refusal_looks_for_an_installed_machine(machine: Machine) -> None:
    ends_with(4, machine, installed=True)
    machine.run()
    assert "boot-installed --check" not in machine.called


# As the real one: a signal makes it take back what it did, and then end.
AT_WORK = """\
import pathlib, signal, sys
numbers = {signal.SIGINT, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
begun, held = map(pathlib.Path, sys.argv[1:])
held.touch()
begun.write_text("begun")
number = signal.sigwait(numbers)
held.unlink()
print("stopped by", signal.Signals(number).name)
sys.exit(128 + number)
"""


def at_work(
    machine: Machine, tmp_path: Path, console: int | None = None
) -> subprocess.Popen[bytes]:
    """The script, when its installer holds something: `held` is there until it is released."""
    begun, code = tmp_path / "begun", tmp_path / "installer.py"
    os.mkfifo(begun)
    code.write_text(AT_WORK)
    machine.program("paranoid-install", f"exec {sys.executable} {code} {begun} {tmp_path}/held")
    script = machine.start(console)
    assert begun.read_text() == "begun"
    return script


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_is_passed_on_and_waits_for_what_is_released(
    machine: Machine, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with at_work(machine, tmp_path) as script:
        script.send_signal(number)
        assert script.wait(timeout=30) == code
    assert not (tmp_path / "held").exists()
    assert f"stopped by {number.name}" in (machine.devices / "ttyS0").read_text()
    assert f"exit code {code}" in machine.log.read_text()
    assert machine.shells == BOTH_SHELLS


def test_ctrl_c_on_the_console_ends_the_installer_and_not_the_script(
    machine: Machine, tmp_path: Path
) -> None:
    keyboard, console = os.openpty()
    with at_work(machine, tmp_path, console) as script:
        os.write(keyboard, b"\x03")
        assert script.wait(timeout=30) == 130
    assert "stopped by SIGINT" in machine.log.read_text()
    assert machine.shells == BOTH_SHELLS


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_after_a_stop_before_the_installer_has_begun_it_does_not_begin(
    machine: Machine, number: signal.Signals, code: int
) -> None:
    machine.program("udevadm", f'kill -{number.value} "$PPID"')
    assert machine.run() == code
    assert not [call for call in machine.called if call.startswith("paranoid-install")]
    assert machine.shells == BOTH_SHELLS


def test_a_stop_that_turns_the_machine_off_starts_no_shell(machine: Machine) -> None:
    ends_with(143, machine)
    machine.program("systemctl", '[ "$1" = is-system-running ] || exit 1; echo stopping; exit 1')
    assert machine.run() == 143
    assert machine.shells == []
    assert "exit code 143" in machine.log.read_text()


def test_what_the_installer_says_after_it_asked_for_the_power_off_is_shown(
    machine: Machine, tmp_path: Path
) -> None:
    """systemd ends the script's unit as soon as the installer has asked; the result comes after.

    The installer is told of it, and waits with that: it has asked itself (actions.Leave).
    """
    asked, stopped = tmp_path / "asked", tmp_path / "stopped"
    for made in (asked, stopped):
        os.mkfifo(made)
    said = f"trap '' TERM; echo > {asked}; read -r _ < {stopped}; echo host key SHA256:abc"
    machine.program("paranoid-install", said)
    machine.program("systemctl", "echo stopping")
    with machine.start() as script:
        asked.read_text()
        script.send_signal(signal.SIGTERM)
        stopped.write_text("\n")
        assert script.wait(timeout=30) == 0
    assert "host key SHA256:abc" in (machine.devices / "ttyS0").read_text()
    assert machine.shells == []
