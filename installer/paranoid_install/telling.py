"""Which of a program's last lines tell why it failed."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PROGRESS = re.compile(
    r"(copying|building|querying|downloading|fetching|substituting) (path )?'.*"
    r"|structuredAttrs is enabled"
)
"""Nix says these of all that goes on beside the failure (nix-build without -Q)."""

_CONSEQUENCE = re.compile(r"\s+Reason: \d+ dependenc(y|ies) failed\.")
_BLOCK = "error: Cannot build '"


def is_progress(line: str) -> bool:
    """Whether a line only says that something goes on."""
    return _PROGRESS.fullmatch(line) is not None


def telling(lines: Iterable[str]) -> list[str]:
    """The lines without what failed only because something else did.

    A derivation that fails takes with it all that stand above it; each is a block that begins with
    an error and goes on in indented lines. Only blocks with a reason of their own are kept.
    """
    kept: list[str] = []
    block: list[str] = []
    for line in lines:
        if block and not line.startswith(" "):
            kept += _own(block)
            block = []
        if line.startswith(_BLOCK) or block:
            block.append(line)
        else:
            kept.append(line)
    return kept + _own(block)


def _own(block: list[str]) -> list[str]:
    return [] if any(_CONSEQUENCE.fullmatch(line) for line in block) else block
