"""How each check of `verify` is turned red on the running test system, and mended again.

`DRESSING` first makes there what NixOS's modules make and the test system does not have, so
that the checks on it have something to look at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paranoid_install import policy

_SYSCTL = {one["key"]: one["value"] for one in policy.load("sysctl")["setting"]}
_LAYOUT = policy.load("layout")
_PERSIST = _LAYOUT["persist"]["root"]
_NIX = policy.load("nix")
_UNITS = policy.load("units")
_VERIFY = policy.load("verify")
_LOGS = policy.load("logs")
_WRAPPERS = policy.load("mounts")["wrappers"]["path"]
_SIGNATURES = policy.load("antivirus")["databaseDirectory"]
_BREAK_GLASS = policy.load("breakglass")["name"]
_HEARTBEAT = _LOGS["heartbeat"]["identifier"]
_SHIPPER = _VERIFY["units"]["shippers"][0]
_WATCH = _VERIFY["units"]["watch"]
_ANTIVIRUS = _VERIFY["units"]["antivirus"]
_LISTENERS = _VERIFY["listeners"]["declared"]
_WEB = f"{_UNITS['stateRoot']}/web"
_SSHD_CONFIG = "/etc/ssh/sshd_config"
_GRUB = "/boot/grub/grub.cfg"
_PROFILE = "/nix/var/nix/profiles/system"


def _file(path: str, *lines: str) -> str:
    return f"mkdir -p $(dirname {path})\ncat > {path} << 'END'\n" + "\n".join(lines) + "\nEND\n"


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(value) if isinstance(value, list) else str(value)


def _unit(name: str, *lines: str) -> str:
    return _file(f"/etc/systemd/system/{name}", *lines)


_SLEEPS = ("[Service]", "ExecStart=/usr/bin/sleep infinity")
_CONFINED = tuple(f"{key}={_setting(value)}" for key, value in _UNITS["sets"]["service"].items())
_STARTED = ("web.service", _SHIPPER, _WATCH, _ANTIVIRUS, f"{_HEARTBEAT}.timer")


def _timer(name: str, *unit: str) -> str:
    service = name.replace(".timer", ".service")
    timer = _unit(name, "[Unit]", *unit, "[Timer]", "OnCalendar=yearly")
    return timer + _unit(service, "[Service]", "Type=oneshot", "ExecStart=/usr/bin/true")


DRESSING = "set -e\n" + "".join(
    (
        _file(
            "/etc/nix/nix.conf",
            f"allowed-users = {' '.join(_NIX['allowedUsers'])}",
            f"trusted-users = {' '.join(_NIX['trustedUsers'])}",
            *(f"{key} = {str(value).lower()}" for key, value in _NIX["settings"].items()),
        ),
        _file("/etc/systemd/coredump.conf", "[Coredump]", "Storage=none"),
        _file(_LISTENERS, '{"version": 1, "listeners": [{"protocol": "tcp", "port": 22}]}'),
        _file(f"{_VERIFY['files']['uidMaps']}/uid-map", "{}"),
        _file(f"{_SIGNATURES}/main.cvd", "signatures"),
        _file(
            "/etc/systemd/journal-upload.conf",
            "[Upload]",
            "URL=https://logs.example.org:19532",
            *(f"{key}=/run/{key}" for key in ("ServerKeyFile", "ServerCertificateFile")),
            "TrustedCertificateFile=/run/ca",
        ),
        f"mkdir -p {_WRAPPERS}\n",
        f"mount -t tmpfs -o nodev,mode=755 tmpfs {_WRAPPERS}\n",
        f"install -D -m 4511 /usr/bin/true {_WRAPPERS}/bin/unix_chkpwd\n",
        f"mount -o remount,bind,ro,nodev {_WRAPPERS}\n",
        f"grep -q superusers= {_GRUB} || sed -i '1i set superusers=\"root\"' {_GRUB}\n",
        f"grep -q {_BREAK_GLASS} {_GRUB} || echo 'menuentry \"{_BREAK_GLASS}\" {{' >> {_GRUB}\n",
        "ln -sfn $(readlink -f /run/current-system) /run/booted-system\n",
        "echo integrity > /sys/kernel/security/lockdown\n",
        f"install -d -o www-data {_WEB}\n",
        _unit(
            "web.service", *_SLEEPS, "User=www-data", f"WorkingDirectory={_WEB}", *_CONFINED
        ),
        # What is wanted stays loaded when it is stopped, as enabled units do.
        _timer(f"{_HEARTBEAT}.timer", f"Wants={_SHIPPER}"),
        _timer(_ANTIVIRUS),
        _unit(_SHIPPER, *_SLEEPS),
        _unit(_WATCH, *_SLEEPS),
        f"systemctl daemon-reload\nsystemctl start {' '.join(_STARTED)}\n",
    )
)  # fmt: skip
"""What NixOS's modules make: files of the same form in the same places, and units of the same
names that only sleep."""


@dataclass(frozen=True)
class Loosening:
    """Two scripts for root's shell; `also` are checks whose answer changes along with it."""

    loosen: str
    mend: str
    also: dict[str, str] = field(default_factory=dict)


