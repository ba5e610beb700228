"""What stands before a key in authorized_keys: whether such a key still opens a shell. Pure.

The rules are those of sshd(8), "AUTHORIZED_KEYS FILE FORMAT", as sshd 9.2 and 10.0 apply them:
one option that they don't understand, and the key lets nobody in.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_FLAGS = re.compile(
    r"(?:restrict|cert-authority|(?:no-)?"
    r"(?:port-forwarding|agent-forwarding|x11-forwarding|touch-required|verify-required|pty|user-rc))",
    re.IGNORECASE,
)
# A backslash means something before a quote only, and there always: no way back to it.
_VALUE = re.compile(r'([a-z-]+)="((?:\\"|[^"\\]|\\(?!"))*)"', re.IGNORECASE | re.DOTALL)
_ONCE = ("command", "principals", "from")
_TIME = re.compile(r"(\d{8}(?:\d{4}(?:\d{2})?)?)(?:Z|UTC)?", re.ASCII)
_FIELDS = re.compile(
    r"(\d{4})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])([0-5]\d)([0-5]\d|60)", re.ASCII
)
_ZONES = timedelta(hours=14)
"""How far before UTC the clock of the installed machine may be: it reads a time as its own."""
_PORT = re.compile(r"(?:\*|0*[1-9][0-9]{0,4})", re.ASCII)
_PERMIT = re.compile(r"(?:\[[^]]*\]|[^:/\[]*)[:/](.*)", re.DOTALL)
_ENVIRONMENT = re.compile(r"[A-Za-z0-9_]+=.*", re.ASCII | re.DOTALL)
_TUNNEL = re.compile(r"any|0*[0-9]{1,9}", re.IGNORECASE | re.ASCII)

_NEVER = {
    "command": "it runs {} in place of a shell",
    "cert-authority": "it is an authority's: it signs for others and lets nobody in itself",
    "principals": "principals= is for an authority's key, and sshd refuses any other with it",
}


@dataclass(frozen=True)
class Judged:
    """`problem`: why the key opens no shell, or ""; `limits`: under what conditions it does."""

    problem: str = ""
    limits: tuple[str, ...] = ()


def judge(options: str, now: datetime) -> Judged:
    """Whether a key with these options lets its holder into a shell; `now` knows its zone."""
    said: dict[str, list[str]] = {}
    rest = options
    while rest:
        if flag := _FLAGS.match(rest):
            said.setdefault(flag[0].lower(), []).append("")
            rest = rest[flag.end() :]
        elif value := _VALUE.match(rest):
            said.setdefault(value[1].lower(), []).append(value[2].replace('\\"', '"'))
            rest = rest[value.end() :]
        # sshd passes over a comma too many.
        if rest and not rest.startswith(","):
            return Judged(f"sshd does not know the option {_shown(rest)}, and refuses the key")
        rest = rest[1:]
    problems = [
        problem for name, values in said.items() if (problem := _problem(name, values, now))
    ]
    if problems:
        return Judged(problems[0])
    limits = [f"only from {value}" for value in said.get("from", ())]
    limits += [f"until {value}" for value in said.get("expiry-time", ())]
    return Judged("", tuple(limits))


def _problem(name: str, values: list[str], now: datetime) -> str:
    if name in _ONCE and len(values) > 1:
        return f"it says {name}= twice, and sshd refuses the key"
    if name in _NEVER:
        return _NEVER[name].format(_shown(values[0]))
    if name == "from":
        return _from(values[0])
    if name == "expiry-time":
        return next((p for value in values if (p := _expiry(value, now))), "")
    good = _FORMS.get(name) or _NOTHING[bool(_FLAGS.fullmatch(name))]
    wrong = [value for value in values if not good(value)]
    return f"sshd may not take its option {name}={_shown(wrong[0])}" if wrong else ""


def _from(patterns: str) -> str:
    entries = patterns.split(",")
    hosts = [entry for entry in entries if not entry.startswith("!")]
    for entry in entries:
        try:
            if "/" in entry:
                ipaddress.ip_network(entry.removeprefix("!"))
        except ValueError:
            return f"from= names {_shown(entry)}, which is no network, and sshd refuses the key"
    if not all(entry.removeprefix("!") for entry in entries) or not hosts:
        return "from= admits no address"
    if all(_is_loopback(entry) for entry in hosts):
        return "from= admits this machine alone"
    return ""


def _is_loopback(entry: str) -> bool:
    return entry == "localhost" or entry.startswith(("127.", "::1"))


def _expiry(value: str, now: datetime) -> str:
    match = _TIME.fullmatch(value)
    fields = _FIELDS.fullmatch(match[1].ljust(14, "0")) if match else None
    if fields is None:
        return f"expiry-time={_shown(value)} is no time"
    year, month, day, hours, minutes, seconds = map(int, fields.groups())
    # A 30th of February is the 2nd of March, as mktime(3) has it.
    end = datetime(max(year, 1), month, 1, tzinfo=UTC) + timedelta(
        days=day - 1, hours=hours, minutes=minutes, seconds=seconds
    )
    return "" if end - _ZONES > now else f"it expired at {value}"


def _listens(value: str) -> bool:
    return _permits(value if ":" in value else f"*:{value}")


def _permits(value: str) -> bool:
    match = _PERMIT.fullmatch(value)
    return match is not None and _PORT.fullmatch(match[1]) is not None and _is_port(match[1])


def _is_port(word: str) -> bool:
    return word == "*" or int(word) <= 65535


_FORMS: dict[str, Callable[[str], bool]] = {
    "environment": lambda value: _ENVIRONMENT.fullmatch(value) is not None,
    "permitopen": _permits,
    "permitlisten": _listens,
    "tunnel": lambda value: _TUNNEL.fullmatch(value) is not None,
}
"""What the value of an option that decides on no login has to look like."""
_NOTHING: dict[bool, Callable[[str], bool]] = {
    True: lambda value: value == "",
    False: lambda _value: False,
}
"""The same of a flag, and of an option that sshd does not know."""


def _shown(text: str) -> str:
    return repr(text[:40])
