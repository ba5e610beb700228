"""A dump of a store's database is read strictly: what it says becomes rows of another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install.errors import CommandFailed
from paranoid_install.store import closure
from paranoid_install.store.errors import StoreError
from tests.unit.store.recording import Recording

A = "/nix/store/" + "0" * 32 + "-glibc"
B = "/nix/store/" + "1" * 32 + "-nixos-system"
DRV = "/nix/store/" + "2" * 32 + "-nixos-system.drv"
HASH = "a" * 64
DUMP = f"{A}\n{HASH}\n120\n\n1\n{A}\n{B}\n{HASH}\n240\n{DRV}\n2\n{A}\n{B}\n"


def test_a_dump_gives_path_hash_size_deriver_and_references() -> None:
    assert closure.parse(DUMP, B) == (
        closure.PathInfo(A, HASH, 120, "", (A,)),
        closure.PathInfo(B, HASH, 240, DRV, (A, B)),
    )


def test_what_was_read_is_registered_unchanged() -> None:
    assert "".join(info.registration() for info in closure.parse(DUMP, B)) == DUMP


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        ("", "not registered as valid"),
        (f"{A}\n{HASH}\n120\n\n0\n", "nixos-system: not registered as valid"),
        (DUMP + DUMP, "glibc: registered twice"),
        (DUMP + "\nmore\n", "goes on after an empty line"),
        (DUMP.replace(A, "/nix/store/../etc"), "/nix/store/../etc: not a store path"),
        (DUMP.replace(A, A + "/bin"), "not a store path"),
        (DUMP.replace(A, "/nix/store/" + "e" * 32 + "-x"), "not a store path"),
        (DUMP.replace(A, "/nix/store/" + "0" * 32 + "-.x"), "not a store path"),
        (DUMP.replace(A, "/nix/store/" + "0" * 32 + "-" + "x" * 212), "not a store path"),
        (DUMP.replace(HASH, HASH[1:]), "is not SHA-256"),
        (DUMP.replace(HASH, "sha512:" + HASH), "is not SHA-256"),
        (DUMP.replace("120", "-1"), "size '-1' is not a number"),
        (DUMP.replace("120", "１２０"), "is not a number"),
        (DUMP.replace("120", "0"), "its size is 0"),
        (DUMP.replace("120", "9" * 19), "is not a number"),
        (DUMP.replace(DRV, "x"), "deriver 'x' is not a store path"),
        (DUMP.replace(f"2\n{A}", f"999999999999\n{A}"), "reference '' is not a store path"),
        (DUMP.replace(f"1\n{A}\n{B}", f"1\n{DRV}\n{B}"), f"glibc: refers to {DRV}"),
        (DUMP[:-3], "is not a store path|refers to"),
        (f"{B}\n{HASH}", "is not a number"),
    ],
)
def test_what_makes_no_sense_is_refused(dump: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        closure.parse(dump, B)


pieces = st.sampled_from(
    [A, B, DRV, HASH, "", "0", "1", "2", "99", "\n", "\r", "\x85", "\u2028", "\x00", "sha256:"]
)


@given(st.lists(pieces | st.text(max_size=5), max_size=24).map("\n".join))
def test_no_dump_whatever_raises_anything_else(dump: str) -> None:
    try:
        infos = closure.parse(dump, B)
    except StoreError:
        return
    assert closure.parse("".join(info.registration() for info in infos), B) == infos


def test_a_line_end_of_unicode_does_not_end_a_line() -> None:
    with pytest.raises(StoreError, match="not a store path"):
        closure.parse(DUMP.replace(f"{A}\n{HASH}", f"{A}\x85{HASH}", 1), B)


def test_two_programs_are_run_and_the_store_is_named() -> None:
    runner = Recording({("--requisites",): f"{A}\n{B}\n", ("--dump-db",): DUMP})
    assert len(closure.read(runner, B, "/live")) == 2
    assert runner.calls == [
        ("nix-store", "--store", "/live", "--query", "--requisites", B),
        ("nix-store", "--store", "/live", "--dump-db", A, B),
    ]


def test_each_closure_is_asked_for_once() -> None:
    runner = Recording({("--requisites",): f"{A}\n{B}\n", ("--dump-db",): DUMP})
    first = closure.read(runner, B, "/live")
    assert closure.read(runner, B, "/live") == first
    assert len(runner.calls) == 2
    closure.read(runner, B, "/other")
    assert len(runner.calls) == 4


def test_a_store_that_had_no_answer_is_asked_again() -> None:
    failure = CommandFailed(("nix-store",), "exit code 1", 1, ("error: busy",))
    with pytest.raises(closure.Unavailable):
        closure.read(Recording({("--requisites",): failure}), B)
    runner = Recording({("--requisites",): f"{A}\n{B}\n", ("--dump-db",): DUMP})
    assert len(closure.read(runner, B)) == 2


def test_a_store_without_the_path_is_unavailable_with_nixs_words() -> None:
    words = f"error: path '{B}' is not valid"
    failure = CommandFailed(("nix-store",), "exit code 1", 1, ("warning: x", words))
    with pytest.raises(closure.Unavailable, match="is not valid"):
        closure.read(Recording({("--requisites",): failure}), B)


@pytest.mark.parametrize("path", ["", "--help", "/etc", B + "/bin", B + "\n", "/nix/store"])
def test_what_is_no_store_path_is_never_given_to_a_program(path: str) -> None:
    runner = Recording()
    with pytest.raises(StoreError, match="not a store path"):
        closure.read(runner, path)
    assert runner.calls == []


def test_an_answer_that_is_no_path_is_never_given_to_a_program() -> None:
    runner = Recording({("--requisites",): f"--delete\n{B}\n"})
    with pytest.raises(StoreError, match="--delete: listed in the closure"):
        closure.read(runner, B)
    assert len(runner.calls) == 1
