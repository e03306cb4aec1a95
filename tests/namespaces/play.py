"""One run: fresh namespaces, a transfer both ways under a fresh key, and something that happens in the middle."""

from __future__ import annotations

import random
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import trio

from .party import DONE, KEYED, READY, TRANSFERRED, Plan
from .programs import program
from .scenarios import Scenario, Stage
from .world import CLIENT, SERVER, UDP_PORT, World, world

LIMIT: Final = 90.0
"""Seconds for one run."""
OCTETS_A_SECOND: Final = 600_000
"""To the client; half as much to the server."""


@dataclass(frozen=True)
class Outcome:
    """Of one run."""

    octets: int
    """Read at both ends."""
    lost: int
    gap: float
    """The longest time in which one end got no octet."""
    took: float
    """Seconds from the key to the last octet."""
    drawn: float
    """The share of the octets that an attacker has drawn to other addresses."""
    ends: tuple[dict[str, Any], dict[str, Any]]
    """What the client and the server say of themselves."""


def plans(scenario: Scenario, revision: str, run: int, chance: random.Random) -> tuple[Plan, Plan]:
    """The client's and the server's."""
    server = Plan(
        secret=chance.randbytes(32).hex(),
        seed=f"down {run}",
        octets=int(OCTETS_A_SECOND * scenario.lasting),
        lasting=scenario.lasting,
        revision=revision,
        multihoming=scenario.multihoming,
    )
    return replace(server, seed=f"up {run}", octets=server.octets // 2, remote=SERVER), server


async def play(scenario: Scenario, revision: str = "gao-07", run: int = 0, *, look: float = 1.0) -> Outcome:
    """AssertionError if anything is lost, late or not as it should be; RuntimeError if a program fails."""
    with world(uplinks=scenario.uplinks, forwarding=not scenario.middle) as made:
        scenario.arrange(made)
        return await play_in(made, scenario, revision, run, look)


async def play_in(made: World, scenario: Scenario, revision: str, run: int, look: float) -> Outcome:
    chance = random.Random(f"{run} {revision}")
    plan_of_client, plan_of_server = plans(scenario, revision, run, chance)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(program(made.server, "party", asdict(plan_of_server)))
        with trio.fail_after(LIMIT):
            middle = None
            if scenario.middle:
                orders = {"revision": revision, "seed": f"{run}"}
                middle = await stack.enter_async_context(program(made.router, "attacker", orders))
                await middle.heard(READY)
            await server.heard(READY)
            client = await stack.enter_async_context(program(made.client, "party", asdict(plan_of_client)))
            keyed = [await end.heard(KEYED) for end in (client, server)]
            stage = Stage(made, client, server, middle, pauses=[chance.uniform(0.3, 1.0) for _ in range(2)], look=look)
            await trio.sleep(chance.uniform(0.2, 0.7))
            began = time.monotonic()
            await scenario.happening(stage)
            ended = time.monotonic()
            transferred = [await end.heard(TRANSFERRED) for end in (client, server)]
            done = [await end.heard(DONE) for end in (client, server)]
    for said in keyed:
        assert said["protection"] == "aead", "there is no key"
    lost = 0
    for reader, writer in (transferred, transferred[::-1]):
        got, sent = reader["read"], writer["sent"]
        lost += sent["octets"] - got["octets"]
        assert got["digest"] == sent["digest"], f"{got['octets']} octets of {sent['octets']} arrived, or others"
        assert got["first"] < began, "it happened before the transfer"
        assert got["last"] > ended, f"it happened {ended - got['last']:.1f} s after the transfer"
    gap = max(end["read"]["gap"] for end in transferred)
    assert gap <= scenario.gap, f"nothing arrived for {gap:.1f} s"
    found = tuple(end["packets"]["moves"] for end in done)
    assert found == scenario.moves, f"moves: {found}"
    follows = tuple(end["packets"]["address_changes"] for end in done)
    assert all(a >= b for a, b in zip(follows, scenario.follows, strict=True)), f"address changes: {follows}"
    if scenario.at_home:
        for end, peer in zip(transferred, ((SERVER, UDP_PORT), (CLIENT, UDP_PORT)), strict=True):
            looks = end["whereabouts"]
            share = looks.get(str(peer), 0) / sum(looks.values())
            assert share >= scenario.at_home, f"the peer is at {peer}, and was held to be at {looks}"
    took = max(end["read"]["last"] for end in transferred) - min(said["at"] for said in keyed)
    assert took <= scenario.lasting * scenario.takes, f"it took {took:.1f} s"
    return Outcome(
        octets=sum(end["read"]["octets"] for end in transferred),
        lost=lost,
        gap=gap,
        took=took,
        drawn=stage.drawn,
        ends=(done[0], done[1]),
    )
