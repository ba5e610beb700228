"""Whether the number of a login can be changed: a feature of the kernel's audit system.

Asked over netlink, as watch/kernel.py asks for its state; nothing is changed.
"""

from __future__ import annotations

import struct

from paranoid_install.verify.facts import Unknown
from paranoid_install.watch.kernel import HEADER, ask

_GET_FEATURE = 1019
_FEATURES = struct.Struct("=4I")
"""struct audit_features of linux/audit.h: version, mask, those that are on, those locked."""
_LOGINUID_IMMUTABLE = 1 << 1


def fixed(timeout: float) -> bool | Unknown:
    """Whether it is fixed, and that locked until the next boot. Raises OSError."""
    found = ask(_GET_FEATURE, answer, timeout)
    if found is None:
        return Unknown("the kernel does not tell the features of its audit system (is this root?)")
    return found


def answer(data: bytes) -> bool | None:
    """What one message says; None where it says something else."""
    if len(data) < HEADER.size + _FEATURES.size or HEADER.unpack_from(data)[1] != _GET_FEATURE:
        return None
    _, _, on, locked = _FEATURES.unpack_from(data, HEADER.size)
    return bool(on & locked & _LOGINUID_IMMUTABLE)
