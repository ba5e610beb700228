"""Which public keys a daemon takes: their types, and how long an RSA key must be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from paranoid_install import policy
from paranoid_install.keys.line import TYPES, Key

OPENSSH = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""What sshd takes where its configuration does not say (sshd_config(5), without certificates)."""
OPENSSH_RSA_BITS = 1024


@dataclass(frozen=True)
class Accepts:
    """`algorithms` as PubkeyAcceptedAlgorithms has them; `rsa_bits` is RequiredRSASize."""

    algorithms: tuple[str, ...] = OPENSSH
    rsa_bits: int = OPENSSH_RSA_BITS

    def refusal(self, key: Key) -> str:
        """Why the daemon would not take the key; "" when it would."""
        signed = {name for name, kind in TYPES.items() if kind == key.type}
        if not signed & set(self.algorithms):
            return f"sshd takes no key of type {key.type}"
        if key.bits and key.bits < self.rsa_bits:
            return f"sshd takes RSA keys of {self.rsa_bits} bits and more, and it has {key.bits}"
        return ""


def of_policy() -> Accepts:
    """What the sshd of the default configuration takes."""
    settings = policy.load("sshd")["settings"]
    return Accepts(tuple(settings["PubkeyAcceptedAlgorithms"]), settings["RequiredRSASize"])


def named(patterns: str) -> tuple[str, ...]:
    """What a PubkeyAcceptedAlgorithms line means: it may add to sshd's own, or take away."""
    sign, rest = (patterns[:1], patterns[1:]) if patterns[:1] in "+-^" else ("", patterns)
    known = {*OPENSSH, *TYPES}
    meant = tuple(name for name in sorted(known) if _matches(name, rest.split(",")))
    match sign:
        case "+" | "^":
            return tuple(dict.fromkeys((*OPENSSH, *meant)))
        case "-":
            return tuple(name for name in OPENSSH if name not in meant)
    return meant


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(
        re.fullmatch(re.escape(p).replace(r"\*", ".*").replace(r"\?", "."), name) for p in patterns
    )
