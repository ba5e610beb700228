"""How many cases: a few thousand in every run, far more with HYPOTHESIS_PROFILE=full."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_FULL = os.environ.get("HYPOTHESIS_PROFILE") == "full"

PROFILE = settings(
    max_examples=20_000 if _FULL else 200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
CHEAP = settings(PROFILE, max_examples=20_000 if _FULL else 1500)
"""For what takes microseconds a case."""
