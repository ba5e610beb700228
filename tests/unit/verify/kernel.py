"""Two network namespaces with cables between them: packets that this kernel's nft judges."""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
PORTS = (22, 80, 443, 546, 2222, 4444, 8080, 40000)
TARGETS = {"eth0": ("192.0.2.1", "2001:db8:1::1"), "tailscale0": ("100.100.0.1", "2001:db8:2::1")}
SOURCES = {
    "eth0": ("198.51.100.7", "10.9.8.7", "203.0.113.200", "2600:1::7", "2001:db8:9::7"),
    "tailscale0": ("100.100.0.2", "2001:db8:2::2"),
}
_NEWNET = 0x40000000
_SECONDS = 0.04


@dataclass(frozen=True)
class Probe:
    """A first packet: TCP or UDP, from one end to another."""

    interface: str
    tcp: bool
    source: str
    sport: int
    port: int

    @property
    def target(self) -> str:
        return TARGETS[self.interface][":" in self.source]


class Lab:
    """`here` is the machine with the rules; `there` is everybody else."""

    def __init__(self, here: int, there: int) -> None:
        self._here, self._there = here, there
        self._listening: list[socket.socket] = []

    def load(self, rules: str) -> tuple[dict[str, Any], ...] | None:
        """Load these rules alone, and what nft says of them; None when it refuses them."""
        script = "nft flush ruleset && nft -f - && nft -j list ruleset"
        made = subprocess.run(
            ["nsenter", "-t", str(self._here), "-n", "sh", "-c", f"PATH=$PATH:/usr/sbin; {script}"],
            input=rules, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        return tuple(json.loads(made.stdout)["nftables"]) if made.returncode == 0 else None

    def listen(self) -> None:
        for port in PORTS:
            for family, any_ in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    made = inside(self._here, functools.partial(socket.socket, family, kind))
                    if family == socket.AF_INET6:
                        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    made.bind((any_, port))
                    made.setblocking(False)
                    if kind == socket.SOCK_STREAM:
                        made.listen(256)
                    self._listening.append(made)

    def close(self) -> None:
        for made in self._listening:
            made.close()

    def send(
        self, probes: list[tuple[str, bool, str, int]], seconds: float = _SECONDS
    ) -> dict[Probe, bool]:
        """Send a first packet for each interface, protocol, source and port: did it get in?

        Ends after `seconds` in which nothing came, or when all did.
        """
        found: dict[Probe, bool] = {}
        marks: dict[bytes, Probe] = {}
        waiting: dict[int, tuple[socket.socket, Probe]] = {}
        with ExitStack() as stack:
            for interface, tcp, source, port in probes:
                family = socket.AF_INET6 if ":" in source else socket.AF_INET
                kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
                sender = stack.enter_context(
                    inside(self._there, functools.partial(socket.socket, family, kind))
                )
                sender.setblocking(False)
                sender.bind((source, 0))
                probe = Probe(interface, tcp, source, sender.getsockname()[1], port)
                found[probe] = False
                if tcp:
                    sender.connect_ex((probe.target, port))
                    waiting[sender.fileno()] = (sender, probe)
                else:
                    mark = os.urandom(8)
                    marks[mark] = probe
                    sender.sendto(mark, (probe.target, port))
            self._collect(found, marks, waiting, seconds)
        return found

    def _collect(
        self,
        found: dict[Probe, bool],
        marks: dict[bytes, Probe],
        waiting: dict[int, tuple[socket.socket, Probe]],
        seconds: float,
    ) -> None:
        poll = select.poll()
        readers = {s.fileno(): s for s in self._listening}
        for number in readers:
            poll.register(number, select.POLLIN)
        for number in waiting:
            poll.register(number, select.POLLOUT)
        # Those that are dropped never answer.
        while not all(found.values()) and (events := poll.poll(seconds * 1000)):
            for number, _ in events:
                if number in waiting:
                    sender, probe = waiting.pop(number)
                    poll.unregister(number)
                    found[probe] = _is_connected(sender)
                else:
                    self._receive(readers[number], found, marks)

    def _receive(
        self, receiver: socket.socket, found: dict[Probe, bool], marks: dict[bytes, Probe]
    ) -> None:
        if receiver.type == socket.SOCK_STREAM:
            receiver.accept()[0].close()
            return
        mark = receiver.recv(64)
        if mark in marks:
            found[marks[mark]] = True


def _is_connected(sender: socket.socket) -> bool:
    """Whether the first packet was answered; the third one may be refused, with an error."""
    try:
        sender.getpeername()
    except OSError:
        return sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    return True


def inside(process: int, make: Callable[[], T]) -> T:
    """What a function returns in the network of a process."""
    made: list[T] = []

    def run() -> None:
        with open(f"/proc/{process}/ns/net") as namespace:  # noqa: PTH123 - a descriptor
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), _NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        made.append(make())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return made[0]


def _sh(process: int, script: str) -> None:
    subprocess.run(
        ["nsenter", "-t", str(process), "-n", "sh", "-ec", f"PATH=$PATH:/usr/sbin:/sbin; {script}"],
        check=True, timeout=30,
    )  # fmt: skip


@contextmanager
def _namespace() -> Iterator[int]:
    script = "echo; exec sleep 3600"
    with subprocess.Popen(["unshare", "-n", "sh", "-c", script], stdout=subprocess.PIPE) as held:
        try:
            assert held.stdout is not None
            if not held.stdout.readline():
                pytest.skip("unshare may not make a network here")
            yield held.pid
        finally:
            held.kill()


def _connect(here: int, there: int, name: str, index: int) -> None:
    near, far, peer = f"02:00:00:00:{index:02}:01", f"02:00:00:00:{index:02}:02", f"peer{index}"
    _sh(
        here,
        f"ip link add {name} address {near} type veth peer name {peer} address {far} netns {there};"
        f"ip link set {name} up",
    )
    _sh(there, f"ip link set {peer} up")
    # Neighbours are fixed: their discovery would run through the rules as well.
    for address in TARGETS[name]:
        length, nodad = ("128", "nodad") if ":" in address else ("32", "")
        _sh(here, f"ip addr add {address}/{length} dev {name} {nodad}")
        _sh(there, f"ip route add {address}/{length} dev {peer};"
                   f"ip neigh add {address} lladdr {near} dev {peer} nud permanent")  # fmt: skip
    for address in SOURCES[name]:
        length, nodad = ("128", "nodad") if ":" in address else ("32", "")
        _sh(there, f"ip addr add {address}/{length} dev {peer} {nodad}")
        _sh(here, f"ip route add {address}/{length} dev {name};"
                  f"ip neigh add {address} lladdr {far} dev {name} nud permanent")  # fmt: skip


@contextmanager
def lab() -> Iterator[Lab]:
    """The namespaces, connected."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for program in ("unshare", "nsenter", "nft", "ip"):
        if shutil.which(program, path=path) is None:
            pytest.skip(f"{program} is not installed")
    if os.geteuid() != 0:
        pytest.skip("only root can move between namespaces")
    with _namespace() as here, _namespace() as there:
        for index, name in enumerate(TARGETS):
            _connect(here, there, name, index)
        _sh(here, "ip link set lo up")
        made = Lab(here, there)
        made.listen()
        try:
            yield made
        finally:
            made.close()
