"""A real NixOS: installed, booted by its own boot loader, observed, rebuilt.

For BIOS the installer runs on this machine and evaluates and builds what it writes, with no
configuration but its own; for UEFI the image installs by itself what is baked into it. The
observations are those that the stand-in has to stand, and some that only NixOS can.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.nixos.lab import native
from tests.nixos.lab.build import Built, Place
from tests.vm.conftest import LOGS
from tests.vm.observations import *  # noqa: F403 # the tests
from tests.vm.observations import PROGRAMS, Differences, Scene, on_stage
from tests.vm.vmlab import qemu
from tests.vm.vmlab.lab import blank_disk
from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qemu import Disk, Machine
from tests.vm.vmlab.running import Running

INSTALL_SECONDS = 1800
"""Limit from the image's power-on to the machine's power-off, under TCG on a busy machine."""

DISK_MIB = 6144

DIFFERENCES = Differences(
    # Set-id wrappers, on a mount that is read-only; and builds, where the machine builds.
    may_execute=frozenset({"/run/wrappers", "/nix/var/nix/builds"}),
    audit_locked=True,
    # networkd, which the lab has in place of dhcpcd, asks for routers (ICMPv6).
    raw_sockets=frozenset({"58"}),
)

RESTARTING = {"systemd-journald.service": "it goes on from the first stage"}
"""Units that systemd has to start anew, and why."""

ERRORS = {
    r"^dbus\.(service|socket): ": "Debian's package has no unit for the first stage",
    r"^Failed to listen on dbus\.socket": "the same",
    r"^lastlog2-import\.service: ": "Debian's util-linux is built without it",
    r"Failed to find and pin callout binary .*bcache": "Debian's bcache-tools has them elsewhere",
    r"^Error running install command '.*/false' for module ": "the policy keeps it out",
}
"""Lines of the journal at priority `err` or worse, and why they are there."""

FINDINGS: dict[str, tuple[str, str]] = {
    "boot.editor": ("fail", "the default configuration has no password for GRUB's menu"),
    "kernel.apparmor": ("fail", "the design confines by systemd"),
    "kernel.lockdown": ("fail", "off by default: it needs signed modules"),
    "logs.journal": ("fail", "Debian's systemd forwards to syslog by a file of its own"),
    "logs.sent": ("fail", "the default configuration names no receiver"),
    "mounts.encrypted": ("fail", "the layout has no encryption"),
    "time.clock": ("fail", "the lab's network reaches no time server"),
}
"""Checks of `verify` that do not pass: their status, and why."""


@pytest.fixture(
    scope="module",
    params=["evaluated bios", "image uefi", pytest.param("image bios", marks=pytest.mark.full)],
)
def scene(
    request: pytest.FixtureRequest,
    place: Place,
    built: Callable[[str], Built],
    accelerator: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    how, firmware = request.param.split()
    logs = LOGS / f"nixos-{how}-{firmware}"
    shutil.rmtree(logs, ignore_errors=True)
    scratch = tmp_path_factory.mktemp("nixos")
    scratch.chmod(0o755)
    if how == "evaluated":
        disk, said = evaluated(place, built, scratch)
    else:
        disk = Disk(blank_disk(scratch / "disk.raw", DISK_MIB), "target")
        said = by_image(built("iso"), disk, accelerator, firmware, logs / "install")
    machine = Machine((disk,), accelerator, firmware, memory_mib=1024)
    boots = 2 if request.config.getoption("--full") else 1
    failed_before = request.session.testsfailed
    with on_stage(machine, logs, place.key, said, boots, DIFFERENCES) as scene:
        yield scene
    disk.image.unlink()
    if request.session.testsfailed == failed_before:
        shutil.rmtree(logs)


def evaluated(place: Place, built: Callable[[str], Built], scratch: Path) -> tuple[Disk, str]:
    """An image file that the installer made on this machine, and what it said."""
    built("written")
    said = native.install(
        place, built("installer"), scratch,
        "--disk", "disk.img", "--image-size", f"{DISK_MIB}M", "--tmpfs-size", "2G",
        "--firmware", "bios", "--ssh-key", f"{place.key}.pub",
    )  # fmt: skip
    return Disk(scratch / "disk.img", "target"), said


def by_image(iso: Built, disk: Disk, accelerator: str, firmware: str, logs: Path) -> str:
    """What the ISO said while it installed by itself."""
    [image] = iso.outside.glob("iso/*.iso")
    medium = Disk(image, "medium", "cd", read_only=True)
    machine = Machine((disk, medium), accelerator, firmware, memory_mib=2048)
    qemu.attend(machine, logs, INSTALL_SECONDS)
    return qemu.console(logs)


def test_the_message_bus_lives(machine: Running) -> None:
    """switch-to-configuration and systemctl reboot talk to systemd by it."""
    assert machine.run("busctl --no-pager call org.freedesktop.systemd1 /org/freedesktop/systemd1"
                       " org.freedesktop.DBus.Peer Ping") == ""  # fmt: skip
    assert machine.run("systemctl show -P ActiveState dbus-broker.service") == "active\n"


def test_no_unit_is_started_again_and_again(machine: Running) -> None:
    shown = machine.run("systemctl show --type=service --all --property=Id --property=NRestarts")
    units = [dict(line.split("=", 1) for line in unit.splitlines()) for unit in shown.split("\n\n")]
    found = {unit["Id"]: unit["NRestarts"] for unit in units if "Id" in unit}
    assert found
    assert {name for name, count in found.items() if count != "0"} <= set(RESTARTING)


def test_the_journal_has_no_error_but_those_with_a_reason(machine: Running) -> None:
    lines = machine.run(
        "journalctl --no-pager --boot --priority=err --output=cat _TRANSPORT=journal"
        " + _TRANSPORT=stdout + _TRANSPORT=kernel"
    ).splitlines()
    assert [line for line in lines if not any(re.search(known, line) for known in ERRORS)] == []


@pytest.fixture
def with_program(machine: Running) -> Running:
    """A machine that has the installer's program: the one that is evaluated has not."""
    if machine.ssh("command -v paranoid-install").returncode != 0:
        pytest.skip("what the installer writes brings no paranoid-install: nothing to watch with")
    return machine


