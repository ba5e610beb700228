"""What a configuration or a flake would let in, asked of Nix before anything is written.

The judgement is nix/lib/access.nix's, the same that `paranoid.access` asserts. What cannot be
evaluated is not known, and not known is no way in.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paranoid_install import keys, nixlang, policy
from paranoid_install.errors import CommandFailed
from paranoid_install.runner import Runner

_SECONDS = 900
"""Limit of one evaluation: of a flake, its inputs are fetched first."""

_HARDWARE = "hardware-configuration.nix"
# What the generator writes only when the disk is there; nobody gets in or is kept out by it.
_STAND_IN = """\
{ lib, ... }:
{
  fileSystems."/" = { device = "none"; fsType = "tmpfs"; };
  nixpkgs.hostPlatform = lib.mkDefault builtins.currentSystem;
}
"""


@dataclass(frozen=True)
class Configured:
    """Who gets into a machine of this configuration.

    `ways`: users who do, with a key that it holds. `why`: why nobody does. `accepts`: what kinds of
    keys its sshd takes. `reads_ours`: whether root gets in with a key that is put onto the persist
    root. `passwords`: whether root's password hash is read from there. `unchecked`: why none of
    this is known, or "".
    """

    ways: tuple[str, ...] = ()
    why: str = ""
    accepts: keys.Accepts | None = None
    reads_ours: bool = False
    passwords: bool = False
    unchecked: str = ""


def of_directory(runner: Runner, modules: Path, directory: str) -> Configured:
    """What a directory's configuration.nix lets in, with a stand-in for the hardware's part."""
    with tempfile.TemporaryDirectory(prefix="paranoid-config-") as place:
        copy = Path(place) / "nixos"
        try:
            shutil.copytree(directory, copy, symlinks=True, copy_function=shutil.copyfile)
            if not (copy / _HARDWARE).exists():
                (copy / _HARDWARE).write_text(_STAND_IN, encoding="utf-8")
        except (OSError, shutil.Error) as error:
            return Configured(unchecked=f"it cannot be copied ({error})")
        machine = (
            f"import <nixpkgs/nixos> {{ configuration = {_path(copy / 'configuration.nix')}; }}"
        )
        expression = f"({_judgement(modules)}) ({machine}).config"
        argv = ("nix-instantiate", "--eval", "--strict", "--json", "--expr", expression)
        return _ask(runner, argv)


def of_flake(runner: Runner, modules: Path, reference: str) -> Configured:
    """What a flake's NixOS configuration lets in; it is fetched, and locked as it is."""
    flake, hash_mark, name = reference.partition("#")
    if not hash_mark or not name:
        return Configured(unchecked=f"{reference} names no configuration; write {flake}#NAME")
    features = ("--extra-experimental-features", "nix-command flakes")
    what = f"{flake}#nixosConfigurations.{nixlang.string(name)}.config"
    options = ("--json", "--impure", "--no-write-lock-file")
    argv = ("nix", *features, "eval", *options, what, "--apply", _judgement(modules))
    return _ask(runner, argv)


def _judgement(modules: Path) -> str:
    """A function from a machine's config to what it says of who gets in.

    The policy is handed over: beside the modules it lies only where the installer has copied both.
    """
    read = (
        f"{file.stem} = builtins.fromTOML (builtins.readFile {_path(file)});"
        for file in sorted(policy.DIRECTORY.glob("*.toml"))
    )
    return (
        f"config: let judged = import {_path(modules / 'lib/access.nix')} "
        f"{{ policy = {{ {' '.join(read)} }}; }} config; in "
        "{ inherit (judged) admitted configured why accepts rootReadsDisk passwords; "
        "console = config.paranoid.access.console or false; "
        'keysFrom = config.paranoid.amnesia.keysFrom or ""; }'
    )


def _path(file: Path) -> str:
    """A path as Nix source, whatever is in its name."""
    return f"(/. + {nixlang.string(str(file))})"


def _ask(runner: Runner, argv: tuple[str, ...]) -> Configured:
    try:
        result = runner.run(*argv, timeout=_SECONDS)
        return _read(json.loads(result.stdout))
    except CommandFailed as error:
        errors = [line for line in error.tail if line.strip().startswith("error:")]
        last = (errors or list(error.tail) or [error.problem])[-1].strip()
        return Configured(unchecked=f"{argv[0]} could not evaluate it ({last})")
    except (ValueError, KeyError, TypeError) as error:
        return Configured(unchecked=f"{argv[0]} did not answer in the expected form ({error})")


def _read(said: Mapping[str, object]) -> Configured:
    accepts = said["accepts"]
    ways, passwords = said["configured"], said["passwords"]
    if not (isinstance(accepts, dict) and isinstance(ways, list) and isinstance(passwords, list)):
        raise TypeError("a field of another kind")
    words = [str(way) for way in ways]
    if said["console"]:
        words.append("the console, as the configuration says")
    if said["keysFrom"] and said["admitted"]:
        words.append(str(said["keysFrom"]))
    return Configured(
        ways=tuple(words),
        why=str(said["why"]),
        accepts=keys.Accepts(tuple(accepts["algorithms"]), int(accepts["rsaBits"])),
        reads_ours=said["rootReadsDisk"] is True,
        passwords="root" in passwords,
    )
