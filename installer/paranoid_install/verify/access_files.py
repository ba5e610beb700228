"""Files that say who gets in."""

from __future__ import annotations

import re

from paranoid_install import policy
from paranoid_install.verify import parse
from paranoid_install.verify.facts import KeyFile, NotApplicable
from paranoid_install.verify.tree import Tree

_KEYS: list[str] = [
    *(path.removesuffix("/%u") for path in policy.load("sshd")["authorizedKeysFiles"]),
    policy.load("layout")["persist"]["authorizedKeys"],
]


def sudoers(tree: Tree) -> tuple[str, ...] | NotApplicable:
    """The lines of sudoers(5), continued ones joined, with those of the files it includes.

    Raises ValueError where a file is named in a form that is not followed.
    """
    main = tree.etc("sudoers")
    if not tree.exists(main):
        return NotApplicable("there is no sudo")
    found: list[str] = []
    waiting, seen = [main], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for line in tree.text(path).replace("\\\n", " ").split("\n"):
            words = line.split(None, 1)
            if words and words[0] in ("@include", "#include"):
                waiting.append(_included(path, words))
            elif words and words[0] in ("@includedir", "#includedir"):
                directory = _included(path, words)
                names = tree.names(directory) if tree.exists(directory) else ()
                # sudo skips names with a dot or a tilde at the end.
                waiting += [f"{directory}/{n}" for n in names if "." not in n and n[-1:] != "~"]
            # A number sign before a figure is a user's number.
            elif words and not re.match(r"#(?!-?\d)", words[0]):
                found.append(line.strip())
    return tuple(found)


def _included(path: str, words: list[str]) -> str:
    name = words[1].strip() if len(words) == 2 else ""
    # Quotes, escapes, and %h for the host's name.
    if not name or re.search(r"[\"\\%\s]", name):
        raise ValueError(f"{path}: {' '.join(words)}")
    return name if name.startswith("/") else f"{path.rpartition('/')[0]}/{name}"


def pam(tree: Tree) -> dict[str, tuple[str, ...]]:
    """The lines of each service of pam.d(5), continued ones joined."""
    directory = tree.etc("pam.d")
    return {
        name: tuple(
            line.strip()
            for line in tree.text(f"{directory}/{name}").replace("\\\n", " ").split("\n")
            if line.strip() and not line.lstrip().startswith("#")
        )
        for name in tree.names(directory)
    }


def key_files(tree: Tree) -> tuple[KeyFile, ...]:
    """The files from which sshd reads keys, by the policy."""
    return tuple(
        KeyFile(tree.stat(path), parse.key_kinds(tree.text(path)), tree.open_above(path))
        for directory in _KEYS
        if tree.exists(directory)
        for path in (f"{directory}/{name}" for name in tree.names(directory))
    )
