"""Whoever shares an address with the owner cannot keep the owner out; where he can, the console.

OpenSSH 9.8 began to refuse addresses whose sessions failed. The policy switches that off.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.ssh import server
from tests.ssh.test_keys import public

_ENOUGH = 6
"""Failures after which OpenSSH's own penalties have set in: four cost 20 s, and 15 is the limit."""


def misbehave(daemon: server.Server, stranger: Path) -> None:
    """Wrong keys and a scan, from the owner's address."""
    for _ in range(_ENOUGH):
        assert daemon.said(stranger) == ""
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=10) as scan:
            scan.recv(1)


def test_the_owner_gets_in_after_wrong_keys_and_a_scan_from_his_address(tmp_path: Path) -> None:
    owner, stranger = server.made(tmp_path, "ed25519"), server.made(tmp_path, "rsa", "-b", "3072")
    with server.running() as daemon:
        assert daemon.lets_in(public(owner).encode(), owner)
        misbehave(daemon, stranger)
        assert daemon.said(owner) == "inside-42"


@pytest.mark.skipif(server.version() < (9, 8), reason="needs OpenSSH 9.8, which has penalties")
def test_with_penalties_a_reload_at_the_console_lets_the_owner_in_again(tmp_path: Path) -> None:
    owner, stranger = server.made(tmp_path, "ed25519"), server.made(tmp_path, "rsa", "-b", "3072")
    with server.running({"PerSourcePenalties": "yes"}) as daemon:
        assert daemon.lets_in(public(owner).encode(), owner)
        misbehave(daemon, stranger)
        assert daemon.said(owner) == ""
        # What `systemctl reload sshd` sends: the unit of NixOS is of Type=notify-reload.
        (daemon.directory / "pid").unlink()
        os.kill(daemon.pid, signal.SIGHUP)
        server.wait_for(daemon.directory / "pid")
        assert daemon.said(owner) == "inside-42"
