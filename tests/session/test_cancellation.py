"""Every checkpoint of connect, accept, send, commit, receive and close, cancelled once each.

Each trial runs one operation in a fresh pair of endpoints and cancels it a step later than the trial before.  What
is checked afterwards: the operation was cancelled or complete and nothing else, nothing hangs, no session, ULTID
or timer is left at either end, and what is lost is what the documentation says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import FSPBrokenError, FSPSession, FSPStream, Settings, State
from fsp_trio.revisions.states import OVER
from fsp_trio.testing import Impairment, PairMaker, SimulatedNetwork, open_pair_maker
from tests.session.stepping import cancelled_after, sweep

DATA = bytes(range(256)) * 100
SMALL = Settings(receive_window=4, send_buffer=4096)


@asynccontextmanager
async def two_endpoints(settings: Settings | None = None) -> AsyncGenerator[PairMaker, None]:
    """A pair maker that checks, when all is over, that nothing is left."""
    async with (
        SimulatedNetwork(0, Impairment(delay=0.01)) as network,
        open_pair_maker(network, settings=settings) as maker,
    ):
        yield maker
        await trio.sleep(200)  # time for RESETs, repeats and tombstones
        for endpoint in (maker.client, maker.server):
            assert endpoint.sessions == []
            assert endpoint.statistics().tombstones == 0
            assert len(endpoint._wheel) == 1
            assert all(flow.members == 0 for flow in endpoint._congestion._flows.values())


async def close_both(a: FSPSession, b: FSPSession) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.aclose)
        nursery.start_soon(b.aclose)


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def test_connect(autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        session: FSPSession | None = None

        async def connect() -> None:
            nonlocal session
            session = await maker.client.open_session_to(maker.server.local_address, service=7)

        async with two_endpoints() as maker:
            cancelled = await cancelled_after(steps, connect)
            if cancelled:
                assert session is None
                assert maker.client.sessions == []
                await trio.sleep(61)
                # the peer may have got as far as a session; it hears of the end
                assert all(session.state is State.NON_EXISTENT for session in maker.server.sessions)
            else:
                assert session is not None
                await close_both(session, await maker.listener.accept_session())
        return cancelled

    assert await sweep(trial) > 5


async def test_accept(autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        accepted: FSPStream | None = None

        async def accept() -> None:
            nonlocal accepted
            accepted = await maker.listener.accept()

        async with two_endpoints() as maker, trio.open_nursery() as nursery:
            opened: list[FSPSession] = []

            async def connect() -> None:
                opened.append(await maker.client.open_session_to(maker.server.local_address, service=7))
                connected.set()

            connected = trio.Event()
            nursery.start_soon(connect)
            cancelled = await cancelled_after(steps, accept)
            if cancelled:
                assert accepted is None
                with trio.fail_after(10):
                    await accept()  # nothing was lost
            assert accepted is not None
            await connected.wait()
            await close_both(opened[0], accepted.session)
        return cancelled

    assert await sweep(trial) > 5


@pytest.mark.parametrize("then", ["go on", "close"])
async def test_send(then: str, autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        async with two_endpoints(SMALL) as maker, trio.open_nursery() as nursery:
            a, b = await maker.streams()
            received = b""

            async def receive() -> None:
                nonlocal received
                received = await everything(b)
                ended.set()

            ended = trio.Event()
            nursery.start_soon(receive)
            cancelled = await cancelled_after(steps, lambda: a.send_all(DATA))
            if then == "go on":
                await a.send_all(b"END")
            with trio.fail_after(60):
                await a.aclose()
            await ended.wait()
            await b.aclose()
            if then == "go on":
                assert received.endswith(b"END")
                received = received[:-3]
            assert DATA.startswith(received)
            if not cancelled:
                assert received == DATA
        return cancelled

    assert await sweep(trial) > 20


async def test_commit(autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        async with two_endpoints() as maker, trio.open_nursery() as nursery:
            a, b = await maker.sessions()
            transaction = a.send_transaction()
            await transaction.send_all(DATA)
            cancelled = await cancelled_after(steps, transaction.commit)
            if not transaction.ended:
                assert cancelled
                nursery.start_soon(transaction.commit)
            assert await everything(await b.receive_transaction()) == DATA
            with trio.fail_after(10):
                await a.wait_acknowledged()
            await close_both(a, b)
        return cancelled

    assert await sweep(trial) > 5


async def test_leaving_a_transaction(autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        async def send() -> None:
            async with a.send_transaction() as transaction:
                await transaction.send_all(DATA)

        async with two_endpoints() as maker:
            a, b = await maker.sessions()
            cancelled = await cancelled_after(steps, send)
            try:
                received = await everything(await b.receive_transaction())
            except FSPBrokenError:
                assert cancelled
            else:
                assert received == DATA
            await close_both(a, b)
        return cancelled

    assert await sweep(trial) > 5


async def test_receive(autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        received = b""

        async def receive() -> None:
            nonlocal received
            while piece := await b.receive_some(3000):
                received += piece

        async def send() -> None:
            await a.send_all(DATA)
            await a.send_eof()

        async with two_endpoints(SMALL) as maker, trio.open_nursery() as nursery:
            a, b = await maker.streams()
            nursery.start_soon(send)
            cancelled = await cancelled_after(steps, receive)
            if cancelled:
                with trio.fail_after(60):
                    await receive()
            assert received == DATA
            await close_both(a.session, b.session)
        return cancelled

    assert await sweep(trial) > 20


async def test_channel(autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        received: list[bytes] = []
        sent: list[bytes] = []

        async def send() -> None:
            for number in range(5):
                value = bytes([number]) * 3000
                await first.send(value)
                sent.append(value)

        async def receive() -> None:
            received.extend([value async for value in second])

        async with two_endpoints(SMALL) as maker, trio.open_nursery() as nursery:
            a, b = await maker.sessions()
            first, second = a.channel(), b.channel()
            nursery.start_soon(receive)
            cancelled = await cancelled_after(steps, send)
            await first.aclose()
            await trio.sleep(1)
            assert received[: len(sent)] == sent
            assert len(received) <= len(sent) + 1  # cancelled after it was queued whole, before `append`
            await second.aclose()
        return cancelled

    assert await sweep(trial) > 10


@pytest.mark.parametrize("peer", ["idle", "open", "closing"])
async def test_close(peer: str, autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        async def close() -> None:
            with suppress(FSPBrokenError) if peer == "closing" else nullcontext():
                await a.aclose()

        async with two_endpoints() as maker, trio.open_nursery() as nursery:
            a, b = await maker.streams()
            if peer == "open":
                await b.send_all(b"x")
                assert await a.receive_some() == b"x"
            await a.send_all(DATA)
            if peer == "closing":
                nursery.start_soon(b.aclose)  # crosses the data, which a is told
            cancelled = await cancelled_after(steps, close)
            if cancelled:
                assert a.session.state in OVER
                assert maker.client.sessions == []
            elif peer != "closing":
                with trio.fail_after(10):
                    assert await everything(b) == DATA
            await a.aclose()
            await trio.aclose_forcefully(b)
        return cancelled

    assert await sweep(trial) > 2


async def test_leaving_an_endpoint(autojump_clock: MockClock) -> None:
    async def trial(steps: int) -> bool:
        async with SimulatedNetwork(0, Impairment(delay=0.01)) as network:

            async def use() -> None:
                async with open_pair_maker(network) as maker:
                    a, b = await maker.streams()
                    await b.send_all(b"x")
                    await a.receive_some()
                    await a.aclose()

            cancelled = await cancelled_after(steps, use)
            network.port(("client", 1)).close()  # the addresses are free again
            network.port(("server", 2)).close()
        return cancelled

    assert await sweep(trial) > 20
