"""Asks the kernel about its audit system, over netlink. Only ever asks: nothing is changed.

Not through auditctl(8): versions before 4.1.4 fail on kernels from 6.19 (NixOS/nixpkgs#513202).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

NETLINK_AUDIT = 9
_AUDIT_GET = 1000
_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_STATUS = struct.Struct("=8I")
"""struct audit_status of linux/audit.h: mask, enabled, failure, pid, rate_limit, backlog_limit,
lost, backlog."""


@dataclass(frozen=True)
class Status:
    """`enabled` 0, 1 or 2 (locked); `lost` records since boot; `backlog` records that wait.

    `rate` is the most records a second that are taken, 0 for no limit.
    """

    enabled: int
    pid: int
    backlog_limit: int
    lost: int
    backlog: int
    rate: int = 0


def status(timeout: float = 2.0) -> Status | None:
    """The kernel's answer, or None when it gives none (no CAP_AUDIT_CONTROL, no audit)."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as netlink:
            netlink.settimeout(timeout)
            netlink.sendto(_HEADER.pack(_HEADER.size, _AUDIT_GET, 1, 1, 0), (0, 0))
            for _ in range(8):
                found = answer(netlink.recv(8192))
                if found is not None:
                    return found if isinstance(found, Status) else None
    except OSError:
        return None
    return None


def answer(data: bytes) -> Status | bool | None:
    """A status from one message; False: an error; None: another message, read on."""
    if len(data) < _HEADER.size:
        return False
    kind = _HEADER.unpack_from(data)[1]
    if kind == _ERROR:
        return False
    if kind != _AUDIT_GET or len(data) < _HEADER.size + _STATUS.size:
        return None
    _, enabled, _, pid, rate, limit, lost, backlog = _STATUS.unpack_from(data, _HEADER.size)
    return Status(enabled, pid, limit, lost, backlog, rate)
