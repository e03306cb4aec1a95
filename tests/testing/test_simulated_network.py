"""The simulated network: what it does to datagrams, that it repeats itself, and how ports behave."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable

import pytest
import trio
import trio.testing

from fsp_trio.ports import Batch, Port
from fsp_trio.testing import Impairment, SimulatedNetwork, SimulatedPort
from fsp_trio.testing._simulated_port import DATAGRAM_OVERHEAD, RECEIVE_DATAGRAMS

pytestmark = pytest.mark.usefixtures("autojump_clock")

MANY = 4_000


def numbered(count: int, size: int = 100) -> list[bytes]:
    return [index.to_bytes(4, "big") + bytes(size - 4) for index in range(count)]


def number(datagram: bytes) -> int:
    return int.from_bytes(datagram[:4], "big")


async def everything(port: Port, quiet: float = 10.0) -> list[bytes]:
    """All that arrives until nothing has arrived for a while."""
    found: list[bytes] = []
    while True:
        with trio.move_on_after(quiet) as scope:
            await port.wait_readable()
        if scope.cancelled_caught:
            return found
        found += [datagram for batch in port.receive() for datagram in batch.datagrams]


async def through(impairment: Impairment, datagrams: Iterable[bytes], *, seed: int = 1) -> SimulatedNetwork:
    """The network after the datagrams have gone from "a" to "b", one each 10 ms."""
    async with SimulatedNetwork(seed, impairment) as network:
        a, b = network.port("a"), network.port("b")
        for datagram in datagrams:
            a.send("b", [datagram])
            await trio.sleep(0.01)
        await everything(b)
    return network


def within_chance(observed: int, trials: int, probability: float) -> bool:
    """Within four standard deviations of the binomial distribution."""
    deviation = math.sqrt(trials * probability * (1 - probability))
    return abs(observed - trials * probability) <= 4 * deviation


async def test_an_instant_network_delivers_in_order() -> None:
    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port(("192.0.2.1", 18003))
        start = trio.current_time()
        datagrams = numbered(1_000)
        assert a.send(b.local_address, datagrams) == 1_000
        assert await everything(b, quiet=1) == datagrams
        assert {record.arrived_at for record in network.record} == {start}
        assert network.statistics.sent == network.statistics.delivered == 1_000
        assert network.statistics.drops == {}


async def test_it_waits_without_being_busy_and_keeps_its_times() -> None:
    async with SimulatedNetwork(1, Impairment(delay=2.5)) as network:
        a, b = network.port("a"), network.port("b")
        start = trio.current_time()
        for at in (0, 1, 7):
            await trio.sleep_until(start + at)
            a.send("b", [b"x"])
        await everything(b)
        times = [(record.sent_at - start, (record.arrived_at or 0) - start) for record in network.record]
        assert times == [(0, 2.5), (1, 3.5), (7, 9.5)]


@pytest.mark.parametrize("probability", [0.01, 0.3, 1.0])
async def test_loss(probability: float) -> None:
    network = await through(Impairment(loss=probability), numbered(MANY))
    lost = network.statistics.drops["loss"]
    assert within_chance(lost, MANY, probability)
    assert network.statistics.delivered == MANY - lost
    assert sum(record.fate == "loss" for record in network.record) == lost


async def test_duplication() -> None:
    network = await through(Impairment(duplicate=0.2, jitter=0.05), numbered(MANY))
    assert within_chance(network.statistics.duplicated, MANY, 0.2)
    assert network.statistics.delivered == MANY + network.statistics.duplicated
    copies = {number(record.datagram): record for record in network.record if record.copy}
    assert len(copies) == network.statistics.duplicated
    for record in network.record:
        if not record.copy and number(record.datagram) in copies:
            copy = copies[number(record.datagram)]
            assert copy.arrived_at is not None
            assert record.arrived_at is not None
            assert 0 <= copy.arrived_at - record.arrived_at <= 0.05 + 1e-9


async def test_corruption() -> None:
    original = bytes(range(100))
    network = await through(Impairment(corrupt=0.2), [original] * MANY)
    assert within_chance(network.statistics.corrupted, MANY, 0.2)
    for record in network.record:
        flipped = int.from_bytes(record.datagram, "big") ^ int.from_bytes(original, "big")
        assert flipped.bit_count() in ({1, 2, 3} if record.corrupted else {0})
    assert {len(record.datagram) for record in network.record} == {100}


async def test_corruption_of_what_has_no_octets_to_corrupt() -> None:
    network = await through(Impairment(corrupt=1.0), [b"", b"", b"x"])
    assert [record.datagram for record in network.record][:2] == [b"", b""]
    assert network.statistics.corrupted == 1


async def test_corrupted_preliminary_datagrams_fail_their_checksum() -> None:
    async with SimulatedNetwork(1, Impairment(corrupt=1.0)) as network:
        a, b = network.port("a"), network.port("b")
        a.send("b", numbered(10), preliminary=True)
        a.send("b", numbered(5))
        assert len(await everything(b)) == 5
        assert network.statistics.drops == {"checksum": 10}


async def test_reordering() -> None:
    network = await through(Impairment(reorder=0.1, reorder_span=0.1, delay=0.02), numbered(MANY))
    arrivals = sorted(network.record, key=lambda record: record.arrived_at or 0)
    overtaken = [
        earlier
        for earlier, later in zip(arrivals[1:], arrivals, strict=False)
        if earlier.sent_at < later.sent_at
    ]
    # One in ten is held back, and of these nine in ten for longer than the next one takes to come.
    assert within_chance(network.statistics.reordered, MANY, 0.09)
    assert overtaken
    assert all((record.arrived_at or 0) - record.sent_at <= 0.12 + 1e-9 for record in network.record)
    assert network.statistics.delivered == MANY


async def test_jitter_keeps_the_order() -> None:
    network = await through(Impairment(delay=0.1, jitter=0.5), numbered(MANY))
    assert network.statistics.reordered == 0
    delays = [(record.arrived_at or 0) - record.sent_at for record in network.record]
    assert 0.1 <= min(delays) < max(delays) <= 0.6 + 1e-9
    assert len(set(delays)) > 100


async def test_bandwidth_and_queue() -> None:
    async with SimulatedNetwork(1, Impairment(bandwidth=10_000, queue=5_000, delay=1)) as network:
        a, b = network.port("a"), network.port("b")
        start = trio.current_time()
        a.send("b", numbered(100, 100))
        # 100 octets under way at a time, 5,000 in the queue with it.
        assert len(await everything(b)) == 50
        assert network.statistics.drops == {"queue": 50}
        arrivals = [record.arrived_at - start for record in network.record if record.arrived_at is not None]
        assert arrivals == pytest.approx([1 + 0.01 * (index + 1) for index in range(50)])
        # A datagram larger than the queue passes when nothing waits.
        a.send("b", [bytes(6_000)])
        assert len(await everything(b)) == 1


async def test_bandwidth_without_a_limit_of_the_queue() -> None:
    async with SimulatedNetwork(1, Impairment(bandwidth=1_000)) as network:
        a, b = network.port("a"), network.port("b")
        start = trio.current_time()
        a.send("b", numbered(100, 100))
        assert len(await everything(b)) == 100
        assert network.record[-1].arrived_at == pytest.approx(start + 10)


async def test_mtu() -> None:
    network = await through(Impairment(mtu=100), [bytes(100), bytes(101)])
    assert network.statistics.drops == {"mtu": 1}
    assert [record.fate for record in network.record] == ["delivered", "mtu"]


async def test_marks_of_congestion_by_chance() -> None:
    network = await through(Impairment(congestion=0.2), numbered(MANY))
    assert within_chance(network.statistics.congested, MANY, 0.2)


async def test_marks_of_congestion_by_the_queue() -> None:
    async with SimulatedNetwork(1, Impairment(bandwidth=10_000, congestion_queue=500)) as network:
        a, b = network.port("a"), network.port("b")
        a.send("b", numbered(10, 100))
        await trio.sleep(1)
        assert b.receive() == [Batch("a", numbered(10, 100), True)]
        assert network.statistics.congested == b.statistics.congestion_marks == 5
        a.send("b", [b"x"])
        await b.wait_readable()
        assert b.receive() == [Batch("a", [b"x"], False)]


@pytest.mark.parametrize(
    "values",
    [
        {"loss": 1.1},
        {"duplicate": -0.1},
        {"corrupt": math.nan},
        {"delay": -1.0},
        {"jitter": math.inf},
        {"bandwidth": 0.0},
        {"bandwidth": math.inf},
    ],
)
def test_impossible_impairments(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Impairment(**values)  # type: ignore[arg-type]


EVERYTHING = Impairment(
    loss=0.1,
    duplicate=0.1,
    corrupt=0.1,
    reorder=0.1,
    delay=0.1,
    jitter=0.05,
    congestion=0.1,
    bandwidth=50_000,
)


async def history(seed: int, order: Callable[[list[str]], list[str]] = list) -> list[tuple[object, ...]]:
    """What arrived at each port, and when, with three senders that act at the same instants."""
    async with SimulatedNetwork(seed, EVERYTHING) as network:
        start = trio.current_time()
        ports = {name: network.port(name) for name in "abc"}
        for turn in range(100):
            for name in order(list(ports)):
                for other in ports.keys() - {name}:
                    ports[name].send(other, [f"{name}{other}{turn}".encode() * 10])
            await trio.sleep(0.01)
        await trio.sleep(10)
        seen = [
            (name, batch.source, tuple(batch.datagrams), batch.congested)
            for name, port in ports.items()
            for batch in port.receive()
        ]
        times = sorted(
            (
                str(record.source),
                str(record.destination),
                record.sent_at - start,
                (record.arrived_at or start) - start,
            )
            for record in network.record
        )
        return [*seen, *times]


async def test_the_same_seed_gives_the_same_history() -> None:
    assert await history(5) == await history(5)
    assert await history(5) != await history(6)


async def test_the_order_of_the_tasks_does_not_matter() -> None:
    assert await history(5) == await history(5, lambda names: names[::-1])


def test_the_hash_of_strings_does_not_matter() -> None:
    program = (
        "import trio, trio.testing, test_simulated_network as module, hashlib\n"
        "clock = trio.testing.MockClock(autojump_threshold=0)\n"
        "found = trio.run(module.history, 5, clock=clock)\n"
        "print(hashlib.sha256(repr(found).encode()).hexdigest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=os.path.dirname(__file__),
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


async def test_what_others_send_does_not_change_the_fate_of_a_datagram() -> None:
    fates: list[list[str]] = []
    for others in (0, 3):
        async with SimulatedNetwork(9, Impairment(loss=0.5)) as network:
            a, b, c = network.port("a"), network.port("b"), network.port("c")
            for _ in range(100):
                a.send("b", [b"x"])
                c.send("b", [b"y"] * others)
                b.send("a", [b"z"] * others)
            await trio.sleep(1)
            fates.append([record.fate for record in network.record if record.source == "a"])
    assert fates[0] == fates[1]
    assert set(fates[0]) == {"delivered", "loss"}


async def test_links_may_differ_by_direction() -> None:
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


async def test_a_link_that_becomes_faster_does_not_reorder() -> None:
    async with SimulatedNetwork(1, Impairment(delay=5)) as network:
        a, b = network.port("a"), network.port("b")
        a.send("b", [b"first"])
        network.link("a", "b", Impairment())
        a.send("b", [b"second"])
        assert await everything(b) == [b"first", b"second"]


async def test_partition_and_heal() -> None:
    async with SimulatedNetwork(1, Impairment(delay=1)) as network:
        ports = {name: network.port(name) for name in "abc"}

        async def reached() -> set[str]:
            for name, port in ports.items():
                for other in ports.keys() - {name}:
                    port.send(other, [f"{name}{other}".encode()])
            await trio.sleep(2)
            return {
                datagram.decode()
                for port in ports.values()
                for batch in port.receive()
                for datagram in batch.datagrams
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


async def test_rebinding() -> None:
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
        assert {
            (record.arrived_at or 0) - record.sent_at for record in network.record if record.arrived_at
        } == {2}
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
        inside.close()
        with pytest.raises(ValueError, match="closed"):
            network.rebind(inside, "nat:3")
        network.port("inside")
        network.port("nat:1")


async def test_taps() -> None:
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


async def test_injected_datagrams_meet_no_impairment() -> None:
    async with SimulatedNetwork(1, Impairment(loss=1.0, delay=5)) as network:
        b = network.port("b")
        start = trio.current_time()
        network.inject("a", "b", b"late", delay=1)
        network.inject("nobody", "b", b"early")
        assert await everything(b) == [b"early", b"late"]
        assert [(record.arrived_at or 0) - start for record in network.record] == [1, 0]
        assert network.statistics.reordered == 0


async def test_the_number_under_way_is_limited() -> None:
    async with SimulatedNetwork(1, Impairment(delay=1), in_flight_limit=10) as network:
        a, b = network.port("a"), network.port("b")
        a.send("b", numbered(15))
        assert await everything(b) == numbered(10)
        assert network.statistics.drops == {"in-flight-limit": 5}


async def test_the_record_is_limited() -> None:
    async with SimulatedNetwork(record_limit=10) as network:
        network.port("a").send("b", numbered(15))
        await trio.sleep(1)
        assert [number(record.datagram) for record in network.record] == list(range(5, 15))
        assert network.statistics.drops == {"unreachable": 15}


async def test_the_inbox_is_limited() -> None:
    async with SimulatedNetwork() as network:
        a, b = network.port("a"), network.port("b", receive_buffer=10 * (100 + DATAGRAM_OVERHEAD))
        a.send("b", numbered(15))
        assert await everything(b) == numbered(10)
        assert network.statistics.drops == {"receive-buffer": 5}
        assert b.statistics.kernel_drops == 5
        a.send("b", numbered(10))
        assert await everything(b) == numbered(10)


async def test_one_receive_is_limited_and_keeps_sources_apart() -> None:
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


async def test_a_clogged_port() -> None:
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


async def test_closing_a_port() -> None:
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


async def test_addresses_are_given_once() -> None:
    network = SimulatedNetwork()
    network.port("a")
    with pytest.raises(ValueError, match="already"):
        network.port("a")


async def test_it_runs_in_a_nursery_of_the_caller_once_at_a_time() -> None:
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


async def test_what_the_caller_raises_leaves_unwrapped() -> None:
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
