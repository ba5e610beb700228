"""Runs a program for the measurements; the installer's own runner is what is measured."""

from __future__ import annotations

import os
import subprocess


def run(*argv: str, stdin: str | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of ``argv``; raises RuntimeError with its last lines of stderr."""
    done = subprocess.run(
        argv,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )
    if done.returncode != 0:
        tail = "\n".join(done.stderr.splitlines()[-10:])
        raise RuntimeError(f"{argv[0]}: exit {done.returncode}\n{tail}")
    return done.stdout
