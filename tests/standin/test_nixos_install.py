"""The stand-in takes nixos-install's command line and calls Nix as nixos-install does."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standin.nixos_install import InstallFailed, Options, check_root, find_build_file, parse

PROGRAM = Path(__file__).with_name("nixos-install")
SYSTEM = "/nix/store/00000000000000000000000000000000-system"

# Each writes down how it was called; nixos-enter's own programs begin with unshare.
_RECORDER = '#!/bin/sh\necho "$(basename "$0") $*" >> "$CALLS"\n'


def test_the_command_line_is_read() -> None:
    options = parse(
        ["--root", "/target", "--system", SYSTEM, "--no-root-passwd", "--no-channel-copy",
         "--option", "sandbox", "false", "-j", "2", "--show-trace", "--no-bootloader"]
    )  # fmt: skip
    assert options == Options(
        root="/target",
        system=SYSTEM,
        copy_channel=False,
        root_password=False,
        boot_loader=False,
        nix=["--option", "sandbox", "false", "-j", "2", "--show-trace"],
    )


@pytest.mark.parametrize("word", ["--flake", "--file", "--attr"])
def test_what_it_cannot_do_it_names(word: str) -> None:
    with pytest.raises(InstallFailed, match=f"{word} is beyond this stand-in"):
        parse([word, "x"])


@pytest.mark.parametrize("argv", [["--rooot", "/mnt"], ["--root"], ["--option", "one"], ["extra"]])
def test_a_wrong_command_line_is_refused(argv: list[str]) -> None:
    with pytest.raises(InstallFailed):
        parse(argv)


def test_a_root_that_others_cannot_search_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "mnt").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(InstallFailed, match="should have permissions 755, but had permissions 700"):
        check_root(closed / "mnt")


def test_a_missing_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="doesn't exist"):
        check_root(tmp_path / "nowhere")


@pytest.fixture
def root() -> Iterator[Path]:
    """A target whose parents anyone may search, as the real tool demands; pytest's are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def run(root: Path, programs: Path, *argv: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the stand-in with recording programs first in PATH; its result and the calls."""
    programs.mkdir()
    for name in ("nix-env", "nix-build", "unshare"):
        file = programs / name
        file.write_text(_RECORDER)
        file.chmod(0o755)
    calls = programs / "calls"
    done = subprocess.run(
        [PROGRAM, "--root", root, *argv],
        env={"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, calls.read_text() if calls.exists() else ""


def test_a_ready_system_is_copied_made_the_profile_and_switched_to(
    root: Path, tmp_path: Path
) -> None:
    done, calls = run(root, tmp_path / "bin", "--system", SYSTEM, "--no-channel-copy")

    assert done.returncode == 0, done.stderr
    copied, entered = calls.splitlines()
    assert copied == (
        f"nix-env --store {root} --extra-substituters auto?trusted=1"
        f" -p {root}/nix/var/nix/profiles/system --set {SYSTEM}"
    )
    assert entered.startswith("unshare --fork --mount")
    assert entered.endswith("-c /run/current-system/bin/switch-to-configuration boot")
    assert (root / "etc/NIXOS").exists()
    assert (root / "etc/mtab").readlink() == Path("/proc/mounts")
    assert done.stdout.splitlines()[-1] == "installation finished!"
    assert not list(root.glob("tmp.*")), "its temporary directory is still there"


def test_without_a_boot_loader_the_root_is_not_entered(root: Path, tmp_path: Path) -> None:
    done, calls = run(
        root, tmp_path / "bin", "--system", SYSTEM, "--no-channel-copy", "--no-bootloader"
    )
    assert done.returncode == 0, done.stderr
    assert "unshare" not in calls


def test_without_a_configuration_nothing_is_built(root: Path, tmp_path: Path) -> None:
    done, calls = run(root, tmp_path / "bin", "--no-channel-copy")
    assert done.returncode == 1
    assert f"configuration file {root}/etc/nixos/configuration.nix doesn't exist" in done.stdout
    assert calls == ""


def test_a_failing_nix_ends_it_with_nixs_exit_code(root: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nix-env").write_text("#!/bin/sh\nexit 7\n")
    (programs / "nix-env").chmod(0o755)
    done = subprocess.run(
        [PROGRAM, "--root", root, "--system", SYSTEM, "--no-channel-copy"],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 7
    assert not (root / "etc/NIXOS").exists()


def test_a_build_file_of_the_caller_s_directory_shadows_the_configuration(tmp_path: Path) -> None:
    here, live = tmp_path / "repository/deep", tmp_path / "live"
    here.mkdir(parents=True)
    live.mkdir()
    assert find_build_file(here, live) is None
    for name in ("default.nix", "system.nix"):
        (live / name).touch()
        assert find_build_file(here, live) == live / name
    for directory, name in ((here, "default.nix"), (here.parent, "system.nix")):
        (directory / name).touch()
        assert find_build_file(here, live) == directory / name