def test_a_start_from_outside_the_store_is_told(with_program: Running) -> None:
    machine = with_program
    machine.ssh(f"{PROGRAMS} cp $true /srv/brought && /srv/brought")
    machine.run(
        "timeout 60 sh -c 'until journalctl --boot --no-pager --unit=paranoid-watch --output=cat |"
        " grep --quiet /srv/brought; do sleep 0.5; done'"
    )


def test_verify_finds_nothing_but_what_the_table_names(with_program: Running) -> None:
    done = with_program.ssh("paranoid-install verify --json")
    report = json.loads(done.stdout)
    found = {
        check["id"]: check["status"]
        for check in report["checks"]
        if check["status"] not in ("pass", "not-applicable")
    }
    assert found == {name: status for name, (status, _) in FINDINGS.items()}


@pytest.fixture(scope="module")
def changed(scene: Scene, place: Place, built: Callable[[str], Built]) -> Iterator[str]:
    """A changed system, pushed to the machine; in the end the machine runs the old one."""
    firmware = scene.machine.run("[ -d /sys/firmware/efi ] && echo uefi || echo bios").strip()
    system = built(f"changed.{firmware}")
    before = scene.machine.run("readlink -f /run/current-system").strip()
    push(place, system.path, scene.machine)
    yield system.path
    scene.machine.run(f"{before}/bin/switch-to-configuration switch")


class TestARebuild:
    """A changed system, switched to, and the way back."""

    def test_what_a_switch_would_do_is_said_and_not_done(self, scene: Scene, changed: str) -> None:
        done = scene.machine.ssh(f"{changed}/bin/switch-to-configuration dry-activate")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "would activate the configuration" in done.stdout + done.stderr
        assert scene.machine.run("readlink -f /run/current-system").strip() != changed

    def test_switching_ends_well(self, scene: Scene, changed: str) -> None:
        machine = scene.machine
        machine.run(f"nix-env --profile /nix/var/nix/profiles/system --set {changed}")
        done = machine.ssh(f"{changed}/bin/switch-to-configuration switch")
        assert done.returncode == 0, done.stdout + done.stderr
        assert machine.run("readlink -f /run/current-system").strip() == changed

    def test_what_was_changed_is_in_force(self, machine: Running) -> None:
        assert machine.run("sysctl -n net.ipv4.ip_default_ttl") == "63\n"
        assert machine.run("id -un newcomer") == "newcomer\n"
        assert machine.run("systemctl is-active beat.service") == "active\n"

    def test_the_garbage_is_not_what_runs_or_has_been_booted(self, machine: Running) -> None:
        machine.run("nix-collect-garbage")
        machine.run("test -e /run/current-system/init && test -e /run/booted-system/init")

    def test_the_boot_menu_has_both_generations(self, machine: Running) -> None:
        menu = machine.run("cat /boot/grub/grub.cfg /boot/loader/entries/*.conf 2> /dev/null; true")
        assert re.search(r"(?i)(generation|configuration) 1\b", menu), menu
        assert re.search(r"(?i)(generation|configuration) 2\b", menu), menu


def push(place: Place, path: str, machine: Running) -> None:
    """Copy what the machine has not of a closure into its store, as nix-copy-closure does."""
    there = set(machine.run("ls -d /nix/store/*").split())
    missing = [one for one in place.root.closure(path) if one not in there]
    export = place.root.argv("nix-store", "--export", *missing)
    into = machine.argv("ssh", destination=("root@127.0.0.1", "nix-store --import > /dev/null"))
    with subprocess.Popen(export, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as exporting:
        done = subprocess.run(
            into, stdin=exporting.stdout, capture_output=True, text=True, check=False, timeout=600
        )
    if exporting.returncode != 0 or done.returncode != 0:
        raise LabError(f"{path} did not reach the machine: {done.stderr}")
