"""Asks the kernel about its audit system, over netlink. Only ever asks: nothing is changed.

Not through auditctl(8): versions before 4.1.4 fail on kernels from 6.19 (NixOS/nixpkgs#513202).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

_NETLINK_AUDIT = 9
_AUDIT_GET = 1000
_ERROR = 2
HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr of linux/netlink.h: length, type, flags, sequence, port."""
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


def ask(kind: int, read: Callable[[bytes], T | None], timeout: float) -> T | None:
    """What `read` makes of the answer to a question without contents; of other messages, None.

    None as well when there is no answer among the first messages. Raises OSError.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_AUDIT) as netlink:
        netlink.settimeout(timeout)
        netlink.sendto(HEADER.pack(HEADER.size, kind, 1, 1, 0), (0, 0))
        for _ in range(8):
            found = read(netlink.recv(8192))
            if found is not None:
                return found
    return None


def status(timeout: float = 2.0) -> Status | None:
    """The kernel's answer, or None when it gives none (no CAP_AUDIT_CONTROL, no audit)."""
    try:
        found = ask(_AUDIT_GET, answer, timeout)
    except OSError:
        return None
    return found if isinstance(found, Status) else None


def answer(data: bytes) -> Status | bool | None:
    """A status from one message; False: an error; None: another message, read on."""
    if len(data) < HEADER.size:
        return False
    kind = HEADER.unpack_from(data)[1]
    if kind == _ERROR:
        return False
    if kind != _AUDIT_GET or len(data) < HEADER.size + _STATUS.size:
        return None
    _, enabled, _, pid, rate, limit, lost, backlog = _STATUS.unpack_from(data, HEADER.size)
    return Status(enabled, pid, limit, lost, backlog, rate)
