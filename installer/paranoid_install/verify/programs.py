"""Facts that programs of the running machine tell. Each asks, none changes anything."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paranoid_install import policy
from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner
from paranoid_install.verify import files, parse, sshd_config
from paranoid_install.verify.facts import (
    Group,
    Listener,
    NotApplicable,
    Piece,
    SshdBlock,
    Unknown,
    User,
)
from paranoid_install.verify.loginuid import fixed
from paranoid_install.verify.tree import Tree
from paranoid_install.verify.unit_checks import own
from paranoid_install.watch import kernel

SECONDS = 30.0
"""Time limit of each program: `systemctl show` of all units takes 12 on an emulated machine."""
_MOST_BLOCKS = 16
_MOST_USERS = 16 * 1024**2
"""Characters of a list of users."""
_LISTED = ("files", "systemd", "mymachines", "compat", "altfiles")
_PROC = Path("/proc")
# How sshd names itself once it listens: its command, and how many are at the door.
_LISTENING = re.compile(r"sshd: (\S+.*?) \[listener\]")
_CONNECTION = "user=root,host=localhost,addr=192.0.2.1,laddr=192.0.2.2,lport=22"
_UNITS = policy.load("verify")["units"]
_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "User",
    "DynamicUser",
    "WorkingDirectory",
    "InaccessiblePaths",
    "Environment",
    "FragmentPath",
    "DropInPaths",
    *_UNITS["directives"],
)


def sshd(runner: Runner, tree: Tree) -> dict[str, tuple[str, ...]] | Unknown:
    """The daemon's settings for everybody (sshd(8), -T: extended test mode)."""
    if (options := _started_with()) is not None:
        return Unknown(f"sshd was started with {options}, which sshd -T does not know")
    try:
        return parse.sshd(runner.run("sshd", "-T", timeout=SECONDS).stdout)
    except CommandFailed:
        # Of some Match blocks it wants to know for which connection: here, for none of them.
        head, blocks = sshd_config.blocks(tree, tree.etc("ssh/sshd_config"))
        if not blocks:
            raise
        argv = ("sshd", "-T", "-f", "/dev/stdin")
        return parse.sshd(runner.run(*argv, stdin=f"{head}\n", timeout=SECONDS).stdout)


def _started_with() -> str | None:
    """What a daemon that listens was told beside to take its usual file; None for nothing."""
    for path in _PROC.glob("[0-9]*/cmdline"):
        try:
            said = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        match = _LISTENING.match(said)
        words = match[1].split()[1:] if match else []
        usual = [word for word in words if word not in ("-D", "-e", "-q")]
        if usual not in ([], ["-f", "/etc/ssh/sshd_config"]):
            return " ".join(usual)
    return None


def sshd_blocks(runner: Runner, tree: Tree) -> Piece[tuple[SshdBlock, ...]]:
    """The daemon's settings for a connection that each Match block, and no other, is for.

    sshd says which blocks it finds; where these are not those that are found here, or are many,
    the answer is unknown. `Match all` puts one block in force (sshd_config(5)).
    """
    said: list[str] = []
    runner.run("sshd", "-T", "-ddd", "-C", _CONNECTION, timeout=SECONDS, on_line=said.append)
    head, blocks = sshd_config.blocks(tree, tree.etc("ssh/sshd_config"))
    if sorted(block.condition for block in blocks) != sorted(parse.sshd_conditions(said)):
        return Unknown("sshd_config: its Match blocks are in a form that is not followed")
    if len(blocks) > _MOST_BLOCKS:
        return Unknown(f"sshd_config: {len(blocks)} Match blocks are too many to ask for each")
    argv = ("sshd", "-T", "-f", "/dev/stdin", "-C", _CONNECTION)
    return tuple(
        SshdBlock(
            block.condition,
            parse.sshd(
                runner.run(
                    *argv, stdin=f"{head}\nMatch all\n{block.text}\n", timeout=SECONDS
                ).stdout
            ),
        )
        for block in blocks
    )


def ruleset(runner: Runner) -> tuple[Any, ...]:
    """The loaded rules of the packet filter (nft(8))."""
    return parse.ruleset(runner.run("nft", "-j", "list", "ruleset", timeout=SECONDS).stdout)


