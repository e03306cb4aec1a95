"""The tasks of a session: full sockets, full inboxes, heartbeats, and how few tasks there are."""

from __future__ import annotations

import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from fsp_trio import Settings, State
from fsp_trio._bell import Bell
from fsp_trio._engine import BURST, INBOX_BATCHES
from fsp_trio.ports import Batch
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker

FAR = Impairment(delay=0.05)


def tasks_below(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    found = []
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            found += [child, *tasks_below(child)]
    return found


async def test_four_tasks_each_and_none_is_left(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        root = trio.lowlevel.current_root_task()
        assert root is not None
        await wait_all_tasks_blocked()
        before = len(tasks_below(root))
        pairs = [await maker.sessions() for _ in range(10)]
        await wait_all_tasks_blocked()
        assert len(tasks_below(root)) == before + 20 * 5  # the one that holds the nursery, and the four in it
        for a, b in pairs:
            a.reset()
            b.reset()
        await wait_all_tasks_blocked()
        assert len(tasks_below(root)) == before
        assert len(maker.client._wheel) == len(maker.server._wheel) == 1  # the tombstones' own


async def test_a_full_socket_hands_over_to_the_send_pump(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, open_pair_maker(network) as maker:
        pairs = [await maker.streams() for _ in range(3)]
        port = maker.client._port
        port.clogged = True  # type: ignore[attr-defined]
        for a, _ in pairs:
            await a.send_all(bytes(5000))
        await trio.sleep(10)
        assert all(b.session.statistics().readable == 0 for _, b in pairs)
        with trio.move_on_after(1) as scope:  # the task that waits for the socket goes away; another takes over
            await pairs[0][0].aclose()
        assert scope.cancelled_caught
        port.clogged = False  # type: ignore[attr-defined]
        for a, b in pairs[1:]:
            assert await b.receive_some() == bytes(5000)
            await a.send_all(b"more")
            assert await b.receive_some() == b"more"


async def test_what_the_socket_takes_in_part_is_not_lost(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, open_pair_maker(network) as maker:
        a, b = await maker.streams()
        port = maker.client._port
        send = port.send
        calls = 0

        def stingy(remote: object, datagrams: list[bytes], *, preliminary: bool = False) -> int:
            nonlocal calls
            calls += 1
            return send(remote, datagrams[:3], preliminary=preliminary)

        port.send = stingy  # type: ignore[method-assign, assignment]
        data = bytes(range(256)) * 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.send_all, data)
            received = b""
            while len(received) < len(data):
                received += await b.receive_some()
        assert received == data
        assert calls > len(data) // 1024 // 3
        assert a.session.statistics().packets.retransmissions == 0


async def test_one_caller_does_not_hold_up_the_others(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork() as network, open_pair_maker(network) as maker:
        a, b = await maker.streams()
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                while True:
                    await b.receive_some()

            nursery.start_soon(drain)
            for _ in range(20):  # opens the congestion window
                await a.send_all(bytes(10**6))
            await a.session.wait_acknowledged()
            before = maker.client.statistics().port.datagrams_sent
            send = trio.lowlevel.spawn_system_task(a.send_all, bytes(10**6))
            await trio.lowlevel.checkpoint()
            assert send is not None
            assert maker.client.statistics().port.datagrams_sent - before <= 2 * BURST
            await a.session.wait_acknowledged()
            nursery.cancel_scope.cancel()


async def test_a_full_inbox_drops_and_counts(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker:
        a, b = await maker.streams()
        junk = [a.session.local_ultid + b.session.local_ultid + bytes(24)] * 10
        for _ in range(1 + INBOX_BATCHES + 5):  # one is handed to the pump that waits
            maker.server._sort_untrusted([Batch(("client", 1), junk, False)])
        assert b.session.statistics().inbox_drops == 50
        assert maker.server.statistics().inbox_drops == 50
        await a.send_all(b"goes on")
        assert await b.receive_some() == b"goes on"


async def test_a_batch_for_several_sessions_is_sorted(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, Impairment(delay=1)) as network, open_pair_maker(network) as maker:
        pairs = [await maker.streams() for _ in range(3)]
        await trio.sleep(5)
        for a, _ in pairs:  # these arrive together, in one batch
            await a.send_all(a.session.local_ultid)
        network.inject(("client", 1), ("server", 2), b"short", delay=1)
        calls = maker.server.statistics().port.receive_calls
        for a, b in pairs:
            assert await b.receive_some() == a.session.local_ultid
        assert maker.server.statistics().port.receive_calls == calls + 1
        assert maker.server.statistics().drops == {"truncated": 1}


async def test_heartbeats_keep_an_idle_session(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, open_pair_maker(network) as maker:
        a, b = await maker.sessions()
        await trio.sleep(10)
        sent = a.statistics().packets.out_of_band_sent
        await trio.sleep(6 * 3600)
        assert a.statistics().packets.out_of_band_sent - sent in range(35, 38)
        assert State.NON_EXISTENT not in (a.state, b.state)
        network.partition(("client", 1))
        await trio.sleep(5 * 3600)
        assert a.state is b.state is State.NON_EXISTENT


async def test_a_short_idle_timeout_is_possible(autojump_clock: MockClock) -> None:
    settings = Settings(idle_timeout=10, heartbeat_interval=3)
    async with SimulatedNetwork(0, FAR) as network, open_pair_maker(network, settings=settings) as maker:
        a, b = await maker.sessions()
        await trio.sleep(100)
        assert State.NON_EXISTENT not in (a.state, b.state)
        network.partition(("client", 1))
        await trio.sleep(14)
        assert a.state is b.state is State.NON_EXISTENT


async def test_a_bell_that_rang_before_lets_one_wait_pass(autojump_clock: MockClock) -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    with assert_checkpoints():
        await bell.wait()
    with trio.move_on_after(1) as scope:
        await bell.wait()
    assert scope.cancelled_caught
    bell.ring()
    with trio.move_on_after(1) as scope:
        scope.cancel()
        await bell.wait()
    assert scope.cancelled_caught
    await bell.wait()  # the ring was not lost
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bell.wait)
        await trio.sleep(1)
        bell.ring()
