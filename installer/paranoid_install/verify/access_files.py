"""Files that say who gets in."""

from __future__ import annotations

from paranoid_install import policy
from paranoid_install.verify import parse
from paranoid_install.verify.facts import KeyFile, NotApplicable, Unknown
from paranoid_install.verify.tree import Tree

_KEYS: list[str] = [
    *(path.removesuffix("/%u") for path in policy.load("sshd")["authorizedKeysFiles"]),
    policy.load("layout")["persist"]["authorizedKeys"],
]


def sudoers(tree: Tree) -> tuple[str, ...] | NotApplicable | Unknown:
    """The lines of sudoers(5), continued ones joined, with those of the directories it includes."""
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
            if len(words) == 2 and words[0] in ("@include", "#include"):
                waiting.append(words[1].strip())
            elif len(words) == 2 and words[0] in ("@includedir", "#includedir"):
                directory = words[1].strip()
                names = tree.names(directory) if tree.exists(directory) else ()
                # sudo skips names with a dot or a tilde at the end.
                waiting += [f"{directory}/{n}" for n in names if "." not in n and n[-1:] != "~"]
            elif words and not words[0].startswith("#"):
                found.append(line.strip())
    return tuple(found)


def key_files(tree: Tree) -> tuple[KeyFile, ...]:
    """The files from which sshd reads keys, by the policy."""
    return tuple(
        KeyFile(tree.stat(path), parse.key_kinds(tree.text(path)))
        for directory in _KEYS
        if tree.exists(directory)
        for path in (f"{directory}/{name}" for name in tree.names(directory))
    )
