"""The run as a whole: losses and silence are told, files are replayed, streams followed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import platform
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paranoid_install import runner
from paranoid_install.errors import SpecError
from paranoid_install.runner import ShRunner
from paranoid_install.watch import kernel, processes, sources
from paranoid_install.watch.alerts import Alert, Channel, Limit, Origin
from paranoid_install.watch.command import WatchOptions, run
from paranoid_install.watch.executions import PathItem
from paranoid_install.watch.judge import Judge
from paranoid_install.watch.rules import Allow
from paranoid_install.watch.watch import Watch
from tests.unit.watch.trail import DATA, DEVICE, HELLO, Exec, rules


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def watching(**more: Any) -> tuple[Watch, list[Alert], Clock]:
    clock = Clock()
    told: list[Alert] = []
    judge = Judge(more.pop("rules", rules()), DEVICE.encode())
    channels = [Channel(Limit(5, 120), [told.append])]
    return Watch(judge, channels, clock=clock, **more), told, clock


def test_silence_is_put_to_the_test_and_told_once_and_so_is_its_end() -> None:
    probes: list[float] = []
    watch, told, clock = watching()
    watch.probe = lambda: probes.append(clock.now)
    watch.feed(Exec().text())
    for _ in range(400):
        clock.now += 1
        watch.feed(b"")
    assert probes == [1300.0]
    assert [alert.event for alert in told] == ["stopped"]
    assert told[0].priority == 2
    watch.feed(Exec(serial=101).text())
    assert [alert.event for alert in told] == ["stopped", "resumed"]


def test_a_quiet_machine_whose_test_is_recorded_raises_no_alarm() -> None:
    watch, told, clock = watching()
    watch.probe = lambda: watch.feed(Exec(serial=int(clock.now)).text())
    for _ in range(2000):
        clock.now += 1
        watch.feed(b"")
    assert told == []


def test_an_event_that_is_under_way_at_the_end_can_be_left_to_the_next_watch() -> None:
    begun = b"\n".join(Exec(exe="/srv/evil").lines()[:2]) + b"\n"
    for leave, reported in ((False, 1), (True, 0)):
        watch, told, _ = watching()
        watch.feed(begun)
        assert watch.waits
        watch.finish(leave=leave)
        assert len([alert for alert in told if alert.event == "execution"]) == reported


def test_records_lost_by_the_kernel_are_told_with_their_number() -> None:
    answers = iter([0, 0, 7, 7])
    watch, told, clock = watching(status=lambda: kernel.Status(1, 1, 8192, next(answers), 0))
    for _ in range(4):
        watch.feed(b"")
        clock.now += 31
    assert [(a.event, dict(a.fields)) for a in told] == [("lost", {"count": 7, "total": 7})]
    assert dict(watch.totals())["lost"] == 7


def test_auditing_switched_off_is_told() -> None:
    answers = iter([1, 0, 0, 1])
    watch, told, clock = watching(status=lambda: kernel.Status(next(answers), 1, 8192, 0, 0))
    for _ in range(4):
        watch.feed(b"")
        clock.now += 31
    assert [alert.event for alert in told] == ["stopped", "resumed"]


def test_a_kernel_that_does_not_answer_is_told_once() -> None:
    watch, told, clock = watching(status=lambda: None)
    for _ in range(5):
        watch.feed(b"")
        clock.now += 31
    assert [alert.event for alert in told] == ["lost"]


def test_losses_in_the_kernel_s_log_are_read() -> None:
    out = io.StringIO()
    options = WatchOptions(replay=(DATA / "dmesg.txt",), as_json=True)
    run(options, ShRunner(cautious=True), out=out)
    alerts = [json.loads(line) for line in out.getvalue().splitlines()]
    assert any(a["event"] == "lost" and "audit_lost=1 " in a["message"] for a in alerts)
    assert alerts[-1]["lost"] >= 1


def test_a_change_of_the_audit_configuration_is_told_without_raw_bytes() -> None:
    watch, told, _ = watching()
    watch.feed(b"type=CONFIG_CHANGE msg=audit(1764000000.1\x1b")
    watch.feed(b"\ntype=CONFIG_CHANGE msg=audit(1764000000.123:9): op=remove_rule \x1b[2J res=1\n")
    assert [alert.event for alert in told] == ["configuration"]
    assert "op=remove_rule \\x1b[2J res=1" in told[0].message


def test_an_incomplete_event_is_judged_when_its_time_is_over() -> None:
    watch, told, clock = watching()
    watch.feed(b"\n".join(Exec(exe="/srv/evil").lines()[:4]) + b"\n")
    assert told == []
    clock.now += 3
    watch.feed(b"")
    assert [alert.event for alert in told] == ["execution"]


def test_an_exception_by_unit_holds_for_that_unit_alone() -> None:
    allowing = replace(rules(), allow=(Allow(path=b"/srv/", unit="agent.service", why="x"),))
    for unit, number in (("agent.service", 0), ("other.service", 1), ("", 1)):
        watch, told, _ = watching(rules=allowing, origin=lambda _a, _b, u=unit: Origin(unit=u))
        watch.feed(Exec(exe="/srv/evil", names=(("/srv/evil", "fe:03"),)).text())
        assert len(told) == number


def test_a_thousand_from_the_store_raise_nothing_and_memory_stays_small() -> None:
    watch, told, _ = watching()
    for serial in range(1000):
        watch.feed(Exec(serial=serial, argv=(f"hello{serial}",)).text())
    watch.finish()
    assert told == []
    assert dict(watch.totals())["inside"] == 1000


def test_replay_answers_8_with_findings_and_0_without(tmp_path: Path) -> None:
    clean = tmp_path / "clean.log"
    clean.write_bytes(Exec().text())
    assert run(WatchOptions(replay=(clean,)), ShRunner(cautious=True), out=io.StringIO()) == 0
    out = io.StringIO()
    options = WatchOptions(replay=(DATA / "raw.log",), as_json=True, store_device="00:19")
    assert run(options, ShRunner(cautious=True), out=out) == 8
    alerts = [json.loads(line) for line in out.getvalue().splitlines()]
    assert alerts[-1]["event"] == "ended"
    assert alerts[-1]["reported"] == sum(a["event"] == "execution" for a in alerts) > 40
    assert out.getvalue().isascii()


def answers(*paths: Path) -> int:
    return run(WatchOptions(replay=paths), ShRunner(cautious=True), out=io.StringIO())


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
def test_packed_files_are_read_and_damaged_ones_are_not_passed(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    inside, outside = Exec().text(), Exec(exe="/srv/evil").text()
    for text, damaged, code in (
        (inside, False, 0),
        (outside, False, 8),
        (inside, True, 4),
    ):
        packed = pack(text)
        file = tmp_path / "audit.log.1.packed"
        file.write_bytes(packed[:-9] if damaged else packed)
        assert answers(file) == code


def test_every_file_named_is_read(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(Exec().text().removesuffix(b"\n"))
    second.write_bytes(Exec(exe="/srv/evil", serial=101).text())
    assert answers(first) == 0
    assert answers(first, second) == answers(second, first) == 8


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 4),
        (b"Nov 12 10:00:00 host audispd: type=SYSCALL msg=audit(1.000:1): x\n", 4),
        (Exec().text().decode().encode("utf-16"), 4),
        (b"\n".join(Exec().lines()[2:]) + b"\n", 4),
        (Exec().text() + b"type=garbage\n", 4),
        (Exec().text() + b"[   12.3] audit: audit_lost=37 audit_rate_limit=0\n", 8),
        (Exec().text() + b"type=CONFIG_CHANGE msg=audit(1764000000.123:9): op=set"
         b" audit_enabled=0 old=1 res=1\n", 8),
        (Exec().text() + b"type=CONFIG_CHANGE msg=audit(1764000000.123:9): op=set"
         b" audit_enabled=0 old=1 res=0\n", 0),
        (Exec().text() + b"type=DAEMON_ERR msg=audit(1764000000.123:9): op=queue res=failed\n", 8),
    ],
)  # fmt: skip
def test_what_could_not_be_read_or_was_lost_is_no_good_answer(
    tmp_path: Path, text: bytes, code: int
) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(text)
    assert answers(log) == code


def test_an_allowed_path_is_not_reported(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(Exec(exe="/srv/evil", names=(("/srv/evil", "fe:03"),)).text())
    options = WatchOptions(replay=(log,), allow_paths=("/srv/",))
    assert run(options, ShRunner(cautious=True), out=io.StringIO()) == 0


@pytest.mark.parametrize(
    "options",
    [
        WatchOptions(replay=(Path("/nonexistent/log"),)),
        WatchOptions(replay=(DATA / "raw.log",), store_device="sda"),
        WatchOptions(replay=(DATA / "raw.log",), allow_paths=("srv",)),
        WatchOptions(replay=(DATA / "raw.log",), quiet=True),
        WatchOptions(replay=(DATA / "raw.log",), webhook="http://example.org"),
        WatchOptions(
            replay=(DATA / "raw.log",),
            webhook="https://example.org",
            webhook_token_file=Path("/nonexistent/token"),
        ),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(options: WatchOptions) -> None:
    with pytest.raises(SpecError):
        run(options, ShRunner(cautious=True), out=io.StringIO())


def test_a_log_is_followed_through_rotation(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_bytes(b"old\n")
    stop = threading.Event()
    stream = sources.follow(log, stop)
    assert next(stream) == b""
    with log.open("ab") as file:
        file.write(b"one\n")
    assert next(stream) == b"one\n"
    with log.open("ab") as file:
        file.write(b"two\n")
        log.rename(tmp_path / "audit.log.1")
        log.write_bytes(b"three\n")
    assert [next(stream), next(stream)] == [b"two\n", b"three\n"]
    stop.set()
    assert list(stream) == []


def test_a_descriptor_is_read_until_its_end() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one")
    stream = sources.descriptor(reading)
    assert next(stream) == b"one"
    os.close(writing)
    assert list(stream) == []
    os.close(reading)


def test_the_journal_s_end_is_told_and_gives_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "journalctl"
    entries = (DATA / "journal.json").read_text().splitlines()
    (tmp_path / "entries").write_text("\n".join(entries[:200]) + "\n")
    fake.write_text(f"#!/bin/sh\ncat {tmp_path}/entries\n")
    fake.chmod(0o755)
    monkeypatch.setattr(runner, "_DIRECTORIES", (str(tmp_path), "/usr/bin", "/bin"))
    out = io.StringIO()
    assert run(WatchOptions(as_json=True, rate=0), ShRunner(cautious=True), out=out) == 4
    events = [json.loads(line)["event"] for line in out.getvalue().splitlines()]
    assert events.count("stopped") >= 1
    assert events[-1] == "ended"
    assert "execution" in events


_WITHOUT_CAPSET = """
import ctypes, struct, sys, threading
number = {"x86_64": 126, "aarch64": 91}[sys.argv[1]]
# seccomp(2): load the number of the call; refuse capset with EPERM; allow all else.
code = b"".join(struct.pack("=HBBI", *each) for each in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)))
held = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(held)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
from paranoid_install import runner
from paranoid_install.runner import ShRunner
from paranoid_install.watch import sources
runner._DIRECTORIES = (sys.argv[2], *runner._DIRECTORIES)
for block in sources.journal(ShRunner(cautious=True), threading.Event()):
    sys.stdout.buffer.write(block)
    sys.stdout.flush()
    if len(sys.argv) > 3 and block:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
