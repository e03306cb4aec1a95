"""What may happen to the addresses of two ends in the middle of a transfer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from fsp_trio import Settings
from fsp_trio.testing import SimulatedNetwork

from .moves import CLIENT, RESPONSIVE, SERVER, Happening, World

ELSEWHERE = "192.0.2.77"
SERVER_ELSEWHERE = "198.51.100.77"
SECOND = "203.0.113.5"
INSIDE = "10.0.0.2"
OUTSIDE = "192.0.2.200"


async def client_moves(world: World) -> None:
    """The old address goes before the new one comes."""
    world.client_host.remove(CLIENT)
    await trio.sleep(0.3)
    world.client_host.add(ELSEWHERE)


async def client_moves_at_once(world: World) -> None:
    world.client_host.add(ELSEWHERE)
    world.client_host.remove(CLIENT)


async def server_moves(world: World) -> None:
    world.server_host.add(SERVER_ELSEWHERE)
    world.server_host.remove(SERVER)


async def both_move(world: World) -> None:
    await client_moves_at_once(world)
    await trio.sleep(2.0)
    await server_moves(world)
    await trio.sleep(2.0)
    world.client_host.add(CLIENT)
    world.client_host.remove(ELSEWHERE)


async def rebinds(world: World) -> None:
    """The NAT forgets its mappings."""
    for _ in range(2):
        world.network._nats[INSIDE].rebind()
        await trio.sleep(3.0)


def behind_nat(network: SimulatedNetwork) -> None:
    network.nat(OUTSIDE, INSIDE, lifetime=10.0)


async def interface_changes(world: World) -> None:
    """One goes down, the other one is there; then the other way round."""
    world.client_host.remove(CLIENT)
    await trio.sleep(2.0)
    world.client_host.add(CLIENT)
    await trio.sleep(1.0)
    world.client_host.remove(SECOND)


async def blackhole(world: World) -> None:
    """Nothing arrives for five seconds."""
    there = (SERVER, 18003)
    world.network.partition((CLIENT, 18003), there)
    await trio.sleep(5.0)
    world.network.heal()


async def uplink_dies(world: World) -> None:
    """The client still has its address, but nothing gets through there any more, for ever."""
    world.network.partition((CLIENT, 18003))


@dataclass(frozen=True)
class Scenario:
    """A happening, and what it takes."""

    happening: Happening
    gap: float
    """Seconds without an octet, at the most."""
    client: tuple[str, ...] = (CLIENT,)
    settings: Settings = field(default=RESPONSIVE)
    arrange: Callable[[SimulatedNetwork], None] = lambda network: None
    only: tuple[str, ...] = ("gao-07", "jason-00", "reference-2020")
    moves: tuple[float, float] = (0, math.inf)
    """How often the client goes over to another address of its own, at least and at the most."""


MULTIHOMED = Settings(timers=RESPONSIVE.timers, multihoming=True, advertise=True)

SCENARIOS = {
    "the client's address changes": Scenario(client_moves, 4.0, moves=(1, 1)),
    "the client's address changes at once": Scenario(client_moves_at_once, 4.0, moves=(1, 1)),
    "the client's NAT rebinds": Scenario(
        rebinds, 6.0, client=(INSIDE,), arrange=behind_nat, only=("gao-07", "jason-00"), moves=(0, 0)
    ),
    "both move, one after the other": Scenario(both_move, 4.0, moves=(2, 2)),
    "one interface goes down, another one is up": Scenario(
        interface_changes, 4.0, client=(CLIENT, SECOND), moves=(2, 2)
    ),
    "five seconds of blackhole": Scenario(blackhole, 14.0, moves=(0, 0)),
    "an uplink dies silently": Scenario(uplink_dies, 8.0, client=(CLIENT, SECOND), settings=MULTIHOMED, moves=(1, 1)),
}
