"""Each program in turn fails, hangs, says nonsense, or is missing: a sentence, and nothing left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from paranoid_install.mounts import mount_table

from .conftest import Bench, Outcome

PROBES = ("wipefs", "blkid")
"""What is run to look at the machine, before anything is written."""

FAULTS = {
    "fails": "echo this is why >&2; exit 9",
    "hangs": 'trap "" TERM; tail -f /dev/null & wait; wait',
    "prints garbage": r"printf 'garbage \377\000\033[31m\n'; exit 0",
}

HANGS = [
    # program, which of its calls, the step it belongs to
    ("losetup", "*--find*", "partition"),
    ("partx", "*", "partition"),
    ("parted", "*", "partition"),
    ("mkfs.ext4", "*", "format"),
    ("mount", "*tmpfs*", "mount"),
    ("mount", "*/var/log", "persist"),
    ("nixos-generate-config", "*", "configure"),
    ("cp", "*/policy", "configure"),
    ("sync", "*/nix", "configure"),
    ("ssh-keygen", "*rsa*", "identity"),
    ("mkpasswd", "*", "identity"),
    ("rm", "*.install-tmp", "install"),
    ("grub-install", "*", "install"),
]

GARBAGE = [
    # program, the step that notices, what it says of it
    ("losetup", "partition", "which is no loop device"),
    ("parted", "partition", "found no partition table where one was just written"),
    ("mkfs.ext4", "format", "ext4 'boot' was just made, and there is nothing"),
    ("nixos-generate-config", "configure", "hardware-configuration.nix"),
    ("ssh-keygen", "identity", "made no key with a fingerprint"),
    ("mkpasswd", "identity", "printed no yescrypt hash"),
    ("nixos-install", "install", "nixos-install did not finish"),
]

# The installer as it is, but that one program has a second instead of its minutes.
SHORT = """
import sys
from paranoid_install import install
from paranoid_install.runner import ShRunner

class Short(ShRunner):
    def run(self, *argv, timeout=120.0, **options):
        return super().run(*argv, timeout=1.0 if argv[0] == {program!r} else timeout, **options)

install.ShRunner = Short
from paranoid_install.__main__ import main
sys.exit(main())
"""


def arguments(bench: Bench, system: str, key: Path) -> list[str]:
    return [
        "--disk", str(bench.image), "--image-size", "3G", "--tmpfs-size", "2G",
        "--ssh-key", str(key), "--system", system, "--generate-root-password", "--json",
    ]  # fmt: skip


def run(bench: Bench, program: str, *words: str) -> Outcome:
    """Run with a time limit of one second for this program."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT.format(program=program), "--root", str(bench.root), *words],
        env=bench.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def is_clean(bench: Bench, outcome: Outcome) -> bool:
    assert "Traceback" not in outcome.err
    assert "a bug" not in outcome.err
    assert sum(line.startswith("error: ") for line in outcome.err.splitlines()) == 1
    assert "\x1b" not in outcome.err
    return bench.left() == []


@pytest.mark.parametrize("fault", [*FAULTS, "cannot start"])
@pytest.mark.parametrize("probe", PROBES)
def test_a_probe_that_cannot_be_trusted_is_a_refusal(
    bench: Bench, system: str, key: Path, probe: str, fault: str
) -> None:
    with bench.image.open("wb") as file:
        file.truncate(3 * 1024**3)
    ran = bench.image.parent / "ran"
    for program in ("parted", "mkfs.ext4", "mount", "losetup"):
        bench.fake(program, f'echo "{program}" >> {ran}; exit 9')
    if probe == "blkid":
        # It is asked where wipefs has nothing to say.
        bench.fake("wipefs", ":")
    if fault == "cannot start":
        (bench.fakes / probe).write_text("#!/no/such/interpreter\n")
        (bench.fakes / probe).chmod(0o755)
    else:
        bench.fake(probe, FAULTS[fault])
    outcome = run(bench, probe, *arguments(bench, system, key))
    assert outcome.code == 3, outcome.err
    assert is_clean(bench, outcome)
    assert not ran.exists()
    assert probe in outcome.err


@pytest.mark.parametrize(("program", "calls", "step"), HANGS)
def test_a_program_that_hangs_is_ended_and_everything_is_released(
    bench: Bench, system: str, key: Path, program: str, calls: str, step: str
) -> None:
    mounts = mount_table()
    bench.fake(program, f'case "$*" in {calls}) {FAULTS["hangs"]} ;; esac; exec $REAL "$@"')
    outcome = run(bench, program, *arguments(bench, system, key))
    assert outcome.code == 5, outcome.err
    assert is_clean(bench, outcome)
    assert f"step {step}: " in outcome.err
    assert program in outcome.err
    assert "stopped after 1 s without an end" in outcome.err
    assert mount_table() == mounts


@pytest.mark.parametrize(("program", "step", "sentence"), GARBAGE)
def test_a_program_that_does_nothing_and_says_nonsense_is_found_out(
    bench: Bench, system: str, key: Path, program: str, step: str, sentence: str
) -> None:
    mounts = mount_table()
    bench.fake(program, FAULTS["prints garbage"])
    outcome = bench.run(*arguments(bench, system, key))
    assert outcome.code == 5, outcome.err
    assert is_clean(bench, outcome)
    assert f"step {step}: " in outcome.err
    assert sentence in outcome.err
    assert mount_table() == mounts
