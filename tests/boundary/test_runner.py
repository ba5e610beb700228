"""The boundary to real processes: what comes back, and that none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from paranoid_install import runner
from paranoid_install.errors import CommandFailed
from paranoid_install.runner import ShRunner
from paranoid_install.signals import Interrupted, Signals


def shell(script: str, **options: object) -> runner.Result:
    return ShRunner().run("sh", "-c", script, **options)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that waits for its parent to look has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1][1] == "Z"
    except FileNotFoundError:
        return True


def eventually(true: Callable[[], bool], seconds: float = 5) -> bool:
    """Poll: the end of a process that is not our child makes no event."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def test_standard_output_comes_back_and_every_line_of_both_streams_is_passed_on() -> None:
    lines: list[str] = []
    result = shell("echo out; echo err >&2; printf last", on_line=lines.append)
    assert result.stdout == "out\nlast"
    assert sorted(lines) == ["err", "last", "out"]
    assert result.seconds > 0


def test_output_is_no_terminal_and_input_is_empty() -> None:
    assert shell("test -t 0 || test -t 1 || test -t 2 || echo no; cat").stdout == "no\n"


@pytest.mark.parametrize("text", ["", "a\nb", "ü" * 40000])
def test_input_arrives_whole(text: str) -> None:
    assert shell("cat", stdin=text).stdout == text
    assert shell("cat", stdin=text.encode()).stdout == text


def test_a_failure_carries_code_command_and_the_last_lines() -> None:
    with pytest.raises(CommandFailed) as caught:
        shell("seq 1 50; echo 'bad thing' >&2; exit 7")
    error = caught.value
    assert (error.code, error.problem) == (7, "exit code 7")
    assert len(error.tail) == 20
    assert {"bad thing", "50"} <= set(error.tail)
    assert error.command.startswith("sh -c 'seq 1 50;")


def test_an_exit_code_that_is_expected_is_no_failure() -> None:
    assert shell("exit 2", ok=(2,)).code == 2
    with pytest.raises(CommandFailed, match="exit code 0"):
        shell("exit 0", ok=(2,))


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_the_signal_that_ended_a_program_is_named(name: str) -> None:
    with pytest.raises(CommandFailed, match=f"ended by SIG{name}") as caught:
        shell(f"ulimit -c 0; kill -{name} $$")
    assert caught.value.code == -getattr(signal, f"SIG{name}")


def test_a_missing_program_is_said() -> None:
    with pytest.raises(CommandFailed, match="no-such: this program is missing; install it"):
        ShRunner().run("no-such", "x")
    assert runner.missing(["sh", "no-such", "no-such"]) == ("no-such",)


def test_a_program_that_cannot_start_is_a_failed_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n", encoding="ascii")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandFailed, match=r"broken: cannot be started \(FileNotFoundError"):
        ShRunner().run("broken")


def test_the_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    start = time.monotonic()
    with pytest.raises(CommandFailed, match="stopped after 1 s without an end") as caught:
        shell(f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait", timeout=1)
    assert caught.value.code is None
    assert time.monotonic() - start < 4
    assert all(eventually(lambda n=n: gone(n)) for n in map(int, pids.read_text().split()))  # type: ignore[misc]


def test_a_program_that_ignores_being_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_GRACE", 0.3)
    start = time.monotonic()
    with pytest.raises(CommandFailed, match="without an end"):
        shell("trap '' TERM; while :; do sleep 0.1; done", timeout=0.3)
    assert time.monotonic() - start < 4


def test_an_interruption_ends_the_whole_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    signals = Signals()

    def interrupt() -> None:
        eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    with signals.raised():
        thread.start()
        with pytest.raises(Interrupted):
            ShRunner(shield=signals.shield).run(
                "sh", "-c", f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait"
            )
    thread.join()
    assert all(eventually(lambda n=n: gone(n)) for n in map(int, pids.read_text().split()))  # type: ignore[misc]


def test_ctrl_c_reaches_the_installer_alone() -> None:
    group = int(shell("ps -o pgid= -p $$").stdout)
    assert group != os.getpgrp()


def test_secrets_are_blanked_in_log_error_and_lines() -> None:
    log: list[str] = []
    lines: list[str] = []
    with pytest.raises(CommandFailed) as caught:
        ShRunner(log.append).run(
            "sh", "-c", "echo pass hunter2; echo hunter2 >&2; exit 1", "hunter2",
            secret=("hunter2", ""), on_line=lines.append,
        )  # fmt: skip
    seen = " ".join([*log, *lines, str(caught.value), caught.value.command, *caught.value.tail])
    assert "hunter2" not in seen
    assert "pass ***" in seen


def test_the_environment_is_built_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_NOT", "x")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", ".:relative:/usr/bin")
    lines = ShRunner().run("env", env={"TMPDIR": "/t"}).stdout.splitlines()
    environ = dict(line.split("=", 1) for line in lines)
    assert environ["LC_ALL"] == "C.UTF-8"
    assert environ["TMPDIR"] == "/t"
    assert "LANG" not in environ
    assert "LD_PRELOAD_NOT" not in environ
    assert all(d.startswith("/") for d in environ["PATH"].split(":"))


def test_a_character_cut_between_two_chunks_is_one() -> None:
    lines: list[str] = []
    result = shell(r"printf '\303'; sleep 0.2; printf '\274x\n'", on_line=lines.append)
    assert (result.stdout, lines) == ("üx\n", ["üx"])


def test_bytes_that_are_no_text_are_kept_readable() -> None:
    assert shell(r"printf 'a\377b'").stdout == "a\ufffdb"


def test_carriage_returns_part_lines() -> None:
    lines: list[str] = []
    shell(r"printf '10%%\r20%%\r\n'", on_line=lines.append)
    assert lines == ["10%", "20%"]


_FLOOD = """
import resource
from paranoid_install import runner

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

runner._STDOUT_LIMIT = 1 << 20
run = runner.ShRunner().run
run("true")
before = peak()
out = run("sh", "-c", "yes $(seq 300) | head -n 80000; yes | head -n 100000 >&2").stdout
print(len(out), peak() - before)
"""


def test_a_flood_is_read_to_its_end_in_bounded_memory() -> None:
    # In a process of its own: the peak of this one is that of all tests before.
    done = subprocess.run(
        [sys.executable, "-c", _FLOOD],
        env={"PYTHONPATH": str(Path(runner.__file__).parents[1]), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    kept, grown = map(int, done.stdout.split())
    assert kept == 1 << 20
    assert grown < 40, f"{grown} MiB more for 83 MiB of output"


def test_a_command_is_logged_with_its_end_and_time() -> None:
    log: list[str] = []
    ShRunner(log.append).run("sh", "-c", "exit 3", ok=(3,))
    assert len(log) == 1
    assert log[0].startswith("$ sh -c 'exit 3'  # exit code 3 after 0.")
