"""Compressed transactions between two connections (gao-07 4.6, 8.8): flags, order, limits, and what is refused."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace

import lz4.block
import pytest

from fsp_trio.core.compression import BLOCK, LARGEST_BLOCK, Compressor
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ConnectionMisuse, FailureKind, ResetReason
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07, JASON_00, REFERENCE_2020, Revision
from fsp_trio.wire.packets import FLAG_CPR, Op

from .family import Family, keyed_pair, read_all
from .pair import Pair, Side
from .talk import established, flags_of, op_of, sent_by

TEXT = b"the quick brown fox jumps over the lazy dog " * 20_000
NOISE = random.Random(8).randbytes(500_000)


class Raw:
    """In place of a compressor: the octets as they are."""

    held = 0

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


def compressed(connection: Connection, data: bytes) -> None:
    connection.compress_transaction()
    connection.send(data)
    connection.commit()


def raw(connection: Connection, stream: bytes) -> None:
    """A transaction that says that it is compressed."""
    connection.compress_transaction()
    connection._compressor = Raw()  # type: ignore[assignment]
    connection.send(stream)
    connection.commit()


@pytest.mark.parametrize("revision", [GAO_07, REFERENCE_2020], ids=lambda revision: revision.name)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE], ids=["nothing", "one octet", "text", "noise"])
def test_both_ways(revision: Revision, data: bytes) -> None:
    family = Family(keyed_pair(revision=revision))
    for sender, receiver in ((family.client, family.server), (family.server, family.client)):
        before = sender.statistics.payload_sent
        compressed(sender, data)
        found: list[bytes] = []

        def arrived(receiver: Connection = receiver, found: list[bytes] = found) -> bool:
            while piece := receiver.read(100_000):
                found.append(piece)
            return receiver.at_end

        family.run_until(arrived)
        receiver.next_transaction()
        assert b"".join(found) == data
        assert not receiver.readable
        if data is TEXT:
            assert sender.statistics.payload_sent - before < len(data) / 50
            assert sender.statistics.plain_sent == len(data)
            assert sender.statistics.compressed_sent == sender.statistics.payload_sent - before
            assert receiver.statistics.plain_received == len(data)


def test_flags() -> None:
    """Every packet of such a transaction, none of another, none out of band."""
    pair = established(key=b"k")
    mark = len(pair.record)
    for data, is_compressed in ((b"plain", False), (NOISE[:5000], True), (b"plain again", False)):
        if is_compressed:
            compressed(pair.client, data)
        else:
            pair.client.send(data)
            pair.client.commit()
    pair.run_for(2)
    flags = [
        bool(flags_of(flight) & FLAG_CPR) for flight in sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA, since=mark)
    ]
    assert flags == [False, *[True] * 5, False]
    others = [f for f in pair.record[mark:] if op_of(f) not in (Op.PERSIST, Op.PURE_DATA)]
    assert not any(flags_of(flight) & FLAG_CPR for flight in others)
    assert read_all(pair.server) == [b"plain", NOISE[:5000], b"plain again"]


def test_only_the_first_packet_tells() -> None:
    """8.8: of the others the flag means nothing."""
    pair = established()
    pair.client.send(b"x" * 3000)
    pair.client.commit()
    pair.client.queue.pieces[0].flags = 0
    pair.flush()
    for flight in sent_by(pair, Side.CLIENT, Op.PURE_DATA):
        assert not flags_of(flight) & FLAG_CPR
    pair.run_for(1)
    assert read_all(pair.server) == [b"x" * 3000]
    pair.client.send(b"y" * 500)
    pair.run_for(1)
    pair.client._transaction_flags = FLAG_CPR
    pair.client.send(b"y" * 500)
    pair.client.commit()
    pair.run_for(1)
    assert read_all(pair.server) == [b"y" * 1000]


def test_transactions_that_wait_are_told_apart() -> None:
    """Compressed or not is known of each, however many have come before one is read."""
    pair = established(Settings(receive_window=1000))
    sent = []
    for n in range(6):
        data = b"%d " % n * 3000
        sent.append(data)
        if n % 3:
            compressed(pair.client, data)
        else:
            pair.client.send(data)
            pair.client.commit()
    pair.run_for(5)
    assert read_all(pair.server) == sent


def test_loss() -> None:
    family = Family(keyed_pair())
    chance = random.Random(2)
    family.lost = lambda flight: chance.random() < 0.2
    compressed(family.client, TEXT + NOISE)
    found: list[bytes] = []

    def arrived() -> bool:
        while piece := family.server.read(100_000):
            found.append(piece)
        return family.server.at_end

    family.run_until(arrived, 300)
    assert b"".join(found) == TEXT + NOISE


def test_a_window_that_is_smaller_than_a_block() -> None:
    """What arrives is drawn out of it before the block is whole, and the sender is told."""
    pair = established(Settings(receive_window=8, receive_octets=2**16))
    compressed(pair.client, NOISE)
    found: list[bytes] = []

    def arrived() -> bool:
        while piece := pair.server.read(100_000):
            found.append(piece)
        return pair.server.at_end

    pair.run_until(arrived, 60)
    assert b"".join(found) == NOISE


def test_who_does_not_read_holds_a_block_at_most() -> None:
    """The window closes on what is compressed, so that little on the wire does not become much in memory."""
    pair = established(Settings(receive_window=64))
    compressed(pair.client, bytes(500_000_000))
    pair.run_for(5)
    assert pair.server._inflated <= BLOCK + LARGEST_BLOCK
    assert pair.server.received.ready_octets <= 64 * 1024
    assert pair.server.received.window == 0


def test_reading_before_the_end() -> None:
    pair = established()
    pair.client.compress_transaction()
    pair.client.send(NOISE[: BLOCK + 100])
    pair.run_until(lambda: pair.server.readable)
    assert b"".join(iter(lambda: pair.server.read(50_000), b"")) == NOISE[:BLOCK]
    pair.run_for(1)
    assert not pair.server.readable
    assert not pair.server.at_end
    assert pair.client.unacknowledged == 100
    pair.client.commit()
    pair.run_until(lambda: pair.server.readable)
    assert read_all(pair.server) == [NOISE[BLOCK : BLOCK + 100]]


def test_a_confirmation_may_be_compressed() -> None:
    """6.5: it begins a transaction."""
    pair = Pair.connecting()
    pair.client.compress_transaction()
    pair.client.send(b"first " * 100)
    pair.client.commit()
    pair.run_until(lambda: pair.has_server and pair.server.readable)
    assert read_all(pair.server) == [b"first " * 100]


@pytest.mark.parametrize("revision", [GAO_07, REFERENCE_2020], ids=lambda revision: revision.name)
def test_a_request_for_a_branch_may_be_compressed(revision: Revision) -> None:
    """11.1: it begins a transaction; ours is never compressed itself, that of another implementation may be."""
    packed = _whole(b"welcome " * 50)
    family = Family(keyed_pair(revision=revision), accept=False)
    branch = Connection.multiply(family.client, family.ultid(), packed, ends=True, now=family.now)
    family.server.receive(branch.datagrams_to_send(family.now), Side.CLIENT, family.now)
    (request,) = family.server.take_branch_requests()
    request = replace(request, flags=request.flags | FLAG_CPR)
    other = Connection.branch_off(family.server, request, family.ultid(), now=family.now)
    assert read_all(other) == [b"welcome " * 50]


def _whole(data: bytes) -> bytes:
    compressor = Compressor()
    return compressor.feed(data) + compressor.finish()


# what is no compressed stream


@pytest.mark.parametrize(
    "stream",
    [
        bytes(4) + b"x",
        (LARGEST_BLOCK + 1).to_bytes(4, "little") + bytes(100),
        b"\x05\x00\x00\x00wrong",
        b"\x05\x00\x00\x00cut",
        b"\x05\x00",
    ],
    ids=["no length", "too long", "no LZ4", "cut within a block", "cut within a length"],
)
def test_what_cannot_be_decompressed(stream: bytes) -> None:
    """M44: RESET, and nothing of it reaches the application."""
    pair = established()
    pair.client.send(b"good")
    pair.client.commit()
    pair.run_for(1)
    assert read_all(pair.server) == [b"good"]
    raw(pair.client, stream)
    pair.run_for(1)
    assert pair.server.failure is not None
    assert pair.server.failure.kind is FailureKind.COMPRESSION
    assert not pair.server.readable
    assert pair.client.failure is not None
    assert pair.client.failure.reason == ResetReason.COMPRESSION


def test_a_bomb() -> None:
    """A block for 100 MB is refused without that being allocated."""
    block = lz4.block.compress(bytes(100_000_000), store_size=False)
    pair = established(Settings(receive_window=2000))
    tracemalloc.start()
    raw(pair.client, len(block).to_bytes(4, "little") + block[:LARGEST_BLOCK])
    pair.run_for(1)
    small = lz4.block.compress(bytes(BLOCK + 1), store_size=False)
    other = established()
    raw(other.client, len(small).to_bytes(4, "little") + small)
    other.run_for(1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for end in (pair.server, other.server):
        assert end.failure is not None
        assert end.failure.kind is FailureKind.COMPRESSION
    assert peak < 10_000_000


def test_good_octets_before_bad_ones_are_read_first() -> None:
    pair = established()
    pair.client.compress_transaction()
    pair.client.send(NOISE[:BLOCK])
    pair.client._compressor = Raw()  # type: ignore[assignment]
    pair.client.send(b"\xff\xff\xff\xff")
    pair.client.commit()
    pair.run_for(1)
    assert b"".join(iter(lambda: pair.server.read(50_000), b"")) == NOISE[:BLOCK]
    assert pair.server.failure is not None


# misuse


def test_no_compression_in_jason_00() -> None:
    pair = keyed_pair(revision=JASON_00)
    with pytest.raises(ConnectionMisuse, match="no compression"):
        pair.client.compress_transaction()


def test_an_open_transaction_cannot_become_compressed() -> None:
    pair = established()
    pair.client.send(b"x")
    with pytest.raises(ConnectionMisuse, match="open"):
        pair.client.compress_transaction()
    pair.client.commit()
    pair.client.compress_transaction()
    with pytest.raises(ConnectionMisuse, match="open"):
        pair.client.compress_transaction()
