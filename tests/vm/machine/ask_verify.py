"""Runs on the machine: loosens what it is told to, says what `verify` then finds, mends it again.

A request is a line of JSON on the standard input: {"loosen": SHELL, "mend": SHELL}. An answer
is {"checks": {ID: [STATUS, EVIDENCE]}, "seconds": S, "trouble": TEXT}. One process for all of
them: most of what a run of the command costs is its start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from paranoid_install.runner import ShRunner
from paranoid_install.verify.gather import gather
from paranoid_install.verify.registry import CHECKS
from paranoid_install.verify.report import judge, now

_SECONDS = 60


def _shell(script: str) -> str:
    """Run a script; what it said if it failed, else nothing."""
    # What it leaves running must not hold our standard output open.
    done = subprocess.run(
        ["sh", "-e", "-c", f"exec 2>&1; {script}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return "" if done.returncode == 0 else f"{script!r}: {done.stdout}"


def _answer(request: dict[str, str]) -> dict[str, Any]:
    trouble = _shell(request["loosen"])
    start = time.monotonic()
    findings = judge(gather(Path("/"), ShRunner()), CHECKS, (), now().date())
    seconds = time.monotonic() - start
    trouble += _shell(request["mend"])
    return {
        "checks": {f.check.id: [str(f.status), list(f.evidence)] for f in findings},
        "seconds": round(seconds, 2),
        "trouble": trouble,
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)
