"""How the copy of a closure fails."""

from __future__ import annotations

from paranoid_install.errors import InstallError


class StoreError(InstallError):
    """A store path is damaged, or a store cannot be read or written; the engine adds the step.

    `subject` is the store path, or the file in it.
    """
