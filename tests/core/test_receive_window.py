"""What one end has received: reading, ends of transactions, gaps, limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.core.receive_window import MAXIMUM_GAPS, ReceiveWindow
from fsp_trio.wire.packets import Op
from fsp_trio.wire.serial import add

CAPACITY = 16
FIRSTS = st.sampled_from([0, 2**32 - 3, 2**31 - 2])


def early_of(payload: bytes, at: float = 0.0) -> tuple[Op, int, bytes, float]:
    return Op.PURE_DATA, 0, payload, at


@given(FIRSTS, st.lists(st.tuples(st.binary(max_size=6), st.booleans()), max_size=CAPACITY), st.data())
def test_reading_gives_back_the_transactions(first: int, blocks: list[tuple[bytes, bool]], data: st.DataObject) -> None:
    window = ReceiveWindow(first, CAPACITY, 2**16)
    transactions = [b""]
    for payload, ends in blocks:
        window.advance(0.0)
        window.deliver(payload, ends)
        transactions[-1] += payload
        if ends:
            transactions.append(b"")
    right_edge = add(window.expected, window.window)
    got = [b""]
    while window.ready:
        assert window.ready_octets == sum(map(len, transactions)) - sum(map(len, got))
        if window.at_end:
            assert window.read(100) == b"", "nothing beyond the end before it was stepped over"
            window.next_transaction()
            got.append(b"")
        else:
            octets = window.read(data.draw(st.integers(1, 8)))
            assert octets, "an empty PURE_DATA is nothing to read (M16)"
            got[-1] += octets
        edge = add(window.expected, window.window)
        assert (edge - right_edge) & 0xFFFFFFFF < 2**31, "the right edge never moves back"
        right_edge = edge
    assert got == transactions
    assert window.ready_octets == 0
    assert not window.at_end
    assert window.window == CAPACITY


def test_reading_nothing() -> None:
    window = ReceiveWindow(0, CAPACITY, 2**16)
    assert window.read(10) == b""
    window.deliver(b"abc", True)
    assert window.read(0) == b""
    assert window.read(2) == b"ab"
    assert not window.at_end
    assert window.read(2) == b"c"
    assert window.at_end


@given(FIRSTS, st.sets(st.integers(1, 40), max_size=30))
def test_gaps_describe_exactly_what_came_early(first: int, offsets: set[int]) -> None:
    """4.8, 8.5.3: (width, length) pairs from the expected number on."""
    window = ReceiveWindow(first, 64, 2**16)
    for offset in offsets:
        window.hold(add(first, offset), early_of(b"x"))
    snack = window.snack(0.0, gaps=True)
    described, position = set(), 0
    for width, length in snack.gaps:
        assert width > 0
        assert length > 0
        described |= set(range(position + width, position + width + length))
        position += width + length
    assert described == offsets
    assert window.snack(0.0, gaps=False).gaps == ()


def test_gaps_are_limited() -> None:
    window = ReceiveWindow(0, 2**10, 2**16)
    for offset in range(2, 800, 2):
        window.hold(offset, early_of(b""))
    gaps = window.snack(0.0, gaps=True).gaps
    assert gaps == ((2, 1),) + ((1, 1),) * (MAXIMUM_GAPS - 1)


def test_m9_sample_of_the_delay() -> None:
    """M9: number E - 1, and the time since it was first accepted, saturating."""
    window = ReceiveWindow(0, CAPACITY, 2**16)
    window.advance(10.0)
    snack = window.snack(10.25, gaps=True)
    assert (snack.expected_sn, snack.delay_sample_sn, snack.delay) == (1, 0, 250_000)
    assert window.snack(9.0, gaps=True).delay == 0
    assert window.snack(1e9, gaps=True).delay == 2**32 - 1


def test_early_packets_wait_for_their_turn() -> None:
    window = ReceiveWindow(2**32 - 1, CAPACITY, 2**16)
    window.hold(0, early_of(b"abc", 1.0))
    assert window.take_early() is None
    assert window.early_octets == 3
    window.advance(2.0)
    assert window.take_early() == early_of(b"abc", 1.0)
    assert window.early_octets == 0
    assert not window.early


def test_limits_of_octets() -> None:
    """However large the packets of the peer are: so many octets wait for the reader, so many out of order."""
    window = ReceiveWindow(0, CAPACITY, 100)
    assert window.fits(0, 1000), "an empty buffer takes any packet, else it could never come"
    window.deliver(bytes(60), False)
    assert window.fits(0, 40)
    assert not window.fits(0, 41)
    assert window.octets_left == 40
    assert window.fits(1, 100)
    window.hold(1, early_of(bytes(60)))
    assert window.fits(2, 40)
    assert not window.fits(2, 41)
    window.clear_early()
    assert window.fits(2, 100)
