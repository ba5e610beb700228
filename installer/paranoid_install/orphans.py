"""Programs that a killed run left behind: marked when they start, found by it, and ended.

The parent of what a killed run has started is gone, so a descendant is known by what it inherited
alone: a mark that is made at random for each run, and kept where only root can read it.
"""

from __future__ import annotations

import os
import secrets
import select
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from paranoid_install.runner import SECONDS, Line, Result, Runner, Stdin

# Not PARANOID_…: those are settings, and an unknown one is refused.
MARK = "_PARANOID_RUN"

_END_SECONDS = 10.0


@dataclass(frozen=True)
class Marking:
    """A runner whose programs, and all that these start, carry the run's mark in their environment.

    proc_pid_environ(5): it is what a process was started with, whatever became of its parent.
    """

    runner: Runner
    mark: str

    def run(
        self,
        *argv: str,
        stdin: Stdin = None,
        ok: tuple[int, ...] = (0,),
        secret: tuple[str, ...] = (),
        timeout: float | None = SECONDS,
        on_line: Line | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """See `Runner`."""
        return self.runner.run(
            *argv,
            stdin=stdin,
            ok=ok,
            secret=secret,
            timeout=timeout,
            on_line=on_line,
            env={**(env or {}), MARK: self.mark},
        )


def new_mark() -> str:
    """A mark that no process bears yet, nor can any that has not inherited it."""
    return secrets.token_hex(16)


def left(mark: str) -> list[int]:
    """The processes of root that carry a run's mark; none where the run has noted no mark."""
    return [pid for pid in _processes() if _is_marked(pid, mark)] if mark else []


def end(mark: str) -> tuple[str, ...]:
    """End the processes of root that carry a run's mark; those that did not end, by name.

    Whoever holds the locks of that run may: it is not alive.
    """
    while found := left(mark):
        # Those that these start meanwhile are found by the next look.
        if stuck := tuple(_name(pid) for pid in found if not _ended(pid, mark)):
            return stuck
    return ()


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_marked(pid: int, mark: str) -> bool:
    process = Path(f"/proc/{pid}")
    try:
        if process.stat().st_uid != 0:
            return False
        environ = (process / "environ").read_bytes()
    except OSError:  # it has ended
        return False
    return f"{MARK}={mark}".encode() in environ.split(b"\0")


def _ended(pid: int, mark: str) -> bool:
    with _held(pid) as process:
        # Looked at again: the number may have become another's before it was held.
        if process is None or not _is_marked(pid, mark):
            return True
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        # pidfd_open(2): readable when the process has ended.
        return bool(select.select([process], [], [], _END_SECONDS)[0])


@contextmanager
def _held(pid: int) -> Iterator[int | None]:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield process
    finally:
        os.close(process)


def _name(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:  # it has ended
        name = "unknown"
    return f"{name} (process {pid})"
