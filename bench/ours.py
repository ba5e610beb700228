"""One copy by this installer: `python -m bench.ours TOPLEVEL ROOT STORE [--no-verify]`."""

from __future__ import annotations

import argparse
from pathlib import Path

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
    asked = parser.parse_args()
    report = store.put(
        ShRunner(),
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
