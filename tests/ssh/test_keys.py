"""Each key is judged here and tried against a real sshd with the policy's settings.

What it lets in and what it refuses is the truth; both judgements, the installer's and the Nix
side's, are compared with it. They may be stricter, where a line says so, and never laxer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from paranoid_install import keys, nixlang
from paranoid_install.keys.sources import in_text
from tests.nix.conftest import ROOT, Nix, nix  # noqa: F401 - a fixture
from tests.ssh import server

# The words before each key, and what sshd does with it.
OPTIONS = {
    "": True,
    "   ": True,
    "restrict ": True,
    "restrict,pty ": True,
    "NO-PTY,no-X11-forwarding ": True,
    "restrict, ": True,
    ",restrict,,pty ": True,
    "restrict\t": True,
    "no-touch-required,verify-required ": True,
    'environment="A=ssh-rsa AAAA" ': True,
    'environment="A=\\"x y\\"" ': True,
    'permitopen="h:22",permitopen="[::1]:22",permitopen="h:*" ': True,
    'permitlisten="8080",permitlisten="localhost:8080" ': True,
    'tunnel="ANY" ': True,
    'from="*" ': True,
    'from="127.0.0.0/8,10.0.0.0/8" ': True,
    "cert-authority ": False,
    'cert-authority,principals="root" ': False,
    'principals="root" ': False,
    'expiry-time="20240101" ': False,
    'expiry-time="20990101",expiry-time="20240101" ': False,
    'expiry-time="20991301" ': False,
    'command="echo inside" ': False,
    'no-port-forwarding,command="echo \'Please login as \\"debian\\".\';exit 142" ': False,
    "no-user-rc,permitroot ": False,
    "ptyx ": False,
    "no-restrict ": False,
    "no-no-pty ": False,
    '"restrict" ': False,
    "restrict pty ": False,
    "from=127.0.0.1 ": False,
    'from="127.0.0.1 ': False,
    'from ="127.0.0.1" ': False,
    'from="127.0.0.0/8",from="127.0.0.0/8" ': False,
    'from="127.0.0.0/8,10.0.0.1/8" ': False,
    'from="!10.0.0.1" ': False,
    'from="" ': False,
    'environment="A B=1" ': False,
    'environment="A" ': False,
    'environment="A=\\",restrict ': False,
    'environment="A=1"x ': False,
    'permitopen="h" ': False,
    'permitlisten="x:0" ': False,
    'tunnel="0:1" ': False,
    "# ": False,
    "#": False,
    "x": False,
    "\ufeff": False,
}
# sshd lets these in, and the judgement says that it cannot know, or that it is a matter of time.
STRICTER = {
    "both": ('permitopen="h:http" ', 'from="127.0.0.1" '),
    "nix": ('expiry-time="20990101" ', 'expiry-time="209901010000Z" '),
}


@pytest.fixture(scope="module")
def daemons() -> Iterator[list[server.Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(server.running()) for _ in range(3)]


@pytest.fixture(scope="module")
def daemon(daemons: list[server.Server]) -> server.Server:
    return daemons[0]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("keys")
    return {
        "ed25519": server.made(directory, "ed25519"),
        "rsa3072": server.made(directory, "rsa", "-b", "3072"),
        "rsa2048": server.made(directory, "rsa", "-b", "2048"),
        "ecdsa": server.made(directory, "ecdsa"),
    }


def public(private: Path) -> str:
    return private.with_name(f"{private.name}.pub").read_text(encoding="utf-8").strip()


def judged(line: str) -> bool:
    """Whether the installer counts on the line, as a system's file has it."""
    found = in_text(line)
    return bool(keys.opening(found.keys, keys.of_policy()).keys)


def judged_by_nix(nix: Nix, lines: list[str]) -> list[bool]:  # noqa: F811
    """Whether the modules count on each of the lines."""
    text = nixlang.string(json.dumps(lines))
    values = nix.evaluate(
        f"""
        let keys = import {ROOT}/nix/lib/keys.nix; policy = import {ROOT}/nix/lib/policy.nix; in
        map (keys.refusal (keys.ofPolicy policy)) (builtins.fromJSON {text})
        """
    )
    return [value is None for value in values]


