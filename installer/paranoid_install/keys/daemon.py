"""What a system's sshd_config says of who gets in with a key.

Read as NixOS writes it: a keyword and its value a line, the first value counts (sshd_config(5)).
What this cannot judge, it says so: `Match` and `Include` decide on what is not known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.keys.accepts import OPENSSH_RSA_BITS, Accepts, named

_LINE = re.compile(r"[ \t]*([A-Za-z]+)(?:[ \t]*=[ \t]*|[ \t]+)(.*)")
_ROOT_MAY = ("yes", "prohibit-password", "without-password")
_LOOPBACK = re.compile(r"(?:127\.[0-9.]+|localhost)(?::\d+)?|\[?::1\]?(?::\d+)?")
# Of these the lines add up; of all others the first counts.
_ADDING = ("listenaddress", "allowusers", "denyusers", "allowgroups", "denygroups")
# What in a Match block can shut somebody out.
_DECIDING = frozenset(
    (
        *("allowgroups", "allowusers", "authenticationmethods", "authorizedkeyscommand"),
        *("authorizedkeysfile", "chrootdirectory", "denygroups", "denyusers", "forcecommand"),
        *("include", "pamservicename", "permitrootlogin", "pubkeyacceptedalgorithms"),
        *("pubkeyauthentication", "pubkeyauthoptions", "refuseconnection", "requiredrsasize"),
    )
)
_DEFAULT_FILES = ".ssh/authorized_keys .ssh/authorized_keys2"


@dataclass(frozen=True)
class Daemon:
    """The global part of an sshd_config, keywords in lower case; and of each `Match` the criteria
    and the keywords that stand in it."""

    values: tuple[tuple[str, str], ...]
    blocks: tuple[tuple[str, frozenset[str]], ...] = ()

    @classmethod
    def of(cls, text: str) -> Daemon:
        """What a file says."""
        found: dict[str, str] = {}
        blocks: list[tuple[str, set[str]]] = []
        for line in text.splitlines():
            match = _LINE.match(line)
            if match is None:
                continue
            name, value = match[1].lower(), match[2].strip().replace('"', "")
            if name == "match":
                blocks.append((value, set()))
            elif blocks:
                blocks[-1][1].add(name)
            elif name in _ADDING and name in found:
                found[name] += f" {value}"
            else:
                found.setdefault(name, value)
        return cls(tuple(found.items()), tuple((c, frozenset(names)) for c, names in blocks))

    @classmethod
    def of_system(cls, toplevel: str) -> Daemon | None:
        """What a system's own file says; None where it has none. Raises OSError."""
        file = Path(toplevel) / "etc/ssh/sshd_config"
        return cls.of(file.read_text(encoding="utf-8", errors="replace")) if file.exists() else None

    def _value(self, name: str, default: str = "") -> str:
        return dict(self.values).get(name, default)

    @property
    def accepts(self) -> Accepts:
        """The kinds of keys that it takes."""
        patterns = self._value("pubkeyacceptedalgorithms") or self._value("pubkeyacceptedkeytypes")
        bits = self._value("requiredrsasize", str(OPENSSH_RSA_BITS))
        standard = Accepts()
        algorithms = named(patterns) if patterns else standard.algorithms
        return Accepts(algorithms, int(bits) if bits.isdigit() else 2**31)

    def reads(self, file: str) -> bool:
        """Whether keys in this file, as AuthorizedKeysFile names it, are looked at."""
        return file in self._value("authorizedkeysfile", _DEFAULT_FILES).split()

    def closed(self, user: str) -> str:
        """Why no key lets this user into a shell, or may not; "" when one does."""
        return self._unknown(user) or self._shut_to_all() or self._shut_out(user)

    def _unknown(self, user: str) -> str:
        if self._value("include"):
            return "its sshd_config includes other files, and what they say is not known here"
        for criteria, names in self.blocks:
            if names & _DECIDING and not _is_about_others(criteria, user):
                return f"its sshd_config has Match {criteria}, and whom that shuts out is not known"
        return ""

    def _shut_to_all(self) -> str:
        listens = self._value("listenaddress").split()
        if listens and all(_LOOPBACK.fullmatch(address) for address in listens):
            return "its sshd listens on the machine's own loopback alone"
        if self._value("pubkeyauthentication", "yes") != "yes":
            return "its sshd takes no public keys (PubkeyAuthentication)"
        methods = self._value("authenticationmethods", "any").split()
        if not {"any", "publickey"} & set(methods):
            return f"its sshd wants more than a key (AuthenticationMethods {' '.join(methods)})"
        if self._value("forcecommand", "none") != "none":
            return "its sshd runs one command in place of a shell (ForceCommand)"
        return ""

    def _shut_out(self, user: str) -> str:
        root = self._value("permitrootlogin", "prohibit-password")
        if user == "root" and root not in _ROOT_MAY:
            return f"its sshd does not let root in (PermitRootLogin {root})"
        for name in ("allowgroups", "denygroups"):
            if self._value(name):
                return f"its sshd asks for groups ({name}), and who is in them is not known here"
        if any(_names(pattern, user, everywhere=True) for pattern in self._patterns("denyusers")):
            return f"its sshd shuts {user} out (DenyUsers)"
        allowed = self._patterns("allowusers")
        if allowed and not any(_names(pattern, user, everywhere=False) for pattern in allowed):
            return f"its sshd does not let {user} in (AllowUsers {' '.join(allowed)})"
        return ""

    def _patterns(self, name: str) -> list[str]:
        return self._value(name).split()


def _names(pattern: str, user: str, *, everywhere: bool) -> bool:
    """Whether a pattern of AllowUsers names a user, from everywhere or from somewhere."""
    name, at, host = pattern.partition("@")
    if at and everywhere and host != "*":
        return False
    form = re.escape(name).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(form, user) is not None


def _is_about_others(criteria: str, user: str) -> bool:
    words = criteria.split()
    patterns = words[1].split(",") if len(words) == 2 and words[0].lower() == "user" else [user]
    return not any(p.startswith("!") or _names(p, user, everywhere=False) for p in patterns)
