"""ssh public keys: reading them as sshd does, and judging whom they let in. No secrets."""

from paranoid_install.keys.accepts import Accepts, of_policy
from paranoid_install.keys.daemon import Daemon
from paranoid_install.keys.line import Key, parse
from paranoid_install.keys.sources import (
    Found,
    authorized_keys,
    of_live_root,
    of_system,
    opening,
    read,
)

__all__ = [
    "Accepts",
    "Daemon",
    "Found",
    "Key",
    "authorized_keys",
    "of_live_root",
    "of_policy",
    "of_system",
    "opening",
    "parse",
    "read",
]
