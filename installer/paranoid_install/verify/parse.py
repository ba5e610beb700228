"""The output of programs and the text of files as facts. Pure.

Text of another form raises ValueError, KeyError, TypeError or IndexError.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from paranoid_install.keys import line as keys
from paranoid_install.verify.facts import AppArmor, Declared, Group, Listener, User

_EXPOSURE = re.compile(r"Overall exposure level for (\S+): ([0-9.]+) ")
_MATCH = re.compile(r"checking syntax for 'Match (.*)'$")
_MATCHED = re.compile(r"checking match for '")
_SECOND = re.compile(r"config reprocess config len")
_SHADOWED = ("x", "*NP*")
_QUOTED = re.compile(r'"(?:\\"|[^"])*"')
_DES = re.compile(r"[./0-9A-Za-z]{13}")
_ENFORCING = ("enforce", "kill")
_PROCESS = re.compile(r'\(\("([^"]*)"')


_FLAGS = {"true": "yes", "false": "no"}


def sshd(text: str) -> dict[str, tuple[str, ...]]:
    """`sshd -T`: lower-case keywords with their values, in order.

    Some versions print keywords as sshd_config(5) writes them; sshd itself ignores case. 10.6 says
    "false" for TCPKeepAlive no: sshd takes either word for the other (sshd_config(5)).
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key:
            value = _FLAGS.get(value, value)
            found[key.lower()] = (*found.get(key.lower(), ()), value)
    if "port" not in found:
        raise ValueError("this is not what sshd -T prints")
    return found


def sshd_conditions(lines: Iterable[str]) -> list[str]:
    """What `sshd -T -ddd` says of the Match lines that it reads, at its first reading."""
    found = []
    for line in lines:
        # Then each block is matched, and files that are included are read anew.
        if _MATCHED.search(line) or _SECOND.search(line):
            break
        if match := _MATCH.search(line):
            found.append(match[1])
    return found


def ruleset(text: str) -> tuple[Mapping[str, Any], ...]:
    """`nft -j list ruleset`: the objects, in order."""
    data = json.loads(text)
    # TypeError and KeyError of anything else are answered like ValueError.
    return tuple(item for item in data["nftables"] if isinstance(item, dict))


def listeners(text: str) -> tuple[Listener, ...]:
    """`ss -H -tulpn`: netid, state, queues, local and peer address, processes."""
    found = []
    for line in text.splitlines():
        words = line.split(None, 6)
        if not words:
            continue
        if len(words) < 6:
            raise ValueError(f"not a line of ss: {line!r}")
        address, _, port = words[4].rpartition(":")
        process = _PROCESS.search(words[6]) if len(words) > 6 else None
        program = process[1] if process else ""
        found.append(Listener(words[0], address, int(port), program))
    return tuple(found)


