"""What the operator asked for, validated once. Everything after this trusts it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from paranoid_install import keys, outside, policy
from paranoid_install.errors import SpecError
from paranoid_install.selection import DevicePath, ImageFile, Rule, Selector, parse_selector
from paranoid_install.settings import Given
from paranoid_install.values import MemorySize, Size

T = TypeVar("T")

Then = Literal["poweroff", "reboot", "nothing"]

_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# What crypt(5) makes: a method, parameters and a salt, a hash. Never a bare password.
_HASH = re.compile(r"\$(y|gy|7|2b|6|5)\$[./A-Za-z0-9$=,-]{8,}", re.ASCII)


@dataclass(frozen=True)
class InstallSpec:
    """A valid request. `tmpfs_size` None: what the system to be installed says, else the policy.

    `ssh_keys_left` has a sentence for each line given that opens no shell, or not always.
    """

    disk: Selector
    image_size: Size | None = None
    tmpfs_size: MemorySize | None = None
    root: str = "/mnt"
    firmware: Literal["auto", "bios", "uefi"] = "auto"
    wipe: str = ""
    systems: tuple[str, ...] = ()
    config: str = ""
    flake: str = ""
    hostname: str = ""
    ssh_keys: tuple[str, ...] = ()
    ssh_keys_left: tuple[str, ...] = ()
    generate_root_password: bool = False
    root_password_hash_file: str = ""
    skip_login_check: bool = False
    seal: bool = False
    verify: bool = True
    plan_hash: str = ""
    resume: bool = False
    wait_for_disk: int = 0
    countdown: int = 0
    then: Then = "nothing"


def build(given: Mapping[str, Given]) -> InstallSpec:
    """The request as one value. Raises SpecError, which names the source of the bad value."""
    read = _Reader(given)
    disk = read.one("disk", _disk, None)
    if disk is None:
        raise SpecError("--disk", "is missing", "name the disk to install to, or say --disk auto")
    given_keys = read.many("ssh-key", keys.read)
    spec = InstallSpec(
        disk=disk,
        image_size=read.one("image-size", Size.parse, None),
        tmpfs_size=read.one("tmpfs-size", MemorySize.parse, None),
        root=read.one("root", _root, "/mnt"),
        firmware=read.one("firmware", _firmware, "auto"),
        wipe=read.one("wipe", _text, ""),
        systems=read.many("system", _store_path),
        config=read.one("config", _directory, ""),
        flake=read.one("flake", _text, ""),
        hostname=read.one("hostname", _hostname, ""),
        ssh_keys=tuple(k for found in given_keys for k in found.keys),
        ssh_keys_left=tuple(w for found in given_keys for w in (*found.left, *found.limits)),
        generate_root_password=read.one("generate-root-password", _flag, default=False),
        root_password_hash_file=read.one("root-password-hash-file", _hash_file, ""),
        skip_login_check=read.one("skip-login-check", _flag, default=False),
        seal=read.one("seal", _flag, default=False),
        verify=not read.one("no-verify", _flag, default=False),
        plan_hash=read.one("plan-hash", _digest, ""),
        resume=read.one("resume", _flag, default=False),
        wait_for_disk=read.one("wait-for-disk", _seconds, 0),
        countdown=read.one("countdown", _seconds, 0),
        then=read.one("then", _then, "nothing"),
    )
    _check_together(spec, given)
    return spec


def default_tmpfs_size() -> MemorySize:
    """The policy's size of the volatile root."""
    return MemorySize.parse(policy.load("layout")["root"]["size"])


