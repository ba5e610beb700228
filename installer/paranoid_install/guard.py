"""Every reason to refuse a request before anything is written. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from paranoid_install import keys
from paranoid_install.configured import Configured
from paranoid_install.disks import Disk
from paranoid_install.errors import Refusal, RefusedError
from paranoid_install.selection import refusals
from paranoid_install.spec import InstallSpec, default_tmpfs_size
from paranoid_install.survey import MINIMUM_ROOT, Survey, needs_of
from paranoid_install.systems import System
from paranoid_install.values import MIB, MemorySize, human

_BYTES_PER_INODE = 16384
_INODE_SIZE = 256
_RESERVE = 256 * MIB
"""Bytes that must be left on /nix for logs, keys and the next generation's first steps."""

_BY_CONTENT = "/dev/disk/by-id/lvm-pv-uuid-"
"""How udev links to a disk that is an LVM physical volume (69-lvm.rules of LVM)."""

_EARLIEST = datetime(2025, 1, 1, tzinfo=UTC)
"""Before this program was written: no clock that is right can say it."""
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)


def check(spec: InstallSpec, found: Survey) -> None:
    """Raise RefusedError with every reason found, the gravest first; return when there is none."""
    disk = refusals(found.disk, needs_of(spec, found.layout)) + found.namesakes
    if disk:
        raise RefusedError(found.disk.path, disk)
    rest = tuple(_root(spec, found)) + tuple(_memory(spec, found)) + tuple(_system(spec, found))
    rest += tuple(_boot_name(spec, found)) + found.will_fail
    rest += tuple(_room(spec, found)) + tuple(_boot_room(found)) + tuple(_clock(found))
    if rest:
        raise RefusedError(spec.root if rest[0].code == "root" else "this install", rest)
    login = tuple(_login(spec, found))
    if login:
        raise RefusedError("nobody could log in", login)


def check_programs(missing: tuple[str, ...]) -> None:
    """Raise RefusedError when programs that the plan runs are missing: not found half way."""
    if missing:
        problem = f"{', '.join(missing)} cannot be found in PATH"
        remedy = "install what is missing; docs/dependencies.md says where each comes from"
        raise RefusedError("this machine", (Refusal("missing-program", problem, remedy),))


def check_hash(now: str, approved: str) -> None:
    """Raise RefusedError when a hash was approved and the plan's is another."""
    if approved and now != approved:
        problem = f"the plan is now {now}, not the one approved"
        remedy = "something differs: the request, the disk or what is on it; look with --dry-run"
        raise RefusedError("--plan-hash", (Refusal("plan-changed", problem, remedy),))


def stable_name(disk: Disk) -> str:
    """A name for the disk that means no other at the next boot: by-id, else by-path, else its own.

    A loop device or another that udev gives no links to keeps the kernel's name. A link that names
    what the disk holds is gone as soon as that is.
    """
    for kind in ("/dev/disk/by-id/", "/dev/disk/by-path/"):
        for link in disk.links:
            if link.startswith(kind) and not link.startswith(_BY_CONTENT):
                return link
    return disk.path


def warnings(spec: InstallSpec, found: Survey) -> Iterator[str]:
    """What speaks against the request and is no reason to refuse it, in sentences."""
    parts = found.layout.partitions
    if found.system is not None and found.system.declared is None:
        yield (
            f"{found.system.path} does not say which layout it expects: it must find "
            f"{' and '.join(f'{p.mount_point} by the label {p.label}' for p in parts)}"
        )
    if found.system is not None and spec.config:
        yield "the configuration given goes into /etc/nixos; what is installed is the system given"
    yield from found.unchecked
    yield from _left_keys(spec, found)
    if spec.flake:
        yield f"the plan's hash does not cover what {spec.flake} holds; name it by its revision"
    elif found.system is None:
        yield "the plan's hash does not cover the nixpkgs that the system is built from"
    if spec.skip_login_check:
        yield "nobody has checked that anyone can log in afterwards"


def _left_keys(spec: InstallSpec, found: Survey) -> Iterator[str]:
    """Each key that was given, or stood ready, and will not let its holder in."""
    whose = "" if spec.ssh_keys else "not taken over from this machine's root: "
    ignored = spec.ssh_keys_left if spec.ssh_keys else found.live_left
    for sentence in (*ignored, *ssh_keys(spec, found).left):
        yield f"{whose}{sentence}"
    if found.system is not None:
        yield from (f"{found.system.path}: {sentence}" for sentence in found.system.left)


