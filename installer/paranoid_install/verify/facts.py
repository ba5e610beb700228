"""What is known of a machine: pieces that are each a value, unknown, or not applicable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias, TypeVar

from paranoid_install.mounts import MountEntry
from paranoid_install.watch.kernel import Status

T = TypeVar("T")


@dataclass(frozen=True)
class Unknown:
    """The piece could not be had: no permission, no such program, no answer."""

    reason: str


@dataclass(frozen=True)
class NotApplicable:
    """There is no such thing on this machine, or not while it is not running."""

    reason: str


Piece: TypeAlias = T | Unknown | NotApplicable


class MissingError(Exception):
    """A check needed a piece that is not a value; `piece` is what it is instead."""

    def __init__(self, piece: Unknown | NotApplicable) -> None:
        super().__init__(piece.reason)
        self.piece = piece


def known(piece: Piece[T]) -> T:
    """The piece's value. Raises MissingError, which becomes the check's answer."""
    if isinstance(piece, Unknown | NotApplicable):
        raise MissingError(piece)
    return piece


@dataclass(frozen=True)
class Stat:
    """A file's owner and permission bits (with set-uid, set-gid and sticky), and its kind."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    directory: bool = False

    def __str__(self) -> str:
        return f"{self.path}: mode {self.mode:04o}, owner {self.uid}:{self.gid}"


@dataclass(frozen=True)
class Place:
    """A directory on an executable, writable mount that others than root may write to."""

    mount: str
    stat: Stat


@dataclass(frozen=True)
class Space:
    """Bytes of a file system, and those that are taken."""

    size: int
    used: int


@dataclass(frozen=True)
class SshdBlock:
    """A Match block of sshd_config(5): what it says, and the settings where it alone holds."""

    condition: str
    settings: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Listener:
    """A listening socket, of ss(8). `address` as printed, without the port; `*` is any."""

    protocol: str
    address: str
    port: int
    program: str = ""


@dataclass(frozen=True)
class Declared:
    """A port that the configuration opens; `interfaces` empty: on all of them."""

    protocol: str
    port: int
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class User:
    """A line of passwd(5). `password` is locked, empty or hash; the hash itself is not kept.

    `declared`: the hash is the one of the user's file on the persist root. `method`: how it was
    made, in the sign of crypt(5); des for the old form. `gid` is the group that needs no members.
    """

    name: str
    uid: int
    password: str
    declared: bool = False
    method: str = ""
    gid: int = -1


@dataclass(frozen=True)
class Group:
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Search:
    """What a walk over the disk met; `uids` and `gids` are owners, each with a file of theirs.

    `drops` are directories where everybody may write, and remove what is others'.

    `cut`: it had to end before all was seen. `persist`: whether the persist root was there; what
    is not about privileges is looked for on it alone.
    """

    setuid: tuple[Stat, ...] = ()
    capable: tuple[str, ...] = ()
    loose: tuple[Stat, ...] = ()
    uids: Mapping[int, str] = field(default_factory=dict)
    gids: Mapping[int, str] = field(default_factory=dict)
    cut: bool = False
    persist: bool = True
    drops: tuple[Stat, ...] = ()


@dataclass(frozen=True)
class AppArmor:
    """Whether AppArmor is on; how many profiles it enforces, and those that it does not."""

    on: bool
    enforced: int = 0
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Usb:
    """Buses with what becomes of a device that comes (0 nothing, 2 if built in), and drivers."""

    buses: Mapping[str, str]
    drivers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sample:
    """Paths of the store that were hashed, drawn by `seed`; all numbers are of paths or bytes.

    Those of `running` processes come first. `changed` are not what was registered, `foreign`
    run and are registered nowhere. `pending`: the newest registrations could not be read.
    """

    seed: int
    hashed: int
    size: int
    total: int
    running: int = 0
    running_hashed: int = 0
    changed: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    pending: bool = False


@dataclass(frozen=True)
class KeyFile:
    """A file of authorized keys; `kinds` are those of its keys, `?` for a line without one.

    `above` are directories on the way to it that others than root may change.
    """

    stat: Stat
    kinds: tuple[str, ...]
    above: tuple[Stat, ...] = ()


@dataclass(frozen=True)
class Loader:
    """The boot loader's kind (systemd-boot or grub), its configuration and its entries' names."""

    kind: str
    text: str
    entries: tuple[str, ...]


