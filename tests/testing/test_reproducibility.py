"""The simulated network repeats itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import trio
import trio.testing

from fsp_trio.testing import Impairment, SimulatedNetwork

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
                round(record.sent_at - start, 6),
                round((record.arrived_at or start) - start, 6),
            )
            for record in network.record
        )
        return [*seen, *times]


async def test_the_same_seed_gives_the_same_history(autojump_clock: trio.testing.MockClock) -> None:
    assert await history(5) == await history(5)
    assert await history(5) != await history(6)


async def test_the_order_of_the_tasks_does_not_matter(autojump_clock: trio.testing.MockClock) -> None:
    assert await history(5) == await history(5, lambda names: names[::-1])


def test_the_hash_of_strings_does_not_matter() -> None:
    program = (
        "import hashlib, trio, trio.testing, tests.testing.test_reproducibility as module\n"
        "clock = trio.testing.MockClock(autojump_threshold=0)\n"
        "found = trio.run(module.history, 5, clock=clock)\n"
        "print(hashlib.sha256(repr(found).encode()).hexdigest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


async def test_what_others_send_does_not_change_the_fate_of_a_datagram(
    autojump_clock: trio.testing.MockClock,
) -> None:
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
