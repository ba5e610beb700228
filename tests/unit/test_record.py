"""What is written down of an install, and read back from an unmounted disk."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import __version__, record
from paranoid_install.layout import LOOP
from paranoid_install.runner import Result
from tests.unit.samples import Recorder

STATIC = {"disk": {"path": "/dev/vda", "serial": "S"}, "firmware": "bios", "tmpfs_size": "2G"}


class Debugfs(Recorder):
    """debugfs(8) on a file system with this one file."""

    def __init__(self, text: str, kind: str = "regular", size: int | None = None) -> None:
        super().__init__()
        length = len(text.encode()) if size is None else size
        self.texts = {
            "stat": f"Inode: 13   Type: {kind}    Mode:  0644   Flags: 0x80000\n"
            f"User:     0   Group:     0   Project:     0   Size: {length}\n",
            "cat": text,
        }

    def run(self, *argv: str, **options: Any) -> Result:
        return replace(super().run(*argv, **options), stdout=self.texts[argv[2].split()[0]])


def test_the_record_has_what_the_plan_knew_and_what_the_run_learned() -> None:
    facts = {
        "plan-hash": "f00",
        "host-key-rsa": "SHA256:r",
        "host-key-ed25519": "SHA256:e",
        "machine-id": "0f",
        "toplevel": "/nix/store/0-nixos",
        "started": "2026-01-01T00:00:00+00:00",
    }
    data = json.loads(record.render(STATIC, facts))
    finished = datetime.fromisoformat(data.pop("finished"))
    assert finished.utcoffset() == timedelta(0)
    assert {name: data[name] for name in STATIC} == STATIC
    assert data["installer"] == __version__
    assert data["plan_hash"] == "f00"
    assert data["toplevel"] == "/nix/store/0-nixos"
    assert data["host_key_fingerprints"] == {"ed25519": "SHA256:e", "rsa": "SHA256:r"}
    assert data["machine_id"] == "0f"


def test_an_image_s_record_tells_the_loop_device_too() -> None:
    data = json.loads(record.render(STATIC, {LOOP: "/dev/loop3"}))
    assert data["disk"]["attached_as"] == "/dev/loop3"
    assert "attached_as" not in STATIC["disk"]


def test_a_fact_that_is_not_the_record_s_is_not_in_it() -> None:
    assert "secret" not in record.render(STATIC, {"secret": "secret"})


def test_the_time_of_an_install_is_read_without_mounting() -> None:
    runner = Debugfs(record.render(STATIC, {}))
    assert datetime.fromisoformat(record.read_from(runner, "/dev/vda2", "/r.json")).tzinfo
    assert runner.calls == [
        ("debugfs", "-R", "stat /r.json", "/dev/vda2"),
        ("debugfs", "-R", "cat /r.json", "/dev/vda2"),
    ]


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("regular", 1024**2 + 1),
        ("regular", 2**62),
        ("FIFO", 0),
        ("directory", 4096),
        ("symlink", 9),
    ],
)
def test_what_is_no_small_file_is_not_read(kind: str, size: int) -> None:
    runner = Debugfs(record.render(STATIC, {}), kind, size)
    assert record.read_from(runner, "/dev/vda2", "/r.json") == ""
    assert runner.calls == [("debugfs", "-R", "stat /r.json", "/dev/vda2")]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '"finished"', "1", "[" * 100_000])
def test_what_is_no_record_is_no_install(text: str) -> None:
    assert record.read_from(Debugfs(text), "/dev/vda2", "/r") == ""


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["finished", "x"]), inner),
).map(json.dumps))  # fmt: skip
def test_no_text_on_a_disk_makes_an_error(text: str) -> None:
    runner = Debugfs(text)
    assert isinstance(record.read_from(runner, "/dev/vda2", "/r"), str)
