"""A machine as the modules make it, in facts; and ways to loosen it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from paranoid_install import policy
from paranoid_install.mounts import MountEntry
from paranoid_install.verify import parse
from paranoid_install.verify.facts import (
    AppArmor,
    Declared,
    Group,
    KeyFile,
    Listener,
    Loader,
    Machine,
    Place,
    Sample,
    Search,
    Space,
    Stat,
    Usb,
    User,
    known,
)
from paranoid_install.verify.kernel_checks import MODULES_DISABLED, USER_NAMESPACES
from paranoid_install.watch.kernel import Status

DATA = Path(__file__).parent / "data"
PERSIST = "/nix/persist"
WEB = "web.service"
SHIPPER = "systemd-journal-upload.service"
Loosening = Callable[[Machine], Machine]


def mount(
    point: str, options: str, kind: str = "ext4", root: str = "/", device: str = "fd:02",
    more: str = "rw",
) -> MountEntry:  # fmt: skip
    """A line of mountinfo."""
    return MountEntry(
        device, root, point, tuple(options.split(",")), kind, "none", tuple(more.split(","))
    )


_CLOSED = "rw,nosuid,nodev,noexec"
MOUNTS = (
    mount("/", _CLOSED, "tmpfs", device="0:20", more="rw,size=2097152k,mode=755"),
    mount("/proc", "rw,nosuid,nodev,noexec", "proc", device="0:21"),
    mount("/dev", "rw,nosuid,noexec", "devtmpfs", device="0:5"),
    mount("/dev/pts", "rw,nosuid,noexec", "devpts", device="0:24"),
    mount("/dev/shm", _CLOSED, "tmpfs", device="0:25"),
    mount("/run", _CLOSED, "tmpfs", device="0:26"),
    mount("/run/keys", _CLOSED, "ramfs", device="0:27"),
    mount("/run/wrappers", "ro,nodev", "tmpfs", device="0:28"),
    mount("/proc/sys/fs/binfmt_misc", "rw", "autofs", device="0:29"),
    mount("/boot", _CLOSED, "vfat", device="fd:01", more="rw,fmask=0077,dmask=0077"),
    mount("/nix", _CLOSED),
    mount("/nix/store", "ro,nosuid,nodev", root="/store"),
    mount("/nix/persist", _CLOSED, root="/persist"),
    mount("/etc/nixos", _CLOSED, root="/persist/etc/nixos"),
    mount("/srv", _CLOSED, root="/persist/srv"),
    mount("/var/lib", _CLOSED, root="/persist/var/lib"),
    mount("/var/log", _CLOSED, root="/persist/var/log"),
)

_SERVICE = policy.load("units")["sets"]["service"]
SYSCTL: dict[str, Any] = {
    **{item["key"]: str(item["value"]) for item in policy.load("sysctl")["setting"]},
    MODULES_DISABLED: "1",
    USER_NAMESPACES: "64",
}

RULESET = (
    {"table": {"family": "inet", "name": "nixos-fw"}},
    {"chain": {"family": "inet", "table": "nixos-fw", "name": "input", "type": "filter",
               "hook": "input", "prio": 0, "policy": "drop"}},
    {"chain": {"family": "inet", "table": "nixos-fw", "name": "input-allow"}},
    {"rule": {"family": "inet", "table": "nixos-fw", "chain": "input", "expr": [
        {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}},
        {"accept": None}]}},
    {"rule": {"family": "inet", "table": "nixos-fw", "chain": "input", "expr": [
        {"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [
            ["established", {"accept": None}], ["new", {"jump": {"target": "input-allow"}}]]}}}]}},
    {"rule": {"family": "inet", "table": "nixos-fw", "chain": "input", "expr": [
        {"limit": {"rate": 10, "burst": 20, "per": "minute"}},
        {"log": {"prefix": "refused connection: ", "level": "info"}}]}},
    {"table": {"family": "inet", "name": "paranoid-egress"}},
    {"rule": {"family": "inet", "table": "paranoid-egress", "chain": "output", "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}},
                   "right": {"prefix": {"addr": "151.101.0.0", "len": 16}}}},
        {"counter": {"packets": 0, "bytes": 0}}, {"reject": {"type": "icmpx"}}]}},
)  # fmt: skip


def allow(*expr: dict[str, Any]) -> dict[str, Any]:
    """A rule among those for new connections."""
    where = {"family": "inet", "table": "nixos-fw", "chain": "input-allow"}
    return {"rule": {**where, "expr": list(expr)}}


def on(*interfaces: str) -> dict[str, Any]:
    """What limits a rule to interfaces."""
    left = {"meta": {"key": "iifname"}}
    right = interfaces[0] if len(interfaces) == 1 else {"set": list(interfaces)}
    return {"match": {"op": "==", "left": left, "right": right}}


def port(right: Any) -> dict[str, Any]:
    """What limits a rule to TCP ports."""
    left = {"payload": {"protocol": "tcp", "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": right}}


ACCEPT: dict[str, Any] = {"accept": None}


def audit_rules() -> tuple[str, ...]:
    """What `auditctl -l` prints of the policy's rules."""
    return tuple(
        f"-a always,exit -F arch={arch} -S {','.join(rule['syscalls'])}"
        + "".join(f" -F {field}" for field in rule["fields"])
        + f" -F key={rule['key']}"
        for rule in policy.load("audit")["rule"]
        for arch in rule["architectures"]
    )


