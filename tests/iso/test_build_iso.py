"""scripts/build-iso, with stand-ins for the network and for nix."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.samples import rsa

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("ssh-keygen", "openssl")),
    reason="needs ssh-keygen and openssl",
)


class Builder:
    def __init__(self, directory: Path) -> None:
        self.directory = directory / "work"
        self.directory.mkdir()
        self.bin = directory / "bin"
        self.bin.mkdir()
        self.calls = directory / "calls"
        self.calls.touch()
        key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.public = key.with_suffix(".pub").read_text()
        self.program("nix", "")
        self.serve(self.public)

    def program(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" >> {self.calls}\n{body}\n')
        path.chmod(0o755)

    def serve(self, text: str) -> None:
        served = self.bin.parent / "served"
        served.write_text(text)
        find = 'while [ "$1" != --output ]; do shift; done'
        self.program("curl", f'{find}; cp {served} "$2"')

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "scripts/build-iso", *arguments],
            cwd=self.directory,
            env={"PATH": f"{self.bin}:{os.environ['PATH']}"},
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip

    @property
    def called(self) -> list[str]:
        return self.calls.read_text().splitlines()


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def test_alone_it_builds_what_the_flake_has(builder: Builder) -> None:
    assert builder.run("--no-link").returncode == 0
    assert builder.called == [f"nix build {ROOT}#iso --no-link"]


def test_the_keys_of_a_user_are_shown_and_kept_with_their_hash(builder: Builder) -> None:
    done = builder.run("--github-user", "octocat")
    assert done.returncode == 0, done.stderr
    assert "SHA256:" in done.stdout
    kept = builder.directory / "paranoid-image"
    assert (kept / "octocat.keys").read_text() == builder.public
    digest = base64.b64encode(hashlib.sha256(builder.public.encode()).digest()).decode()
    assert f'hash = "sha256-{digest}"' in (kept / "octocat.nix").read_text()
    assert f'(/. + "{kept}/octocat.nix")' in builder.called[-1]


def test_keys_are_fetched_once(builder: Builder) -> None:
    builder.run("--github-user", "octocat")
    builder.serve("another key")
    assert builder.run("--github-user", "octocat").returncode == 0
    assert len([call for call in builder.called if call.startswith("curl")]) == 1


@pytest.mark.parametrize(("served", "said"), [
    ("", "has no public keys"),
    ("<html>not found</html>\n", "not a list of public keys"),
])  # fmt: skip
def test_what_is_not_a_list_of_keys_is_refused(builder: Builder, served: str, said: str) -> None:
    builder.serve(served)
    done = builder.run("--github-user", "octocat")
    assert done.returncode == 2
    assert said in done.stderr
    assert not (builder.directory / "paranoid-image/octocat.nix").exists()
    assert not any(call.startswith("nix") for call in builder.called)


@pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="needs nix-instantiate")
def test_a_key_that_sshd_would_not_take_builds_nothing(builder: Builder) -> None:
    builder.serve(rsa(2048) + "\n")
    done = builder.run("--github-user", "octocat")
    assert done.returncode == 2
    assert "sshd takes RSA keys of 3072 bits and more, and it has 2048" in done.stderr
    assert "no key of octocat lets root in" in done.stderr
    assert not any(call.startswith("nix build") for call in builder.called)


@pytest.mark.skipif(shutil.which("nix-instantiate") is None, reason="needs nix-instantiate")
def test_a_good_key_beside_a_bad_one_is_enough_and_the_bad_one_is_told(builder: Builder) -> None:
    builder.serve(f"{rsa(2048)}\n{builder.public}")
    done = builder.run("--github-user", "octocat")
    assert done.returncode == 0, done.stderr
    assert "keys that let nobody in, and why:\n  ssh-rsa" in done.stderr
    assert builder.called[-1].startswith("nix build")


def test_a_fetch_that_fails_builds_nothing(builder: Builder) -> None:
    builder.program("curl", "exit 22")
    assert builder.run("--github-user", "octocat").returncode == 2
    assert not any(call.startswith("nix") for call in builder.called)


@pytest.mark.parametrize("name", ["", "../x", "a b", 'x"; y', "-x"])
def test_a_name_that_is_none_is_never_asked_for(builder: Builder, name: str) -> None:
    assert builder.run("--github-user", name).returncode != 0
    assert builder.called == []


def test_settings_of_ones_own_go_into_the_image(builder: Builder) -> None:
    settings = builder.directory / "my image.nix"
    settings.write_text("{ }")
    assert builder.run("--settings", "my image.nix").returncode == 0
    assert f'imports = [ (/. + "{settings}") ]' in builder.called[-1]
    assert builder.run("--settings", "missing.nix").returncode == 2
