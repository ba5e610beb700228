"""Gathers the facts of a machine. What cannot be had becomes an unknown piece with its reason."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner
from paranoid_install.verify import files, kernel_files, programs
from paranoid_install.verify.facts import PIECES, Machine, NotApplicable, Unknown
from paranoid_install.verify.files import FROM_KERNEL, FROM_LIVE_TREE, FROM_TREE
from paranoid_install.verify.search import search
from paranoid_install.verify.store_sample import sample
from paranoid_install.verify.tree import SearchCutError, Tree, limit

_OFF = NotApplicable("the system on this disk is not running")
SECONDS = 4.0
"""Seconds of work for what is read of one subject's files."""
_SEED = 32
"""Bits of the number that draws the store's sample."""
_WORKERS = 8
"""Nearly all of the time is spent in waiting for programs, so each has a worker of its own."""


def gather(root: Path, runner: Runner, seed: int | None = None) -> Machine:
    """All pieces of the running machine (`root` is /), or of the disk below `root`.

    On a disk that is not running nothing is started, and what only a running machine has is not
    applicable. Raises nothing for a piece that cannot be had. The store's sample is drawn by
    `seed`, by chance where none is given.
    """
    root = root.resolve()
    live = root == Path("/")
    tasks: dict[str, Callable[[], Any]] = {}
    running: dict[str, Future[Any]] = {}
    if live:
        # The slow ones first.
        tasks |= {name: _bound(ask, runner) for name, ask in programs.FROM_PROGRAMS.items()}
        # It waits for the units, which a worker asks for already.
        tasks["exposure"] = lambda: programs.exposure(runner, running["units"].result())
        tasks["users"] = lambda: programs.users(runner, Tree(root, limit(SECONDS)))
        tasks["sshd"] = lambda: programs.sshd(runner, Tree(root, limit(SECONDS)))
        tasks["sshd_blocks"] = lambda: programs.sshd_blocks(runner, Tree(root, limit(SECONDS)))
        tasks |= dict(FROM_KERNEL)
    from_tree = FROM_TREE | FROM_LIVE_TREE if live else FROM_TREE
    tasks |= {name: _reading(read, root) for name, read in from_tree.items()}
    if not live:
        tasks["sysctl"] = _reading(kernel_files.configured, root)
    tasks["parameters"] = lambda: files.parameters(Tree(root, limit(SECONDS)), live)
    drawn = secrets.randbits(_SEED) if seed is None else seed
    tasks["sample"] = lambda: sample(Tree(root, limit(SECONDS)), live, drawn)
    tasks["search"] = lambda: search(Tree(root, limit(SECONDS)), live)
    # Programs are what is waited for; reading a file does not get faster by being done twice.
    running |= {name: Future() for name in tasks}
    waiting = queue.SimpleQueue[str]()
    for name in tasks:
        waiting.put(name)
    for _ in range(_WORKERS):
        # Daemons: a signal ends the program, whatever they wait for or work at.
        threading.Thread(target=_work, args=(waiting, tasks, running), daemon=True).start()
    found = {name: future.result() for name, future in running.items()}
    missing = {name: _OFF for name in PIECES if name not in found}
    return Machine(str(root), live, **found, **missing)


def _work(
    waiting: queue.SimpleQueue[str],
    tasks: Mapping[str, Callable[[], Any]],
    running: Mapping[str, Future[Any]],
) -> None:
    while True:
        try:
            name = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            running[name].set_result(_piece(tasks[name]))
        except Exception as error:
            # A bug: told where the answer is waited for.
            running[name].set_exception(error)


def _bound(function: Callable[[Any], Any], argument: Any) -> Callable[[], Any]:
    return lambda: function(argument)


def _reading(function: Callable[[Tree], Any], root: Path) -> Callable[[], Any]:
    # What may be spent is counted by the thread that reads.
    return lambda: function(Tree(root, limit(SECONDS)))


def _piece(task: Callable[[], Any]) -> Any:
    try:
        return task()
    except CommandFailed as error:
        last = f": {error.tail[-1]}" if error.tail else ""
        return Unknown(f"{error.subject}: {error.problem}{last}")
    except SearchCutError:
        return Unknown(f"too much to read in {SECONDS:.0f} s")
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        return Unknown(f"{name}{error.strerror or error}")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        # A program or a file that is not of the form that is known.
        return Unknown(f"not understood: {error}")
