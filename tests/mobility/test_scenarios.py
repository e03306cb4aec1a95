"""Transfers that go on while addresses change: no octet is lost, and no end waits for longer than it must."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from .happenings import SCENARIOS
from .moves import play

CASES = [(name, revision) for name, scenario in SCENARIOS.items() for revision in scenario.only]
SEEDS = 100
SLOWER = {"jason-00": 2.0}
"""A packet is repeated after four round trips there, those of the queue included (jason-00 7.4)."""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "revision"), CASES)
async def test_a_transfer_goes_on(name: str, revision: str, seed: int, autojump_clock: MockClock) -> None:
    await one(name, revision, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(3, SEEDS))
@pytest.mark.parametrize(("name", "revision"), CASES)
async def test_a_transfer_goes_on_with_many_seeds(
    name: str, revision: str, seed: int, autojump_clock: MockClock
) -> None:
    await one(name, revision, seed)


async def one(name: str, revision: str, seed: int) -> None:
    scenario = SCENARIOS[name]
    world = await play(
        seed,
        scenario.happening,
        arrange=scenario.arrange,
        settings=scenario.settings,
        revision=revision,
        client=scenario.client,
        keyed=seed % 4 != 0,
    )
    assert world.longest_gap <= scenario.gap * SLOWER.get(revision, 1.0)
    least, most = scenario.moves
    assert least <= world.near.statistics().packets.moves <= most
