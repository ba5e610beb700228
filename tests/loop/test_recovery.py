"""A run that was killed: what it held is released, and it is taken up where it was cut off."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from paranoid_install.journal import RUN_JOURNAL

from .conftest import Bench, Outcome
from .trees import Tree, tree

KILLED = [
    # The program whose start ends the installer with SIGKILL, and which of its calls.
    ("parted", ""),
    ("mkfs.ext4", "nix"),
    ("mount", "tmpfs"),
    ("mount", "/nix"),
    ("mount", "/var/log"),
    ("nixos-generate-config", ""),
    ("ssh-keygen", "rsa"),
    ("nixos-install", ""),
    ("grub-install", ""),
    ("sync", "/boot"),
    ("umount", "/etc/nixos"),
    ("losetup", "--detach"),
]


def arguments(bench: Bench, system: str, key: Path, *more: str) -> list[str]:
    return [
        "--disk", str(bench.image), "--image-size", "3G", "--tmpfs-size", "2G",
        "--ssh-key", str(key), "--system", system, "--json", *more,
    ]  # fmt: skip


def die_at(bench: Bench, program: str, word: str) -> None:
    bench.fake(program, f'case "$*" in *{word}*) kill -9 $PPID; exit 9 ;; esac; exec $REAL "$@"')


def at_work(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for has no environment left."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes() != b""
    except (FileNotFoundError, ProcessLookupError):
        return False


def heal(bench: Bench, program: str) -> None:
    (bench.fakes / program).unlink()


@pytest.fixture(scope="module")
def undisturbed(shared: Bench, system: str, key: Path) -> Tree:
    outcome = shared.run(*arguments(shared, system, key))
    assert outcome.code == 0, outcome.err
    return tree(shared, "undisturbed")


@pytest.mark.parametrize(("program", "word"), KILLED, ids=[f"{p}{w}" for p, w in KILLED])
def test_a_run_killed_at_any_step_is_cleaned_up_and_resumed(
    bench: Bench,
    system: str,
    key: Path,
    undisturbed: Tree,
    program: str,
    word: str,
) -> None:
    die_at(bench, program, word)
    killed = bench.run(*arguments(bench, system, key))
    assert killed.code == -signal.SIGKILL
    heal(bench, program)

    cleaned = bench.run_bare("clean")
    assert cleaned.code == 0, cleaned.err
    assert bench.left() == []

    resumed = bench.run(*arguments(bench, system, key, "--resume"))
    assert resumed.code == 0, resumed.err
    assert bench.left() == []
    assert tree(bench, "resumed") == undisturbed


@pytest.mark.parametrize(
    "dying", ['"$REAL" "$@"; kill -9 $PPID', 'kill -9 $PPID; exec "$REAL" "$@"']
)
def test_a_loop_device_that_the_killed_run_did_not_come_to_note_is_detached(
    bench: Bench, system: str, key: Path, dying: str
) -> None:
    bench.fake("losetup", f'case "$*" in *--find*) {dying} ;; *) exec $REAL "$@" ;; esac')
    killed = bench.run(*arguments(bench, system, key))
    assert killed.code == -signal.SIGKILL
    heal(bench, "losetup")

    cleaned = bench.run_bare("clean")
    assert cleaned.code == 0, cleaned.err
    assert bench.left() == []
    again = bench.run(*arguments(bench, system, key))
    assert again.code == 0, again.err


def test_a_second_run_needs_no_word_of_the_first(
    bench: Bench, system: str, key: Path, undisturbed: Tree
) -> None:
    die_at(bench, "nixos-install", "")
    assert bench.run(*arguments(bench, system, key)).code == -signal.SIGKILL
    heal(bench, "nixos-install")
    again = bench.run(*arguments(bench, system, key))
    assert again.code == 0, again.err
    assert bench.left() == []
    assert tree(bench, "again") == undisturbed


def test_what_a_killed_run_left_at_work_is_ended(bench: Bench, system: str, key: Path) -> None:
    # Another session, at home on the target, and deaf to requests.
    pid = bench.image.parent / "pid"
    bench.fake(
        "nixos-install",
        f'cd "$2/nix"; trap "" TERM; setsid tail -f /dev/null >/dev/null 2>&1 &\n'
        f"echo $! > {pid}; kill -9 $PPID",
    )
    assert bench.run(*arguments(bench, system, key)).code == -signal.SIGKILL
    left = int(pid.read_text())
    assert "_PARANOID_RUN=" in Path(f"/proc/{left}/environ").read_text()
    heal(bench, "nixos-install")
    again = bench.run(*arguments(bench, system, key))
    assert again.code == 0, again.err
    assert not at_work(left)
    assert bench.left() == []


def test_what_was_left_at_work_is_ended_even_where_nothing_is_mounted(
    bench: Bench, loop: str, system: str, key: Path
) -> None:
    request = ["--disk", loop, "--ssh-key", str(key), "--system", system, "--json"]
    pid = bench.image.parent / "pid"
    bench.fake(
        "mkfs.ext4", f"tail -f /dev/null < {loop} >/dev/null 2>&1 &\necho $! > {pid}; kill -9 $PPID"
    )
    assert bench.run(*request).code == -signal.SIGKILL
    assert bench.run_bare("clean").code == 0
    assert not at_work(int(pid.read_text()))


def test_a_run_that_released_another_s_mounts_first_can_still_be_stopped(
    bench: Bench, system: str, key: Path
) -> None:
    die_at(bench, "nixos-install", "")
    bench.run(*arguments(bench, system, key))
    bench.fake("nixos-install", "echo at work; exec tail -f /dev/null")
    process = bench.start(*arguments(bench, system, key))
    assert process.stdout is not None
    for line in process.stdout:
        if "at work" in line:
            break
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert bench.left() == []


def cut_off_at(
    bench: Bench, loop: str, system: str, key: Path, program: str, word: str
) -> list[str]:
    """A run that ended in a program, and the journal of its boot with it; the request."""
    request = ["--disk", loop, "--ssh-key", str(key), "--system", system, "--json"]
    die_at(bench, program, word)
    assert bench.run(*request).code == -signal.SIGKILL
    heal(bench, program)
    assert bench.run_bare("clean").code == 0
    RUN_JOURNAL.unlink()
    return request


def test_what_a_run_of_an_earlier_boot_left_may_be_in_use_and_is_not_ours(
    bench: Bench, loop: str, system: str, key: Path
) -> None:
    request = cut_off_at(bench, loop, system, key, "nixos-generate-config", "")
    refused = bench.run(*request)
    assert refused.code == 3
    assert "is not blank" in refused.err
    again = bench.run(*request, "--wipe", loop)
    assert again.code == 0, again.err
    refused = bench.run(*request)
    assert refused.code == 3
    assert "holds the system that paranoid-install put there" in refused.err


@pytest.mark.parametrize("partition", [1, 2])
def test_what_somebody_has_mounted_since_the_kill_is_not_ours(
    bench: Bench, loop: str, system: str, key: Path, partition: int
) -> None:
    request = ["--disk", loop, "--ssh-key", str(key), "--system", system, "--json"]
    die_at(bench, "nixos-generate-config", "")
    assert bench.run(*request).code == -signal.SIGKILL
    heal(bench, "nixos-generate-config")
    assert bench.run_bare("clean").code == 0
    assert bench.run(*request, "--dry-run").code == 0
    bench.root.mkdir(exist_ok=True)
    subprocess.run(["mount", f"{loop}p{partition}", bench.root], check=True)
    (bench.root / "data").write_text("somebody's")
    subprocess.run(["umount", bench.root], check=True)
    again = bench.run(*request)
    assert again.code == 3
    assert "is not blank" in again.err


def test_a_system_that_lost_its_record_is_not_taken_for_a_run_that_was_cut_off(
    bench: Bench, loop: str, system: str, key: Path
) -> None:
    request = ["--disk", loop, "--ssh-key", str(key), "--system", system, "--json"]
    assert bench.run(*request).code == 0
    RUN_JOURNAL.unlink()
    lost = "rm /persist/var/log/paranoid-install/record.json"
    subprocess.run(["debugfs", "-w", "-R", lost, f"{loop}p2"], check=True, capture_output=True)
    again = bench.run(*request)
    assert again.code == 3
    assert "is not blank" in again.err


def test_a_table_that_somebody_made_after_the_kill_is_not_ours(
    bench: Bench, system: str, key: Path
) -> None:
    die_at(bench, "nixos-install", "")
    bench.run(*arguments(bench, system, key))
    heal(bench, "nixos-install")
    assert bench.run_bare("clean").code == 0
    subprocess.run(["parted", "--script", bench.image, "mklabel", "msdos"], check=True)
    again = bench.run(*arguments(bench, system, key))
    assert again.code == 3
    assert (
        f"is not blank: an msdos partition table; to erase all of it say --wipe {bench.image}"
        in (again.err)
    )


def test_a_file_system_that_somebody_made_after_the_kill_is_not_ours(
    bench: Bench, loop: str, system: str, key: Path
) -> None:
    request = ["--disk", loop, "--ssh-key", str(key), "--system", system, "--json"]
    die_at(bench, "nixos-install", "")
    bench.run(*request)
    heal(bench, "nixos-install")
    assert bench.run_bare("clean").code == 0
    subprocess.run(["mkfs.ext4", "-q", "-F", "-L", "data", f"{loop}p2"], check=True)
    again = bench.run(*request)
    assert again.code == 3
    assert "ext4 'data'" in again.err


def test_the_status_names_the_next_step_and_what_is_held(
    bench: Bench, system: str, key: Path
) -> None:
    die_at(bench, "nixos-generate-config", "")
    bench.run(*arguments(bench, system, key))
    status = bench.run_bare("status")
    assert "not finished; next is configure" in status.out
    assert "done: select, guard, partition, format, mount, persist" in status.out
    assert f"umount {bench.root}/nix" in status.out
    assert bench.run_bare("clean").code == 0
    assert "still held" not in bench.run_bare("status").out


def test_the_facts_of_the_first_part_are_in_the_final_record(
    bench: Bench, system: str, key: Path
) -> None:
    die_at(bench, "nixos-install", "")
    killed = bench.run(*arguments(bench, system, key))
    heal(bench, "nixos-install")
    assert bench.run_bare("clean").code == 0
    resumed = bench.run(*arguments(bench, system, key, "--resume"))
    facts = {e["name"]: e["value"] for e in killed.events if e["event"] == "fact"}
    assert resumed.last("result")["host_key_ed25519"] == facts["host-key-ed25519"]
    assert resumed.last("result")["machine_id"] == facts["machine-id"]


def test_a_run_with_another_request_is_not_resumed(bench: Bench, system: str, key: Path) -> None:
    die_at(bench, "nixos-install", "")
    bench.run(*arguments(bench, system, key))
    heal(bench, "nixos-install")
    assert bench.run_bare("clean").code == 0
    other = bench.run(*arguments(bench, system, key, "--resume", "--no-verify"))
    assert other.code == 3
    assert "start over with --wipe, or resume with the same request" in other.err


def test_there_is_nothing_to_resume_on_a_blank_disk(bench: Bench, system: str, key: Path) -> None:
    outcome = bench.run(*arguments(bench, system, key, "--resume"))
    assert outcome.code == 3
    assert "no unfinished run for this disk" in outcome.err
    assert not bench.image.exists()


def test_a_living_run_is_not_cleaned_up(bench: Bench, system: str, key: Path) -> None:
    bench.fake("nixos-install", "echo at work; exec tail -f /dev/null")
    process = bench.start(*arguments(bench, system, key))
    assert process.stdout is not None
    for line in process.stdout:
        if "at work" in line:
            break
    outcome = bench.run_bare("clean")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert outcome.code == 7
    assert f"process {process.pid}" in outcome.err


def test_an_approved_plan_is_run_and_another_is_not(bench: Bench, system: str, key: Path) -> None:
    dry: Outcome = bench.run(*arguments(bench, system, key, "--dry-run"))
    approved = str(dry.last("plan")["hash"])
    refused = bench.run(*arguments(bench, system, key, "--plan-hash", "0" * 64))
    assert refused.code == 3
    assert approved in refused.err
    assert not bench.image.exists()
    assert bench.run(*arguments(bench, system, key, "--plan-hash", approved)).code == 0