def _shown(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def paranoid() -> Machine:
    """All checks pass on it, and all apply."""
    directives = policy.load("verify")["units"]["directives"]
    service = {name: _shown(_SERVICE[name]) for name in directives}
    active = {"ActiveState": "active"}
    own = {"WorkingDirectory": "/srv/web", "User": "web", "DynamicUser": "no"}
    hidden = {"InaccessiblePaths": PERSIST}
    return Machine(
        mounts=MOUNTS,
        places=(),
        space=Space(2 << 30, 100 << 20),
        swaps={"/dev/zram0": "zram"},
        machine_id=("0" * 31 + "1", "0" * 31 + "1"),
        host_keys=tuple(Stat(key["path"], 0o600) for key in policy.load("layout")["hostKeys"]),
        secrets=(
            Stat(f"{PERSIST}/etc/passwords", 0o700, directory=True),
            Stat(f"{PERSIST}/etc/passwords/root", 0o600),
        ),
        uid_maps=("gid-map", "uid-map"),
        owners=(
            Stat(f"{PERSIST}/srv", 0o755, directory=True),
            Stat(f"{PERSIST}/srv/web", 0o750, 990, 990, directory=True),
            Stat(f"{PERSIST}/var/lib", 0o755, directory=True),
            Stat(f"{PERSIST}/var/lib/private-of-a-moment", 0o755, 61184, directory=True),
        ),
        encryption=("/dev/mapper/nix", True),
        interfaces={"lo": True, "tailscale0": True, "wg0": True},
        tailscale="Running",
        sshd=parse.sshd((DATA / "sshd-T.txt").read_text()),
        sshd_blocks=(),
        ruleset=RULESET,
        listeners=(Listener("tcp", "0.0.0.0", 22, "sshd"), Listener("udp", "127.0.0.53%lo", 53)),
        declared=(Declared("tcp", 22, ("tailscale0",)),),
        nix={"allowed-users": "root", "trusted-users": "root", "sandbox-fallback": "false"},
        channels=(),
        users=(
            User("root", 0, "hash", declared=True, method="y", gid=0),
            User("web", 990, "locked", gid=990),
        ),
        groups=(
            Group("root", 0),
            Group("wheel", 1, ("alice",)),
            Group("disk", 6),
            Group("web", 990),
        ),
        sudoers=("%wheel ALL=(ALL:ALL) SETENV: ALL",),
        pam={
            "login": (
                "account required /nix/store/x-linux-pam/lib/security/pam_unix.so",
                "auth sufficient /nix/store/x-linux-pam/lib/security/pam_unix.so likeauth",
                "auth required pam_deny.so",
            ),
            "su": ("auth required pam_wheel.so", "auth include login"),
        },
        key_files=(KeyFile(Stat("/etc/ssh/authorized_keys.d/root", 0o444), ("ssh-ed25519",)),),
        search=Search(uids={0: PERSIST, 990: f"{PERSIST}/srv/web"}, gids={0: PERSIST}),
        sample=Sample(7, 900, 512 << 20, 1200, running=40, running_hashed=40),
        usb=Usb({"usb1": "1"}, frozenset({"usb", "usbhid"})),
        radios={"phy0 (wlan)": False},
        apparmor=AppArmor(on=True, enforced=3),
        secure_boot=True,
        texts={},
        trees={"/var/log/audit": (Stat("/var/log/audit", 0o700, directory=True),)},
        wrappers=(
            Stat("/run/wrappers/bin/unix_chkpwd", 0o4511),
            Stat("/run/wrappers/bin/sudo", 0o4510, 0, 1),
        ),
        programs=frozenset({"bash", "nix"}),
        audit=Status(2, 812, 8192, 0, 0),
        audit_rules=audit_rules(),
        loginuid=True,
        sysctl=SYSCTL,
        parameters=tuple(
            item["name"] + (f"={item['value']}" if "value" in item else "")
            for item in policy.load("kernel")["parameter"]
        ),
        modules=frozenset({"ext4", "tun"}),
        lockdown="integrity",
        config={"X86_64": "y", "STRICT_KERNEL_RWX": "y", "PROC_KCORE": "y"},
        vulnerabilities={"meltdown": "Not affected", "mds": "Mitigation: Clear CPU buffers"},
        coredump={"Storage": "none"},
        units={
            WEB: {**active, **own, **hidden, **service},
            SHIPPER: active,
            "systemd-journald-audit.socket": active,
            "paranoid-watch.service": active,
            "tailscaled.service": active,
            "wireguard-wg0.service": active,
            "wireguard-wg0-peer-xTIBA5rb.service": active,
            "paranoid-antivirus.timer": active,
            "paranoid-heartbeat.timer": active,
        },
        exposure={WEB: 1.3, "sshd.service": 7.9},
        journald={key: _shown(value) for key, value in policy.load("logs")["journal"].items()},
        upload={
            "URL": "https://logs.example.org:19532",
            "ServerKeyFile": "/run/credentials/key",
            "ServerCertificateFile": "/run/credentials/certificate",
            "TrustedCertificateFile": "/run/credentials/ca",
        },
        loader=Loader("systemd-boot", "timeout 3\neditor no\n", ("title NixOS (break-glass)",)),
        kernels=("/nix/store/a-linux/bzImage", "/nix/store/a-linux/bzImage"),
        clock={"NTPSynchronized": "yes"},
        system_age=86400.0,
        signatures_age=3600.0,
        support=90 * 86400.0,
    )


def piece(name: str, value: Any) -> Loosening:
    """Another value for a piece."""
    return lambda machine: replace(machine, **{name: value})


def entry(name: str, key: str, value: Any) -> Loosening:
    """Another value for one key of a piece that maps."""
    return lambda machine: piece(name, {**getattr(machine, name), key: value})(machine)


def unit(name: str, **properties: str) -> Loosening:
    """Other properties of a unit."""

    def loosen(machine: Machine) -> Machine:
        units = known_units(machine)
        return replace(machine, units={**units, name: {**units.get(name, {}), **properties}})

    return loosen


def known_units(machine: Machine) -> dict[str, dict[str, str]]:
    assert isinstance(machine.units, dict)
    return machine.units


def more(name: str, *values: Any) -> Loosening:
    """Further members of a piece that is a list."""
    return lambda machine: piece(name, (*getattr(machine, name), *values))(machine)


def met(**found: Any) -> Loosening:
    """Something else that the walk over the disk met."""
    return lambda machine: piece("search", replace(known(machine.search), **found))(machine)


def remounted(point: str, options: str, **changed: Any) -> Loosening:
    """The same mount with other options."""

    def loosen(machine: Machine) -> Machine:
        assert isinstance(machine.mounts, tuple)
        return replace(
            machine,
            mounts=tuple(
                replace(e, options=tuple(options.split(",")), **changed)
                if e.mount_point == point
                else e
                for e in machine.mounts
            ),
        )

    return loosen


def without(point: str) -> Loosening:
    """The mount gone."""

    def loosen(machine: Machine) -> Machine:
        assert isinstance(machine.mounts, tuple)
        return replace(machine, mounts=tuple(e for e in machine.mounts if e.mount_point != point))

    return loosen


PLACE = Place("/run/wrappers", Stat("/run/wrappers/x", 0o755, 1000, 100, directory=True))
