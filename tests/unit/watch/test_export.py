"""A journal's export says what the same journal says as JSON."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest

from paranoid_install.runner import ShRunner
from paranoid_install.watch.command import NOT_READ, WatchOptions, run
from paranoid_install.watch.export import unexported
from paranoid_install.watch.records import JOURNAL_BYTES
from tests.unit.watch.trail import DATA, scan

LINES = (DATA / "journal.json").read_bytes()
SYSLOG: dict[str, object] = {
    "_TRANSPORT": "syslog",
    "MESSAGE": "audit: type=1309 audit(1.000:1): argc=1",
}


def exported(entries: list[dict[str, object]], *, binary: bool = False) -> bytes:
    """As journalctl -o export writes `entries`; `binary`: every value with its length."""
    text = b""
    for number, entry in enumerate(entries):
        text += b"__CURSOR=s=%d\n__REALTIME_TIMESTAMP=1\n_SOURCE_X=\n" % number
        for name, value in entry.items():
            raw = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
            if binary or b"\n" in raw or not isinstance(value, str):
                text += name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"
            else:
                text += name.encode() + b"=" + raw + b"\n"
        text += b"\n"
    return text


ENTRIES: list[dict[str, object]] = [json.loads(line) for line in LINES.splitlines()]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("size", [1 << 20, 4096, 61])
def test_the_same_is_found_in_either_form(binary: bool, size: int) -> None:
    entries = [part for entry in ENTRIES for part in (entry, SYSLOG)]
    text = exported(entries, binary=binary)
    blocks = [text[start : start + size] for start in range(0, len(text), size)]
    found = b"".join(bytes(block[:]) for block in unexported(blocks))
    assert scan(found) == scan(LINES)


def test_other_files_pass_as_they_are() -> None:
    assert list(unexported([b"type=x\n", b"__CURSOR=y\n"])) == [b"type=x\n", b"__CURSOR=y\n"]
    assert list(unexported([])) == []


def replay(path: Path) -> tuple[int, int]:
    out = io.StringIO()
    code = run(WatchOptions(replay=(path,), as_json=True), ShRunner(), out=out)
    ended = json.loads(out.getvalue().splitlines()[-1])
    return code, ended["unreadable"]


def test_an_export_is_replayed_packed_or_not(tmp_path: Path) -> None:
    text = exported(ENTRIES)
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "packed").write_bytes(gzip.compress(text))
    plain, packed = replay(tmp_path / "plain"), replay(tmp_path / "packed")
    assert plain == packed
    assert plain[0] == 8


AUDIT: dict[str, object] = {
    "_TRANSPORT": "audit",
    "_AUDIT_TYPE_NAME": "USER_AUTH",
    "_AUDIT_ID": "7",
    "_SOURCE_REALTIME_TIMESTAMP": "1764000000123000",
    "MESSAGE": "USER_AUTH pid=1",
}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (exported([AUDIT]), 0),
        (exported([SYSLOG]), NOT_READ),
        (exported([AUDIT])[:-20], NOT_READ),
        (exported([AUDIT, AUDIT | {"MESSAGE": [*b"USER_AUTH ", 255]}]), 0),
        (exported([AUDIT, AUDIT], binary=True)[:-20], NOT_READ),
        # Longer than a record may be, and given twice.
        (exported([AUDIT, AUDIT | {"MESSAGE": "USER_AUTH " + "x" * JOURNAL_BYTES}]), NOT_READ),
        (exported([AUDIT, AUDIT | {"MESSAGE": [0] * (JOURNAL_BYTES + 1)}]), NOT_READ),
        (exported([AUDIT, AUDIT]).replace(b"_AUDIT_ID=7\n", b"_AUDIT_ID=7\n" * 2), NOT_READ),
        # What is long and not asked for is passed over.
        (exported([AUDIT, SYSLOG | {"X": [0] * 3_000_000}, AUDIT]), 0),
        (exported([AUDIT, SYSLOG | {"X": "y" * 3_000_000}, AUDIT]), 0),
    ],
)
def test_what_is_cut_off_or_doubtful_is_no_good_answer(
    tmp_path: Path, text: bytes, code: int
) -> None:
    (tmp_path / "journal").write_bytes(text)
    (tmp_path / "journal.gz").write_bytes(gzip.compress(text))
    assert replay(tmp_path / "journal")[0] == code
    assert replay(tmp_path / "journal.gz")[0] == code
