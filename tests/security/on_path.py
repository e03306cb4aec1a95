"""An attacker on the path without the key, between two sessions that talk."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from fsp_trio import FSPSession, Settings, Timers
from fsp_trio.ports import Address
from fsp_trio.testing import Impairment, SimulatedNetwork
from fsp_trio.testing.streams import open_pair_maker
from fsp_trio.wire.packets import Op
from tests.core.wiretap import CODEC

CLIENT, SERVER, ATTACKER = ("client", 1), ("server", 2), ("attacker", 3)
KEY = b"what the attacker does not have."
DELAY = 0.01
ROUNDS = 12
"""Transactions each way."""
SIZE = 12_000
PAUSE = 0.05
BOUND = 30.0
"""Seconds of virtual time in which all of them must be complete; without an attacker they take less than two."""
OCTETS = random.Random(7)
TEXTS = [OCTETS.randbytes(SIZE) for _ in range(ROUNDS)]


@dataclass(slots=True)
class Seen:
    """A datagram that has passed the attacker; the header is in clear (gao-07 4.6)."""

    source: Address
    destination: Address
    datagram: bytes

    @property
    def op(self) -> Op:
        return CODEC.ops[self.datagram[8]]

    @property
    def sn(self) -> int:
        return int.from_bytes(self.datagram[16:20], "big")


Alteration = Callable[[Seen], bytes | None]


@dataclass
class OnPath:
    """Sees everything, and may do with it what it likes."""

    network: SimulatedNetwork
    client: FSPSession
    server: FSPSession
    seen: list[Seen] = field(default_factory=list)
    passing: Alteration = field(default=lambda seen: seen.datagram)
    """What becomes of a datagram; None swallows it."""

    def watch(self) -> None:
        def tap(source: Address, destination: Address, datagram: bytes) -> bytes | None:
            if len(datagram) < 32 or datagram[8] not in CODEC.ops:
                return datagram
            seen = Seen(source, destination, datagram)
            self.seen.append(seen)
            return self.passing(seen)

        self.network.tap(tap)

    async def until_quiet(self) -> None:
        """The client has sent octets, and nobody sends anything just now."""
        while not any(seen.source == CLIENT and seen.op is Op.PURE_DATA for seen in self.seen):
            await trio.sleep(DELAY / 10)
        count = -1
        while count != len(self.seen):
            count = len(self.seen)
            await trio.sleep(DELAY * 2.5)

    def to_server(self, datagram: bytes, *, source: Address = CLIENT) -> None:
        self.network.inject(source, SERVER, datagram)


async def talk(session: FSPSession, *, begins: bool) -> None:
    """Transactions there and back; AssertionError if they are not what the other one has sent."""
    for text in TEXTS:
        if begins:
            async with session.send_transaction() as outgoing:
                await outgoing.send_all(text)
        incoming = await session.receive_transaction()
        got = b"".join([piece async for piece in incoming])
        assert got == text[::-1] if begins else got == text, "octets are not what was sent"
        if not begins:
            async with session.send_transaction() as outgoing:
                await outgoing.send_all(text[::-1])
        await trio.sleep(PAUSE)


async def play(attack: Callable[[OnPath], Awaitable[None]]) -> OnPath:
    """Two keyed sessions talk while somebody attacks them; raises if they come to harm."""
    settings = Settings(timers=Timers.responsive())
    async with SimulatedNetwork(1, Impairment(delay=DELAY)) as network:
        addresses: tuple[Address, Address] = (CLIENT, SERVER)
        async with open_pair_maker(network, settings=settings, addresses=addresses) as maker:
            client, server = await maker.sessions()
            await trio.sleep(1)
            for session in (client, server):
                session.install_key(KEY, mode="mac")
            await trio.sleep(1)
            attacker = OnPath(network, client, server)
            attacker.watch()
            began = trio.current_time()
            with trio.fail_after(BOUND):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(attack, attacker)
                    async with trio.open_nursery() as both:
                        both.start_soon(lambda: talk(client, begins=True))
                        both.start_soon(lambda: talk(server, begins=False))
                    nursery.cancel_scope.cancel()
            attacker.passing = lambda seen: seen.datagram
            assert trio.current_time() - began < BOUND
            assert server.remote_address == CLIENT, "moved"
            assert client.remote_address == SERVER, "moved"
            assert client.statistics().srtt < 1.0
            with trio.fail_after(BOUND):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client.aclose)
                    nursery.start_soon(server.aclose)
            assert client.closed_confirmed
            return attacker
