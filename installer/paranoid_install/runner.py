"""The boundary through which every process runs. Nothing else in the package starts one."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import shutil
import signal
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from paranoid_install.errors import CommandFailed
from paranoid_install.telling import is_progress, telling

SECONDS = 120.0
"""Time limit of a command that names no other."""

TAIL_LINES = 20
_KEPT_LINES = 10 * TAIL_LINES
"""Of these the telling ones are chosen: a failure of Nix ends in a long list of consequences."""
_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a program that has to be ended."""
_STDOUT_LIMIT = 64 * 1024**2
_LINE_LIMIT = 64 * 1024

# `mount` in the target's chroot is found on NixOS only through the first of these.
_DIRECTORIES = ("/run/current-system/sw/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# What Nix and its downloads need to know of the live system; all else is left behind.
_INHERITED = (
    "NIX_PATH",
    "NIX_REMOTE",
    "NIX_CONFIG",
    "NIX_SSL_CERT_FILE",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)

Line = Callable[[str], None]
Stdin = str | bytes | queue.Queue[str | None] | None
"""All of it, or lines as they come until None."""
Shield = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Result:
    """A program that ended as expected. `seconds` is wall time."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    seconds: float


class Runner(Protocol):
    """What actions and probes need of the boundary."""

    def run(
        self,
        *argv: str,
        stdin: Stdin = None,
        ok: tuple[int, ...] = (0,),
        secret: tuple[str, ...] = (),
        timeout: float | None = SECONDS,
        on_line: Line | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Result: ...


def environment(
    extra: Mapping[str, str] | None = None, *, cautious: bool = False
) -> dict[str, str]:
    """The environment of every program: built from nothing, so that no locale or pager leaks in.

    `cautious`: the system's own programs come first, and of the directories that PATH names only
    those are taken that nobody but root, and this user, can change.
    """
    given = [d for d in os.environ.get("PATH", "").split(":") if d.startswith("/")]
    own = [*_DIRECTORIES, *filter(_is_closed, given)] if cautious else [*given, *_DIRECTORIES]
    path = ":".join(dict.fromkeys(own))
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/root", **inherited, **(extra or {})}


def _is_closed(directory: str) -> bool:
    """Whether a directory, and all above it, can be changed by root and this user alone."""
    path = Path(directory).resolve()
    for step in (path, *path.parents):
        try:
            found = step.stat()
        except OSError:
            return False
        # In a sticky directory others cannot exchange what is not theirs.
        open_ = found.st_mode & 0o022 and not (found.st_mode & stat.S_ISVTX and step != path)
        if found.st_uid not in (0, os.geteuid()) or open_:
            return False
    return True


def missing(programs: Iterable[str]) -> tuple[str, ...]:
    """Those of the programs that are not installed here, each once, in order."""
    path = environment()["PATH"]
    return tuple(p for p in dict.fromkeys(programs) if shutil.which(p, path=path) is None)


def adopt_orphans() -> None:
    """Become the parent of all that programs leave behind (PR_SET_CHILD_SUBREAPER, prctl(2)).

    Only a parent can wait for the end of a process. Raises OSError.
    """
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl: cannot adopt orphans")


class ShRunner:
    """Runs programs through `sh`.

    `log` receives one line a program, with secrets blanked. `shield` makes a context in which
    signals wait: one that came while a program is being started would leave it behind unknown.
    `cautious`: as for `environment`; of a machine that is judged or watched, PATH is no witness.
    """

    def __init__(
        self,
        log: Line | None = None,
        shield: Shield = contextlib.nullcontext,
        *,
        cautious: bool = False,
    ) -> None:
        self._log: Line = log or (lambda _line: None)
        self._shield = shield
        self._cautious = cautious

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
        """Run `argv` and wait for it.

        `ok` are the exit codes that are no failure; `secret` are strings blanked in log and
        errors; `timeout` is in seconds, None for no limit; `on_line` receives each line of
        both streams as it comes. Raises CommandFailed.
        """
        shown = tuple(_blank(word, secret) for word in argv)
        environ = environment(env, cautious=self._cautious)
        program = shutil.which(argv[0], path=environ["PATH"])
        if program is None:
            raise CommandFailed(shown, "this program is missing; install it and try again", None)

        tail: deque[str] = deque(maxlen=_KEPT_LINES)
        stdout = _Output(tail, secret, on_line, keep=True)
        stderr = _Output(tail, secret, on_line, keep=False)
        start = time.monotonic()
        try:
            code = _spawn(program, argv[1:], stdin, timeout, environ, stdout, stderr, self._shield)
        except _NotStartedError as error:
            raise CommandFailed(shown, f"cannot be started ({error})", None) from error
        seconds = time.monotonic() - start
        stdout.close()
        stderr.close()
        self._log(f"$ {shlex.join(shown)}  # {_ending(code)} after {seconds:.3f} s")
        if code not in ok:
            last = tuple(telling(tail)[-TAIL_LINES:])
            for line in last:
                self._log(f"  {line}")
            problem = (
                f"stopped after {timeout:.0f} s without an end"
                if code is None
                else (f"exit code {code}" if code >= 0 else f"ended by {_signal(-code)}")
            )
            raise CommandFailed(shown, problem, code, last)
        return Result(argv, code if code is not None else 0, stdout.text, seconds)


class _NotStartedError(Exception):
    """The program is there, and the kernel would not run it."""


class _Output:
    """One stream of a program: split into lines, the last of them kept for an error."""

    def __init__(
        self, tail: deque[str], secret: tuple[str, ...], on_line: Line | None, *, keep: bool
    ) -> None:
        self._tail = tail
        self._secret = secret
        self._on_line = on_line
        self._keep = keep
        self._kept: list[bytes] = []
        self._room = _STDOUT_LIMIT
        self._pending = b""

    def __call__(self, text: str) -> None:
        chunk = text.encode(errors="surrogateescape")
        if self._keep and self._room > 0:
            self._kept.append(chunk[: self._room])
            self._room -= len(chunk)
        # Programs that redraw a line end it with a carriage return.
        *lines, self._pending = (self._pending + chunk.replace(b"\r", b"\n")).split(b"\n")
        if len(self._pending) > _LINE_LIMIT:
            lines.append(self._pending)
            self._pending = b""
        for line in lines:
            self._line(line)

    def close(self) -> None:
        self._line(self._pending)
        self._pending = b""

    @property
    def text(self) -> str:
        return b"".join(self._kept).decode(errors="replace")

    def _line(self, raw: bytes) -> None:
        line = _blank(raw.decode(errors="replace"), self._secret).rstrip()
        if line:
            if not is_progress(line):
                self._tail.append(line)
            if self._on_line is not None:
                self._on_line(line)


def _spawn(
    program: str,
    arguments: tuple[str, ...],
    stdin: Stdin,
    timeout: float | None,
    environ: dict[str, str],
    stdout: _Output,
    stderr: _Output,
    shield: Shield,
) -> int | None:
    """The exit code, negative for a signal; None when the time limit ended it."""
    import sh  # noqa: PLC0415 - costs 90 ms, and --help needs none of it

    options: dict[str, Any] = {
        "_in": stdin if stdin is not None else b"",
        "_out": stdout,
        "_err": stderr,
        "_no_out": True,
        "_no_err": True,
        "_tty_out": False,
        "_env": environ,
        "_new_session": False,
        # A group of its own: Ctrl-C reaches us alone, and we end it with all its children.
        "_new_group": True,
        "_bg": True,
        "_bg_exc": False,
        "_return_cmd": True,
        # All of ours are closed by exec(2) itself (PEP 446). Not earlier: who finds a killed run's
        # lock free may rely on it that every program it was starting bears its mark by then.
        "_close_fds": False,
        # A character may be cut in two between chunks: keep the bytes until they are joined.
        "_encoding": "utf-8",
        "_decode_errors": "surrogateescape",
    }
    running = limit = None
    try:
        with shield():
            running = sh.Command(program)(*arguments, **options)
            # sh's own time limit is watched by polling, a tenth of a second for every command.
            limit = _Limit(running.process.pgid, timeout)
        running.wait()
    except sh.ForkException as error:
        # Its interpreter is missing, or the kernel gave no process.
        raise _NotStartedError(str(error).strip().splitlines()[-1].strip()) from error
    except sh.ErrorReturnCode as error:
        return None if limit is not None and limit.passed else int(error.exit_code)
    except BaseException:
        if running is not None:
            with shield():
                _end(running.process)
        raise
    finally:
        if limit is not None:
            limit.cancel()
    return int(running.exit_code)


class _Limit:
    """Ends a process group when its time is over: first asked, then forced."""

    def __init__(self, group: int, seconds: float | None) -> None:
        self.passed = False
        self._group = group
        self._cancelled = threading.Event()
        if seconds is not None:
            threading.Thread(target=self._watch, args=(seconds,), daemon=True).start()

    def cancel(self) -> None:
        self._cancelled.set()
        if self.passed:
            _kill(self._group, signal.SIGKILL)

    def _watch(self, seconds: float) -> None:
        if not self._cancelled.wait(seconds):
            self.passed = True
            _kill(self._group, signal.SIGTERM)
            if not self._cancelled.wait(_GRACE):
                _kill(self._group, signal.SIGKILL)


def _end(process: Any) -> None:
    """End the whole process group, and reap it: what it holds open would keep mounts busy."""
    last = threading.Timer(_GRACE, _kill, (process.pgid, signal.SIGKILL))
    last.start()
    _kill(process.pgid, signal.SIGTERM)
    # Reaped already, when the interruption came between that and sh's note of it.
    with contextlib.suppress(ChildProcessError):
        process.wait()
    last.cancel()
    # The leader is gone; what it left behind has had its chance. A process that is killed is not
    # gone yet, and would keep a mount busy: each is waited for, which `adopt_orphans` makes ours.
    _kill(process.pgid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-process.pgid, 0)


def _kill(group: int, number: signal.Signals) -> None:
    # No such group: all of it has ended already.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _ending(code: int | None) -> str:
    return "timed out" if code is None else f"exit code {code}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _blank(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
