"""A failure in the middle: it is named, everything of the run is released, nothing else touched."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from paranoid_install.mounts import mount_table

from .conftest import Bench, Outcome

FAILING = [
    # program, how its script begins, the step it belongs to
    ("parted", "", "partition"),
    ("mkfs.ext4", 'case "$*" in *nix*) ;; *) exec $REAL "$@" ;; esac', "format"),
    ("mount", 'case "$*" in *tmpfs*) ;; *) exec $REAL "$@" ;; esac', "mount"),
    ("mount", 'case "$*" in */nix) ;; *) exec $REAL "$@" ;; esac', "mount"),
    ("mount", 'case "$*" in */var/log) ;; *) exec $REAL "$@" ;; esac', "persist"),
    ("nixos-generate-config", "", "configure"),
    ("ssh-keygen", 'case "$*" in *rsa*) ;; *) exec $REAL "$@" ;; esac', "identity"),
    ("nixos-install", "", "install"),
    ("grub-install", "", "install"),
    ("sync", 'case "$*" in */boot) ;; *) exec $REAL "$@" ;; esac', "finish"),
]


def arguments(bench: Bench, system: str, key: Path) -> list[str]:
    return [
        "--disk", str(bench.image), "--image-size", "3G", "--tmpfs-size", "2G",
        "--ssh-key", str(key), "--system", system, "--json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("program", "unless", "step"),
    FAILING,
    ids=[f"{p}-{s}-{i}" for i, (p, _, s) in enumerate(FAILING)],
)
def test_a_failing_program_is_named_and_everything_is_released(
    bench: Bench, system: str, key: Path, program: str, unless: str, step: str
) -> None:
    mounts = mount_table()
    bench.fake(program, f"{unless}\necho this is why; exit 9")
    outcome = bench.run(*arguments(bench, system, key))
    assert outcome.code == 5
    assert f"step {step}: " in outcome.err
    assert program in outcome.err
    assert "exit code 9" in outcome.err
    assert "this is why" in outcome.err
    assert "Traceback" not in outcome.err
    (error,) = [event for event in outcome.events if event["event"] == "error"]
    assert (error["step"], error["exit_code"], error["touched"]) == (step, 5, True)
    assert bench.left() == []
    assert mount_table() == mounts


def test_a_busy_mount_is_reported_as_still_held(bench: Bench, system: str, key: Path) -> None:
    holder = bench.image.parent / "holder.pid"
    bench.fake(
        "nixos-generate-config",
        f'cd "$2/nix" && setsid tail -f /dev/null >/dev/null 2>&1 & echo $! > {holder}; exit 9',
    )
    outcome = bench.run(*arguments(bench, system, key))
    gone = os.pidfd_open(int(holder.read_text()))
    signal.pidfd_send_signal(gone, signal.SIGTERM)
    assert select.select([gone], [], [], 20)[0]
    os.close(gone)
    assert outcome.code == 6
    assert "still held" in outcome.err
    assert f"umount {bench.root}/nix" in outcome.err
    for target in (bench.root / "nix", bench.root):
        subprocess.run(["umount", target], check=True)
    loops = [name for name in bench.left() if name.startswith("/dev/loop")]
    subprocess.run(["losetup", "--detach", *loops], check=True) if loops else None


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_in_the_middle_releases_everything(
    bench: Bench, system: str, key: Path, number: signal.Signals, code: int
) -> None:
    bench.fake("nixos-install", "echo at work; exec tail -f /dev/null")
    process = bench.start(*arguments(bench, system, key))
    assert process.stdout is not None
    for line in process.stdout:
        if "at work" in line:
            break
    process.send_signal(number)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert number.name in err
    assert [e for e in Outcome(code, rest, err).events if e["event"] == "release"]
    assert bench.left() == []


def test_what_a_program_left_behind_is_ended_before_its_mounts_are_released(
    bench: Bench, system: str, key: Path
) -> None:
    # Several processes that do not heed SIGTERM, at home on the file system to be unmounted.
    bench.fake(
        "nixos-install",
        'cd "$2/nix"; trap "" TERM\n'
        "for i in 1 2 3 4 5 6 7 8; do tail -f /dev/null >/dev/null 2>&1 & done\n"
        "trap - TERM; echo at work; wait",
    )
    process = bench.start(*arguments(bench, system, key))
    assert process.stdout is not None
    for line in process.stdout:
        if "at work" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "not released" not in err
    assert bench.left() == []


def test_a_program_that_is_missing_is_found_before_anything_is_written(
    bench: Bench, system: str, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    missing = Bench(bench.image, bench.root, bench.fakes, bench.modules)
    monkeypatch.setattr(Bench, "path", property(lambda self: "/usr/bin:/bin:/usr/sbin:/sbin"))
    outcome = missing.run(*arguments(bench, system, key))
    assert outcome.code == 3
    assert "nixos-install" in outcome.err
    assert "cannot be found" in outcome.err
    assert not bench.image.exists()


def test_a_second_run_on_the_same_disk_says_who_holds_it(
    bench: Bench, system: str, key: Path
) -> None:
    bench.fake("nixos-install", "echo at work; exec tail -f /dev/null")
    first = bench.start(*arguments(bench, system, key))
    assert first.stdout is not None
    for line in first.stdout:
        if "at work" in line:
            break
    elsewhere = replace(bench, root=bench.root.with_name(bench.root.name + "-2"))
    second = elsewhere.run(*arguments(bench, system, key))
    same_root = replace(bench, image=bench.image.with_name("other.img"))
    third = same_root.run(*arguments(same_root, system, key))
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert (second.code, third.code) == (7, 7)
    assert f"{bench.image}: another install is at work on it (process {first.pid})" in second.err
    assert f"{bench.root}: another install" in third.err
    assert bench.left() == []
