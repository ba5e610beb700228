"""A stand-in for nixos-enter: run a command in the root of a NixOS-shaped installation.

The real one's contract, as far as it goes: `--root DIR` (default /mnt), `--system PATH`,
`-c COMMAND` or `-- WORDS`, `--silent`. It runs in a mount namespace of its own with /dev,
/sys and /proc of the host bound below the root, activates the system there, and then
becomes the command. It exits with 126 for a root without /etc/NIXOS.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

_INSIDE = "NIXOS_ENTER_REEXEC"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # The real one's refusals are on standard output.
        print(f"{self.prog}: {message}", flush=True)
        raise SystemExit(1)


def main() -> None:
    parser = _Parser(prog="nixos-enter", allow_abbrev=False)
    parser.add_argument("--root", default="/mnt")
    parser.add_argument("--system", default="/nix/var/nix/profiles/system")
    parser.add_argument("-c", "--command")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()

    if os.environ.get(_INSIDE) != "1":
        # Its mounts go with the namespace, whatever ends the command.
        program = str(Path(__file__).with_name("nixos-enter"))
        os.environ[_INSIDE] = "1"
        unshare = ["unshare", "--fork", "--mount", "--uts", "--mount-proc"]
        os.execvp(unshare[0], [*unshare, "--", sys.executable, program, *sys.argv[1:]])

    root = Path(options.root)
    if not (root / "etc/NIXOS").exists():
        sys.stderr.write(f"nixos-enter: {root} is not a NixOS installation\n")
        raise SystemExit(126)
    _bind(root)
    _activate(root, options.system, silent=options.silent)

    shell = f"{options.system}/sw/bin/bash"
    if options.command is not None:
        command = [shell, "-c", options.command]
    else:
        command = options.words or [shell, "--login"]
    environment = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    del environment[_INSIDE]
    os.execvpe("chroot", ["chroot", str(root), *command], environment)


def _bind(root: Path) -> None:
    for name in ("dev", "sys", "proc"):
        (root / name).mkdir(mode=0o755, exist_ok=True)
        subprocess.run(["mount", "--rbind", f"/{name}", str(root / name)], check=True)


def _activate(root: Path, system: str, *, silent: bool) -> None:
    stderr = subprocess.DEVNULL if silent else None
    done = subprocess.run(
        ["chroot", str(root), f"{system}/activate"],
        stdout=subprocess.DEVNULL if silent else sys.stderr.fileno(),
        stderr=stderr,
        env={**os.environ, "IN_NIXOS_ENTER": "1"},
        check=False,
    )
    if done.returncode != 0:
        # The real one goes on as well: a rescue must be possible in a broken system.
        sys.stderr.write(f"nixos-enter: activation ended with exit code {done.returncode}\n")