def tmpfs_size(spec: InstallSpec, found: Survey) -> MemorySize:
    """The size of the volatile root: as asked for, else as the system says, else the policy's."""
    if spec.tmpfs_size is not None:
        return spec.tmpfs_size
    if found.system is not None and found.system.tmpfs_size:
        return MemorySize.parse(found.system.tmpfs_size)
    return default_tmpfs_size()


def ssh_keys(spec: InstallSpec, found: Survey) -> keys.Found:
    """The keys that go onto the persist root: those given, else those of the live root account.

    `keys` are those that the new machine's sshd takes; `left` says of each other why not.
    """
    return keys.opening(spec.ssh_keys or found.live_keys, accepts(found))


def accepts(found: Survey) -> keys.Accepts:
    """The kinds of keys that the sshd of the new machine takes, as far as that is known."""
    if found.system is not None and found.system.daemon is not None:
        return found.system.daemon.accepts
    if found.configured is not None and found.configured.accepts is not None:
        return found.configured.accepts
    return keys.of_policy()


def _root(spec: InstallSpec, found: Survey) -> Iterator[Refusal]:
    if found.root_in_use:
        problem = "is mounted or not empty, so the new system cannot be put together there"
        yield Refusal(
            "root", problem, f"unmount it (umount --recursive {spec.root}) or give --root"
        )


def _memory(spec: InstallSpec, found: Survey) -> Iterator[Refusal]:
    size = tmpfs_size(spec, found)
    if found.memory is None:
        return
    wanted = size.of(found.memory)
    if wanted > found.memory:
        problem = f"the tmpfs of {size} is larger than this machine's memory, {human(found.memory)}"
        yield Refusal("tmpfs-too-large", problem, "give a smaller --tmpfs-size, for example 50%")
    elif wanted < MINIMUM_ROOT:
        problem = f"the tmpfs of {size} ({human(wanted)}) is too small for a root file system"
        yield Refusal("tmpfs-too-small", problem, f"give at least {human(MINIMUM_ROOT)}")


def _system(spec: InstallSpec, found: Survey) -> Iterator[Refusal]:
    system = found.system
    if system is not None and system.declared is not None:
        size = tmpfs_size(spec, found)
        if system.tmpfs_size != str(size):
            problem = f"{system.path} has a root of {system.tmpfs_size}, and --tmpfs-size is {size}"
            yield Refusal("layout", problem, "leave --tmpfs-size out, or build the system with it")
        labels = {p.mount_point.strip("/"): p.label for p in found.layout.partitions}
        if system.declared["labels"] != labels:
            problem = f"{system.path} looks for the labels {system.declared['labels']}"
            yield Refusal("layout", problem, f"build it with modules that use {labels}")
        device = system.declared.get("bootDevice", "nodev")
        # Its boot loader would be written to a disk that nobody named.
        if found.layout.firmware == "bios" and device not in ("nodev", found.disk.path):
            problem = f"{system.path} writes its boot loader to {device}, not to {found.disk.path}"
            yield Refusal("boot-device", problem, 'build it with paranoid.boot.device = "nodev"')
    if system is None and not spec.config and not spec.flake and not found.has_impermanence:
        problem = f"{found.modules} has no impermanence/, which the default configuration imports"
        remedy = "use the installer built by the flake, or give --system, --config or --flake"
        yield Refusal("modules", problem, remedy)


def _boot_name(spec: InstallSpec, found: Survey) -> Iterator[Refusal]:
    """The default configuration names GRUB's disk: a name that may lead to another will not do."""
    disk = found.disk
    built_here = not (spec.config or spec.flake)
    if found.layout.firmware != "bios" or disk.kind != "disk" or not built_here:
        return
    if stable_name(disk) == disk.path:
        problem = (
            f"{disk.path} has no stable name of its own: no link in /dev/disk/by-id or by-path "
            "leads to it and to no other disk, and GRUB would be updated on whichever disk has "
            "its name then"
        )
        remedy = 'detach its twin, or give --config with paranoid.boot.device = "nodev"'
        yield Refusal("boot-name", problem, remedy)


def _room(_spec: InstallSpec, found: Survey) -> Iterator[Refusal]:
    if found.room is None:
        return
    partition = found.disk.size - found.layout.nix.start_mib * MIB
    # mke2fs.conf(5): an inode of 256 bytes for every 16 KiB. Root may use the reserved blocks.
    inodes = partition // _BYTES_PER_INODE
    blocks = partition - inodes * _INODE_SIZE - partition // 128
    if found.room.bytes + _RESERVE > blocks:
        problem = (
            f"the system takes {human(found.room.bytes)}, with {human(_RESERVE)} for what comes "
            f"later; {found.disk.path} leaves {human(max(0, blocks))} for it"
        )
        yield Refusal("no-room", problem, "give a larger disk or a smaller system")
    elif found.room.inodes > inodes:
        problem = f"the system has {found.room.inodes} files, and {found.disk.path} has room for"
        yield Refusal("no-room", f"{problem} {inodes}", "give a larger disk or a smaller system")


