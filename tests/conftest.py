"""What all tests share: how many cases the property tests try, and which tests wait for --full."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# It has no tests of its own, and its assertions are to say what they saw.
pytest.register_assert_rewrite("tests.vm.observations")

# Loaded machines make single cases slow; a deadline would make the tests fail by chance.
settings.register_profile("quick", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

_MACHINES = ("tests/vm/", "tests/nixos/")
"""Whose tests run in machines."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests that take long as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if not item.get_closest_marker("full")]


class _SideBySide(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """Two halves that do not touch each other: what happens in machines, and what on this one.

    Neither is divided: its tests share locks, loop devices and machines that are up.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "machines" if nodeid.startswith(_MACHINES) else "here"


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _SideBySide:
    return _SideBySide(config, log)
