"""Brings the closure of a system into the target's store: fast, verified, resumable.

`put` copies, `size` tells the room it will take. They are imported when first used: the worker
programs start faster without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paranoid_install.store.errors import StoreError

if TYPE_CHECKING:
    from paranoid_install.store.room import Size, size
    from paranoid_install.store.transfer import Method, Progress, Report, put

__all__ = ["Method", "Progress", "Report", "Size", "StoreError", "put", "size"]


def __getattr__(name: str) -> object:
    if name in {"Size", "size"}:
        from paranoid_install.store import room  # noqa: PLC0415

        return getattr(room, name)
    if name in __all__:
        from paranoid_install.store import transfer  # noqa: PLC0415

        return getattr(transfer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
