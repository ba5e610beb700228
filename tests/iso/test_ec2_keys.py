"""iso/ec2-keys, with a stand-in for the network and the real ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from paranoid_install import keys
from tests.unit.samples import KEY, rsa

SCRIPT = Path(__file__).parents[2] / "iso/ec2-keys"
_BEFORE = "ssh-ed25519 AAAA before\n"

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def boot(directory: Path, served: str) -> subprocess.CompletedProcess[str]:
    """One boot of an instance whose metadata service gives these keys, on its second address."""
    (directory / "served").write_text(served)
    curl = directory / "curl"
    curl.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        "case $last in http://first/*) exit 7 ;; */api/token) echo token ;;\n"
        f"*/openssh-key) cat {directory}/served ;; *) exit 22 ;; esac\n"
    )
    curl.chmod(0o755)
    (directory / "root").write_text(_BEFORE)
    policy = keys.of_policy()
    environment = {
        "PATH": f"{directory}:{os.environ['PATH']}",
        "KEYS": str(directory / "root"),
        "METADATA": "http://first/latest http://second/latest",
        "TYPES": "ssh-ed25519 ssh-rsa",
        "RSA_BITS": str(policy.rsa_bits),
    }
    return subprocess.run(
        [SCRIPT], env=environment, capture_output=True, text=True, check=False, timeout=30
    )


def test_the_key_of_the_instance_is_roots(tmp_path: Path) -> None:
    done = boot(tmp_path, f"{KEY}\r\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "root").read_text() == f"{KEY}\n"


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (rsa(2048), "RSA of 2048 bits, and this machine's sshd takes 3072 and more"),
        ('command="exit" ' + KEY, "is of type command"),
        ("<html>", "is no ssh public key"),
        ("", "no key of the instance lets root in"),
    ],
)
def test_a_key_that_sshd_would_not_take_replaces_nothing_and_the_console_says_so(
    tmp_path: Path, served: str, said: str
) -> None:
    done = boot(tmp_path, served)
    assert done.returncode == 1
    assert said in done.stderr
    assert (tmp_path / "root").read_text() == _BEFORE


def test_of_several_the_good_ones_are_taken(tmp_path: Path) -> None:
    done = boot(tmp_path, f"{rsa(2048)}\n{KEY}\n")
    assert done.returncode == 0
    assert "RSA of 2048 bits" in done.stderr
    assert (tmp_path / "root").read_text() == f"{KEY}\n"
