"""One line of an authorized_keys file, read as sshd reads it. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

_RSA = "ssh-rsa"
_ED25519 = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com")
_CURVES = {b"nistp256": 65, b"nistp384": 97, b"nistp521": 133}
"""Bytes of an uncompressed point of each curve (RFC 5656, 3.1)."""

TYPES = {
    name: name
    for name in (
        _RSA,
        *_ED25519,
        *(f"ecdsa-sha2-{curve.decode()}" for curve in _CURVES),
        "sk-ecdsa-sha2-nistp256@openssh.com",
    )
} | {"rsa-sha2-256": _RSA, "rsa-sha2-512": _RSA}
"""The words for a type that sshd takes at the head of a line, and the key's own type."""

_RSA_LIMIT = 16384
"""Bits beyond which OpenSSL, and so sshd, checks no RSA signature (rsa.h)."""

_FIELDS = re.compile(r"([^ \t]+)[ \t]+([^ \t]+)(?:[ \t]+(.*))?", re.DOTALL)
_PRIVATE = "this is a private key; give the public one, which ends in .pub"


@dataclass(frozen=True)
class Key:
    """A public key. `options` stand before it in the line; `bits` is the size of an RSA key."""

    options: str
    type: str
    blob: str
    comment: str
    bits: int = 0

    @property
    def line(self) -> str:
        """The key as a line without anything that a terminal or an editor could stumble over."""
        words = (self.options, self.type, self.blob, self.comment)
        return " ".join(word for word in words if word)

    @property
    def name(self) -> str:
        """The key in words, to tell it from others in a message."""
        what = f"{self.type} of {self.bits} bits" if self.bits else self.type
        return f"{what} ({self.comment})" if self.comment else f"{what} (…{self.blob[-12:]})"


def is_nothing(line: str) -> bool:
    """Whether sshd passes over the line: blank, or a remark."""
    text = line.strip(" \t\r\n")
    return not text or text.startswith("#")


def parse(line: str) -> Key:
    """The key of a line of an authorized_keys file, its options not yet judged.

    Spaces and tabs part the fields; what stands after the key is a comment of any form. Source:
    sshd(8), "AUTHORIZED_KEYS FILE FORMAT", and what sshd 9.2 and 10.0 do. Raises ValueError
    for anything else: a private key, a damaged one, a certificate.
    """
    # A C string ends there.
    text = line.partition("\0")[0].strip(" \t\r\n")
    if "PRIVATE KEY" in text:
        raise ValueError(_PRIVATE)
    if is_nothing(text):
        raise ValueError(f"{text[:60]!r} is not an ssh public key but a remark, or nothing")
    for options, rest in _readings(text):
        match = _FIELDS.match(rest)
        if match is None or match[1] not in TYPES:
            continue
        numbers = _decode(match[2])
        kind = TYPES[match[1]]
        if numbers is not None and _is_whole(numbers, kind):
            bits = int.from_bytes(numbers[2], "big").bit_length() if kind == _RSA else 0
            blob = "".join(match[2].split())
            return Key(options, kind, blob, _printable(match[3] or ""), bits)
    raise ValueError(_what_else(text))


def _readings(text: str) -> list[tuple[str, str]]:
    """The two ways to read a line: as a key, and as options before a key."""
    end = _end_of_options(text)
    return [("", text)] if end is None else [("", text), (text[:end], text[end:].lstrip(" \t"))]


def _end_of_options(text: str) -> int | None:
    quoted = False
    position = 0
    while position < len(text) and (quoted or text[position] not in " \t"):
        if text.startswith('\\"', position):
            position += 1
        elif text[position] == '"':
            quoted = not quoted
        position += 1
    return None if quoted else position


def _decode(word: str) -> list[bytes] | None:
    """The fields of a key (RFC 4253, 6.6: each with its length before it); None if damaged."""
    plain = "".join(word.split())
    try:
        blob = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        return None
    if base64.b64encode(blob).decode() != plain:
        return None
    fields = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            return None
        fields.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return fields


def _is_whole(fields: list[bytes], kind: str) -> bool:
    if not fields or fields[0] != kind.encode():
        return False
    # Keys that live in a token name the application that they are for.
    rest = fields[1:-1] if kind.startswith("sk-") else fields[1:]
    if kind == _RSA:
        return len(rest) == 2 and 0 < int.from_bytes(rest[1], "big").bit_length() <= _RSA_LIMIT
    if kind in _ED25519:
        return len(rest) == 1 and len(rest[0]) == 32
    return (
        len(rest) == 2
        and f"sha2-{rest[0].decode(errors='replace')}" in kind
        and len(rest[1]) == _CURVES.get(rest[0])
        and rest[1][0] == 4
    )


def _what_else(text: str) -> str:
    shown = repr(text[:60])
    if re.search(r"-cert-v0[01]@openssh\.com[ \t]", text):
        return (
            f"{shown} is a certificate, which sshd takes from nobody's authorized_keys; give the "
            "public key, or let TrustedUserCAKeys name the authority"
        )
    words = re.split(r"[ \t]+", text)
    if "ssh-dss" in words[:-1]:
        return f"{shown} is a DSA key, which no sshd of today takes; make one with ssh-keygen"
    if any(word in TYPES for word in words[:-1]):
        return f"{shown} is a damaged ssh public key; copy it again, as one line"
    return f"{shown} is not an ssh public key; it begins like 'ssh-ed25519 AAAA'"


def _printable(comment: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in comment).split())
