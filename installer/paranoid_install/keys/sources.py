"""Where public keys are found: as settings, on the running system, in a system to be installed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from paranoid_install import outside
from paranoid_install.keys.accepts import Accepts
from paranoid_install.keys.daemon import Daemon
from paranoid_install.keys.line import TYPES, is_nothing, parse
from paranoid_install.keys.options import judge

_WORDS = "|".join(map(re.escape, (*TYPES, "ssh-dss", "-----BEGIN", "-cert-v01@openssh.com")))
_A_KEY = re.compile(rf"(?:{_WORDS})[ \t]")
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True)
class Found:
    """`keys`: lines that open a shell where sshd takes their kind of key. `left`: a sentence for
    each line that holds no such key, and why. `limits`: under what conditions keys let in."""

    keys: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(
            tuple(dict.fromkeys(self.keys + other.keys)),
            tuple(dict.fromkeys(self.left + other.left)),
            tuple(dict.fromkeys(self.limits + other.limits)),
        )


def read(value: str, now: datetime | None = None) -> Found:
    """The keys that `--ssh-key` means: one key, or the file that holds some.

    A file is read whatever wrote it: a byte order mark and the line ends of other systems are
    none of sshd's business, since what is installed is written anew. Raises ValueError when a key
    opens no shell, when the file cannot be read, and when no line of it holds a good one.
    """
    if _A_KEY.search(value):
        found = in_text(value.removeprefix("\ufeff"), now)
        if not found.keys:
            why = found.left[0] if found.left else f"{value[:60]!r} is only a remark"
            raise ValueError(f"{why}; give another key")
        return found
    path = Path(value)
    text = decoded(_content(path))
    if "PRIVATE KEY" in text:
        raise ValueError(f"{path} is a private key; give the public one, which ends in .pub")
    found = in_text(text, now)
    if not found.keys:
        why = f" that opens a shell: {found.left[0]}; give another key" if found.left else ""
        raise ValueError(f"{path} holds no ssh public key{why}")
    return found


def _content(path: Path) -> bytes:
    try:
        return outside.read(path)
    except (OSError, ValueError) as error:
        # A name with a null byte in it is a ValueError.
        reason = getattr(error, "strerror", None) or "not text"
        problem = f"is neither an ssh public key nor a file ({reason})"
        raise ValueError(f"{str(path)[:60]!r} {problem}") from None


def in_text(text: str, now: datetime | None = None) -> Found:
    """The keys of a text in the form of authorized_keys."""
    moment = now or datetime.now(UTC)
    found = Found()
    # Not splitlines(): what else Unicode calls a line end may stand in a comment.
    for line in text.replace("\r\n", "\n").split("\n"):
        if not is_nothing(line):
            found += _in_line(line, moment)
    return found


def _in_line(line: str, now: datetime) -> Found:
    try:
        key = parse(line)
    except ValueError as error:
        return Found(left=(str(error),))
    judged = judge(key.options, now)
    if judged.problem:
        return Found(left=(f"the key {key.name} opens no shell: {judged.problem}",))
    limits = tuple(f"the key {key.name} lets in {limit}" for limit in judged.limits)
    return Found((key.line,), (), limits)


def opening(lines: Iterable[str], accepts: Accepts) -> Found:
    """Those of the keys that a daemon takes."""
    found = Found()
    for line in lines:
        key = parse(line)
        why = accepts.refusal(key)
        found += Found(left=(f"the key {key.name}: {why}",)) if why else Found((line,))
    return found


def of_live_root() -> Found:
    """The keys that open root's account on the running system, as on a machine reached by ssh."""
    places = (Path("/root/.ssh/authorized_keys"), Path("/etc/ssh/authorized_keys.d/root"))
    found = Found()
    for place in places:
        found += in_text(_as_sshd_reads(place))
    return found


def of_system(toplevel: str, daemon: Daemon | None) -> Found:
    """The keys with which somebody gets into a system: NixOS puts them into etc, a file a user.

    `daemon` None: the system has no sshd_config, so no key of it opens anything.
    """
    found = Found()
    for user, text in _files_of(Path(toplevel) / "etc/ssh/authorized_keys.d"):
        here = in_text(text)
        closed = _closed(daemon, user)
        if closed and here.keys:
            found += Found(left=(f"{user} is not let in: {closed}",))
        elif daemon is not None and not closed:
            found += Found(left=here.left, limits=here.limits) + opening(here.keys, daemon.accepts)
    return found


def _closed(daemon: Daemon | None, user: str) -> str:
    if daemon is None:
        return "it has no sshd_config, so that no ssh daemon runs"
    if not daemon.reads("/etc/ssh/authorized_keys.d/%u"):
        return "its sshd reads no keys from the configuration (AuthorizedKeysFile)"
    return daemon.closed(user)


def authorized_keys(keys: Iterable[str]) -> str:
    """The text of an authorized_keys file."""
    return "".join(key + "\n" for key in dict.fromkeys(keys))


def decoded(data: bytes) -> str:
    """Text of any origin: by its byte order mark, else UTF-8, else Latin-1, which takes all."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _files_of(directory: Path) -> Iterator[tuple[str, str]]:
    files = sorted(directory.iterdir()) if directory.is_dir() else []
    yield from ((file.name, _as_sshd_reads(file)) for file in files)


def _as_sshd_reads(file: Path) -> str:
    """With a byte order mark, if there is one: sshd takes no line that begins with it."""
    try:
        return outside.read(file).decode(errors="replace")
    except OSError:  # not there, or not for us: no key known from it
        return ""
