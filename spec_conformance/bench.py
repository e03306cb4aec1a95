"""What a case has at hand: peers, the target's profile, time, and a record of all that was sent."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

import trio

from spec_conformance.link import Exchange, Link
from spec_conformance.peer import Peer
from spec_conformance.profile import Profile
from spec_conformance.targets.base import Target
from spec_conformance.verdict import Unsupported
from spec_conformance.wire.dialect import WIRES, Wire
from spec_conformance.wire.packet import Packet
from spec_conformance.words import octets, words

MAXIMUM_EXCHANGES: Final = 200_000
"""Datagrams that a case may record; a target that floods the suite is cut off there."""


class Bench:
    """The surroundings of one run of one case."""

    def __init__(self, target: Target, *, seed: int = 0, timeout_scale: float = 1.0, service: str = "echo") -> None:
        self.target = target
        self.profile: Profile = target.profile
        self.wire: Wire = WIRES[self.profile.wire_name]
        self.random = random.Random(seed)  # noqa: S311 - a run must be repeatable
        self.peers: list[Peer] = []
        self.exchanges: list[Exchange] = []
        self.keys: list[str] = []
        """Lines of a key log (docs/how-to.md), one for each key that a peer has installed."""
        self._packets: dict[int, tuple[int, Packet]] = {}
        self.service_name = service
        self.service = self.profile.ultid(service)
        """ULTID of the service that the case talks to."""
        scale = timeout_scale * target.pace
        self.blink = 0.03 * scale
        """Seconds for packets that are under way already."""
        self.silence = 0.25 * scale
        """Seconds of silence that count as no answer."""
        self.patience = 2.0 * scale
        """Seconds in which an answer that needs no time-out must have come."""
        self.client_patience = max(self.patience, target.client_patience)
        """Seconds in which a client must have begun to connect."""
        self._started = trio.current_time()

    @property
    def elapsed(self) -> float:
        """Seconds since the case began."""
        return trio.current_time() - self._started

    @property
    def latency(self) -> float:
        """Seconds that a packet and its answer are under way beside what the case waits itself."""
        return self.target.latency

    def unix_microseconds(self) -> int:
        return self.target.unix_microseconds()

    async def peer(self, beside: Peer | None = None) -> Peer:
        """A new scripted end at an address of its own, or at another port of the host of one `beside` it."""
        return self._join(await self.target.open_link(beside.link if beside else None))

    async def waiting_peer(self) -> Peer:
        """A scripted end to which the target's client connects."""
        return self._join(await self.target.await_client())

    def _join(self, link: Link) -> Peer:
        peer = Peer(self, link, len(self.peers))
        self.peers.append(peer)
        return peer

    def note(self, peer: Peer, datagram: bytes, *, sent: bool, packet: Packet | None = None) -> None:
        """Record a datagram, and what it says if that is known already."""
        if len(self.exchanges) < MAXIMUM_EXCHANGES:
            said = octets(self.wire, datagram) if packet is None else words(self.wire, packet)
            self.exchanges.append(Exchange(self.elapsed, sent, datagram, peer.number, said))

    def read_as(self, packet: Packet) -> None:
        """The newest exchange is this packet, as its peer has read it."""
        self.exchanges[-1].words = words(self.wire, packet)
        self._packets[id(packet)] = (len(self.exchanges) - 1, packet)

    def octets_of(self, packet: Packet) -> bytes:
        """The datagram that a packet was read from."""
        place = self.place_of(packet)
        assert place is not None
        return self.exchanges[place].datagram

    def place_of(self, packet: Packet) -> int | None:
        """Index in `exchanges` of a packet that a peer has received."""
        place, _ = self._packets.get(id(packet), (None, packet))
        return place

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def need(self, *capabilities: str) -> None:
        """Ends the case as unsupported unless the profile has them all."""
        missing = [each for each in capabilities if each not in self.profile.capabilities]
        if missing:
            raise Unsupported(f"the target's profile has no {', '.join(missing)}")

    async def until(self, happened: Callable[[], bool], within: float, step: float = 0.01) -> bool:
        """Look again and again; whether it happened in time."""
        deadline = trio.current_time() + within
        while not happened():
            if trio.current_time() >= deadline:
                return False
            await trio.sleep(step)
        return True
