"""Mounts, and the directories that they need."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.actions.base import Action, Machine, Passing
from paranoid_install.errors import CommandFailed, InstallError
from paranoid_install.mounts import mount_table, users


@dataclass(frozen=True)
class MakeDirectory(Passing):
    """Make a directory, and those above it, owned by root; a private umask must not tell."""

    path: str
    mode: int = 0o755

    @property
    def line(self) -> str:
        return shlex.join(["install", "--directory", f"--mode={self.mode:04o}", self.path])

    def apply(self, machine: Machine) -> None:  # noqa: ARG002
        path = Path(self.path)
        for parent in reversed(path.parents):
            if not parent.exists():
                parent.mkdir()
                parent.chmod(0o755)
        path.mkdir(exist_ok=True)
        path.chmod(self.mode)


@dataclass(frozen=True)
class Mount(Passing):
    """Mount a file system, or bind a directory (`fs_type` none, option bind)."""

    source: str
    target: str
    fs_type: str
    options: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        options = ("--options", ",".join(self.options)) if self.options else ()
        return ("mount", "--types", self.fs_type, *options, self.source, self.target)

    @property
    def line(self) -> str:
        return shlex.join(self.argv)

    @property
    def undo(self) -> Action:
        return Unmount(self.target)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("mount", "umount")

    def apply(self, machine: Machine) -> None:
        machine.runner.run(*(machine.device(word) for word in self.argv))


@dataclass(frozen=True)
class Unmount(Passing):
    """Unmount what is mounted at `target`."""

    target: str

    @property
    def line(self) -> str:
        return shlex.join(["umount", self.target])

    def in_effect(self, machine: Machine) -> bool:  # noqa: ARG002
        """Whether anything is mounted there."""
        return any(entry.mount_point == self.target for entry in mount_table())

    def apply(self, machine: Machine) -> None:
        try:
            machine.runner.run("umount", self.target)
        except CommandFailed as error:
            who = ", ".join(users(self.target))
            if not who:
                raise
            remedy = "end it, then paranoid-install clean"
            raise InstallError(self.target, f"is in use by {who}", remedy) from error