def tried(daemons: list[server.Server], lines: list[tuple[str, Path]]) -> list[bool]:
    """Whether each line, as the only one of its file, lets the holder of its key into a shell."""
    results = [False] * len(lines)

    def work(worker: int) -> None:
        for number in range(worker, len(lines), len(daemons)):
            line, private = lines[number]
            results[number] = daemons[worker].lets_in(f"{line}\n".encode(), private)

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, range(len(daemons))))
    return results


def test_kinds_of_keys(
    daemons: list[server.Server],
    pairs: dict[str, Path],
    nix: Nix,  # noqa: F811
) -> None:
    expected = {"ed25519": True, "rsa3072": True, "rsa2048": False, "ecdsa": False}
    lines = {kind: public(pairs[kind]) for kind in expected}
    assert dict(zip(lines, tried(daemons, [(lines[k], pairs[k]) for k in lines]), strict=True)) == (
        expected
    )
    assert {kind: judged(line) for kind, line in lines.items()} == expected
    assert judged_by_nix(nix, list(lines.values())) == list(expected.values())


def test_options(daemons: list[server.Server], pairs: dict[str, Path], nix: Nix) -> None:  # noqa: F811
    key = public(pairs["ed25519"])
    both, only_nix = STRICTER["both"], STRICTER["nix"]
    lines = {option: f"{option}{key}" for option in (*OPTIONS, *both, *only_nix)}
    truth = OPTIONS | dict.fromkeys((*both, *only_nix), True)
    results = tried(daemons, [(line, pairs["ed25519"]) for line in lines.values()])
    assert dict(zip(lines, results, strict=True)) == truth
    mine = {option: judged(line) for option, line in lines.items()}
    assert mine == truth | dict.fromkeys(both, False)
    theirs = dict(zip(lines, judged_by_nix(nix, list(lines.values())), strict=True))
    assert theirs == truth | dict.fromkeys((*both, *only_nix), False)


@pytest.mark.parametrize(
    ("form", "taken"),
    [
        (b"%s\t%s\tadmin@host\n", True),
        (b"%s %s\r\n", True),
        (b"%s %s admin@windows\r\n", True),
        (b"%s %s Jos\xe9\n", True),
        (b"%s %s a\xc2\xa0b \"quoted\" #hash\n", True),
        (b"ssh-dss AAAA old\n# remark\n\n%s %s new\n", True),
        (b"%s %s ssh-rsa AAAA\n", True),
        (b"\xef\xbb\xbf# remark\n%s %s\n", True),
        (b"\xef\xbb\xbf%s %s\n", False),
        (b"%s\n%s\n", False),
        (b"%s %s!\n", False),
        (b"%s %sAAAA\n", False),
        (b'{"keys":["%s %s"]}\n', False),
    ],
)  # fmt: skip
def test_forms_of_files(
    daemon: server.Server, pairs: dict[str, Path], form: bytes, taken: bool
) -> None:
    kind, blob, *_ = public(pairs["ed25519"]).encode().split()
    content = form % (kind, blob)
    assert daemon.lets_in(content, pairs["ed25519"]) is taken
    assert bool(in_text(content.decode(errors="replace")).keys) is taken


def test_what_is_written_for_the_machine_lets_in_whatever_the_file_looked_like(
    daemon: server.Server, pairs: dict[str, Path], tmp_path: Path
) -> None:
    line = public(pairs["ed25519"])
    for encoding in ("utf-8-sig", "utf-16"):
        file = tmp_path / encoding
        file.write_bytes(f"{line} admin@windows\r\n".encode(encoding))
        written = keys.authorized_keys(keys.read(str(file)).keys)
        assert daemon.lets_in(written.encode(), pairs["ed25519"]), encoding
