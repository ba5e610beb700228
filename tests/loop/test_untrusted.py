"""What was done to a disk, a journal or a place while nobody looked is not believed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from paranoid_install.journal import RUN_JOURNAL

from .conftest import Bench, opened_image

_DISK_ID = 0x1B8
"""Where an msdos table has its id."""

RECORD = "persist/var/log/paranoid-install"


def run(*argv: str | Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@contextmanager
def mounted(device: str, place: Path) -> Iterator[Path]:
    """A partition, to be looked at and changed."""
    place.mkdir()
    run("mount", device, place)
    try:
        yield place
    finally:
        run("umount", place)
        place.rmdir()


@pytest.fixture
def partitions(loop: str) -> Iterator[str]:
    """A blank disk. Partitions that a test's kernel was told of are forgotten in the end."""
    yield loop
    subprocess.run(["partx", "--delete", loop], check=False, capture_output=True)


def on_disk(loop: str, system: str, key: Path) -> list[str]:
    return ["--disk", loop, "--ssh-key", str(key), "--system", system, "--json"]


def cut_off(bench: Bench, request: list[str], program: str, word: str) -> None:
    """A run that ended in a program, and with it all that ends with the machine."""
    bench.fake(program, f'case "$*" in *{word}*) kill -9 $PPID; exit 9 ;; esac; exec $REAL "$@"')
    assert bench.run(*request).code == -signal.SIGKILL
    (bench.fakes / program).unlink()
    assert bench.run_bare("clean").code == 0
    RUN_JOURNAL.unlink()


def test_what_was_changed_on_the_disk_before_a_resume_does_not_come_through(
    bench: Bench, partitions: str, system: str, key: Path, tmp_path: Path
) -> None:
    loop = partitions
    request = on_disk(loop, system, key)
    cut_off(bench, request, "nix-store", "--load-db")
    init = Path(f"{system}/init").resolve()
    forged = {"host-key-ed25519": "SHA256:forged", "machine-id": "0" * 32, "unheard": "of"}
    with mounted(f"{loop}p2", tmp_path / "nix") as nix:
        changed = nix / init.relative_to("/nix")
        changed.chmod(0o755)
        changed.write_text("evil")
        (nix / "persist/etc/ssh/ssh_host_ed25519_key").write_text("evil")
        (nix / "persist/etc/ssh/authorized_keys.d/root").write_text("evil")
        (nix / "persist/etc/ssh/authorized_keys.d/evil").write_text("evil")
        (nix / "persist/etc/nixos/evil.nix").write_text("evil")
        (nix / "store/.links").mkdir(exist_ok=True)
        (nix / "store/.links/evil").write_text("evil")
        with (nix / RECORD / "journal.jsonl").open("a") as journal:
            for name, value in forged.items():
                fact = {"event": "fact", "time": 1, "name": name, "value": value}
                journal.write(json.dumps(fact) + "\n")
    with mounted(f"{loop}p1", tmp_path / "boot") as boot:
        (boot / "evil").write_text("evil")

    resumed = bench.run(*request, "--resume")
    assert resumed.code == 0, resumed.err
    assert bench.left() == []
    result = resumed.last("result")
    assert not set(forged.values()) & {str(value) for value in result.values()}
    assert "unheard" not in result
    with (
        mounted(f"{loop}p2", tmp_path / "nix") as nix,
        mounted(f"{loop}p1", tmp_path / "boot") as b,
    ):
        assert (nix / init.relative_to("/nix")).read_bytes() == init.read_bytes()
        assert not list(nix.rglob("evil*"))
        assert (nix / "persist/etc/ssh/authorized_keys.d/root").read_text() == key.read_text()
        public = nix / "persist/etc/ssh/ssh_host_ed25519_key.pub"
        assert str(result["host_key_ed25519"]) in run("ssh-keygen", "-l", "-f", public)
        assert (nix / "persist/etc/machine-id").read_text().strip() == result["machine_id"]
        assert not (b / "evil").exists()


def test_another_table_is_not_gone_on_with(
    bench: Bench, partitions: str, system: str, key: Path
) -> None:
    request = on_disk(partitions, system, key)
    cut_off(bench, request, "nix-store", "--load-db")
    with Path(partitions).open("r+b") as disk:
        disk.seek(_DISK_ID)
        disk.write(b"\xfe\xca\xad\x0b")
    refused = bench.run(*request, "--resume")
    assert refused.code == 3
    assert "its partition table is not the one that the run to be resumed has written" in (
        refused.err
    )


def test_a_system_that_may_have_been_started_is_not_gone_on_with(
    bench: Bench, partitions: str, system: str, key: Path, tmp_path: Path
) -> None:
    request = on_disk(partitions, system, key)
    cut_off(bench, request, "nixos-install", "")
    with mounted(f"{partitions}p2", tmp_path / "nix") as nix:
        (nix / "persist/srv/data").write_text("somebody's")
    refused = bench.run(*request, "--resume")
    assert refused.code == 3
    assert "may have been started since" in refused.err
    with mounted(f"{partitions}p2", tmp_path / "nix") as nix:
        assert (nix / "persist/srv/data").exists()


