"""The compressions that squashfs images have, as far as the standard library knows them.

Numbers as in the kernel's fs/squashfs/squashfs_fs.h. nixpkgs makes its images with zstd.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

NAMES = {1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}
SUPPORTED = frozenset({1, 4, 6})

Inflate = Callable[[bytes, int], bytes]
"""Takes a whole block and the most bytes that it may hold; raises Damaged."""


class Damaged(Exception):
    """What is wrong with a block; squashfs says which."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def of(number: int) -> Inflate:
    """How to decompress what has this number, one that is SUPPORTED. Imports what it takes only."""
    make: Callable[[], _Decompressor]
    failure: type[Exception]
    match number:
        case 1:
            import zlib  # noqa: PLC0415

            make, failure = zlib.decompressobj, zlib.error
        case 4:
            import lzma  # noqa: PLC0415

            make, failure = lzma.LZMADecompressor, lzma.LZMAError
        case _:
            if sys.version_info >= (3, 14):
                from compression import zstd  # noqa: PLC0415
            else:
                from backports import zstd  # noqa: PLC0415

            make, failure = zstd.ZstdDecompressor, zstd.ZstdError

    def inflate(data: bytes, limit: int) -> bytes:
        decompressor = make()
        try:
            found = decompressor.decompress(data, limit)
        except failure as error:
            raise Damaged(str(error)) from error
        if not decompressor.eof:
            raise Damaged(f"it ends early, or is of more than {limit} bytes")
        return found

    return inflate
