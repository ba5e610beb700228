"""The Match blocks of sshd_config(5), with the files that are included."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

from paranoid_install.verify.tree import Tree

_FILES = 64
_DIRECTORY = "/etc/ssh"
# A keyword ends at a blank or at one equals sign, and may stand in quotes.
_WORD = re.compile(r'\s*"?(match|include)"?(?:\s*=\s*|\s+)(.*\S)\s*', re.IGNORECASE)


@dataclass(frozen=True)
class Block:
    """What a Match line says, and the lines that it is for."""

    condition: str
    text: str


def blocks(tree: Tree, path: str) -> tuple[str, tuple[Block, ...]]:
    """The lines that are for everybody, and the blocks.

    A block of a file that a block includes holds when both do; here it is taken for one of its
    own. Raises ValueError for more files than are followed, and OSError.
    """
    head: list[str] = []
    found: list[tuple[str, list[str]]] = []
    _read(tree, path, head, found, [0])
    return "\n".join(head), tuple(Block(name, "\n".join(lines)) for name, lines in found)


def _read(
    tree: Tree, path: str, lines: list[str], found: list[tuple[str, list[str]]], files: list[int]
) -> None:
    files[0] += 1
    if files[0] > _FILES:
        raise ValueError(f"{path}: more than {_FILES} files are included")
    for line in tree.text(path).split("\n"):
        word = _WORD.fullmatch(line)
        if word is None:
            lines.append(line)
        elif word[1].lower() == "match":
            lines = []
            found.append((word[2], lines))
        else:
            for pattern in word[2].split():
                for name in _matching(tree, pattern.strip('"')):
                    _read(tree, name, lines, found, files)


def _matching(tree: Tree, pattern: str) -> list[str]:
    path = pattern if pattern.startswith("/") else f"{_DIRECTORY}/{pattern}"
    directory, _, name = path.rpartition("/")
    if not tree.exists(directory):
        return []
    return [f"{directory}/{n}" for n in tree.names(directory) if fnmatch.fnmatchcase(n, name)]
