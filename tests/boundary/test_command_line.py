"""The whole program as the operator starts it; fake tools first in PATH note each call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.samples import KEY

_ROOT = Path(__file__).parents[2]
_TOOLS = ("parted", "mkfs.ext4", "mkfs.vfat", "mount", "umount", "losetup", "partx", "wipefs",
          "blkid", "nixos-generate-config", "nixos-install", "ssh-keygen", "grub-install", "cp",
          "sync", "install", "rm", "mkpasswd", "systemctl", "udevadm", "debugfs",
          "nix-store", "nix-build", "nix-instantiate", "modprobe")  # fmt: skip
_PROBES = {"wipefs --no-act", "blkid --probe", "debugfs -R", "nix-instantiate --find-file",
           "modprobe --dry-run"}  # fmt: skip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the program asks for it")

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


@pytest.fixture
def call(tmp_path: Path, calls: Path) -> Call:
    """Start the program with the fake tools, with modules of its own, and in no other place."""
    tools = tmp_path / "tools"
    modules = tmp_path / "modules"
    (modules / "impermanence").mkdir(parents=True)
    (modules / "default.nix").touch()
    tools.mkdir()
    for name in _TOOLS:
        (tools / name).write_text(
            f'#!/bin/sh\necho "{name} $*" >> {calls}\ncase "{name}" in blkid) exit 2;; esac\n',
            encoding="ascii",
        )
        (tools / name).chmod(0o755)
    calls.touch()

    def start(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "paranoid_install", *arguments],
            env={
                "PATH": f"{tools}:/usr/bin:/bin:/usr/sbin:/sbin",
                "PYTHONPATH": str(_ROOT / "installer"),
                "PARANOID_MODULES": str(modules),
                **environ,
            },
            capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return start


def only_probes(calls: Path) -> bool:
    lines = calls.read_text(encoding="utf-8").splitlines()
    return all(" ".join(line.split()[:2]) in _PROBES for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "error: --disk: is missing; name the disk to install to, or say --disk auto"),
        (["--disk", "/dev/none"], 3, "error: /dev/none: there is no such disk"),
        (["--disk", "/dev/null"], 3, "error: /dev/null: there is no such disk (/dev/null is not"),
        (["--disk", "serial=none"], 3, "error: --disk serial=none: no disk fits; see why each"),
        (["--disk", "{tmp}/none.img"], 2, "does not exist; give --image-size to create it"),
        (["--disk", "{tmp}/x.img", "--image-size", "1G"], 3, "the layout needs 2.5 GiB; name a"),
        (["--disk", "{tmp}/x.img", "--image-size", "2Q"], 2, "--image-size: '2Q' is not a size"),
        (["--disk", "auto", "--tmpfs-size", "2Q"], 2, "--tmpfs-size: '2Q' is not a size"),
        (["--disk", "auto", "--answers", "/none"], 2, "error: /none: cannot be read (No such file"),
        (["--disk", "auto", "--answers", "/dev/zero"], 2, "zero: cannot be read (is no regular"),
        (["--disk", "auto", "--answers", "{tmp}/fifo"], 2, "fifo: cannot be read (is no regular"),
        (["--disk", "auto", "--ssh-key", "{tmp}/fifo"], 2, "nor a file (is no regular file)"),
        (["--disk", "auto", "--ssh-key", "/dev/zero"], 2, "nor a file (is no regular file)"),
        (["--disk", "auto", "--root-password-hash-file", "{tmp}/fifo"], 2,
         "cannot be read as a password hash (is no regular file)"),
        (["--disk", "auto", "--frimware", "bios"], 2, "No such option: --frimware"),
        (["--disk", "{tmp}/x.img", "--image-size", "4G", "--root", "/usr"], 3,
         "error: /usr: is mounted or not empty"),
        (["--disk", "{tmp}/x.img", "--image-size", "4G", "--system", "/none"], 2,
         "--system: /none cannot be found"),
        (["--disk", "{tmp}/x.img", "--image-size", "4G", "--plan-hash", "0" * 64], 3,
         "not the one approved"),
    ],
)  # fmt: skip
def test_a_bad_request_is_one_sentence_and_nothing_ran(
    call: Call, calls: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    words = [a.format(tmp=tmp_path) for a in arguments]
    os.mkfifo(tmp_path / "fifo")
    extra = [] if "--root" in words else ["--root", f"{tmp_path}/root"]
    before = sorted(tmp_path.rglob("*"))
    done = call(*words, *extra, "--ssh-key", KEY)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert "a bug" not in done.stderr
    assert only_probes(calls), calls.read_text()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_image_that_is_not_blank_is_kept(call: Call, calls: Path, tmp_path: Path) -> None:
    image = tmp_path / "x.img"
    with image.open("wb") as file:
        file.truncate(4 << 30)
    (tmp_path / "tools/wipefs").write_text(
        f'#!/bin/sh\necho "wipefs $*" >> {calls}\n'
        """echo '{"signatures": [{"device":"x","type":"crypto_LUKS"}]}'\n""",
        encoding="ascii",
    )
    done = call("--disk", str(image), "--ssh-key", KEY, "--root", f"{tmp_path}/root")
    assert done.returncode == 3
    assert f"is not blank: a LUKS volume; to erase all of it say --wipe {image}" in done.stderr
    assert only_probes(calls)


def test_garbage_of_a_probe_is_a_refusal(call: Call, calls: Path, tmp_path: Path) -> None:
    image = tmp_path / "x.img"
    with image.open("wb") as file:
        file.truncate(4 << 30)
    (tmp_path / "tools/wipefs").write_text("#!/bin/sh\necho garbage\n", encoding="ascii")
    done = call("--disk", str(image), "--ssh-key", KEY, "--root", f"{tmp_path}/root")
    assert done.returncode == 3
    assert "printed what is not a list of signatures" in done.stderr
    assert only_probes(calls)


def test_nobody_could_log_in(call: Call, calls: Path, tmp_path: Path) -> None:
    if any(Path(p).exists() for p in ("/root/.ssh/authorized_keys",
                                      "/etc/ssh/authorized_keys.d/root")):  # fmt: skip
        pytest.skip("root on this machine has ssh keys of its own")
    image = ("--disk", f"{tmp_path}/x.img", "--image-size", "4G")
    done = call(*image, "--root", f"{tmp_path}/root")
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == (
        "error: nobody could log in: no ssh key was given, and root on this machine has none; "
        "give --ssh-key or --generate-root-password"
    )
    assert only_probes(calls)


def test_a_missing_tool_is_found_before_anything_is_written(
    call: Call, calls: Path, tmp_path: Path
) -> None:
    (tmp_path / "tools/nixos-install").unlink()
    image = ("--disk", f"{tmp_path}/x.img", "--image-size", "4G")
    done = call(*image, "--root", f"{tmp_path}/root", "--ssh-key", KEY)
    assert done.returncode == 3
    assert "error: this machine: nixos-install cannot be found in PATH; install" in done.stderr
    assert only_probes(calls)
    assert not (tmp_path / "x.img").exists()


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    call: Call, calls: Path, tmp_path: Path
) -> None:
    image = ("--disk", f"{tmp_path}/x.img", "--image-size", "4G", "--firmware", "uefi")
    before = sorted(tmp_path.rglob("*"))
    done = call(*image, "--root", f"{tmp_path}/root", "--ssh-key", KEY, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "plan"
    assert events[-1]["firmware"] == "uefi"
    assert only_probes(calls)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_warns_as_the_run_would(call: Call, tmp_path: Path) -> None:
    image = ("--disk", f"{tmp_path}/x.img", "--image-size", "4G", "--root", f"{tmp_path}/root")
    done = call(*image, "--skip-login-check", "--dry-run", "--plain")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.endswith("warning: nobody has checked that anyone can log in afterwards")


def test_the_error_is_an_event_too(call: Call, tmp_path: Path) -> None:
    done = call("--disk", "/dev/none", "--json")
    event = json.loads(done.stdout.splitlines()[-1])
    assert (event["event"], event["exit_code"], event["type"]) == ("error", 3, "RefusedError")


def test_settings_come_from_the_environment_and_an_answer_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('disk = "/dev/a"\nthen = "halt"\n', encoding="utf-8")
    done = call("--answers", f"{tmp_path}/a.toml", PARANOID_THEN="nothing")
    assert "/dev/a: there is no such disk" in done.stderr
    done = call("--answers", f"{tmp_path}/a.toml")
    assert f"error: {tmp_path}/a.toml: then: 'halt' is not an ending" in done.stderr


@pytest.mark.parametrize("argument", ["--version", "--help"])
def test_asking_for_help_loads_no_heavy_library(argument: str) -> None:
    script = (
        "import sys; sys.argv = ['paranoid-install', sys.argv[1]]\n"
        "from paranoid_install.__main__ import main\n"
        "code = main()\n"
        "print(code, sorted({'sh', 'pyudev', 'tree_sitter'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, argument], capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(_ROOT / "installer"), "PATH": "/usr/bin:/bin"}, timeout=60,
    )  # fmt: skip
    assert done.stderr == "0 []\n"
    assert "paranoid-install" in done.stdout
