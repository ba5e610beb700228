"""Whatever becomes of the output, a run ends in what it would have, and says so by its code."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Bench

WHERE = {
    "closed": 'exec "$@" <&- >&- 2>&-',
    "closed-errors": 'exec "$@" 2>&-',
    "full": 'exec "$@" >/dev/full 2>/dev/full',
    "head": 'set -o pipefail; "$@" 2>&1 | head -n 1',
    "hung-up": 'set -o pipefail; "$@" 2>&1 | true',
}
FORMS = ("--plain", "--json")

# The installer as it is, but for one action that fails as nobody has foreseen.
BUG = """
import sys
from paranoid_install.actions import NoteTable

def apply(self, machine):
    raise ZeroDivisionError("a bug")

NoteTable.apply = apply
from paranoid_install.__main__ import main
sys.exit(main())
"""


def request(bench: Bench, system: str, key: Path) -> list[str]:
    return ["--disk", str(bench.image), "--image-size", "3G", "--ssh-key", str(key),
            "--system", system]  # fmt: skip


def code(bench: Bench, where: str, *words: str) -> int:
    done = subprocess.run(
        ["bash", "-c", WHERE[where], "bash", *words],
        env=bench.environment, check=False, capture_output=True, timeout=300,
    )  # fmt: skip
    return done.returncode


@pytest.mark.parametrize(
    ("where", "form"),
    [
        ("closed", "--plain"),
        ("head", "--json"),
        *(pytest.param(w, form, marks=pytest.mark.full) for w in WHERE for form in FORMS),
    ],
)
def test_a_run_that_nobody_hears_installs(
    bench: Bench, system: str, key: Path, where: str, form: str
) -> None:
    assert code(bench, where, *bench.command(*request(bench, system, key), form)) == 0
    assert bench.left() == []
    again = bench.run(*request(bench, system, key)[:2], "--ssh-key", str(key), "--system", system)
    assert again.code == 3
    assert "is not blank" in again.err


@pytest.mark.parametrize(
    "where",
    ["full", *(pytest.param(w, marks=pytest.mark.full) for w in WHERE if w != "full")],
)
def test_a_failure_that_nobody_hears_has_its_code(
    bench: Bench, system: str, key: Path, where: str
) -> None:
    bench.fake("nixos-install", "seq 5000; exit 9")
    assert code(bench, where, *bench.command(*request(bench, system, key), "--plain")) == 5
    assert bench.left() == []


@pytest.mark.parametrize("where", WHERE)
def test_a_refusal_and_a_wrong_request_have_theirs(bench: Bench, key: Path, where: str) -> None:
    words = ("--disk", "/dev/none", "--ssh-key", str(key))
    assert code(bench, where, *bench.command(*words)) == 3
    assert code(bench, where, *bench.command(*words, "--then", "halt")) == 2


def test_a_plan_that_nobody_got_is_not_delivered(bench: Bench, system: str, key: Path) -> None:
    words = bench.command(*request(bench, system, key), "--dry-run", "--json")
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" >/dev/full', "bash", *words],
        env=bench.environment, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "standard output: could not be written (No space left on device)" in done.stderr


def test_a_bug_after_the_first_write_is_5_and_its_traceback_is_kept(
    bench: Bench, system: str, key: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BUG, "--root", str(bench.root), *request(bench, system, key)],
        env=bench.environment, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 5
    assert "error: step partition: this is a bug in paranoid-install: ZeroDivision" in done.stderr
    named = re.search(r"the traceback is in (\S+)", done.stderr)
    assert named is not None
    log = Path(named[1])
    assert "in apply" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    log.unlink()
    assert bench.left() == []
