"""FSPStream beyond what Trio's checks ask for."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import FailureKind, FSPBrokenError, FSPBusyError, FSPClosedError, FSPStream, ResetReason, Settings, State
from fsp_trio.testing import Impairment, SimulatedNetwork, clogged_stream_pair, open_pair_maker, stream_pair


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def test_an_end_is_for_ever_and_leaves_the_other_half_open(autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, b):
        await a.send_all(b"question")
        await a.send_eof()
        assert a.sending_ended
        assert await everything(b) == b"question"
        assert b.receiving_ended
        assert await b.receive_some() == b""
        await b.send_all(b"answer")
        await b.aclose()
        assert await everything(a) == b"answer"
        assert await a.receive_some() == b""


async def test_a_stream_that_carried_nothing_ends_too(autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, b):
        await a.send_eof()
        assert await b.receive_some() == b""
        await b.send_eof()
        assert await a.receive_some() == b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)
            nursery.start_soon(b.aclose)
        assert {a.session.state, b.session.state} == {State.CLOSED}


async def test_both_ends_confirm_a_graceful_end(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, Impairment(delay=0.02)) as network, stream_pair(network) as (a, b):
        await a.send_all(b"x")
        await a.send_eof()
        await b.send_eof()
        assert await everything(b) == b"x"
        assert await everything(a) == b""
        await a.aclose()
        assert a.session.closed_confirmed
        assert b.session.peer_released
        await b.aclose()
        assert b.session.closed_confirmed
        assert [stream.session.states_passed[-1] for stream in (a, b)] == [State.CLOSED] * 2


async def test_sending_waits_for_the_peers_application(autojump_clock: MockClock) -> None:
    async with open_pair_maker(settings=Settings(receive_window=8, send_buffer=8192)) as maker:
        a, b = await maker.streams()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(64):
                await a.send_all(bytes(1024))
                sent += 1024
            await a.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(30)
            assert sent <= 8 * 1024 + 8192
            assert a.session.statistics().unacknowledged <= 8192
            assert await everything(b) == bytes(64 * 1024)


async def test_one_large_send_is_queued_piece_by_piece(autojump_clock: MockClock) -> None:
    data = bytes(range(256)) * 1024
    async with open_pair_maker(settings=Settings(send_buffer=10_000)) as maker:
        for sent in (data, bytearray(data), memoryview(data), memoryview(data).cast("I")):
            a, b = await maker.streams()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.send_all, sent)
                received = bytearray()
                while len(received) < len(data):
                    assert a.session.statistics().unacknowledged <= 10_000
                    received += await b.receive_some()
            assert received == data


async def test_what_was_queued_before_a_cancellation_is_delivered(autojump_clock: MockClock) -> None:
    async with clogged_stream_pair() as (a, b):
        before = a.session.statistics().packets.payload_sent
        assert before
        with trio.move_on_after(1) as scope:
            await a.send_all(b"\1" * 100_000)
        assert scope.cancelled_caught
        await _drain_until_quiet(b)
        await a.send_all(b"end")
        assert (await _drain_until_quiet(b)).endswith(b"end")


async def _drain_until_quiet(stream: FSPStream) -> bytes:
    found = bytearray()
    piece = b"?"
    while piece:
        piece = b""
        with trio.move_on_after(100):
            piece = await stream.receive_some()
        found += piece
    return bytes(found)


async def test_in_order_octets_stay_readable_after_a_reset(autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, b):
        await a.send_all(b"whole")
        await a.session.wait_acknowledged()
        a.session.reset(77)
        await trio.sleep(1)
        assert await b.receive_some(3) == b"who"
        assert await b.receive_some() == b"le"
        for _ in range(2):
            with pytest.raises(FSPBrokenError) as caught:
                await b.receive_some()
            assert caught.value.kind is FailureKind.RESET_BY_PEER
            assert caught.value.reason == 77
        with pytest.raises(trio.BrokenResourceError):
            await b.send_all(b"x")
        with pytest.raises(FSPClosedError):
            await a.receive_some()
        with pytest.raises(FSPClosedError):
            await a.send_all(b"x")


async def test_a_complete_transaction_ends_well_even_if_the_session_is_reset_afterwards(
    autojump_clock: MockClock,
) -> None:
    async with stream_pair() as (a, b):
        await a.send_all(b"whole")
        await a.send_eof()
        await a.session.wait_acknowledged()
        a.session.reset()
        await trio.sleep(1)
        assert await everything(b) == b"whole"
        assert await b.receive_some() == b""
        with pytest.raises(FSPBrokenError):
            await b.send_all(b"x")


async def test_a_reset_wakes_those_who_wait(autojump_clock: MockClock) -> None:
    async with clogged_stream_pair() as (a, b):
        await _drain_until_quiet(a)

        async def expect_broken(operation: object, *arguments: object) -> None:
            with pytest.raises(FSPBrokenError):
                await operation(*arguments)  # type: ignore[operator]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_broken, a.send_all, bytes(100_000))
            nursery.start_soon(expect_broken, a.receive_some)
            nursery.start_soon(expect_broken, a.session.wait_acknowledged)
            await trio.sleep(5)
            b.session.reset()


async def test_a_reset_reaches_a_peer_whose_window_is_shut(autojump_clock: MockClock) -> None:
    async with clogged_stream_pair() as (a, b):
        await trio.sleep(20)  # both ends probe each other's window meanwhile
        b.session.reset()
        await trio.sleep(1)
        assert a.session.state is State.NON_EXISTENT


async def test_closing_wakes_those_who_wait_at_this_end(autojump_clock: MockClock) -> None:
    async with clogged_stream_pair() as (a, b):
        await _drain_until_quiet(a)

        async def expect_closed(operation: object, *arguments: object) -> None:
            with pytest.raises(FSPClosedError):
                await operation(*arguments)  # type: ignore[operator]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed, a.send_all, bytes(100_000))
            nursery.start_soon(expect_closed, a.receive_some)
            nursery.start_soon(expect_closed, a.session.wait_acknowledged)
            await trio.sleep(5)
            nursery.start_soon(_drain_until_quiet, b)
            await a.aclose()
        await a.aclose()


async def test_only_one_user_at_a_time(autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, _b):
        session = a.session
        for claim in (session.stream, session.channel, session.send_transaction):
            with pytest.raises(FSPBusyError):
                claim()
        with pytest.raises(FSPBusyError):
            await session.receive_transaction()


async def _leave(stream: FSPStream, data: bytes) -> None:
    async with stream:
        if data:
            await stream.send_all(data)
        raise ZeroDivisionError


async def test_leaving_the_block_by_an_exception_resets(autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, b):
        with pytest.raises(ZeroDivisionError):
            await _leave(a, b"half")
        await trio.sleep(1)
        with pytest.raises(FSPBrokenError) as caught:
            await everything(b)
        assert caught.value.reason == ResetReason.APPLICATION


async def test_leaving_the_block_by_an_exception_after_the_end_closes(autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, b):
        await a.send_all(b"whole")
        await a.send_eof()
        with pytest.raises(ZeroDivisionError):
            await _leave(a, b"")
        assert await everything(b) == b"whole"


@pytest.mark.parametrize("size", [0, -1])
async def test_receive_sizes_are_positive(size: int, autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, _b):
        with pytest.raises(ValueError, match="at least 1"):
            await a.receive_some(size)


async def test_what_a_session_tells(autojump_clock: MockClock) -> None:
    async with stream_pair() as (a, b):
        session = a.session
        assert session.local_ultid == b.session.remote_ultid
        assert session.remote_address == ("server", 2)
        assert session.protection == "crc64"
        assert session.endpoint.sessions == [session]
        assert session.states_passed[0] is State.CONNECT_BOOTSTRAP
        assert session.local_ultid.hex() in repr(session)
        await a.send_all(bytes(5000))
        assert len(await b.receive_some()) == 5000
        statistics = session.statistics()
        assert statistics.packets.payload_sent == 5000
        assert b.session.statistics().packets.payload_received == 5000
        assert a.session.endpoint.statistics().port.datagrams_sent >= 7
        assert not session.peer_released
