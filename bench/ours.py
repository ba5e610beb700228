"""One copy by this installer: `python -m bench.ours TOPLEVEL ROOT STORE [--no-verify]`.

With `--wait` it is an installer that has come to this step: it has asked for the closure, to see
whether the disk has room for it, says that it is ready, and begins when standard input says so.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.methods import READY
from paranoid_install import store
from paranoid_install.runner import ShRunner


def main() -> None:
    """Copy, and fail if it was left to another."""
    parser = argparse.ArgumentParser()
    parser.add_argument("toplevel")
    parser.add_argument("root", type=Path)
    parser.add_argument("store")
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--wait", action="store_true")
    asked = parser.parse_args()
    runner = ShRunner()
    if asked.wait:
        store.size(runner, asked.toplevel, store=asked.store)
        print(READY, flush=True)
        sys.stdin.readline()
    report = store.put(
        runner,
        asked.toplevel,
        asked.root,
        verify=not asked.no_verify,
        workers=asked.workers,
        store=asked.store,
    )
    if report.method is store.Method.LEFT:
        raise SystemExit(report.reason)


if __name__ == "__main__":
    main()