def _boot_room(found: Survey) -> Iterator[Refusal]:
    if found.boot_bytes is None:
        return
    layout = found.layout
    # A tenth for the file system itself and the boot loader.
    size = (layout.nix.start_mib - layout.boot.start_mib) * MIB * 9 // 10
    if found.boot_bytes > size:
        problem = f"kernel and initrd take {human(found.boot_bytes)}, and /boot has {human(size)}"
        yield Refusal("no-boot-room", problem, "build a system with a smaller initrd")


def _clock(found: Survey) -> Iterator[Refusal]:
    """Of a clock that has lost its time: keys, certificates and the record would carry it."""
    if found.clock is None or _EARLIEST.timestamp() <= found.clock < _LATEST.timestamp():
        return
    says = datetime.fromtimestamp(found.clock, UTC)
    problem = (
        f"this machine's clock says {says:%Y-%m-%d %H:%M} UTC, which is not between "
        f"{_EARLIEST:%Y-%m-%d} and {_LATEST:%Y-%m-%d}"
    )
    yield Refusal("clock", problem, "set it, for example with timedatectl set-time")


_REMEDY = "give --ssh-key or --generate-root-password"
_ANOTHER_KEY = "give another key, made with ssh-keygen -t ed25519"


def _login(spec: InstallSpec, found: Survey) -> Iterator[Refusal]:
    if spec.skip_login_check:
        return
    if found.system is not None:
        yield from _login_of_system(spec, found, found.system)
    elif found.configured is not None:
        yield from _login_of_configuration(spec, found, found.configured)
    elif not has_password(spec):
        public = ssh_keys(spec, found)
        reasons = public.left or (() if spec.ssh_keys else found.live_left)
        if not public.keys and reasons:
            admits = "or a configuration whose paranoid.sshd.olderKeys admits this kind"
            yield _lock_out(reasons, f"{_ANOTHER_KEY}, {admits}")
        elif not public.keys:
            yield _lock_out(("no ssh key was given, and root on this machine has none",), _REMEDY)


def _login_of_system(spec: InstallSpec, found: Survey, system: System) -> Iterator[Refusal]:
    declared = system.declared or {}
    if system.keys or declared.get("keysFrom"):
        return
    if has_password(spec) and declared.get("passwordsDirectory"):
        return
    public = ssh_keys(spec, found)
    closed = _ignores_ours(system)
    if public.keys and not closed:
        return
    reasons = (*system.left, *public.left)
    if public.keys:
        yield _lock_out((*reasons, closed), "build it so that it lets you in")
    elif reasons:
        admits = "or build it with paranoid.sshd.olderKeys if that admits this kind"
        yield _lock_out(reasons, f"{_ANOTHER_KEY}, {admits}")
    else:
        problem = f"{system.path} holds no ssh key, and none was given that it would read"
        yield _lock_out((problem,), _REMEDY)


def _ignores_ours(system: System) -> str:
    """Why the system lets nobody in with a key that is put onto the persist root; "" if it does."""
    directory = (system.declared or {}).get("authorizedKeysDirectory")
    if not directory:
        return f"{system.path} reads none of the keys that were given"
    if system.daemon is None:
        return ""
    if not system.daemon.reads(f"{directory}/%u"):
        return f"the sshd of {system.path} reads no keys from {directory}"
    return system.daemon.closed("root")


def _login_of_configuration(
    spec: InstallSpec, found: Survey, asked: Configured
) -> Iterator[Refusal]:
    name = spec.config or spec.flake
    if asked.unchecked:
        problem = f"what {name} lets in was not checked: {asked.unchecked}"
        remedy = "mend that, or say --skip-login-check if it has your key or password"
        yield _lock_out((problem,), remedy)
        return
    public = ssh_keys(spec, found)
    by_password = has_password(spec) and asked.passwords
    if asked.ways or by_password or (asked.reads_ours and public.keys):
        return
    remedy = "put a key there that its sshd takes, or say --skip-login-check"
    reasons = [f"{name} lets nobody in ({asked.why})", *public.left]
    if public.keys:
        reasons.append("it reads none of the keys that were given")
    yield _lock_out(tuple(reasons), remedy)


def has_password(spec: InstallSpec) -> bool:
    """Whether root gets a password for the console."""
    return bool(spec.generate_root_password or spec.root_password_hash_file)


def _lock_out(reasons: tuple[str, ...], remedy: str) -> Refusal:
    return Refusal("lock-out", "; ".join(reasons), remedy)
