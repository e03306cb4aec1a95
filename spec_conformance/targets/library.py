"""The library as a target in the same process, over its simulated network and on the virtual clock.

The only module of the suite that knows fsp_trio.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from fsp_trio import FSPEndpoint, FSPError, FSPListener, FSPSession, Settings, Timers, open_fsp_endpoint
from fsp_trio.testing import Impairment, SimulatedNetwork, SimulatedPort
from spec_conformance.link import Link
from spec_conformance.profile import Profile

ADDRESS: Final = ("203.0.113.1", 18003)
SERVICES: Final = {"echo": 18003, "keyed": 18004, "closing": 18005, "mac": 18006}
COMPRESSED: Final = {"compressed": 18007}
MESSAGES: Final = {"messages": 18008}
KEY: Final = bytes(range(32))
LATENCY: Final = 0.005
EPOCH: Final = 1_800_000_000_000_000
"""Microseconds since 1970 when the virtual clock begins."""
CLIENT_GREETING: Final = b"a client's greeting"


def profile(revision: str, *, bits: int = 128, wire: str = "") -> Profile:
    """What the library offers here."""
    services, features = dict(SERVICES), {"aead", "mac", "keyed", "closing", "ecn"}
    if revision != "jason-00":
        services |= COMPRESSED
        features.add("compression")
        if not wire:
            services |= MESSAGES
            features.add("minimal-delay")
    return Profile(
        name="fsp-trio",
        revision=revision,
        wire=wire,
        answers_to=ADDRESS[1] if wire else None,
        services=services,
        key=KEY,
        key_bits=bits,
        capabilities=frozenset(features),
    )


class SimulatedLink:
    """A port of the simulated network."""

    def __init__(self, port: SimulatedPort, address: tuple[str, int], remote: tuple[str, int]) -> None:
        self._port = port
        self._remote = remote
        self._waiting: list[bytes] = []
        self.local_address = address

    async def send(self, datagram: bytes) -> None:
        self._port.send(self._remote, [datagram])
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        while not self._waiting:
            await self._port.wait_readable()
            for batch in self._port.receive():
                if batch.source == self._remote:
                    self._waiting += batch.datagrams
        return self._waiting.pop(0)

    def settle(self) -> None:
        """Only the library is at the other end."""

    def close(self) -> None:
        self._port.close()


class Services:
    """What an application behind a target does: the three services, and the client."""

    def __init__(self, endpoint: FSPEndpoint, profile: Profile) -> None:
        self.endpoint = endpoint
        self.profile = profile

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Offer the services until cancelled; started when somebody can connect."""
        async with trio.open_nursery() as nursery:
            for name, service in self.profile.services.items():
                nursery.start_soon(self._serve, self.endpoint.listen(service), name)
            task_status.started()

    async def _serve(self, listener: FSPListener, name: str) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self._answer, await listener.accept_session(), name)

    async def _answer(self, session: FSPSession, service: str) -> None:
        try:
            async with session:
                async for received in session:
                    answer = session.send_transaction(compressed=service == "compressed")
                    while octets := await received.receive_some():
                        await answer.send_all(octets)
                    answer.end()
                    if service in ("keyed", "mac") and session.protection == "crc64":
                        self._install(session, service)
                    if service == "closing":
                        break
                if service == "messages" and not session.peer_released:
                    sender = session.minimal_delay_sender()
                    async for message in session.minimal_delay_receiver():
                        sender.send_nowait(message)
        except (FSPError, trio.BrokenResourceError):
            pass  # what a case does to a session is not this application's affair

    def _install(self, session: FSPSession, service: str) -> None:
        """The profile's key; for AEAD unless it is said otherwise, as the library does it by itself."""
        mode: dict[str, Any] = {"mode": "mac"} if service == "mac" else {}
        profile = self.profile
        session.install_key(
            key_of(profile), key_bits=profile.key_bits, accept_repeated_nonces=bool(profile.wire), **mode
        )

    async def be_client(self, address: tuple[str, int]) -> None:
        """Send a greeting, wait for its echo, close."""
        try:
            session = await self.endpoint.open_session_to(address, service=SERVICES["echo"])
            async with session:
                async with session.send_transaction() as transaction:
                    await transaction.send_all(CLIENT_GREETING)
                async for received in session:
                    while await received.receive_some():
                        pass
                    break
        except (FSPError, trio.BrokenResourceError):
            pass


class LibraryTarget:
    """An endpoint of the library in this process, with the services, or with clients."""

    pace = 1.0
    virtual = True
    latency = 2 * LATENCY
    client_patience = 1.0

    def __init__(self, network: SimulatedNetwork, services: Services, role: str, nursery: trio.Nursery) -> None:
        self.network = network
        self.endpoint = services.endpoint
        self.profile = services.profile
        self.role = role
        self._services = services
        self._nursery = nursery
        self._links = 0

    async def open_link(self, beside: Link | None = None) -> Link:
        return self._new_link()

    async def await_client(self) -> Link:
        link = self._new_link()
        self._nursery.start_soon(self._services.be_client, link.local_address)
        return link

    def _new_link(self) -> SimulatedLink:
        self._links += 1
        address = ("198.51.100.1", 40_000 + self._links)
        if self.profile.answers_to is not None:
            address = (f"198.51.100.{self._links}", self.profile.answers_to)
        return SimulatedLink(self.network.port(address), address, ADDRESS)

    def unix_microseconds(self) -> int:
        return unix_microseconds()


def key_of(profile: Profile) -> bytes:
    """The key as this revision wants it: jason-00 takes exactly as much as it uses."""
    return profile.key[: profile.key_bits // 8] if profile.revision == "jason-00" else profile.key


def unix_microseconds() -> int:
    """Time for packets, from the virtual clock."""
    return EPOCH + int(trio.current_time() * 1e6)


@asynccontextmanager
async def library_target(profile: Profile, *, role: str = "responder", seed: int = 0) -> AsyncGenerator[LibraryTarget]:
    """The library for one case; all of it ends with the block.  Within `trio.run` on a MockClock."""
    network = SimulatedNetwork(seed, Impairment(delay=LATENCY))
    randomness = random.Random(seed)  # noqa: S311 - a run must be repeatable
    async with (
        network,
        open_fsp_endpoint(
            transport=network.port(ADDRESS),
            revision=profile.wire_name,
            linger=0.0,
            unix_time=unix_microseconds,
            random=randomness.randbytes,
        ) as endpoint,
        trio.open_nursery() as nursery,
    ):
        services = Services(endpoint, profile)
        await nursery.start(services.serve)
        yield LibraryTarget(network, services, role, nursery)
        nursery.cancel_scope.cancel()


async def serve_over_udp(host: str, port: int, profile: Profile, *, responsive: bool = False) -> None:
    """Offer the services at a UDP port until cancelled."""
    settings = Settings(timers=Timers.responsive()) if responsive else None
    async with open_fsp_endpoint(host, port, revision=profile.revision, settings=settings, linger=0.0) as endpoint:
        await Services(endpoint, profile).serve()


async def connect_over_udp(remote: tuple[str, int], profile: Profile) -> None:
    """Connect again and again, until cancelled."""
    while True:
        async with open_fsp_endpoint(port=0, revision=profile.revision, linger=0.0) as endpoint:
            await Services(endpoint, profile).be_client(remote)
        await trio.sleep(0.02)
