"""The files that the rules of a profile ask about, read with everything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.facts import Stat
from paranoid_install.verify.tree import Tree, limit, of, walk

SEARCH = 0.4
"""Seconds of work that a search through directories may take."""


def text_names() -> frozenset[str]:
    """Names below /etc."""
    return frozenset(
        want["file"]
        for part in _parts()
        for kind in ("etc", "no_etc")
        for want in part.get(kind, ())
    )


def tree_names() -> frozenset[str]:
    """Directories."""
    return frozenset(part["tree"]["path"] for part in _parts() if "tree" in part)


def texts(tree: Tree) -> dict[str, str | None]:
    """The files of /etc that rules of a profile ask about."""
    found = {name: tree.etc(name) for name in sorted(text_names())}
    return {name: tree.text(path) if tree.exists(path) else None for name, path in found.items()}


def trees(tree: Tree) -> dict[str, tuple[Stat, ...] | None]:
    """The directories that rules of a profile ask about, with all that is in them."""
    over = limit(SEARCH)
    found: dict[str, tuple[Stat, ...] | None] = {}
    for path in sorted(tree_names()):
        there = tree.exists(path)
        walked = walk(tree.real(path), over) if there else ()
        found[path] = tuple(of(name, stat) for name, stat in walked) if there else None
    return found


def _parts() -> Iterator[dict[str, Any]]:
    for rule in policy.load("stig")["rule"]:
        yield rule
        yield from rule.get("instead", ())
