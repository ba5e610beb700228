"""Whether the disk that a request means is installed already, and which system it then boots.

An image starts that system by kexec, with all rights of the machine: so the disk must be the one
that the request means, and its record must name it. A disk alone, with a label and a file on it, is
anybody's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paranoid_install import contents, disks, record
from paranoid_install.disks import Disk
from paranoid_install.errors import Refusal, RefusedError
from paranoid_install.layout import Layout
from paranoid_install.runner import Runner
from paranoid_install.survey import nix_partition, on_nix

_TOPLEVEL = re.compile(r"/nix/store/[0-9a-z]{32}-[A-Za-z0-9+._?=-]+", re.ASCII)
_INSTALLED = "installed"


@dataclass(frozen=True)
class Installed:
    """An installed disk: `device` holds its store, `toplevel` is what was installed there."""

    device: str
    toplevel: str


def find(runner: Runner, refusal: RefusedError, layout: Layout) -> Installed:
    """The installed disk that a request means, by the refusal that it got.

    Raises RefusedError where the refusal does not say that the disk meant is installed, where its
    record does not name it, and where it may be one of several; CommandFailed.
    """
    found = disks.scan()
    meant = [disk for disk in found if disk.path in _meant(refusal)]
    looked = [_look(runner, disk, found, layout) for disk in meant]
    # Two paths to one disk show the same table, whose id is random, and the same serial.
    if len({(seen.serial, seen.wwn, seen.table) for seen in looked}) != 1:
        raise _no(f"{len(meant)} disks are meant by the request and installed")
    return looked[0].installed


@dataclass(frozen=True)
class _Seen:
    serial: str
    wwn: str
    table: str
    installed: Installed


def _meant(refusal: RefusedError) -> set[str]:
    """The disks that a refusal is about: the one chosen, else the only ones it could have been.

    A disk that fits is meant before one that does not: then the refusal is not for an install.
    """
    if any(reason.code == _INSTALLED for reason in refusal.reasons):
        return {refusal.subject}
    fitting = {_path(disk) for disk, reasons in refusal.candidates if not reasons}
    return fitting or {
        _path(disk)
        for disk, reasons in refusal.candidates
        if any(reason.code == _INSTALLED for reason in reasons)
    }


def _path(described: str) -> str:
    return described.partition(" (")[0]


def _look(runner: Runner, disk: Disk, found: tuple[Disk, ...], layout: Layout) -> _Seen:
    probed = contents.probe(runner, disk, disks.partitions_of(disk, found))
    device = nix_partition(probed, layout)
    if device is None:
        raise _no("it has no file system of an install", disk.path)
    text = record.text_on(runner, device, on_nix(layout, record.NAME), record.RECORD_LIMIT)
    table = contents.table_id(runner, disk.path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    problem = _problem(data, disk, table)
    if problem:
        raise _no(problem, disk.path)
    return _Seen(disk.serial, disk.wwn, table, Installed(device, data["toplevel"]))


def _problem(data: Any, disk: Disk, table: str) -> str:
    """Why a record is not that of this disk; empty when it is."""
    if not isinstance(data, dict) or not isinstance(data.get("disk"), dict):
        return "its record cannot be read"
    named: Mapping[str, Any] = data["disk"]
    for name, now in (("serial", disk.serial), ("size", disk.size)):
        if named.get(name) != now:
            return f"its record names a disk with the {name} {named.get(name)!r}, not {now!r}"
    if not table or data.get("table_id") != table:
        return "its record names another partition table"
    toplevel = data.get("toplevel")
    if not isinstance(toplevel, str) or not _TOPLEVEL.fullmatch(toplevel):
        return "its record names no system"
    return ""


def _no(problem: str, subject: str = "hand-over") -> RefusedError:
    remedy = "boot the disk by the machine's firmware, or install it again"
    return RefusedError(subject, (Refusal("hand-over", problem, remedy),))