_PIECE: Any = Unknown("not looked at")


@dataclass(frozen=True)
class Machine:
    """Everything that checks may look at; a piece that nobody gathered is unknown.

    `sysctl` has each key of the policy, Unknown where the kernel has or shows none. Ages are in
    seconds since the system profile, or ClamAV's signatures, were last changed; `support` is the
    time in seconds for which the release still gets fixes, `loginuid` whether the number of a
    login is fixed. `texts` and `trees`
    are what profiles ask about: files of /etc, and directories with what is in them; None for
    what is not there. `allotted` are the numbers of users and groups that NixOS gave away.
    """

    root: str = "/"
    live: bool = True
    mounts: Piece[tuple[MountEntry, ...]] = _PIECE
    places: Piece[tuple[Place, ...]] = _PIECE
    space: Piece[Space] = _PIECE
    swaps: Piece[Mapping[str, str]] = _PIECE
    machine_id: Piece[tuple[str, str]] = _PIECE
    host_keys: Piece[tuple[Stat, ...]] = _PIECE
    secrets: Piece[tuple[Stat, ...]] = _PIECE
    uid_maps: Piece[tuple[str, ...]] = _PIECE
    owners: Piece[tuple[Stat, ...]] = _PIECE
    encryption: Piece[tuple[str, bool]] = _PIECE
    sshd: Piece[Mapping[str, tuple[str, ...]]] = _PIECE
    sshd_blocks: Piece[tuple[SshdBlock, ...]] = _PIECE
    interfaces: Piece[Mapping[str, bool]] = _PIECE
    tailscale: Piece[str] = _PIECE
    ruleset: Piece[tuple[Mapping[str, Any], ...]] = _PIECE
    listeners: Piece[tuple[Listener, ...]] = _PIECE
    declared: Piece[tuple[Declared, ...]] = _PIECE
    nix: Piece[Mapping[str, str]] = _PIECE
    channels: Piece[tuple[str, ...]] = _PIECE
    users: Piece[tuple[User, ...]] = _PIECE
    groups: Piece[tuple[Group, ...]] = _PIECE
    sudoers: Piece[tuple[str, ...]] = _PIECE
    pam: Piece[Mapping[str, tuple[str, ...]]] = _PIECE
    key_files: Piece[tuple[KeyFile, ...]] = _PIECE
    search: Piece[Search] = _PIECE
    allotted: Piece[tuple[frozenset[int], frozenset[int]]] = _PIECE
    sample: Piece[Sample] = _PIECE
    usb: Piece[Usb] = _PIECE
    blocked: Piece[frozenset[str]] = _PIECE
    radios: Piece[Mapping[str, bool]] = _PIECE
    apparmor: Piece[AppArmor] = _PIECE
    secure_boot: Piece[bool] = _PIECE
    wrappers: Piece[tuple[Stat, ...]] = _PIECE
    programs: Piece[frozenset[str]] = _PIECE
    audit: Piece[Status] = _PIECE
    audit_rules: Piece[tuple[str, ...]] = _PIECE
    loginuid: Piece[bool] = _PIECE
    sysctl: Piece[Mapping[str, Piece[str]]] = _PIECE
    parameters: Piece[tuple[str, ...]] = _PIECE
    modules: Piece[frozenset[str]] = _PIECE
    lockdown: Piece[str] = _PIECE
    config: Piece[Mapping[str, str]] = _PIECE
    vulnerabilities: Piece[Mapping[str, str]] = _PIECE
    coredump: Piece[Mapping[str, str]] = _PIECE
    units: Piece[Mapping[str, Mapping[str, str]]] = _PIECE
    exposure: Piece[Mapping[str, float]] = _PIECE
    journald: Piece[Mapping[str, str]] = _PIECE
    upload: Piece[Mapping[str, str]] = _PIECE
    texts: Piece[Mapping[str, str | None]] = _PIECE
    trees: Piece[Mapping[str, tuple[Stat, ...] | None]] = _PIECE
    loader: Piece[Loader] = _PIECE
    kernels: Piece[tuple[str, str]] = _PIECE
    clock: Piece[Mapping[str, str]] = _PIECE
    system_age: Piece[float] = _PIECE
    signatures_age: Piece[float] = _PIECE
    support: Piece[float] = _PIECE


PIECES = tuple(f.name for f in fields(Machine) if f.name not in ("root", "live"))