def _sshd(line: str) -> Loosening:
    # sshd takes the first of two values.
    return Loosening(f"sed -i '1i {line}' {_SSHD_CONFIG}", f"sed -i 1d {_SSHD_CONFIG}")


def _sysctl(key: str, value: int) -> Loosening:
    return Loosening(f"sysctl -qw {key}={value}", f"sysctl -qw {key}={_SYSCTL[key]}")


def _over(path: str, text: str) -> Loosening:
    """For what a kernel takes back in no way: another file is mounted over the kernel's."""
    also = {"mounts.masked": "fail"} if path.startswith(("/proc/", "/sys/")) else {}
    return Loosening(
        f"echo '{text}' > /run/over && mount --bind /run/over {path}", f"umount {path}", also
    )


def _frozen(key: str) -> Loosening:
    return _over(f"/proc/sys/{key.replace('.', '/')}", "0")


def _remount(path: str, options: str) -> Loosening:
    return Loosening(
        f"mount -o remount,bind,{options} {path}",
        f"mount -o remount,bind,noexec,nosuid,nodev {path}",
    )


def _rules(*commands: str) -> Loosening:
    return Loosening(" && ".join(commands), "nft -f /etc/nftables.conf")


def _nix(key: str, value: str) -> Loosening:
    # Nix takes the last of two values.
    return Loosening(
        f"echo '{key} = {value}' >> /etc/nix/nix.conf", "sed -i '$d' /etc/nix/nix.conf"
    )


def _user(passwd: str, shadow: str = "") -> Loosening:
    name = passwd.split(":", maxsplit=1)[0]
    loosen = f"echo '{passwd}' >> /etc/passwd"
    if shadow:
        loosen += f" && echo '{shadow}' >> /etc/shadow"
    return Loosening(loosen, f"sed -i '/^{name}:/d' /etc/passwd /etc/shadow")


def _wrapper(put: str, take: str) -> Loosening:
    opened = f"mount -o remount,bind,rw,nodev {_WRAPPERS}"
    closed = f"mount -o remount,bind,ro,nodev {_WRAPPERS}"
    return Loosening(f"{opened} && {put} && {closed}", f"{opened} && {take} && {closed}")


def _web(line: str) -> Loosening:
    directory = "/run/systemd/system/web.service.d"
    return Loosening(
        f"mkdir -p {directory} && printf '[Service]\\n{line}\\n' > {directory}/loose.conf"
        " && systemctl daemon-reload",
        f"rm -r {directory} && systemctl daemon-reload",
        {"units.changed": "fail"},
    )


def _stopped(unit: str) -> Loosening:
    return Loosening(f"systemctl stop {unit}", f"systemctl start {unit}")


def _away(path: str) -> Loosening:
    return Loosening(f"mv {path} {path}.away", f"mv {path}.away {path}")


