"""The simulated network: times, topology, limits, and how its ports behave."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from fsp_trio.ports import Batch, Port
from fsp_trio.testing import Impairment, SimulatedNetwork, SimulatedPort
from fsp_trio.testing._simulated_port import DATAGRAM_OVERHEAD, RECEIVE_DATAGRAMS
from tests.testing.network_tools import everything, number, numbered


async def test_an_instant_network_delivers_in_order(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port(("192.0.2.1", 18003))
        start = trio.current_time()
        datagrams = numbered(1_000)
        assert a.send(b.local_address, datagrams) == 1_000
        assert await everything(b, quiet=1) == datagrams
        assert {record.arrived_at for record in network.record} == {start}
        assert network.statistics.sent == network.statistics.delivered == 1_000
        assert network.statistics.drops == {}


async def test_it_waits_without_being_busy_and_keeps_its_times(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with SimulatedNetwork(1, Impairment(delay=2.5)) as network:
        a, b = network.port("a"), network.port("b")
        start = trio.current_time()
        for at in (0, 1, 7):
            await trio.sleep_until(start + at)
            a.send("b", [b"x"])
        await everything(b)
        times = [(record.sent_at - start, (record.arrived_at or 0) - start) for record in network.record]
        assert times == [(0, 2.5), (1, 3.5), (7, 9.5)]


async def test_links_may_differ_by_direction(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(delay=1)) as network:
        a, b = network.port("a"), network.port("b")
        network.link("a", "b", Impairment(delay=5), both_ways=False)
        start = trio.current_time()
        a.send("b", [b"x"])
        b.send("a", [b"y"])
        await everything(a)
        assert [(record.arrived_at or 0) - start for record in network.record] == [5, 1]
        network.link("a", "b", Impairment(loss=1.0))
        a.send("b", [b"x"])
        b.send("a", [b"y"])
        assert network.statistics.drops == {"loss": 2}


async def test_a_link_that_becomes_faster_does_not_reorder(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(delay=5)) as network:
        a, b = network.port("a"), network.port("b")
        a.send("b", [b"first"])
        network.link("a", "b", Impairment())
        a.send("b", [b"second"])
        assert await everything(b) == [b"first", b"second"]


async def test_partition_and_heal(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(delay=1)) as network:
        ports = {name: network.port(name) for name in "abc"}

        async def reached() -> set[str]:
            for name, port in ports.items():
                for other in ports.keys() - {name}:
                    port.send(other, [f"{name}{other}".encode()])
            await trio.sleep(2)
            return {
                datagram.decode() for port in ports.values() for batch in port.receive() for datagram in batch.datagrams
            }

        assert await reached() == {"ab", "ba", "ac", "ca", "bc", "cb"}
        network.partition("a", "b")
        assert await reached() == {"ac", "ca", "bc", "cb"}
        network.heal()
        network.partition("a", both_ways=False)
        assert await reached() == {"ba", "ca", "bc", "cb"}
        network.heal()
        network.partition("a")
        assert await reached() == {"bc", "cb"}
        network.heal()
        # What is under way when the wire is cut does not arrive.
        ports["a"].send("b", [b"too late"])
        await trio.sleep(0.5)
        network.partition("a", "b")
        await trio.sleep(1)
        network.heal()
        assert await reached() == {"ab", "ba", "ac", "ca", "bc", "cb"}
        assert network.statistics.drops == {"partition": 2 + 2 + 4 + 1}


async def test_rebinding(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(delay=1)) as network:
        inside, server = network.port("inside"), network.port("server")
        network.link("inside", "server", Impairment(delay=2))
        network.rebind(inside, "nat:1")
        assert network.seen_address(inside) == "nat:1"
        inside.send("server", [b"one"])
        await trio.sleep(3)
        assert server.receive() == [Batch("nat:1", [b"one"], False)]
        server.send("nat:1", [b"two"])
        server.send("inside", [b"lost"])
        await trio.sleep(3)
        assert inside.receive() == [Batch("server", [b"two"], False)]
        server.send("nat:1", [b"under way"])
        network.rebind(inside, "nat:2")
        inside.send("server", [b"three"])
        await trio.sleep(3)
        assert inside.receive() == []
        assert server.receive() == [Batch("nat:2", [b"three"], False)]
        assert network.statistics.drops == {"unreachable": 2}
        assert inside.local_address == "inside"
        # The link is that of the port and not that of its mapping.
        assert {(record.arrived_at or 0) - record.sent_at for record in network.record if record.arrived_at} == {2}
        network.partition("inside", "server")
        inside.send("server", [b"four"])
        await trio.sleep(3)
        assert server.receive() == []
        network.heal()
        network.rebind(inside, "inside")
        inside.send("server", [b"five"])
        await trio.sleep(3)
        assert server.receive() == [Batch("inside", [b"five"], False)]
        with pytest.raises(ValueError, match="already"):
            network.rebind(inside, "server")
        network.rebind(inside, "nat:1")
        with pytest.raises(ValueError, match="already"):
            network.port("inside")
        inside.close()
        with pytest.raises(ValueError, match="closed"):
            network.rebind(inside, "nat:3")
        network.port("inside")
        network.port("nat:1")


async def test_taps(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[tuple[object, object, bytes]] = []

    def alter(source: object, destination: object, datagram: bytes) -> bytes | None:
        seen.append((source, destination, datagram))
        return None if datagram == b"drop me" else datagram.upper()

    def nested(source: object, destination: object, datagram: bytes) -> bytes:
        if datagram == b"INJECT":
            network.inject("somebody", destination, b"injected")
        return datagram

    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port("b")
        end = network.tap(alter)
        network.tap(nested)
        a.send("b", [b"drop me", b"alter me", b"inject"])
        await trio.sleep(1)
        arrived = {(batch.source, datagram) for batch in b.receive() for datagram in batch.datagrams}
        assert arrived == {("a", b"ALTER ME"), ("a", b"INJECT"), ("somebody", b"injected")}
        assert seen == [("a", "b", b"drop me"), ("a", "b", b"alter me"), ("a", "b", b"inject")]
        assert network.statistics.drops == {"tap": 1}
        end()
        a.send("b", [b"drop me"])
        assert await everything(b) == [b"drop me"]
        assert len(seen) == 3


async def test_injected_datagrams_meet_no_impairment(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(loss=1.0, delay=5)) as network:
        b = network.port("b")
        start = trio.current_time()
        network.inject("a", "b", b"late", delay=1)
        network.inject("nobody", "b", b"early")
        assert await everything(b) == [b"early", b"late"]
        assert [(record.arrived_at or 0) - start for record in network.record] == [1, 0]
        assert network.statistics.reordered == 0


async def test_the_number_under_way_is_limited(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(delay=1), in_flight_limit=10) as network:
        a, b = network.port("a"), network.port("b")
        a.send("b", numbered(15))
        assert await everything(b) == numbered(10)
        assert network.statistics.drops == {"in-flight-limit": 5}


async def test_the_record_is_limited(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(record_limit=10) as network:
        network.port("a").send("b", numbered(15))
        await trio.sleep(1)
        assert [number(record.datagram) for record in network.record] == list(range(5, 15))
        assert network.statistics.drops == {"unreachable": 15}


async def test_the_inbox_is_limited(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port("b", receive_buffer=10 * (100 + DATAGRAM_OVERHEAD))
        a.send("b", numbered(15))
        assert await everything(b) == numbered(10)
        assert network.statistics.drops == {"receive-buffer": 5}
        assert b.statistics.kernel_drops == 5
        a.send("b", numbered(10))
        assert await everything(b) == numbered(10)


async def test_one_receive_is_limited_and_keeps_sources_apart(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork() as network:
        a, b, c = network.port("a"), network.port("b"), network.port("c")
        a.send("b", numbered(RECEIVE_DATAGRAMS))
        await trio.sleep(1)
        c.send("b", numbered(3))
        await trio.sleep(1)
        a.send("b", numbered(1))
        await trio.sleep(1)
        assert b.receive() == [Batch("a", numbered(RECEIVE_DATAGRAMS), False)]
        await b.wait_readable()
        assert b.receive() == [Batch("c", numbered(3), False), Batch("a", numbered(1), False)]
        assert b.receive() == []
        assert b.statistics.datagrams_received == RECEIVE_DATAGRAMS + 4


async def test_a_clogged_port(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port("b")
        await a.wait_writable()
        a.clogged = True
        assert a.clogged
        assert a.send("b", [b"x"]) == 0
        with trio.move_on_after(1) as scope:
            await a.wait_writable()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.wait_writable)
            await trio.testing.wait_all_tasks_blocked()
            a.clogged = False
        assert a.send("b", [b"x"]) == 1
        assert await everything(b) == [b"x"]


async def test_interrupting_a_port(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port("b")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(b.wait_readable)
            await trio.testing.wait_all_tasks_blocked()
            b.interrupt()
        assert b.receive() == []
        a.send("b", [b"x"])
        await b.wait_readable()
        assert [batch.datagrams for batch in b.receive()] == [[b"x"]]


async def test_closing_a_port(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port("b")

        async def closed(wait: Callable[[], object]) -> None:
            with pytest.raises(trio.ClosedResourceError):
                await wait()  # type: ignore[misc]

        a.clogged = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closed, a.wait_readable)
            nursery.start_soon(closed, a.wait_writable)
            await trio.testing.wait_all_tasks_blocked()
            a.close()
        a.close()
        await closed(a.wait_readable)
        await closed(a.wait_writable)
        with pytest.raises(trio.ClosedResourceError):
            a.receive()
        with pytest.raises(trio.ClosedResourceError):
            a.send("b", [b"x"])
        b.send("a", [b"x"])
        await trio.sleep(1)
        assert network.statistics.drops == {"unreachable": 1}


async def test_addresses_are_given_once(autojump_clock: trio.testing.MockClock) -> None:
    network = SimulatedNetwork()
    network.port("a")
    with pytest.raises(ValueError, match="already"):
        network.port("a")


async def test_it_runs_in_a_nursery_of_the_caller_once_at_a_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = SimulatedNetwork(1, Impairment(delay=1))
    a, b = network.port("a"), network.port("b")
    a.send("b", [b"before the start"])
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(network.run)
            with pytest.raises(RuntimeError, match="already running"):
                await network.run()
            await everything(b)
            nursery.cancel_scope.cancel()
    assert network.statistics.delivered == 1
    async with network:
        a.send("b", [b"once more"])
        assert await everything(b) == [b"once more"]


async def test_what_the_caller_raises_leaves_unwrapped(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with SimulatedNetwork():
            raise KeyError("mine")
    with trio.move_on_after(1) as scope:
        async with SimulatedNetwork():
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_the_port_implements_the_protocol() -> None:
    port: Port = SimulatedNetwork().port("a")
    assert isinstance(port, SimulatedPort)
