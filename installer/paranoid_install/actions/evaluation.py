"""Evaluating what will be built, before anything is written: an error of it is known by then."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from paranoid_install import nixlang
from paranoid_install.actions.base import Machine, Plain
from paranoid_install.errors import CommandFailed, Refusal, RefusedError

_SECONDS = 1800.0
"""Limit of one evaluation on a slow machine; the inputs of a flake are fetched first."""

_GENERATE = ("nixos-generate-config", "--no-filesystems", "--show-hardware-config")

_LINES = 12
"""Of what Nix says; assertions are the last that it says."""


@dataclass(frozen=True)
class EvaluateSystem(Plain):
    """See that the target's configuration evaluates to a system, with its assertions.

    Without writing to this machine's store first, whose room is memory; what is itself built or
    fetched for an evaluation needs that, and gets it then.

    It is put together as it will be on the target, from `copies` (a source, and its place in the
    directory) and `text`, which is configuration.nix where no copy brings one. The disk is not
    partitioned yet, so what the generator would find there is `file_systems`, a Nix set.
    Raises RefusedError.
    """

    copies: tuple[tuple[str, str], ...]
    text: str
    file_systems: str

    @property
    def line(self) -> str:
        return (
            f"{shlex.join(_GENERATE)} && "
            "nix-instantiate --eval --readonly-mode '<nixpkgs/nixos>' --attr system.drvPath  "
            "# of what will be built, with the file systems that will be made"
        )

    @property
    def programs(self) -> tuple[str, ...]:
        return ("nixos-generate-config", "nix-instantiate")

    def apply(self, machine: Machine) -> None:
        with tempfile.TemporaryDirectory(prefix="paranoid-trial-") as place:
            directory = Path(place) / "nixos"
            directory.mkdir()
            self._lay_out(machine, directory)
            configuration = directory / "configuration.nix"
            what = ("<nixpkgs/nixos>", "--attr", "system.drvPath")
            words = (*what, "-I", f"nixos-config={configuration}")
            env = {"NIXOS_CONFIG": str(configuration)}
            try:
                argv = ("nix-instantiate", "--eval", "--readonly-mode", *words)
                machine.runner.run(*argv, env=env, timeout=_SECONDS)
            except CommandFailed:
                _evaluate(machine, ("nix-instantiate", "--eval", *words), env, f"{directory}/")

    def _lay_out(self, machine: Machine, directory: Path) -> None:
        # What this machine's kernel needs and is; of its file systems nothing.
        generated = machine.runner.run(*_GENERATE).stdout
        (directory / ".generated.nix").write_text(generated, encoding="utf-8")
        (directory / "hardware-configuration.nix").write_text(
            f"{{\n  imports = [ ./.generated.nix ];\n  fileSystems = {self.file_systems};\n}}\n",
            encoding="utf-8",
        )
        if self.text:
            (directory / "configuration.nix").write_text(self.text, encoding="utf-8")
        for source, name in self.copies:
            try:
                shutil.copytree(source, directory / name, symlinks=True, dirs_exist_ok=True)
            except (OSError, shutil.Error) as error:
                problem = f"cannot be copied ({error})"
                raise RefusedError(source, (Refusal("evaluation", problem, "check it"),)) from error


@dataclass(frozen=True)
class EvaluateFlake(Plain):
    """See that a flake's NixOS configuration evaluates to a system. Raises RefusedError."""

    reference: str

    @property
    def argv(self) -> tuple[str, ...]:
        flake, _, name = self.reference.partition("#")
        what = f"{flake}#nixosConfigurations.{nixlang.string(name)}"
        features = ("--extra-experimental-features", "nix-command flakes")
        options = ("--raw", "--no-write-lock-file")
        return ("nix", *features, "eval", *options, f"{what}.config.system.build.toplevel.drvPath")

    @property
    def line(self) -> str:
        return shlex.join(self.argv)

    @property
    def programs(self) -> tuple[str, ...]:
        return ("nix",)

    def apply(self, machine: Machine) -> None:
        if not self.reference.partition("#")[2]:
            problem, remedy = "names no configuration", f"write {self.reference}#NAME"
            raise RefusedError(self.reference, (Refusal("evaluation", problem, remedy),))
        _evaluate(machine, self.argv, {}, "")


def _evaluate(machine: Machine, argv: tuple[str, ...], env: dict[str, str], place: str) -> None:
    """Run an evaluation, whose words name files below `place`; there they will not be found."""
    try:
        machine.runner.run(*argv, env=env, timeout=_SECONDS)
    except CommandFailed as error:
        reason = _reason(error).replace(place, "") if place else _reason(error)
        refusal = Refusal("evaluation", f"does not evaluate: {reason}", "mend it")
        raise RefusedError("what is to be built", (refusal,)) from error


def _reason(error: CommandFailed) -> str:
    """The error that Nix ends with, without the trace before it; else how it ended."""
    lines = (line.strip() for line in error.tail)
    said = [line for line in lines if line and not line.startswith("(use '--show-trace'")]
    starts = [number for number, line in enumerate(said) if line.startswith("error:")]
    last = said[starts[-1] :] if starts else said
    return " ".join(last[:_LINES]).removeprefix("error:").strip() or error.problem