def declared(text: str) -> tuple[Declared, ...]:
    """listeners.json, as docs/verify.md has it."""
    data = json.loads(text)
    try:
        if data["version"] != 1:
            raise ValueError(f"version {data['version']!r} is not known")
        return tuple(
            Declared(str(item["protocol"]), int(item["port"]), tuple(item.get("interfaces", ())))
            for item in data["listeners"]
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a list of listeners: {error!r}") from error


def settings(text: str) -> dict[str, str]:
    """`Key=value` lines of systemd's files (systemd.syntax(7)), sections aside; the last counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")):
            found[key.strip()] = value.strip()
    return found


def units(text: str) -> dict[str, dict[str, str]]:
    """`systemctl show` of several units: blocks that an empty line parts, by their Id."""
    found = {}
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("LoadState", "loaded") == "loaded" and "Id" in unit:
            found[unit["Id"]] = unit
    return found


def exposure(text: str) -> dict[str, float]:
    """`systemd-analyze security UNIT…`: what it says below each unit's table."""
    return {unit: float(number) for unit, number in _EXPOSURE.findall(text)}


def tailscale(text: str) -> str:
    """`tailscale status --json`: BackendState."""
    return str(json.loads(text)["BackendState"])


def audit_rules(text: str) -> tuple[str, ...]:
    """`auditctl -l`: a rule a line."""
    return tuple(line for raw in text.splitlines() if (line := raw.strip()) and line != "No rules")


def passwords(passwd: str, shadow: str, declared: Mapping[str, str]) -> tuple[User, ...]:
    """Users of `getent passwd` with the kind of their password in `getent shadow`.

    Of two lines for one name the C library takes the first. A password that stands in passwd(5)
    itself is the one that counts (pam_unix(8)).
    """
    hashes: dict[str, str] = {}
    for line in shadow.split("\n"):
        name, _, rest = line.partition(":")
        hashes.setdefault(name, rest.partition(":")[0])
    found = []
    for line in passwd.split("\n"):
        if not line:
            continue
        fields = line.split(":")
        name, secret, number = fields[0], fields[1], int(fields[2])
        if secret in _SHADOWED:
            secret = hashes.get(name, "!")
        kind = _password(secret)
        known = kind == "hash" and secret == declared.get(name, "").strip()
        method = _method(secret) if kind == "hash" else ""
        found.append(User(name, number, kind, known, method, int(fields[3])))
    return tuple(found)


def _password(secret: str) -> str:
    if not secret:
        return "empty"
    return "hash" if secret.startswith(("$", "_")) or _DES.fullmatch(secret) else "locked"


def _method(secret: str) -> str:
    if secret.startswith("$"):
        return secret.split("$")[1]
    return "bsdi" if secret.startswith("_") else "des"


def groups(text: str) -> tuple[Group, ...]:
    """`getent group`: the groups with their numbers and members."""
    found = []
    for line in text.split("\n"):
        if line:
            name, _, number, members = line.split(":")
            found.append(Group(name, int(number), tuple(m for m in members.split(",") if m)))
    return tuple(found)


def key_kinds(text: str) -> tuple[str, ...]:
    """The kind of the key on each line of authorized_keys; `?` where there is none.

    One that signs for others' keys is `cert-authority`, whatever its own kind.
    """
    found = []
    for line in text.split("\n"):
        if keys.is_nothing(line):
            continue
        try:
            key = keys.parse(line)
        except ValueError:
            found.append("?")
        else:
            said = _QUOTED.sub("", key.options).casefold().split(",")
            found.append("cert-authority" if "cert-authority" in said else key.type)
    return tuple(found)


def lockdown(text: str) -> str:
    """The mode in brackets of /sys/kernel/security/lockdown."""
    match = re.search(r"\[(\w+)\]", text)
    if match is None:
        raise ValueError(f"no mode in {text!r}")
    return match[1]


def apparmor(text: str) -> AppArmor:
    """The loaded profiles: a name, which may have blanks, and its mode in brackets."""
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, mode = line.rpartition(" (")
        if name:
            found.setdefault(mode.rstrip(")"), []).append(name)
    enforced = [name for mode in _ENFORCING for name in found.pop(mode, [])]
    # Such a profile is there to give a program a name.
    found.pop("unconfined", None)
    others = tuple(f"{name} ({mode})" for mode, names in found.items() for name in names)
    return AppArmor(True, len(enforced), others)


def blocked_modules(text: str) -> frozenset[str]:
    """Modules of modprobe.d(5) whose install command does nothing but fail, or succeed.

    A name with two commands is left out: which one counts is modprobe's own affair.
    """
    commands: dict[str, set[str]] = {}
    for line in text.replace("\\\n", " ").split("\n"):
        words = line.split()
        if len(words) >= 3 and words[0] == "install":
            commands.setdefault(words[1].replace("-", "_"), set()).add(" ".join(words[2:]))
    return frozenset(
        name
        for name, said in commands.items()
        if all(re.fullmatch(r"/\S*/(false|true)", command) for command in said)
    )


def kernel_config(text: str) -> dict[str, str]:
    """The options of a kernel's .config that are set, without CONFIG_ and quotes."""
    lines = (line.partition("=") for line in text.split("\n"))
    return {
        name.removeprefix("CONFIG_"): value.strip('"')
        for name, equals, value in lines
        if equals and name.startswith("CONFIG_")
    }
