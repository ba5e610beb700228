"""Waiting for a disk: no longer than was said, and not for the first that comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from paranoid_install import disks
from paranoid_install.arrival import Patience, wait_for
from paranoid_install.errors import Refusal, RefusedError


def refusal(code: str = "no-disk", *candidates: str) -> RefusedError:
    of_each = tuple((c, (Refusal(c, c),)) for c in candidates)
    return RefusedError("--disk auto", (Refusal(code, "no disk fits"),), of_each)


@dataclass
class Time:
    """A clock that only waiting moves, and what happens at which second of it."""

    sights: list[tuple[float, Any]]
    now: float = 0.0
    said: list[str] = field(default_factory=list)

    def look(self) -> Any:
        seen = [what for at, what in self.sights if at <= self.now][-1]
        if isinstance(seen, RefusedError):
            raise seen
        return seen

    @contextmanager
    def events(self) -> Iterator[Callable[[float], bool]]:
        def next_event(seconds: float) -> bool:
            coming = [at for at, _ in self.sights if self.now < at <= self.now + seconds]
            self.now = min(coming, default=self.now + seconds)
            return bool(coming)

        yield next_event

    def wait(self, limit: float, *, one_of_many: bool = False) -> Any:
        return wait_for(self.look, self.events, Patience(limit, self.said.append, one_of_many))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Time]:
    def make(*sights: tuple[float, Any]) -> Time:
        time = Time(list(sights))
        monkeypatch.setattr("time.monotonic", lambda: time.now)
        return time

    return make


def test_a_disk_that_comes_in_time_is_taken(at: Callable[..., Time]) -> None:
    time = at((0, refusal()), (6, "disk"))
    assert (time.wait(60), time.now) == ("disk", 6)
    (said,) = time.said
    assert said.startswith("waiting up to 60 s for a disk; --disk auto: no disk fits")


def test_the_limit_is_kept_and_the_last_look_comes_at_its_end(at: Callable[..., Time]) -> None:
    time = at((0, refusal()), (20, refusal()), (61, "disk"))
    with pytest.raises(RefusedError, match="no disk fits, also after 60 s"):
        time.wait(60)
    assert time.now == 60


def test_without_a_limit_nothing_is_waited_for(at: Callable[..., Time]) -> None:
    time = at((0, refusal()), (1, "disk"))
    with pytest.raises(RefusedError, match=r"no disk fits$"):
        time.wait(0)
    assert (time.now, time.said) == (0, [])


def test_what_is_there_is_taken_at_once(at: Callable[..., Time]) -> None:
    time = at((0, "disk"), (2, refusal("ambiguous")))
    assert (time.wait(60, one_of_many=True), time.now) == ("disk", 0)


def test_the_first_of_two_that_come_is_not_taken(at: Callable[..., Time]) -> None:
    time = at((0, refusal()), (6, "stick"), (9, refusal("ambiguous")))
    with pytest.raises(RefusedError):
        time.wait(60, one_of_many=True)
    named = at((0, refusal()), (6, "disk"), (9, "disk"))
    assert (named.wait(60), named.now) == ("disk", 6)


def test_after_the_last_that_comes_it_is_quiet(at: Callable[..., Time]) -> None:
    time = at((0, refusal()), (6, "disk"), (9, "disk"))
    assert (time.wait(60, one_of_many=True), time.now) == ("disk", 14)


@pytest.mark.parametrize(
    "error",
    [refusal("ambiguous"), refusal("mounted"), refusal("no-disk", "not-blank", "installed")],
)
def test_what_another_disk_would_not_mend_is_refused_at_once(
    at: Callable[..., Time], error: RefusedError
) -> None:
    time = at((0, error), (6, "disk"))
    with pytest.raises(RefusedError):
        time.wait(60)
    assert time.now == 0


def test_a_missing_library_of_udev_s_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("No library named udev")

    monkeypatch.setattr("pyudev.Context", missing)
    with pytest.raises(RefusedError) as caught:
        disks.scan()
    assert caught.value.exit_code == 3
    assert "libudev.so.1, cannot be loaded (No library named udev); install it" in str(caught.value)
