"""Sizes as operators write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paranoid_install.values import MemorySize, Size

_HINT = "write a whole number with K, M, G or T (powers of 1024), like 512M or 2G"


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("1K", 1024), ("512M", 512 * 1024**2), (" 2g ", 2 * 1024**3), ("1T", 1024**4)],
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert Size.parse(text).bytes == size


@pytest.mark.parametrize(
    "text", ["2Q", "", " ", "-1G", "1.5G", "2GB", "2 G", "1_000", "٣G", "²", "G", "2G\x00", "0x10"]
)
def test_what_is_no_size_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size") as caught:
        Size.parse(text)
    assert str(caught.value) == f"{text!r} is not a size; {_HINT}"


@pytest.mark.parametrize("text", ["0", "0G", "9223372036854775808", "8388608T"])
def test_nothing_and_too_much_are_out_of_range(text: str) -> None:
    with pytest.raises(ValueError, match="is out of range"):
        Size.parse(text)


@pytest.mark.parametrize("text", ["0%", "101%", "999%"])
def test_a_share_is_1_to_100_percent(text: str) -> None:
    with pytest.raises(ValueError, match="is not a share of memory; write 1% to 100%"):
        MemorySize.parse(text)


def test_a_share_is_of_the_machine_s_memory() -> None:
    assert MemorySize.parse("50%").of(8 * 1024**3) == 4 * 1024**3
    assert MemorySize.parse("2G").of(1) == 2 * 1024**3


@given(st.integers(1, 2**63 - 1))
def test_a_size_reads_back_as_it_is_written(count: int) -> None:
    assert Size.parse(str(Size(count))) == Size(count)


@given(st.text())
def test_any_text_is_a_size_or_a_sentence(text: str) -> None:
    try:
        size = MemorySize.parse(text)
    except ValueError as error:
        assert str(error).startswith(repr(text))  # noqa: PT017 - both ways out are right
    else:
        assert MemorySize.parse(str(size)) == size
