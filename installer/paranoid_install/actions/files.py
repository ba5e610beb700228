"""Files on the target."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from paranoid_install import contents, hardware, outside, record
from paranoid_install.actions.base import Action, Machine, Passing, Plain
from paranoid_install.errors import InstallError
from paranoid_install.journal import RUN_JOURNAL, JournalFile, Value
from paranoid_install.past import RECORD


@dataclass(frozen=True)
class KeepJournal(Passing):
    """From here on keep the journal on the target too: what is in /run ends with the machine."""

    path: str

    @property
    def line(self) -> str:
        return f"tail --follow {RUN_JOURNAL} > {shlex.quote(self.path)} &"

    @property
    def undo(self) -> Action:
        return CloseJournal(self.path)

    def apply(self, machine: Machine) -> None:
        path = Path(self.path)
        if machine.log is not None:
            write(path, machine.log.this_run(), 0o600)
        machine.journal.listeners.append(JournalFile(path))


@dataclass(frozen=True)
class CloseJournal(Passing):
    """Close the journal on the target, whose file system would be busy otherwise."""

    path: str

    @property
    def line(self) -> str:
        return f"kill %tail  # the journal on the target, {shlex.quote(self.path)}"

    def apply(self, machine: Machine) -> None:
        for listener in tuple(machine.journal.listeners):
            if isinstance(listener, JournalFile) and str(listener.path) == self.path:
                machine.journal.listeners.remove(listener)
                listener.close()


@dataclass(frozen=True)
class WriteFile(Plain):
    """Write a text file whole; whoever looks sees the old one or the new one."""

    path: str
    text: str
    mode: int = 0o644

    @property
    def line(self) -> str:
        return f"cat > {shlex.quote(self.path)}  # {len(self.text.encode())} bytes"

    def apply(self, machine: Machine) -> None:  # noqa: ARG002
        write(Path(self.path), self.text, self.mode)


@dataclass(frozen=True)
class PatchHardware(Plain):
    """Patch the hardware-configuration.nix that nixos-generate-config wrote.

    `by_uuid` are mount points with their devices: nothing but its UUID means a file system for
    certain. Asked of the devices themselves: the generator knows what udev has links to.
    """

    path: str
    patch: hardware.Patch
    by_uuid: tuple[tuple[str, str], ...] = ()

    @property
    def line(self) -> str:
        options = " ".join(self.patch.root_options)
        found = f"; {', '.join(place for place, _ in self.by_uuid)} by UUID" if self.by_uuid else ""
        return f"paranoid-install patch {shlex.quote(self.path)}  # / gets {options}{found}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("blkid",) if self.by_uuid else ()

    def apply(self, machine: Machine) -> None:
        path = Path(self.path)
        named = tuple((place, _by_uuid(machine, device)) for place, device in self.by_uuid)
        wanted = replace(self.patch, devices=(*self.patch.devices, *named))
        write(path, hardware.patch(hardware.read(path), wanted), 0o644)


def _by_uuid(machine: Machine, device: str) -> str:
    node = machine.device(device)
    uuid = contents.file_system(machine.runner, node).get("UUID", "")
    if not uuid:
        raise InstallError(node, "has no UUID any more", "look at it with blkid --probe")
    return f"/dev/disk/by-uuid/{uuid}"


@dataclass(frozen=True)
class WriteRecord(Plain):
    """Write the install record onto the persist root. No secret is in it."""

    root: str
    path: str
    static: tuple[tuple[str, Value], ...]

    @property
    def line(self) -> str:
        return f"cat > {shlex.quote(self.root + self.path)}  # the install record"

    def apply(self, machine: Machine) -> None:
        text = record.render(dict(self.static), machine.facts)
        write(Path(self.root + self.path), text, 0o644)
        machine.learn(RECORD, self.path)


@dataclass(frozen=True)
class CheckFiles(Passing):
    """See that what is about to be copied is what the plan was made for, by `outside.digest`.

    The plan holds the hash, and so the plan's own hash covers each of these files.
    """

    path: str
    digest: str

    @property
    def line(self) -> str:
        return f"# {shlex.quote(self.path)} must have the SHA-256 {self.digest}"

    def apply(self, machine: Machine) -> None:  # noqa: ARG002
        if outside.digest(self.path) != self.digest:
            problem = "has changed since the plan was made"
            raise InstallError(self.path, problem, "let it be until the install has ended")


def write(path: Path, text: str, mode: int) -> None:
    """Replace a file in one move, its content on the disk before its name.

    Raises OSError. The mode is set before the content: a secret is never readable in between.
    """
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
