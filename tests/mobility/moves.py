"""A transfer both ways between two hosts of the simulated network, while something happens to their addresses."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import trio

from fsp_trio import FSPEndpoint, FSPSession, Settings, open_fsp_endpoint
from fsp_trio.core.timers import Timers
from fsp_trio.testing import Impairment, SimulatedHost, SimulatedNetwork

SERVICE: Final = 7
KEEPALIVE: Final = 2.0
RESPONSIVE: Final = Settings(timers=Timers.responsive(), nat_keepalive=KEEPALIVE)
DRAFT: Final = Settings(nat_keepalive=KEEPALIVE)
SERVER: Final = "198.51.100.1"
CLIENT: Final = "192.0.2.1"


@dataclass
class Direction:
    """What one end has read, and when."""

    octets: bytearray = field(default_factory=bytearray)
    times: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def longest_gap(self) -> float:
        """Seconds between two arrivals at the most."""
        return max((b - a for a, b in itertools.pairwise(self.times)), default=0.0)


@dataclass
class World:
    """Two hosts, their endpoints, and a session between them."""

    network: SimulatedNetwork
    client_host: SimulatedHost
    server_host: SimulatedHost
    client: FSPEndpoint
    server: FSPEndpoint
    near: FSPSession
    far: FSPSession
    down: Direction = field(default_factory=Direction)
    """From the server to the client."""
    up: Direction = field(default_factory=Direction)

    @property
    def longest_gap(self) -> float:
        return max(self.down.longest_gap, self.up.longest_gap)


Happening = Callable[[World], Awaitable[None]]
Arrangement = Callable[[SimulatedNetwork], None]


def virtual_microseconds() -> int:
    return int(trio.current_time() * 1e6)


async def send(session: FSPSession, data: bytes, lasting: float) -> None:
    """Send in pieces, evenly spread over a time."""
    piece = 4096
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    async with session.send_transaction() as transaction:
        for part in pieces:
            await transaction.send_all(part)
            await trio.sleep(lasting / len(pieces))


async def read(session: FSPSession, into: Direction) -> None:
    async for part in await session.receive_transaction():
        into.octets += part
        into.times.append(trio.current_time())
    into.ended = True


async def play(
    seed: int,
    happening: Happening,
    *,
    arrange: Arrangement = lambda network: None,
    settings: Settings = RESPONSIVE,
    server_settings: Settings | None = None,
    revision: str = "gao-07",
    client: tuple[str, ...] = (CLIENT,),
    server: tuple[str, ...] = (SERVER,),
    octets: int = 400_000,
    lasting: float = 12.0,
    keyed: bool = True,
    limit: float = 120.0,
) -> World:
    """Transfer both ways while something happens; both directions arrive whole, or AssertionError."""
    chance = random.Random(f"{seed} {revision}")
    link = Impairment(
        delay=chance.uniform(0.001, 0.08),
        jitter=chance.choice([0.0, 0.002, 0.01]),
        loss=chance.choice([0.0, 0.0, 0.01, 0.03]),
        reorder=chance.choice([0.0, 0.01]),
    )
    down, up = chance.randbytes(octets), chance.randbytes(octets // 4)
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(SimulatedNetwork(seed, link))
        client_host, server_host = network.host(*client), network.host(*server)
        arrange(network)
        ends = []
        for host, wanted in ((client_host, settings), (server_host, server_settings or settings)):
            ends.append(
                await stack.enter_async_context(
                    open_fsp_endpoint(
                        transport=host.port(),
                        settings=wanted,
                        revision=revision,
                        unix_time=virtual_microseconds,
                        random=random.Random(f"{seed} {host.addresses}").randbytes,
                    )
                )
            )
        listener = ends[1].listen(SERVICE)
        near = await ends[0].open_session_to((server[0], 18003), service=SERVICE)
        far = await listener.accept_session()
        if keyed:
            await agree(near, far, chance.randbytes(32))
        world = World(network, client_host, server_host, ends[0], ends[1], near, far)
        with trio.fail_after(limit):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, far, down, lasting)
                nursery.start_soon(send, near, up, lasting)
                nursery.start_soon(read, near, world.down)
                nursery.start_soon(read, far, world.up)
                await trio.sleep(chance.uniform(0.5, 4.0))
                await happening(world)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.aclose)
                nursery.start_soon(far.aclose)
        assert world.down.octets == down
        assert world.up.octets == up
        return world


async def agree(near: FSPSession, far: FSPSession, material: bytes) -> None:
    """Both ends install a key, with a transaction before it each way."""
    for sender, receiver in ((near, far), (far, near)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one_transaction, sender)
            await read(receiver, Direction())
    for session in (near, far):
        session.install_key(material, accept_repeated_nonces=True)


async def one_transaction(session: FSPSession) -> None:
    async with session.send_transaction() as transaction:
        await transaction.send_all(b"hello")
