"""Waiting for a disk that appears late, by udev's events; never longer than was said."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from paranoid_install.errors import RefusedError

T = TypeVar("T")

NOT_THERE = frozenset({"no-disk", "unknown", "no-medium"})
"""Codes of the refusals that another disk would mend."""

_QUIET = 5.0
"""Seconds without an event after which a late disk counts as the last to come."""

Next = Callable[[float], bool]
"""Waits for the next event of a block device and until udev is done with it, at most so many
seconds; whether there was one."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and who is told of it.

    `one_of_many`: the disk is not named, so another that comes a moment later may fit as well.
    """

    limit: float
    tell: Callable[[str], None]
    one_of_many: bool = False


def wait_for(
    look: Callable[[], T], events: Callable[[], AbstractContextManager[Next]], patience: Patience
) -> T:
    """What `look` finds, now or when a disk has come that it is about.

    Raises the RefusedError of the last look, at once where no disk that may come would mend it.
    """
    if not patience.limit:
        return look()
    end = time.monotonic() + patience.limit
    late = False
    # Listening begins before looking: what appears in between is not missed.
    with events() as next_event:
        while True:
            left = end - time.monotonic()
            try:
                found = look()
            except RefusedError as refusal:
                if not _may_come(refusal):
                    raise
                if left <= 0:
                    raise _after(refusal, patience.limit) from refusal
                if not late:
                    patience.tell(f"waiting up to {patience.limit:.0f} s for a disk; {refusal}")
                late = True
                next_event(left)
                continue
            # Of disks that come one after the other the first is not the one that is meant.
            if late and patience.one_of_many and left > 0 and next_event(min(_QUIET, left)):
                continue
            return found


def _may_come(refusal: RefusedError) -> bool:
    """Whether it is a disk that is missing. One that is installed is the one that is meant."""
    installed = any(r.code == "installed" for _, reasons in refusal.candidates for r in reasons)
    return refusal.reasons[0].code in NOT_THERE and not installed


def _after(refusal: RefusedError, seconds: float) -> RefusedError:
    first, *rest = refusal.reasons
    waited = replace(first, problem=f"{first.problem}, also after {seconds:.0f} s")
    return RefusedError(refusal.subject, (waited, *rest), refusal.candidates)
