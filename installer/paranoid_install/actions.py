"""The closed set of things a plan can do. Each is data, prints as a line one could type, and acts.

A new need is a new action here, not a callback in a plan.
"""

from __future__ import annotations

import os
import shlex
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from paranoid_install import disks, hardware, record
from paranoid_install.disks import Disk
from paranoid_install.errors import CommandFailed, InstallError, Refusal, RefusedError
from paranoid_install.journal import RUN_JOURNAL, Journal, JournalFile, Value
from paranoid_install.layout import LOOP, HostKey
from paranoid_install.mounts import mount_table, users
from paranoid_install.runner import SECONDS, Runner
from paranoid_install.selection import Needs, refusals
from paranoid_install.signals import Signals
from paranoid_install.survey import with_probe


@dataclass
class Machine:
    """What actions act through. `facts` is what was learned on the way; never a secret.

    `show` puts a line before the person at the console and nowhere else.
    """

    runner: Runner
    journal: Journal
    show: Callable[[str], None]
    signals: Signals = field(default_factory=Signals)
    log: JournalFile | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def learn(self, name: str, value: str) -> None:
        self.facts[name] = value
        self.journal.emit("fact", name=name, value=value)

    def device(self, text: str) -> str:
        """A text with the loop device in place of its placeholder, once it is attached."""
        return text.replace(LOOP, self.facts.get(LOOP, LOOP))


class Action(Protocol):
    """One thing to do. `line` is what is shown; `undo` what takes it back, None: nothing does.

    `programs` are those it runs, so that a missing one is found before anything is written.
    `lasts` says that its effect is on the disk; what does not last is done again on a resume.
    """

    @property
    def line(self) -> str: ...

    @property
    def undo(self) -> Action | None: ...

    @property
    def programs(self) -> tuple[str, ...]: ...

    @property
    def lasts(self) -> bool: ...

    def apply(self, machine: Machine) -> None: ...


class _Plain:
    """What most actions are: nothing takes them back, and they run no program."""

    @property
    def undo(self) -> Action | None:
        return None

    @property
    def programs(self) -> tuple[str, ...]:
        return ()

    @property
    def lasts(self) -> bool:
        return True


class _Passing(_Plain):
    """What is gone when the machine or the run ends: mounts, devices, directories on a tmpfs."""

    @property
    def lasts(self) -> bool:
        return False


@dataclass(frozen=True)
class Run(_Plain):
    """Run a program. `progress` shows its output as it comes; `seconds` None: no time limit."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    seconds: float | None = SECONDS
    progress: bool = False

    @property
    def line(self) -> str:
        return shlex.join([*(f"{name}={value}" for name, value in self.env), *self.argv])

    @property
    def programs(self) -> tuple[str, ...]:
        return self.argv[:1]

    def apply(self, machine: Machine) -> None:
        machine.runner.run(
            *(machine.device(word) for word in self.argv),
            env=dict(self.env),
            timeout=self.seconds,
            on_line=_lines(machine) if self.progress else None,
        )


@dataclass(frozen=True)
class CheckDisk(_Plain):
    """Look at the disk once more right before it is written: is it the same, is it still free?"""

    disk: Disk
    needs: Needs

    @property
    def line(self) -> str:
        return f"wipefs --no-act {shlex.quote(self.disk.path)}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("wipefs", "blkid")

    def apply(self, machine: Machine) -> None:
        now, _ = with_probe(machine.runner, self.disk)
        reasons = refusals(now, self.needs)
        for name in ("size", "serial", "wwn", "model"):
            before, after = getattr(self.disk, name), getattr(now, name)
            if before != after:
                problem = f"its {name} was {before!r} when it was chosen and is {after!r} now"
                reasons = (Refusal("changed", problem, "start again"), *reasons)
        if reasons:
            raise RefusedError(self.disk.path, reasons)


@dataclass(frozen=True)
class CreateImage(_Plain):
    """Make a sparse image file of `size` bytes. It is kept when the run fails."""

    path: str
    size: int

    @property
    def line(self) -> str:
        return shlex.join(["truncate", f"--size={self.size}", self.path])

    def apply(self, machine: Machine) -> None:  # noqa: ARG002
        with Path(self.path).open("ab") as file:
            file.truncate(self.size)


@dataclass(frozen=True)
class AttachLoop(_Passing):
    """Attach an image file as a loop device with partitions."""

    path: str

    @property
    def line(self) -> str:
        return shlex.join(["losetup", "--find", "--show", "--partscan", self.path]) + f"  # {LOOP}"

    @property
    def undo(self) -> Action:
        return DetachLoop(self.path)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("losetup", "partx")

    def apply(self, machine: Machine) -> None:
        result = machine.runner.run("losetup", "--find", "--show", "--partscan", self.path)
        device = result.stdout.strip()
        if not device.startswith("/dev/loop"):
            raise CommandFailed(result.argv, f"printed {device!r}, which is no loop device", 0)
        machine.learn(LOOP, device)
        # A kernel built without this table's parser does not scan a loop device, whatever losetup
        # asks for; partx(8) reads the table itself. It ends with 1 where there is none yet.
        machine.runner.run("partx", "--update", device, ok=(0, 1))


@dataclass(frozen=True)
class DetachLoop(_Passing):
    """Detach the image file's loop device."""

    path: str

    @property
    def line(self) -> str:
        return f"losetup --detach {LOOP}"

    def in_effect(self, machine: Machine) -> bool:
        """Whether the device still belongs to this file; its number may be another's by now."""
        node = Path("/sys/class/block", Path(machine.device(LOOP)).name, "loop/backing_file")
        return node.exists() and node.read_text(errors="replace").strip() == self.path

    def apply(self, machine: Machine) -> None:
        machine.runner.run("losetup", "--detach", machine.device(LOOP))


