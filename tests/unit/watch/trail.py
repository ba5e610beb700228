"""Builds audit records in the forms of the kernel and of auditd, for the tests."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

from paranoid_install import policy
from paranoid_install.watch.events import Counts
from paranoid_install.watch.judge import Judge
from paranoid_install.watch.records import Record
from paranoid_install.watch.rules import Rules, read
from paranoid_install.watch.scan import Scanner
from paranoid_install.watch.verdicts import Tally, Verdict

DATA = Path(__file__).parent / "data"
HASH = "0c5mywncjvlbsy65gn5bf1jjdgw3kv1j"
STORE = f"/nix/store/{HASH}"
HELLO = f"{STORE}-hello-2.12/bin/hello"
BASH = f"{STORE}-bash-5.2p37/bin/bash"
PYTHON = f"{STORE}-python3-3.13.1/bin/python3.13"
LOADER = f"{STORE}-glibc-2.40/lib/ld-linux-x86-64.so.2"
DEVICE = "fe:02"


@functools.cache
def rules() -> Rules:
    return read(policy.load("watch"))


def encode(value: str | bytes | None) -> str:
    """A value as audit_log_untrustedstring writes it."""
    if value is None:
        return "(null)"
    raw = value.encode() if isinstance(value, str) else value
    if any(byte < 0x21 or byte > 0x7E or byte == 0x22 for byte in raw):
        return raw.hex().upper()
    return f'"{raw.decode()}"'


@dataclass
class Exec:
    """One execution; `lines` are its records as auditd writes them."""

    exe: str | bytes = HELLO
    argv: tuple[str | bytes, ...] = ("hello",)
    names: tuple[tuple[str | bytes | None, str], ...] | None = None
    cwd: str | bytes = "/home/alice"
    serial: int = 100
    seconds: int = 1_764_000_000
    success: str = "yes"
    exit: int = 0
    pid: int = 700
    ppid: int = 600
    uid: int = 1000
    auid: int = 1000
    arch: str = "c000003e"
    syscall: int = 59
    mode: str = "0100555"
    owner: int = 0
    comm: str | bytes = "hello"
    node: str = ""
    tail: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return f"msg=audit({self.seconds}.123:{self.serial}):"

    def paths(self) -> tuple[tuple[str | bytes | None, str], ...]:
        return self.names if self.names is not None else ((self.exe, DEVICE), (LOADER, DEVICE))

    def bodies(self) -> list[tuple[str, str]]:
        paths = self.paths()
        found = [
            (
                "SYSCALL",
                f"arch={self.arch} syscall={self.syscall} success={self.success} exit={self.exit}"
                f" a0=5ac272 a1=69bfb8 a2=69bfc0 a3=8 items={len(paths)} ppid={self.ppid}"
                f" pid={self.pid} auid={self.auid} uid={self.uid} gid=100 euid={self.uid} suid=0"
                f" fsuid=0 egid=100 sgid=0 fsgid=0 tty=pts0 ses=3 comm={encode(self.comm)}"
                f' exe={encode(self.exe)} subj=unconfined key="exec"',
            ),
            (
                "EXECVE",
                f"argc={len(self.argv)} "
                + " ".join(f"a{n}={encode(word)}" for n, word in enumerate(self.argv)),
            ),
            ("CWD", f"cwd={encode(self.cwd)}"),
        ]
        found += [
            (
                "PATH",
                f"item={n} name={encode(name)} inode={len(str(name)) + 7} dev={device}"
                f" mode={self.mode} ouid={self.owner} ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0",
            )
            for n, (name, device) in enumerate(paths)
        ]
        return [*found, ("PROCTITLE", "proctitle=68656C6C6F")]

    def lines(self, *, eoe: bool = False) -> list[bytes]:
        node = f"node={self.node} " if self.node else ""
        found = [
            f"{node}type={kind} {self.head} {body}" + self.tail.get(kind, "")
            for kind, body in self.bodies()
        ]
        if eoe:
            found.append(f"{node}type=EOE {self.head} ")
        return [line.encode("latin-1") for line in found]

    def text(self) -> bytes:
        return b"".join(line + b"\n" for line in self.lines())


def scan(
    data: bytes, *, shortcut: bool = True, size: int = 1 << 20, device: str | None = DEVICE
) -> tuple[list[Verdict], Counts, Tally]:
    """All verdicts on `data`, fed in blocks of `size`, with the counts."""
    judge = Judge(rules(), device.encode() if device else None)
    counts = Counts()

    def notice(record: Record) -> None:
        if record.type == b"KERNEL":
            judge.booted(record.id.node, record.id.milliseconds)

    scanner = Scanner(judge, counts, shortcut=shortcut, notice=notice)
    found: list[Verdict] = []
    for start in range(0, len(data), size):
        found += scanner.feed(data[start : start + size])
    found += scanner.finish()
    return found, counts, judge.tally


def reasons(one: Exec) -> list[str]:
    """Why `one` is reported; empty when it is not."""
    verdicts, _, _ = scan(one.text())
    return [reason.value for v in verdicts if v.accepted is None for reason in v.reasons]


def accepted(one: Exec) -> object:
    """The rule that accepts `one`."""
    verdicts, _, _ = scan(one.text())
    return verdicts[0].accepted if verdicts else None