"""


def _journalctl(tmp_path: Path, body: str) -> None:
    fake = tmp_path / "journalctl"
    fake.write_text(f"#!/bin/sh\n{body}\n")
    fake.chmod(0o755)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="capset's number")
def test_the_journal_is_read_by_a_service_whose_filter_refuses_capset(
    tmp_path: Path,
) -> None:
    _journalctl(tmp_path, "echo an entry; sleep 0.1")
    argv = [sys.executable, "-c", _WITHOUT_CAPSET, platform.machine(), str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "an entry\n"
    assert "ended although it should follow" in done.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="capset's number")
def test_what_follows_the_journal_is_left_without_a_reader_when_the_watch_is_killed(
    tmp_path: Path,
) -> None:
    """journalctl polls its output for that (wait_for_change), as this stand-in does."""
    gone = tmp_path / "gone"
    poll = (
        "import select, sys; p = select.poll(); p.register(1, 0); "
        f"found = p.poll(20000); open({str(gone)!r}, 'w').write(str(found[0][1] & select.POLLERR))"
    )
    _journalctl(tmp_path, f'echo an entry; exec {sys.executable} -c "{poll}"')
    argv = [sys.executable, "-c", _WITHOUT_CAPSET, platform.machine(), str(tmp_path), "kill"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == -9
    end = time.monotonic() + 20
    while not (gone.exists() and gone.read_text()):
        assert time.monotonic() < end
        time.sleep(0.01)
    assert gone.read_text() == str(select.POLLERR)


def test_a_program_of_the_inherited_path_does_not_stand_in_for_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "planted"
    fakes = tmp_path / "system"
    for place, says in ((planted, "planted"), (fakes, "system")):
        place.mkdir()
        _journalctl(place, f"echo {says}; sleep 0.1")
    monkeypatch.setenv("PATH", f"{planted}:{os.environ['PATH']}")
    monkeypatch.setattr(runner, "_DIRECTORIES", (str(fakes), "/usr/bin", "/bin"))
    stop = threading.Event()
    stream = sources.journal(ShRunner(cautious=True), stop)
    assert next(block for block in stream if block) == b"system\n"
    stop.set()
    assert not any(stream)


def test_the_kernel_s_answer_is_read() -> None:
    header = struct.pack("=IHHII", 48, 1000, 0, 1, 0)
    body = struct.pack("=8I", 0, 2, 1, 77, 0, 8192, 3, 4)
    assert kernel.answer(header + body) == kernel.Status(2, 77, 8192, 3, 4)
    assert kernel.answer(struct.pack("=IHHIIi", 20, 2, 0, 1, 0, -1)) is False
    assert kernel.answer(struct.pack("=IHHII", 16, 1300, 0, 1, 0)) is None
    assert kernel.answer(b"x") is False


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("0::/system.slice/a.service/payload/b.service\n", "a.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service\n",
         "user@1000.service"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "session-3.scope"),
        ("0::/\n", ""),
        ("1:name=systemd:/x.service\n0::/init.scope\n", "init.scope"),
    ],
)  # fmt: skip
def test_a_unit_is_the_outermost_one(tmp_path: Path, group: str, unit: str) -> None:
    (tmp_path / "cgroup").write_text(group)
    assert processes.unit(tmp_path) == unit


def test_a_process_that_is_gone_has_no_unit() -> None:
    assert processes.origin(2**22 + 1, 2**22 + 2) == Origin()


def test_a_file_is_proved_by_its_inode(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("")
    proof = processes.Proof()
    name, inode = os.fsencode(file), b"%d" % file.stat().st_ino
    assert proof(PathItem(0, name, inode, b"", None, b""))
    assert not proof(PathItem(0, name, inode + b"1", b"", None, b""))
    assert not proof(PathItem(0, HELLO.encode(), inode, b"", None, b""))
