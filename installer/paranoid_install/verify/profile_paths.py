"""Which files the rules of a profile ask about, so that they can be read with everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paranoid_install import policy


def texts() -> frozenset[str]:
    """Names below /etc."""
    return frozenset(
        want["file"]
        for part in _parts()
        for kind in ("etc", "no_etc")
        for want in part.get(kind, ())
    )


def trees() -> frozenset[str]:
    """Directories."""
    return frozenset(part["tree"]["path"] for part in _parts() if "tree" in part)


def _parts() -> Iterator[dict[str, Any]]:
    for rule in policy.load("stig")["rule"]:
        yield rule
        yield from rule.get("instead", ())
