"""ssh public keys: one that sshd would not take must not pass the lock-out guard.

Whether sshd agrees is what tests/ssh finds out; here are the sentences, and what is a key at all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import keys
from paranoid_install.keys.accepts import OPENSSH, named
from paranoid_install.keys.options import judge
from paranoid_install.keys.sources import in_text
from tests.unit.samples import KEY, rsa

_TYPE, _BLOB, _COMMENT = KEY.split()
_NOW = datetime(2026, 11, 1, tzinfo=UTC)
_CERTIFICATE = f"ssh-ed25519-cert-v01@openssh.com {_BLOB} someone"


@pytest.mark.parametrize(
    "line",
    [
        KEY,
        f"  {KEY}\t",
        f"{_TYPE} {_BLOB}",
        f"{_TYPE}\t{_BLOB}\tadmin@host",
        f"{_TYPE} {_BLOB} Jos\u00e9\u00a0on his\u2028desk",
        f"{KEY}\r\n",
        f'restrict,from="10.0.0.0/8,!10.1.2.3" {KEY}',
        f'environment="A=ssh-rsa AAAA" {KEY}',
    ],
)
def test_a_key_of_an_authorized_keys_file(line: str) -> None:
    key = keys.parse(line)
    assert (key.type, key.blob) == (_TYPE, _BLOB)
    assert key.line.isprintable()
    assert keys.parse(key.line) == key


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "this is a private key; give the public one"),
        (f"# {KEY}", "is not an ssh public key but a remark"),
        (f"x{KEY}", "is not an ssh public key"),
        (f"{_TYPE} {_BLOB}!", "is a damaged ssh public key"),
        (f"{_TYPE} {_BLOB[:-8]}", "is a damaged ssh public key"),
        (f"ssh-rsa {_BLOB}", "is a damaged ssh public key"),
        (f"ssh-dss {_BLOB}", "is a DSA key"),
        (_CERTIFICATE, "is a certificate"),
        (f'from="10.0.0.1 {KEY}', "is a damaged ssh public key"),
        (f'{{"keys":["{KEY}"]}}', "is not an ssh public key"),
        ("hello", "is not an ssh public key"),
    ],
)
def test_what_sshd_would_not_take(line: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        keys.parse(line)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ('command="echo hi"', "it runs 'echo hi' in place of a shell"),
        ("cert-authority", "it is an authority's"),
        ('principals="root"', "principals= is for an authority's key"),
        ('expiry-time="20240101"', "it expired at 20240101"),
        ('expiry-time="20990101",expiry-time="20240101"', "it expired at 20240101"),
        ('expiry-time="soon"', "'soon' is no time"),
        ("no-user-rc,permitroot", "does not know the option 'permitroot'"),
        ("from=10.0.0.1", "does not know the option"),
        ('environment="A=\\",restrict', "does not know the option"),
        ('from="10.0.0.1/8"', "which is no network"),
        ('from="127.0.0.1,::1"', "admits this machine alone"),
        ('from="!10.0.0.1"', "admits no address"),
        ('from="*",from="*"', "it says from= twice"),
        ('environment="A B=1"', "may not take its option environment"),
        ('permitopen="host"', "may not take its option permitopen"),
        ('permitlisten="99999"', "may not take its option permitlisten"),
        ('tunnel="x"', "may not take its option tunnel"),
    ],
)
def test_an_option_that_keeps_its_holder_out(options: str, problem: str) -> None:
    assert problem in judge(options, _NOW).problem


@pytest.mark.parametrize(
    ("options", "limits"),
    [
        ("restrict,pty,no-X11-forwarding", ()),
        ('from="10.0.0.0/8,!10.1.2.3"', ("only from 10.0.0.0/8,!10.1.2.3",)),
        ('expiry-time="20270101"', ("until 20270101",)),
        ('environment="A=\\"x y\\""', ()),
        ("restrict,", ()),
    ],
)
def test_an_option_that_leaves_a_shell(options: str, limits: tuple[str, ...]) -> None:
    judged = judge(options, _NOW)
    assert (judged.problem, judged.limits) == ("", limits)


def test_a_key_that_ends_today_somewhere_is_not_counted_on() -> None:
    """The machine reads the time as its own zone's, which is not known here."""
    assert judge('expiry-time="20261101"', _NOW).problem


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (rsa(2048), "sshd takes RSA keys of 3072 bits and more, and it has 2048"),
        (rsa(3072), ""),
        (KEY, ""),
    ],
)
def test_the_policy_says_which_kinds_are_taken(key: str, problem: str) -> None:
    assert keys.of_policy().refusal(keys.parse(key)) == problem


@pytest.mark.parametrize(
    ("patterns", "meant"),
    [
        ("ssh-ed25519,rsa-sha2-512", {"ssh-ed25519", "rsa-sha2-512"}),
        ("+ssh-rsa", {*OPENSSH, "ssh-rsa"}),
        ("-ecdsa-*,sk-*", {"ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"}),
        ("ecdsa-sha2-nistp???", {n for n in OPENSSH if n.startswith("ecdsa")}),
    ],
)
def test_algorithms_are_patterns_that_add_and_take_away(patterns: str, meant: set[str]) -> None:
    assert set(named(patterns)) == meant


