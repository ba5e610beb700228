"""What a loaded rule set does with new connections: the rules are walked as the kernel does.

Raises nothing but WorkError: a form that is not understood makes the answer "cannot tell".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from paranoid_install.verify.packets import (
    STRANGE,
    V4,
    V6,
    Packets,
    StrangeError,
    look_up,
    part,
    tracked,
    untracked,
)

WORK = 50_000
"""Expressions that are looked at before an answer is given up."""
_HOOKS = ("ingress", "prerouting", "input")
_FAMILIES = {V4: ("netdev", "inet", "ip"), V6: ("netdev", "inet", "ip6")}
_TRACKING = -200
_ANSWERS = {"icmp": V4, "icmpv6": V6}
_PASSING = frozenset(
    {"counter", "log", "continue", "comment", "last", "ct helper", "ct timeout", "ct expectation",
     "secmark"}
)  # fmt: skip
# What lets through some of the packets that are alike: the first, or those above a rate.
_SHARING = frozenset({"limit", "quota", "ct count", "meter"})
_MARKS = frozenset({"mark", "priority", "nftrace", "secmark", "label", "zone"})


class Verdict(Enum):
    """What becomes of a packet."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNCLEAR = "cannot tell"


_REFUSED = Verdict.REFUSED


class WorkError(Exception):
    """The rules part packets into too many kinds."""


@dataclass(frozen=True)
class Fate:
    """Packets, as they arrived, and what becomes of them."""

    packets: Packets
    verdict: Verdict


@dataclass(frozen=True)
class _End:
    """Packets at the end of a chain, or of a walk: `verdict` None is the end without one."""

    packets: Packets
    verdict: Verdict | None
    returned: bool = False