@dataclass(frozen=True)
class WaitForNodes(_Passing):
    """Wait until the kernel and udev have made the partitions' device nodes."""

    paths: tuple[str, ...]

    @property
    def line(self) -> str:
        return shlex.join(["udevadm", "wait", "--settle", *self.paths])

    def apply(self, machine: Machine) -> None:
        disks.wait_for_nodes(machine.runner, tuple(machine.device(path) for path in self.paths))


@dataclass(frozen=True)
class MakeDirectory(_Passing):
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
class Mount(_Passing):
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
class Unmount(_Passing):
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


@dataclass(frozen=True)
class KeepJournal(_Passing):
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
class CloseJournal(_Passing):
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
class WriteFile(_Plain):
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
class PatchHardware(_Plain):
    """Patch the hardware-configuration.nix that nixos-generate-config wrote."""

    path: str
    patch: hardware.Patch

    @property
    def line(self) -> str:
        options = " ".join(self.patch.root_options)
        return f"paranoid-install patch {shlex.quote(self.path)}  # / gets {options}"

    def apply(self, machine: Machine) -> None:  # noqa: ARG002
        path = Path(self.path)
        write(path, hardware.patch(hardware.read(path), self.patch), 0o644)


@dataclass(frozen=True)
class GenerateHostKey(_Plain):
    """Generate an ssh host key pair; its fingerprint is learned for the first login's check."""

    key: HostKey
    root: str

    @property
    def argv(self) -> tuple[str, ...]:
        bits = ("-b", str(self.key.bits)) if self.key.bits else ()
        path = self.root + self.key.path
        return ("ssh-keygen", "-q", "-t", self.key.type, *bits, "-N", "", "-C", "", "-f", path)

    @property
    def line(self) -> str:
        return shlex.join(self.argv)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("ssh-keygen",)

    def apply(self, machine: Machine) -> None:
        public = f"{self.root}{self.key.path}.pub"
        # Half a pair of a run that was cut off; ssh-keygen would ask before it overwrites one.
        for file in (Path(self.root + self.key.path), Path(public)):
            file.unlink(missing_ok=True)
        machine.runner.run(*self.argv)
        printed = machine.runner.run(
            "ssh-keygen", "-l", "-E", "sha256", "-f", public
        ).stdout.split()
        fingerprint = next((word for word in printed if word.startswith("SHA256:")), None)
        if fingerprint is None:
            raise CommandFailed(self.argv, f"made no key with a fingerprint at {public}", 0)
        machine.learn(f"host-key-{self.key.type}", fingerprint)


@dataclass(frozen=True)
class GenerateMachineId(_Plain):
    """Generate the machine-id (machine-id(5): a random UUID in lower-case hex)."""

    path: str

    @property
    def line(self) -> str:
        return f"systemd-id128 new > {shlex.quote(self.path)}"

    def apply(self, machine: Machine) -> None:
        machine_id = uuid.uuid4().hex
        write(Path(self.path), machine_id + "\n", 0o444)
        machine.learn("machine-id", machine_id)


@dataclass(frozen=True)
class GenerateRootPassword(_Plain):
    """Generate a password for root, show it once on the console, and keep only its hash."""

    path: str

    @property
    def line(self) -> str:
        return f"mkpasswd --method=yescrypt --stdin > {shlex.quote(self.path)}  # shown once"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("mkpasswd",)

    def apply(self, machine: Machine) -> None:
        import secrets  # noqa: PLC0415

        # Without letters and digits that look alike; 20 of 56 are 116 bits.
        alphabet = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
        password = "".join(secrets.choice(alphabet) for _ in range(20))
        result = machine.runner.run(
            "mkpasswd", "--method=yescrypt", "--stdin", stdin=password, secret=(password,)
        )
        hashed = result.stdout.strip()
        if not hashed.startswith("$y$"):
            raise CommandFailed(result.argv, "printed no yescrypt hash", 0)
        write(Path(self.path), hashed + "\n", 0o600)
        machine.show(f"root's password, shown only now: {password}")


