"""Secrets planted in an install are looked for in all that it says, runs and leaves behind."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from paranoid_install.journal import RUN_DIRECTORY, RUN_JOURNAL

from .conftest import Bench, Outcome, opened_image

HASH = "$y$j9T$PLANTEDSALTPLANTED$PLANTEDHASHPLANTEDHASHPLANTEDHASHPLANTED12"
PROGRAMS = ("install", "mkpasswd", "ssh-keygen", "nixos-generate-config", "nixos-install", "cp",
            "mount", "sync")  # fmt: skip


@dataclass(frozen=True)
class Installed:
    """One install, and everything that could have told a secret."""

    outcome: Outcome
    said: str
    password: str
    files: dict[str, tuple[int, bytes]]

    def holding(self, secret: str) -> dict[str, int]:
        """Which files of the target hold a text, and with what modes."""
        return {p: mode for p, (mode, data) in self.files.items() if secret.encode() in data}


def request(bench: Bench, system: str, key: Path, *more: str) -> list[str]:
    return [
        "--disk", str(bench.image), "--image-size", "3G", "--ssh-key", str(key),
        "--system", system, *more,
    ]  # fmt: skip


def observed(bench: Bench, arguments: list[str]) -> Installed:
    """Install, with each program's command line and environment written down as it starts."""
    seen = bench.image.parent / "seen"
    for program in PROGRAMS:
        bench.fake(
            program,
            f"cat /proc/$$/cmdline /proc/$$/environ | tr '\\0' '\\n' >> {seen}\nexec $REAL \"$@\"",
        )
    plans = [bench.run(*arguments, "--dry-run", *form) for form in ([], ["--json"])]
    assert [plan.code for plan in plans] == [0, 0], plans[0].err
    outcome, terminal = bench.run_on_terminal(*arguments, "--json")
    assert outcome.code == 0, outcome.err
    shown = [line for line in terminal.splitlines() if "shown only now" in line]
    said = [outcome.out, *(text for plan in plans for text in (plan.out, plan.err))]
    said += [outcome.err]
    said += [seen.read_text(errors="replace")]
    said += [f.read_text(errors="replace") for f in RUN_DIRECTORY.rglob("*") if f.is_file()]
    said += [f.read_text() for f in Path("/tmp").glob("paranoid-install-*.log")]
    return Installed(
        outcome,
        "\n".join(said),
        shown[0].rsplit(" ", 1)[1] if shown else "",
        dict(files(bench)),
    )


def files(bench: Bench) -> Iterator[tuple[str, tuple[int, bytes]]]:
    """Every file of the installed image: its mode and contents."""
    directory = bench.image.parent / "look"
    directory.mkdir()
    with opened_image(bench.image, directory) as place:
        for top in (place.boot, place.nix):
            for path in sorted(top.rglob("*")):
                if path.is_file() and not path.is_symlink():
                    mode = stat.S_IMODE(path.lstat().st_mode)
                    yield f"{top.name}/{path.relative_to(top)}", (mode, path.read_bytes())


@pytest.fixture(scope="module")
def planted(shared: Bench, system: str, key: Path) -> Installed:
    given = shared.image.parent / "hash"
    given.write_text(HASH + "\n")
    given.chmod(0o600)
    return observed(shared, request(shared, system, key, "--root-password-hash-file", str(given)))


def test_a_password_hash_is_nowhere_but_in_its_own_private_file(planted: Installed) -> None:
    assert "PLANTED" not in planted.said
    assert planted.holding("PLANTED") == {"nix/persist/etc/passwords/root": 0o600}


def test_the_programs_were_really_watched(planted: Installed) -> None:
    assert "--mode=0600" in planted.said
    assert "_PARANOID_RUN=" in planted.said


def test_private_host_keys_are_nowhere_but_in_their_own_private_files(planted: Installed) -> None:
    private = {p: mode for p, (mode, data) in planted.files.items() if b"PRIVATE KEY" in data}
    assert private == {
        f"nix/persist/etc/ssh/ssh_host_{kind}_key": 0o600 for kind in ("ed25519", "rsa")
    }
    for path in private:
        for line in planted.files[path][1].decode().splitlines()[1:-1]:
            # The first line of the body is the same for every key of its kind.
            assert line not in planted.said or line.startswith("b3BlbnNzaC1rZXktdjE")


def test_the_journals_are_for_root_alone(planted: Installed) -> None:
    (journal,) = [p for p in planted.files if p.endswith("journal.jsonl")]
    assert planted.files[journal][0] == 0o600
    assert stat.S_IMODE(RUN_JOURNAL.stat().st_mode) == 0o600


def test_a_generated_password_is_shown_once_and_only_its_hash_is_kept(
    bench: Bench, system: str, key: Path
) -> None:
    made = observed(bench, request(bench, system, key, "--generate-root-password"))
    assert len(made.password) == 20
    assert made.password not in made.said
    assert made.holding(made.password) == {}
    mode, hashed = made.files["nix/persist/etc/passwords/root"]
    assert mode == 0o600
    assert hashed.startswith(b"$y$")
    assert hashed.decode().strip() not in made.said
    assert list(made.holding(hashed.decode().strip())) == ["nix/persist/etc/passwords/root"]
