"""The packet filter that is loaded (libnftables-json(5)), and what listens behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, passed, unless
from paranoid_install.verify.facts import (
    Declared,
    Listener,
    Machine,
    MissingError,
    NotApplicable,
    Unknown,
    known,
)
from paranoid_install.verify.terms import Severity

_FIREWALL = policy.load("firewall")
_SSH_PORT = policy.load("sshd")["port"]
_VPN = policy.load("vpn")
_PRIVATE = frozenset(network["interface"] for network in _VPN.values())
_FAMILIES = frozenset({"ip", "ip6"})
_LOOPBACK = ("127.", "[::1]", "::1", "[::ffff:127.", "localhost")

Object = Mapping[str, Any]


def _objects(machine: Machine, kind: str) -> list[Any]:
    return [item[kind] for item in known(machine.ruleset) if kind in item]


def _input_chains(machine: Machine) -> list[Any]:
    return [
        chain
        for chain in _objects(machine, "chain")
        if chain.get("hook") == "input" and chain.get("type") == "filter"
    ]


def _dropping_chains(machine: Machine) -> list[Any]:
    """Input chains behind which a port is closed. Raises MissingError when there is none."""
    chains = [chain for chain in _input_chains(machine) if chain.get("policy") == "drop"]
    if not chains:
        raise MissingError(NotApplicable("nothing is dropped; see firewall.input"))
    return chains


def _rules_of(machine: Machine, chain: Object) -> Iterator[Sequence[Any]]:
    """The expressions of each rule that packets of a chain run through, jumps included."""
    rules = _objects(machine, "rule")
    waiting, seen = [chain["name"]], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for rule in rules:
            place = (rule["family"], rule["table"], rule["chain"])
            if place == (chain["family"], chain["table"], name):
                yield rule["expr"]
                waiting += _targets(rule["expr"])


def _targets(value: Any) -> Iterator[str]:
    """Chains that a rule jumps or goes to, in verdict maps too.

    Raises MissingError for a map with a name, which is not followed.
    """
    if isinstance(value, dict):
        if isinstance(value.get("vmap"), dict) and isinstance(value["vmap"].get("data"), str):
            raise MissingError(Unknown(f"a rule takes verdicts from {value['vmap']['data']}"))
        for key, inner in value.items():
            if key in ("jump", "goto") and isinstance(inner, dict) and "target" in inner:
                yield inner["target"]
            else:
                yield from _targets(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _targets(inner)


def _accepts(rule: Sequence[Any]) -> bool:
    return any(isinstance(part, dict) and "accept" in part for part in rule)


def _may_accept(rule: Sequence[Any]) -> bool:
    return _accepts(rule) or any(isinstance(part, dict) and "vmap" in part for part in rule)


def _matches(rule: Sequence[Any]) -> list[Any]:
    return [part["match"] for part in rule if isinstance(part, dict) and "match" in part]


def _interfaces(rule: Sequence[Any]) -> frozenset[str] | None:
    """The interfaces that a rule is limited to; None: it is for all."""
    for match in _matches(rule):
        left = match["left"]
        if isinstance(left, dict) and left.get("meta", {}).get("key") in ("iif", "iifname"):
            if match.get("op", "==") != "==":
                return None
            return frozenset(str(item) for item in _items(match["right"]))
    return None


def _items(value: Any) -> list[Any]:
    if isinstance(value, dict) and "set" in value:
        inner = value["set"]
        return list(inner) if isinstance(inner, list) else [inner]
    return list(value) if isinstance(value, list) else [value]


def _ports(machine: Machine, rule: Sequence[Any]) -> list[Any] | None:
    """Destination ports that a rule is limited to; None: it names none.

    Raises MissingError where they stand in a form that is not followed.
    """
    for match in _matches(rule):
        if '"dport"' not in json.dumps(match["left"]):
            continue
        if match.get("op", "==") != "==":
            raise MissingError(Unknown("a rule is for all ports but some"))
        right = match["right"]
        if isinstance(right, str) and right.startswith("@"):
            return _elements(machine, right.removeprefix("@"))
        return [port for item in _items(right) for port in _parts(item)]
    for part in rule:
        if isinstance(part, dict) and '"dport"' in json.dumps(part.get("vmap", {}).get("key")):
            raise MissingError(Unknown("a rule takes its ports from a verdict map"))
    return None


def _elements(machine: Machine, name: str) -> list[Any]:
    """What the sets of a name hold; of an interface and such in front of a port, all parts."""
    sets = [found for found in _objects(machine, "set") if found["name"] == name]
    if not sets:
        raise MissingError(Unknown(f"a rule takes its ports from {name}, which is no set"))
    return [port for found in sets for item in found.get("elem", ()) for port in _parts(item)]


def _parts(item: Any) -> list[Any]:
    """The parts of an element: of `tcp . 22` both; with a time-out or a counter, the element."""
    if isinstance(item, dict) and "elem" in item:
        return _parts(item["elem"]["val"])
    if isinstance(item, dict) and "concat" in item:
        return list(item["concat"])
    return [item]


def _holds(ports: list[Any], port: int) -> bool:
    for item in ports:
        if isinstance(item, dict) and "range" in item:
            low, high = item["range"]
            if isinstance(low, int) and isinstance(high, int) and low <= port <= high:
                return True
        elif item == port:
            return True
    return False


def _input_drops(machine: Machine) -> Result:
    chains = _input_chains(machine)
    closed: set[str] = set()
    for chain in chains:
        if chain.get("policy") == "drop":
            closed |= _FAMILIES if chain["family"] == "inet" else {chain["family"]}

    def problems() -> Iterator[str]:
        for family in sorted(_FAMILIES - closed):
            yield f"{family}: no input chain whose policy is drop"
        for chain in chains:
            # To accept in one chain is not to let in: another may still drop.
            if chain.get("policy") != "drop":
                continue
            for rule in _rules_of(machine, chain):
                if _accepts(rule) and not _narrows(rule):
                    yield f"{chain['family']} {chain['table']}: a rule accepts everything"

    return unless(problems())


def _narrows(rule: Sequence[Any]) -> bool:
    """Whether the rule has any condition that leaves most connections out."""
    return any(isinstance(part, dict) and not _passes_most(part) for part in rule)


def _passes_most(part: Object) -> bool:
    if "match" in part:
        # `meta l4proto tcp` alone is every port.
        left = part["match"]["left"]
        asked = left if isinstance(left, dict) else {}
        key = asked.get("meta", {}).get("key") or asked.get("payload", {}).get("field")
        return key in ("l4proto", "protocol", "nexthdr", "nfproto")
    return not part.keys().isdisjoint({"accept", "counter", "log", "limit"})


def _ssh_is_private(machine: Machine) -> Result:
    declared = machine.declared
    if not isinstance(declared, Unknown | NotApplicable):
        public = Declared("tcp", _SSH_PORT)
        if public in declared:
            return passed("the configuration opens it on every interface")

    chains = _dropping_chains(machine)

    def problems() -> Iterator[str]:
        for chain in chains:
            for rule in _rules_of(machine, chain):
                if not _may_accept(rule):
                    continue
                ports = _ports(machine, rule)
                if ports is None or not _holds(ports, _SSH_PORT):
                    continue
                where = _interfaces(rule)
                if where is None or where - _PRIVATE - {"lo"}:
                    shown = ", ".join(sorted(where)) if where else "every interface"
                    yield f"port {_SSH_PORT} is open on {shown}"

    return unless(problems())


def _vpn_is_not_trusted(machine: Machine) -> Result:
    chains = _dropping_chains(machine)

    def problems() -> Iterator[str]:
        for chain in chains:
            for rule in _rules_of(machine, chain):
                trusted = (_interfaces(rule) or frozenset()) & _PRIVATE
                if _accepts(rule) and trusted and len(_matches(rule)) == 1:
                    yield f"everything is accepted from {', '.join(sorted(trusted))}"

    return unless(problems())


def _refused_is_logged(machine: Machine) -> Result:
    prefix = _FIREWALL["log"]["prefix"].strip()
    for chain in _input_chains(machine):
        for rule in _rules_of(machine, chain):
            for part in rule:
                log = part.get("log") if isinstance(part, dict) else None
                if isinstance(log, dict) and str(log.get("prefix", "")).strip() == prefix:
                    return passed(prefix)
    return unless([f"no rule logs with the prefix {prefix!r}"])


def _cache_is_blocked(machine: Machine) -> Result:
    name = _FIREWALL["egress"]["table"]
    if all(table["name"] != name for table in _objects(machine, "table")):
        return not_applicable("paranoid.firewall.egress.enable is off")
    rules = [rule for rule in _objects(machine, "rule") if rule["table"] == name]
    rejecting = [r for r in rules if any(part.keys() & {"reject", "drop"} for part in r["expr"])]
    return unless([] if rejecting else [f"table {name} refuses nothing"])


def _is_local(listener: Listener) -> bool:
    return listener.address.startswith(_LOOPBACK)


def _listeners_are_declared(machine: Machine) -> Result:
    declared = {(item.protocol, item.port) for item in known(machine.declared)}
    return unless(
        f"{one.protocol} {one.address}:{one.port} {one.program}".rstrip()
        for one in known(machine.listeners)
        if not _is_local(one) and (one.protocol, one.port) not in declared
    )


CHECKS = (
    Check("firewall.input", "what no rule accepts is dropped", Severity.CRITICAL,
          "a port that is open by accident is the commonest way in", "paranoid.firewall.enable",
          _input_drops, "R78"),
    Check("firewall.ssh", "sshd is reached from private networks alone", Severity.HIGH,
          "what the whole net sees is tried all day", "paranoid.sshd.openFirewall",
          _ssh_is_private, "R79"),
    Check("firewall.vpn", "private networks are not trusted as a whole", Severity.MEDIUM,
          "each device of the network would reach every port",
          "paranoid.vpn.tailscale.trustInterface", _vpn_is_not_trusted, "R78"),
    Check("firewall.log", "refused connections are logged", Severity.LOW,
          "a scan is often the first sign of an attack", "paranoid.firewall.log.rate",
          _refused_is_logged, "R71"),
    Check("firewall.egress", "the block of the binary cache is whole", Severity.LOW,
          "a machine that is deployed by push needs no way to fetch programs",
          "paranoid.firewall.egress.enable", _cache_is_blocked),
    Check("firewall.listeners", "only declared ports are listened on", Severity.HIGH,
          "a socket that nobody declared is a service that nobody knows of",
          "paranoid.services.<name>.ports", _listeners_are_declared, "R80"),
)  # fmt: skip
