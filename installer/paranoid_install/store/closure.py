"""The closure of a store path, as the source store's database has it.

Read by two programs, `nix-store --query --requisites` and `nix-store --dump-db PATH...`, which
exist unchanged from Nix 2.8 to 2.34 and need no experimental feature. A dump has, for each path,
lines of: path, SHA-256 of the NAR, NAR size in bytes, deriver or nothing, number of references,
the references (libstore, makeValidityRegistration). Signatures and the mark of content-addressed
paths are not in it: they stay behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner
from paranoid_install.store.errors import StoreError

STORE = "/nix/store"

# Nix's base 32 and the characters of a name (libstore, path.cc: at most 211, no leading dot).
_PATH = re.compile(
    r"/nix/store/[0-9a-df-np-sv-z]{32}-[0-9A-Za-z+\-_?=][0-9A-Za-z+\-._?=]{0,210}", re.ASCII
)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_PATHS_AT_ONCE = 4000
"""Paths on one command line: far below the kernel's limit of 2 MiB."""


@dataclass(frozen=True)
class PathInfo:
    """One valid path. `sha256` is hexadecimal and, as `nar_size` in bytes, of the NAR."""

    path: str
    sha256: str
    nar_size: int
    deriver: str
    references: tuple[str, ...]

    @property
    def name(self) -> str:
        """The entry in the store's directory."""
        return self.path.removeprefix(f"{STORE}/")

    def registration(self) -> str:
        """The lines `nix-store --load-db` reads."""
        fields = (self.path, self.sha256, str(self.nar_size), self.deriver)
        return "\n".join((*fields, str(len(self.references)), *self.references, ""))


_known: dict[tuple[str, str], tuple[PathInfo, ...]] = {}
"""What was read, by toplevel and store."""


class Unavailable(StoreError):
    """The source store has no such closure, or cannot be asked."""


def is_store_path(path: str) -> bool:
    """Whether `path` is that of an object in the store, not of something inside it."""
    return _PATH.fullmatch(path) is not None


def read(runner: Runner, toplevel: str, store: str = "auto") -> tuple[PathInfo, ...]:
    """The closure of `toplevel`, what is referred to first, from the store at the URI `store`.

    A program asks once: while a path is valid, neither its hash nor what it refers to changes.
    Raises Unavailable if the store has not got it, StoreError if its answer makes no sense.
    """
    if (toplevel, store) not in _known:
        _known[toplevel, store] = _ask(runner, toplevel, store)
    return _known[toplevel, store]


def _ask(runner: Runner, toplevel: str, store: str) -> tuple[PathInfo, ...]:
    if not is_store_path(toplevel):
        raise StoreError(toplevel, f"not a store path; give one like {STORE}/HASH-NAME")
    try:
        listed = runner.run("nix-store", "--store", store, "--query", "--requisites", toplevel)
        paths = listed.stdout.split("\n")[:-1]
        for path in paths:
            if not is_store_path(path):
                raise StoreError(path, "listed in the closure, and is not a store path")
        dumps = [
            runner.run("nix-store", "--store", store, "--dump-db", *paths[i : i + _PATHS_AT_ONCE])
            for i in range(0, len(paths), _PATHS_AT_ONCE)
        ]
    except CommandFailed as failure:
        last = failure.tail[-1] if failure.tail else failure.problem
        raise Unavailable(toplevel, f"the store {store} cannot tell its closure: {last}") from None
    return parse("".join(dump.stdout for dump in dumps), toplevel)


def parse(dump: str, toplevel: str) -> tuple[PathInfo, ...]:
    """Read a dump; it must hold `toplevel` and be closed under references.

    Raises StoreError naming the path or the line.
    """
    infos: dict[str, PathInfo] = {}
    # Not splitlines(): it would also split at characters that are no line ends to Nix.
    lines = iter(dump.split("\n"))
    for path in lines:
        if path == "":
            break
        info = _info(path, lines)
        if path in infos:
            raise StoreError(path, "registered twice in one dump")
        infos[path] = info
    if any(lines):
        raise StoreError(toplevel, "the dump of its registration goes on after an empty line")
    if toplevel not in infos:
        raise StoreError(toplevel, "not registered as valid in the source store")
    for info in infos.values():
        for reference in info.references:
            if reference not in infos:
                raise StoreError(info.path, f"refers to {reference}, which is not in the closure")
    return tuple(infos.values())


def _info(path: str, lines: Iterator[str]) -> PathInfo:
    if not is_store_path(path):
        raise StoreError(path[:300], "not a store path, in the dump of the registration")
    sha256 = next(lines, "").removeprefix("sha256:")
    if _SHA256.fullmatch(sha256) is None:
        raise StoreError(path, f"its hash {sha256[:80]!r} is not SHA-256 in hexadecimal")
    nar_size = _number(path, "size", next(lines, ""))
    if nar_size == 0:
        raise StoreError(path, "its size is 0, and no NAR is empty")
    deriver = next(lines, "")
    if deriver and not is_store_path(deriver):
        raise StoreError(path, f"its deriver {deriver[:300]!r} is not a store path")
    references: list[str] = []
    for _ in range(_number(path, "number of references", next(lines, ""))):
        reference = next(lines, "")
        if not is_store_path(reference):
            raise StoreError(path, f"its reference {reference[:300]!r} is not a store path")
        references.append(reference)
    return PathInfo(path, sha256, nar_size, deriver, tuple(references))


def _number(path: str, what: str, text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise StoreError(path, f"its {what} {text[:80]!r} is not a number")
    return int(text)


def total(infos: Sequence[PathInfo]) -> int:
    """Bytes of all NARs."""
    return sum(info.nar_size for info in infos)
