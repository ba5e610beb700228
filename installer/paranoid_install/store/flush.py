"""Gets a file system's data onto its disk, beside the work that makes them."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from types import TracebackType


class Flusher:
    """Writes a file system's dirty pages to the disk while more are made (syncfs(2)).

    Left to itself the kernel starts only when a tenth of the memory is dirty, and the disk would
    idle through the copy. An error of the disk since the start is raised by `finish` as OSError.
    """

    PAUSE = 0.3
    """Seconds between two flushes; longer on a slow disk, as long as the last one took, so that
    half of the time it writes what the copy itself asks for."""

    def __init__(self, directory: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._stop = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._loop, name="flusher")
        self._thread.start()

    def __enter__(self) -> Flusher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop without a last flush. Harmless after `finish`."""
        if self._file >= 0:
            self._stop.set()
            self._thread.join()
            os.close(self._file)
            self._file = -1

    def finish(self) -> None:
        """Flush all and stop; raises the first OSError met since the start."""
        try:
            self._stop.set()
            self._thread.join()
            self._flush()
        finally:
            self.close()
        if self._error is not None:
            raise self._error

    def _loop(self) -> None:
        pause = self.PAUSE
        while not self._stop.wait(pause):
            start = time.monotonic()
            self._flush()
            pause = max(self.PAUSE, time.monotonic() - start)

    def _flush(self) -> None:
        if self._libc.syncfs(self._file) != 0 and self._error is None:
            number = ctypes.get_errno()
            self._error = OSError(number, os.strerror(number))
