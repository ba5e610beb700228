"""A whole install onto an image file, and what it leaves."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from .conftest import TOP, Bench, Opened, Outcome, opened_image


def arguments(bench: Bench, system: str, key: Path) -> list[str]:
    return [
        "--disk", str(bench.image), "--image-size", "3G", "--tmpfs-size", "2G",
        "--ssh-key", str(key), "--system", system, "--json",
    ]  # fmt: skip


def install(bench: Bench, system: str, key: Path, *more: str) -> Outcome:
    return bench.run(*arguments(bench, system, key), *more)


@pytest.fixture(scope="module")
def installed(shared: Bench, system: str, key: Path) -> Outcome:
    outcome = install(shared, system, key)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="module")
def opened(shared: Bench, installed: Outcome) -> Iterator[Opened]:
    with opened_image(shared.image, shared.image.parent) as place:
        yield place


def test_nothing_of_the_run_is_left_on_this_machine(shared: Bench, installed: Outcome) -> None:
    assert shared.left() == []


def test_every_event_is_as_documented(installed: Outcome) -> None:
    schema = json.loads((TOP / "docs/events.schema.json").read_text())
    for event in installed.events:
        jsonschema.validate(event, schema)
    kinds = {str(event["event"]) for event in installed.events}
    assert {"plan", "survey", "step", "action", "fact", "progress", "store", "result"} <= kinds


def test_the_disk_is_laid_out_as_the_policy_says(installed: Outcome, opened: Opened) -> None:
    header, boot, nix = opened.table.splitlines()[1:]
    assert ":msdos:" in header
    assert boot.startswith("1:1048576B:536870911B:")
    assert boot.endswith("boot;")
    assert nix.startswith("2:536870912B:")


def test_the_file_systems_carry_their_labels(installed: Outcome, opened: Opened) -> None:
    for place, label in ((opened.boot, "boot"), (opened.nix, "nix")):
        found = subprocess.run(
            ["findmnt", "--noheadings", "--output", "LABEL", place],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout.strip() == label


def test_the_system_is_installed_with_its_boot_loader(
    installed: Outcome, opened: Opened, shared: Bench, system: str
) -> None:
    profile = opened.nix / "var/nix/profiles/system"
    assert profile.is_symlink()
    assert str((profile.parent / profile.readlink()).readlink()) == system
    assert (opened.nix / "store" / Path(system).name / "init").exists()
    assert "menuentry" in (opened.boot / "grub/grub.cfg").read_text()
    with shared.image.open("rb") as disk:
        assert b"GRUB" in disk.read(512)


def test_the_collectors_roots_lead_nowhere_outside(installed: Outcome, opened: Opened) -> None:
    roots = [p for p in (opened.nix / "var/nix/gcroots").rglob("*") if p.is_symlink()]
    assert roots
    assert [str(r.readlink()) for r in roots if not str(r.readlink()).startswith("/nix/")] == []


def test_the_machine_has_its_own_identity(installed: Outcome, opened: Opened, key: Path) -> None:
    etc = opened.persist / "etc"
    result = installed.last("result")
    for kind in ("ed25519", "rsa"):
        private = etc / f"ssh/ssh_host_{kind}_key"
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        printed = subprocess.run(
            ["ssh-keygen", "-l", "-f", f"{private}.pub"], capture_output=True, text=True, check=True
        )
        assert result[f"host_key_{kind}"] == printed.stdout.split()[1]
    machine_id = (etc / "machine-id").read_text().strip()
    assert len(machine_id) == 32
    assert result["machine_id"] == machine_id
    assert (etc / "ssh/authorized_keys.d/root").read_text() == key.read_text()


def test_the_configuration_is_ready_to_be_rebuilt_from(installed: Outcome, opened: Opened) -> None:
    nixos = opened.persist / "etc/nixos"
    hardware = (nixos / "hardware-configuration.nix").read_text()
    assert '[ "size=2G" "mode=755" "noexec" "nosuid" "nodev" ]' in hardware
    assert '"bind"' not in hardware
    assert '"loop"' not in hardware
    uuids = re.findall(r"/dev/disk/by-uuid/([0-9a-f-]{36})", hardware)
    assert len(set(uuids)) == 2
    for place in (opened.boot, opened.nix):
        found = subprocess.run(
            ["findmnt", "--noheadings", "--output", "UUID", place],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert found.stdout.strip() in uuids
    assert "./hardware-configuration.nix" in (nixos / "configuration.nix").read_text()
    for part in ("default.nix", "policy/layout.toml", "lib/policy.nix", "impermanence"):
        assert (nixos / "paranoid" / part).exists(), part
    # Activation starts it as a program: without the bit nothing persists.
    script = nixos / "paranoid/impermanence/create-directories.bash"
    assert oct(script.stat().st_mode & 0o7777) == "0o755"
    for file in nixos.rglob("*.nix"):
        subprocess.run(["nix-instantiate", "--parse", file], check=True, stdout=subprocess.DEVNULL)


def test_the_record_tells_what_was_done(installed: Outcome, opened: Opened, system: str) -> None:
    file = opened.persist / "var/log/paranoid-install/record.json"
    record = json.loads(file.read_text())
    assert record["toplevel"] == system
    assert record["plan_hash"] == installed.last("plan")["hash"]
    assert record["disk"]["size"] == 3 * 1024**3
    assert record["machine_id"] == (opened.persist / "etc/machine-id").read_text().strip()
    assert record["sealed"] is False
    result = installed.last("result")
    assert record["host_key_fingerprints"] == {
        "ed25519": result["host_key_ed25519"],
        "rsa": result["host_key_rsa"],
    }


def test_a_sealed_image_holds_no_identity_and_claims_none(
    bench: Bench, system: str, key: Path
) -> None:
    # As a real nixos-install may: the activation that it runs can set one up.
    bench.fake(
        "nixos-install", f'"$REAL" "$@" && echo id > {bench.root}/nix/persist/etc/machine-id'
    )
    outcome = install(bench, system, key, "--seal")
    assert outcome.code == 0, outcome.err
    with opened_image(bench.image, bench.image.parent) as opened:
        etc = opened.persist / "etc"
        assert [f.name for f in (etc / "ssh").iterdir()] == ["authorized_keys.d"]
        assert (etc / "ssh/authorized_keys.d/root").read_text() == key.read_text()
        assert not (etc / "machine-id").exists()
        # Each copy has these file systems, and tools for copies give them new UUIDs.
        hardware = (etc / "nixos/hardware-configuration.nix").read_text()
        assert "/dev/disk/by-label/boot" in hardware
        assert "/dev/disk/by-label/nix" in hardware
        assert "by-uuid" not in hardware
        record = json.loads((opened.persist / "var/log/paranoid-install/record.json").read_text())
    assert record["sealed"] is True
    assert (record["host_key_fingerprints"], record["machine_id"]) == ({}, "")
    assert record["toplevel"] == system
    assert set(outcome.last("result")) == {"event", "time", "plan_hash", "toplevel", "record"}
    content = subprocess.run(
        ["grep", "--text", "--count", "PRIVATE KEY-----", bench.image],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert content.stdout.strip() == "0", "a private key stands on the disk"


def test_an_install_is_repeated_only_with_the_disks_token(
    bench: Bench, system: str, key: Path
) -> None:
    first = install(bench, system, key)
    assert first.code == 0, first.err
    before = bench.image.stat()

    again = install(bench, system, key)
    assert again.code == 3
    assert "is not blank" in again.err
    assert f"--wipe {bench.image}" in again.err
    assert bench.image.stat().st_mtime_ns == before.st_mtime_ns
    assert bench.left() == []

    anew = install(bench, system, key, "--wipe", str(bench.image))
    assert anew.code == 0, anew.err
    assert anew.last("result")["machine_id"] != first.last("result")["machine_id"]
    assert bench.left() == []


def test_a_dry_run_says_the_same_and_does_nothing(bench: Bench, system: str, key: Path) -> None:
    dry = install(bench, system, key, "--dry-run")
    assert dry.code == 0
    assert not bench.image.exists()
    real = install(bench, system, key)
    assert real.last("plan")["hash"] == dry.last("plan")["hash"]
    planned = [a["line"] for s in dry.last("plan")["steps"] for a in s["actions"]]  # type: ignore[attr-defined]
    done = [str(e["line"]) for e in real.events if e["event"] == "action"]
    loop = next(str(e["value"]) for e in real.events if e.get("name") == "@LOOP@")
    assert [line.replace(loop, "@LOOP@") for line in done] == planned


def test_a_root_password_is_shown_once_and_kept_as_a_hash(
    bench: Bench, system: str, key: Path
) -> None:
    outcome, shown = bench.run_on_terminal(
        *arguments(bench, system, key), "--generate-root-password"
    )
    assert outcome.code == 0, outcome.err
    password = shown.split("shown only now: ")[1].split()[0]
    assert len(password) == 20
    assert password not in outcome.out
    assert password not in Path("/run/paranoid-install/journal.jsonl").read_text()
    content = subprocess.run(["grep", "--text", "--count", password, bench.image], check=False)
    assert content.returncode == 1, "the password stands on the disk"
