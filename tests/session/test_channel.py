"""FSPChannel: whole values, in order, or nothing."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import (
    FSPBrokenError,
    FSPBusyError,
    FSPChannel,
    FSPClosedError,
    FSPSession,
    ResetReason,
    Settings,
)
from fsp_trio.channel import MAXIMUM_UNACKNOWLEDGED_VALUES
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker, session_pair

VALUES = [b"", b"one", bytes(1024), b"", bytes(range(256)) * 300, b"last"]


async def receive_all(channel: FSPChannel) -> list[bytes]:
    return [value async for value in channel]


async def test_values_keep_their_boundaries_both_ways(autojump_clock: MockClock) -> None:
    impairment = Impairment(delay=0.01, jitter=0.02, loss=0.1)
    async with SimulatedNetwork(3, impairment) as network, session_pair(network) as (a, b):
        first, second = a.channel(), b.channel()
        assert first.session is a

        async def send(channel: FSPChannel) -> None:
            for value in VALUES:
                await channel.send(value)

        async def receive(channel: FSPChannel) -> None:
            for value in VALUES:
                assert await channel.receive() == value

        async with trio.open_nursery() as nursery:
            for channel in (first, second):
                nursery.start_soon(send, channel)
                nursery.start_soon(receive, channel)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first.aclose)
            nursery.start_soon(second.aclose)


async def test_the_end_comes_after_the_last_value(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        sender, receiver = a.channel(), b.channel()
        async with sender:
            for value in VALUES:
                await sender.send(value)
        assert await receive_all(receiver) == VALUES
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await receiver.receive()
        with pytest.raises(FSPBrokenError) as caught:
            await receiver.send(b"too late")
        assert caught.value.kind is None
        await receiver.aclose()
        with pytest.raises(FSPClosedError):
            await receiver.receive()
        with pytest.raises(FSPClosedError):
            await sender.send(b"")


async def test_a_cancelled_receive_loses_nothing(autojump_clock: MockClock) -> None:
    value = bytes(range(256)) * 200
    async with SimulatedNetwork(0, Impairment(delay=0.1, bandwidth=50_000)) as network, session_pair(network) as (a, b):
        sender, receiver = a.channel(), b.channel()
        await sender.send(value)
        attempts = 0
        received = None
        while received is None:
            attempts += 1
            with trio.move_on_after(0.05):
                received = await receiver.receive()
        assert received == value
        assert attempts > 10


async def test_a_cancelled_send_has_sent_nothing(autojump_clock: MockClock) -> None:
    async with open_pair_maker(settings=Settings(receive_window=4, send_buffer=4096)) as maker:
        a, b = await maker.sessions()
        sender, receiver = a.channel(), b.channel()
        sent = []
        for number in range(100):
            value = bytes([number]) * 3000
            with trio.move_on_after(5) as scope:
                await sender.send(value)
            if not scope.cancelled_caught:
                sent.append(value)
        assert 2 <= len(sent) < 100

        async def close() -> None:
            await sender.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(close)
            assert await receive_all(receiver) == sent


async def test_many_small_values_wait_too(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, Impairment(delay=5)) as network, session_pair(network) as (a, b):
        sender, receiver = a.channel(), b.channel()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(2 * MAXIMUM_UNACKNOWLEDGED_VALUES):
                await sender.send(b"")
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(1)
            assert sent == MAXIMUM_UNACKNOWLEDGED_VALUES
            for _ in range(2 * MAXIMUM_UNACKNOWLEDGED_VALUES):
                assert await receiver.receive() == b""


async def test_several_tasks_may_send(autojump_clock: MockClock) -> None:
    async with open_pair_maker(settings=Settings(send_buffer=4096)) as maker:
        a, b = await maker.sessions()
        sender, receiver = a.channel(), b.channel()
        values = [bytes([number]) * 2000 for number in range(20)]
        async with trio.open_nursery() as nursery:
            for value in values:
                nursery.start_soon(sender.send, value)
            assert sorted([await receiver.receive() for _ in values]) == values


async def test_only_one_task_may_receive(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, _b):
        channel = a.channel()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.receive)
            await trio.sleep(1)
            with pytest.raises(FSPBusyError):
                await channel.receive()
            nursery.cancel_scope.cancel()


async def test_values_have_a_size_limit(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        sender, receiver = a.channel(max_value_size=5000), b.channel(max_value_size=3000)
        with pytest.raises(ValueError, match="5001 octets"):
            await sender.send(bytes(5001))
        await sender.send(bytes(3000))
        await sender.send(bytes(3001))
        assert await receiver.receive() == bytes(3000)
        for _ in range(2):
            with pytest.raises(FSPBrokenError) as caught:
                await receiver.receive()
            assert caught.value.reason == ResetReason.MESSAGE_TOO_LONG
        await trio.sleep(1)
        with pytest.raises(FSPBrokenError) as caught:
            await sender.send(b"")
        assert caught.value.reason == ResetReason.MESSAGE_TOO_LONG
        with pytest.raises(ValueError, match="negative"):
            FSPChannel(a, -1)


async def test_whole_values_come_before_the_news_of_a_reset(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        sender, receiver = a.channel(), b.channel()
        await sender.send(b"whole")
        await a.wait_acknowledged()
        a.reset()
        await trio.sleep(1)
        assert await receiver.receive() == b"whole"
        with pytest.raises(FSPBrokenError):
            await receiver.receive()


async def test_a_channel_meets_the_welcome_first(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        maker.listener.close()
        listener = maker.server.listen(8, welcome=lambda: b"hello")
        session = await maker.client.open_session_to(maker.server.local_address, service=8)
        accepted: FSPSession = await listener.accept_session()
        assert await session.channel().receive() == b"hello"
        accepted.reset()
