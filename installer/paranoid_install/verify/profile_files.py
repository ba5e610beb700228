"""The files that the rules of a profile ask about, read with everything else."""

from __future__ import annotations

import stat as stats
from collections.abc import Callable, Iterator
from dataclasses import replace

from paranoid_install.verify.facts import Stat
from paranoid_install.verify.rules import parts
from paranoid_install.verify.tree import Tree, limit, of, walk

SEARCH = 0.4
"""Seconds of work that a search through directories may take."""


def text_names() -> frozenset[str]:
    """Names below /etc."""
    return frozenset(
        want["file"]
        for part in parts()
        for kind in ("etc", "no_etc")
        for want in part.get(kind, ())
    )


def tree_names() -> frozenset[str]:
    """Directories."""
    return frozenset(part["tree"]["path"] for part in parts() if "tree" in part)


def texts(tree: Tree) -> dict[str, str | None]:
    """The files of /etc that rules of a profile ask about."""
    found = {name: tree.etc(name) for name in sorted(text_names())}
    return {name: tree.text(path) if tree.exists(path) else None for name, path in found.items()}


def trees(tree: Tree) -> dict[str, tuple[Stat, ...] | None]:
    """The directories, or files, that rules of a profile ask about, with all that is in them.

    Of a link what it leads to counts, as for `find -L`. Raises SearchCutError.
    """
    over = limit(SEARCH)
    found: dict[str, tuple[Stat, ...] | None] = {}
    for path in sorted(tree_names()):
        found[path] = tuple(_below(tree, path, over)) if tree.exists(path) else None
    return found


def _below(tree: Tree, path: str, over: Callable[[], bool]) -> Iterator[Stat]:
    top = tree.real(path)
    for name, stat in walk(top, over):
        inside = path + name.removeprefix(str(top))
        if not stats.S_ISLNK(stat.st_mode):
            yield of(inside, stat)
        elif tree.exists(inside):
            yield replace(tree.stat(inside), path=inside)
