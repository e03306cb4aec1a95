"""A million random, mutated and hostile datagrams at a live endpoint (`make campaign`)."""

from __future__ import annotations

import sys
import time

import pytest

from tests.robustness.arena import MAX_TOMBSTONES, open_arena
from tests.robustness.figures import MEGABYTE, report, resident

pytestmark = [pytest.mark.campaign, pytest.mark.realnet]

DATAGRAMS = 1_000_000
WARM_UP = 100_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("seed", [5, 6])
async def test_a_million_datagrams(seed: int) -> None:
    async with open_arena(seed) as arena:
        await arena.start_healthy()
        await arena.flood(WARM_UP)
        before, octets, start = resident(), arena.healthy_octets, time.perf_counter()
        await arena.flood(DATAGRAMS - WARM_UP - 20_000)
        sent = await arena.flood_through_socket(20_000)
        growth = resident() - before
        arena.check()
        drops = arena.drops()
        report(
            f"{arena.port.arrived:,} datagrams in {time.perf_counter() - start:.0f} s, {drops.total():,} dropped, "
            f"resident {growth / MEGABYTE:+.1f} MiB, {arena.replaced:,} victims replaced, "
            f"{arena.healthy_octets:,} octets of the healthy session there and back\n{drops}"
        )
        assert arena.from_socket() >= 0.99 * sent
        assert growth < 16 * MEGABYTE
        assert arena.healthy_octets > octets + 100_000
        assert len(arena.endpoint._tombstones) <= MAX_TOMBSTONES
        assert len(arena.endpoint.sessions) < 100
        assert len(drops) >= 25
