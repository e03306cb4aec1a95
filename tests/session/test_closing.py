"""aclose, reset, lingering, and what is left behind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import FailureKind, FSPBrokenError, FSPClosedError, FSPSession, ResetReason, State
from fsp_trio.ports import Address
from fsp_trio.session import LINGER_LIMIT
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker, session_pair, stream_pair

FAR = Impairment(delay=0.1)


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


def vanish(session: FSPSession, *, last_words: slice = slice(0)) -> None:
    """Nothing more gets out of its endpoint but this part of the next batch."""
    port = session.endpoint._port
    send = port.send
    batches = iter([last_words])

    def lose(remote: Address, datagrams: Sequence[bytes], *, preliminary: bool = False) -> int:
        send(remote, datagrams[next(batches, slice(0))], preliminary=preliminary)
        return len(datagrams)

    port.send = lose  # type: ignore[method-assign]


async def test_closing_waits_for_the_acknowledgement_but_not_for_the_application(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await b.send_all(b"x")  # b's half is open
        assert await a.receive_some() == b"x"
        await a.send_all(bytes(100_000))
        await a.aclose()
        assert b.session.statistics().readable == 100_000
        assert a.session in a.session.endpoint.sessions  # it lingers
        await b.send_eof()
        await trio.sleep(1)
        assert a.session.state is State.CLOSED
        assert b.session.state is State.SHUT_REQUESTED
        assert len(await b.receive_some(200_000)) == 100_000
        assert await b.receive_some() == b""
        await b.aclose()
        assert b.session.closed_confirmed


async def test_data_for_a_closed_stream_is_answered_with_reset(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await b.send_all(b"x")
        assert await a.receive_some() == b"x"
        await a.aclose()
        await b.send_all(b"more")
        await trio.sleep(1)
        with pytest.raises(FSPBrokenError) as caught:
            await b.send_all(b"x")
        assert caught.value.reason == ResetReason.UNREAD_DATA
        assert await b.receive_some() == b""  # what a sent was whole
        await b.aclose()


async def test_unread_data_of_an_open_transaction_too(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await b.send_all(b"unread")
        await trio.sleep(1)
        await a.send_all(b"mine")
        await a.aclose()
        await trio.sleep(1)
        assert await b.receive_some() == b"mine"
        assert await b.receive_some() == b""
        with pytest.raises(FSPBrokenError) as caught:
            await b.send_all(b"x")
        assert caught.value.reason == ResetReason.UNREAD_DATA


async def test_lingering_ends_after_a_minute(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await b.send_all(b"x")
        assert await a.receive_some() == b"x"
        await a.aclose()
        await trio.sleep(59)
        assert b.session.state is State.PEER_COMMIT
        await trio.sleep(2)
        with pytest.raises(FSPBrokenError) as caught:
            await b.send_all(b"x")
        assert caught.value.reason == ResetReason.TIMED_OUT


async def test_a_cancelled_close_resets_at_once(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await a.send_all(bytes(100_000))
        start = trio.current_time()
        with trio.move_on_after(0.05) as scope:
            await a.aclose()
        assert scope.cancelled_caught
        assert trio.current_time() - start <= 0.06
        assert a.session.state is State.NON_EXISTENT
        await a.aclose()
        await trio.sleep(1)
        assert b.session.state is State.NON_EXISTENT
        with pytest.raises(FSPBrokenError):
            await everything(b)


async def test_forceful_close_with_a_full_socket_does_not_block(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork() as network, open_pair_maker(network) as maker:
        a, _b = await maker.streams()
        port = a.session.endpoint._port
        port.clogged = True  # type: ignore[attr-defined]
        await a.send_all(bytes(10_000))
        await trio.aclose_forcefully(a)
        assert maker.client.sessions == []
        port.clogged = False  # type: ignore[attr-defined]


async def test_closing_says_if_the_session_breaks_before_all_was_acknowledged(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await a.send_all(bytes(1_000_000))
        b.session.reset(5)
        with pytest.raises(FSPBrokenError) as caught:
            await a.aclose()
        assert caught.value.kind is FailureKind.RESET_BY_PEER
        await a.aclose()


async def test_but_not_twice(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await a.send_all(bytes(1_000_000))
        b.session.reset(5)
        with pytest.raises(FSPBrokenError):
            await a.send_all(bytes(10_000_000))
        await a.aclose()


async def test_nothing_is_said_if_all_was_acknowledged(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await a.send_all(b"x")
        await a.send_eof()
        await a.session.wait_acknowledged()
        b.session.reset(5)
        await trio.sleep(1)
        await a.aclose()


async def test_octets_that_cross_a_release_are_reported(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, session_pair(network) as (a, b):
        await trio.sleep(5)
        transaction = b.send_transaction()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)  # RELEASE leaves
            await trio.sleep(0.05)
            await transaction.send_all(b"crossing")
            with pytest.raises(FSPBrokenError) as caught:
                await transaction.commit()
        assert caught.value.kind is None
        assert b.statistics().undelivered == len(b"crossing")


async def test_both_close_at_the_same_time(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, session_pair(network) as (a, b):
        await trio.sleep(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)
            nursery.start_soon(b.aclose)
        assert State.PRE_CLOSED in a.states_passed
        assert State.PRE_CLOSED in b.states_passed
        assert a.closed_confirmed
        assert b.closed_confirmed
        assert a.peer_released


async def test_an_end_without_confirmation(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, session_pair(network) as (a, _b):
        await trio.sleep(5)
        network.partition(("client", 1))
        start = trio.current_time()
        await a.aclose()
        assert trio.current_time() - start == pytest.approx(60, abs=1)
        assert a.state is State.CLOSED
        assert not a.closed_confirmed


async def test_leaving_the_endpoint_lets_closed_sessions_finish(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network:
        async with open_pair_maker(network) as maker:
            a, b = await maker.streams()
            await b.send_all(b"x")
            assert await a.receive_some() == b"x"
            await a.aclose()
            start = trio.current_time()
            b.session.reset()
        assert trio.current_time() - start < 1
        async with open_pair_maker(network, addresses=("c", "d")) as maker:
            a, b = await maker.streams()
            await b.send_all(b"x")
            assert await a.receive_some() == b"x"
            await a.aclose()
            await b.aclose()
            start = trio.current_time()
        assert trio.current_time() - start < 2.5


async def test_leaving_the_endpoint_resets_what_is_open(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, trio.open_nursery() as nursery:
        async with open_pair_maker(network) as maker:
            a, b = await maker.streams()

            async def receive() -> None:
                with pytest.raises(FSPClosedError):
                    await b.receive_some()

            nursery.start_soon(receive)
            await trio.sleep(1)
        for stream in (a, b):
            assert stream.session.state is State.NON_EXISTENT
            with pytest.raises(FSPClosedError):
                await stream.send_all(b"x")
            await stream.aclose()


async def test_a_closed_connection_answers_for_two_minutes(autojump_clock: MockClock) -> None:
    lossy: list[bytes] = []
    async with SimulatedNetwork(0, FAR) as network, open_pair_maker(network) as maker:
        a, b = await maker.sessions()
        await trio.sleep(5)

        def swallow(_source: object, _destination: object, datagram: bytes) -> bytes | None:
            if datagram[8] == 10 and not lossy:  # the first ACK_FLUSH of RELEASE
                lossy.append(datagram)
                return None
            return datagram

        end = network.tap(swallow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)
            await trio.sleep(0.5)
            await b.aclose()
        end()
        assert lossy
        assert a.closed_confirmed
        assert maker.server.statistics().tombstones == maker.client.statistics().tombstones == 1
        await trio.sleep(125)
        assert maker.server.statistics().tombstones == maker.client.statistics().tombstones == 0


async def test_tombstones_are_limited(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        maker.server._tombstones._limit = 3
        for _ in range(5):
            a, b = await maker.sessions()
            a.reset()
            await trio.sleep(1)
            assert b.state is State.NON_EXISTENT
        assert maker.server.statistics().tombstones == 3
        assert maker.client.statistics().tombstones == 5
        await trio.sleep(125)
        assert maker.client.statistics().tombstones == 0


async def test_a_reset_is_repeated_to_a_peer_that_missed_it(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, open_pair_maker(network) as maker:
        a, b = await maker.streams()
        await trio.sleep(5)
        network.partition(("client", 1), ("server", 2))
        a.session.reset(9)
        await trio.sleep(1)
        network.heal()
        await b.send_all(b"x")
        await trio.sleep(5)
        with pytest.raises(FSPBrokenError) as caught:
            await b.receive_some()
        assert caught.value.reason == 9
        # after a minute it is silent, but the ULTID is still not used again
        await trio.sleep(60)
        network.inject(("server", 2), ("client", 1), b.session.local_ultid + a.session.local_ultid + bytes(24))
        await trio.sleep(1)
        assert maker.client.statistics().drops == {"state": 1, "closed-ultid": 1}


async def test_the_peer_dies_with_the_first_packet_of_its_transaction_missing(autojump_clock: MockClock) -> None:
    """Then its newest transaction is not complete, and `aclose` does not wait for it."""
    async with SimulatedNetwork(0, FAR) as network, session_pair(network) as (a, b):
        vanish(b, last_words=slice(1, None))
        await b.send_transaction().send_all(bytes(3000))
        await trio.sleep(1)
        assert a.statistics().readable == 0
        began = trio.current_time()
        await a.aclose()
        assert trio.current_time() - began < 1
        await trio.sleep(LINGER_LIMIT + 1)
        assert a.state is State.NON_EXISTENT
        b.reset()


async def test_a_release_has_its_minute_even_when_lingering_ends(autojump_clock: MockClock) -> None:
    """12.4: the answer to RELEASE may be lost for a while, whenever RELEASE was sent."""
    async with SimulatedNetwork(0, FAR) as network, stream_pair(network) as (a, b):
        await b.send_all(b"x")
        assert await a.receive_some() == b"x"
        await a.aclose()
        await trio.sleep(LINGER_LIMIT - 2)
        await b.send_eof()
        vanish(b.session)
        await trio.sleep(10)
        meanwhile = a.session.state
        await trio.sleep(60)
        assert (meanwhile, a.session.state) == (State.PRE_CLOSED, State.CLOSED)