@dataclass(frozen=True)
class CopyClosure(_Plain):
    """Put the closure of a toplevel into the target's store, each path checked by its hash."""

    toplevel: str
    root: str
    verify: bool

    @property
    def line(self) -> str:
        how = "in parallel, each path verified" if self.verify else "in parallel, not verified"
        copy = ["nix", "copy", "--no-check-sigs", "--to", self.root, self.toplevel]
        return f"{shlex.join(copy)}  # {how}"

    @property
    def programs(self) -> tuple[str, ...]:
        return ("nix-store",)

    def apply(self, machine: Machine) -> None:
        from paranoid_install import store  # noqa: PLC0415 - the largest part of the package

        def progress(done: int, total: int, paths_done: int, paths_total: int) -> None:
            machine.journal.emit(
                "progress",
                done=done,
                total=total,
                paths_done=paths_done,
                paths_total=paths_total,
            )

        report = store.put(
            machine.runner, self.toplevel, Path(self.root), verify=self.verify, progress=progress
        )
        machine.journal.emit("store", **vars(report))
        if report.method is store.Method.LEFT:
            machine.journal.emit("warning", text=f"nixos-install copies itself: {report.reason}")


@dataclass(frozen=True)
class CheckInstalled(_Plain):
    """See that nixos-install left a system: some versions end with 0 when they have not."""

    root: str
    boot: str

    @property
    def line(self) -> str:
        profile = f"{self.root}/nix/var/nix/profiles/system"
        return f"test -e {shlex.quote(profile)} && test -e {shlex.quote(self.root)}/etc/NIXOS"

    def apply(self, machine: Machine) -> None:
        profile = Path(self.root) / "nix/var/nix/profiles/system"
        toplevel = _follow(profile, Path(self.root))
        if toplevel is None or not toplevel.is_dir():
            raise self._missing(str(profile), "leads to no system")
        if not (Path(self.root) / "etc/NIXOS").exists():
            raise self._missing(f"{self.root}/etc/NIXOS", "is missing")
        entries = ("grub/grub.cfg", "loader/entries", "EFI", "extlinux/extlinux.conf", "limine")
        if not any((Path(self.boot) / entry).exists() for entry in entries):
            raise self._missing(self.boot, "holds no boot entry")
        machine.learn("toplevel", "/" + str(toplevel.relative_to(self.root)))

    @staticmethod
    def _missing(subject: str, problem: str) -> InstallError:
        return InstallError(subject, problem, "nixos-install did not finish; see its output above")


@dataclass(frozen=True)
class MendRoots(_Plain):
    """Point the target's garbage collector roots at its own paths, not at `root`'s.

    nixos-install leaves links that lead through the mount point: after the first boot they
    dangle, and the first garbage collection may delete the running system.
    """

    root: str

    @property
    def line(self) -> str:
        roots = shlex.quote(f"{self.root}/nix/var/nix/gcroots")
        return f"find {roots} -type l -lname '{self.root}/*'  # and cut {self.root} off"

    def apply(self, machine: Machine) -> None:
        for link in sorted(Path(self.root, "nix/var/nix/gcroots").rglob("*")):
            if not link.is_symlink():
                continue
            target = str(link.readlink())
            if target.startswith(self.root + "/"):
                link.unlink()
                link.symlink_to(target.removeprefix(self.root))
                machine.journal.emit("line", text=f"{link} led to {target}: mended")


@dataclass(frozen=True)
class WriteRecord(_Plain):
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
        machine.learn("record", self.path)


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


def as_data(action: Action) -> Mapping[str, Value]:
    """An action for `--dry-run --json`: what it is, its line, and the file that it writes."""
    data: dict[str, Value] = {"action": type(action).__name__, "line": action.line}
    match action:
        case Run(argv, env):
            data |= {"argv": list(argv), "env": dict(env)}
        case Mount() | GenerateHostKey():
            data["argv"] = list(action.argv)
        case WriteFile(path, text, mode):
            data |= {"path": path, "mode": f"{mode:04o}", "text": text}
        case Unmount(target):
            data["target"] = target
        case DetachLoop(file):
            data["file"] = file
    return data


def undo_of(data: Mapping[str, object]) -> Unmount | DetachLoop | None:
    """The undo that `as_data` described; None for one that ended with its process."""
    match data:
        case {"action": "Unmount", "target": str(target)}:
            return Unmount(target)
        case {"action": "DetachLoop", "file": str(file)}:
            return DetachLoop(file)
    return None


def _follow(link: Path, root: Path) -> Path | None:
    """Where a link of the target leads, as the target will see it: absolute means below root."""
    for _ in range(16):
        if not link.is_symlink():
            return link if link.exists() else None
        target = link.readlink()
        link = root / target.relative_to("/") if target.is_absolute() else link.parent / target
    return None


def _lines(machine: Machine) -> Callable[[str], None]:
    return lambda line: machine.journal.emit("line", text=line)
