"""A machine that stays up while a test talks to it by ssh."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.vm.vmlab import qemu
from tests.vm.vmlab.process import LabError
from tests.vm.vmlab.qmp import Qmp

UP_SECONDS = 600
"""Limit from power-on to the ssh daemon's greeting, under TCG on a busy machine."""

_COMMAND_SECONDS = 120

_GLANCE_SECONDS = 0.2


@dataclass(frozen=True)
class Running:
    """A machine whose ssh daemon answers. `key` is the operator's private key.

    The host key that it shows first is kept in `known_hosts`; from then on the client takes
    no other.
    """

    port: int
    key: Path
    known_hosts: Path
    logs: Path
    process: subprocess.Popen[bytes]

    def ssh(
        self, command: str, *options: str, key: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What OpenSSH's client gives; `options` stand before the destination."""
        return self.client("ssh", *options, destination=("root@127.0.0.1", command), key=key)

    def client(
        self, program: str, *options: str, destination: tuple[str, ...], key: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ssh or sftp against the machine, with nothing of the caller's own settings."""
        return subprocess.run(
            self.argv(program, *options, destination=destination, key=key),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    def argv(
        self, program: str, *options: str, destination: tuple[str, ...], key: Path | None = None
    ) -> list[str]:
        """What `client` runs."""
        private = key or self.key
        # The client takes the first of two values: those of the caller.
        return [
            program, *options, "-F", "none", "-i", str(private), "-o", f"Port={self.port}",
            "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "HostKeyAlias=machine",
            "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=accept-new",
            "-o", "ConnectTimeout=60", *destination,
        ]  # fmt: skip

    def run(self, command: str) -> str:
        """Standard output of a command that root runs there; LabError when it fails."""
        done = self.ssh(command)
        if done.returncode != 0:
            raise LabError(f"{command!r}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def power_off(self, seconds: float = 90) -> None:
        """End it as an operator does; LabError when it goes on."""
        self.run("systemctl --no-block poweroff")
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"not off after {seconds:.0f} s: {self.logs / 'console.log'}") from error
        if code != 0:
            raise LabError(f"QEMU ended with exit code {code}")


@contextmanager
def running(
    machine: qemu.Machine, logs: Path, key: Path, known_hosts: Path, *, second_entry: str = ""
) -> Iterator[Running]:
    """Start a machine and wait for its ssh daemon; in the end it is off, whatever happened.

    `second_entry` is a word of the second line of its boot menu: that one is chosen by keys, as
    a person does it, when the menu is there. Raises LabError when that does not come, or the
    daemon does not answer, within UP_SECONDS.
    """
    logs.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = qemu.arguments(replace(machine, ssh_port=port), logs)
    (logs / "console.log").unlink(missing_ok=True)
    with (logs / "qemu.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            if second_entry:
                _choose_second(second_entry, logs)
            _wait_for_greeting(process, port, logs)
            yield Running(port, key, known_hosts, logs, process)
        finally:
            process.kill()
            process.wait()


def _choose_second(title: str, logs: Path) -> None:
    deadline = time.monotonic() + UP_SECONDS
    with Qmp(logs / "qmp", seconds=20) as qmp:
        while title not in qemu.console(logs):
            if qmp.wait_for_end(_GLANCE_SECONDS):
                raise LabError(f"QEMU ended: {(logs / 'qemu.log').read_text()}")
            if time.monotonic() > deadline:
                raise LabError(f"no {title} in the boot menu:\n{qemu.console(logs)[-2000:]}")
        for name in ("down", "ret"):
            qmp.execute("send-key", keys=[{"type": "qcode", "data": name}])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_greeting(process: subprocess.Popen[bytes], port: int, logs: Path) -> None:
    """QEMU takes the connection before the guest does, and closes it when that takes none.

    Each is held on to: one that is given up stays in the guest, where the daemon counts it
    (PerSourceMaxStartups).
    """
    deadline = time.monotonic() + UP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise LabError(f"QEMU ended: {(logs / 'qemu.log').read_text()}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
                if connection.recv(64).startswith(b"SSH-2.0-"):
                    return
        except OSError:
            pass
        # Nothing tells of a port that opens in a guest: look again until time is up.
        time.sleep(_GLANCE_SECONDS)
    raise LabError(
        f"no ssh daemon after {UP_SECONDS} s; the console:\n{qemu.console(logs)[-2000:]}"
    )
