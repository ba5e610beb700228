"""What makes the machine itself: keys, id, password."""

from __future__ import annotations

import shlex
import uuid
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.actions.base import Machine, Plain
from paranoid_install.actions.files import write
from paranoid_install.errors import CommandFailed
from paranoid_install.layout import HostKey


@dataclass(frozen=True)
class GenerateHostKey(Plain):
    """Generate an ssh host key pair; its fingerprint is learned for the first login's check."""

    key: HostKey
    root: str

    @property
    def argv(self) -> tuple[str, ...]:
        bits = ("-b", str(self.key.bits)) if self.key.bits else ()
        path = self.root + self.key.path
        return ("ssh-keygen", "-q", "-t", self.key.type, *bits, "-N", "", "-C", "", "-f", path)

    @property
    def line(self) -> str:
        return shlex.join(self.argv)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("ssh-keygen",)

    def apply(self, machine: Machine) -> None:
        public = f"{self.root}{self.key.path}.pub"
        # Half a pair of a run that was cut off; ssh-keygen would ask before it overwrites one.
        for file in (Path(self.root + self.key.path), Path(public)):
            file.unlink(missing_ok=True)
        machine.runner.run(*self.argv)
        printed = machine.runner.run(
            "ssh-keygen", "-l", "-E", "sha256", "-f", public
        ).stdout.split()
        fingerprint = next((word for word in printed if word.startswith("SHA256:")), None)
        if fingerprint is None:
            raise CommandFailed(self.argv, f"made no key with a fingerprint at {public}", 0)
        machine.learn(f"host-key-{self.key.type}", fingerprint)


@dataclass(frozen=True)
class GenerateMachineId(Plain):
    """Generate the machine-id (machine-id(5): a random UUID in lower-case hex)."""

    path: str

    @property
    def line(self) -> str:
        return f"systemd-id128 new > {shlex.quote(self.path)}"

    def apply(self, machine: Machine) -> None:
        machine_id = uuid.uuid4().hex
        write(Path(self.path), machine_id + "\n", 0o444)
        machine.learn("machine-id", machine_id)


@dataclass(frozen=True)
class GenerateRootPassword(Plain):
    """Generate a password for root, show it once on the console, and keep only its hash."""

    path: str

    @property
    def line(self) -> str:
        return f"mkpasswd --method=yescrypt --stdin > {shlex.quote(self.path)}  # shown once"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("mkpasswd",)

    def apply(self, machine: Machine) -> None:
        import secrets  # noqa: PLC0415

        # Without letters and digits that look alike; 20 of 56 are 116 bits.
        alphabet = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
        password = "".join(secrets.choice(alphabet) for _ in range(20))
        result = machine.runner.run(
            "mkpasswd", "--method=yescrypt", "--stdin", stdin=password, secret=(password,)
        )
        hashed = result.stdout.strip()
        if not hashed.startswith("$y$"):
            raise CommandFailed(result.argv, "printed no yescrypt hash", 0)
        write(Path(self.path), hashed + "\n", 0o600)
        machine.show(f"root's password, shown only now: {password}")
