"""QEMU's machine protocol, as much of it as a watchdog needs (qemu-qmp-ref(7))."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.vm.vmlab.process import LabError


class Qmp:
    """A connection to one machine. Events are kept in the order in which they came."""

    def __init__(self, path: Path, seconds: float) -> None:
        self.events: list[dict[str, Any]] = []
        self._socket = _connect(path, seconds)
        self._pending = b""
        try:
            self._receive(time.monotonic() + seconds)  # the greeting
            self.execute("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Qmp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def execute(self, command: str, seconds: float = 30, **arguments: object) -> Any:
        """What the command returns; LabError when QEMU refuses it or does not answer."""
        message = {"execute": command, "arguments": arguments}
        self._socket.settimeout(seconds)
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise LabError(f"QMP {command}: QEMU has ended ({error})") from error
        deadline = time.monotonic() + seconds
        while (answer := self._receive(deadline)) is not None:
            if "error" in answer:
                raise LabError(f"QMP {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)
        raise LabError(f"QMP {command}: no answer")

    def wait_for_end(self, seconds: float) -> bool:
        """Collect events until QEMU closes the connection; False when the time is over first."""
        deadline = time.monotonic() + seconds
        while (message := self._receive(deadline)) is not None:
            self.events.append(message)
        return self._ended

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        """The next message; None at the end of the connection or of the time."""
        self._ended = False
        while b"\n" not in self._pending:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            self._socket.settimeout(remaining)
            try:
                chunk = self._socket.recv(65536)
            except TimeoutError:
                return None
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                self._ended = True
                return None
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message


def _connect(path: Path, seconds: float) -> socket.socket:
    """QEMU is given a listening socket's name and makes it when it starts: look until then."""
    deadline = time.monotonic() + seconds
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline:
                raise LabError(f"QEMU made no QMP socket within {seconds:.0f} s") from None
            time.sleep(0.02)
        else:
            return connection
