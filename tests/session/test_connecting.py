"""Opening and accepting sessions: refusals, limits, and what nobody asked for."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import (
    FailureKind,
    FSPBusyError,
    FSPClosedError,
    FSPConnectError,
    FSPEndpoint,
    ResetReason,
    Settings,
    State,
    Timers,
)
from fsp_trio.endpoint import REFUSALS_PER_SECOND, open_fsp_endpoint
from fsp_trio.revisions import GAO_07
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker
from fsp_trio.wire.packets import InitConnect


async def test_nobody_there(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        start = trio.current_time()
        for address, service in ((("server", 2), 8), (("nowhere", 0), 7)):
            with pytest.raises(FSPConnectError) as caught:
                await maker.client.open_session_to(address, service=service)
            assert isinstance(caught.value, OSError)
            assert caught.value.kind is FailureKind.HANDSHAKE_TIMEOUT
        assert trio.current_time() - start == pytest.approx(120)
        assert maker.client.sessions == []
        assert maker.server.statistics().drops == {"no-listener": 4}


async def test_admit_sees_the_address_and_may_refuse(autojump_clock: MockClock) -> None:
    seen = []

    def admit(address: object) -> bool:
        seen.append(address)
        return False

    async with open_pair_maker() as maker:
        listener = maker.server.listen(8, admit=admit)
        with pytest.raises(FSPConnectError) as caught:
            await maker.client.open_session_to(("server", 2), service=8)
        assert caught.value.kind is FailureKind.REFUSED
        assert caught.value.reason == ResetReason.REJECTED
        assert seen == [("client", 1)]
        assert listener.statistics().refused == 1
        assert maker.server.sessions == []


async def test_failing_functions_refuse(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_arguments: object) -> bytes:
        raise ZeroDivisionError

    async with open_pair_maker() as maker:
        maker.server.listen(8, admit=fail)  # type: ignore[arg-type]
        maker.server.listen(9, welcome=fail)
        for service, reason in ((8, ResetReason.REJECTED), (9, ResetReason.NO_RESOURCES)):
            with pytest.raises(FSPConnectError) as caught:
                await maker.client.open_session_to(("server", 2), service=service)
            assert caught.value.reason == reason
        assert [record.message for record in caplog.records] == [
            "admit failed; the request is refused",
            "welcome failed; the request is refused",
        ]
        a, b = await maker.sessions()  # the endpoint goes on
        a.reset()
        b.reset()


async def test_the_backlog_is_limited(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        listener = maker.server.listen(8, backlog=3)
        for _ in range(3):
            await maker.client.open_session_to(("server", 2), service=8)
        with pytest.raises(FSPConnectError) as caught:
            await maker.client.open_session_to(("server", 2), service=8)
        assert caught.value.reason == ResetReason.NO_RESOURCES
        assert listener.statistics().waiting == 3
        await listener.accept_session()
        await maker.client.open_session_to(("server", 2), service=8)
        assert listener.statistics().accepted == 1


async def test_the_unconfirmed_count_and_are_forgotten(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork() as network, open_pair_maker(network) as maker:

        def swallow(source: object, _destination: object, datagram: bytes) -> bytes | None:
            return None if source == ("client", 1) and datagram[8] > 3 else datagram

        network.tap(swallow)  # confirmations do not arrive, nor does anything later
        listener = maker.server.listen(8, backlog=1)
        await maker.client.open_session_to(("server", 2), service=8)
        assert listener.statistics().challenging == 1
        with pytest.raises(FSPConnectError):
            await maker.client.open_session_to(("server", 2), service=8)
        await trio.sleep(61)
        assert listener.statistics().challenging == 0
        assert listener.statistics().unconfirmed == 1
        assert maker.server.sessions == []


async def test_closing_a_listener_resets_what_was_not_accepted(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        session = await maker.client.open_session_to(("server", 2), service=7)

        async def expect_closed() -> None:
            with pytest.raises(FSPClosedError):
                await maker.listener.accept()

        accepted = await maker.listener.accept()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_closed)
            nursery.start_soon(expect_closed)
            await trio.sleep(1)
            await maker.listener.aclose()
        await maker.listener.aclose()
        with pytest.raises(FSPClosedError):
            await maker.listener.accept()
        assert session.state is not State.NON_EXISTENT
        await accepted.send_all(b"goes on")
        assert await session.stream().receive_some() == b"goes on"
        listener = maker.server.listen(7)
        assert listener.endpoint is maker.server
        assert listener.ultid == b"\0\0\0\7"
        session = await maker.client.open_session_to(("server", 2), service=7)
        listener.close()
        await trio.sleep(1)
        assert session.state is State.NON_EXISTENT


async def test_arguments_are_checked(autojump_clock: MockClock) -> None:
    async with open_pair_maker(settings=Settings(max_payload=100)) as maker:
        server = maker.server
        with pytest.raises(FSPBusyError):
            server.listen(7)
        for service in (0, 2**32):
            with pytest.raises(ValueError, match="service"):
                server.listen(service)
            with pytest.raises(ValueError, match="service"):
                await server.open_session_to(("client", 1), service=service)
        with pytest.raises(ValueError, match="welcome"):
            server.listen(8, welcome=bytes(101))
        with pytest.raises(ValueError, match="backlog"):
            server.listen(8, backlog=0)
        assert server.settings.max_payload == 100
    with pytest.raises(FSPClosedError):
        server.listen(8)
    with pytest.raises(FSPClosedError):
        await server.open_session_to(("client", 1))
    with pytest.raises(ValueError, match="linger"):
        async with open_fsp_endpoint(linger=-1):
            raise AssertionError


async def test_a_large_ultid_may_be_listened_to(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        listener = maker.server.listen(0xDEADBEEF)
        session = await maker.client.open_session_to(("server", 2), service=0xDEADBEEF)
        accepted = await listener.accept_session()
        assert accepted.remote_ultid == session.local_ultid
        assert int.from_bytes(session.local_ultid, "big") > 65535
        assert int.from_bytes(accepted.local_ultid, "big") > 65535


async def test_leaving_while_somebody_connects(autojump_clock: MockClock) -> None:
    async def connect(endpoint: FSPEndpoint) -> None:
        with pytest.raises(FSPClosedError):
            await endpoint.open_session_to("nowhere")

    async with (
        SimulatedNetwork() as network,
        trio.open_nursery() as nursery,
        open_fsp_endpoint(transport=network.port("a")) as endpoint,
    ):
        nursery.start_soon(connect, endpoint)
        await trio.sleep(1)


async def test_spoofed_beginnings_leave_no_state(autojump_clock: MockClock) -> None:
    number = 20_000
    chance = random.Random(1)
    async with SimulatedNetwork() as network, open_pair_maker(network) as maker:
        for i in range(number):
            packet = InitConnect(chance.randbytes(4), chance.randbytes(8), chance.randbytes(8))
            datagram = chance.randbytes(4) + b"\0\0\0\7" + GAO_07.codec.encode(packet)
            network.inject(("spoofed", i), ("server", 2), datagram)
            if i % 1000 == 0:
                await trio.sleep(0.001)
        a, b = await maker.sessions()
        statistics = maker.server.statistics()
        assert statistics.challenges == number + 1
        assert maker.server.sessions == [b]
        assert statistics.tombstones == 0
        assert len(maker.server._congestion) == 1
        a.reset()


async def test_random_octets_are_dropped_by_kind_and_a_session_goes_on(autojump_clock: MockClock) -> None:
    chance = random.Random(2)
    async with SimulatedNetwork() as network, open_pair_maker(network) as maker:
        a, b = await maker.streams()
        targets = [a.session.local_ultid, b.session.local_ultid, b"\0\0\0\7", chance.randbytes(4)]
        for _ in range(3000):
            body = bytes([chance.randrange(16), 0]) + chance.randbytes(chance.randrange(80))
            source = chance.choice([b.session.local_ultid, chance.randbytes(4)])
            for at in (("server", 2), ("client", 1)):
                network.inject(
                    chance.choice([("client", 1), ("server", 2), "x"]), at, source + chance.choice(targets) + body
                )
        await trio.sleep(1)
        await a.send_all(b"still there")
        assert await b.receive_some() == b"still there"
        drops = maker.server.statistics().drops
        assert {"truncated", "unknown-ultid"} <= drops.keys()
        assert maker.server.sessions == [b.session]


async def test_refusals_are_rate_limited(autojump_clock: MockClock) -> None:
    settings = Settings(timers=Timers.responsive())
    async with (
        SimulatedNetwork(0, Impairment(delay=0.01)) as network,
        open_pair_maker(network, settings=settings) as maker,
    ):
        maker.server.listen(8, admit=lambda _address: False)
        refused = []

        async def connect() -> None:
            with pytest.raises(FSPConnectError):
                await maker.client.open_session_to(("server", 2), service=8)
            refused.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(2 * REFUSALS_PER_SECOND):
                nursery.start_soon(connect)
        first = [moment for moment in refused if moment < 1]
        assert len(first) == REFUSALS_PER_SECOND


async def test_ultids_are_large_and_free(autojump_clock: MockClock) -> None:
    drawn = iter([b"\0\0\xff\xff", b"used", b"free"])
    async with open_pair_maker() as maker:
        maker.client.listen(int.from_bytes(b"used", "big"))
        maker.client._random = lambda _size: next(drawn)
        assert maker.client._new_ultid() == b"free"
        maker.client._random = lambda _size: b"used"
        with pytest.raises(FSPBusyError):
            maker.client._new_ultid()
