"""ssh public keys: one that sshd would not take must not pass the lock-out guard."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import keys
from tests.unit.samples import KEY

_TYPE, _BLOB, _COMMENT = KEY.split()


@pytest.mark.parametrize(
    "line", [KEY, f"  {KEY}\t", f"{_TYPE} {_BLOB}", f'restrict,command="echo hi" {KEY}']
)
def test_a_key_of_an_authorized_keys_file(line: str) -> None:
    assert keys.parse(line) == line.strip()


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "this is a private key; give the public one"),
        (f"# {KEY}", "is not an ssh public key"),
        (f"#{KEY}", "is not an ssh public key"),
        (f"x{KEY}", "is not an ssh public key"),
        (f"{_TYPE} {_BLOB}!", "is not an ssh public key"),
        (f"{_TYPE} {_BLOB[:-8]}", "is a damaged ssh public key"),
        (f"ssh-rsa {_BLOB}", "is a damaged ssh public key"),
        (f"{KEY}\x1b[2J", "is not an ssh public key"),
        ("hello", "is not an ssh public key"),
    ],
)
def test_what_sshd_would_not_take(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        keys.parse(line)


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# mine\n\n{KEY}\n", encoding="utf-8")
    assert keys.read(str(file)) == (KEY,)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "holds no ssh public key"),
        (f"#{KEY}\n", "holds no ssh public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "is a private key"),
        (f"{KEY}\nrubbish\n", "'rubbish' is not an ssh public key"),
    ],
)
def test_a_file_without_good_keys(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "keys").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        keys.read(str(tmp_path / "keys"))


def test_neither_key_nor_file() -> None:
    with pytest.raises(ValueError, match="is neither an ssh public key nor a file"):
        keys.read("/none")


def test_a_key_in_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "users.nix").write_text(f'{{ keys = [ "{KEY}" ]; }}', encoding="utf-8")
    assert keys.in_directory(str(tmp_path))
    (tmp_path / "users.nix").write_text('{ keys = [ "ssh-ed25519 AAAA…" ]; }', encoding="utf-8")
    assert not keys.in_directory(str(tmp_path))


def test_a_system_s_commented_key_opens_no_door(tmp_path: Path) -> None:
    directory = tmp_path / "etc/ssh/authorized_keys.d"
    directory.mkdir(parents=True)
    (directory / "root").write_text(f"#{KEY}\n", encoding="utf-8")
    assert keys.of_system(str(tmp_path)) == ()
    (directory / "root").write_text(f"{KEY}\n", encoding="utf-8")
    assert keys.of_system(str(tmp_path)) == (KEY,)


@given(st.integers(0, len(_BLOB) - 1))
def test_a_key_cut_short_anywhere_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="ssh public key"):
        keys.parse(f"{_TYPE} {_BLOB[:length]}")
