"""A pair of connections whose ends have addresses: several each, that come and go, and paths that die."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from fsp_trio.core.connection import Connection
from fsp_trio.core.paths import Route
from fsp_trio.core.settings import Settings
from fsp_trio.wire.codec import ULTID_PAIR
from fsp_trio.wire.packets import Op, SinkParameter

from .pair import Clock, Side
from .talk import KEY, established
from .wiretap import CODEC

C1, C2, C3 = ("192.0.2.1", 18003), ("192.0.2.2", 18003), ("192.0.2.3", 18003)
S1, S2 = ("198.51.100.1", 18003), ("198.51.100.2", 18003)
DELAY = 0.01
ROUND_TRIP = 2 * DELAY
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sent:
    """A datagram, and how it travelled."""

    sender: Side
    source: object
    destination: object
    datagram: bytes
    at: float

    @property
    def op(self) -> Op:
        return CODEC.ops[self.datagram[ULTID_PAIR]]

    @property
    def serial(self) -> int:
        return CODEC.serial(self.datagram)


class Roving:
    """Both ends, after the handshake, each at the first of its addresses.

    With `tells` an end's port tells at which address something came in, as siblings do.
    """

    def __init__(
        self,
        client: tuple[Place, ...] = (C1,),
        server: tuple[Place, ...] = (S1,),
        *,
        settings: Settings | None = None,
        key: bytes = KEY,
        tells: bool = True,
        multihoming: bool = False,
    ) -> None:
        self.pair = established(settings, key=key)
        self.clock: Clock = self.pair.clock
        self.up = {Side.CLIENT: [*client], Side.SERVER: [*server]}
        self.tells = tells
        self.dead: set[tuple[object, object]] = set()
        """Source and destination between which nothing arrives."""
        self.record: list[Sent] = []
        self._under_way: list[tuple[float, int, Sent]] = []
        for side, peer in ((Side.CLIENT, server[0]), (Side.SERVER, client[0])):
            local = self.up[side][0] if tells else None
            self.end(side)._take_path(peer, local, self.now)
            if multihoming:
                self.end(side).know_addresses(self.up[side], ())

    @property
    def client(self) -> Connection:
        return self.pair.client

    @property
    def server(self) -> Connection:
        return self.pair.server

    @property
    def now(self) -> float:
        return self.clock.now

    def end(self, side: Side) -> Connection:
        return self.pair.end(side)

    def move(self, side: Side, place: Place) -> None:
        """The end has only this address from now on, and knows it."""
        self.up[side] = [place]
        self.end(side).moved(place if self.tells else None, self.now)
        self.flush()

    def kill(self, *routes: tuple[object, object]) -> None:
        """Nothing arrives between these addresses any more, either way."""
        for source, destination in routes:
            self.dead |= {(source, destination), (destination, source)}

    def flush(self) -> None:
        """Take what both ends want to send now."""
        for side in Side:
            end = self.end(side)
            for route, notice in end.notices_to_send(self.now):
                self._launch(side, route, notice)
            while batch := end.datagrams_to_send(self.now):
                for datagram in batch:
                    self._launch(side, end.route, datagram)

    def _launch(self, side: Side, route: Route, datagram: bytes) -> None:
        source = route.local or (self.up[side][0] if self.up[side] else None)
        sent = Sent(side, source, route.remote, datagram, self.now)
        self.record.append(sent)
        if source in self.up[side]:
            heapq.heappush(self._under_way, (self.now + DELAY, len(self.record), sent))

    def deliver(self, sent: Sent, *, source: object = None) -> None:
        """Let it arrive now, perhaps with another source."""
        receiver = sent.sender.other
        if sent.destination in self.up[receiver] and (sent.source, sent.destination) not in self.dead:
            at = sent.destination if self.tells else None
            self.end(receiver).receive([sent.datagram], source or sent.source, self.now, False, at)

    def step(self, limit: float) -> bool:
        self.flush()
        moments = [self._under_way[0][0]] if self._under_way else []
        for end in (self.client, self.server):
            moments += [end.next_deadline(), end.next_heartbeat()]
        moment = max(self.now, min(moments, default=math.inf))
        if moment > limit:
            return False
        self.clock.now = moment
        while self._under_way and self._under_way[0][0] <= moment:
            self.deliver(heapq.heappop(self._under_way)[2])
        for end in (self.client, self.server):
            if end.next_deadline() <= moment:
                end.handle_timer(moment)
            if end.next_heartbeat() <= moment:
                end.handle_heartbeat(moment)
        self.flush()
        return True

    def run_for(self, seconds: float) -> None:
        limit = self.now + seconds
        while self.step(limit):
            pass
        self.clock.now = limit

    def run_until(self, happened: Callable[[], bool], seconds: float = 60.0) -> None:
        limit = self.now + seconds
        while not happened() and self.step(limit):
            pass
        assert happened(), f"not within {seconds} s"

    def notices(self, side: Side, since: int = 0) -> list[Sent]:
        """What a side has sent with a Sink Parameter, though its peer's transaction is complete."""
        return [each for each in self.record[since:] if each.sender is side and each.op is Op.KEEP_ALIVE]

    def sink_of(self, sent: Sent) -> SinkParameter:
        """The Sink Parameter of a notice."""
        body = self.end(sent.sender.other).keyring.receiving.protection(sequence_number(sent)).open(sent.datagram, True)
        assert body is not None
        (sink,) = (each for each in CODEC.extensions(body) if isinstance(each, SinkParameter))
        return sink


def sequence_number(sent: Sent) -> int:
    return CODEC.unpack_head(sent.datagram, ULTID_PAIR)[4]
