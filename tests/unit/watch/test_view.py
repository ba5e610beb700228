"""What an interpreter's arguments name in the store is looked at where the interpreter runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from paranoid_install.watch.events import Counts
from paranoid_install.watch.executions import Execution
from paranoid_install.watch.judge import Judge
from paranoid_install.watch.scan import Scanner
from paranoid_install.watch.view import View
from tests.unit.watch.trail import BASH, DEVICE, HELLO, Exec, rules, scan

SELF = os.getpid()
WAIT = "echo; read line"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "nix/store/hash-tool").mkdir(parents=True)
    (tmp_path / "nix/store/hash-tool/script").write_text("true\n")
    (tmp_path / "elsewhere/hash-tool").mkdir(parents=True)
    (tmp_path / "elsewhere/hash-tool/script").write_text("evil\n")
    return tmp_path / "nix/store"


@contextmanager
def running(prepare: str, store: Path, *, apart: bool = True) -> Iterator[Execution]:
    """A shell that waits, after `prepare` in a mount namespace of its own."""
    argv = ["unshare", "-m", "--propagation", "private"] if apart else []
    code = f"set -e; store={store}; other={store.parents[1]}/elsewhere; {prepare}\n{WAIT}"
    process = subprocess.Popen(
        [*argv, "/bin/sh", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != b"\n":
            pytest.skip("namespaces cannot be made here")
        yield execution(process.pid, os.fsencode(Path("/bin/sh").resolve()))
    finally:
        process.communicate(b"\n")


def execution(pid: int, exe: bytes) -> Execution:
    """What the records say of the process `pid`."""
    (verdict,), _, _ = scan(Exec(exe=exe, pid=pid).text(), device="ff:ff")
    return verdict.execution


def seen(run: Execution, store: Path, name: str = "hash-tool/script") -> bool | None:
    return View(os.fsencode(f"{store}/"), SELF)(run, [os.fsencode(store / name)])


def test_a_process_of_the_machine_sees_its_store(store: Path) -> None:
    with running("", store, apart=False) as run:
        assert seen(run, store) is True


def test_a_name_that_is_not_here_is_not_the_store_s(store: Path) -> None:
    with running("", store, apart=False) as run:
        assert seen(run, store, "hash-tool/missing") is False


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        ("", True),
        # What systemd makes for a service: PrivateTmp, ProtectSystem, ExecPaths.
        ("mount -t tmpfs none /srv", True),
        ("mount --bind $store $store; mount -o remount,bind,ro $store", True),
        ("mount -t tmpfs none $store", False),
        ("mount -t tmpfs none $store/hash-tool", False),
        ("mount --bind $other $store", False),
        ("mount --bind $other/hash-tool/script $store/hash-tool/script", False),
        # Of the store's own file system, and hidden again by the store: nothing of it is seen.
        ("mount --bind $store /mnt; mount -t tmpfs none $store; mount --bind /mnt $store", True),
    ],
)
def test_a_namespace_of_its_own_is_judged_by_what_lies_at_the_store(
    store: Path, prepare: str, expected: bool
) -> None:
    with running(prepare, store) as run:
        assert seen(run, store) is expected


def test_a_process_in_a_chroot_sees_another_store(store: Path, tmp_path: Path) -> None:
    root = tmp_path / "jail"
    prepare = (
        f"mkdir -p {root}{store}; for d in bin lib lib64 usr; do if [ -L /$d ];"
        f" then cp -a /$d {root}; else mkdir -p {root}/$d; mount --rbind /$d {root}/$d; fi; done; "
        f"exec chroot {root} /bin/sh -c '{WAIT}'"
    )
    with running(prepare, store) as run:
        assert seen(run, store) is False


def test_of_a_process_that_is_gone_or_became_another_nobody_can_tell(store: Path) -> None:
    with running("", store, apart=False) as run:
        pass
    assert seen(run, store) is None
    assert seen(execution(SELF, b"/srv/other"), store) is None
    assert seen(execution(SELF, os.fsencode(Path(sys.executable).resolve())), store) is True


@pytest.mark.parametrize("answer", [True, False, None])
def test_a_script_of_the_store_is_told_when_the_process_sees_another(answer: bool | None) -> None:
    """Each time anew: the shortcut remembers no program whose arguments have to be looked at."""
    asked: list[list[bytes]] = []

    def view(_run: Execution, names: Sequence[bytes]) -> bool | None:
        asked.append(list(names))
        return answer

    judge = Judge(rules(), DEVICE.encode(), lambda _path: True, view)
    scanner = Scanner(judge, Counts())
    found = [*scanner.feed(Exec(exe=BASH, argv=("bash", HELLO)).text() * 3), *scanner.finish()]
    assert asked == [[HELLO.encode()]] * 3
    told = [reason.value for verdict in found for reason in verdict.reasons]
    assert told == (["forged-store-path"] * 3 if answer is False else [])
    assert judge.tally.unseen == (3 if answer is None else 0)
    assert judge.tally.inside == (0 if answer is False else 3)