class _Reader:
    def __init__(self, given: Mapping[str, Given]) -> None:
        self._given = given

    def one(self, name: str, parse: Callable[[str], T], default: T) -> T:
        if name not in self._given:
            return default
        return self._parse(parse, self._given[name].values[-1], self._given[name].source)

    def many(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        if name not in self._given:
            return ()
        given = self._given[name]
        return tuple(self._parse(parse, value, given.source) for value in given.values)

    @staticmethod
    def _parse(parse: Callable[[str], T], value: str, source: str) -> T:
        try:
            return parse(value)
        except (ValueError, OSError, RuntimeError) as error:  # a path too long, a circle of links
            raise SpecError(source, str(error)) from error


def _check_together(spec: InstallSpec, given: Mapping[str, Given]) -> None:
    def clash(name: str, problem: str, remedy: str) -> SpecError:
        return SpecError(given[name].source, problem, remedy)

    if spec.config and spec.flake:
        raise clash("config", "cannot be given together with --flake", "give one of them")
    if spec.systems and spec.flake:
        raise clash("system", "cannot be given together with --flake", "give one of them")
    if spec.hostname and (spec.config or spec.flake or spec.systems):
        what = "the configuration or system given brings its own host name"
        raise clash("hostname", "has no effect", what)
    if spec.generate_root_password and spec.root_password_hash_file:
        what = "cannot be given together with --root-password-hash-file"
        raise clash("generate-root-password", what, "give one of them")
    match spec.disk:
        case ImageFile(path):
            if spec.image_size is None and not Path(path).exists():
                raise SpecError(path, "does not exist", "give --image-size to create it")
            if spec.image_size is not None and Path(path).exists():
                size = Path(path).stat().st_size
                if size not in (0, spec.image_size.bytes):
                    remedy = "delete it, or leave --image-size out"
                    raise SpecError(path, f"exists already and has {size} bytes", remedy)
            if not Path(path).parent.is_dir():
                raise SpecError(path, "is in a directory that does not exist", "make it first")
        case DevicePath() | Rule():
            if spec.image_size is not None:
                raise clash("image-size", "is for image files", f"leave it out for {spec.disk}")


def _disk(value: str) -> Selector:
    selector = parse_selector(value)
    if isinstance(selector, ImageFile):
        file = Path(selector.path)
        if file.exists() and not file.is_file():
            # A link to a device would pass every check that is for disks.
            raise ValueError(f"{value!r} is no regular file; name a device by its path in /dev")
    return selector


def _text(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r} is empty or holds control characters")
    return value


def _root(value: str) -> str:
    path = _text(value)
    if not path.startswith("/") or Path(path).resolve() == Path("/"):
        raise ValueError(f"{value!r} is not an absolute path below /; write for example /mnt")
    if ".." in Path(path).parts or any(c in path for c in ":,\\ "):
        raise ValueError(f"{value!r} holds '..' or a character that mount options part with")
    if str(Path(path).resolve()) != str(Path(path)):
        # nixos-generate-config writes no file systems below a link, and nix refuses it.
        raise ValueError(f"{value!r} leads through a symbolic link; write {Path(path).resolve()}")
    return str(Path(path))


def _firmware(value: str) -> Literal["auto", "bios", "uefi"]:
    match value:
        case "auto" | "bios" | "uefi":
            return value
    raise ValueError(f"{value!r} is no kind of firmware; write auto, bios or uefi")


def _then(value: str) -> Then:
    match value:
        case "poweroff" | "reboot" | "nothing":
            return value
    raise ValueError(f"{value!r} is not an ending; write poweroff, reboot or nothing")


def _flag(value: str) -> bool:
    match value.lower():
        case "true" | "yes" | "1":
            return True
        case "false" | "no" | "0":
            return False
    raise ValueError(f"{value!r} is neither true nor false")


def _seconds(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) > 3600:
        raise ValueError(f"{value!r} is not a number of seconds from 0 to 3600")
    return int(value)


def _digest(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", value, re.ASCII) is None:
        raise ValueError(f"{value!r} is not a plan's hash; --dry-run prints it, 64 digits")
    return value


def _hostname(value: str) -> str:
    if _HOSTNAME.fullmatch(value) is None:
        problem = "lower-case letters, digits and inner hyphens, at most 63"
        raise ValueError(f"{value!r} is not a host name; write {problem}")
    return value


def _store_path(value: str) -> str:
    try:
        path = Path(value).resolve(strict=True)
    except OSError as error:
        raise ValueError(
            f"{value} cannot be found ({error.strerror}); build the system first"
        ) from None
    if not str(path).startswith("/nix/store/") or len(path.parts) != 4:
        raise ValueError(f"{value} is not a path of /nix/store; give a system's toplevel")
    if not (path / "init").exists() or not (path / "bin/switch-to-configuration").exists():
        raise ValueError(f"{path} is not a NixOS system: it has no init or switch-to-configuration")
    return str(path)


def _directory(value: str) -> str:
    path = Path(_text(value)).absolute()
    if not (path / "configuration.nix").is_file():
        raise ValueError(f"{path} holds no configuration.nix")
    return str(path)


def _hash_file(value: str) -> str:
    path = Path(_text(value)).absolute()
    try:
        text = outside.read(path).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be read as a password hash ({reason})") from None
    if _HASH.fullmatch(text) is None:
        # What the file holds may be the password itself: it is not shown.
        raise ValueError(f"{path} does not hold a crypt(5) hash; make one with mkpasswd")
    return str(path)
