"""The shortcut gives the same verdicts, counts and tallies as the way through every record."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paranoid_install.watch import scan as scan_module
from paranoid_install.watch.events import Event
from paranoid_install.watch.judge import Judge
from tests.unit.watch.profile import PROFILE
from tests.unit.watch.trail import BASH, DATA, DEVICE, HELLO, LOADER, PYTHON, STORE, Exec, scan

PROGRAMS = (
    HELLO,
    BASH,
    PYTHON,
    LOADER,
    f"{STORE}-busybox-1.37/bin/busybox",
    f"{STORE}-x/bin/../bin/hello",
    f"{STORE}-x/../../../srv/evil",
    f"{HELLO} (deleted)",
    "/nix/store/",
    "/nix/storefront/x",
    "/srv/evil",
    "/memfd:x (deleted)",
    "/proc/self/fd/3",
    "/run/current-system/sw/bin/hello",
    "./relative",
    "",
    'quote"d',
    b"\xff\x1b[2J\n",
    "a\x1dEXE=b",
)
WORDS = (
    *PROGRAMS,
    "-c",
    "-x",
    "-o",
    "--",
    "-",
    "msg=audit(1764000000.123:100):",
    "x\ntype=EOE msg=audit(1764000000.123:100): ",
    "\x1b[31m",
    "(null)",
    "4142",
)

paths = st.tuples(st.sampled_from(PROGRAMS), st.sampled_from((DEVICE, DEVICE, "00:1a", "")))
executions = st.builds(
    Exec,
    exe=st.sampled_from((HELLO, HELLO, *PROGRAMS)),
    argv=st.lists(st.sampled_from(WORDS), max_size=4).map(tuple),
    names=st.none() | st.lists(paths, max_size=4).map(tuple),
    cwd=st.sampled_from(("/srv", "/nix/store", HELLO, "relative")),
    serial=st.integers(100, 104),
    seconds=st.sampled_from((1_764_000_000, 1_764_000_000, 1_764_000_001, 1_764_000_009)),
    success=st.sampled_from(("yes", "yes", "yes", "no", "?")),
    exit=st.sampled_from((0, 0, -13, -2)),
    pid=st.sampled_from((1, 700, 701)),
    ppid=st.sampled_from((1, 700, 701)),
    uid=st.sampled_from((0, 1000, 30001)),
    syscall=st.sampled_from((59, 59, 59, 322, 42)),
    arch=st.sampled_from(("c000003e", "c000003e", "c000003e", "40000003")),
    comm=st.sampled_from(("hello", "exe=/srv/x", b"a b", 'exe="')),
    node=st.sampled_from(("", "", "meeka")),
    tail=st.sampled_from(
        (
            {},
            {"SYSCALL": '\x1dARCH=x86_64 UID="root"'},
            {"PATH": '\x1dOUID="root" name="/srv/x"'},
            {"SYSCALL": ' exe="/srv/evil"', "PATH": ' name="/srv/evil"'},
            {"CWD": "x" * 9000, "EXECVE": "y" * 9000},
            {"EXECVE": "z" * 17_000},
        )
    ),
)
noise = st.sampled_from(
    (
        b"",
        b"garbage",
        b"type=EOE msg=audit(1764000000.123:100): ",
        b"type=SYSCALL msg=audit(1764000000.123:100): arch=c000003e syscall=59",
        b'type=PATH msg=audit(1764000000.123:101): item=0 name="/srv/late"',
        b"type=CONFIG_CHANGE msg=audit(1764000000.123:99): op=set audit_enabled=0",
        b"type=USER_CMD msg=audit(1764000000.123:102): pid=1 msg='cmd=\"type=SYSCALL\"'",
        b"type=KERNEL msg=audit(1764000000.000:1): state=initialized audit_enabled=1 res=1",
        b"\x00" * 10,
        b"type=SYSCALL msg=audit(99999999999.123:1): x",
    )
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Events, whole or mutilated: records late, twice, missing, cut off or in between others."""
    lines: list[bytes] = []
    for one in draw(st.lists(executions, min_size=1, max_size=6)):
        own = one.lines(eoe=draw(st.booleans()))
        for _ in range(draw(st.sampled_from((1, 1, 1, 3)))):
            lines += own
    for _ in range(draw(st.sampled_from((0, 0, 1, 3)))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.integers(0, 5)):
            case 0:
                lines.insert(draw(st.integers(0, len(lines))), lines.pop(at))
            case 1:
                lines.insert(draw(st.integers(0, len(lines))), lines[at])
            case 2 if len(lines) > 1:
                del lines[at]
            case 3:
                lines[at] = lines[at][: draw(st.integers(0, min(len(lines[at]), 400)))]
            case 4:
                lines.insert(at, draw(noise))
            case _:
                where = draw(st.integers(0, min(len(lines[at]), 400)))
                byte = bytes([draw(st.sampled_from(b'\n\x1d" =0a\r'))])
                lines[at] = lines[at][:where] + byte + lines[at][where + 1 :]
    return b"\n".join(lines) + draw(st.sampled_from((b"\n", b"")))


