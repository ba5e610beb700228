"""A stand-in for nixos-install, which Debian has not: it does the real work with the real Nix.

The command line is the real one's. A system given by `--system`, or built from
the first that is found of: system.nix, then default.nix, from the working directory upward;
/etc/nixos/system.nix and default.nix of the live system; ROOT/etc/nixos/configuration.nix with
<nixpkgs/nixos>. It is copied with its closure into the
store below ROOT (what is valid there is not copied again), made the system profile, and
its `switch-to-configuration boot` is run in the root with NIXOS_INSTALL_BOOTLOADER=1.

Not here, and refused by name: --flake, --file, --attr.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The live system's own store, trusted: it is where a closure comes from.
_SUBSTITUTERS = ("--extra-substituters", "auto?trusted=1")

_CHANNELS = "nix/var/nix/profiles/per-user/root/channels"

# Options handed on to Nix, with the number of their values.
_FOR_NIX = {
    **dict.fromkeys(("--max-jobs", "-j", "--cores", "-I", "--substituters", "--log-format"), 1),
    **dict.fromkeys(("--show-trace", "--impure", "--keep-going"), 0),
    "--option": 2,
}
_WITH_VALUE = {
    "--root": "root",
    "--system": "system",
    "--closure": "system",
    "--store-path": "system",
    "--channel": "channel",
}
_OFF = {
    "--no-channel-copy": "copy_channel",
    "--no-root-password": "root_password",
    "--no-root-passwd": "root_password",
    "--no-bootloader": "boot_loader",
}
_REFUSED = ("--flake", "--file", "-f", "--attr", "-A")


class InstallFailed(Exception):
    """What nixos-install prints before it exits with 1."""


@dataclass
class Options:
    """The command line, read."""

    root: str = "/mnt"
    system: str | None = None
    channel: str | None = None
    copy_channel: bool = True
    root_password: bool = True
    boot_loader: bool = True
    nix: list[str] = field(default_factory=list)
    verbose: list[str] = field(default_factory=list)


def main() -> None:
    os.umask(0o022)
    try:
        install(parse(sys.argv[1:]), os.environ)
    except InstallFailed as error:
        # The real one's refusals are on standard output.
        print(error, flush=True)
        raise SystemExit(1) from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None


def parse(argv: list[str]) -> Options:
    """Read the command line; InstallFailed for what the real one, or this one, does not take."""
    words = list(argv)
    options = Options()

    def value(name: str) -> str:
        if not words:
            raise InstallFailed(f"{name} requires an argument")
        return words.pop(0)

    while words:
        word = words.pop(0)
        if word in _REFUSED:
            raise InstallFailed(f"{word} is beyond this stand-in; use --system or a configuration")
        if word in _FOR_NIX:
            options.nix += [word, *(value(word) for _ in range(_FOR_NIX[word]))]
        elif word in _WITH_VALUE:
            setattr(options, _WITH_VALUE[word], value(word))
        elif word in _OFF:
            setattr(options, _OFF[word], False)
        elif word == "--verbose" or word.startswith("-v"):
            options.verbose.append(word)
        else:
            raise InstallFailed(f"{sys.argv[0]}: unknown option `{word}'")
    return options


def check_root(root: Path) -> None:
    """InstallFailed unless the root, and all above it, can be read and searched by others."""
    if not root.exists():
        raise InstallFailed(f"mount point {root} doesn't exist")
    for path in [root.resolve(), *root.resolve().parents][:-1]:
        if path.stat().st_mode & 0o005 != 0o005:
            mode = oct(path.stat().st_mode & 0o777)[2:]
            raise InstallFailed(
                f"path {path} should have permissions 755, but had permissions {mode}"
            )


def install(options: Options, environment: Mapping[str, str]) -> None:
    """Do what the command line asks for."""
    root = Path(options.root)
    check_root(root)
    scratch = Path(tempfile.mkdtemp(prefix="tmp.", dir=root))
    environ = {"TMPDIR": str(scratch), **environment}
    try:
        if options.copy_channel:
            _copy_channel(options, environ)
        system = options.system or _build(options, scratch / "system", environ)
        _nix_env(options, "nix/var/nix/profiles/system", system, environ)
    finally:
        shutil.rmtree(scratch)

    (root / "etc").mkdir(mode=0o755, exist_ok=True)
    (root / "etc/NIXOS").touch()
    if options.boot_loader:
        _install_boot_loader(root, environ)
    if options.root_password and sys.stdin.isatty():
        passwd = "/nix/var/nix/profiles/system/sw/bin/passwd"
        subprocess.run(_enter(root, passwd), check=True)
    print("installation finished!", flush=True)


def _nix_env(options: Options, profile: str, path: str, environ: Mapping[str, str]) -> None:
    """Copy `path` with its closure into the target and make it the profile there."""
    subprocess.run(
        ["nix-env", "--store", options.root, *options.nix, *_SUBSTITUTERS,
         "-p", f"{options.root}/{profile}", "--set", path, *options.verbose],
        check=True,
        env=environ,
    )  # fmt: skip


def _copy_channel(options: Options, environ: Mapping[str, str]) -> None:
    channel = options.channel
    if channel is None:
        found = subprocess.run(
            ["nix-env", "-p", f"/{_CHANNELS}", "-q", "nixos", "--no-name", "--out-path"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environ,
            check=False,
        )
        channel = found.stdout.strip() if found.returncode == 0 else ""
    if not channel:
        return  # no channel on the live system: nothing to copy, and no error in the real one
    print("copying channel...", flush=True)
    (Path(options.root) / _CHANNELS).parent.mkdir(parents=True, exist_ok=True)
    _nix_env(options, _CHANNELS, channel, environ)


def _build(options: Options, link: Path, environ: Mapping[str, str]) -> str:
    """Build what is found first in the target's store; the path of its toplevel."""
    shadowing = find_build_file(Path.cwd(), Path("/etc/nixos"))
    if shadowing is not None:
        print(f"building the configuration in {shadowing}...", flush=True)
        subprocess.run(
            ["nix-build", "--out-link", str(link), "--store", options.root, *options.nix,
             *_SUBSTITUTERS, str(shadowing), "-A", "config.system.build.toplevel",
             *options.verbose],
            check=True,
            env=environ,
        )  # fmt: skip
        return str(link.readlink())
    stated = environ.get("NIXOS_CONFIG")
    configuration = Path(stated or f"{options.root}/etc/nixos/configuration.nix")
    if not configuration.is_absolute():
        raise InstallFailed("$NIXOS_CONFIG is not an absolute path")
    if not configuration.exists():
        raise InstallFailed(f"configuration file {configuration} doesn't exist")
    print(f"building the configuration in {configuration}...", flush=True)
    subprocess.run(
        ["nix-build", "--out-link", str(link), "--store", options.root, *options.nix,
         *_SUBSTITUTERS, "<nixpkgs/nixos>", "-A", "system",
         "-I", f"nixos-config={configuration}", *options.verbose],
        check=True,
        env={**environ, "NIXOS_CONFIG": str(configuration)},
    )  # fmt: skip
    return str(link.readlink())


def find_build_file(here: Path, live: Path) -> Path | None:
    """The system.nix or default.nix that the real one takes before any configuration.nix."""
    for name in ("system.nix", "default.nix"):
        for directory in (here, *here.parents):
            if (directory / name).is_file():
                return directory / name
    return next((live / n for n in ("system.nix", "default.nix") if (live / n).is_file()), None)


def _install_boot_loader(root: Path, environ: Mapping[str, str]) -> None:
    print("installing the boot loader...", flush=True)
    mtab = root / "etc/mtab"
    mtab.unlink(missing_ok=True)
    mtab.symlink_to("/proc/mounts")
    subprocess.run(
        _enter(root, "/run/current-system/bin/switch-to-configuration boot"),
        env={**environ, "NIXOS_INSTALL_BOOTLOADER": "1"},
        check=True,
    )


def _enter(root: Path, command: str) -> list[str]:
    program = str(Path(__file__).with_name("nixos-enter"))
    return [sys.executable, program, "--root", str(root), "-c", command]
