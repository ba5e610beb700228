"""The program that makes store paths, run as the installer runs it."""

from __future__ import annotations

import json
import queue
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import paranoid_install
from paranoid_install.errors import CommandFailed
from paranoid_install.runner import ShRunner
from paranoid_install.store import StoreError, nar, place, worker
from paranoid_install.store.pool import Pool
from paranoid_install.store.worker import Origin, Task
from tests.unit.store.images import squash

LIMIT = 60
"""Seconds after which a program hangs."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    store = tmp_path / "live/nix/store"
    for number in range(9):
        (store / f"{number:032}-p").mkdir(parents=True)
        (store / f"{number:032}-p" / "f").write_text(f"{number}", encoding="ascii")
    return store


@pytest.fixture
def target(tmp_path: Path) -> place.Target:
    target = place.Target(tmp_path / "mnt/nix/store")
    target.open()
    return target


def tasks(source: Path) -> list[Task]:
    return [Task(expected(path)) for path in sorted(source.iterdir())]


def expected(path: Path) -> place.Expected:
    digest = nar.digest(str(path))
    return place.Expected(path.name, digest.sha256, digest.size)


def program(
    source: Path,
    target: place.Target,
    given: list[Task],
    processes: int = 3,
    image: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "paranoid_install.store.worker",
         *worker.arguments(source, image, target, processes, verify=True)],
        input="".join(worker.line([task]) for task in given),
        capture_output=True, text=True, check=False, timeout=LIMIT,
        env={"PYTHONPATH": str(Path(paranoid_install.__file__).parents[1])},
    )  # fmt: skip


@pytest.mark.parametrize("processes", [1, 3, 20])
def test_each_path_is_made_once_and_told(
    source: Path, target: place.Target, processes: int
) -> None:
    given = tasks(source)
    done = program(source, target, given, processes)
    assert (done.returncode, done.stderr) == (0, "")
    told = sorted(json.loads(line)["done"] for line in done.stdout.splitlines())
    assert told == [task.expected.name for task in given]
    for task in given:
        assert expected(target.store / task.expected.name) == task.expected


def test_a_path_is_made_from_the_image_if_that_is_said(
    source: Path, target: place.Target, tmp_path: Path
) -> None:
    from_image, from_directory = tasks(source)[:2]
    image = squash(source, tmp_path / "store.squashfs")
    shutil.rmtree(source / from_image.expected.name)
    given = [Task(from_image.expected, Origin.IMAGE), from_directory]
    assert program(source, target, given, image=image).returncode == 0
    for task in given:
        assert expected(target.store / task.expected.name) == task.expected


def test_a_damaged_path_of_an_image_is_named(
    source: Path, target: place.Target, tmp_path: Path
) -> None:
    task = tasks(source)[0]
    (source / task.expected.name / "f").write_text("other", encoding="ascii")
    image = squash(source, tmp_path / "store.squashfs")
    done = program(source, target, [Task(task.expected, Origin.IMAGE)], image=image)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["subject"] == f"/nix/store/{task.expected.name}"
    assert f"the NAR of {image}/{task.expected.name} has" in answer["problem"]


def test_a_path_that_an_image_has_not_got_is_named(
    source: Path, target: place.Target, tmp_path: Path
) -> None:
    task = tasks(source)[0]
    shutil.rmtree(source / task.expected.name)
    image = squash(source, tmp_path / "store.squashfs")
    done = program(source, target, [Task(task.expected, Origin.IMAGE)], image=image)
    assert json.loads(done.stdout)["problem"] == f"is not in {image}"


def test_an_image_that_cannot_be_read_is_named(
    source: Path, target: place.Target, tmp_path: Path
) -> None:
    image = squash(source, tmp_path / "store.squashfs")
    image.write_bytes(image.read_bytes()[:200])
    done = program(source, target, [], image=image)
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["subject"] == str(image)
    assert answer["problem"].startswith("damaged: it ends before byte")


def test_a_damaged_path_is_named_and_nothing_further_begins(
    source: Path, target: place.Target
) -> None:
    damaged, *others = tasks(source)
    (source / damaged.expected.name / "f").write_text("other", encoding="ascii")
    done = program(source, target, [damaged, *others], processes=1)
    assert done.returncode == 1
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert answer["subject"] == f"/nix/store/{damaged.expected.name}"
    assert answer["problem"].startswith("damaged: ")
    assert target.stopped
    assert [p for p in target.store.iterdir() if p != target.staging] == []


def test_a_file_that_cannot_be_written_is_named(source: Path, target: place.Target) -> None:
    task = tasks(source)[0]
    # A directory cannot replace a file in the way of the copy.
    (target.staging / task.expected.name).touch()
    done = program(source, target, [task])
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["subject"] == str(target.staging / task.expected.name)
    assert answer["problem"] == "File exists"


KILLED = """
import os, signal, sys
from paranoid_install.store import place, worker

def make(self, task):
    os.kill(os.getpid(), signal.SIGKILL)

worker.Maker.make = make
sys.exit(worker.main(sys.argv[1:]))
"""


def test_a_process_that_is_killed_is_a_failure(source: Path, target: place.Target) -> None:
    given = tasks(source)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *worker.arguments(source, None, target, 2, verify=True)],
        input="".join(worker.line([task]) for task in given) * 50, capture_output=True, text=True,
        check=False, timeout=LIMIT,
        env={"PYTHONPATH": str(Path(paranoid_install.__file__).parents[1])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert {answer["problem"] for answer in answers} == {
        "a process that fills it was ended: Killed"
    }


def test_a_pool_takes_tasks_as_they_come(source: Path, target: place.Target) -> None:
    first, *others = tasks(source)
    done: queue.Queue[str] = queue.Queue()
    with Pool(ShRunner(), source, None, target, 2, verify=True) as pool:
        pool.give([first], done.put)
        assert done.get(timeout=LIMIT) == first.expected.name
        pool.give(others, done.put)
        pool.finish()
    assert sorted(done.queue) == [task.expected.name for task in others]


def test_a_pool_says_what_its_program_said(source: Path, target: place.Target) -> None:
    task = tasks(source)[0]
    (source / task.expected.name / "f").write_text("other", encoding="ascii")
    with Pool(ShRunner(), source, None, target, 2, verify=True) as pool:
        pool.give([task], print)
        with pytest.raises(StoreError, match="damaged: "):
            pool.finish()


def test_a_pool_whose_program_is_gone_neither_waits_nor_hides_it(
    source: Path, target: place.Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with Pool(ShRunner(), source, None, target, 2, verify=True) as pool:
        pool.give(tasks(source), print)
        with pytest.raises(CommandFailed, match="missing"):
            pool.finish()


def test_a_pool_that_is_left_begins_nothing_further(source: Path, target: place.Target) -> None:
    def interrupted() -> None:
        with Pool(ShRunner(), source, None, target, 2, verify=True) as pool:
            pool.give(tasks(source), print)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.stopped


names = st.from_regex(
    r"[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+\-_?=][0-9A-Za-z+\-._?=]{0,210}", fullmatch=True
)


named = st.builds(place.Expected, names, st.just("0" * 64), st.integers(1, 2**40))


@given(st.lists(st.builds(Task, named, st.sampled_from(Origin)), max_size=worker.RUN))
def test_a_line_is_read_as_it_was_written(run: list[Task]) -> None:
    assert worker.parse(worker.line(run)) == run
    assert len(worker.line(run)) <= select.PIPE_BUF
