"""Standard output and error that cannot fail: what nobody can read any more is dropped."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Raw(io.RawIOBase):
    """A descriptor that takes everything. `failed` says why it went silent; empty while it works.

    A full disk, a reader that has gone and a terminal that was hung up are no reason to stop
    halfway through a disk.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.failed = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Buffer) -> int:
        """Write all of it, or drop it."""
        left = memoryview(data).cast("B")
        size = left.nbytes
        while left and not self.failed:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # the other end, which shares its flags, reads without waiting
                select.select((), (self._descriptor,), ())
            except OSError as error:
                self.failed = error.strerror or str(error)
        return size


def lasting(stream: TextIO) -> TextIO:
    """A text stream to where a stream leads, line by line; what it cannot encode is spelt out."""
    raw = io.BufferedWriter(Raw(stream.fileno()))
    return io.TextIOWrapper(raw, stream.encoding, errors="backslashreplace", line_buffering=True)


def failure(stream: TextIO) -> str:
    """Why a `lasting` stream went silent; empty for one that has not, and for every other."""
    stream.flush()
    raw = getattr(stream.buffer, "raw", None)
    return raw.failed if isinstance(raw, Raw) else ""


def fill_the_standard_descriptors() -> None:
    """Open /dev/null for each of the first three that is closed.

    Else the next file to be opened, a disk perhaps, is what messages are written to.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free is this one: those before it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            mode = "r" if descriptor == 0 else "w"
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
