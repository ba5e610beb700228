"""The policy: what the machine must be, as data that Python and Nix read from the same files."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent


@functools.cache
def load(name: str) -> dict[str, Any]:
    """The policy file `name`.toml as a dictionary, which callers must not change."""
    return tomllib.loads((DIRECTORY / f"{name}.toml").read_text(encoding="utf-8"))
