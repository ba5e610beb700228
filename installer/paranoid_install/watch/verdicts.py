"""What is said of an execution, and how often."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from paranoid_install.watch.executions import Execution
from paranoid_install.watch.rules import Allow


class Reason(enum.Enum):
    """Why an execution is reported; the value is what alerts carry."""

    OUTSIDE = "outside-store"
    SCRIPT = "script"
    INTERPRETED = "interpreted"
    LOADED = "loaded"
    MEMFD = "memfd"
    DELETED = "deleted"
    DESCRIPTOR = "descriptor"
    FORGED = "forged-store-path"
    DENIED = "denied"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True)
class Verdict:
    """An execution that is not plainly inside the store.

    `paths` are the files that led to it, as the process saw them; `accepted` names the rule
    that accepts it (`builds`, `wrappers`, `initrd`) or is an exception of the allow-list;
    `parent` is the program last started by the parent's pid in this stream.
    """

    execution: Execution
    reasons: tuple[Reason, ...]
    paths: tuple[bytes, ...]
    accepted: Allow | str | None = None
    parent: bytes | None = None


@dataclass
class Tally:
    """Executions by outcome, since the start."""

    executions: int = 0
    inside: int = 0
    failed: int = 0
    """Starts that did not come about for another reason than a refusal, such as ENOENT."""
    accepted: int = 0
    reported: int = 0
    unseen: int = 0
    """Interpreters inside the store that had ended before it could be seen which store was theirs
    (live only)."""
