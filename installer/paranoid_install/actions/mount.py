"""Mounts, and the directories that they need."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.actions.base import Action, Machine, Passing
from paranoid_install.errors import CommandFailed, InstallError
from paranoid_install.mounts import MountEntry, on_top, standing, users


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
        return Unmount(self.target, self.source, self.fs_type)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("mount", "umount")

    def apply(self, machine: Machine) -> None:
        machine.runner.run(*(machine.device(word) for word in self.argv))
        machine.note_mount(self.target)


@dataclass(frozen=True)
class Unmount(Passing):
    """Unmount what the run has mounted at `target`, and nothing else that may be there by now."""

    target: str
    source: str
    fs_type: str

    @property
    def line(self) -> str:
        return shlex.join(["umount", self.target])

    def in_effect(self, machine: Machine) -> bool:
        """Whether it is mounted there, and seen: what another mount covers is not.

        A run that was killed before it noted the mount has announced it: then what is there must
        come from the same place.
        """
        noted = machine.mounted.get(self.target)
        if noted is not None:
            return standing(self.target) == noted
        entry = on_top(self.target)
        return entry is not None and self._is_as_announced(entry, machine)

    def _is_as_announced(self, entry: MountEntry, machine: Machine) -> bool:
        source = machine.device(self.source)
        try:
            if self.fs_type == "none":
                return Path(source).samefile(self.target)
            if not source.startswith("/"):
                return (entry.fs_type, entry.source) == (self.fs_type, source)
            number = Path(source).stat().st_rdev
        except OSError:  # the source is gone, and with it what could be told
            return False
        device = f"{os.major(number)}:{os.minor(number)}"
        return (entry.fs_type, entry.device_number) == (self.fs_type, device)

    def apply(self, machine: Machine) -> None:
        there = on_top(self.target)
        if there is not None and not self.in_effect(machine):
            problem = f"holds what somebody else has mounted there ({there.fs_type})"
            raise InstallError(self.target, problem, "unmount that, then paranoid-install clean")
        try:
            machine.runner.run("umount", self.target)
        except CommandFailed as error:
            who = ", ".join(users(self.target))
            if not who:
                raise
            remedy = "end it, then paranoid-install clean"
            raise InstallError(self.target, f"is in use by {who}", remedy) from error
