"""Where alerts go: the journal, a file, a webhook, a text stream. None of them may raise: an
alert that cannot be delivered is counted, and told wherever it still can be."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import struct
import threading
import urllib.parse
from pathlib import Path
from typing import TextIO

from paranoid_install.errors import SpecError
from paranoid_install.watch.alerts import Alert

MESSAGE_ID = {
    "execution": "5b9ed2b1c3e64d0f8a7b6c9d2e1f4a30",
    "": "5b9ed2b1c3e64d0f8a7b6c9d2e1f4a31",
}
"""journalctl MESSAGE_ID=…: one for executions, one for all that is said of the trail itself."""

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
TIMEOUT = 10.0
LONGEST_PAUSE = 300.0
_FIELD_LIMIT = 16 * 1024


class Text:
    """A line an alert, as JSON or for people, on a stream such as the standard output."""

    def __init__(self, stream: TextIO, *, as_json: bool) -> None:
        self._stream = stream
        self._json = as_json
        self.failed = 0

    def __call__(self, alert: Alert) -> None:
        line = alert.json() if self._json else f"{alert.event}: {alert.message}"
        try:
            print(line, file=self._stream, flush=True)
        except OSError:
            self.failed += 1


class Journal:
    """The journal's native protocol (systemd, docs/JOURNAL_NATIVE_PROTOCOL.md)."""

    def __init__(self, path: Path = JOURNAL_SOCKET) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT)
        self.failed = 0

    def __call__(self, alert: Alert) -> None:
        try:
            self._socket.sendto(datagram(alert), self._path)
        except OSError:
            self.failed += 1

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def datagram(alert: Alert) -> bytes:
    """The entry for one alert: PARANOID_… and fields of systemd.journal-fields(7)."""
    fields: list[tuple[str, str]] = [
        ("MESSAGE", alert.message),
        ("MESSAGE_ID", MESSAGE_ID.get(alert.event, MESSAGE_ID[""])),
        ("PRIORITY", str(alert.priority)),
        ("SYSLOG_IDENTIFIER", "paranoid-watch"),
        ("PARANOID_EVENT", alert.event),
    ]
    for name, value in alert.fields:
        for one in value if isinstance(value, tuple) else (value,):
            fields.append((f"PARANOID_{name.upper()}", str(one)))
    out = bytearray()
    room = 8 * _FIELD_LIMIT
    for name, text in fields:
        data = text.encode()[: min(_FIELD_LIMIT, room)]
        room -= len(data)
        if b"\n" in data:
            # The binary form: a value cannot end its field and begin another.
            out += name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            out += name.encode() + b"=" + data + b"\n"
    return bytes(out)


class File:
    """JSON lines, appended with one write each; opened anew each time, as logs are rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failed = 0

    def __call__(self, alert: Alert) -> None:
        data = (alert.json() + "\n").encode()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                if os.write(descriptor, data) != len(data):
                    self.failed += 1
            finally:
                os.close(descriptor)
        except OSError:
            self.failed += 1


class Webhook:
    """Posts each alert as JSON. A thread of its own delivers; while the receiver does not answer,
    at most `spool` alerts wait; the least serious go first, and of them the oldest. The next one
    delivered says how many.

    Raises SpecError for a URL that is neither https nor on the loopback.
    """

    def __init__(self, url: str, *, spool: int, token: str = "", pause: float = 1.0) -> None:
        parts = urllib.parse.urlsplit(url)
        local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not parts.hostname or not (
            parts.scheme == "https" or (parts.scheme == "http" and local)
        ):
            raise SpecError(f"--webhook {url}", "not an https URL", "write https://host/path")
        self._parts = parts
        self._token = token
        self._pause = pause
        self._waiting: list[tuple[int, str]] = []
        self._spool = spool
        self._change = threading.Condition()
        self._closing = False
        self.dropped = 0
        self.failed = 0
        self._thread = threading.Thread(target=self._deliver, name="webhook", daemon=True)
        self._thread.start()

    def __call__(self, alert: Alert) -> None:
        with self._change:
            self._waiting.append((alert.priority, alert.json()))
            if len(self._waiting) > self._spool:
                least = max(priority for priority, _ in self._waiting)
                place = next(n for n, waits in enumerate(self._waiting) if waits[0] == least)
                del self._waiting[place]
                self.dropped += 1
            self._change.notify()

    def close(self, seconds: float = TIMEOUT) -> int:
        """Try for `seconds` more to deliver what waits. Returns how many were not."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(seconds)
        with self._change:
            return len(self._waiting)

    def _deliver(self) -> None:
        pause = self._pause
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._waiting) or self._closing)
                if not self._waiting:
                    return
                head, dropped = self._waiting[0], self.dropped
            if self._post(head[1], dropped):
                pause = self._pause
                with self._change:
                    # The head may have been dropped while it was on its way.
                    if self._waiting and self._waiting[0] is head:
                        del self._waiting[0]
                    self.dropped -= dropped
                continue
            self.failed += 1
            with self._change:
                if self._closing:
                    return
                self._change.wait_for(lambda: self._closing, timeout=pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _post(self, line: str, dropped: int) -> bool:
        body = json.dumps(json.loads(line) | {"dropped_before": dropped}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "paranoid-watch"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        host, port = self._parts.hostname or "", self._parts.port
        connection: http.client.HTTPConnection
        if self._parts.scheme == "https":
            # Certificates and names are verified: the default of the default context.
            connection = http.client.HTTPSConnection(
                host, port, timeout=TIMEOUT, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
        target = self._parts.path or "/"
        if self._parts.query:
            target += f"?{self._parts.query}"
        try:
            connection.request("POST", target, body, headers)
            return 200 <= connection.getresponse().status < 300
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
