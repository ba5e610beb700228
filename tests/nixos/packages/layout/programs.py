"""The programs that lay packages out: those of the builder's root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def run(
    *argv: str | Path,
    stdin: str | None = None,
    check: bool = True,
    cwd: Path | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Standard output; a program that fails ends the build with what it said."""
    result = subprocess.run(
        [str(word) for word in argv],
        check=False, text=True, capture_output=True, input=stdin, cwd=cwd,
        env={"PATH": PATH, "HOME": os.environ["NIX_BUILD_TOP"], **(environment or {})},
    )  # fmt: skip
    if check and result.returncode != 0:
        sys.exit(f"{' '.join(map(str, argv))}: {result.stderr.strip()}")
    return result.stdout if result.returncode == 0 else ""
