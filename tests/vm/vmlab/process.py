"""Programs that the lab runs on the host."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path


class LabError(Exception):
    """The lab itself failed: a program it needs, or a machine that did not answer."""


def run(*argv: str | Path, seconds: float = 300, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a program; LabError with its last lines when it fails."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=False, env=env
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: not installed (see scripts/packages.txt)") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)}: still running after {seconds:.0f} s") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise LabError(f"{' '.join(command)}: exit code {done.returncode}\n{tail}")
    return done.stdout
