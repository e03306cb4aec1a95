"""The queue of octets against a naive model: a list of transactions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.core.send_window import Piece, SendQueue

LIMIT = 8


class Model:
    """Transactions as whole octet strings; the last one may be open."""

    def __init__(self) -> None:
        self.queued: list[tuple[bytes, int]] = []
        self.open = b""

    def end(self, ordinal: int) -> None:
        self.queued.append((self.open, ordinal))
        self.open = b""

    def cut(self, limit: int) -> tuple[bytes, int]:
        if self.queued:
            data, ordinal = self.queued[0]
            if len(data) <= limit:
                del self.queued[0]
                return data, ordinal
            self.queued[0] = data[limit:], ordinal
            return data[:limit], 0
        data, self.open = self.open[:limit], self.open[limit:]
        return data, 0

    @property
    def octets(self) -> int:
        return sum(len(data) for data, _ in self.queued) + len(self.open)


steps = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40).map(lambda data: ("append", data)),
        st.just(("end", b"")),
        st.integers(1, 12).map(lambda limit: ("cut", bytes(limit))),
        st.integers(1, 12).map(lambda limit: ("cut_full", bytes(limit))),
    ),
    max_size=40,
)


@given(steps, st.integers(1, 4))
def test_queue_is_a_list_of_transactions(history: list[tuple[str, bytes]], count: int) -> None:
    queue, model, ordinal = SendQueue(LIMIT), Model(), 0
    for name, data in history:
        if name == "append":
            queue.append(data)
            model.open += data
        elif name == "end":
            ordinal += 1
            queue.end(ordinal)
            model.end(ordinal)
        elif not queue:
            assert model.octets == 0
            assert not model.queued
        elif name == "cut":
            payload, ended = queue.cut(len(data))
            assert (payload, ended.ordinal if ended else 0) == model.cut(len(data))
        else:
            before = queue.octets
            for payload in queue.cut_full(len(data), count):
                assert len(payload) == len(data)
                assert model.cut(len(data)) == (payload, 0), "it ends nothing, and something is left to end with"
            assert queue.octets or not before
        assert queue.octets == model.octets
        assert bool(queue) == bool(model.octets or model.queued)


@given(st.lists(st.binary(min_size=1, max_size=5), min_size=1, max_size=30))
def test_small_writes_share_packets(writes: list[bytes]) -> None:
    queue = SendQueue(LIMIT)
    for data in writes:
        queue.append(data)
    whole = b"".join(writes)
    assert all(len(piece.data) <= LIMIT for piece in queue.pieces)
    assert len(queue.pieces) <= 2 * len(whole) // LIMIT + 1, "joined to those that wait"
    queue.end(1)
    sizes = []
    while queue:
        sizes.append(len(queue.cut(LIMIT)[0]))
    assert sizes == [LIMIT] * (len(whole) // LIMIT) + ([len(whole) % LIMIT] if len(whole) % LIMIT else [])


def test_what_was_appended_after_an_end_is_another_transaction() -> None:
    queue = SendQueue(LIMIT)
    queue.append(b"ab")
    queue.end(1)
    queue.append(b"cd")
    assert queue.cut(LIMIT) == (b"ab", Piece(b"ab", 0, 1))
    assert queue.cut(LIMIT) == (b"cd", None)
    assert not queue


def test_empty_transactions_stay_apart() -> None:
    """M16: an end without octets has a packet of its own, NULCOMMIT."""
    queue = SendQueue(LIMIT)
    queue.end(1)
    queue.end(2)
    ends = [queue.cut(LIMIT), queue.cut(LIMIT)]
    assert [(payload, piece.ordinal if piece else 0) for payload, piece in ends] == [(b"", 1), (b"", 2)]


def test_joining_does_not_disturb_what_is_half_cut() -> None:
    queue = SendQueue(LIMIT)
    queue.append(b"abcdef")
    assert queue.cut(4) == (b"abcd", None)
    queue.append(b"g")
    assert queue.cut(4) == (b"efg", None)


def test_clear() -> None:
    queue = SendQueue(LIMIT)
    queue.append(bytes(100))
    queue.cut(3)
    queue.clear()
    assert not queue
    assert queue.octets == 0
    queue.append(b"new")
    assert queue.cut(LIMIT) == (b"new", None)