class Ruleset:
    """The objects of `nft -j list ruleset`."""

    def __init__(self, objects: tuple[Mapping[str, Any], ...]) -> None:
        self._tables = [item["table"] for item in objects if "table" in item]
        self._chains = [item["chain"] for item in objects if "chain" in item]
        self._sets = [item[kind] for item in objects for kind in ("set", "map") if kind in item]
        self._rules: dict[tuple[str, str, str], list[list[Any]]] = {}
        for item in objects:
            if "rule" in item:
                rule = item["rule"]
                place = (rule["family"], rule["table"], rule["chain"])
                self._rules.setdefault(place, []).append(rule["expr"])
        # A rule can fill a set: what it holds is true for now alone.
        self._moving = {
            (family, table, _target(statement))
            for (family, table, _), rules in self._rules.items()
            for rule in rules
            for statement in rule
            if isinstance(statement, dict) and ("set" in statement or "map" in statement)
        }
        self._work = 0

    def interfaces(self) -> frozenset[str]:
        """Interfaces that rules speak of; for a pattern, one that fits."""
        found: set[str] = set()
        for rules in self._rules.values():
            for rule in rules:
                found |= set(_names(rule))
        return frozenset(found)

    def statements(self, hook: str) -> Iterator[Mapping[str, Any]]:
        """Whatever rules hold that a hook's packets can run through, jumps followed."""
        waiting = [
            (chain["family"], chain["table"], chain["name"])
            for chain in self._chains
            if chain.get("hook") == hook
        ]
        seen = set()
        while waiting:
            place = waiting.pop()
            if place not in seen:
                seen.add(place)
                for rule in self._rules.get(place, []):
                    yield from (part for part in rule if isinstance(part, dict))
                    waiting += [(*place[:2], name) for name in _jumps(rule)]

    def reached(self, family: int) -> list[Mapping[str, Any]]:
        """The base chains that a packet for this machine runs through, in order."""
        chains = [
            chain
            for chain in self._chains
            if chain.get("hook") in _HOOKS and chain["family"] in _FAMILIES[family]
        ]
        return sorted(chains, key=lambda c: (_HOOKS.index(c["hook"]), c.get("prio", 0)))

    def judge(self, packets: Packets) -> list[Fate]:
        """What becomes of each part of a class. Raises WorkError."""
        self._work = 0
        going = [packets]
        fates = []
        (family,) = {low for low, _ in packets.fields["family"]}
        for chain in self.reached(family):
            early = _is_early(chain)
            ends = [end for here in going for end in self._base(chain, tracked(here, early=early))]
            fates += [Fate(e.packets, Verdict.REFUSED) for e in ends if e.verdict is _REFUSED]
            # Another chain may still refuse what this one lets through.
            going = [
                end.packets.unsure() if end.verdict is Verdict.UNCLEAR else end.packets
                for end in ends
                if end.verdict is not _REFUSED
            ]
        return fates + [
            Fate(here, Verdict.ACCEPTED if here.sure else Verdict.UNCLEAR) for here in going
        ]

    def _base(self, chain: Mapping[str, Any], packets: Packets) -> Iterator[_End]:
        table: Mapping[str, Any] = next(
            (t for t in self._tables
             if (t["family"], t["name"]) == (chain["family"], chain["table"])), {},
        )  # fmt: skip
        flags = table.get("flags", [])
        flags = [flags] if isinstance(flags, str) else flags
        if "dormant" in flags:
            yield _End(packets, Verdict.ACCEPTED)
            return
        devices = chain.get("dev", "")
        devices = [devices] if isinstance(devices, str) else devices
        if chain["hook"] == "ingress" and devices != [""] and packets.interface not in devices:
            yield _End(packets, Verdict.ACCEPTED)
            return
        if not set(flags) <= {"owner", "persist"} or (
            chain["hook"] == "ingress" and devices == [""]
        ):
            packets = packets.unsure()
            yield _End(packets, Verdict.ACCEPTED)
        policy = Verdict.REFUSED if chain.get("policy") == "drop" else Verdict.ACCEPTED
        for end in self._chain(chain, chain["name"], packets):
            yield _End(end.packets, policy) if end.verdict is None else end

    def _chain(self, base: Mapping[str, Any], name: str, packets: Packets) -> Iterator[_End]:
        going = [packets]
        for rule in self._rules.get((base["family"], base["table"], name), []):
            still = []
            for here in going:
                for end in self._rule(base, rule, here):
                    if end.verdict is None and not end.returned:
                        still.append(end.packets)
                    else:
                        yield _End(end.packets, end.verdict)
            going = still
            if not going:
                return
        for here in going:
            yield _End(here, None)

    def _rule(self, base: Mapping[str, Any], rule: list[Any], packets: Packets) -> Iterator[_End]:
        going = [packets]
        for statement in rule:
            kind, what = _kind(statement)
            still: list[Packets] = []
            for here in going:
                self._work += 1
                if self._work > WORK:
                    raise WorkError
                for end in self._statement(base, kind, what, here):
                    if isinstance(end, Packets):
                        still.append(end)
                    else:
                        yield end
            going = still
        for here in going:
            yield _End(here, None)

    def _statement(
        self, base: Mapping[str, Any], kind: str, what: Any, here: Packets
    ) -> Iterator[Packets | _End]:
        """Packets go on to the next statement; an end with nothing goes on to the next rule."""
        if kind == "match":
            fit, other = part(here, what, lambda name: self._elements(base, name))
            yield from fit
            yield from (_End(packets, None) for packets in other)
        elif kind in _SHARING:
            yield here
            yield _End(here, None)
        elif kind in ("set", "map"):
            yield here
            # So does a rate that is met; a set that is full ends the rule as well.
            yield _End(here if "stmt" in what else here.unsure(), None)
        elif kind == "vmap":
            yield from self._verdict_map(base, what, here)
        elif kind == "mangle":
            yield _mangled(here, what)
        elif kind == "notrack":
            # Once a connection is known, it has no effect.
            yield untracked(here) if _is_early(base) else here
        elif kind == "redirect":
            yield _End(_redirected(here, what), Verdict.ACCEPTED)
        elif kind in _PASSING:
            yield here
        else:
            yield from self._ending(base, kind, what, here)

    def _ending(
        self, base: Mapping[str, Any], kind: str, what: Any, here: Packets
    ) -> Iterator[Packets | _End]:
        if kind == "accept":
            yield _End(here, Verdict.ACCEPTED)
        elif kind in ("drop", "reject"):
            # nft leaves out the match of a family that the kind of answer implies.
            answer = what.get("type") if isinstance(what, dict) else None
            fits = here.only("family") == _ANSWERS.get(str(answer), here.only("family"))
            yield _End(here, Verdict.REFUSED if fits else None)
        elif kind == "return":
            yield _End(here, None, returned=True)
        elif kind in ("jump", "goto"):
            for end in self._chain(base, what["target"], here):
                yield _End(end.packets, end.verdict, end.verdict is None and kind == "goto")
        else:
            # Unknown: it may pass packets on, let them in, or end the rule.
            yield _End(here.changed(), Verdict.UNCLEAR)
            yield here.changed()
            yield _End(here.unsure(), None)

    def _verdict_map(
        self, base: Mapping[str, Any], what: Mapping[str, Any], here: Packets
    ) -> Iterator[Packets | _End]:
        try:
            fits, rest = self._mapped(base, what, here)
        except STRANGE:
            yield _End(here.unsure(), Verdict.UNCLEAR)
            yield _End(here.unsure(), None)
            return
        for packets, verdict in fits:
            kind, inner = _kind(verdict)
            for end in self._ending(base, kind, inner, packets):
                # A map's `continue` is the end of its rule.
                yield _End(end, None) if isinstance(end, Packets) else end
        yield from (_End(packets, None) for packets in rest)

    def _mapped(
        self, base: Mapping[str, Any], what: Mapping[str, Any], here: Packets
    ) -> tuple[list[tuple[Packets, Any]], list[Packets]]:
        data = what["data"]
        pairs = self._elements(base, data[1:]) if isinstance(data, str) else data["set"]
        fits: list[tuple[Packets, Any]] = []
        rest = [here]
        # What is left over comes last, wherever it stands.
        for item, verdict in sorted(pairs, key=lambda pair: pair[0] == "*"):
            parted = [look_up(packets, what["key"], [item]) for packets in rest]
            fits += [(packets, verdict) for fit, _ in parted for packets in fit]
            rest = [packets for _, other in parted for packets in other]
            self._work += len(rest)
            if self._work > WORK:
                raise WorkError
        return fits, rest

    def _elements(self, base: Mapping[str, Any], name: str) -> list[Any]:
        place = (base["family"], base["table"], name)
        if place in self._moving:
            raise StrangeError
        for found in self._sets:
            if (found["family"], found["table"], found["name"]) == place:
                elements = list(found.get("elem", ()))
                self._work += len(elements)
                if self._work > WORK:
                    raise WorkError
                return elements
        raise StrangeError


