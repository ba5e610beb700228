"""SIGKILL at random moments: a few here; `python -m tests.loop.kill` makes as many as you like."""

from __future__ import annotations

import os
from pathlib import Path

from . import kill
from .conftest import make_bench

SEED = 20260714
"""The same moments in every run, so that a failure is the change's; $PARANOID_SEED has others."""


def test_whatever_moment_a_run_is_killed_at_the_next_one_ends_in_the_same_system(
    tmp_path: Path, system: str, key: Path
) -> None:
    seed = int(os.environ.get("PARANOID_SEED", SEED))
    wanted = kill.request(system, key)
    verdicts = []
    with kill.undisturbed(tmp_path / "undisturbed", wanted) as (events, expected, modules):
        for trial in kill.trials(6, seed, events):
            with make_bench(tmp_path / f"trial-{trial.number}", modules) as bench:
                verdicts.append(kill.attempt(bench, kill.on(bench, wanted), trial, expected))
    lost = [str(verdict) for verdict in verdicts if verdict.problem]
    assert lost == [], f"seed {seed}"