_HASH = "$y$j9T$abc"
_LISTEN = 'import signal,socket; s=socket.create_server(("0.0.0.0", 4444)); signal.pause()'
_LISTENER = f"python3 -c '{_LISTEN}' > /dev/null 2>&1 & echo $! > /run/listener"

LOOSENINGS: dict[str, Loosening] = {
    "mounts.root-room": Loosening(
        "mount -o remount,size=$(($(df --output=used -k / | tail -n 1) * 21 / 20))k /",
        "mount -o remount,size=2G /",
    ),
    # Root alone may write there: mounts.user-exec has no part in it.
    "mounts.noexec": _remount("/etc/nixos", "exec,nosuid,nodev"),
    "mounts.user-exec": Loosening(
        f"mkdir -p {_NIX['buildDirectory']}"
        f" && mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs {_NIX['buildDirectory']}",
        f"umount {_NIX['buildDirectory']}",
    ),
    "mounts.nosuid": _remount("/srv", "noexec,suid,nodev"),
    "mounts.nodev": _remount("/srv", "noexec,nosuid,dev"),
    "mounts.store": Loosening(
        "mount -o remount,bind,rw,nosuid,nodev /nix/store",
        "mount -o remount,bind,ro,nosuid,nodev /nix/store",
    ),
    "mounts.wrappers": Loosening(
        f"mount -o remount,bind,rw,nodev {_WRAPPERS}",
        f"mount -o remount,bind,ro,nodev {_WRAPPERS}",
    ),
    "mounts.swap": Loosening(
        f"cd {_PERSIST} && dd if=/dev/zero of=swap bs=1M count=8 status=none && chmod 600 swap"
        " && mkswap -q swap && swapon swap",
        f"swapoff {_PERSIST}/swap && rm {_PERSIST}/swap",
    ),
    "persistence.directories": Loosening(
        "umount /etc/nixos",
        f"mount --bind {_PERSIST}/etc/nixos /etc/nixos"
        " && mount -o remount,bind,noexec,nosuid,nodev /etc/nixos",
    ),
    "persistence.owners": Loosening(
        "install -d -o 4242 /srv/drifted",
        "rmdir /srv/drifted",
        {"persistence.ownerless": "fail"},
    ),
    # Deeper than persistence.owners looks.
    "persistence.ownerless": Loosening(
        f"install -o 4242 /dev/null {_WEB}/lost", f"rm {_WEB}/lost"
    ),
    "persistence.writable": Loosening(
        f"install -m 1666 /dev/null {_WEB}/open", f"rm {_WEB}/open"
    ),
    "mounts.masked": Loosening("mount -t tmpfs -o ro,nosuid,nodev,noexec none /proc/fs",
                               "umount /proc/fs"),
    "ssh.keys": Loosening(
        "chmod g+w /etc/ssh/authorized_keys.d/root", "chmod g-w /etc/ssh/authorized_keys.d/root"
    ),
    "audit.log": Loosening(
        "chmod o+r /var/log/audit/audit.log", "chmod o-r /var/log/audit/audit.log"
    ),
    "users.hashes": Loosening(
        "cp -p /etc/shadow /run/shadow && sed -i 's/^root:[^:]*/root:$1$a$b/' /etc/shadow",
        "cp -p /run/shadow /etc/shadow",
        {"users.passwords": "fail"},
    ),
    "users.groups": Loosening(
        "echo 'more:x:0:www-data' >> /etc/group", "sed -i '/^more:/d' /etc/group"
    ),
    "users.sudoers": Loosening(
        "echo 'www-data ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers", "rm /etc/sudoers"
    ),
    "users.capabilities": Loosening(
        "install /usr/bin/true /srv/left && setcap cap_net_raw+ep /srv/left", "rm /srv/left"
    ),
    # The other one stays closed, so that sshd -T goes on answering.
    "persistence.host-keys": Loosening(
        f"chmod 644 {_LAYOUT['hostKeys'][1]['path']}", f"chmod 600 {_LAYOUT['hostKeys'][1]['path']}"
    ),
    "persistence.machine-id": _over("/etc/machine-id", "0123456789abcdef0123456789abcdef"),
    "persistence.uid-maps": _away(_VERIFY["files"]["uidMaps"]),
    "persistence.secrets": Loosening(
        f"install -D -m 644 /dev/null {_PERSIST}/etc/wireguard/private.key",
        f"rm -r {_PERSIST}/etc/wireguard",
    ),
    "ssh.passwords": _sshd("PasswordAuthentication yes"),
    "ssh.methods": _sshd("HostbasedAuthentication yes"),
    "ssh.root": _sshd("PermitRootLogin yes"),
    "ssh.forwarding": _sshd("AllowTcpForwarding yes"),
    "ssh.users-files": _sshd("PermitUserEnvironment yes"),
    "ssh.limits": _sshd("MaxAuthTries 20"),
    "ssh.log": _sshd("LogLevel INFO"),
    "ssh.key-exchange": _sshd("KexAlgorithms diffie-hellman-group14-sha1"),
    "ssh.ciphers": _sshd("Ciphers aes128-cbc"),
    "ssh.signatures": _sshd("RequiredRSASize 1024"),
    "ssh.authorized-keys": _sshd("AuthorizedKeysFile .ssh/authorized_keys"),
    "ssh.host-keys": Loosening(
        f"cp -p {_LAYOUT['hostKeys'][0]['path']} /etc/ssh/other"
        f" && sed -i '1i HostKey /etc/ssh/other' {_SSHD_CONFIG}",
        f"sed -i 1d {_SSHD_CONFIG} && rm /etc/ssh/other",
    ),
    "ssh.sftp": _sshd("Subsystem sftp internal-sftp"),
    "firewall.input": _rules("nft insert rule inet nixos-fw input accept"),
    "firewall.ssh": Loosening(
        f"sed -i 's/\"port\": 22/\"port\": 22, \"interfaces\": [\"tailscale0\"]/' {_LISTENERS}",
        f"sed -i 's/, \"interfaces\": .\"tailscale0\".//' {_LISTENERS}",
    ),
    "firewall.vpn": _rules("nft add rule inet nixos-fw input-allow iifname tailscale0 accept"),
    "firewall.log": _rules("sed '/ prefix /d' /etc/nftables.conf > /run/nft", "nft -f /run/nft"),
    "firewall.egress": _rules(
        f"nft flush table inet {policy.load('firewall')['egress']['table']}"
    ),
    "firewall.listeners": Loosening(
        f"{_LISTENER}; until ss -Htln | grep -q :4444; do sleep 0.1; done",
        "kill $(cat /run/listener)",
    ),
    "nix.allowed-users": _nix("allowed-users", "*"),
    "nix.trusted-users": _nix("trusted-users", "root guest"),
    "nix.settings": _nix("sandbox", "false"),
    "nix.channels": Loosening(
        "echo 'https://channels.example.org/unstable nixos' > /root/.nix-channels",
        "rm /root/.nix-channels",
    ),
    "users.root": _user("toor:x:0:0::/root:/bin/sh"),
    "users.empty-passwords": _user("guest:x:5000:5000::/:/bin/sh", "guest::1::::::"),
    "users.passwords": _user("guest:x:5000:5000::/:/bin/sh", f"guest:{_HASH}:1::::::"),
    "users.sudo": _wrapper(
        f"install -m 4755 /usr/bin/true {_WRAPPERS}/bin/sudo", f"rm {_WRAPPERS}/bin/sudo"
    ),
    "users.wrappers": _wrapper(
        f"install -m 4511 /usr/bin/true {_WRAPPERS}/bin/ping", f"rm {_WRAPPERS}/bin/ping"
    ),
    "users.wrappers-owner": _wrapper(
        f"chown www-data {_WRAPPERS}/bin/unix_chkpwd",
        f"chown root {_WRAPPERS}/bin/unix_chkpwd && chmod 4511 {_WRAPPERS}/bin/unix_chkpwd",
    ),
    "users.setuid": Loosening("install -m 4755 /usr/bin/true /srv/left", "rm /srv/left"),
    "users.packages": Loosening(
        f"mkdir -p /run/sw && touch /run/sw/nano && mount --bind /run/sw {_PROFILE}/sw/bin",
        f"umount {_PROFILE}/sw/bin",
        {"mounts.masked": "fail"},
    ),
    "audit.enabled": Loosening(
        "auditctl -e 0",
        "auditctl -e 1",
        {"audit.locked": "n/a", "audit.lost": "n/a", "audit.backlog": "n/a"},
    ),
    "audit.rules": Loosening("auditctl -D", "auditctl -R /etc/paranoid/audit.rules"),
    "audit.exceptions": Loosening(
        "auditctl -A never,exit -F arch=b64 -S execve", "auditctl -R /etc/paranoid/audit.rules"
    ),
    "audit.lost": Loosening(
        "auditctl -r 1 && for n in $(seq 50); do /usr/bin/true; done; auditctl -r 0",
        "auditctl --reset-lost",
    ),
    "audit.backlog": Loosening("auditctl -b 64", "auditctl -b 8192"),
    "audit.reader": Loosening(
        "systemctl stop auditd.service systemd-journald-audit.socket",
        "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket"
        " systemd-journald.service && systemctl start systemd-journald-audit.socket"
        " systemd-journald.service auditd.service && auditctl -e 1 && auditctl --reset-lost",
    ),
    "kernel.addresses": _sysctl("kernel.kptr_restrict", 0),
    "kernel.ptrace": _sysctl("kernel.yama.ptrace_scope", 0),
    "kernel.bpf": _frozen("kernel.unprivileged_bpf_disabled"),
    "kernel.bpf-jit": _sysctl("net.core.bpf_jit_harden", 0),
    "kernel.kexec": _frozen("kernel.kexec_load_disabled"),
    "kernel.sysrq": _sysctl("kernel.sysrq", 1),
    "kernel.perf": _sysctl("kernel.perf_event_paranoid", 1),
    "kernel.memory": _sysctl("kernel.randomize_va_space", 1),
    "kernel.panic": _sysctl("kernel.panic", 0),
    "kernel.terminals": _sysctl("dev.tty.ldisc_autoload", 1),
    "kernel.suid-dump": _sysctl("fs.suid_dumpable", 1),
    "kernel.links": _sysctl("fs.protected_regular", 0),
    "kernel.redirects": _sysctl("net.ipv4.conf.all.accept_redirects", 1),
    "kernel.source-route": _sysctl("net.ipv4.conf.default.accept_source_route", 1),
    "kernel.network": _sysctl("net.ipv4.tcp_rfc1337", 0),
    "kernel.modules-locked": _frozen("kernel.modules_disabled"),
    "kernel.user-namespaces": Loosening(
        "sysctl -qw user.max_user_namespaces=10000",
        f"sysctl -qw user.max_user_namespaces={policy.load('kernel')['maxUserNamespaces']}",
    ),
    "kernel.parameters": _over("/proc/cmdline", "quiet"),
    "kernel.modules": _over("/proc/modules", "dccp 16384 0 - Live 0x0"),
    "kernel.lockdown": _over("/sys/kernel/security/lockdown", "[none] integrity confidentiality"),
    "kernel.processor": _over(
        "/sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable: no microcode"
    ),
    "kernel.core-dumps": Loosening(
        "sed -i s/none/external/ /etc/systemd/coredump.conf",
        "sed -i s/external/none/ /etc/systemd/coredump.conf",
    ),
    "vpn.wireguard": Loosening(
        _unit("wireguard-wg0.service", *_SLEEPS) + "systemctl start wireguard-wg0",
        "systemctl stop wireguard-wg0",
    ),
    "units.changed": Loosening(
        "mkdir -p /run/systemd/system/systemd-journald.service.d"
        " && printf '[Unit]\\nDescription=x\\n'"
        " > /run/systemd/system/systemd-journald.service.d/x.conf && systemctl daemon-reload",
        "rm -r /run/systemd/system/systemd-journald.service.d && systemctl daemon-reload",
    ),
    "boot.shell": Loosening(
        _unit("debug-shell.service", *_SLEEPS) + "systemctl start debug-shell",
        "systemctl stop debug-shell && rm /etc/systemd/system/debug-shell.service"
        " && systemctl daemon-reload",
    ),
    # Without a network, so that systemd's count of the exposure stays low.
    "units.users": _web("User=root\\nPrivateNetwork=yes"),
    "units.confined": _web("LockPersonality=no"),
    "units.persist": _web("InaccessiblePaths="),
    "units.exposure": _web("CapabilityBoundingSet=~"),
    "units.failed": Loosening(
        _unit("broken.service", "[Service]", "Type=oneshot", "ExecStart=/usr/bin/false")
        + "systemctl start broken || true",
        "systemctl reset-failed broken",
    ),
    "units.watch": _stopped(_WATCH),
    "units.antivirus": _stopped(_ANTIVIRUS),
    "units.signatures": Loosening(
        f"touch -d '9 days ago' {_SIGNATURES}/main.cvd", f"touch {_SIGNATURES}/main.cvd"
    ),
    "logs.journal": Loosening(
        _file("/etc/systemd/journald.conf.d/99-loose.conf", "[Journal]", "Storage=volatile"),
        "rm /etc/systemd/journald.conf.d/99-loose.conf",
    ),
    "logs.sent": _stopped(_SHIPPER),
    "logs.sealed": Loosening(
        "sed -i s/https:/http:/ /etc/systemd/journal-upload.conf",
        "sed -i s/http:/https:/ /etc/systemd/journal-upload.conf",
    ),
    "logs.heartbeat": _stopped(f"{_HEARTBEAT}.timer"),
    "boot.editor": Loosening(
        f"sed -i s/superusers=/nobody=/ {_GRUB}", f"sed -i s/nobody=/superusers=/ {_GRUB}"
    ),
    "boot.break-glass": Loosening(
        f"sed -i s/{_BREAK_GLASS}/breakglass/g {_GRUB}",
        f"sed -i s/breakglass/{_BREAK_GLASS}/g {_GRUB}",
    ),
    "boot.kernel": Loosening(
        "mkdir -p /run/old && touch /run/old/kernel && ln -sfn /run/old /run/booted-system",
        "ln -sfn $(readlink -f /run/current-system) /run/booted-system",
    ),
    "time.updates": Loosening(
        f"touch -h -d '60 days ago' {_PROFILE}", f"touch -h {_PROFILE}"
    ),
}  # fmt: skip

