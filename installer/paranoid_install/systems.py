"""The systems that may be installed: what a toplevel says of itself, and the room that it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paranoid_install import keys
from paranoid_install.errors import Refusal, RefusedError, SpecError
from paranoid_install.keys import Daemon
from paranoid_install.layout import Firmware
from paranoid_install.runner import Runner


@dataclass(frozen=True)
class System:
    """A toplevel that may be installed, and what it says of itself in etc/paranoid/layout.json.

    `keys` let somebody in; `left` has a sentence for each that does not. `daemon` is what its
    sshd_config says; None: it has none. `declared` is None for a system that was not made by the
    paranoid modules.
    """

    path: str
    keys: tuple[str, ...] = ()
    declared: Mapping[str, Any] | None = None
    left: tuple[str, ...] = ()
    daemon: Daemon | None = None

    @property
    def firmware(self) -> str:
        return str(self.declared["firmware"]) if self.declared else ""

    @property
    def tmpfs_size(self) -> str:
        return str(self.declared["tmpfsSize"]) if self.declared else ""


@dataclass(frozen=True)
class Room:
    """What the closure of the system takes on ext4: bytes of whole blocks, and inodes."""

    bytes: int
    inodes: int


def system_at(path: str) -> System:
    """What a toplevel says of itself. Raises SpecError for a description that is not known."""
    file = Path(path) / "etc/paranoid/layout.json"
    daemon = Daemon.of_system(path)
    lets_in = keys.of_system(path, daemon)
    if not file.exists():
        return System(path, lets_in.keys, None, lets_in.left, daemon)
    try:
        declared = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(str(file), f"cannot be read ({error})", "build the system again") from error
    known = isinstance(declared, dict) and declared.get("version") == 1
    if not known or not {"firmware", "tmpfsSize", "labels"} <= set(declared):
        problem = "is not the description of a layout that this installer knows"
        raise SpecError(str(file), problem, "build the system with modules of the same release")
    return System(path, lets_in.keys, declared, lets_in.left, daemon)


def room_of(runner: Runner, toplevel: str) -> tuple[Room | None, tuple[str, ...]]:
    """The room for a closure, and what could not be checked where the store cannot tell it.

    That is no refusal: nixos-install may know the store by other ways. Raises RefusedError for a
    store that tells nonsense or cannot be read: its copy would fail as well, after the wipe.
    """
    from paranoid_install.store import StoreError, room  # noqa: PLC0415
    from paranoid_install.store.closure import Unavailable  # noqa: PLC0415

    try:
        size = room.size(runner, toplevel)
    except Unavailable as error:
        return None, (f"whether the disk has room for the system was not checked ({error})",)
    except StoreError as error:
        raise _damaged(error.subject, error.problem, error.remedy) from error
    except OSError as error:
        raise _damaged(str(error.filename or toplevel), error.strerror or str(error)) from error
    return Room(size.bytes, size.inodes), ()


def _damaged(subject: str, problem: str, remedy: str = "") -> RefusedError:
    remedy = remedy or "see what is wrong with it: nix-store --verify --check-contents"
    return RefusedError(subject, (Refusal("store", problem, remedy),))


def boot_bytes(toplevel: str) -> int | None:
    """The bytes of kernel and initrd, which are copied onto /boot; None where it has neither."""
    files = [Path(toplevel, name) for name in ("kernel", "initrd")]
    return sum(file.stat().st_size for file in files if file.exists()) or None


def choose(systems: tuple[System, ...], firmware: Firmware) -> System | None:
    """The system made for this firmware; one that does not say is taken as it is.

    Raises SpecError for more than one, RefusedError for none.
    """
    if not systems:
        return None
    fitting = [s for s in systems if s.firmware in ("", firmware)]
    if len(fitting) == 1:
        return fitting[0]
    paths = ", ".join(s.path for s in systems)
    if fitting:
        raise SpecError(
            "--system", f"{len(fitting)} of {paths} fit {firmware} firmware", "give one"
        )
    kinds = " and ".join(sorted({s.firmware for s in systems}))
    problem = f"{paths} is made for {kinds} firmware, and this install is for {firmware}"
    raise RefusedError(
        "--system", (Refusal("firmware", problem, "give a system made for it, or --firmware"),)
    )
