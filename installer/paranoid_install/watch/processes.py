"""What /proc still knows of a process, and what a store path is on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from paranoid_install.watch.alerts import Origin
from paranoid_install.watch.executions import PathItem
from paranoid_install.watch.records import visible

_REMEMBERED = 65_536


def origin(pid: int | None, ppid: int | None, proc: Path = Path("/proc")) -> Origin:
    """Unit, parent and namespace. The process may be gone, and its pid in use again: this
    decorates an alert; an exception by unit holds only while the answer is there."""
    here, parent = proc / str(pid), proc / str(ppid)
    name = unit(here) or unit(parent)
    # Not our own: the service has a namespace of its own.
    mine = _link(proc / "1/ns/mnt")
    theirs = _link(here / "ns/mnt")
    return Origin(
        unit=name,
        parent=visible(os.fsencode(_link(parent / "exe"))),
        namespace=bool(theirs and mine and theirs != mine) or _link(here / "root") not in ("", "/"),
    )


def unit(process: Path) -> str:
    """The systemd unit that `process` (its directory in /proc) belongs to, or "".

    The first part of the control group that is a service or scope: what is below may have been
    made by the unit itself, under any name.
    """
    try:
        text = (process / "cgroup").read_bytes()
    except OSError:
        return ""
    for line in text.splitlines():
        number, _, group = line.partition(b"::")
        if number != b"0":
            continue
        for part in group.split(b"/"):
            if part.endswith((b".service", b".scope")):
                return visible(part)
    return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def device(path: Path) -> bytes | None:
    """The device of `path` as PATH records write it, or None when there is no such path."""
    try:
        number = path.stat().st_dev
    except OSError:
        return None
    return b"%02x:%02x" % (os.major(number), os.minor(number))


class Proof:
    """Says whether the file of a PATH record is the one that its path names here.

    In a namespace any file can be mounted over a store path, even one of the store's own file
    system; its inode number betrays it. The store does not change, so answers are remembered.
    """

    def __init__(self) -> None:
        self._known: set[tuple[bytes | None, bytes]] = set()

    def __call__(self, path: PathItem) -> bool:
        key = (path.name, path.inode)
        if key in self._known:
            return True
        if path.name is None or not path.inode.isdigit():
            return False
        try:
            found = Path(os.fsdecode(path.name)).stat()
        except OSError:
            return False
        if found.st_ino != int(path.inode):
            return False
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known.add(key)
        return True