def listeners(runner: Runner) -> tuple[Listener, ...]:
    """Listening sockets with their programs (ss(8)).

    A client's UDP socket looks like one until it is connected (getaddrinfo(3) of sshd -T makes
    some), so what a second look does not find any more is none.
    """
    before, now = (
        parse.listeners(runner.run("ss", "-H", "-tulpn", timeout=SECONDS).stdout) for _ in range(2)
    )
    return tuple(one for one in now if one in before)


def users(runner: Runner, tree: Tree) -> tuple[User, ...] | Unknown:
    """Users as the C library finds them (getent(1)), with the persist root's password files."""
    hidden = _unlisted(tree)
    if hidden:
        return Unknown(f"nsswitch.conf: {', '.join(hidden)} need not list all its users")
    passwd, shadow = (
        runner.run("getent", database, timeout=SECONDS).stdout for database in ("passwd", "shadow")
    )
    if not passwd or not shadow:
        return Unknown("getent tells no passwords (is this root?)")
    if max(len(passwd), len(shadow)) > _MOST_USERS:
        return Unknown("there are too many users to look at")
    return parse.passwords(passwd, shadow, files.declared_passwords(tree))


def _unlisted(tree: Tree) -> list[str]:
    """Sources of users that answer for a name, and may leave it out of a list (sssd.conf(5))."""
    path = tree.etc("nsswitch.conf")
    lines = tree.text(path).split("\n") if tree.exists(path) else []
    said = [line.partition(":")[2] for line in lines if line.split(":")[0].strip() == "passwd"]
    words = re.sub(r"\[[^]]*\]|#.*", " ", said[-1]).split() if said else []
    return [word for word in words if word not in _LISTED]


def groups(runner: Runner) -> tuple[Group, ...]:
    """Groups and their members as the C library finds them (getent(1))."""
    return parse.groups(runner.run("getent", "group", timeout=SECONDS).stdout)


def audit(_runner: Runner) -> kernel.Status | Unknown:
    """The kernel's audit state, over netlink."""
    found = kernel.status(timeout=SECONDS)
    return found or Unknown("the kernel does not tell its audit state (is this root?)")


def loginuid(_runner: Runner) -> bool | Unknown:
    """Whether the number of a login is fixed, over netlink."""
    return fixed(SECONDS)


def audit_rules(runner: Runner) -> tuple[str, ...]:
    """The rules that are loaded (auditctl(8), -l: list)."""
    return parse.audit_rules(runner.run("auditctl", "-l", timeout=SECONDS).stdout)


def units(runner: Runner) -> dict[str, dict[str, str]]:
    """All loaded services, timers and sockets with the properties that checks look at."""
    wanted = f"--property={','.join(_PROPERTIES)}"
    patterns = ("*.service", "*.timer", "*.socket")
    # Without --all a unit that was stopped is left out, as if nobody had configured it.
    argv = ("systemctl", "show", "--all", wanted, "--", *patterns)
    return parse.units(runner.run(*argv, timeout=SECONDS).stdout)


def exposure(runner: Runner, units: Piece[dict[str, dict[str, str]]]) -> Piece[dict[str, float]]:
    """systemd's count for the services of paranoid.services, which are among `units`."""
    if isinstance(units, Unknown | NotApplicable):
        return units
    services = own(units)
    if not services:
        return NotApplicable("there are no services of paranoid.services")
    # All units of a machine would take a second or more; asked for some, it has no short form.
    argv = ("systemd-analyze", "security", "--no-pager", "--", *services)
    return parse.exposure(runner.run(*argv, timeout=SECONDS).stdout)


def tailscale(runner: Runner) -> str:
    """The state of Tailscale's daemon (tailscale(8)): Running, NeedsLogin, Stopped …"""
    return parse.tailscale(runner.run("tailscale", "status", "--json", timeout=SECONDS).stdout)


def clock(runner: Runner) -> dict[str, str]:
    """Whether the clock is synchronised (timedatectl(1))."""
    return parse.settings(runner.run("timedatectl", "show", timeout=SECONDS).stdout)


FROM_PROGRAMS: dict[str, Callable[[Runner], Any]] = {
    "groups": groups,
    "ruleset": ruleset,
    "listeners": listeners,
    "audit": audit,
    "audit_rules": audit_rules,
    "loginuid": loginuid,
    "units": units,
    "tailscale": tailscale,
    "clock": clock,
}
"""Pieces that programs of the running machine tell, each by itself."""
