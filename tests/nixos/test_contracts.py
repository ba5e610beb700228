"""The stand-ins beside what they stand for, on the same mounts and command lines."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.nixos.lab.build import Built, Place
from tests.nixos.lab.native import mounts
from tests.vm.vmlab.cache import REPOSITORY

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

STAND_INS = REPOSITORY / "tests/standin"

LAID_OUT = """
set -e
cd /target
mount --make-rprivate /
truncate -s 64M boot.img nix.img
mkfs.ext4 -q -L boot boot.img
mkfs.ext4 -q -L nix nix.img
mkdir root
chmod 755 root
mount -t tmpfs -o size=2G,mode=755 none root
mkdir root/boot root/nix
mount -o loop boot.img root/boot
mount -o loop nix.img root/nix
for place in etc/nixos var/lib srv; do
  mkdir -p root/$place root/nix/persist/$place
  mount --bind root/nix/persist/$place root/$place
done
"""
"""A target as the installer mounts it, in a mount namespace that ends with the script."""


@dataclass(frozen=True)
class Answer:
    """What a program said and how it ended; `files` are those that it wrote."""

    code: int
    stdout: str
    stderr: str
    files: dict[str, str]


@pytest.fixture(scope="module")
def installer(built: Callable[[str], Built]) -> Built:
    return built("installer")


def ask(place: Place, installer: Built, work: Path, program: str, script: str) -> Answer:
    """Run a script after LAID_OUT, with `$program` one of the two; see `both`."""
    systemd = of_closure(place, installer, "systemd")
    done = subprocess.run(
        place.root.argv(
            "env", f"PATH={PATH}:{systemd}/bin", f"program={program}",
            "sh", "-c", LAID_OUT + script,
            mounts=(*mounts(place, installer, work), "--bind", str(work), "/target"),
        ),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    files = {path.name: path.read_text() for path in sorted(work.glob("*.nix"))}
    return Answer(done.returncode, done.stdout, done.stderr, files)


def both(
    place: Place, installer: Built, scratch: Path, name: str, script: str
) -> tuple[Answer, Answer]:
    """The real program's answer and the stand-in's, each on a target of its own."""
    answers = []
    for kind, program in (
        ("real", f"{of_closure(place, installer, 'nixos-install-tools')}/bin/{name}"),
        ("stand-in", str(STAND_INS / name)),
    ):
        work = scratch / kind
        work.mkdir()
        # nixos-install wants it.
        work.chmod(0o755)
        answers.append(ask(place, installer, work, program, script))
    return answers[0], answers[1]


def of_closure(place: Place, installer: Built, name: str) -> str:
    """A package of the installer's, as a store path."""
    pattern = re.compile(rf"/nix/store/[a-z0-9]{{32}}-{name}-[0-9][^-]*(-git)?")
    [found] = [path for path in place.root.closure(installer.path) if pattern.fullmatch(path)]
    return found


@pytest.mark.parametrize(
    "options",
    ["--root root", "--root root --no-filesystems", "--root root --show-hardware-config"],
)
def test_generate_config_writes_the_same(
    place: Place, installer: Built, tmp_path: Path, options: str
) -> None:
    script = f"$program {options}; cp root/etc/nixos/hardware-configuration.nix . || :"
    real, stand_in = both(place, installer, tmp_path, "nixos-generate-config", script)
    assert stand_in.code == real.code
    assert stand_in.stdout == real.stdout
    assert stand_in.files == real.files


REFUSED = [
    ("nixos-generate-config", "--nonsense"),
    ("nixos-generate-config", "--root"),
    ("nixos-install", "--nonsense"),
    ("nixos-install", "--root nowhere --system /nix/store/none"),
    ("nixos-install", "--root root"),
    ("nixos-enter", "--root root"),
    ("nixos-enter", "--nonsense"),
]


@pytest.mark.parametrize(("name", "options"), REFUSED, ids=lambda value: value)
def test_what_is_refused_ends_with_the_same_code_on_the_same_stream(
    place: Place, installer: Built, tmp_path: Path, name: str, options: str
) -> None:
    real, stand_in = both(place, installer, tmp_path, name, f"$program {options}")
    assert (stand_in.code, bool(stand_in.stdout), bool(stand_in.stderr)) == (
        real.code,
        bool(real.stdout),
        bool(real.stderr),
    ), (real, stand_in)
