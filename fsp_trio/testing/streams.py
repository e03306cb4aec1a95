"""Connected pairs of sessions and streams, over the simulated network or any two ports."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import trio

from fsp_trio.core.settings import Settings
from fsp_trio.endpoint import FSPEndpoint, open_fsp_endpoint
from fsp_trio.listener import FSPListener
from fsp_trio.ports import Address, Port
from fsp_trio.session import FSPSession
from fsp_trio.streams import FSPStream
from fsp_trio.testing.network import SimulatedNetwork

__all__ = [
    "CLOGGABLE",
    "PairMaker",
    "clogged_stream_pair",
    "open_pair_maker",
    "session_pair",
    "stream_pair",
]

CLOGGABLE: Final = Settings(receive_window=4, send_buffer=4096)
"""Settings under which a few kilobytes that nobody reads clog a stream."""
CLOG_INTERVAL: Final = 0.02
"""Seconds (of trio's clock) after which a blocked sender looks whether it is the reader that it waits for."""
SERVICE: Final = 7


class PairMaker:
    """Makes connected pairs between two endpoints; see `open_pair_maker`.

    The methods without arguments are fit for trio.testing's `check_*_stream`.
    """

    def __init__(self, client: FSPEndpoint, server: FSPEndpoint, listener: FSPListener) -> None:
        self.client = client
        """The endpoint of the first of each pair, which opens the session."""
        self.server = server
        """The endpoint of the second of each pair."""
        self.listener = listener
        """The listener that accepts the second of each pair."""

    async def sessions(self) -> tuple[FSPSession, FSPSession]:
        """A pair of sessions, established at both ends."""
        first = await self.client.open_session_to(self.server.local_address, service=SERVICE)
        try:
            second = await self.listener.accept_session()
        except BaseException:
            first.reset()
            raise
        return first, second

    async def streams(self) -> tuple[FSPStream, FSPStream]:
        """A pair of streams."""
        first, second = await self.sessions()
        return first.stream(), second.stream()

    async def clogged_streams(self) -> tuple[FSPStream, FSPStream]:
        """A pair of streams on which sending blocks, both ways, until the other end receives.

        Needs endpoints with small buffers, such as `CLOGGABLE` gives.
        """
        first, second = await self.streams()
        for sender, receiver in ((first, second), (second, first)):
            while not _clogged(sender.session, receiver.session):
                with trio.move_on_after(CLOG_INTERVAL):
                    await sender.send_all(bytes(1024))
        return first, second


def _clogged(sender: FSPSession, receiver: FSPSession) -> bool:
    """The buffers of both are full and the sender knows it: only reading can change that."""
    sending, receiving = sender._connection, receiver._connection
    full = sending.buffered >= sending.settings.send_buffer and receiving.received.window == 0
    return full and sending.sent.una == receiving.received.expected


@asynccontextmanager
async def open_pair_maker(
    network: SimulatedNetwork | None = None,
    *,
    settings: Settings | None = None,
    addresses: tuple[Address, Address] = (("client", 1), ("server", 2)),
    ports: tuple[Port, Port] | None = None,
    revision: str = "gao-07",
    seed: int = 0,
) -> AsyncGenerator[PairMaker, None]:
    """Two endpoints, one of which listens, as an asynchronous context manager.

    `network`: where they are, at the two `addresses`; a perfect one of the function's own if None.  `ports`: two
    ports to use, and close, instead, real ones for example.  `settings` and `revision`: of both endpoints.
    Everything random in the two endpoints comes from `seed`, and the time in their packets from trio's clock, so
    that runs repeat exactly over a simulated network.  Exceptions of the block come out as themselves.
    """
    async with AsyncExitStack() as stack:
        if ports is None:
            if network is None:
                network = await stack.enter_async_context(SimulatedNetwork(seed))
            ports = network.port(addresses[0]), network.port(addresses[1])
        endpoints = [
            await stack.enter_async_context(
                open_fsp_endpoint(
                    transport=port,
                    settings=settings,
                    revision=revision,
                    unix_time=_virtual_microseconds,
                    random=random.Random(f"{seed} {number}").randbytes,  # noqa: S311 - repeatable on purpose
                )
            )
            for number, port in enumerate(ports)
        ]
        client, server = endpoints
        yield PairMaker(client, server, server.listen(SERVICE))


def _virtual_microseconds() -> int:
    return int(trio.current_time() * 1e6)


@asynccontextmanager
async def session_pair(
    network: SimulatedNetwork | None = None,
    *,
    settings: Settings | None = None,
    revision: str = "gao-07",
    seed: int = 0,
) -> AsyncGenerator[tuple[FSPSession, FSPSession], None]:
    """Two connected sessions, the opened one first, as an asynchronous context manager; see `open_pair_maker`.

    At its end they are reset unless they were closed.
    """
    async with open_pair_maker(network, settings=settings, revision=revision, seed=seed) as maker:
        yield await maker.sessions()


@asynccontextmanager
async def stream_pair(
    network: SimulatedNetwork | None = None,
    *,
    settings: Settings | None = None,
    revision: str = "gao-07",
    seed: int = 0,
) -> AsyncGenerator[tuple[FSPStream, FSPStream], None]:
    """Two connected streams; otherwise as `session_pair`."""
    async with open_pair_maker(network, settings=settings, revision=revision, seed=seed) as maker:
        yield await maker.streams()


@asynccontextmanager
async def clogged_stream_pair(
    network: SimulatedNetwork | None = None, *, revision: str = "gao-07", seed: int = 0
) -> AsyncGenerator[tuple[FSPStream, FSPStream], None]:
    """Two connected streams on which sending blocks, both ways, until the other end receives."""
    async with open_pair_maker(network, settings=CLOGGABLE, revision=revision, seed=seed) as maker:
        yield await maker.clogged_streams()