LATE = b'type=PATH msg=audit(1764000000.123:100): item=0 name="/srv/late" inode=1 dev=fe:02\n'
"""A record that came before the event it belongs to, whose lines then follow in one piece."""

INIT = f"{STORE}-nixos-system-meeka/init"
EARLY = Exec(exe="/bin/busybox", names=(("/bin/busybox", "00:02"),), auid=4294967295)
HANDOVER = b"".join(
    (
        Exec(exe=INIT, serial=50).text() * 2,
        b"type=KERNEL msg=audit(1764000000.000:1): state=initialized audit_enabled=1 res=1\n",
        EARLY.text(),
        Exec(exe=INIT, pid=1, serial=51).text(),
        replace(EARLY, serial=52).text(),
    )
)
"""Process 1 starts a program that is known as plain: the end of the initrd all the same."""


def test_the_end_of_the_initrd_is_not_skipped() -> None:
    verdicts, _, _ = scan(HANDOVER)
    assert [(v.execution.id.serial, v.accepted) for v in verdicts] == [(100, "initrd"), (52, None)]


@PROFILE
@given(streams(), st.sampled_from((1 << 20, 4096, 700, 97)), st.sampled_from((DEVICE, None)))
@example(Exec().text() * 3, 1 << 20, None)
@example(LATE + Exec().text(), 1 << 20, DEVICE)
@example(HANDOVER, 1 << 20, DEVICE)
@example(Exec().text().replace(b'name="/nix', b'name="/nix/store/a /nix') * 3, 1 << 20, DEVICE)
@example(Exec().text().replace(b'"/nix/store', b'"/nix/store/a\n/nix') * 3, 1 << 20, DEVICE)
@example(Exec().text().replace(b'exe="/nix/', b'exe="/nix/store/a\x1d/nix/') * 3, 1 << 20, DEVICE)
@example(Exec(tail={"CWD": "x" * 17_000}).text() * 3, 1 << 20, DEVICE)
@example(Exec(exe=BASH, argv=("bash", "./x")).text() * 3, 1 << 20, DEVICE)
def test_the_shortcut_changes_no_answer(data: bytes, size: int, device: str | None) -> None:
    # A warm beginning, so that the shortcut has something to remember.
    warm = b"".join(
        Exec(exe=exe, argv=("x", HELLO), serial=n + 1).text() * 2
        for n, exe in enumerate((HELLO, BASH, PYTHON))
    )
    fast = scan(warm + data, size=size, device=device)
    slow = scan(warm + data, size=size, device=device, shortcut=False)
    assert fast == slow


@pytest.mark.parametrize("name", ["raw.log", "enriched.log"])
@pytest.mark.parametrize("size", [1 << 20, 5000])
def test_the_shortcut_changes_no_answer_on_real_records(name: str, size: int) -> None:
    data = (DATA / name).read_bytes() * 3
    assert scan(data, size=size) == scan(data, size=size, shortcut=False)


