"""Trio's own checks of streams, over the simulated network and over real UDP."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from fsp_trio.ports import open_udp_port
from fsp_trio.testing import CLOGGABLE, Impairment, SimulatedNetwork, open_pair_maker

CHECKS = [
    trio.testing.check_one_way_stream,
    trio.testing.check_two_way_stream,
    trio.testing.check_half_closeable_stream,
]
NETWORKS = {
    "perfect": Impairment(),
    "distant": Impairment(delay=0.05, jitter=0.01),
    "lossy": Impairment(loss=0.05, duplicate=0.05, delay=0.01, jitter=0.02),
}


@pytest.mark.parametrize("impairment", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("check", CHECKS)
async def test_over_the_simulated_network(
    check: object, impairment: Impairment, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        SimulatedNetwork(1, impairment) as network,
        open_pair_maker(network, addresses=("a", "b")) as plain,
        open_pair_maker(network, addresses=("c", "d"), settings=CLOGGABLE) as clogged,
    ):
        await check(plain.streams, clogged.clogged_streams)  # type: ignore[operator]


@pytest.mark.realnet
@pytest.mark.parametrize("check", CHECKS)
async def test_over_real_udp(check: object) -> None:
    ports = [await open_udp_port("127.0.0.1", 0) for _ in range(4)]
    async with (
        open_pair_maker(ports=(ports[0], ports[1])) as plain,
        open_pair_maker(ports=(ports[2], ports[3]), settings=CLOGGABLE) as clogged,
    ):
        await check(plain.streams, clogged.clogged_streams)  # type: ignore[operator]
