"""What is written down of an install, and read back from an unmounted disk."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import __version__, record
from paranoid_install.layout import LOOP
from tests.unit.samples import Recorder

STATIC = {"disk": {"path": "/dev/vda", "serial": "S"}, "firmware": "bios", "tmpfs_size": "2G"}


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
    runner = Recorder(answers={"debugfs": record.render(STATIC, {})})
    assert datetime.fromisoformat(record.read_from(runner, "/dev/vda2", "/r.json")).tzinfo
    assert runner.calls == [("debugfs", "-R", "cat /r.json", "/dev/vda2")]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "{", '"finished"', "1", "[" * 100_000])
def test_what_is_no_record_is_no_install(text: str) -> None:
    assert record.read_from(Recorder(answers={"debugfs": text}), "/dev/vda2", "/r") == ""


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["finished", "x"]), inner),
).map(json.dumps))  # fmt: skip
def test_no_text_on_a_disk_makes_an_error(text: str) -> None:
    runner = Recorder(answers={"debugfs": text})
    assert isinstance(record.read_from(runner, "/dev/vda2", "/r"), str)
