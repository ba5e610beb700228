"""The install record: what was installed, where, when and by which plan. Never a secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from paranoid_install import __version__
from paranoid_install.layout import LOOP
from paranoid_install.runner import Runner

VERSION = 1
NAME = "record.json"
JOURNAL = "journal.jsonl"


def render(static: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    """The record as JSON: what the plan knew (`static`), and what the run learned (`facts`)."""
    fingerprints = {
        name.removeprefix("host-key-"): value
        for name, value in sorted(facts.items())
        if name.startswith("host-key-")
    }
    disk = dict(static["disk"])
    if LOOP in facts:
        disk["attached_as"] = facts[LOOP]
    data = {
        "version": VERSION,
        "installer": __version__,
        "plan_hash": facts.get("plan-hash", ""),
        **static,
        "disk": disk,
        "toplevel": facts.get("toplevel", ""),
        "host_key_fingerprints": fingerprints,
        "machine_id": facts.get("machine-id", ""),
        "started": facts.get("started", ""),
        "finished": now(),
    }
    return json.dumps(data, indent=2) + "\n"


def read_from(runner: Runner, device: str, path: str) -> str:
    """When the system on an unmounted ext4 file system was installed; empty where no record is.

    `path` is the record's below the file system's own root. debugfs(8) reads it without mounting:
    a mount would replay the journal, which is a write.
    """
    try:
        return str(json.loads(text_on(runner, device, path))["finished"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def text_on(runner: Runner, device: str, path: str) -> str:
    """The text of a file on an unmounted ext4 file system; empty where it is not."""
    return runner.run("debugfs", "-R", f"cat {path}", device).stdout


def now() -> str:
    """The time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
