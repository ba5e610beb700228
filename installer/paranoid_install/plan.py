"""The plan: every step of an install as data. Pure: the same request and machine, the same plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from paranoid_install import guard, keys, preparation, record, rewrite
from paranoid_install import layout as layouts
from paranoid_install.actions import (
    Action,
    AttachLoop,
    BuildSystem,
    CheckFiles,
    CheckInstalled,
    CopyClosure,
    EvaluateFlake,
    EvaluateSystem,
    GenerateHostKey,
    GenerateMachineId,
    GenerateRootPassword,
    KeepJournal,
    Leave,
    MakeDirectory,
    MendRoots,
    Mount,
    PatchHardware,
    Run,
    SameDisk,
    WriteFile,
    WriteRecord,
    as_data,
)
from paranoid_install.actions.programs import copy_tree
from paranoid_install.configuration import Host, configuration, file_systems
from paranoid_install.journal import Value
from paranoid_install.layout import SYSTEM, partition_path
from paranoid_install.spec import InstallSpec
from paranoid_install.survey import POLICY, Survey
from paranoid_install.values import human

DEFAULT_HOSTNAME = "paranoid"

_CLEARING = 600.0
"""Seconds for what an earlier run left, a generation of the store's small files perhaps."""


@dataclass(frozen=True)
class Step:
    """A named part of the install; from the first `destructive` one on the disk is changed."""

    id: str
    title: str
    actions: tuple[Action, ...] = ()
    destructive: bool = False


