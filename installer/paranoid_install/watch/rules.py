"""The rules by which executions are judged: policy/watch.toml and the operator's options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from paranoid_install.errors import SpecError


@dataclass(frozen=True)
class Grammar:
    """How an interpreter reads its options: letters, and words for long ones. See watch.toml."""

    value: str = ""
    next: str = ""
    attached: str = ""
    code: str = ""
    script: str = ""
    long: frozenset[str] = frozenset()
    long_code: frozenset[str] = frozenset()
    long_script: frozenset[str] = frozenset()
    long_last: frozenset[str] = frozenset()
    long_list: frozenset[str] = frozenset()
    module: str = ""
    commands: frozenset[str] = frozenset()
    first: str = "script"


@dataclass(frozen=True)
class Allow:
    """An exception: the given keys must all fit. `path` with a final / is a directory."""

    path: bytes = b""
    unit: str = ""
    why: str = ""


@dataclass(frozen=True)
class Report:
    """Alerts a minute of one kind and of all, seconds of silence, length of the webhook's queue."""

    per_kind: int
    all: int
    silence: float
    grace: float
    status: float
    spool: int


@dataclass(frozen=True, eq=False)
class Rules:
    """`store` and `wrappers` end with a slash; `uids` are inclusive ranges."""

    store: bytes
    links: tuple[bytes, ...]
    wrappers: bytes
    build_uids: tuple[tuple[int, int], ...]
    build_directories: tuple[bytes, ...]
    initrd: tuple[bytes, ...]
    initrd_ms: int
    denied: frozenset[bytes]
    interpreters: Mapping[str, Grammar]
    loaders: frozenset[str]
    loader: Grammar
    multicall: frozenset[str]
    allow: tuple[Allow, ...]
    report: Report

    def with_allowed(self, paths: tuple[str, ...], units: tuple[str, ...]) -> Rules:
        """These rules and the options' exceptions. Raises SpecError for a path that is relative."""
        for path in paths:
            if not path.startswith("/"):
                raise SpecError(f"--allow-path {path}", "not an absolute path", "begin it with /")
        extra = [Allow(path=path.encode(), why="option") for path in paths]
        extra += [Allow(unit=unit, why="option") for unit in units]
        return replace(self, allow=(*self.allow, *extra))


def read(data: Mapping[str, Any]) -> Rules:
    """Rules from watch.toml as a dictionary.

    Raises SpecError for a key that is unknown or missing: a misspelt exception must not pass
    as none.
    """
    _only(data, "watch.toml", _TABLES)
    store, builds, initrd = data["store"], data["builds"], data["initrd"]
    grammars: dict[str, Grammar] = {}
    for table in data["interpreter"]:
        grammar = _grammar(table, "interpreter")
        grammars.update(dict.fromkeys(table["names"], grammar))
    report = data["report"]
    return Rules(
        store=store["root"].encode(),
        links=tuple(path.encode() for path in store["links"]),
        wrappers=data["wrappers"]["root"].encode(),
        build_uids=tuple((int(first), int(last)) for first, last in builds["uids"]),
        build_directories=tuple(path.encode() for path in builds["directories"]),
        initrd=tuple(path.encode() for path in initrd["paths"]),
        initrd_ms=int(initrd["milliseconds"]),
        denied=frozenset(b"-%d" % number for number in data["denied"]["errors"]),
        interpreters=grammars,
        loaders=frozenset(data["loader"]["names"]),
        loader=_grammar(data["loader"], "loader"),
        multicall=frozenset(data["multicall"]["names"]),
        allow=tuple(_allow(table) for table in data.get("allow", ())),
        report=Report(
            per_kind=report["perKind"],
            all=report["all"],
            silence=report["silence"],
            grace=report["grace"],
            status=report["status"],
            spool=report["spool"],
        ),
    )


_TABLES = {
    "store", "wrappers", "builds", "initrd", "denied", "report",
    "interpreter", "loader", "multicall", "allow", "service",
}  # fmt: skip
_GRAMMAR = {
    "names", "value", "next", "attached", "code", "script",
    "long", "longCode", "longScript", "longLast", "longList", "module", "commands", "first",
}  # fmt: skip


def _grammar(table: Mapping[str, Any], where: str) -> Grammar:
    _only(table, where, _GRAMMAR)
    return Grammar(
        value=table.get("value", ""),
        next=table.get("next", ""),
        attached=table.get("attached", ""),
        code=table.get("code", ""),
        script=table.get("script", ""),
        long=frozenset(table.get("long", ())),
        long_code=frozenset(table.get("longCode", ())),
        long_script=frozenset(table.get("longScript", ())),
        long_last=frozenset(table.get("longLast", ())),
        long_list=frozenset(table.get("longList", ())),
        module=table.get("module", ""),
        commands=frozenset(table.get("commands", ())),
        first=table.get("first", "script"),
    )


def _allow(table: Mapping[str, Any]) -> Allow:
    _only(table, "allow", {"path", "unit", "why"})
    path, unit = table.get("path", ""), table.get("unit", "")
    if not path and not unit:
        raise SpecError("watch.toml: allow", "neither path nor unit", "name one of them")
    if path and not path.startswith("/"):
        raise SpecError(f"watch.toml: allow {path}", "not an absolute path", "begin it with /")
    if not table.get("why"):
        raise SpecError(f"watch.toml: allow {path or unit}", "no reason given", "add a `why`")
    return Allow(path.encode(), unit, table["why"])


def _only(table: Mapping[str, Any], where: str, known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise SpecError(f"{where}: {unknown[0]}", "unknown key", f"use one of {sorted(known)}")
