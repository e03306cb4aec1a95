"""Handshakes that nobody means: from forged addresses, with wrong cookies, too many of them, and old ones again."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import FSPConnectError, FSPEndpoint, FSPListener, ResetReason, State, open_fsp_endpoint
from fsp_trio.core.responder import COOKIE_LIFE
from fsp_trio.endpoint import REFUSALS_PER_SECOND
from fsp_trio.ports import open_udp_port
from fsp_trio.revisions import GAO_07
from fsp_trio.testing import SimulatedNetwork
from fsp_trio.wire.packets import ConnectRequest, InitConnect, Op, SinkParameter

from .figures import report, traced, tracing
from .flood_port import FloodPort
from .parties import LISTENER, NO_PREFIXES, SERVICE, Initiator, source

CODEC = GAO_07.codec
BATCH = 50
BACKLOG = 16


class Honest:
    """Connects again and again, and takes the time."""

    def __init__(self, endpoint: FSPEndpoint, port: FloodPort) -> None:
        self._endpoint = endpoint
        self._port = port
        self.times: list[float] = []

    async def connect(self) -> None:
        start = trio.current_time()
        session = await self._endpoint.open_session_to(self._port.local_address, service=SERVICE)
        self.times.append(trio.current_time() - start)
        await session.aclose()

    async def again_and_again(self) -> None:
        while True:
            await self.connect()
            await trio.sleep(0.05)


async def serve(listener: FSPListener) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon((await listener.accept_session()).aclose)


def state_kept(endpoint: FSPEndpoint, listener: FSPListener) -> dict[str, int]:
    """All that grows with what is remembered of anybody."""
    return {
        "sessions": len(endpoint._sessions),
        "tombstones": len(endpoint._tombstones),
        "challenging": len(listener._challenging),
        "waiting": len(listener._waiting),
        "paths": len(endpoint._congestion),
        "timers": len(endpoint._wheel),
        "tasks": len(endpoint._nursery.child_tasks),
    }


def init_connect(chance: random.Random) -> bytes:
    octets = chance.randbytes
    return octets(4) + LISTENER + CODEC.encode(InitConnect(octets(4), octets(8), octets(8)))


def wrong_request(chance: random.Random) -> bytes:
    octets = chance.randbytes
    packet = ConnectRequest(
        octets(4),
        octets(8),
        octets(8),
        chance.getrandbits(32),
        octets(4),
        octets(8),
        SinkParameter(LISTENER, NO_PREFIXES),
    )
    return octets(8) + CODEC.encode(packet)


async def spoof_many(make: Callable[[random.Random], bytes], spoofed: int) -> None:
    """So many of them leave nothing behind, and an honest peer hardly notices."""
    chance = random.Random(7)
    port = FloodPort(await open_udp_port("127.0.0.1", 0))
    async with (
        open_fsp_endpoint(transport=port) as endpoint,
        open_fsp_endpoint("127.0.0.1", 0) as peers,
        endpoint.listen(SERVICE) as listener,
        trio.open_nursery() as nursery,
    ):

        async def spoof(number: int) -> None:
            for first in range(0, number, BATCH):
                for each in range(first, first + BATCH):
                    port.inject(source(each), [make(chance)])
                await port.emptied()

        honest = Honest(peers, port)
        with tracing():
            await spoof(1000)  # containers of fixed size fill
            port.newest_answers.clear()
            before, kept = traced(), state_kept(endpoint, listener)
            await spoof(spoofed)
            port.newest_answers.clear()
            growth = traced() - before
            assert state_kept(endpoint, listener) == kept
        counted = endpoint.statistics()
        back = port.answer_octets / port.injected_octets
        report(f"{spoofed:,} of {make.__name__}: {growth:+,} octets kept; {back:.2f} octets back for each")
        assert growth < 20_000
        if make is init_connect:
            assert counted.challenges == spoofed + 1000
            assert counted.drops == {}
            assert port.answer_octets * 32 == port.injected_octets * 72
        else:
            assert counted.drops == {"silence": spoofed + 1000}
            assert port.answers == 0
        nursery.start_soon(serve, listener)
        nursery.start_soon(honest.again_and_again)
        await spoof(spoofed // 5)
        meanwhile = len(honest.times)
        await honest.connect()
        report(f"honest connects: {meanwhile} meanwhile, the slowest in {1000 * max(honest.times):.1f} ms")
        assert meanwhile >= 1
        assert max(honest.times) < 1.0
        nursery.cancel_scope.cancel()


@pytest.mark.realnet
@pytest.mark.parametrize("make", [init_connect, wrong_request])
async def test_ten_thousand_spoofed_handshakes_leave_nothing(make: Callable[[random.Random], bytes]) -> None:
    await spoof_many(make, 10_000)


@asynccontextmanager
async def simulated() -> AsyncGenerator[tuple[FloodPort, FSPEndpoint, FSPListener, Honest], None]:
    async with SimulatedNetwork() as network:
        port = FloodPort(network.port("server"))
        async with (
            open_fsp_endpoint(transport=port) as endpoint,
            open_fsp_endpoint(transport=network.port("client")) as client,
        ):
            listener = endpoint.listen(SERVICE, backlog=BACKLOG)
            yield port, endpoint, listener, Honest(client, port)


async def test_ten_thousand_good_requests_of_one_attacker(autojump_clock: MockClock) -> None:
    async with simulated() as (port, endpoint, listener, honest):
        admitted = 0
        for number in range(10_000):
            initiator = Initiator(number)
            # all from one address: the second of an attacker who has two would not help
            initiator.source = source(1)
            admitted += await initiator.shake_hands(port)
            if number % 2000 == 1999:
                await trio.sleep(1)
        assert admitted == BACKLOG
        statistics = listener.statistics()
        assert (statistics.challenging, statistics.refused) == (BACKLOG, 10_000 - BACKLOG)
        assert len(endpoint.sessions) == BACKLOG
        resets = port.answers - 10_000 - BACKLOG  # the others are challenges and acceptances
        assert resets == 5 * REFUSALS_PER_SECOND
        with pytest.raises(FSPConnectError) as caught:
            await honest.connect()
        assert caught.value.reason == ResetReason.NO_RESOURCES
        await trio.sleep(60)  # 12.1
        assert listener.statistics().unconfirmed == BACKLOG
        assert endpoint.sessions == []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, listener)
            await honest.connect()
            nursery.cancel_scope.cancel()
        assert honest.times[-1] < 1
        await trio.sleep(130)
        assert len(endpoint._tombstones) == 0


async def test_what_repeated_requests_get(autojump_clock: MockClock) -> None:
    """A CONNECT_REQUEST, which anybody on the way can send again, while there is a connection and after it."""
    async with simulated() as (port, endpoint, listener, _):
        initiator = Initiator(1)
        assert await initiator.shake_hands(port)
        answers = port.answers

        async def replay(number: int, *, address: int = 2) -> int:
            """How many answers it draws within a second."""
            before = port.answers
            port.inject(source(address), [initiator.request] * number)
            await trio.sleep(1)
            return port.answers - before

        await trio.sleep(1)
        assert await replay(1000) == 1, "limited: ACK_CONNECT_REQ may be much longer than the request (S9)"
        (session,) = endpoint.sessions
        assert session.remote_address == initiator.source, "the answer goes to the first, not to who repeats"
        packets = session.statistics().packets
        assert packets.drops["repeat-rate"] == 999
        port.inject(initiator.source, initiator.connection.datagrams_to_send(0.0))
        accepted = await listener.accept_session()
        assert accepted is session
        await trio.sleep(1)
        assert await replay(1000) == 0
        assert session.statistics().packets.drops["state"] == 1000
        session.reset()
        assert await replay(1000) == 0, "the tombstone answers what a session gets, not requests"
        await trio.sleep(120)
        await trio.sleep(2 * COOKIE_LIFE)
        assert await replay(1000) == 0
        assert endpoint.sessions == []
        assert endpoint.statistics().drops["silence"] == 1000
        assert port.answers <= answers + 3


async def test_a_request_cannot_be_changed(autojump_clock: MockClock) -> None:
    """M51: the cookie covers all but the Initial SN and the host name."""
    async with simulated() as (port, endpoint, listener, _):
        initiator = Initiator(1)
        port.inject(initiator.source, [initiator.init_connect()])
        await trio.sleep(1)
        request = initiator.connect_request(port.newest_answers[-1])
        packet = CODEC.decode(request[8:])
        assert isinstance(packet, ConnectRequest)
        for changed in (
            dataclasses.replace(packet, salt=bytes(4)),
            dataclasses.replace(packet, timestamp=bytes(8)),
            dataclasses.replace(packet, init_check_code=bytes(8)),
            dataclasses.replace(packet, time_delta=b"\xff" * 4),
            dataclasses.replace(packet, cookie=bytes(8)),
        ):
            port.inject(source(1), [request[:8] + CODEC.encode(changed)])
        for ids in (b"AAAA" + request[4:8], request[:4] + b"AAAA"):
            port.inject(source(1), [ids + request[8:]])
        await trio.sleep(1)
        assert endpoint.sessions == []
        assert endpoint.statistics().drops == {"silence": 7}
        port.inject(source(1), [request])
        await trio.sleep(1)
        (session,) = endpoint.sessions
        assert session.state is State.CHALLENGING
        assert len(listener._challenging) == 1
        assert session.statistics().packets.sent == {Op.ACK_CONNECT_REQ.name: 1}
