"""Programs of a killed run are known by their mark, and no others are ended."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from paranoid_install.orphans import MARK, Marking, end, left
from paranoid_install.runner import ShRunner


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def sleeper(stack: ExitStack, **environ: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["tail", "-f", "/dev/null"], env={**os.environ, **environ})
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def test_every_program_is_marked_and_so_is_what_it_starts(root: str) -> None:
    runner = Marking(ShRunner(), root)
    assert f"{MARK}={root}" in runner.run("sh", "-c", "sh -c env").stdout.splitlines()
    assert "A=1" in runner.run("env", env={"A": "1"}).stdout.splitlines()


def test_what_is_marked_is_ended_and_gone_on_return(root: str, stack: ExitStack) -> None:
    forgotten = [sleeper(stack, **{MARK: root}) for _ in range(3)]
    assert sorted(left(root)) == sorted(process.pid for process in forgotten)
    assert end(root) == ()
    assert [process.poll() for process in forgotten] == [-9, -9, -9]
    assert left(root) == []


@pytest.mark.parametrize("mark", [{}, {MARK: "{root}2"}, {MARK: "/"}, {"X" + MARK: "{root}"}])
def test_all_else_lives_on(root: str, stack: ExitStack, mark: dict[str, str]) -> None:
    other = sleeper(stack, **{name: text.format(root=root) for name, text in mark.items()})
    assert end(root) == ()
    assert other.poll() is None