@pytest.mark.parametrize("kind", ["sparse", "fifo", "garbage"])
def test_a_journal_that_no_run_has_written_is_none(
    bench: Bench, partitions: str, system: str, key: Path, tmp_path: Path, kind: str
) -> None:
    request = on_disk(partitions, system, key)
    cut_off(bench, request, "nix-store", "--load-db")
    with mounted(f"{partitions}p2", tmp_path / "nix") as nix:
        journal = nix / RECORD / "journal.jsonl"
        journal.unlink()
        if kind == "sparse":
            with journal.open("wb") as file:
                file.truncate(10 * 1024**4)
        elif kind == "fifo":
            os.mkfifo(journal)
        else:
            journal.write_bytes(b"[" * 1_000_000 + b"\n\xff{}\n" * 1000)
    refused = bench.run(*request, "--resume")
    assert refused.code == 3
    assert "no unfinished run for this disk" in refused.err


def image(bench: Bench, system: str, key: Path) -> list[str]:
    return ["--disk", str(bench.image), "--image-size", "3G", "--ssh-key", str(key),
            "--system", system, "--json"]  # fmt: skip


def killed(bench: Bench, system: str, key: Path) -> None:
    bench.fake("nixos-install", "kill -9 $PPID; exit 9")
    assert bench.run(*image(bench, system, key)).code == -signal.SIGKILL
    (bench.fakes / "nixos-install").unlink()


def test_what_somebody_has_mounted_since_is_not_released(
    bench: Bench, system: str, key: Path
) -> None:
    """The same type, from the same source, at the same place: the kernel gives the same numbers."""
    killed(bench, system, key)
    run("umount", "--recursive", bench.root)
    run("mount", "--types", "tmpfs", "none", bench.root)
    with ExitStack() as stack:
        stack.callback(run, "umount", bench.root)
        (bench.root / "somebody's").touch()
        assert bench.run_bare("clean").code == 0
        again = bench.run(*image(bench, system, key))
        assert again.code == 3
        assert "is mounted or not empty" in again.err
        assert (bench.root / "somebody's").exists()
    assert bench.left() == []


def test_what_lies_under_somebody_s_mount_is_told_and_released_later(
    bench: Bench, system: str, key: Path
) -> None:
    killed(bench, system, key)
    run("mount", "--types", "tmpfs", "somebody", bench.root / "nix")
    cleaned = bench.run_bare("clean")
    assert cleaned.code == 6
    assert run("findmnt", "--noheadings", "--output", "SOURCE", bench.root / "nix").split()[-1] == (
        "somebody"
    )
    run("umount", bench.root / "nix")
    assert bench.run_bare("clean").code == 0
    assert bench.left() == []


def test_an_image_that_somebody_has_attached_since_stays_attached(
    bench: Bench, system: str, key: Path
) -> None:
    killed(bench, system, key)
    run("umount", "--recursive", bench.root)
    (ours,) = bench.left()
    run("losetup", "--detach", ours)
    theirs = run("losetup", "--find", "--show", bench.image).strip()
    with ExitStack() as stack:
        stack.callback(run, "losetup", "--detach", theirs)
        assert theirs == ours
        assert bench.run_bare("clean").code == 0
        assert bench.left() == [theirs]


def test_whatever_the_umask_nothing_is_for_all_to_write_and_modes_are_kept(
    bench: Bench, system: str, key: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir(0o555)
    for name, mode in {
        "configuration.nix": 0o444,
        "key": 0o600,
        "open": 0o666,
        "set": 0o4755,
    }.items():
        (config / name).write_text(key.read_text())
        (config / name).chmod(mode)
    words = bench.command(*image(bench, system, key), "--config", str(config))
    done = subprocess.run(
        ["sh", "-c", 'umask 000; exec "$@"', "sh", *words],
        env=bench.environment, check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(bench.image.stat().st_mode) == 0o600
    look = tmp_path / "look"
    look.mkdir()
    with opened_image(bench.image, look) as place:
        nixos = place.persist / "etc/nixos"
        modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in nixos.iterdir()}
        assert {name: oct(modes[name]) for name in ("configuration.nix", "key", "open", "set")} == {
            "configuration.nix": "0o644", "key": "0o600", "open": "0o644", "set": "0o755",
        }  # fmt: skip
        for top in (place.boot, place.nix):
            for path in top.rglob("*"):
                mode = path.lstat().st_mode
                assert stat.S_ISLNK(mode) or not mode & stat.S_IWOTH, path


def test_a_file_that_changes_after_the_plan_was_made_is_not_copied(
    bench: Bench, system: str, key: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "configuration.nix").write_text(key.read_text())
    words = [*image(bench, system, key), "--config", str(config)]
    approved = str(bench.run(*words, "--dry-run").last("plan")["hash"])
    bench.fake("parted", f'echo evil > {config}/configuration.nix; exec $REAL "$@"')
    failed = bench.run(*words, "--plan-hash", approved)
    assert failed.code == 5
    assert f"{config}: has changed since the plan was made" in failed.err
    assert bench.left() == []
    bench.image.unlink()
    assert bench.run(*words, "--plan-hash", approved).code == 3


def test_the_installed_disk_is_told_by_its_record(
    bench: Bench, partitions: str, system: str, key: Path, tmp_path: Path
) -> None:
    loop = partitions
    answers = tmp_path / "answers.toml"
    answers.write_text(
        f'disk = "{loop}"\nssh-key = "{key}"\nsystem = "{system}"\nroot = "{bench.root}"\n'
    )
    assert bench.run_bare("installed", "--answers", str(answers)).code == 3
    assert bench.run(*on_disk(loop, system, key)).code == 0
    found = bench.run_bare("installed", "--answers", str(answers))
    assert (found.code, found.out) == (0, f"{loop}p2\n{system}\n"), found.err
    with mounted(f"{loop}p2", tmp_path / "nix") as nix:
        (nix / RECORD / "record.json").write_text("{}")
    assert bench.run_bare("installed", "--answers", str(answers)).code == 3
