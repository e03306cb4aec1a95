"""What needs no socket: which datagrams may share one segmented send, and how a joined arrival is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.ports import _offload as offload

SIZES = st.one_of(st.sampled_from([0, 1, 64, 1056, 1057, 1400, 40_000, 65_507]), st.integers(0, 2_000))


def may_share(lengths: list[int]) -> bool:
    """The conditions, one by one, as the documentation of the system states them."""
    first = lengths[0]
    return (
        len(lengths) <= 64
        and len(lengths) * first <= 65_400
        and all(length == first for length in lengths[:-1])
        and 0 < lengths[-1] <= first
    )


@given(st.lists(SIZES, min_size=1, max_size=200), st.data())
def test_a_run_is_the_longest_that_may_share_a_send(lengths: list[int], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(lengths) - 1))
    number = offload.run_length(lengths, start)
    longest = 1
    while start + longest < len(lengths) and may_share(lengths[start : start + longest + 1]):
        longest += 1
    assert number == longest


@given(st.integers(1, 500), st.integers(64, 150))
def test_runs_of_equal_datagrams_respect_both_limits(size: int, count: int) -> None:
    assert offload.run_length([size] * count, 0) == 64


@pytest.mark.parametrize(("size", "expected"), [(1056, 61), (1400, 46), (65_400, 1), (65_507, 1), (32_700, 2)])
def test_known_runs(size: int, expected: int) -> None:
    assert offload.run_length([size] * 100, 0) == expected


@given(st.binary(min_size=1, max_size=3_000), st.integers(1, 3_000))
def test_the_splitter_cuts_like_slicing(octets: bytes, segment: int) -> None:
    pieces = offload.splitter(len(octets), segment).unpack_from(octets)
    assert list(pieces) == [octets[at : at + segment] for at in range(0, len(octets), segment)]


def test_what_other_sizes_a_peer_can_make_us_remember_is_limited() -> None:
    for size in range(1, 1_000):
        offload.splitter(1_000, size)
    assert offload.splitter.cache_info().currsize <= 128


@pytest.mark.parametrize("platform", ["darwin", "win32", "freebsd14"])
def test_other_platforms_try_nothing(platform: str) -> None:
    assert offload.platform_features(platform, {}) == offload.PLAIN


def test_the_environment_switches_offload_off() -> None:
    features = offload.platform_features("linux", {"FSP_TRIO_NO_OFFLOAD": "1"})
    assert not features.segmentation
    assert not features.coalescing
    assert features.congestion_notification
    assert offload.platform_features("linux", {"FSP_TRIO_NO_OFFLOAD": "0"}).segmentation
    assert offload.platform_features("linux", {}).segmentation
