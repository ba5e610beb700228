"""Whether a process sees the store that this machine has: what its arguments name may be hidden.

The kernel records what it starts, not what an interpreter or the loader then opens. In a mount
namespace of its own, or in a chroot, another file may lie at a name in the store. Services have
such namespaces by systemd's hand (PrivateTmp, ExecPaths, …), so a namespace alone says nothing:
what counts is which file system, and which part of it, is found at the store's place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from paranoid_install.mounts import parse_mountinfo, visible
from paranoid_install.watch.executions import Execution

_Store = tuple[str, str, frozenset[tuple[str, str, str]]]


class View:
    """Asks /proc. `store` ends with a slash; the process `machine` sees what the machine has."""

    def __init__(self, store: bytes, machine: int = 1) -> None:
        self._store = os.fsdecode(store).rstrip("/")
        self._machine = Path(f"/proc/{machine}")
        self._device = _device(self._store)

    @property
    def able(self) -> bool:
        """Whether other processes' namespaces can be looked at (CAP_SYS_PTRACE)."""
        try:
            return bool((self._machine / "ns/mnt").readlink())
        except OSError:
            return False

    def __call__(self, run: Execution, names: Sequence[bytes]) -> bool | None:
        """Whether `names`, which lie in the store, are for `run` what they are for the machine.

        None: the process has ended, or runs something else by now, so that nobody can tell.
        """
        if any(_device(os.fsdecode(name)) != self._device for name in names):
            return False
        here = Path(f"/proc/{run.number(b'pid')}")
        try:
            root = str((here / "root").readlink())
            # The kernel records names as the process sees them.
            exe = os.fsencode((here / "exe").readlink()).removeprefix(os.fsencode(root.rstrip("/")))
            same = (here / "ns/mnt").readlink() == (self._machine / "ns/mnt").readlink()
            sees = (same and root == "/") or self._found(here) == self._found(self._machine)
        except (OSError, ValueError):
            return None
        return sees if exe == run.exe else None

    def _found(self, process: Path) -> _Store | None:
        """What `process` finds at the store's place: device, directory on it, mounts below it."""
        text = (process / "mountinfo").read_text(errors="surrogateescape")
        table = visible(parse_mountinfo(text))
        place, rest = Path(self._store), Path()
        while str(place) not in table:
            if place == place.parent:
                # In a chroot nothing need be mounted that it can see.
                return None
            place, rest = place.parent, Path(place.name) / rest
        mount = table[str(place)]
        below = frozenset(
            (point, entry.device_number, entry.root)
            for point, entry in table.items()
            if point.startswith(self._store + "/")
        )
        return mount.device_number, str(Path(mount.root) / rest), below


def _device(path: str) -> int | None:
    try:
        return Path(path).stat().st_dev
    except (OSError, ValueError):
        return None
