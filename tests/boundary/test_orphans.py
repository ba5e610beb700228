"""Programs of a killed run are known by their mark, and no others are ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from paranoid_install.orphans import MARK, Marking, end, left, new_mark
from paranoid_install.runner import ShRunner


@pytest.fixture
def mark() -> str:
    return new_mark()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def sleeper(
    stack: ExitStack, environ: dict[str, str], user: int | None = None
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        ["tail", "-f", "/dev/null"], env={**os.environ, **environ}, user=user
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def test_every_program_is_marked_and_so_is_what_it_starts(mark: str) -> None:
    runner = Marking(ShRunner(), mark)
    assert f"{MARK}={mark}" in runner.run("sh", "-c", "sh -c env").stdout.splitlines()
    assert "A=1" in runner.run("env", env={"A": "1"}).stdout.splitlines()


def test_what_is_marked_is_ended_and_gone_on_return(mark: str, stack: ExitStack) -> None:
    forgotten = [sleeper(stack, {MARK: mark}) for _ in range(3)]
    assert sorted(left(mark)) == sorted(process.pid for process in forgotten)
    assert end(mark) == ()
    assert [process.poll() for process in forgotten] == [-9, -9, -9]
    assert left(mark) == []


@pytest.mark.parametrize(
    "borne", [{}, {MARK: "{mark}2"}, {MARK: ""}, {MARK: "/mnt"}, {"X" + MARK: "{mark}"}]
)
def test_all_else_lives_on(mark: str, stack: ExitStack, borne: dict[str, str]) -> None:
    other = sleeper(stack, {name: text.format(mark=mark) for name, text in borne.items()})
    assert end(mark) == ()
    assert end("") == ()
    assert other.poll() is None


def test_another_user_s_process_lives_on_whatever_it_bears(mark: str, stack: ExitStack) -> None:
    other = sleeper(stack, {MARK: mark}, 65534)
    assert end(mark) == ()
    assert other.poll() is None


def test_no_two_runs_have_one_mark() -> None:
    assert new_mark() != new_mark()