@dataclass(frozen=True)
class Plan:
    """What will be done, in order. `warnings` are sentences for the operator."""

    disk: Mapping[str, Value]
    firmware: str
    tmpfs_size: str
    root: str
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()

    @property
    def programs(self) -> tuple[str, ...]:
        """Every program that the plan runs."""
        return tuple(p for step in self.steps for action in step.actions for p in action.programs)

    def as_data(self) -> dict[str, Value]:
        """The plan for `--dry-run --json`, with its hash."""
        return {"version": 1, "hash": self.hash, **self._content()}

    @property
    def hash(self) -> str:
        """SHA-256 of all that the plan says, in hex."""
        text = json.dumps(self._content(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _content(self) -> dict[str, Value]:
        return {
            "disk": dict(self.disk),
            "firmware": self.firmware,
            "tmpfs_size": self.tmpfs_size,
            "root": self.root,
            "steps": [
                {
                    "id": step.id,
                    "title": step.title,
                    "destructive": step.destructive,
                    "actions": [as_data(action) for action in step.actions],
                }
                for step in self.steps
            ],
            "warnings": list(self.warnings),
        }


def make(spec: InstallSpec, found: Survey) -> Plan:
    """The plan for a request that `guard.check` has let pass."""
    build = _Build(spec, found)
    mounts = build.mount() + build.persist()
    steps = (
        Step("select", f"Use {describe(found)}", build.evaluate()),
        Step("guard", preparation.guard_title(found), preparation.guard(spec, found)),
        Step("partition", "Write the partition table", preparation.partition(found), True),
        Step("format", "Make the file systems", preparation.make_file_systems(found), True),
        Step("mount", "Mount the volatile root, /boot and /nix", build.mount() + build.clear()),
        Step("persist", "Bind what lasts from the persist root", build.persist()),
        Step("configure", "Write the configuration", build.configure()),
        Step("identity", build.identity_title(), build.identity()),
        Step("store", "Put the system into the store", build.store()),
        Step("install", "Install the system, the boot loader last", build.install()),
        Step("finish", "Write the record and let go of the disk", build.finish(mounts)),
    )
    return Plan(
        disk=build.disk_data(),
        firmware=found.layout.firmware,
        tmpfs_size=build.size,
        root=spec.root,
        steps=steps,
        warnings=tuple(guard.warnings(spec, found)),
    )


def describe(found: Survey) -> str:
    """The disk in words for the person who has to recognise it."""
    disk = found.disk
    serial = f"serial {disk.serial}" if disk.serial else ""
    parts = [part for part in (disk.model, serial, human(disk.size)) if part]
    holds = ", ".join(dict.fromkeys(s.type for s in disk.signatures or ())) or "blank"
    return f"{disk.path} ({', '.join(parts)}; {holds})"


class _Build:
    """The actions of each step, from the request and the machine."""

    def __init__(self, spec: InstallSpec, found: Survey) -> None:
        self._spec = spec
        self._found = found
        self._layout = found.layout
        self._image = found.disk.kind == "image"
        self._device = preparation.device(found)
        self.size = str(guard.tmpfs_size(spec, found))

    def disk_data(self) -> dict[str, Value]:
        disk = self._found.disk
        return {
            "path": disk.path,
            "kind": disk.kind,
            "serial": disk.serial,
            "wwn": disk.wwn,
            "model": disk.model,
            "size": disk.size,
            "links": list(disk.links),
            "holds": [f"{s.type} {s.label}".strip() for s in disk.signatures or ()],
        }

    def evaluate(self) -> tuple[Action, ...]:
        """What is built after the wipe is evaluated before it, and before the countdown."""
        if self._found.system is not None:
            return ()
        if self._spec.flake:
            return (EvaluateFlake(self._spec.flake),)
        mounts = file_systems(self._layout, self.size)
        if self._spec.config:
            return (EvaluateSystem(((self._spec.config, ""),), "", mounts),)
        copies = ((self._found.modules, "paranoid"), (POLICY, "paranoid/policy"))
        return (EvaluateSystem(copies, self._configuration(), mounts),)

    def mount(self) -> tuple[Action, ...]:
        root = self._spec.root
        options = (f"size={self.size}", f"mode={self._layout.root_mode}")
        actions: list[Action] = [MakeDirectory(root), Mount("none", root, "tmpfs", options)]
        for partition in self._layout.partitions:
            target = root + partition.mount_point
            device = partition_path(self._device, partition.number)
            actions += [
                MakeDirectory(target),
                Mount(device, target, partition.fs_type, partition.options),
            ]
        return tuple(actions)

    def clear(self) -> tuple[Action, ...]:
        commands = layouts.clear_commands(self._spec.root, self._layout)
        return tuple(Run(command, seconds=_CLEARING) for command in commands)

    def persist(self) -> tuple[Action, ...]:
        root = self._spec.root
        actions: list[Action] = [MakeDirectory(root + self._layout.persist)]
        for bind in self._layout.binds:
            source, target = root + bind.source, root + bind.target
            actions += [
                MakeDirectory(source, bind.mode),
                MakeDirectory(target, bind.mode),
                Mount(source, target, "none", ("bind",)),
            ]
        directory = root + self._layout.record
        actions += [MakeDirectory(directory), KeepJournal(f"{directory}/{record.JOURNAL}")]
        return tuple(actions)

    def configure(self) -> tuple[Action, ...]:
        root, spec = self._spec.root, self._spec
        directory = f"{root}/etc/nixos"
        patch = rewrite.wanted(self._layout, self.size, copied=spec.seal)
        by_uuid = tuple(
            (p.mount_point, partition_path(self._device, p.number))
            for p in self._layout.partitions
            if not spec.seal
        )
        actions: list[Action] = [
            Run(("nixos-generate-config", "--root", root)),
            PatchHardware(f"{directory}/hardware-configuration.nix", patch, by_uuid),
        ]
        if spec.config:
            actions += [self._unchanged(spec.config), *copy_tree(spec.config, directory)]
        elif not spec.flake:
            for source, place in ((self._found.modules, ""), (POLICY, "/policy")):
                target = f"{directory}/paranoid{place}"
                actions += [self._unchanged(source), *copy_tree(source, target)]
            actions.append(WriteFile(f"{directory}/configuration.nix", self._configuration()))
        return (*actions, self._sync())

    def _unchanged(self, path: str) -> Action:
        return CheckFiles(path, self._found.digests[path])

    def _configuration(self) -> str:
        return configuration(
            Host(
                hostname=self._spec.hostname or DEFAULT_HOSTNAME,
                tmpfs_size=self.size,
                firmware=self._layout.firmware,
                boot_device=self._boot_device(),
                authorized_keys=f"{self._layout.authorized_keys}/root",
                keys_on_disk=bool(guard.ssh_keys(self._spec, self._found).keys),
                password=guard.has_password(self._spec),
                system=self._found.system.path if self._found.system else "",
                is_image=self._image,
            )
        )

    def _boot_device(self) -> str:
        """Where GRUB of the installed system goes: a name that stays when disks are added.

        `nodev` for an image: on this machine its disk has another name than on its own.
        """
        return "nodev" if self._image else guard.stable_name(self._found.disk)

    def identity_title(self) -> str:
        if self._spec.seal:
            return "Say who gets in; keys and id are left to each copy's first boot"
        return "Give the machine its keys and its id"

    def identity(self) -> tuple[Action, ...]:
        root, layout, spec = self._spec.root, self._layout, self._spec
        actions: list[Action] = [MakeDirectory(str(Path(root + layout.machine_id).parent))]
        for key in layout.host_keys:
            # Also of a sealed disk: sshd makes a key at boot, not the directory for it.
            actions.append(MakeDirectory(str(Path(root + key.path).parent)))
            if not spec.seal:
                actions.append(GenerateHostKey(key, root))
        if not spec.seal:
            actions.append(GenerateMachineId(root + layout.machine_id))
        public = guard.ssh_keys(spec, self._found).keys
        if public:
            actions.append(MakeDirectory(root + layout.authorized_keys))
            text = keys.authorized_keys(public)
            actions.append(WriteFile(f"{root}{layout.authorized_keys}/root", text))
        hashed = f"{root}{layout.passwords}/root"
        if spec.generate_root_password or spec.root_password_hash_file:
            actions.append(MakeDirectory(root + layout.passwords, 0o700))
        if spec.generate_root_password:
            actions.append(GenerateRootPassword(hashed))
        elif spec.root_password_hash_file:
            given = spec.root_password_hash_file
            actions.append(self._unchanged(given))
            actions.append(Run(("install", "--mode=0600", given, hashed)))
        return (*dict.fromkeys(actions), self._sync())

    def _sync(self) -> Action:
        """A step is done when it is on the disk: a resume after a power cut relies on it."""
        place = self._spec.root + self._layout.nix.mount_point
        return Run(("sync", "--file-system", place), seconds=None)

    def store(self) -> tuple[Action, ...]:
        if self._found.system is None:
            return ()
        return (CopyClosure(self._found.system.path, self._spec.root, self._spec.verify),)

    def install(self) -> tuple[Action, ...]:
        root, spec = self._spec.root, self._spec
        temporary = f"{root}/nix/.install-tmp"
        build: tuple[Action, ...] = ()
        if self._found.system is not None:
            what = ("--system", self._found.system.path)
        elif spec.flake:
            what = ("--flake", spec.flake)
        else:
            what = ("--system", SYSTEM)
            build = (BuildSystem(root, temporary),)
        argv = ("nixos-install", "--root", root, "--no-root-passwd", "--no-channel-copy", *what)
        actions: list[Action] = [
            # By default it builds on the volatile root, which is memory.
            Run(("install", "--directory", "--mode=0700", temporary)),
            *build,
            Run(argv, env=(("TMPDIR", temporary),), seconds=None, progress=True),
            Run(("rm", "--recursive", "--force", temporary)),
            CheckInstalled(root, root + self._layout.boot.mount_point),
            MendRoots(root),
            *self._seal(),
        ]
        if self._installs_grub():
            boot = root + self._layout.boot.mount_point
            target = ("--target=i386-pc", f"--boot-directory={boot}")
            actions.append(SameDisk(self._device))
            actions.append(Run(("grub-install", *target, self._device), seconds=300))
        return tuple(actions)

    def _seal(self) -> Iterator[Action]:
        """Take away what every copy would share and ought to make itself.

        nixos-enter runs the system's activation, and that can set up a machine-id; bootctl(1)
        leaves a random seed on the ESP (systemd.io, "Building images safely").
        """
        if not self._spec.seal:
            return
        shared = [self._spec.root + self._layout.machine_id]
        if self._layout.firmware == "uefi":
            boot = self._spec.root + self._layout.boot.mount_point
            shared.append(f"{boot}/loader/random-seed")
        yield Run(("rm", "--force", *shared))

    def _installs_grub(self) -> bool:
        """Whether the boot code is ours to write: on BIOS, for a system that says `nodev`."""
        if self._layout.firmware != "bios" or self._spec.flake:
            return False
        if self._found.system is not None:
            return (self._found.system.declared or {}).get("bootDevice") == "nodev"
        return self._image and not self._spec.config

    def finish(self, mounts: tuple[Action, ...]) -> tuple[Action, ...]:
        root, layout = self._spec.root, self._layout
        static: tuple[tuple[str, Value], ...] = (
            ("disk", self.disk_data()),
            ("firmware", layout.firmware),
            ("tmpfs_size", self.size),
            ("sealed", self._spec.seal),
        )
        actions: list[Action] = [
            Run(("sync", "--file-system", root + layout.nix.mount_point), seconds=None),
            Run(("sync", "--file-system", root + layout.boot.mount_point), seconds=None),
            # Last of all that is written: where it is, there is a whole system.
            WriteRecord(root, f"{layout.record}/{record.NAME}", static),
            Run(("sync", "--file-system", root + layout.nix.mount_point), seconds=None),
        ]
        held = [*mounts] if not self._image else [AttachLoop(self._found.disk.path), *mounts]
        actions += [a.undo for a in reversed(held) if a.undo is not None]
        if self._spec.then != "nothing":
            actions.append(Leave(self._spec.then))
        return tuple(actions)
