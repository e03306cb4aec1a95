"""Two endpoints on hosts of the simulated network, and sessions between them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from fsp_trio import FSPEndpoint, FSPListener, FSPSession, Settings, open_fsp_endpoint
from fsp_trio.testing import Impairment, SimulatedHost, SimulatedNetwork

NUMBER = 18003
CLIENT, ELSEWHERE = "192.0.2.1", "192.0.2.77"
SERVER, SERVER_ELSEWHERE = "198.51.100.1", "198.51.100.77"
SECOND = "203.0.113.5"
SERVICE = 7
DELAY = 0.01


@dataclass
class Hosts:
    network: SimulatedNetwork
    client_host: SimulatedHost
    server_host: SimulatedHost
    client: FSPEndpoint
    server: FSPEndpoint
    listener: FSPListener

    async def sessions(self, server: str = SERVER) -> tuple[FSPSession, FSPSession]:
        near = await self.client.open_session_to((server, NUMBER), service=SERVICE)
        return near, await self.listener.accept_session()


@asynccontextmanager
async def hosts(
    client: tuple[str, ...] = (CLIENT,),
    server: tuple[str, ...] = (SERVER,),
    *,
    settings: Settings | None = None,
    server_settings: Settings | None = None,
    seed: int = 0,
) -> AsyncIterator[Hosts]:
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(SimulatedNetwork(seed, Impairment(delay=DELAY)))
        both = network.host(*client), network.host(*server)
        ends = [
            await stack.enter_async_context(
                open_fsp_endpoint(
                    transport=host.port(),
                    settings=wanted,
                    unix_time=lambda: int(trio.current_time() * 1e6),
                    random=random.Random(f"{seed} {host.addresses}").randbytes,
                )
            )
            for host, wanted in zip(both, (settings, server_settings or settings), strict=True)
        ]
        yield Hosts(network, *both, ends[0], ends[1], ends[1].listen(SERVICE))


async def say(sender: FSPSession, receiver: FSPSession, text: bytes = b"hello") -> None:
    """One transaction, read whole and acknowledged."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(give, sender, text)
        assert b"".join([part async for part in await receiver.receive_transaction()]) == text


async def give(sender: FSPSession, text: bytes) -> None:
    async with sender.send_transaction() as transaction:
        await transaction.send_all(text)
