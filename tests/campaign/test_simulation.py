"""Many seeds of bad networks (N5): all data intact and in order, both ends at rest in the right state.

`FSP_TRIO_SEEDS=4711` or `FSP_TRIO_SEEDS=100-200` runs just these; so does `pytest -k seed_4711` for the ordinary ones.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import pytest

from fsp_trio.revisions import REVISIONS, get

from .simulation import Simulation, run_seed

ORDINARY = 40
CAMPAIGN = 1_000
BLOCK = 50


def seeds() -> Iterable[int]:
    wanted = os.environ.get("FSP_TRIO_SEEDS", f"0-{ORDINARY}")
    first, _, end = wanted.partition("-")
    return range(int(first), int(end or int(first) + 1))


@pytest.mark.parametrize("seed", seeds(), ids=lambda seed: f"seed_{seed}")
@pytest.mark.parametrize("revision", REVISIONS)
def test_seed(seed: int, revision: str) -> None:
    run_seed(seed, lambda number: Simulation(number, get(revision)))


def test_a_seed_repeats_itself() -> None:
    first, second = run_seed(3), run_seed(3)
    assert [str(record) for record in first.log] == [str(record) for record in second.log]
    assert first.log


@pytest.mark.campaign
@pytest.mark.parametrize("block", range(0, CAMPAIGN, BLOCK))
@pytest.mark.parametrize("revision", REVISIONS)
def test_campaign(block: int, revision: str) -> None:
    def make(seed: int) -> Simulation:
        return Simulation(seed, get(revision))

    outcomes = Counter(run_seed(seed, make).outcome for seed in range(block, block + BLOCK))
    # jason-00 has round trips with the peer's waiting in them, hence fewer repeats of RELEASE in the minute that it has
    assert outcomes["confirmed"] >= BLOCK * (0.8 if revision == "jason-00" else 0.9), outcomes
