"""Compressed transactions, streams and channels over sessions (gao-07 8.8)."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import FailureKind, FSPBrokenError, FSPBusyError, FSPSession, Settings, Timers
from fsp_trio.core.compression import Compressor
from fsp_trio.testing import Impairment, SimulatedNetwork, session_pair


class Nonsense(Compressor):
    def feed(self, data: bytes) -> bytes:
        return b"\xff\xff\xff\xffbad"


LOSSY = Impairment(delay=0.02, loss=0.2)
NEAR = Impairment(delay=0.02)
SIZES = [0, 1, 131_072, 131_073, 10_000_000]


def octets(size: int) -> bytes:
    """Half of it can be compressed."""
    half = size // 2
    return (b"all work and no play makes a dull boy. " * (half // 39 + 1))[:half] + random.Random(size).randbytes(
        size - half
    )


async def send(session: FSPSession, data: bytes) -> None:
    async with session.send_transaction(compressed=True) as transaction:
        for at in range(0, len(data), 333_333):
            await transaction.send_all(data[at : at + 333_333])


@pytest.mark.parametrize("size", SIZES)
async def test_both_ways_under_loss(size: int, autojump_clock: MockClock) -> None:
    data = octets(size)
    settings = Settings(timers=Timers.responsive())
    async with SimulatedNetwork(1, LOSSY) as network, session_pair(network, settings=settings) as (a, b):
        for sender, receiver in ((a, b), (b, a)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, sender, data)
                transaction = await receiver.receive_transaction()
                assert b"".join([piece async for piece in transaction]) == data
        assert a.statistics().packets.plain_sent == size


async def test_a_stream(autojump_clock: MockClock) -> None:
    data = octets(400_000)
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b), trio.open_nursery() as nursery:
        outgoing, incoming = a.stream(compressed=True), b.stream()

        @nursery.start_soon
        async def send() -> None:
            await outgoing.send_all(data)
            await outgoing.send_eof()

        assert b"".join([piece async for piece in incoming]) == data
        await incoming.send_all(b"plain")
        await incoming.send_eof()
        assert await outgoing.receive_some() == b"plain"


async def test_a_channel(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        left, right = a.channel(compressed=True), b.channel()
        values = [b"", b"x", octets(200_000), b"last " * 1000]
        for value in values:
            await left.send(value)
            assert await right.receive() == value
            await right.send(value[:10])
            assert await left.receive() == value[:10]


async def test_closing_sends_what_waits_for_its_block(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        await a.send_transaction(compressed=True).send_all(b"less than a block")
        await trio.sleep(1)
        assert b.statistics().readable == 0
        assert a.statistics().unacknowledged == 17
        await a.aclose()
        transaction = await b.receive_transaction()
        assert await transaction.receive_some() == b"less than a block"
        assert await transaction.receive_some() == b""
        await b.aclose()


async def test_octets_that_are_none(autojump_clock: MockClock) -> None:
    """The reader gets an error, the peer RESET; also where the bad transaction waited behind a good one."""
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, b):
        channel = b.channel()
        async with a.send_transaction() as transaction:
            await transaction.send_all(b"good")
        bad = a.send_transaction(compressed=True)
        a._connection._compressor = Nonsense()
        await bad.send_all(b"bad")
        bad.end()
        await trio.sleep(1)
        assert await channel.receive() == b"good"
        with pytest.raises(FSPBrokenError) as caught:
            await channel.receive()
        assert caught.value.kind is FailureKind.COMPRESSION
        await trio.sleep(1)
        with pytest.raises(FSPBrokenError) as caught:
            await a.receive_transaction()
        assert caught.value.kind is FailureKind.RESET_BY_PEER


async def test_misuse(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network, revision="jason-00") as (a, _):
        with pytest.raises(ValueError, match="no compression"):
            a.send_transaction(compressed=True)
        with pytest.raises(ValueError, match="no compression"):
            a.stream(compressed=True)
        with pytest.raises(ValueError, match="no compression"):
            a.channel(compressed=True)
        await a.send_transaction().send_all(b"still usable")
    async with SimulatedNetwork(1, NEAR) as network, session_pair(network) as (a, _):
        a.send_transaction(compressed=True)
        with pytest.raises(FSPBusyError):
            a.send_transaction(compressed=True)
