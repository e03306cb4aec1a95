from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.wire.serial import add, sub

numbers = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (0, 1, -1),
        (0, 0xFFFFFFFF, 1),
        (0xFFFFFFFF, 0, -1),
        (5, 0xFFFFFFF0, 21),
        (0x80000000, 0, -(2**31)),
        (0, 0x80000000, -(2**31)),
        (0x7FFFFFFF, 0, 2**31 - 1),
    ],
)
def test_difference_wraps(a: int, b: int, difference: int) -> None:
    assert sub(a, b) == difference


@settings(deadline=None)
@given(numbers, st.integers(-(2**31), 2**31 - 1))
def test_adding_is_undone_by_subtracting(a: int, n: int) -> None:
    there = add(a, n)
    assert 0 <= there < 2**32
    assert sub(there, a) == n
    assert add(there, -n) == a
