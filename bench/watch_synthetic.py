"""Writes synthetic audit logs of executions, as auditd writes them, in three mixes.

`programs`: seven records an event, PROCTITLE and EOE among them, one event after the other.
`recorded`: as most logs that people publish: neither of the two, and one event in ten has its
records between those of the next. `services`: with PROCTITLE, and between events (one in ten:
between the records of an event) what PAM and systemd write, failed searches along PATH, and files
opened.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = 200
INTERPRETER = "/nix/store/0c5mywncjvlbsy65gn5bf1jjdgw3kv1j-bash-interactive-5.2p37/bin/bash"
LOADER = "/nix/store/g2jzxk3s7cnkhh8yq55l4fbvf639zy37-glibc-2.40-66/lib/ld-linux-x86-64.so.2"
_LETTERS = "0123456789abcdfghijklmnpqrsvwxyz"


MIXES = ("programs", "recorded", "services")
MACHINES = {"x86_64": ("c000003e", 59, 257), "aarch64": ("c00000b7", 221, 56)}
"""arch=, and the numbers of execve and openat."""


def events(
    count: int, *, mix: str, machine: str, interpreted: float, outside: float, seed: int = 1
) -> Iterator[str]:
    """`count` events; the shares of shells with a script of the store, and of alerts."""
    dice = random.Random(seed)
    programs = [
        "/nix/store/{}-tool-{}.{}/bin/tool{}".format(
            "".join(dice.choices(_LETTERS, k=32)), n % 9, n, n
        )
        for n in range(PROGRAMS)
    ]
    waiting: list[str] = []
    for serial in range(count):
        chance = dice.random()
        program = programs[min(int(dice.expovariate(0.05)), PROGRAMS - 1)]
        name, argv = program, [program, "--verbose", f"--item={serial}", "/var/lib/data/file"]
        if chance < outside:
            name, program = "/srv/tool", "/srv/tool"
        elif chance < outside + interpreted:
            script = f"{program}-script"
            name, program, argv = script, INTERPRETER, [INTERPRETER, "-e", script, f"{serial}"]
        lines = event(serial * 8, program, name, argv, pid=300 + serial % 30_000, machine=machine)
        if mix == "recorded":
            lines = lines[:-2]
            if waiting:
                lines = [line for pair in zip(waiting, lines, strict=True) for line in pair]
                waiting = []
            elif dice.random() < 0.1 and serial < count - 1:
                waiting = lines
                continue
        elif mix == "services":
            others = service(serial * 8 + 1, dice, machine)
            if dice.random() < 0.1:
                lines[2:2] = others
            else:
                lines += others
        yield "".join(lines)


def _head(serial: int) -> str:
    """One hundred starts a second, eight numbers for each."""
    milliseconds = serial // 8 * 10
    return (
        f"msg=audit({1_764_000_000 + milliseconds // 1000}.{milliseconds % 1000:03d}:{serial + 1}):"
    )


def service(serial: int, dice: random.Random, machine: str) -> list[str]:
    """What else a machine records meanwhile: nothing, a login, a service, a search, a file."""
    head = _head(serial)
    arch, execve, openat = MACHINES[machine]
    who = "pid=812 uid=0 auid=1000 ses=3"
    called = (
        "a0=55d0c8 a1=55d0e0 a2=55d100 a3=8 items=1 ppid=299 pid=300 auid=1000 uid=1000 gid=100"
        " euid=1000 suid=1000 fsuid=1000 egid=100 sgid=100 fsgid=100 tty=pts0 ses=3"
        f' comm="sh" exe="{INTERPRETER}" subj=unconfined key="exec"\n'
    )
    rest = "cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0\n"
    title = f"type=PROCTITLE {head} proctitle=7368002D6300746F6F6C\n"
    match dice.randrange(5):
        case 0:
            return [
                f"type={kind} {_head(serial + n)} {who} msg='op=PAM:{kind} grantors=pam_unix"
                ' acct="alice" exe="/run/wrappers/bin/sudo" hostname=? addr=? terminal=/dev/pts/0'
                " res=success'\n"
                for n, kind in enumerate(("USER_AUTH", "USER_ACCT", "CRED_ACQ", "USER_START"))
            ]
        case 1:
            return [
                f"type=SERVICE_{kind} {_head(serial + n)} pid=1 uid=0 auid=4294967295"
                " ses=4294967295"
                ' msg=\'unit=nix-gc comm="systemd" exe="/nix/store/systemd" hostname=? addr=?'
                " terminal=? res=success'\n"
                for n, kind in enumerate(("START", "STOP"))
            ]
        case 2:
            return [
                f"type=SYSCALL {head} arch={arch} syscall={execve} success=no exit=-2 {called}",
                f'type=CWD {head} cwd="/home/alice"\n',
                f'type=PATH {head} item=0 name="/run/wrappers/bin/tool" nametype=UNKNOWN {rest}',
                title,
            ]
        case 3:
            return [
                f"type=SYSCALL {head} arch={arch} syscall={openat} success=yes exit=3 {called}",
                f'type=CWD {head} cwd="/home/alice"\n',
                f'type=PATH {head} item=0 name="/etc/passwd" inode=99 dev=fe:03 mode=0100644 ouid=0'
                f" ogid=0 rdev=00:00 nametype=NORMAL {rest}",
                title,
            ]
    return []


def event(
    serial: int, exe: str, name: str, argv: list[str], *, pid: int, machine: str = "x86_64"
) -> list[str]:
    """One event, complete, in auditd's raw form with EOE."""
    head = _head(serial)
    arch, execve, _ = MACHINES[machine]
    device = "fe:02" if name.startswith("/nix/store/") else "fe:03"
    inode = sum(name.encode()) * 37
    words = " ".join(f'a{n}="{word}"' for n, word in enumerate(argv))
    title = "\0".join(argv).encode()[:128].hex().upper()
    caps = "cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0"
    tail = f"ouid=0 ogid=0 rdev=00:00 nametype=NORMAL {caps}\n"
    return [
        f"type=SYSCALL {head} arch={arch} syscall={execve} success=yes exit=0 a0=55d0c8 a1=55d0e0"
        f" a2=55d100 a3=8 items=2 ppid={pid - 1} pid={pid} auid=1000 uid=1000 gid=100 euid=1000"
        f" suid=1000 fsuid=1000 egid=100 sgid=100 fsgid=100 tty=pts0 ses=3"
        f' comm="{name.rpartition("/")[2][:15]}" exe="{exe}" subj=unconfined key="exec"\n',
        f"type=EXECVE {head} argc={len(argv)} {words}\n",
        f'type=CWD {head} cwd="/home/alice"\n',
        f'type=PATH {head} item=0 name="{name}" inode={inode} dev={device} mode=0100555 {tail}',
        f'type=PATH {head} item=1 name="{LOADER}" inode=4711 dev=fe:02 mode=0100555 {tail}',
        f"type=PROCTITLE {head} proctitle={title}\n",
        f"type=EOE {head} \n",
    ]


def write(
    path: Path,
    count: int,
    *,
    mix: str = "programs",
    machine: str = "x86_64",
    interpreted: float = 0.3,
    outside: float = 0.001,
) -> None:
    """Writes `count` executions to `path`."""
    with path.open("w", encoding="ascii") as out:
        for text in events(
            count, mix=mix, machine=machine, interpreted=interpreted, outside=outside
        ):
            out.write(text)
