"""What all tests share: how many cases the property tests try."""

from __future__ import annotations

import os

from hypothesis import settings

# Loaded machines make single cases slow; a deadline would make the tests fail by chance.
settings.register_profile("quick", max_examples=60, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
