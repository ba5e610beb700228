"""Writes synthetic audit logs of executions: seven records an event, as auditd writes them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = 200
INTERPRETER = "/nix/store/0c5mywncjvlbsy65gn5bf1jjdgw3kv1j-bash-interactive-5.2p37/bin/bash"
LOADER = "/nix/store/g2jzxk3s7cnkhh8yq55l4fbvf639zy37-glibc-2.40-66/lib/ld-linux-x86-64.so.2"
_LETTERS = "0123456789abcdfghijklmnpqrsvwxyz"


def events(count: int, *, interpreted: float, outside: float, seed: int = 1) -> Iterator[str]:
    """`count` events; the shares of shells with a script of the store, and of alerts."""
    dice = random.Random(seed)
    programs = [
        "/nix/store/{}-tool-{}.{}/bin/tool{}".format(
            "".join(dice.choices(_LETTERS, k=32)), n % 9, n, n
        )
        for n in range(PROGRAMS)
    ]
    for serial in range(count):
        chance = dice.random()
        program = programs[min(int(dice.expovariate(0.05)), PROGRAMS - 1)]
        name, argv = program, [program, "--verbose", f"--item={serial}", "/var/lib/data/file"]
        if chance < outside:
            name, program = "/srv/tool", "/srv/tool"
        elif chance < outside + interpreted:
            script = f"{program}-script"
            name, program, argv = script, INTERPRETER, [INTERPRETER, "-e", script, f"{serial}"]
        yield event(serial, program, name, argv, pid=300 + serial % 30_000)


def event(serial: int, exe: str, name: str, argv: list[str], *, pid: int) -> str:
    """One event, complete, in auditd's raw form with EOE."""
    head = f"msg=audit({1_764_000_000 + serial // 1000}.{serial % 1000:03d}:{serial + 1}):"
    device = "fe:02" if name.startswith("/nix/store/") else "fe:03"
    inode = sum(name.encode()) * 37
    words = " ".join(f'a{n}="{word}"' for n, word in enumerate(argv))
    title = "\0".join(argv).encode()[:128].hex().upper()
    caps = "cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0"
    tail = f"ouid=0 ogid=0 rdev=00:00 nametype=NORMAL {caps}"
    return (
        f"type=SYSCALL {head} arch=c000003e syscall=59 success=yes exit=0 a0=55d0c8 a1=55d0e0"
        f" a2=55d100 a3=8 items=2 ppid={pid - 1} pid={pid} auid=1000 uid=1000 gid=100 euid=1000"
        f" suid=1000 fsuid=1000 egid=100 sgid=100 fsgid=100 tty=pts0 ses=3"
        f' comm="{name.rpartition("/")[2][:15]}" exe="{exe}" subj=unconfined key="exec"\n'
        f"type=EXECVE {head} argc={len(argv)} {words}\n"
        f'type=CWD {head} cwd="/home/alice"\n'
        f'type=PATH {head} item=0 name="{name}" inode={inode} dev={device} mode=0100555 {tail}\n'
        f'type=PATH {head} item=1 name="{LOADER}" inode=4711 dev=fe:02 mode=0100555 {tail}\n'
        f"type=PROCTITLE {head} proctitle={title}\n"
        f"type=EOE {head} \n"
    )


def write(path: Path, count: int, *, interpreted: float = 0.0, outside: float = 0.001) -> None:
    """Writes `count` events to `path`."""
    with path.open("w", encoding="ascii") as out:
        for text in events(count, interpreted=interpreted, outside=outside):
            out.write(text)
