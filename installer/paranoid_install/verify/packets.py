"""New connections as a packet filter sees them, and what its expressions say of them.

A class of packets has a set of values for each field that is understood. A match parts it into
packets that fit and packets that do not; where that cannot be known, both are possible and neither
is sure any more. Forms: libnftables-json(5); meanings: nft(8).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from paranoid_install.verify.ranges import Ranges, both, ranges, without

V4, V6 = 2, 10
TCP, UDP = 6, 17
_MOST = (1 << 128) - 1
_NEW, _UNTRACKED = 8, 64
_SYN = 2
_FAMILIES = {"ipv4": V4, "ipv6": V6, "ip": V4, "ip6": V6}
_PROTOCOLS = {"icmp": 1, "igmp": 2, "tcp": TCP, "udp": UDP, "dccp": 33, "gre": 47, "esp": 50,
              "ah": 51, "icmpv6": 58, "ipv6-icmp": 58, "comp": 108, "sctp": 132,
              "udplite": 136}  # fmt: skip
_STATES = {"invalid": 1, "established": 2, "related": 4, "new": _NEW, "untracked": _UNTRACKED}
_FLAGS = {"fin": 1, "syn": _SYN, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
_KINDS = {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}


class StrangeError(ValueError):
    """A form, or a value, that is not understood."""


STRANGE = (ValueError, KeyError, TypeError, IndexError, AttributeError)
"""What an expression of another form raises."""
_CONCATENATIONS = 2000
"""Most parts that the elements of one set may make."""


@dataclass(frozen=True)
class Packets:
    """A class of first packets of connections that arrive over one interface.

    `sure` is False when it is not known whether any packet gets here. `arrived` are the ports that
    the packets arrived with, once a rule has changed those.
    """

    interface: str
    fields: Mapping[str, Ranges]
    sure: bool = True
    arrived: Ranges | None = None

    def having(self, field: str, values: Ranges) -> Packets:
        """The same with other values of a field."""
        return replace(self, fields={**self.fields, field: values})

    def unsure(self) -> Packets:
        return replace(self, sure=False)

    def sent_to(self, port: int) -> Packets:
        """With another port than they arrived with."""
        return replace(self.having("dport", ((port, port),)), arrived=self.ports)

    def changed(self) -> Packets:
        """With whatever addresses and ports a rule may have given them; nobody knows which."""
        anywhere = ((0, _MOST),)
        fields = {**self.fields, "saddr": anywhere, "daddr": anywhere}
        fields |= {"sport": ((0, 65535),), "dport": ((0, 65535),)}
        return replace(self, fields=fields, arrived=self.ports, sure=False)

    @property
    def ports(self) -> Ranges:
        """The destination ports that the packets arrived with."""
        return self.fields["dport"] if self.arrived is None else self.arrived

    def only(self, field: str) -> int | None:
        """The one value of a field; None when there are several."""
        values = self.fields[field]
        return values[0][0] if len(values) == 1 and values[0][0] == values[0][1] else None


def connections(
    interface: str, family: int, protocol: int, sources: Ranges, ports: Ranges
) -> Packets:
    """Connections to any address of the machine that others can send to."""
    here = ["::/0"] if family == V6 else ["0.0.0.0/0"]
    apart = ["fe80::/10", "ff00::/8"] if family == V6 else ["224.0.0.0/3", "127.0.0.0/8"]
    return Packets(
        interface,
        {
            "family": ((family, family),),
            "protocol": ((protocol, protocol),),
            "saddr": sources,
            "daddr": without(networks(here), networks(apart)),
            "sport": ((1, 65535),),
            "dport": ports,
            "state": ((_NEW, _NEW),),
            "flags": ((_SYN, _SYN),),
            "kind": ((0, 0),),
        },
    )


def tracked(packets: Packets, *, early: bool) -> Packets:
    """As a chain sees it, before connections are tracked or after."""
    if packets.only("state") == _UNTRACKED:
        return packets
    state = _STATES["invalid"] if early else _NEW
    return packets.having("state", ((state, state),))


def untracked(packets: Packets) -> Packets:
    """After `notrack`."""
    return packets.having("state", ((_UNTRACKED, _UNTRACKED),))


def networks(texts: list[str]) -> Ranges:
    """Addresses of networks of one family, in CIDR notation."""
    found = [ipaddress.ip_network(text, strict=False) for text in texts]
    return ranges((int(n.network_address), int(n.broadcast_address)) for n in found)


Parted: TypeAlias = tuple[list[Packets], list[Packets]]
"""Those that fit, and those that do not."""
Elements = Callable[[str], list[Any]]
"""What a set with a name holds. Raises StrangeError where that changes by itself."""


def part(packets: Packets, match: Mapping[str, Any], elements: Elements) -> Parted:
    """What a match does."""
    left, right, operator = match["left"], match["right"], match.get("op", "==")
    try:
        if operator in ("in", "!in") or _masks(left):
            return _bits(packets, left, right, operator)
        if operator in ("==", "!="):
            fit, other = look_up(packets, left, _items(right, elements))
            return (fit, other) if operator == "==" else _negated(packets, left, fit, other)
        return _ordered(packets, left, right, operator)
    except STRANGE:
        return [packets.unsure()], [packets.unsure()]


def look_up(packets: Packets, left: Any, items: list[Any]) -> Parted:
    """Part by whether a value is one of some. Raises StrangeError."""
    keys = left["concat"] if isinstance(left, dict) and "concat" in left else [left]
    readers = [_read(packets, key) for key in keys]
    if any(reader is None for reader in readers):
        return [], [packets]
    if len(keys) == 1:
        return _one(packets, readers[0], [_plain(item) for item in items])
    fit: list[Packets] = []
    rest = [packets]
    for item in items:
        parts = _plain(item)
        values = parts["concat"] if isinstance(parts, dict) and "concat" in parts else None
        if values is None:
            if parts == "*":
                return fit + rest, []
            raise StrangeError
        hit, rest = _all(rest, readers, values)
        fit += hit
        if len(rest) > _CONCATENATIONS:
            raise StrangeError
    return fit, rest


def _all(rest: list[Packets], readers: list[Any], values: list[Any]) -> Parted:
    hit, other = rest, []
    for reader, value in zip(readers, values, strict=True):
        parted = [_one(packets, reader, [value]) for packets in hit]
        other += [packets for _, miss in parted for packets in miss]
        hit = [packets for fit, _ in parted for packets in fit]
    return hit, other


@dataclass(frozen=True)
class _Reader:
    """How a value is read: the field, and the numbers of its names. Interfaces have no field."""

    field: str
    names: Mapping[str, int]


def _read(packets: Packets, left: Any) -> _Reader | None:
    """The reader of an expression; None when these packets have no such thing.

    Raises StrangeError for an expression that is not understood.
    """
    kind, what = next(iter(left.items())) if isinstance(left, dict) and len(left) == 1 else ("", {})
    if kind == "meta":
        found = _META.get(str(what.get("key")))
        # `meta protocol` is the link's, with other numbers, but its names are of one kind.
        if found is not None:
            return found
    elif kind == "ct" and what.get("key") == "state":
        return _Reader("state", _STATES)
    elif kind == "payload" and "protocol" in what:
        return _payload(packets, what["protocol"], what["field"])
    elif kind == "fib" and what == {"result": "type", "flags": ["daddr"]}:
        # Where a packet is let in, its destination is this machine.
        return _Reader("kind", {"local": 0, "unicast": 9, "broadcast": 9, "multicast": 9})
    elif kind == "fib" and what.get("result") == "oif" and "saddr" in what.get("flags", ()):
        # A sender who is reached over the interface that it came from: what is asked about.
        return _Reader("routed", {})
    raise StrangeError


_META = {
    "l4proto": _Reader("protocol", _PROTOCOLS),
    "nfproto": _Reader("family", _FAMILIES),
    "protocol": _Reader("family", _FAMILIES),
    "pkttype": _Reader("kind", _KINDS),
    "iifname": _Reader("", {}),
    "iif": _Reader("", {}),
}


def _payload(packets: Packets, header: str, field: str) -> _Reader | None:
    protocol = packets.only("protocol")
    if header in _FAMILIES and packets.only("family") != _FAMILIES[header]:
        return None
    if header in _PROTOCOLS and protocol != _PROTOCOLS[header]:
        return None
    reader = _HEADERS.get((header, field))
    if reader is None:
        raise StrangeError
    return reader


_HEADERS = {
    **{(h, f): _Reader(f, {}) for h in ("ip", "ip6") for f in ("saddr", "daddr")},
    **{(h, f): _Reader(f, {}) for h in ("tcp", "udp", "th") for f in ("sport", "dport")},
    # Not `ip6 nexthdr`: others headers can stand before that of the protocol.
    ("ip", "protocol"): _Reader("protocol", _PROTOCOLS),
    ("tcp", "flags"): _Reader("flags", _FLAGS),
}


def _one(packets: Packets, reader: Any, values: list[Any]) -> Parted:
    if reader.field == "routed":
        fits = [bool(value) for value in values]
        return ([packets], []) if fits[0] else ([], [packets])
    if not reader.field:
        hit = any(_is_interface(packets.interface, value) for value in values)
        return ([packets], []) if hit else ([], [packets])
    wanted = ranges(_pair(value, reader) for value in values)
    mine = packets.fields[reader.field]
    inside, outside = both(mine, wanted), without(mine, wanted)
    return (
        [packets.having(reader.field, inside)] if inside else [],
        [packets.having(reader.field, outside)] if outside else [],
    )


def _is_interface(name: str, value: Any) -> bool:
    if not isinstance(value, str):
        raise StrangeError
    if value.endswith("\\*"):
        return name == value[:-2] + "*"
    return name == value or (value.endswith("*") and name.startswith(value[:-1]))


def _pair(value: Any, reader: _Reader) -> tuple[int, int]:
    """The lowest and the highest number that a value stands for."""
    if value == "*":
        return 0, _MOST
    if isinstance(value, dict) and "range" in value:
        low, high = (_pair(end, reader) for end in value["range"])
        return low[0], high[1]
    if isinstance(value, dict) and "prefix" in value:
        (pair,) = networks([f"{value['prefix']['addr']}/{value['prefix']['len']}"])
        return pair
    number = _number(value, reader)
    return number, number


def _number(value: Any, reader: _Reader) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise StrangeError
    if value in reader.names:
        return reader.names[value]
    try:
        return int(ipaddress.ip_address(value)) if reader.field[1:] == "addr" else int(value, 0)
    except ValueError as error:
        raise StrangeError from error


def _items(right: Any, elements: Elements) -> list[Any]:
    if isinstance(right, str) and right.startswith("@"):
        return elements(right[1:])
    if isinstance(right, dict) and "set" in right:
        inner = right["set"]
        return list(inner) if isinstance(inner, list) else [inner]
    if isinstance(right, list):
        raise StrangeError
    return [right]


def _plain(item: Any) -> Any:
    """An element without its time-out, counter or comment."""
    while isinstance(item, dict) and "elem" in item:
        item = item["elem"]["val"]
    return item


def _negated(packets: Packets, left: Any, fit: list[Packets], other: list[Packets]) -> Parted:
    """`!=` of a header is for packets that have it."""
    keys = left["concat"] if isinstance(left, dict) and "concat" in left else [left]
    if any(_read(packets, key) is None for key in keys):
        return [], [packets]
    return other, fit


def _ordered(packets: Packets, left: Any, right: Any, operator: str) -> Parted:
    reader = _read(packets, left)
    if reader is None:
        return [], [packets]
    low, high = _pair(right, reader)
    bounds = {"<": (0, low - 1), "<=": (0, high), ">": (high + 1, _MOST), ">=": (low, _MOST)}
    if operator not in bounds or not reader.field or reader.field == "routed":
        raise StrangeError
    wanted = ranges([bounds[operator]])
    mine = packets.fields[reader.field]
    inside, outside = both(mine, wanted), without(mine, wanted)
    return (
        [packets.having(reader.field, inside)] if inside else [],
        [packets.having(reader.field, outside)] if outside else [],
    )


def _masks(left: Any) -> bool:
    return isinstance(left, dict) and "&" in left


def _bits(packets: Packets, left: Any, right: Any, operator: str) -> Parted:
    """`value & mask` against a number, or against any of some bits. One value alone is judged."""
    inner, mask = left["&"] if _masks(left) else (left, None)
    reader = _read(packets, inner)
    if reader is None:
        return [], [packets]
    value = packets.only(reader.field) if reader.field in packets.fields else None
    if value is None:
        raise StrangeError
    if mask is not None:
        value &= _mask(mask, reader)
    wanted = _mask(right, reader)
    answers = {"==": value == wanted, "!=": value != wanted, "in": bool(value & wanted),
               "!in": not value & wanted}  # fmt: skip
    if operator not in answers:
        raise StrangeError
    return ([packets], []) if answers[operator] else ([], [packets])


def _mask(value: Any, reader: _Reader) -> int:
    if isinstance(value, dict) and "|" in value:
        value = value["|"]
    total = 0
    for bit in value if isinstance(value, list) else [value]:
        total |= _mask(bit, reader) if isinstance(bit, dict | list) else _number(bit, reader)
    return total
