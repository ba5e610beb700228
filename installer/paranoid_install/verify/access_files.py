"""Files that say who gets in, and files by which somebody could come back."""

from __future__ import annotations

import os
import stat as stats
from collections.abc import Callable
from pathlib import Path

from paranoid_install import policy
from paranoid_install.verify import parse
from paranoid_install.verify.facts import KeyFile, NotApplicable, Stat, Unknown
from paranoid_install.verify.tree import SearchCutError, Tree, limit, of, walk

SEARCH = 0.4
"""Seconds of work that a search through directories may take."""
_SEARCHED: list[str] = policy.load("verify")["files"]["searched"]
_KEYS: list[str] = [
    *(path.removesuffix("/%u") for path in policy.load("sshd")["authorizedKeysFiles"]),
    policy.load("layout")["persist"]["authorizedKeys"],
]
_CAPABILITY = "security.capability"
_EFI = Path("/sys/firmware/efi")
_SECURE_BOOT = _EFI / "efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


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


def loose(tree: Tree) -> tuple[Stat, ...] | Unknown:
    """What everybody may write to on the persist root, sticky directories and links aside."""

    def found(_path: str, stat: os.stat_result) -> bool:
        kind = stats.S_ISREG(stat.st_mode) or stats.S_ISDIR(stat.st_mode)
        return kind and bool(stat.st_mode & 0o002) and not stat.st_mode & stats.S_ISVTX

    chosen = _search(tree, found)
    if isinstance(chosen, Unknown):
        return chosen
    return tuple(of(path, stat) for path, stat in chosen)


def capable(tree: Tree) -> tuple[str, ...] | Unknown:
    """Files on the persist root that give capabilities to whoever starts them."""

    def found(path: str, stat: os.stat_result) -> bool:
        return stats.S_ISREG(stat.st_mode) and _CAPABILITY in _attributes(path)

    chosen = _search(tree, found)
    if isinstance(chosen, Unknown):
        return chosen
    return tuple(path for path, _ in chosen)


def _search(
    tree: Tree, wanted: Callable[[str, os.stat_result], bool]
) -> list[tuple[str, os.stat_result]] | Unknown:
    """What is wanted below the persist root; a search that was cut knows only what it found."""
    chosen: list[tuple[str, os.stat_result]] = []
    over = limit(SEARCH)
    tops = [top for top in _SEARCHED if tree.exists(top)]
    if not tops:
        return Unknown(f"{', '.join(_SEARCHED)}: not there; is the disk mounted?")
    try:
        for top in tops:
            for path, stat in walk(tree.real(top), over):
                if wanted(path, stat):
                    chosen.append((path, stat))
    except SearchCutError:
        if not chosen:
            return Unknown(f"too many files to look through in {SEARCH} s")
    return chosen


def _attributes(path: str) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except FileNotFoundError:
        return []


def secure_boot() -> bool | NotApplicable:
    """Whether the firmware starts what is signed alone (UEFI specification, 3.3)."""
    if not _EFI.exists():
        return NotApplicable("this machine was not started by UEFI")
    # Four bytes of attributes, then the value.
    return _SECURE_BOOT.exists() and _SECURE_BOOT.read_bytes()[4:5] == b"\x01"
