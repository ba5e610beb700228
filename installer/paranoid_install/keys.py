"""ssh public keys: reading them, and finding the ones that already open a door. No secrets."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from pathlib import Path

from paranoid_install import outside

_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_KEY = re.compile(
    rf"(?:{'|'.join(re.escape(t) for t in _TYPES)})[ \t]+(?P<blob>[A-Za-z0-9+/]{{40,}}={{0,2}})",
    re.ASCII,
)


def parse(line: str) -> str:
    """One public key of an authorized_keys file, options in front of it allowed (sshd(8)).

    Raises ValueError for anything else, a private key and a damaged key included.
    """
    text = line.strip()
    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key; give the public one, which ends in .pub")
    match = _KEY.search(text)
    if match is None or not text.isprintable() or not _stands_alone(match):
        raise ValueError(
            f"{text[:60]!r} is not an ssh public key; it begins like 'ssh-ed25519 AAAA'"
        )
    if not _is_key(match):
        raise ValueError(f"{text[:60]!r} is a damaged ssh public key; copy it again")
    return text


def read(value: str) -> tuple[str, ...]:
    """The keys that `--ssh-key` means: one key, or the file that holds some.

    Raises ValueError when the file cannot be read or holds none.
    """
    if _KEY.search(value):
        return (parse(value),)
    path = Path(value)
    try:
        text = outside.read_text(path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise ValueError(
            f"{value[:60]!r} is neither an ssh public key nor a file ({reason})"
        ) from None
    if "PRIVATE KEY" in text:
        raise ValueError(f"{path} is a private key; give the public one, which ends in .pub")
    lines = [line.strip() for line in text.splitlines()]
    found = tuple(parse(line) for line in lines if line and not line.startswith("#"))
    if not found:
        raise ValueError(f"{path} holds no ssh public key")
    return found


def of_live_root() -> tuple[str, ...]:
    """The keys that open root's account on the running system, as on a machine reached by ssh."""
    places = (Path("/root/.ssh/authorized_keys"), Path("/etc/ssh/authorized_keys.d/root"))
    return tuple(dict.fromkeys(key for place in places for key in _valid(_text_of(place))))


def of_system(toplevel: str) -> tuple[str, ...]:
    """The keys that a system's toplevel lets in: NixOS puts them into etc/ssh/authorized_keys.d."""
    directory = Path(toplevel) / "etc/ssh/authorized_keys.d"
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    return tuple(dict.fromkeys(key for file in files for key in _valid(_text_of(file))))


def in_text(text: str) -> bool:
    """Whether a valid public key stands anywhere in a text, as in a NixOS configuration."""
    return any(_is_key(match) for match in _KEY.finditer(text))


def in_directory(directory: str) -> bool:
    """Whether any file below a configuration directory holds a public key."""
    files = (f for f in sorted(Path(directory).rglob("*")) if f.is_file())
    return any(in_text(_text_of(file)) for file in files)


def authorized_keys(keys: Iterable[str]) -> str:
    """The text of an authorized_keys file."""
    return "".join(key + "\n" for key in dict.fromkeys(keys))


def _valid(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        match = _KEY.search(line)
        if match and line.isprintable() and _stands_alone(match) and _is_key(match):
            found.append(line.strip())
    return found


def _stands_alone(match: re.Match[str]) -> bool:
    """Whether sshd(8) would read the key: no comment, no word that continues it."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    return before[-1:].strip() == after[:1].strip() == "" and not before.lstrip().startswith("#")


def _is_key(match: re.Match[str]) -> bool:
    # RFC 4253, 6.6: strings, each with its length before it; the first is the key type's own
    # name. A key that lost its end in copying is found by the last one's length.
    try:
        blob = base64.b64decode(match["blob"], validate=True)
    except binascii.Error:
        return False
    fields = []
    while blob:
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            return False
        fields.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return len(fields) > 1 and fields[0] == match[0].split()[0].encode()


def _text_of(file: Path) -> str:
    try:
        return outside.read(file).decode(errors="replace")
    except OSError:  # not there, or not for us: no key known from it
        return ""
