"""What is in flight, against a naive model: a set of numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.core.send_window import REORDERING_THRESHOLD, Acknowledgement, Block, SendWindow
from fsp_trio.wire.packets import Snack
from fsp_trio.wire.serial import add

FIRSTS = st.sampled_from([0, 1, 2**31 - 3, 2**32 - 5, 2**32 - 1])


def window_of(first: int, count: int, *, room: int = 2**20) -> SendWindow:
    window = SendWindow(first, room)
    for i in range(count):
        window.append(Block(window.next_sn, bytes(i + 1), bytes(i + 33), 0, float(i)))
    return window


def snack_of(expected: int, *gaps: tuple[int, int]) -> Snack:
    return Snack(expected, add(expected, -1), 0, gaps)


@given(FIRSTS, st.integers(0, 20), st.lists(st.tuples(st.booleans(), st.integers(0, 20), st.binary(max_size=8))))
def test_window_is_a_set_of_numbers(first: int, count: int, told: list[tuple[bool, int, bytes]]) -> None:
    window = window_of(first, count)
    outstanding = set(range(count))
    una = 0
    in_flight = set(range(count))
    for cumulative, position, spans in told:
        expected = min(position, count)
        result = Acknowledgement()
        if cumulative:
            window.acknowledge(add(first, expected), result)
            gone = set(range(una, expected))
            una = max(una, expected)
        else:
            gaps = [(span >> 4, span & 15) for span in spans]
            offset, gone, valid = expected, set(), True
            for width, length in gaps:
                valid = valid and width > 0 and length > 0
                gone |= set(range(offset + width, offset + width + length))
                offset += width + length
            valid = valid and (offset <= count or not gaps)
            accepted = window.acknowledge_selectively(snack_of(add(first, expected), *gaps), result)
            assert accepted == valid
            gone = {i for i in gone if i >= una} if valid else set()
        news = gone & outstanding
        assert result.octets == sum(i + 33 for i in gone & in_flight)
        assert result.progress == bool(news) or (cumulative and result.progress == bool(gone))
        outstanding -= gone
        in_flight -= gone
        assert window.una == add(first, una)
        assert window.payload == sum(i + 1 for i in range(una, count)), "what is kept counts"
        assert [block.sn for block in window.blocks] == [add(first, i) for i in range(una, count)]
        assert [not block.acknowledged for block in window.blocks] == [i in outstanding for i in range(una, count)]
    assert window.clear() == sum(i + 33 for i in in_flight)
    assert window.una == window.next_sn, "what is forgotten cannot be acknowledged any more"
    assert window.acknowledge(window.next_sn, Acknowledgement()) is None


@pytest.mark.parametrize(
    "gaps",
    [
        [(0, 1)],
        [(1, 0)],
        [(1, 1), (0, 1)],
        [(1, 1), (1, 0)],
        [(1, 10)],
        [(10, 1)],
        [(2**31, 1)],
        [(1, 2**31)],
        [(2**32 - 1, 2)],
        [(1, 2**32 - 1)],
    ],
)
def test_m10_an_empty_or_overrunning_entry_voids_the_snack(gaps: list[tuple[int, int]]) -> None:
    """M10: nothing of it counts, the entries before the bad one included."""
    window = window_of(2**32 - 2, 8)
    result = Acknowledgement()
    assert not window.acknowledge_selectively(snack_of(2**32 - 2, *gaps), result)
    assert result == Acknowledgement()
    assert not any(block.acknowledged for block in window.blocks)


def test_m10_the_tail_begins_after_all_widths_and_lengths() -> None:
    window = window_of(100, 10)
    assert window.acknowledge_selectively(snack_of(100, (1, 2), (3, 1)), Acknowledgement())
    assert [block.sn for block in window.blocks if not block.acknowledged] == [100, 103, 104, 105, 107, 108, 109]


def test_loss_is_seen_after_three_later_arrivals() -> None:
    result = Acknowledgement()
    window = window_of(0, 10)
    window.acknowledge_selectively(snack_of(0, (1, REORDERING_THRESHOLD - 1)), result)
    assert result.loss_sent_at == -math.inf
    window.acknowledge_selectively(snack_of(0, (1, REORDERING_THRESHOLD)), result)
    assert result.loss_sent_at == 0.0
    window.acknowledge_selectively(snack_of(0, (1, 3), (1, 5)), result)
    assert result.loss_sent_at == 4.0, "the newest of the lost"


def test_a_repeated_packet_is_no_news_of_a_loss() -> None:
    window = window_of(0, 10)
    window.blocks[0].times = 2
    result = Acknowledgement()
    window.acknowledge_selectively(snack_of(0, (1, 5)), result)
    assert result.loss_sent_at == -math.inf


def test_m7_the_right_edge_never_moves_back() -> None:
    """M7: only numbers below E + W; the edge is the maximum of all that was told."""
    window = SendWindow(2**32 - 2, 4)
    assert window.room == 4
    window.advertise(2**32 - 2, 3)
    assert window.room == 4
    window.advertise(2**32 - 1, 5)
    assert window.room == 6
    for _ in range(6):
        window.append(Block(window.next_sn, b"", b"", 0, 0.0))
    assert window.room == 0
    window.append(Block(window.next_sn, b"", b"", 0, 0.0))  # a probe
    assert window.room == 0


def test_m9_a_repeated_packet_gives_no_sample() -> None:
    """M9, Karn: only the newest packet, and only if it was sent once."""
    window = window_of(0, 3)
    window.blocks[1].times = 2
    samples = []
    for expected in (1, 2, 3):
        window.acknowledge(expected, Acknowledgement())
        samples.append(window.sample)
    assert samples == [(0, 0.0), None, (2, 2.0)]
