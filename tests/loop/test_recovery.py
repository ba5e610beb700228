"""A run that was killed: what it held is released, and it is taken up where it was cut off."""

from __future__ import annotations

import signal
import stat
from pathlib import Path

import pytest

from .conftest import Bench, Outcome, opened_image

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

# What differs from install to install by design, below the persist root and Nix's own state.
RANDOM = (
    "ssh_host_",
    "machine-id",
    "record.json",
    "journal.jsonl",
    "gcroots/auto/",
    "db/",
    ".links",
)


def arguments(bench: Bench, system: str, key: Path, *more: str) -> list[str]:
    return [
        "--disk", str(bench.image), "--image-size", "3G", "--tmpfs-size", "2G",
        "--ssh-key", str(key), "--system", system, "--json", *more,
    ]  # fmt: skip


def die_at(bench: Bench, program: str, word: str) -> None:
    bench.fake(program, f'case "$*" in *{word}*) kill -9 $PPID; exit 9 ;; esac; exec $REAL "$@"')


def heal(bench: Bench, program: str) -> None:
    (bench.fakes / program).unlink()


def tree(bench: Bench, name: str) -> dict[str, tuple[str, int, bytes]]:
    """Every path on both file systems: mode, owner, and contents but for what is random."""
    directory = bench.image.parent / name
    directory.mkdir()
    found = {}
    with opened_image(bench.image, directory) as place:
        for top in (place.boot, place.nix):
            for path in sorted(top.rglob("*")):
                status = path.lstat()
                relative = f"{top.name}/{path.relative_to(top)}"
                known = not any(word in relative for word in RANDOM)
                if path.is_symlink():
                    content = str(path.readlink()).encode() if known else b""
                else:
                    content = path.read_bytes() if known and path.is_file() else b""
                if relative.startswith("nix/var/nix/gcroots/auto/"):
                    relative = "nix/var/nix/gcroots/auto/…"
                found[relative] = (stat.filemode(status.st_mode), status.st_uid, content)
    return {
        path: entry
        for path, entry in found.items()
        # GRUB's own files carry the file system's UUID, its environment block a time.
        if not path.startswith(("boot/grub/i386-pc", "boot/grub/grubenv", "boot/grub/fonts"))
    }


@pytest.fixture(scope="module")
def undisturbed(shared: Bench, system: str, key: Path) -> dict[str, tuple[str, int, bytes]]:
    outcome = shared.run(*arguments(shared, system, key))
    assert outcome.code == 0, outcome.err
    return tree(shared, "undisturbed")


@pytest.mark.parametrize(("program", "word"), KILLED, ids=[f"{p}{w}" for p, w in KILLED])
def test_a_run_killed_at_any_step_is_cleaned_up_and_resumed(
    bench: Bench,
    system: str,
    key: Path,
    undisturbed: dict[str, tuple[str, int, bytes]],
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
