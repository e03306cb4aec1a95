"""What sessions leave behind when they have gone, and what one that carries much takes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fsp_trio import FSPEndpoint, FSPSession, Settings, open_fsp_endpoint
from fsp_trio.testing import Impairment, SimulatedNetwork

from .figures import MEGABYTE, open_files, report, resident, traced, tracing

SERVICE = 7
PIECE = 256 * 1024
MAX_GROWTH = 100 * MEGABYTE
SETTINGS = Settings(max_payload=1024)


async def use(session: FSPSession) -> None:
    """A few octets, and the end."""
    async with session:
        async with session.send_transaction() as transaction:
            await transaction.send_all(b"some octets")
        async for _ in await session.receive_transaction():
            pass


async def open_and_close(client: FSPEndpoint, server: FSPEndpoint, number: int, at_once: int = 20) -> None:
    listener = server.listen(SERVICE)

    async def one_client() -> None:
        await use(await client.open_session_to(server.local_address, service=SERVICE))

    for _ in range(0, number, at_once):
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(one_client)
            for _ in range(at_once):
                nursery.start_soon(use, await listener.accept_session())
    await listener.aclose()


A_SESSION = 300
"""Octets that may stay of each: Trio keeps up to 1,000 deadlines that have gone, with 200 octets each."""


async def what_stays(sessions: Callable[[], Awaitable[object]], rounds: int) -> int:
    """Octets that stay of so many rounds after two others, in which containers grow."""
    await sessions()
    with tracing():
        await sessions()
        before = traced()
        for _ in range(rounds):
            await sessions()
        return traced() - before


@pytest.mark.realnet
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_thousand_sessions_over_udp_leave_no_descriptor_and_no_memory() -> None:
    """Tombstones are kept for two minutes (M41), so their number is limited to 16 here."""
    async with (
        open_fsp_endpoint("127.0.0.1", 0, max_tombstones=16) as client,
        open_fsp_endpoint("127.0.0.1", 0, max_tombstones=16) as server,
    ):
        await wait_all_tasks_blocked()
        files = open_files()
        stays = await what_stays(lambda: open_and_close(client, server, 200), rounds=5)
        report(f"{stays:+,} octets and {open_files() - files:+} descriptors stay of a thousand sessions")
        assert stays < 1000 * A_SESSION
        assert open_files() == files
        await trio.sleep(0.1)
        assert client.sessions == server.sessions == []
        assert len(client._wheel) == len(server._wheel) == 1, "that of the tombstones"
        assert len(client._nursery.child_tasks) == len(server._nursery.child_tasks) == 3


async def test_sessions_leave_nothing_when_their_tombstones_have_gone(autojump_clock: MockClock) -> None:
    """By the virtual clock, with all tombstones."""
    async with (
        SimulatedNetwork(record_limit=100) as network,
        open_fsp_endpoint(transport=network.port("client")) as client,
        open_fsp_endpoint(transport=network.port("server")) as server,
    ):

        async def sessions() -> None:
            await open_and_close(client, server, 200)
            assert len(client._tombstones) == len(server._tombstones) == 200
            await trio.sleep(125)
            assert len(client._tombstones) == len(server._tombstones) == 0

        assert await what_stays(sessions, rounds=2) < 400 * A_SESSION


async def test_what_was_not_read_is_not_kept_with_the_tombstone(autojump_clock: MockClock) -> None:
    """Otherwise a peer could fill 4,096 of them with 8 MiB each."""
    async with (
        SimulatedNetwork(record_limit=100) as network,
        open_fsp_endpoint(transport=network.port("client")) as client,
        open_fsp_endpoint(transport=network.port("server")) as server,
    ):
        listener = server.listen(SERVICE)
        ends: list[Callable[[FSPSession, FSPSession], Awaitable[object]]] = [
            lambda _, theirs: theirs.aclose(),
            _reset_late,
            _reset_early,
        ]
        for end in ends:
            session = await client.open_session_to("server", service=SERVICE)
            async with session.send_transaction() as transaction:
                await transaction.send_all(bytes(500_000))
            accepted = await listener.accept_session()
            assert accepted.statistics().readable == 500_000
            await end(session, accepted)
            await trio.sleep(10)
            graves = server._tombstones._graves
            kept = graves[accepted.local_ultid].connection
            assert kept is None or kept.received.ready_octets == 0
            assert kept is None or not kept.received.ready


async def test_a_peer_that_vanished_does_not_hold_up_others_of_its_host(autojump_clock: MockClock) -> None:
    """B18: they share a congestion window, which a session without an answer must not shut."""
    async with (
        SimulatedNetwork(default=Impairment(delay=0.02), record_limit=100) as network,
        open_fsp_endpoint(transport=network.port(("host", 1))) as living,
        open_fsp_endpoint(transport=network.port(("host", 2))) as vanishing,
        open_fsp_endpoint(transport=network.port("server")) as server,
        trio.open_nursery() as nursery,
    ):
        listener = server.listen(SERVICE)
        ends = []
        for client in (living, vanishing):
            ours = await client.open_session_to("server", service=SERVICE)
            ends.append((ours, await listener.accept_session()))
        (ours, theirs), (_, lost) = ends
        nursery.start_soon(lost.stream().send_all, bytes(10**6))
        await trio.sleep(0.1)
        network.partition(("host", 2))
        await trio.sleep(20)

        async def send() -> None:
            async with theirs.send_transaction() as transaction:
                await transaction.send_all(bytes(10**6))

        start = trio.current_time()
        nursery.start_soon(send)
        count = 0
        async for data in await ours.receive_transaction():
            count += len(data)
        assert count == 10**6
        report(f"{trio.current_time() - start:.1f} s beside a session without an answer")
        assert trio.current_time() - start < 8
        nursery.cancel_scope.cancel()


async def _reset_early(ours: FSPSession, theirs: FSPSession) -> None:
    theirs.reset()


async def _reset_late(ours: FSPSession, theirs: FSPSession) -> None:
    """The application closes what its peer had reset before."""
    ours.reset()
    await trio.sleep(1)
    theirs.reset()


async def carry(octets: int) -> int:
    """So many octets through one session over real UDP, both ends here; by how much the resident set grew."""
    async with (
        open_fsp_endpoint("127.0.0.1", 0, settings=SETTINGS) as server,
        open_fsp_endpoint("127.0.0.1", 0, settings=SETTINGS) as client,
        trio.open_nursery() as nursery,
    ):
        listener = server.listen(SERVICE)
        sender = await client.open_session_to(server.local_address, service=SERVICE)
        receiver = await listener.accept_session()
        for end in (sender, receiver):
            end.install_key(b"material that both have agreed upon")
        start = highest = resident()
        sent, received = hashlib.sha256(), hashlib.sha256()

        async def send() -> None:
            async with sender.send_transaction() as transaction:
                for number in range(octets // PIECE):
                    piece = number.to_bytes(8, "big") * (PIECE // 8)
                    sent.update(piece)
                    await transaction.send_all(piece)
            await sender.aclose()

        nursery.start_soon(send)
        count = 0
        async for data in await receiver.receive_transaction():
            received.update(data)
            if count // MEGABYTE != (count + len(data)) // MEGABYTE:
                highest = max(highest, resident())
            count += len(data)
        await receiver.aclose()
        assert received.digest() == sent.digest()
        assert count == octets
    return max(highest, resident()) - start


@pytest.mark.realnet
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_sixteen_mebibytes_take_little_memory() -> None:
    growth = await carry(16 * MEGABYTE)
    report(f"resident set {growth / MEGABYTE:+.1f} MiB")
    assert growth < MAX_GROWTH / 4
