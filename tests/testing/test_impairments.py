"""What the simulated network does to datagrams, as often as it was asked to."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import trio
import trio.testing

from fsp_trio.ports import Batch
from fsp_trio.testing import Impairment, SimulatedNetwork
from tests.testing.network_tools import everything, number, numbered

MANY = 4_000


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


@pytest.mark.parametrize("probability", [0.01, 0.3, 1.0])
async def test_loss(autojump_clock: trio.testing.MockClock, probability: float) -> None:
    network = await through(Impairment(loss=probability), numbered(MANY))
    lost = network.statistics.drops["loss"]
    assert within_chance(lost, MANY, probability)
    assert network.statistics.delivered == MANY - lost
    assert sum(record.fate == "loss" for record in network.record) == lost


async def test_duplication(autojump_clock: trio.testing.MockClock) -> None:
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


async def test_corruption(autojump_clock: trio.testing.MockClock) -> None:
    original = bytes(range(100))
    network = await through(Impairment(corrupt=0.2), [original] * MANY)
    assert within_chance(network.statistics.corrupted, MANY, 0.2)
    for record in network.record:
        flipped = int.from_bytes(record.datagram, "big") ^ int.from_bytes(original, "big")
        assert flipped.bit_count() in ({1, 2, 3} if record.corrupted else {0})
    assert {len(record.datagram) for record in network.record} == {100}


async def test_corruption_of_what_has_no_octets_to_corrupt(autojump_clock: trio.testing.MockClock) -> None:
    network = await through(Impairment(corrupt=1.0), [b"", b"", b"x"])
    assert [record.datagram for record in network.record][:2] == [b"", b""]
    assert network.statistics.corrupted == 1


async def test_corrupted_preliminary_datagrams_fail_their_checksum(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with SimulatedNetwork(1, Impairment(corrupt=1.0)) as network:
        a, b = network.port("a"), network.port("b")
        a.send("b", numbered(10), preliminary=True)
        a.send("b", numbered(5))
        assert len(await everything(b)) == 5
        assert network.statistics.drops == {"checksum": 10}


async def test_reordering(autojump_clock: trio.testing.MockClock) -> None:
    network = await through(Impairment(reorder=0.1, reorder_span=0.1, delay=0.02), numbered(MANY))
    arrivals = sorted(network.record, key=lambda record: record.arrived_at or 0)
    overtaken = [
        earlier for earlier, later in zip(arrivals[1:], arrivals, strict=False) if earlier.sent_at < later.sent_at
    ]
    # One in ten is held back, and of these nine in ten for longer than the next one takes to come.
    assert within_chance(network.statistics.reordered, MANY, 0.09)
    assert overtaken
    assert all((record.arrived_at or 0) - record.sent_at <= 0.12 + 1e-9 for record in network.record)
    assert network.statistics.delivered == MANY


async def test_jitter_keeps_the_order(autojump_clock: trio.testing.MockClock) -> None:
    network = await through(Impairment(delay=0.1, jitter=0.5), numbered(MANY))
    assert network.statistics.reordered == 0
    delays = [(record.arrived_at or 0) - record.sent_at for record in network.record]
    assert 0.1 <= min(delays) < max(delays) <= 0.6 + 1e-9
    assert len(set(delays)) > 100


async def test_bandwidth_and_queue(autojump_clock: trio.testing.MockClock) -> None:
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


async def test_bandwidth_without_a_limit_of_the_queue(autojump_clock: trio.testing.MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(bandwidth=1_000)) as network:
        a, b = network.port("a"), network.port("b")
        start = trio.current_time()
        a.send("b", numbered(100, 100))
        assert len(await everything(b)) == 100
        assert network.record[-1].arrived_at == pytest.approx(start + 10)


async def test_mtu(autojump_clock: trio.testing.MockClock) -> None:
    network = await through(Impairment(mtu=100), [bytes(100), bytes(101)])
    assert network.statistics.drops == {"mtu": 1}
    assert [record.fate for record in network.record] == ["delivered", "mtu"]


async def test_marks_of_congestion_by_chance(autojump_clock: trio.testing.MockClock) -> None:
    network = await through(Impairment(congestion=0.2), numbered(MANY))
    assert within_chance(network.statistics.congested, MANY, 0.2)


async def test_marks_of_congestion_by_the_queue(autojump_clock: trio.testing.MockClock) -> None:
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