def _is_early(chain: Mapping[str, Any]) -> bool:
    """Whether a chain comes before connections are tracked (nft(8), standard priorities)."""
    hook, priority = str(chain["hook"]), int(chain.get("prio", 0))
    return hook == "ingress" or (hook == "prerouting" and priority < _TRACKING)


def _kind(statement: Any) -> tuple[str, Any]:
    if isinstance(statement, dict) and len(statement) == 1:
        return next(iter(statement.items()))
    return str(statement), None


def _target(statement: Mapping[str, Any]) -> str:
    inner = statement.get("set") or statement.get("map")
    if not isinstance(inner, dict):
        return ""
    return str(inner.get("set") or inner.get("map")).removeprefix("@")


def _mangled(packets: Packets, what: Mapping[str, Any]) -> Packets:
    key = what["key"]
    payload, value = key.get("payload", {}), what["value"]
    if payload.get("field") == "dport" and isinstance(value, int):
        return packets.sent_to(value)
    inner = key.get("meta") or key.get("ct") or {}
    # No match on a mark is understood, so that nothing hangs on its value.
    return packets if inner.get("key") in _MARKS else packets.changed()


def _redirected(packets: Packets, what: Any) -> Packets:
    port = what.get("port") if isinstance(what, dict) else None
    if isinstance(port, int):
        return packets.sent_to(port)
    return packets if port is None else packets.changed()


def _names(value: Any) -> Iterator[str]:
    """Interfaces in an expression."""
    if isinstance(value, dict):
        match = value.get("match") or value.get("vmap")
        if isinstance(match, dict) and '"iif' in str(match).replace("'", '"'):
            texts = match.get("right", match.get("data"))
            yield from (_one(text) for text in _texts(texts) if not text.startswith("@"))
    elif isinstance(value, list):
        for item in value:
            yield from _names(item)


def _jumps(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for kind, inner in value.items():
            if kind in ("jump", "goto") and isinstance(inner, dict) and "target" in inner:
                yield inner["target"]
            else:
                yield from _jumps(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _jumps(inner)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _one(pattern: str) -> str:
    """A name that a pattern of interfaces fits."""
    return f"{pattern[:-1]}0" if pattern.endswith("*") else pattern
