"""Mounts as the kernel has them, not as they were configured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from paranoid_install import policy
from paranoid_install.mounts import MountEntry, visible
from paranoid_install.values import human
from paranoid_install.verify.check import Check, Result, not_applicable, unknown, unless
from paranoid_install.verify.facts import Machine, known
from paranoid_install.verify.terms import Severity

_LAYOUT = policy.load("layout")
_MOUNTS = policy.load("mounts")
_OWN = policy.load("verify")["mounts"]
_KERNEL = _OWN["kernel"]
_STORE = _LAYOUT["store"]["mountPoint"]
_WRAPPERS = _MOUNTS["wrappers"]["path"]
_BUILDS = policy.load("nix")["buildDirectory"]


def effective(machine: Machine) -> dict[str, MountEntry]:
    """What is seen at each mount point."""
    return visible(known(machine.mounts))


def is_writable(entry: MountEntry) -> bool:
    """Whether files can be made there at all; both the mount and the file system can be ro."""
    return (
        "ro" not in entry.options
        and "ro" not in entry.super_options
        and entry.fs_type not in _OWN["withoutFiles"]
    )


def executing_of(table: Iterable[MountEntry]) -> list[MountEntry]:
    """Mounts on which a new file could be made and executed."""
    return [e for e in visible(table).values() if is_writable(e) and "noexec" not in e.options]


def _shown(entry: MountEntry) -> str:
    return f"{entry.mount_point} ({entry.fs_type}): {','.join(entry.options)}"


def _root_is_volatile(machine: Machine) -> Result:
    root = effective(machine).get("/")
    if root is None:
        return unknown("no mount at / in mountinfo")
    wanted = _LAYOUT["root"]["fsType"]
    return unless([] if root.fs_type == wanted else [_shown(root)], _shown(root))


def _root_is_limited(machine: Machine) -> Result:
    root = effective(machine).get("/")
    if root is None or root.fs_type != _LAYOUT["root"]["fsType"]:
        return not_applicable("the root is not in memory")
    sizes = [o for o in root.super_options if o.startswith("size=")]
    return unless([] if sizes else ["/: no size= among its options"], *sizes)


def _root_has_room(machine: Machine) -> Result:
    space = known(machine.space)
    full = space.used * 100 > space.size * _OWN["rootFill"]
    text = f"{human(space.used)} of {human(space.size)} taken"
    return unless([text] if full else [], text)


def _nothing_new_executes(machine: Machine) -> Result:
    # The store is judged by itself, wrappers too; builds are given their place on purpose.
    apart = (_STORE, _WRAPPERS, _BUILDS)
    table = visible(known(machine.mounts))

    def problems() -> Iterator[str]:
        yield from (_shown(e) for e in executing_of(table.values()) if e.mount_point not in apart)
        for entry in table.values():
            if "ro" in entry.options and "noexec" not in entry.options:
                elsewhere = _written_by(entry, table)
                if elsewhere:
                    yield f"{_shown(entry)}: can be written to by {elsewhere}"

    return unless(problems())


def _written_by(entry: MountEntry, table: Mapping[str, MountEntry]) -> str:
    """Where what is read-only at one mount point can be written to by another; or nothing."""
    for other in table.values():
        if other.device_number != entry.device_number or not is_writable(other):
            continue
        here, there = entry.root.rstrip("/"), other.root.rstrip("/")
        if f"{there}/".startswith(f"{here}/"):
            return other.mount_point
        if here.startswith(f"{there}/"):
            path = other.mount_point.rstrip("/") + here.removeprefix(there)
            over = max((p for p in table if _is_below(path, p)), key=len)
            if over == other.mount_point:
                return path
    return ""


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(f"{point.rstrip('/')}/")


def _users_cannot_bring_programs(machine: Machine) -> Result:
    return unless(f"{place.stat} (mount {place.mount})" for place in known(machine.places))


def _lacking(machine: Machine, flag: str) -> Iterator[str]:
    layout = {_LAYOUT[name]["mountPoint"]: _LAYOUT[name]["options"] for name in ("boot", "nix")}
    layout["/"] = _LAYOUT["root"]["options"]
    layout[_LAYOUT["persist"]["root"]] = _LAYOUT["persist"]["options"]
    layout |= {d["path"]: _LAYOUT["persist"]["options"] for d in _LAYOUT["persist"]["directories"]}
    layout |= {special["path"]: special["options"] for special in _MOUNTS["special"]}
    mounted = effective(machine)
    for path, options in layout.items():
        if flag in options and path in mounted and flag not in mounted[path].options:
            yield _shown(mounted[path])


def _nosuid(machine: Machine) -> Result:
    return unless(_lacking(machine, "nosuid"))


def _nodev(machine: Machine) -> Result:
    return unless(_lacking(machine, "nodev"))


def _is_read_only(machine: Machine, path: str) -> Result:
    entry = effective(machine).get(path)
    if entry is None:
        return unless([f"{path}: not a mount of its own"])
    return unless([] if "ro" in entry.options else [_shown(entry)], _shown(entry))


def _store_is_read_only(machine: Machine) -> Result:
    return _is_read_only(machine, _STORE)


def _wrappers_are_read_only(machine: Machine) -> Result:
    if not known(machine.wrappers):
        return not_applicable("there are no set-uid programs")
    return _is_read_only(machine, _WRAPPERS)


def _nothing_is_masked(machine: Machine) -> Result:
    return unless(
        f"{_shown(entry)}: laid over it from {entry.root}"
        for entry in effective(machine).values()
        if _masks(entry)
    )


def _masks(entry: MountEntry) -> bool:
    point = entry.mount_point
    if point.startswith((f"{_STORE}/", f"{_WRAPPERS}/")):
        return True
    top = "/" + point.split("/")[1]
    if top not in _KERNEL:
        return False
    # systemd lays parts of /proc and /sys over themselves, to close them to a service.
    itself = entry.fs_type in _KERNEL[top] and entry.root == (point.removeprefix(top) or "/")
    own = entry.fs_type in _KERNEL.get(point, ()) and entry.root == "/"
    return not (itself or own)


def _boot_is_closed(machine: Machine) -> Result:
    boot = effective(machine).get(_LAYOUT["boot"]["mountPoint"])
    if boot is None:
        # The boot goes on without it, and a new generation would be written into the memory.
        return unless([f"{_LAYOUT['boot']['mountPoint']}: not mounted"])
    if boot.fs_type != _LAYOUT["boot"]["uefi"]["fsType"]:
        return not_applicable("its files have owners and modes of their own")
    missing = [o for o in _LAYOUT["boot"]["uefi"]["options"] if o not in boot.super_options]
    return unless(f"{boot.mount_point}: no {option}" for option in missing)


def _swap_is_encrypted(machine: Machine) -> Result:
    swaps = known(machine.swaps)
    if not swaps:
        return not_applicable("nothing is swapped to")
    return unless(f"{path}: {kind}" for path, kind in swaps.items() if kind == "plain")


def _disk_is_encrypted(machine: Machine) -> Result:
    device, encrypted = known(machine.encryption)
    return unless([] if encrypted else [f"{device} is not encrypted"], device)


CHECKS = (
    Check("mounts.root-volatile", "the root forgets", Severity.CRITICAL,
          "what an intruder leaves on a root in memory is gone after a boot",
          "paranoid.amnesia.enable", _root_is_volatile),
    Check("mounts.root-limit", "the root has a size limit", Severity.MEDIUM,
          "without one, whoever writes to /tmp takes all memory", "paranoid.amnesia.size",
          _root_is_limited),
    Check("mounts.root-room", "the root has room", Severity.MEDIUM,
          "a full root makes services fail, sshd among them", "paranoid.amnesia.size",
          _root_has_room),
    Check("mounts.noexec", "nothing that can be written to executes", Severity.CRITICAL,
          "a program that somebody brings along must not start", "paranoid.noexec.enable",
          _nothing_new_executes),
    Check("mounts.user-exec", "users cannot write where programs execute", Severity.CRITICAL,
          "a user, or a service's, could bring a program and start it",
          "paranoid.noexec.exceptions", _users_cannot_bring_programs),
    Check("mounts.nosuid", "data mounts ignore set-uid bits", Severity.HIGH,
          "a set-uid file on a data disk is a way to become root", "paranoid.amnesia.enable",
          _nosuid),
    Check("mounts.nodev", "data mounts have no devices", Severity.HIGH,
          "a device node on a data disk reads the disk around all permissions",
          "paranoid.amnesia.enable", _nodev),
    Check("mounts.store", "the store is read-only", Severity.HIGH,
          "it is the one place that executes", "boot.nixStoreMountOpts", _store_is_read_only),
    Check("mounts.wrappers", "nobody can add set-uid programs", Severity.HIGH,
          "set-uid programs have to execute, so their directory must not be written to",
          "paranoid.noexec.enable", _wrappers_are_read_only),
    Check("mounts.masked", "nothing is laid over what the kernel says, or over the store",
          Severity.CRITICAL, "a file that is mounted over another one lies to everybody who looks",
          "fileSystems", _nothing_is_masked),
    Check("mounts.boot", "the boot file system is root's", Severity.MEDIUM,
          "kernels, and the seed of random numbers, lie there", "paranoid.amnesia.enable",
          _boot_is_closed),
    Check("mounts.swap", "swap is encrypted or in memory", Severity.HIGH,
          "memory, with its secrets, would be on the disk in the clear",
          "swapDevices.*.randomEncryption.enable", _swap_is_encrypted),
    Check("mounts.encrypted", "the disk is encrypted", Severity.MEDIUM,
          "whoever takes the disk, or throws it away, reads keys, logs and data",
          "boot.initrd.luks.devices", _disk_is_encrypted),
)  # fmt: skip
