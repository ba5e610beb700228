"""The install record: what was installed, where, when and by which plan. Never a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from paranoid_install import __version__
from paranoid_install.layout import LOOP
from paranoid_install.past import TABLE
from paranoid_install.runner import Runner

VERSION = 1
NAME = "record.json"
JOURNAL = "journal.jsonl"
RECORD_LIMIT = 1024**2
"""Bytes of a record; one has about a thousand."""
JOURNAL_LIMIT = 32 * 1024**2
"""Bytes of a journal on a disk: ten times what the longest has, with a build shown line by line."""

# What debugfs(8) says of an inode: do_stat() in its debugfs.c.
_REGULAR = re.compile(r"^Inode: \d+ +Type: regular ", re.MULTILINE | re.ASCII)
_SIZE = re.compile(r"^User: .* Size: (\d{1,19})$", re.MULTILINE | re.ASCII)


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
        "table_id": facts.get(TABLE, ""),
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
        return str(json.loads(text_on(runner, device, path, RECORD_LIMIT))["finished"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def text_on(runner: Runner, device: str, path: str, limit: int = JOURNAL_LIMIT) -> str:
    """The text of a file on an unmounted ext4 file system.

    Empty where it is not, where it is no regular file, and where it has more bytes than `limit`: no
    run writes that much, and a sparse file of terabytes is made in no time.
    """
    about = runner.run("debugfs", "-R", f"stat {path}", device).stdout
    size = _SIZE.search(about)
    if _REGULAR.search(about) is None or size is None or int(size[1]) > limit:
        return ""
    return runner.run("debugfs", "-R", f"cat {path}", device).stdout


def now() -> str:
    """The time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
