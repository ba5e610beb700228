"""One record, from each of its written forms."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install.watch.executions import arguments
from paranoid_install.watch.records import (
    RECORD_BYTES,
    EventId,
    Undecodable,
    decode,
    enrichment,
    fields,
    parse,
    visible,
)
from tests.unit.watch.profile import CHEAP
from tests.unit.watch.trail import encode

BODY = b'arch=c000003e syscall=59 exe="/srv/evil"'


def entry(**changes: object) -> bytes:
    """A line of journalctl -o json."""
    values: dict[str, object] = {
        "_TRANSPORT": "audit",
        "_AUDIT_TYPE_NAME": "SYSCALL",
        "_AUDIT_ID": "77",
        "_SOURCE_REALTIME_TIMESTAMP": "1764000000123000",
        "_BOOT_ID": "b00t",
        "MESSAGE": "SYSCALL " + BODY.decode(),
    }
    return json.dumps(values | changes).encode()


@pytest.mark.parametrize(
    ("line", "node"),
    [
        (b"type=SYSCALL msg=audit(1764000000.123:77): " + BODY, b""),
        (b"node=meeka type=SYSCALL msg=audit(1764000000.123:77): " + BODY, b"meeka"),
        (b"type=UNKNOWN[1300] msg=audit(1764000000.123:77): " + BODY, b""),
        (b"audit: type=1300 audit(1764000000.123:77): " + BODY, b""),
        (b"[   12.345678] audit: type=1300 audit(1764000000.123:77): " + BODY, b""),
        (b"<5>[   12.3] audit: type=1300 audit(1764000000.123:77): " + BODY, b""),
        (b"5,1,12345,-;audit: type=1300 audit(1764000000.123:77): " + BODY, b""),
        (entry(), b"b00t"),
        (entry(MESSAGE=list(b"SYSCALL " + BODY)), b"b00t"),
    ],
)
def test_every_form_gives_the_same_record(line: bytes, node: bytes) -> None:
    record = parse(line)
    assert record is not None
    assert record.id == EventId(node, 1_764_000_000_123, 77)
    assert (record.type, record.body, record.cut) == (b"SYSCALL", BODY, False)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"type=SYSCALL",
        b" type=SYSCALL msg=audit(1.000:1): x",
        b"type=SYSCALL msg=audit(1.0:1): x",
        # A syslog line, which any user can write with logger(1).
        b"Nov 24 21:00:00 meeka kernel: audit: type=1300 audit(1764000000.123:77): x",
        b"{",
        b"[]",
        b'{"MESSAGE": 3}',
        entry(_TRANSPORT="syslog"),
        entry(_TRANSPORT="stdout"),
        entry(MESSAGE=None),
        entry(MESSAGE="EXECVE argc=1"),
        entry(MESSAGE=[256]),
        entry(_AUDIT_ID="-1"),
        entry(_AUDIT_ID="\u0661"),
        entry(_SOURCE_REALTIME_TIMESTAMP=None),
    ],
)
def test_what_is_no_record_or_is_not_the_audit_systems_is_none(line: bytes) -> None:
    assert parse(line) is None


def test_a_field_that_a_process_may_write_is_not_taken_from_the_journal() -> None:
    forged = entry(AUDIT_TYPE_NAME="SYSCALL", AUDIT_ID="1", MESSAGE="SYSCALL " + BODY.decode())
    assert parse(forged) == parse(entry())


def test_a_long_line_is_cut_and_says_so() -> None:
    record = parse(b"type=EXECVE msg=audit(1764000000.123:77): " + b"a" * 100_000)
    assert record is not None
    assert record.cut
    assert len(record.body) <= RECORD_BYTES


def test_the_first_of_a_name_wins_and_enrichment_is_apart() -> None:
    body = b'exe="/srv/evil" uid=1000 exe="/nix/store/x"\x1dUID="alice" uid=0'
    assert fields(body)[b"exe"] == b'"/srv/evil"'
    assert fields(body)[b"uid"] == b"1000"
    assert enrichment(body) == {b"UID": b'"alice"', b"uid": b"0"}


@pytest.mark.parametrize("value", [b'"open', b'"', b'"a"b"', b"4", b"xyz", b"", b"41 42", b"?"])
def test_a_value_that_was_cut_off_is_undecodable_or_empty(value: bytes) -> None:
    if value == b"":
        assert decode(value) == b""
    elif b" " in value:
        # Never reaches decode: bodies are split at spaces.
        assert decode(value) == b"AB"
    else:
        with pytest.raises(Undecodable):
            decode(value)


@CHEAP
@given(st.binary(max_size=60).filter(lambda raw: b"\0" not in raw))
def test_what_the_kernel_encodes_comes_back(raw: bytes) -> None:
    coded = encode(raw).encode()
    assert b" " not in coded
    assert b"\n" not in coded
    assert b"\x1d" not in coded
    assert decode(coded) == raw


@CHEAP
@given(st.binary(max_size=80))
def test_what_is_shown_is_printable_ascii_and_unambiguous(raw: bytes) -> None:
    shown = visible(raw)
    assert shown.isascii()
    assert shown.isprintable()
    assert shown.encode().decode("unicode_escape").encode("latin-1") == raw


def test_a_long_argument_in_pieces_and_a_long_list_are_joined() -> None:
    bodies = [
        b'argc=4 a0="x" a1_len=8 a1[0]=4142',
        b" a1[1]=4344",
        b' a2="three" a3=66206F',
    ]
    assert arguments(bodies) == ((b"x", b"ABCD", b"three", b"f o"), True)


@pytest.mark.parametrize(
    "bodies",
    [
        [],
        [b'argc=2 a0="x"'],
        [b'a0="x" a1="y"'],
        [b'argc=2 a0="x" a1="cut'],
        [b'argc=2 a0="x" a1_len=8 a1[1]=4344'],
        [b'argc=9999999999999 a0="x"'],
    ],
)
def test_missing_arguments_are_noticed(bodies: list[bytes]) -> None:
    assert arguments(bodies)[1] is False


def test_json_that_is_nested_without_end_holds_no_record() -> None:
    for opening in (b"[", b'{"a":'):
        assert parse(b'{"MESSAGE":' + opening * 12_000) is None


def test_the_daemon_s_own_record_of_rhel_7_has_no_colon() -> None:
    record = parse(b"type=DAEMON_CONFIG msg=audit(1490239800.477:34) config changed, auid=0 res=1")
    assert record is not None
    assert (record.type, record.body) == (b"DAEMON_CONFIG", b" config changed, auid=0 res=1")


def test_a_carriage_return_is_no_part_of_a_record() -> None:
    record = parse(b'type=CWD msg=audit(1490239800.477:34): cwd="/srv"\r')
    assert record is not None
    assert record.body == b'cwd="/srv"'
