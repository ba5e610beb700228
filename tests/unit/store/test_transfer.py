"""Who copies is decided before anything is written, and the reason is data."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import store
from paranoid_install.errors import CommandFailed
from paranoid_install.store import nar, place, transfer, worker
from tests.unit.store.recording import Recording

A = "/nix/store/" + "0" * 32 + "-a"
B = "/nix/store/" + "1" * 32 + "-b"


@pytest.fixture
def live(tmp_path: Path) -> Path:
    for path in (A, B):
        (tmp_path / "live" / path[1:]).mkdir(parents=True)
        (tmp_path / "live" / path[1:] / "f").write_bytes(path.encode())
    return tmp_path / "live"


def answers(live: Path) -> Recording:
    dump = ""
    for path in (A, B):
        digest = nar.digest(f"{live}{path}")
        dump += f"{path}\n{digest.sha256}\n{digest.size}\n\n1\n{A}\n"
    return Recording({("--requisites",): f"{A}\n{B}\n", ("--dump-db",): dump, ("--load-db",): ""})


def test_a_remote_store_is_left_to_nixos_install(tmp_path: Path) -> None:
    runner = Recording()
    report = store.put(runner, B, tmp_path, store="ssh://builder")
    assert (report.method, report.copied) == (store.Method.LEFT, 0)
    assert report.reason == "the store ssh://builder is not one of this machine's"
    assert runner.calls == []


def test_so_is_one_that_has_not_got_the_path(tmp_path: Path) -> None:
    failure = CommandFailed(("nix-store",), "exit code 1", 1, (f"error: path '{B}' is not valid",))
    report = store.put(Recording({("--requisites",): failure}), B, tmp_path, store="auto")
    assert report.method is store.Method.LEFT
    assert "is not valid" in report.reason
    assert list(tmp_path.iterdir()) == []


def test_so_is_one_where_a_registered_path_is_missing(live: Path, tmp_path: Path) -> None:
    runner = answers(live)
    (live / A[1:]).rename(tmp_path / "gone")
    report = store.put(runner, B, tmp_path / "mnt", store=str(live))
    assert report.method is store.Method.LEFT
    assert report.reason == f"{A} is not in {live}/nix/store"
    assert not (tmp_path / "mnt").exists()


def test_the_store_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_REMOTE", "https://cache.example")
    assert "https://cache.example" in store.put(Recording(), B, Path("/mnt")).reason


def test_paths_are_in_place_before_they_are_registered(live: Path, tmp_path: Path) -> None:
    seen: list[list[str]] = []
    runner = answers(live)
    inner = runner.run

    def run(*argv: str, **options: Any) -> object:
        if "--load-db" in argv:
            seen.append(sorted(p.name for p in (tmp_path / "mnt/nix/store").iterdir()))
        return inner(*argv, **options)

    runner.run = run  # type: ignore[method-assign, assignment]
    calls: list[tuple[int, int, int, int]] = []
    report = store.put(
        runner,
        B,
        tmp_path / "mnt",
        workers=1,
        store=str(live),
        progress=lambda *numbers: calls.append(numbers),
    )
    assert seen == [[A[11:], B[11:]]]
    assert (report.copied, report.skipped, report.method) == (2, 0, store.Method.DIRECTORY)
    assert calls[-1] == (report.bytes, report.bytes, 2, 2)
    assert calls == sorted(calls)


def test_a_damaged_path_is_named_and_nothing_is_registered(live: Path, tmp_path: Path) -> None:
    runner = answers(live)
    (live / A[1:] / "f").write_bytes(b"other")
    with pytest.raises(store.StoreError, match=f"{A}: damaged"):
        store.put(runner, B, tmp_path / "mnt", workers=1, store=str(live))
    assert not any("--load-db" in call for call in runner.calls)
    assert not (tmp_path / "mnt/nix/store" / place.STAGING).exists()


def test_the_second_run_copies_only_what_is_not_whole(live: Path, tmp_path: Path) -> None:
    runner = answers(live)
    store.put(runner, B, tmp_path / "mnt", workers=1, store=str(live))
    (tmp_path / "mnt" / A[1:] / "f").chmod(0o644)
    (tmp_path / "mnt" / A[1:] / "f").write_bytes(b"")
    report = store.put(runner, B, tmp_path / "mnt", workers=1, store=str(live))
    assert (report.copied, report.skipped) == (1, 1)
    assert nar.digest(f"{tmp_path}/mnt{A}") == nar.digest(f"{live}{A}")


sizes = st.lists(st.integers(1, 2**28), max_size=60)


def paths(of: list[int]) -> list[place.Expected]:
    return [place.Expected(f"{i:032}-x", "", size) for i, size in enumerate(of)]


@given(sizes)
def test_runs_are_all_the_paths_large_ones_first_then_in_order(of: list[int]) -> None:
    runs = transfer.image_runs(paths(of))
    given = list(itertools.chain(*runs))
    assert sorted(given, key=lambda path: path.name) == paths(of)
    alone = [path for path in given if path.size >= transfer.LARGE]
    assert given[: len(alone)] == sorted(alone, key=lambda path: path.size, reverse=True)
    assert [[path] for path in alone] == runs[: len(alone)]
    assert given[len(alone) :] == [path for path in paths(of) if path.size < transfer.LARGE]
    for run in runs[len(alone) :]:
        assert 1 <= len(run) <= worker.RUN
        assert sum(path.size for path in run[:-1]) < transfer.RUN