@pytest.mark.parametrize(
    "content",
    [
        f"# mine\n\n{KEY}\n".encode(),
        b"\xef\xbb\xbf" + KEY.encode() + b"\r\n",
        f"{KEY}\r\n".encode("utf-16"),
        f"{_TYPE} {_BLOB} Jos".encode() + b"\xe9\n",
        f"ssh-dss AAAA old\n{KEY}\nrubbish\n".encode(),
    ],
)
def test_a_file_of_keys_whatever_wrote_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").write_bytes(content)
    found = keys.read(str(tmp_path / "keys"))
    assert [keys.parse(line).blob for line in found.keys] == [_BLOB]
    assert found.keys[0].isprintable()


def test_what_a_file_holds_beside_good_keys_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f'ssh-dss AAAA old\n{KEY}\ncommand="x" {KEY} b\n')
    found = keys.read(str(tmp_path / "keys"))
    assert found.keys == (KEY,)
    assert [problem for problem in found.left if "DSA" in problem or "in place of" in problem]
    assert len(found.left) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "holds no ssh public key"),
        (f"#{KEY}\n", "holds no ssh public key"),
        (
            f'command="exit" {KEY}\n',
            "holds no ssh public key that opens a shell: .* in place of a shell; give another",
        ),
        (
            f"{KEY[:60]}\n{KEY[60:]}\n",
            "holds no ssh public key that opens a shell: .* is a damaged",
        ),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "is a private key"),
        ("x" * (1024 * 1024 + 1), "nor a file .has more than 1048576 bytes"),
    ],
)
def test_a_file_without_good_keys(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "keys").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        keys.read(str(tmp_path / "keys"))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (f"# {KEY}", "is only a remark"),
        ("/none", "is neither an ssh public key nor a file"),
        ("/dev/zero", "is no regular file"),
        (f'command="exit" {KEY}', "in place of a shell"),
        (f"ssh-rsa {_BLOB}", "is a damaged ssh public key"),
    ],
)
def test_neither_key_nor_file(value: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        keys.read(value)


class TestSystem:
    """The keys of a toplevel, by its own sshd_config."""

    @pytest.fixture
    def etc(self, tmp_path: Path) -> Path:
        etc = tmp_path / "etc/ssh"
        (etc / "authorized_keys.d").mkdir(parents=True)
        (etc / "authorized_keys.d/root").write_text(f"{KEY}\n", encoding="utf-8")
        return etc

    def found(self, etc: Path) -> keys.Found:
        toplevel = str(etc.parents[1])
        return keys.of_system(toplevel, keys.Daemon.of_system(toplevel))

    def test_a_key_lets_in_where_sshd_reads_it(self, etc: Path) -> None:
        (etc / "sshd_config").write_text("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n")
        assert self.found(etc) == keys.Found((KEY,))

    @pytest.mark.parametrize(
        "config",
        [
            None,
            "",
            "PermitRootLogin no",
            "PermitRootLogin forced-commands-only",
            "PubkeyAuthentication no",
            "AllowUsers admin",
            "DenyUsers ro*",
            "DenyUsers a\nDenyUsers root@*",
            "AllowGroups wheel",
            "ForceCommand /bin/date",
            "AuthenticationMethods publickey,password",
            "ListenAddress 127.0.0.1\nListenAddress [::1]:22",
            "PubkeyAcceptedAlgorithms ecdsa-sha2-nistp256",
            "Include /etc/ssh/more",
            "Match Address 10.0.0.0/8\n  PubkeyAuthentication no",
            "Match User root\n  ForceCommand /bin/date",
        ],
    )
    def test_and_where_it_does_not(self, etc: Path, config: str | None) -> None:
        keys_file = "AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n"
        if config is not None:
            (etc / "sshd_config").write_text(f"{keys_file if config else ''}{config}\n")
        found = self.found(etc)
        assert found.keys == ()
        assert len(found.left) == 1

    @pytest.mark.parametrize(
        "config",
        [
            "PermitRootLogin no\nPermitRootLogin yes\n",
            "AllowUsers root@10.0.0.1",
            "DenyUsers root@10.0.0.1",
            "AuthenticationMethods publickey,password publickey",
            "ListenAddress 127.0.0.1\nListenAddress 10.0.0.1",
            "Match User guest\n  ForceCommand /bin/date",
            "Match Address 10.0.0.0/8\n  X11Forwarding no",
        ],
    )
    def test_what_shuts_out_others_or_only_from_somewhere(self, etc: Path, config: str) -> None:
        config = config.replace("PermitRootLogin no\n", "PermitRootLogin prohibit-password\n")
        keys_file = "AuthorizedKeysFile none /etc/ssh/authorized_keys.d/%u\n"
        (etc / "sshd_config").write_text(keys_file + config)
        assert self.found(etc).keys == (KEY,)

    def test_what_sshd_reads_differently_from_an_editor_opens_no_door(self, etc: Path) -> None:
        (etc / "sshd_config").write_text("AuthorizedKeysFile /etc/ssh/authorized_keys.d/%u\n")
        for content in (f"#{KEY}\n", f"\ufeff{KEY}\n"):
            (etc / "authorized_keys.d/root").write_text(content, encoding="utf-8")
            assert self.found(etc).keys == ()


@given(st.integers(0, len(_BLOB) - 1))
def test_a_key_cut_short_anywhere_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="ssh public key"):
        keys.parse(f"{_TYPE} {_BLOB[:length]}")


@given(st.text(max_size=80))
def test_no_text_is_too_odd_to_be_judged(text: str) -> None:
    found = in_text(f"{text} {KEY}", _NOW)
    assert all(line.isprintable() or keys.parse(line) for line in found.keys)
    judge(text, _NOW)
