"""Where records come from: blocks of bytes, and an empty block when a moment passed without any.

A source ends when its input ends; `watch` says so. It never blocks for longer than `TICK`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import mmap
import os
import select
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from paranoid_install.errors import CommandFailed, InstallError, SpecError
from paranoid_install.runner import Runner
from paranoid_install.watch import export

BLOCK = 1024 * 1024
TICK = 0.5

JOURNALCTL = (
    "journalctl",
    "--output=json",
    # Without it a field of more than 4096 bytes is written as null: long arguments would vanish.
    "--all",
    f"--output-fields={','.join(export.FIELDS)}",
    "--quiet",
    "--no-pager",
)
_FIELDS = ("_TRANSPORT=audit", "+", "_TRANSPORT=kernel")


def replay(path: Path) -> Iterator[bytes | mmap.mmap]:
    """The file at `path`, once, unpacked if it is gzip, xz or bzip2; `-` is the standard input.

    Raises SpecError for a file that cannot be opened, DamagedError where its packing breaks off.
    """
    if str(path) == "-":
        while block := os.read(0, BLOCK):
            yield block
        return
    with _open(path) as file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        magic = os.pread(file.fileno(), 6, 0) if regular else b""
        packed = next((name for start, name in _PACKED if magic.startswith(start)), None)
        if packed is not None:
            yield from _unpacked(path, packed)
            return
        if magic:
            # No copy, no allocation: a third of the time. Pages are the kernel's to drop. Should
            # somebody cut the file short meanwhile, SIGBUS ends the run, which is not silent.
            # Closed with its last reader: what was found in it is still looked at.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_SEQUENTIAL)
            yield mapped
            return
        try:
            while block := file.read(BLOCK):
                yield block
        except OSError as error:
            raise DamagedError(str(path), f"cannot be read ({error.strerror})") from error


_PACKED = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"))


class DamagedError(InstallError):
    """A file holds less than it should: what is in the rest of it is unknown."""


def _unpacked(path: Path, packed: str) -> Iterator[bytes]:
    """What is packed in `path`, a block at a time, however large it becomes."""
    kinds: dict[str, type[gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File]] = {
        "gzip": gzip.GzipFile,
        "xz": lzma.LZMAFile,
        "bzip2": bz2.BZ2File,
    }
    try:
        with kinds[packed](path) as file:
            while block := file.read(BLOCK):
                yield block
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DamagedError(str(path), f"its {packed} data is damaged ({error})") from error


def descriptor(number: int) -> Iterator[bytes]:
    """What comes in on an open descriptor (0 is the standard input), until its end."""
    while True:
        ready, _, _ = select.select([number], [], [], TICK)
        if not ready:
            yield b""
            continue
        block = os.read(number, BLOCK)
        if not block:
            return
        yield block


def follow(path: Path, stop: threading.Event) -> Iterator[bytes]:
    """What is appended to `path` from now on, through rotation; ends when `stop` is set.

    The old file is read to its end before the new one is opened. Looks twice a second: Python's
    library has no inotify. Raises SpecError when there is no such file at the beginning.
    """
    file = _open(path)
    file.seek(0, os.SEEK_END)
    try:
        while not stop.is_set():
            block = file.read(BLOCK)
            if block:
                yield block
                continue
            try:
                now = path.stat()
            except FileNotFoundError:
                now = None
            mine = os.fstat(file.fileno())
            if now is not None and (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino):
                # A last line may have been written between the read and the rotation.
                while block := file.read(BLOCK):
                    yield block
                file.close()
                file = _open(path)
                continue
            if mine.st_size < file.tell():
                file.seek(0)
                continue
            yield b""
            stop.wait(TICK)
    finally:
        file.close()


NOW = ("--lines=0",)
BOOT = ("--lines=all",)


def journal(
    runner: Runner,
    stop: threading.Event,
    begin: tuple[str, ...] = NOW,
    after: str | None = None,
) -> Iterator[bytes]:
    """The live journal, through `journalctl --follow`. Ends when `stop` is set.

    It begins NOW or with the start of this BOOT; or after the entry with the cursor `after`, of
    whatever boot. From systemd 250 on `--follow` means this boot only, and not every version can
    be told otherwise: what there is already is read without it.

    journalctl writes into a FIFO, so that its output (some 4 MB/s at 1,000 executions a second)
    does not pass through the runner line by line. It ends by itself when the FIFO has no reader
    any more, however we ended: nothing need be asked of the kernel that a service's system call
    filter refuses (setpriv(1) calls capset, even for a death signal alone).
    Raises CommandFailed when journalctl ends.
    """
    with tempfile.TemporaryDirectory(prefix="paranoid-watch-") as directory:
        fifo = Path(directory) / "journal"
        os.mkfifo(fifo, 0o600)
        # Opened for both, a FIFO never waits for its other side and never ends.
        place = Path(directory) / "cursor"
        passes: tuple[tuple[str, ...], ...] = (("--follow", *begin),)
        if after is not None:
            place.write_text(after, encoding="ascii")
            kept = f"--cursor-file={place}"
            passes = ((kept,), ("--follow", "--lines=all", kept))
        number = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        failure: list[InstallError] = []
        ended = threading.Event()

        def read() -> None:
            try:
                for options in passes:
                    # 1: nothing comes after a cursor that the journal has lost, in a power cut say.
                    # Had it failed, so would the last pass.
                    ok = (0,) if options is passes[-1] else (0, 1)
                    runner.run(
                        *("sh", "-c", 'exec "$@" > "$0"'),
                        str(fifo),
                        *JOURNALCTL,
                        *options,
                        *_FIELDS,
                        ok=ok,
                        timeout=None,
                    )
            except InstallError as error:
                failure.append(error)
            finally:
                ended.set()

        threading.Thread(target=read, name="journalctl", daemon=True).start()
        try:
            while not stop.is_set():
                ready, _, _ = select.select([number], [], [], TICK)
                if ready:
                    yield os.read(number, BLOCK)
                elif ended.is_set():
                    break
                else:
                    yield b""
        finally:
            os.close(number)
        if failure:
            raise failure[0]
        if not stop.is_set():
            raise CommandFailed(JOURNALCTL, "ended although it should follow the journal", 0)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except OSError as error:
        reason = error.strerror or "cannot be opened"
        raise SpecError(str(path), reason.lower(), "name a readable audit log") from error
