"""A live endpoint under malformed and hostile input: nothing is raised, nothing grows, everything is counted."""

from __future__ import annotations

import pytest

from fsp_trio.testing.nonces import NonceLedger

from .arena import MAX_TOMBSTONES, open_arena
from .figures import MEGABYTE, report, traced, tracing

pytestmark = pytest.mark.realnet


@pytest.mark.parametrize("seed", [1, 2])
async def test_twenty_thousand_datagrams(seed: int) -> None:
    with tracing():
        async with open_arena(seed) as arena:
            await arena.start_healthy()
            await arena.flood(10_000)
            before, octets = traced(), arena.healthy_octets
            await arena.flood(10_000)
            growth = traced() - before
            arena.check()
            report(f"memory {growth:+,} octets; {arena.replaced} victims replaced; {arena.drops()}")
            # sessions in a handful of situations come and go, each with what it has buffered
            assert growth < 2 * MEGABYTE
            assert arena.healthy_octets > octets
            assert len(arena.endpoint._tombstones) <= MAX_TOMBSTONES
            assert len(arena.endpoint.sessions) < 100
            assert len(arena.drops()) >= 20, "many kinds"


async def test_a_hostile_peer_cannot_make_a_nonce_repeat() -> None:
    """N1 to N5: whatever an authenticated peer acknowledges, repeats and claims."""
    with NonceLedger() as ledger:
        async with open_arena(3) as arena:
            await arena.start_healthy()
            await arena.flood(60_000)
        assert ledger.sealed > 300
        assert ledger.forgotten == 0


async def test_through_the_socket() -> None:
    async with open_arena(4) as arena:
        await arena.start_healthy()
        await arena.flood(2_000)
        sent = await arena.flood_through_socket(3_000)
        arena.check()
        lost = sent - arena.from_socket()
        # a peer of whoever had the port before may have something to say, too
        assert -3 <= lost <= sent // 100, "by the system"
