"""The cache of built images: made once, whole or not at all, and never taken from a run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.vm.vmlab import cache

LONG_AGO = time.time() - cache.KEEP_SECONDS - 3600


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("PARANOID_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_held", {})
    return tmp_path


def fill(work: Path) -> None:
    (work / "image").write_text("built")


def old_builds(place: Path, count: int) -> list[Path]:
    """Builds that nobody has used for long, the oldest first."""
    made = []
    for number in range(count):
        build = place / f"live-old{number}"
        build.mkdir()
        fill(build)
        os.utime(build, (LONG_AGO + number, LONG_AGO + number))
        made.append(build)
    return made


@contextmanager
def another_run(build: Path) -> Iterator[None]:
    """Another process that uses a build."""
    code = (
        "import sys\nfrom tests.vm.vmlab import cache\n"
        f"cache.build('live', {build.name.removeprefix('live-')!r}, lambda work: None)\n"
        "print('holds', flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=cache.REPOSITORY,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield
        process.communicate()


def test_a_build_is_made_once(place: Path) -> None:
    assert cache.build("live", "a", fill) == place / "live-a"

    def again(_work: Path) -> None:
        pytest.fail("made a second time")

    assert (cache.build("live", "a", again) / "image").read_text() == "built"


def test_builds_that_were_not_used_for_long_are_removed_but_for_the_last_few(place: Path) -> None:
    old = old_builds(place, cache.KEEP + 2)
    new = cache.build("live", "new", fill)
    assert sorted(place.iterdir()) == sorted([*old[3:], new])


def test_a_build_used_within_the_last_hours_stays(place: Path) -> None:
    old = old_builds(place, cache.KEEP + 2)
    for build in old:
        os.utime(build)
    new = cache.build("live", "new", fill)
    assert sorted(place.iterdir()) == sorted([*old, new])


def test_a_build_in_use_by_another_run_stays_however_old(place: Path) -> None:
    old = old_builds(place, cache.KEEP + 2)
    with another_run(old[0]):
        os.utime(old[0], (LONG_AGO, LONG_AGO))
        cache.build("live", "new", fill)
        assert (old[0] / "image").read_text() == "built"
        assert not old[1].exists()
    cache.build("live", "newer", fill)
    assert not old[0].exists()


def test_other_kinds_are_left_alone(place: Path) -> None:
    old = old_builds(place, cache.KEEP + 2)
    cache.build("store", "new", fill)
    assert all(build.exists() for build in old)
