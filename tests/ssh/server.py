"""A real ssh daemon with the policy's settings, on 127.0.0.1, in a directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_OWN = ("Port", "HostKey", "AuthorizedKeysFile", "LogLevel")
_START_SECONDS = 20


@dataclass(frozen=True)
class Server:
    """A daemon that listens. `directory` is its own; the keys of root are in `keys`."""

    directory: Path
    port: int
    pid: int

    @property
    def keys(self) -> Path:
        return self.directory / "authorized_keys"

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def said(self, private: Path, command: str = "echo inside-$((6*7))") -> str:
        """What root's shell answers to who comes with this key; empty: he does not get in."""
        options = {
            "BatchMode": "yes", "IdentitiesOnly": "yes", "IdentityAgent": "none",
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR",
        }  # fmt: skip
        argv = ["ssh", "-F", "none", "-i", str(private), "-p", str(self.port)]
        argv += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        done = subprocess.run(
            [*argv, "root@127.0.0.1", command],
            capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.stdout.strip()

    def lets_in(self, authorized: bytes, private: Path) -> bool:
        """Whether the file of keys opens a shell of root's own to the holder of the private key."""
        self.keys.write_bytes(authorized)
        return self.said(private) == "inside-42"


def settings(without: tuple[str, ...] = ()) -> str:
    """sshd_config(5) as nix/lib/sshd.nix makes it, less what the OpenSSH at hand is too old for."""
    instantiate = shutil.which("nix-instantiate", path=os.environ.get("PARANOID_NIX_BIN"))
    if instantiate is None:
        pytest.skip("nix-instantiate is not there")
    left = "".join(f'"{name}" ' for name in (*too_new(), *without))
    expression = f"""
      (import {ROOT}/nix/lib/sshd.nix {{
        policy = import {ROOT}/nix/lib/policy.nix;
        without = [ {left}];
      }}).text
    """
    done = subprocess.run(
        [instantiate, "--eval", "--strict", "--json", "--expr", expression],
        capture_output=True, text=True, check=True, env={**os.environ, "NIX_PATH": ""},
    )  # fmt: skip
    text: str = json.loads(done.stdout)
    return text


def too_new() -> tuple[str, ...]:
    """Settings and algorithms of the policy that the OpenSSH at hand does not know."""
    from paranoid_install import policy  # noqa: PLC0415

    asked: dict[str, object] = policy.load("sshd")["settings"]
    kinds = {"KexAlgorithms": "kex", "Ciphers": "cipher", "Macs": "mac"}
    missing = []
    for name, value in asked.items():
        if name in kinds and isinstance(value, list):
            listed = subprocess.run(
                ["ssh", "-Q", kinds[name]], capture_output=True, text=True, check=True
            )
            missing += [one for one in value if one not in listed.stdout.split()]
    if version() < (9, 8):
        missing.append("PerSourcePenalties")
    return tuple(missing)


def version() -> tuple[int, int]:
    """Of the OpenSSH at hand."""
    done = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True)
    major, minor = done.stderr.removeprefix("OpenSSH_").split("p")[0].split(".")
    return int(major), int(minor)


@contextmanager
def running(changes: dict[str, str] | None = None) -> Iterator[Server]:
    """Run the daemon; `changes` are settings in place of the policy's. Needs root."""
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or os.geteuid() != 0:
        pytest.skip("needs root and sshd (Debian: openssh-server)")
    changed = dict(changes or {})
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    # StrictModes wants no directory on the way that others may write to: not /tmp.
    directory = Path(tempfile.mkdtemp(prefix="paranoid-sshd-", dir="/run"))
    process = None
    try:
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "host")],
            check=True,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        left_out = {name.lower() for name in (*_OWN, *changed)}
        lines = [
            f"ListenAddress 127.0.0.1:{port}",
            f"HostKey {directory}/host",
            f"AuthorizedKeysFile {directory}/authorized_keys",
            f"PidFile {directory}/pid",
            "LogLevel DEBUG1",
            *(f"{name} {value}" for name, value in changed.items()),
            *(line for line in settings().splitlines() if line.split()[0].lower() not in left_out),
        ]
        config = directory / "sshd_config"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        process = subprocess.Popen(
            [program, "-D", "-f", str(config), "-E", str(directory / "log")],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        wait_for(directory / "pid", process)
        yield Server(directory, port, process.pid)
    finally:
        if process is not None:
            process.terminate()
            process.communicate(timeout=10)
        shutil.rmtree(directory)


def wait_for(file: Path, process: subprocess.Popen[str] | None = None) -> None:
    """Wait for the file that a daemon writes when it listens."""
    end = time.monotonic() + _START_SECONDS
    while not file.exists():
        ended = None if process is None else process.poll()
        log = file.with_name("log")
        assert ended is None, f"sshd ended with {ended}: {log.read_text(encoding='utf-8')}"
        assert time.monotonic() < end, f"sshd does not listen: {log.read_text(encoding='utf-8')}"
        time.sleep(0.02)


def made(directory: Path, kind: str, *options: str) -> Path:
    """A new key pair; the path of its private half."""
    path = directory / ("-".join((kind, *options)).replace("/", "_"))
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *options, "-N", "", "-C", "", "-f", str(path)], check=True
    )
    return path
