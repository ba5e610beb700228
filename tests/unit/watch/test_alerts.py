"""What is told, in a form that no argument can break, and not more often than allowed."""

from __future__ import annotations

import http.server
import io
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install.errors import SpecError
from paranoid_install.watch.alerts import Alert, Limit, Origin, execution
from paranoid_install.watch.sinks import MESSAGE_ID, File, Journal, Text, Webhook, datagram
from tests.unit.watch.profile import PROFILE
from tests.unit.watch.trail import Exec, scan

hostile = st.binary(min_size=1, max_size=40).filter(lambda raw: b"\0" not in raw)


def alert_on(one: Exec) -> Alert:
    verdicts, _, _ = scan(one.text())
    return execution(verdicts[0], Origin(), resolve=False)


@PROFILE
@given(hostile, st.lists(hostile, max_size=5))
def test_nothing_a_process_chooses_reaches_a_reader_raw(name: bytes, argv: list[bytes]) -> None:
    exe = b"/srv/" + name
    alert = alert_on(Exec(exe=exe, argv=tuple(argv), comm=name, cwd=exe))
    for as_json in (True, False):
        out = io.StringIO()
        Text(out, as_json=as_json)(alert)
        line = out.getvalue()
        assert line.endswith("\n")
        assert line[:-1].isascii()
        assert line[:-1].isprintable()
    entry = datagram(alert)
    assert all(0x20 <= byte < 0x7F or byte == 0x0A for byte in entry)
    names = [field.partition(b"=")[0] for field in entry.splitlines()]
    assert names.count(b"MESSAGE_ID") == names.count(b"MESSAGE") == names.count(b"PRIORITY") == 1
    assert json.loads(alert.json())["uid"] == 1000


def test_an_alert_names_user_parent_tty_session_and_unit() -> None:
    one = Exec(exe="/srv/evil", tail={"SYSCALL": '\x1dARCH=x86_64 UID="alice" AUID="bob"'})
    verdicts, _, _ = scan(Exec(pid=600, serial=1).text() + one.text())
    alert = execution(verdicts[0], Origin(unit="x.service"), resolve=False)
    fields = dict(alert.fields)
    assert fields["user"] == "alice"
    assert fields["login"] == "bob"
    assert (fields["tty"], fields["session"], fields["unit"]) == ("pts0", "3", "x.service")
    assert str(fields["parent"]).endswith("/bin/hello")
    assert fields["paths"] == ("/srv/evil",)
    assert "executed /srv/evil (outside-store) by alice, pid 700" in alert.message


