"""Whether the number of a login can be changed: a feature of the kernel's audit system.

Asked over netlink, as watch/kernel.py asks for its state; nothing is changed.
"""

from __future__ import annotations

import socket
import struct

from paranoid_install.verify.facts import Unknown
from paranoid_install.watch.kernel import NETLINK_AUDIT

_GET_FEATURE = 1019
_HEADER = struct.Struct("=IHHII")
_FEATURES = struct.Struct("=4I")
"""struct audit_features of linux/audit.h: version, mask, those that are on, those locked."""
_LOGINUID_IMMUTABLE = 1 << 1


def fixed(timeout: float) -> bool | Unknown:
    """Whether it is fixed, and that locked until the next boot. Raises OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT) as netlink:
        netlink.settimeout(timeout)
        netlink.sendto(_HEADER.pack(_HEADER.size, _GET_FEATURE, 1, 1, 0), (0, 0))
        for _ in range(8):
            found = answer(netlink.recv(8192))
            if found is not None:
                return found
    return Unknown("the kernel does not tell the features of its audit system (is this root?)")


def answer(data: bytes) -> bool | None:
    """What one message says; None where it says something else."""
    if len(data) < _HEADER.size + _FEATURES.size or _HEADER.unpack_from(data)[1] != _GET_FEATURE:
        return None
    _, _, on, locked = _FEATURES.unpack_from(data, _HEADER.size)
    return bool(on & locked & _LOGINUID_IMMUTABLE)