OTHER = b"type=USER_AUTH msg=audit(1764000000.123:9%d): pid=1 uid=0 msg='op=PAM:x res=success'"
MIXES: dict[str, Callable[[Exec], list[bytes]]] = {
    "alone": lambda one: one.lines(),
    "with EOE": lambda one: one.lines(eoe=True),
    "without PROCTITLE": lambda one: one.lines()[:-1],
    "on aarch64": lambda one: replace(one, arch="c00000b7", syscall=221).lines(),
    "among others": lambda one: [line for own in one.lines() for line in (OTHER % one.serial, own)],
}


@pytest.mark.parametrize("mix", MIXES)
def test_the_shortcut_is_taken(monkeypatch: pytest.MonkeyPatch, mix: str) -> None:
    """Also while an event is open whose other records never come."""
    seen: list[Event] = []
    real = Judge.judge

    def judge(self: Judge, event: Event) -> object:
        seen.append(event)
        return real(self, event)

    monkeypatch.setattr(Judge, "judge", judge)
    monkeypatch.setattr(scan_module, "parse", None)
    lines = Exec(serial=1).lines()[:2]
    for serial in range(100, 1100):
        lines += MIXES[mix](Exec(serial=serial))
    _, counts, tally = scan(b"".join(line + b"\n" for line in lines))
    assert (counts.events, tally.inside, tally.reported) == (1000, 1000, 1)
    # The first teaches the store's device and is remembered, the last is the one left open.
    assert [event.id.serial for event in seen] == [100, 1]


@PROFILE
@given(st.lists(executions, min_size=2, max_size=8), st.randoms(use_true_random=False))
def test_events_that_are_mixed_are_judged_as_if_they_were_not(
    given: list[Exec], dice: random.Random
) -> None:
    own = [replace(one, serial=n).lines() for n, one in enumerate(given, start=100)]
    apart = b"".join(line + b"\n" for lines in own for line in lines)
    order = [n for n, lines in enumerate(own) for _ in lines]
    dice.shuffle(order)
    rest = [iter(lines) for lines in own]
    mixed = b"".join(next(rest[n]) + b"\n" for n in order)
    warm = Exec(serial=1).text() * 2
    assert (
        answers(warm + mixed, True) == answers(warm + mixed, False) == answers(warm + apart, True)
    )


def answers(data: bytes, shortcut: bool) -> list[tuple[int, object, object, str]]:
    """What is said of each event; who started it depends on the order."""
    verdicts, _, _ = scan(data, shortcut=shortcut)
    return sorted((v.execution.id.serial, v.reasons, v.paths, str(v.accepted)) for v in verdicts)


def test_a_stamp_in_the_far_future_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Exec(exe="/srv/evil"), Exec(serial=101)
    early, late = one.text(), other.text() * 1000
    lines = early.splitlines(keepends=True)
    future = b"type=SYSCALL msg=audit(99999999999.123:1): arch=c000003e syscall=59\n"
    expected, _, tally = scan(early + late)
    found, _, with_it = scan(b"".join((*lines[:3], future, *lines[3:], late)))
    assert found[:1] == expected
    assert with_it.inside == tally.inside


@PROFILE
@given(st.binary(max_size=300), st.integers(1, 400))
def test_no_bytes_at_all_stop_it(data: bytes, size: int) -> None:
    verdicts, _, tally = scan(data + b"\n" + Exec(exe="/srv/evil").text(), size=size)
    assert tally.reported >= 1
    assert any(b"/srv/evil" in v.paths for v in verdicts)


def test_a_line_without_end_is_cut_and_what_follows_is_read() -> None:
    data = b"type=" + b"A" * 5_000_000 + b"\n" + Exec(exe="/srv/evil").text()
    verdicts, _, _ = scan(data, size=65_536)
    assert [v.paths[0] for v in verdicts] == [b"/srv/evil"]