def test_a_newline_in_a_field_uses_the_journal_s_binary_form() -> None:
    entry = datagram(Alert("x", "a\nPRIORITY=0"))
    assert entry.startswith(b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nPRIORITY=0\nMESSAGE_ID=")


def test_a_kind_is_limited_and_the_rest_is_counted() -> None:
    limit = Limit(per_kind=3, total=10)
    one, other = Alert("execution", "one", kind=(1,)), Alert("execution", "two", kind=(2,))
    assert [limit.admit(one, 5.0) for _ in range(5)] == [True, True, True, False, False]
    assert limit.admit(other, 6.0)
    assert list(limit.summary(60.0)) == []
    (summary,) = limit.summary(65.0)
    assert dict(summary.fields)["count"] == 2
    assert "2 x one" in summary.message
    assert limit.admit(one, 66.0)
    assert limit.suppressed_ever == 2


def test_all_kinds_together_are_limited_and_their_table_is_bounded() -> None:
    limit = Limit(per_kind=3, total=10)
    admitted = [limit.admit(Alert("execution", "x", kind=(n,)), 0.0) for n in range(5000)]
    assert sum(admitted) == 10
    assert len(limit.counts) <= 1025
    assert len(limit.held[4]) <= 16
    assert limit.suppressed == 4990


def test_what_is_said_of_the_trail_itself_is_never_held_back() -> None:
    limit = Limit(per_kind=1, total=1)
    assert all(limit.admit(Alert("lost", "x"), 0.0) for _ in range(10))


def told_of(reason: str, number: int, priority: int) -> Alert:
    return Alert("execution", f"{reason} {number}", priority, (), (reason, number), (reason,))


def test_refused_starts_cannot_use_up_what_a_successful_one_needs() -> None:
    """A thousand names that are refused, then one from memory, then one from elsewhere."""
    limit = Limit(per_kind=5, total=120)
    flood = [limit.admit(told_of("denied", n, 5), 0.0) for n in range(1000)]
    assert sum(flood) == 120
    assert limit.admit(told_of("memfd", 1, 3), 1.0)
    assert limit.admit(told_of("outside-store", 1, 4), 2.0)
    (summary,) = limit.summary(60.0)
    assert (summary.priority, dict(summary.fields)["count"]) == (5, 880)


def test_the_first_of_a_reason_passes_though_its_severity_is_used_up() -> None:
    limit = Limit(per_kind=5, total=3)
    assert sum(limit.admit(told_of("outside-store", n, 4), 0.0) for n in range(10)) == 3
    assert limit.admit(told_of("script", 1, 4), 1.0)
    assert not limit.admit(told_of("script", 2, 4), 2.0)


def test_a_summary_names_the_most_serious_first_however_few_they_are() -> None:
    limit = Limit(per_kind=1, total=1)
    for n in range(500):
        limit.admit(told_of("denied", n, 5), 0.0)
    for n in range(2):
        limit.admit(told_of("memfd", n, 3), 1.0)
    (summary,) = limit.summary(2.0, final=True)
    assert summary.priority == 3
    assert summary.message.index("memfd 1") < summary.message.index("denied")


def test_a_time_before_the_minute_begins_another() -> None:
    limit = Limit(per_kind=1, total=0)
    alert = told_of("denied", 1, 5)
    assert [limit.admit(alert, 9e9), limit.admit(alert, 9e9)] == [True, False]
    assert len(list(limit.summary(1e9))) == 1
    assert limit.admit(alert, 1e9)


def test_no_limit() -> None:
    limit = Limit(per_kind=0, total=0)
    assert all(limit.admit(Alert("execution", "x", kind=(1,)), 0.0) for _ in range(1000))


def test_the_journal_receives_one_datagram_with_its_message_id(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(5)
        sink = Journal(path)
        sink(alert_on(Exec(exe="/srv/evil")))
        entry = server.recv(65_536)
    assert f"MESSAGE_ID={MESSAGE_ID['execution']}\n".encode() in entry
    assert b"PARANOID_PATHS=/srv/evil\n" in entry
    assert sink.failed == 0
    sink.close()


def test_a_journal_that_is_not_there_is_counted(tmp_path: Path) -> None:
    sink = Journal(tmp_path / "none")
    sink(Alert("x", "y"))
    assert sink.failed == 1
    sink.close()


def test_a_file_gets_json_lines_is_private_and_survives_rotation(tmp_path: Path) -> None:
    path = tmp_path / "alerts"
    sink = File(path)
    sink(Alert("x", "one"))
    path.rename(tmp_path / "alerts.1")
    sink(Alert("x", "two"))
    assert json.loads(path.read_text())["message"] == "two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "alerts").symlink_to(tmp_path / "target")
    sink = File(tmp_path / "alerts")
    sink(Alert("x", "y"))
    assert sink.failed == 1
    assert (tmp_path / "target").read_text() == ""


class Receiver(http.server.BaseHTTPRequestHandler):
    """Refuses the first `refuse` posts, keeps the rest."""

    refuse = 0
    received: list[tuple[dict[str, object], str | None]]
    enough: threading.Event

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        cls = type(self)
        if cls.refuse > 0:
            cls.refuse -= 1
            self.send_response(503)
        else:
            cls.received.append((body, self.headers["Authorization"]))
            self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    handler = type("Handler", (Receiver,), {"received": [], "refuse": 0})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook?x=1", handler
        server.shutdown()
        thread.join()


def test_a_webhook_is_tried_again_and_gets_everything_in_order(
    receiver: tuple[str, type[Receiver]],
) -> None:
    url, handler = receiver
    handler.refuse = 2
    hook = Webhook(url, spool=10, token="secret", pause=0.01)
    for text in ("one", "two", "three"):
        hook(Alert("x", text))
    for _ in range(500):
        if len(handler.received) == 3:
            break
        threading.Event().wait(0.01)
    assert hook.close() == 0
    assert [body["message"] for body, _ in handler.received] == ["one", "two", "three"]
    assert handler.received[0][1] == "Bearer secret"
    assert hook.failed == 2


def test_a_webhook_that_does_not_answer_keeps_a_bounded_number() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    hook = Webhook(f"http://127.0.0.1:{port}/", spool=5, pause=60.0)
    for number in range(100):
        hook(Alert("x", str(number)))
    assert hook.close(seconds=5) == 5
    assert hook.dropped == 95


def test_what_a_webhook_drops_is_the_least_serious() -> None:
    hook = Webhook("http://127.0.0.1:9/", spool=3, pause=60.0)
    for number, priority in enumerate((3, 4, 5, 5, 4, 3)):
        hook(Alert("x", str(number), priority))
    left = [json.loads(line)["message"] for _, line in hook._waiting]
    assert left == ["0", "4", "5"]
    hook.close(seconds=5)


@pytest.mark.parametrize("url", ["http://example.org/", "ftp://x/", "x", "https:///x"])
def test_a_webhook_without_tls_is_refused(url: str) -> None:
    with pytest.raises(SpecError):
        Webhook(url, spool=1)