IN_NAMESPACE: dict[str, tuple[str, dict[str, str]]] = {
    "mounts.root-volatile": (
        f"mount --bind {_PERSIST} /",
        {"mounts.root-limit": "n/a"},
    ),
    "mounts.root-limit": ("mount -t tmpfs -o noexec,nosuid,nodev,mode=755 tmpfs /", {}),
}
"""The root itself cannot be loosened and mended: another one is laid over it in a mount
namespace. Of each the script, and the checks whose answer changes along with it."""

NOT_LOOSENED: dict[str, str] = {
    "mounts.boot": "the boot file system is ext4 under BIOS, whose files have owners",
    "mounts.encrypted": "it fails: the installer makes no encrypted disk",
    "audit.locked": "it fails until the last test, since a lock is for the rest of the boot",
    "kernel.memfd": "Debian's kernel has no vm.memfd_noexec",
    "kernel.io-uring": "Debian's kernel has no kernel.io_uring_disabled",
    "boot.secure": "the machine is started by BIOS",
    "devices.usb": "the machine has no USB",
    "devices.wireless": "the machine has no radio",
    "kernel.apparmor": "it fails: no profile is loaded",
    "store.integrity": "the store is read-only, and a mount over it is mounts.masked's",
    "vpn.tailscale": "there is no tailscale, and nothing but the store executes",
    "users.pam": "it fails: Debian's common-auth ends with pam_permit",
    "time.supported": "Debian's os-release has no SUPPORT_END",
    "time.clock": "there is no timedated, and nothing but the store executes",
}
"""Checks that stay as they are on the test system, and why; unit tests loosen them."""
