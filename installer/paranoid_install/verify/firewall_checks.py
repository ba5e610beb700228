"""The packet filter that is loaded (libnftables-json(5)), and what listens behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from paranoid_install import policy
from paranoid_install.verify.check import Check, Result, not_applicable, passed, unknown, unless
from paranoid_install.verify.facts import (
    Declared,
    Listener,
    Machine,
    MissingError,
    NotApplicable,
    Unknown,
    known,
)
from paranoid_install.verify.packets import TCP, UDP, V4, V6, connections, networks
from paranoid_install.verify.ranges import Ranges, both, ranges, size, without
from paranoid_install.verify.ruleset import Fate, Ruleset, Verdict, WorkError
from paranoid_install.verify.terms import Severity, Status

_FIREWALL = policy.load("firewall")
_OWN = policy.load("verify")["firewall"]
_SSH_PORT = policy.load("sshd")["port"]
_PRIVATE = frozenset(network["interface"] for network in policy.load("vpn").values())
_LOOPBACK = ("127.", "[::1]", "::1", "[::ffff:127.", "localhost")
_ANY_OTHER = "another"
"""An interface that no rule speaks of."""
_PORTS = ((1, 65535),)
_FAMILIES = {V4: ("ip", "0.0.0.0/0"), V6: ("ip6", "::/0")}
_PROTOCOLS = {TCP: "tcp", UDP: "udp"}
_MANY = 3
"""Unclear answers that are told of each kind."""


@dataclass(frozen=True)
class _Asked:
    """Connections of one family and protocol over one interface, and what becomes of them."""

    family: int
    protocol: int
    interface: str
    fates: tuple[Fate, ...]

    def ports(self, verdict: Verdict) -> Ranges:
        """Ports to which some connection meets that fate."""
        return ranges(
            pair for fate in self.fates if fate.verdict is verdict for pair in fate.packets.ports
        )

    def where(self, ports: Ranges, verdict: Verdict) -> str:
        """What a person reads: protocol, ports, interface, and where from when not everywhere."""
        sources = ranges(
            pair
            for fate in self.fates
            if fate.verdict is verdict and both(fate.packets.ports, ports)
            for pair in fate.packets.fields["saddr"]
        )
        shown = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ports[:5])
        more = " and more" if len(ports) > 5 else ""
        name = "any other interface" if self.interface == _ANY_OTHER else self.interface
        some = (
            ""
            if sources == _sources(self.family, public=self.interface not in _PRIVATE)
            else (" from some addresses")
        )
        family = _FAMILIES[self.family][0]
        return f"{family} {_PROTOCOLS[self.protocol]} {shown}{more} over {name}{some}"


def _sources(family: int, *, public: bool) -> Ranges:
    everything = networks([_FAMILIES[family][1]])
    if not public:
        return everything
    return without(everything, networks(_OWN["notPublic"][_FAMILIES[family][0]]))


def _ask(machine: Machine, *, public: bool) -> list[_Asked]:
    """What becomes of new connections over each public, or each private, interface.

    Raises MissingError when the rules are more than can be followed.
    """
    rules = Ruleset(known(machine.ruleset))
    there = machine.interfaces
    names = set(rules.interfaces())
    names |= set() if isinstance(there, Unknown | NotApplicable) else set(there)
    names = (names | {_ANY_OTHER}) - _PRIVATE - {"lo"} if public else set(_PRIVATE)
    found = []
    try:
        for family in _FAMILIES:
            for protocol in _PROTOCOLS:
                for name in sorted(names):
                    sources = _sources(family, public=public)
                    packets = connections(name, family, protocol, sources, _PORTS)
                    fates = tuple(rules.judge(packets))
                    found.append(_Asked(family, protocol, name, fates))
    except WorkError as error:
        raise MissingError(Unknown("the rules are more than can be followed")) from error
    return found


def _answer(open_to: list[str], unclear: list[str]) -> Result:
    if open_to:
        return unless(open_to)
    if unclear:
        more = [f"and {len(unclear) - _MANY} more"] if len(unclear) > _MANY else []
        return unknown(*(f"cannot tell: {text}" for text in unclear[:_MANY]), *more)
    return passed()


def _judge(asked: list[_Asked], ports: Callable[[_Asked], Ranges]) -> Result:
    """Fails for some of these ports that are open; unknown for those that may be."""
    found: dict[Verdict, list[str]] = {Verdict.ACCEPTED: [], Verdict.UNCLEAR: []}
    for one in asked:
        for verdict, texts in found.items():
            if here := both(one.ports(verdict), ports(one)):
                texts.append(one.where(here, verdict))
    return _answer(found[Verdict.ACCEPTED], found[Verdict.UNCLEAR])


def _all_but(protocol: int, declared: Collection[Declared]) -> Ranges:
    """Ports that nobody declared; that of sshd has a check of its own."""
    meant = [item.port for item in declared if item.protocol == _PROTOCOLS[protocol]]
    meant += [_SSH_PORT] if protocol == TCP else []
    return without(_PORTS, ranges((port, port) for port in meant))


def _input_drops(machine: Machine) -> Result:
    asked = _ask(machine, public=True)
    declared = machine.declared
    if not isinstance(declared, Unknown | NotApplicable):
        return _judge(asked, lambda one: _all_but(one.protocol, declared))
    # Nobody knows which ports are meant: a few are somebody's decision, many are an accident.
    few = [one for one in asked if size(one.ports(Verdict.ACCEPTED)) <= _OWN["most"]]
    result = _judge([one for one in asked if one not in few], lambda _one: _PORTS)
    if result.status is not Status.PASS:
        return result
    unclear = [
        one.where(ports, Verdict.UNCLEAR)
        for one in few
        if size(ports := one.ports(Verdict.UNCLEAR)) > _OWN["most"]
    ]
    return _answer([], unclear)


def _is_shut(asked: list[_Asked]) -> bool:
    """Whether anything is refused at all: where nothing is, one port more says nothing."""
    return any(size(one.ports(Verdict.ACCEPTED)) < size(_PORTS) for one in asked)


def _ssh_is_private(machine: Machine) -> Result:
    declared = machine.declared
    public = Declared("tcp", _SSH_PORT)
    if not isinstance(declared, Unknown | NotApplicable) and public in declared:
        return passed("the configuration opens it on every interface")
    asked = _ask(machine, public=True)
    if not _is_shut(asked):
        return not_applicable("nothing is refused; see firewall.input")
    only_tcp = [one for one in asked if one.protocol == TCP]
    return _judge(only_tcp, lambda _one: ((_SSH_PORT, _SSH_PORT),))


def _vpn_is_not_trusted(machine: Machine) -> Result:
    asked, strangers = _ask(machine, public=False), _ask(machine, public=True)
    if not _is_shut(strangers):
        return not_applicable("nothing is refused; see firewall.input")
    found: dict[Verdict, list[str]] = {Verdict.ACCEPTED: [], Verdict.UNCLEAR: []}
    for one in asked:
        for verdict, texts in found.items():
            # What strangers may is no trust in the network.
            ports = without(one.ports(verdict), _open_to_all(strangers, one))
            if size(ports) > _OWN["most"]:
                texts.append(one.where(ports, verdict))
    return _answer(found[Verdict.ACCEPTED], found[Verdict.UNCLEAR])


def _open_to_all(strangers: list[_Asked], asked: _Asked) -> Ranges:
    return ranges(
        pair
        for one in strangers
        if (one.family, one.protocol) == (asked.family, asked.protocol)
        for pair in one.ports(Verdict.ACCEPTED)
    )


def _objects(machine: Machine, kind: str) -> list[Any]:
    return [item[kind] for item in known(machine.ruleset) if kind in item]


def _refused_is_logged(machine: Machine) -> Result:
    prefix = _FIREWALL["log"]["prefix"].strip()
    rules = Ruleset(known(machine.ruleset))
    for statement in rules.statements("input"):
        log = statement.get("log")
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
          _input_drops),
    Check("firewall.ssh", "sshd is reached from private networks alone", Severity.HIGH,
          "what the whole net sees is tried all day", "paranoid.sshd.openFirewall",
          _ssh_is_private),
    Check("firewall.vpn", "private networks are not trusted as a whole", Severity.MEDIUM,
          "each device of the network would reach every port",
          "paranoid.vpn.tailscale.trustInterface", _vpn_is_not_trusted),
    Check("firewall.log", "refused connections are logged", Severity.LOW,
          "a scan is often the first sign of an attack", "paranoid.firewall.log.rate",
          _refused_is_logged),
    Check("firewall.egress", "the block of the binary cache is whole", Severity.LOW,
          "a machine that is deployed by push needs no way to fetch programs",
          "paranoid.firewall.egress.enable", _cache_is_blocked),
    Check("firewall.listeners", "only declared ports are listened on", Severity.HIGH,
          "a socket that nobody declared is a service that nobody knows of",
          "paranoid.services.<name>.ports", _listeners_are_declared),
)  # fmt: skip
