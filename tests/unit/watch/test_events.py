"""Records become events: complete, late, interleaved, cut off, and never more than fit."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from paranoid_install.watch.events import EVENT_BYTES, Counts, Event, Joiner
from paranoid_install.watch.records import Record, parse
from tests.unit.watch.trail import Exec


def records(one: Exec, *, eoe: bool = False) -> list[Record]:
    found = [parse(line) for line in one.lines(eoe=eoe)]
    assert None not in found
    return [record for record in found if record is not None]


def join(joiner: Joiner, given: list[Record], now: int = 0) -> list[Event]:
    return [event for record in given for event in add(joiner, record, now)]


def add(joiner: Joiner, record: Record, now: int) -> Sequence[Event]:
    line, start = record.written()
    return joiner.add(record.node, record.stamp, record.type, line, start, now, cut=record.cut)


def test_an_event_is_complete_with_its_last_path_and_what_follows_opens_none() -> None:
    joiner = Joiner(Counts())
    *most, last, title, eoe = records(Exec(), eoe=True)
    assert join(joiner, most) == []
    assert len(join(joiner, [last])) == 1
    assert join(joiner, [title, eoe]) == []
    assert not joiner.open


def test_eoe_ends_an_event_of_which_something_is_missing() -> None:
    joiner = Joiner(Counts())
    *most, _path, _title, eoe = records(Exec(), eoe=True)
    assert join(joiner, most) == []
    assert len(join(joiner, [eoe])) == 1
    assert not joiner.open


@pytest.mark.parametrize("missing", ["SYSCALL", "EXECVE", "CWD", "PATH"])
def test_a_start_is_not_complete_while_a_record_of_it_is_missing(missing: str) -> None:
    joiner = Joiner(Counts())
    given = [record for record in records(Exec()) if record.type != missing.encode()]
    assert join(joiner, given) == []
    assert len(joiner.open) == 1


def test_a_refused_start_has_no_arguments_and_is_complete_without() -> None:
    joiner = Joiner(Counts())
    given = [r for r in records(Exec(success="no", exit=-13)) if r.type != b"EXECVE"]
    assert len(join(joiner, given)) == 1


def test_interleaved_events_are_kept_apart() -> None:
    joiner = Joiner(Counts())
    one, two = records(Exec(serial=1)), records(Exec(serial=2, exe="/srv/evil"))
    mixed = [record for pair in zip(one, two, strict=True) for record in pair]
    events = join(joiner, mixed)
    assert [event.id.serial for event in events] == [1, 2]
    assert all(event.paths == 2 and event.execves == 1 for event in events)


def test_the_same_serial_on_another_node_or_at_another_time_is_another_event() -> None:
    joiner = Joiner(Counts())
    for one in (Exec(), Exec(node="b"), Exec(seconds=1_764_000_001)):
        join(joiner, records(one)[:2])
    assert len(joiner.open) == 3


def test_an_event_whose_rest_never_comes_ends_by_its_time_limit() -> None:
    counts = Counts()
    joiner = Joiner(counts, limit=2000)
    join(joiner, records(Exec())[:3], now=10_000)
    assert list(joiner.expire(11_999)) == []
    assert len(list(joiner.expire(12_000))) == 1
    assert counts.expired == 1


def test_no_more_events_are_open_than_allowed_and_the_oldest_is_given_up_first() -> None:
    counts = Counts()
    joiner = Joiner(counts, open_events=10)
    ended = [e for n in range(100) for e in join(joiner, records(Exec(serial=n))[:2])]
    assert len(joiner.open) == 10
    assert [event.id.serial for event in ended] == list(range(90))
    assert counts.evicted == 90


def test_what_open_events_hold_is_bounded_in_bytes() -> None:
    counts = Counts()
    joiner = Joiner(counts, open_bytes=100_000)
    for serial in range(50):
        join(joiner, records(Exec(serial=serial, argv=("x" * 9000,)))[:2])
        assert sum(event.size for event in joiner.open.values()) <= 100_000
    assert counts.evicted > 0


def test_endless_arguments_do_not_fill_the_memory_and_the_paths_still_come() -> None:
    counts = Counts()
    joiner = Joiner(counts)
    first, execve, *rest = records(Exec(argv=("x" * 9000,)))
    (event,) = join(joiner, [first, *([execve] * 1000), *rest])
    assert event.size <= 2 * EVENT_BYTES
    assert event.cut
    assert event.paths == 2
    assert counts.cut > 900
