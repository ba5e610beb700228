"""What a journal tells of a run, and when a run is gone on with."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install import guard, recovery
from paranoid_install.actions import DetachLoop, Unmount, as_data
from paranoid_install.disks import Signature
from paranoid_install.errors import RefusedError
from paranoid_install.layout import LOOP
from paranoid_install.past import RUN, TABLE, Past, cut_off, runs, unfinished
from paranoid_install.plan import make
from paranoid_install.stack import Holder
from tests.unit.samples import BLANK, holding, machine_found, request

MOUNTED = as_data(Unmount("/mnt/nix", "/dev/vda2", "ext4"))
DETACHED = as_data(DetachLoop("/x.img"))


def line(event: str, **data: Any) -> str:
    return json.dumps({"event": event, "time": 1.0, **data}) + "\n"


def begun(found: Any = None, **changes: Any) -> str:
    """The journal of a run up to its plan."""
    machine = found or machine_found()
    plan = make(request(**changes), machine)
    return line("survey", **recovery.snapshot(machine)) + line("plan", **plan.as_data())


def done(*steps: str) -> str:
    return "".join(line("step", id=step, title="", state="done", seconds=0.1) for step in steps)


def noted(name: str, value: str) -> str:
    return line("fact", name=name, value=value)


def act(undo: Mapping[str, Any] | None) -> str:
    return line("action", line="x", undo=undo)


def only(text: str) -> Past:
    (past,) = runs(text)
    return past


def test_a_run_is_read_back_from_its_plan_on() -> None:
    past = only(begun() + done("select", "guard") + noted("machine-id", "0f" * 16))
    assert past.done == ["select", "guard"]
    assert past.facts == {"machine-id": "0f" * 16}
    assert (past.root, past.finished) == ("/mnt", False)


def test_facts_that_are_unknown_or_of_another_form_are_not_taken() -> None:
    forged = [("unheard", "of"), (LOOP, "/dev/sda"), ("machine-id", "x"), (RUN, ""),
              ("host-key-dsa", "SHA256:a"), ("host-key-rsa", "forged"), ("toplevel", "/tmp/evil"),
              ("toplevel", "/nix/store/a\n"), (TABLE, "")]  # fmt: skip
    text = begun() + "".join(noted(name, value) for name, value in forged)
    assert only(text).facts == {}


@pytest.mark.parametrize("event", [
    done("select"), act(MOUNTED), line("release", line="x", undo=DETACHED),
    noted(TABLE, "aba661da"),
    line("mounted", target="/mnt", id=1, unique=1, device="0:1", fs_type="tmpfs"), begun(),
])  # fmt: skip
def test_a_journal_is_read_in_time_that_grows_with_it_and_no_faster(event: str) -> None:
    def seconds(count: int) -> float:
        text = begun() + event * count
        start = time.process_time()
        runs(text)
        return time.process_time() - start

    few = max(seconds(500), 0.001)
    assert seconds(5000) < 40 * few


def changing(name: str, value: Any, *, event: str) -> str:
    """The journal of a run with one value of one event as somebody else wrote it."""
    lines = [json.loads(text) for text in begun().splitlines()]
    for each in lines:
        if each["event"] == event:
            each[name] = value
    return "".join(json.dumps(each) + "\n" for each in lines)


@pytest.mark.parametrize(
    ("event", "name", "value"),
    [
        ("survey", "signatures", [1]), ("survey", "signatures", [["a"]]),
        ("survey", "signatures", [["a", "b", None]]), ("survey", "partitions", [1]),
        ("survey", "unchecked", 1), ("survey", "stack", 1), ("survey", "stack", [["a", "b"]]),
        ("survey", "stack", [[1, 2, 3]]), ("plan", "disk", {"path": "/dev/vda"}),
        ("plan", "steps", [1]), ("plan", "steps", [{"id": 1}]), ("plan", "root", 1),
    ],
)  # fmt: skip
def test_a_plan_or_a_survey_of_another_form_is_none(event: str, name: str, value: Any) -> None:
    assert runs(changing(name, value, event=event)) == []


def resumable(**changes: Any) -> tuple[Past, Any]:
    text = begun() + done("select", "guard", "partition", "format", "mount", "identity")
    text += noted(TABLE, "aba661da") + noted("machine-id", "0" * 32) + act(MOUNTED)
    now = machine_found(holding("dos", "ext4"), partitions=("/dev/vda1", "/dev/vda2"), **changes)
    return only(text), now


def test_what_stood_on_the_disk_is_part_of_what_it_was_though_it_is_gone() -> None:
    group = Holder("group", "v", "V" * 32, ("dm-0", "dm-1"))
    was = replace(holding("LVM2_member"), holders=("dm-0",), stack=(group,))
    wanted = request(wipe=BLANK.token)
    survey = recovery.snapshot(machine_found(was))
    plan = make(wanted, machine_found(was))
    past = only(line("survey", **survey) + line("plan", **plan.as_data()) + done("guard"))
    now = machine_found(holding("LVM2_member"))
    guard.check(wanted, recovery.as_it_was(now, past))
    assert recovery.resumed(wanted, now, past).hash == plan.hash


def test_after_a_reboot_only_what_the_disk_itself_shows_is_done() -> None:
    past = recovery.after_reboot(*resumable(), "aba661da")
    assert past.done == ["select", "guard", "partition", "format"]
    assert past.facts == {TABLE: "aba661da"}
    assert past.taken == {}


def test_after_a_reboot_another_table_is_not_gone_on_with() -> None:
    past, now = resumable()
    for table in ("0badcafe", ""):
        with pytest.raises(RefusedError, match="its partition table is not the one"):
            recovery.after_reboot(past, now, table)
    more = replace(now, partitions=(*now.partitions, "/dev/vda3"))
    with pytest.raises(RefusedError, match="its partition table is not the one"):
        recovery.after_reboot(past, more, "aba661da")


def test_after_a_reboot_what_may_have_been_started_is_not_gone_on_with() -> None:
    past, now = resumable()
    past.begun.append("install")
    with pytest.raises(RefusedError, match="may have been started since"):
        recovery.after_reboot(past, now, "aba661da")


def test_runs_come_one_after_the_other() -> None:
    first, second = runs(begun() + done("select") + line("result") + begun() + done("guard"))
    assert (first.done, first.finished) == (["select"], True)
    assert (second.done, second.finished) == (["guard"], False)


def test_what_was_taken_and_given_back_is_no_longer_held() -> None:
    text = begun() + act(DETACHED) + act(MOUNTED) + act(None)
    assert list(only(text).taken.values()) == [DETACHED, MOUNTED]
    released = text + line("release", line="x", undo=MOUNTED, planned=False)
    assert list(only(released).taken.values()) == [DETACHED]


def test_a_line_that_was_cut_off_says_nothing() -> None:
    whole = begun() + done("select")
    assert only(whole + done("guard")[:-20]).done == ["select"]
    assert runs(begun()[:-20]) == []


_ANY = st.none() | st.text() | st.dictionaries(st.sampled_from(["path", "action"]), st.text())
_LINES = st.lists(
    st.text()
    | st.sampled_from([begun(), done("select"), act(MOUNTED), line("result"), "{}", "[1]", "null"])
    | st.just("[" * 100_000)
    | st.fixed_dictionaries(
        {"event": st.sampled_from(["plan", "survey", "step", "fact", "action", "release"])},
        optional=dict.fromkeys(("id", "state", "undo", "disk", "hash", "name", "value"), _ANY),
    ).map(json.dumps),
    max_size=8,
)


@given(_LINES, st.integers(0, 4000))
def test_no_journal_however_damaged_makes_an_error(lines: list[str], length: int) -> None:
    text = "\n".join(lines)[:length]
    for past in runs(text):
        assert recovery.describe(past)
    assert unfinished(text, "/dev/none") is None
    assert not cut_off(text, "", 0)


def test_only_the_last_run_is_unfinished_and_only_its_own_disk_s() -> None:
    text = begun() + done("select")
    assert unfinished(text, "/dev/vda") is not None
    assert unfinished(text, "/dev/vdb") is None
    assert unfinished(text + line("result"), "/dev/vda") is None
    assert unfinished("", "/dev/vda") is None


def test_a_table_is_known_by_its_id_while_its_run_has_not_ended() -> None:
    def cut(text: str, table: str) -> bool:
        return cut_off(text, table, 0)

    text = begun() + noted(TABLE, "aba661da") + done("partition")
    assert cut(text, "aba661da")
    assert not cut(text, "0badcafe")
    assert not cut(text, "")
    assert not cut(begun(), "")
    assert not cut(text + line("result"), "aba661da")
    assert not cut(text + noted("record", "/nix/persist/r.json"), "aba661da")
    # Another disk's run after it changes nothing.
    assert cut(text + begun() + noted(TABLE, "22") + line("result"), "aba661da")


def test_what_was_mounted_more_often_than_by_its_runs_is_somebody_s() -> None:
    text = begun() + noted(TABLE, "aba661da") + done("partition")
    mounting = text + line("step", id="mount", state="begin")
    assert [cut_off(text, "aba661da", n) for n in (0, 1)] == [True, False]
    assert [cut_off(mounting, "aba661da", n) for n in (0, 1, 2)] == [True, True, False]
    assert [cut_off(mounting + mounting, "aba661da", n) for n in (2, 3)] == [True, False]


def test_what_a_cut_off_run_made_needs_no_token_and_what_else_is_there_does() -> None:
    half = replace(holding("dos"), left_over=True)
    guard.check(request(), machine_found(half))
    with pytest.raises(RefusedError, match="is not blank"):
        guard.check(request(), machine_found(replace(half, left_over=False)))
    with pytest.raises(RefusedError, match="mounted at /data"):
        guard.check(request(), machine_found(replace(half, mounted=("/data",))))


def test_a_run_is_gone_on_with_by_the_plan_it_had() -> None:
    past = only(begun() + done("select", "guard", "partition"))
    now = machine_found(holding("dos", "ext4"))
    assert recovery.resumed(request(), now, past).hash == past.plan["hash"]


def test_a_second_run_on_what_a_first_left_can_be_gone_on_with_too() -> None:
    half = machine_found(replace(holding("dos"), left_over=True))
    past = only(begun(half) + done("select", "guard", "partition"))
    now = machine_found(holding("dos", "ext4"))
    guard.check(request(), recovery.as_it_was(now, past))
    assert recovery.resumed(request(), now, past).hash == past.plan["hash"]


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("serial", "OTHER", "its serial is 'OTHER', and the run to be resumed had 'QM0001'"),
        ("size", 2 * BLANK.size, "its size is 42949672960, and the run to be resumed had"),
        ("wwn", "", "its wwn is '', and"),
        ("model", "M", "its model is 'M', and"),
        ("path", "/dev/vdb", "its path is '/dev/vdb', and"),
    ],
)
def test_another_disk_is_not_gone_on_with(name: str, value: Any, problem: str) -> None:
    past = only(begun() + done("select"))
    with pytest.raises(RefusedError) as caught:
        recovery.resumed(request(), machine_found(replace(BLANK, **{name: value})), past)
    assert caught.value.problem.startswith(problem)
    assert "start over with --wipe" in str(caught.value)


def test_another_request_is_not_gone_on_with() -> None:
    past = only(begun())
    with pytest.raises(RefusedError, match="this request makes the plan"):
        recovery.resumed(request(hostname="other"), machine_found(), past)


def test_the_disk_s_contents_come_back_as_they_were() -> None:
    before = machine_found(replace(BLANK, signatures=(Signature("vda1", "ext4", "old"),)))
    past = only(begun(before))
    assert recovery.as_it_was(machine_found(holding("dos")), past).disk == before.disk


def test_the_state_in_lines() -> None:
    plan = make(request(), machine_found())
    failed = line("step", id="guard", title="", state="failed", seconds=0.1)
    text = begun() + done("select") + noted(LOOP, "/dev/loop3") + act(DETACHED) + failed
    assert recovery.describe(only(text + line("error", problem="no"))) == [
        f"plan {plan.hash[:12]} for /dev/vda: not finished; next is guard",
        "done: select",
        "failed in guard: no",
        "perhaps still held, see paranoid-install clean:",
        "  losetup --detach /dev/loop3",
    ]
    assert recovery.describe(only(begun() + line("result")))[0].endswith("finished")
