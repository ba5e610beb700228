"""Sets of whole numbers as sorted, disjoint, inclusive ranges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]


def ranges(pairs: Iterable[tuple[int, int]]) -> Ranges:
    """The numbers that are in any of the pairs."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        elif low <= high:
            merged.append((low, high))
    return tuple(merged)


def both(one: Ranges, other: Ranges) -> Ranges:
    """The numbers that are in both."""
    return tuple(_both(one, other))


def _both(one: Ranges, other: Ranges) -> Iterator[tuple[int, int]]:
    first = second = 0
    while first < len(one) and second < len(other):
        (low, high), (down, up) = one[first], other[second]
        if max(low, down) <= min(high, up):
            yield max(low, down), min(high, up)
        if high <= up:
            first += 1
        else:
            second += 1


def without(one: Ranges, other: Ranges) -> Ranges:
    """The numbers that are in the first alone."""
    if not one:
        return ()
    gaps, start = [], one[0][0]
    for low, high in other:
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    gaps.append((start, max(one[-1][1], start)))
    return both(one, tuple(gaps))


def size(one: Ranges) -> int:
    """How many numbers there are."""
    return sum(high - low + 1 for low, high in one)
