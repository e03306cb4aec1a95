"""Two connections on a table: every datagram takes the same time, unless it is taken away."""

from __future__ import annotations

import enum
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.responder import ConnectionRequest, Responder
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07, Revision

LISTENER = bytes.fromhex("00004653")
CLIENT_ULTID = bytes.fromhex("c11e4701")
EPOCH = 1_700_000_000_000_000
"""What the wall clock says in microseconds when the clock is at 0."""
STILLSTAND = 10_000
"""Steps without the clock moving after which two connections are held to be in a loop."""


class Side(enum.Enum):
    CLIENT = "client"
    SERVER = "server"

    @property
    def other(self) -> Side:
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


@dataclass(slots=True)
class Clock:
    now: float = 1000.0

    @property
    def unix_microseconds(self) -> int:
        return EPOCH + round(self.now * 1e6)


@dataclass(frozen=True, slots=True)
class Flight:
    """A datagram that one side has sent."""

    sender: Side
    datagram: bytes
    sent_at: float


Predicate: TypeAlias = Callable[[Flight], bool]


class Pair:
    """A client, a server as soon as it has accepted, and the way between them.

    `server` may be None: then a Responder answers for it, and accepts.
    """

    def __init__(
        self,
        client: Connection,
        server: Connection | None,
        clock: Clock,
        *,
        delay: float = 0.01,
        responder: Responder | None = None,
        accept: Callable[[ConnectionRequest, float], Connection] | None = None,
    ) -> None:
        self.client = client
        self._server = server
        self.clock = clock
        self.delay = delay
        self.responder = responder
        self._accept = accept
        self.record: list[Flight] = []
        """Everything that was sent, what was dropped on the way included."""
        self._dropped: list[Predicate] = []
        self._under_way: list[tuple[float, int, Flight]] = []
        self._count = 0

    @classmethod
    def connecting(
        cls,
        *,
        settings: Settings | None = None,
        server_settings: Settings | None = None,
        welcome: bytes = b"",
        delay: float = 0.01,
        revision: Revision = GAO_07,
        seed: int = 1,
    ) -> Pair:
        """A client that has just begun to connect; the same seed gives the same octets."""
        settings = settings or Settings()
        server_settings = server_settings or settings
        clock = Clock()
        octets = random.Random(seed).randbytes
        client = Connection.initiate(
            revision,
            settings,
            local_ultid=CLIENT_ULTID,
            listener_ultid=LISTENER,
            remote=Side.SERVER,
            now=clock.now,
            unix_microseconds=clock.unix_microseconds,
            congestion=CongestionManager(),
            random=octets,
        )

        def accept(request: ConnectionRequest, now: float) -> Connection:
            return Connection.accept(
                revision,
                server_settings,
                request,
                welcome=welcome,
                now=now,
                congestion=CongestionManager(),
                random=octets,
            )

        responder = Responder(revision, server_settings, LISTENER, random=octets)
        return cls(client, None, clock, delay=delay, responder=responder, accept=accept)

    @property
    def server(self) -> Connection:
        if self._server is None:
            raise AssertionError("the server has not accepted yet")
        return self._server

    @property
    def has_server(self) -> bool:
        return self._server is not None

    def end(self, side: Side) -> Connection:
        return self.client if side is Side.CLIENT else self.server

    def drop(self, predicate: Predicate) -> Callable[[], None]:
        """Lose what the predicate holds for, from now until the callable that is returned is called."""
        self._dropped.append(predicate)
        return lambda: self._dropped.remove(predicate)

    def drop_from(self, side: Side) -> Callable[[], None]:
        return self.drop(lambda flight: flight.sender is side)

    def drop_under_way(self) -> None:
        """Lose everything that has not arrived yet."""
        self._under_way.clear()

    def flush(self) -> None:
        """Take from both ends what they want to send now."""
        for side in Side:
            if side is Side.SERVER and self._server is None:
                continue
            while batch := self.end(side).datagrams_to_send(self.clock.now):
                for datagram in batch:
                    self._dispatch(Flight(side, datagram, self.clock.now))

    def _dispatch(self, flight: Flight) -> None:
        self.record.append(flight)
        if not any(predicate(flight) for predicate in self._dropped):
            self._count += 1
            heapq.heappush(self._under_way, (self.clock.now + self.delay, self._count, flight))

    def next_event(self) -> float:
        """When something arrives or a timer is due, not before now."""
        ends = [self.client] if self._server is None else [self.client, self._server]
        moments = [self._under_way[0][0]] if self._under_way else []
        for end in ends:
            moments += [end.next_deadline(), end.next_heartbeat()]
        return max(self.clock.now, min(moments, default=math.inf))

    def step(self, limit: float = math.inf) -> bool:
        """Go on to the next event, if it is not after `limit`; whether there was one."""
        self.flush()
        moment = self.next_event()
        if moment > limit or moment == math.inf:
            return False
        self.clock.now = moment
        while self._under_way and self._under_way[0][0] <= moment:
            self._deliver(heapq.heappop(self._under_way)[2])
        for end in (self.client, self._server):
            if end is not None and end.next_deadline() <= moment:
                end.handle_timer(moment)
            if end is not None and end.next_heartbeat() <= moment:
                end.handle_heartbeat(moment)
        self.flush()
        return True

    def _deliver(self, flight: Flight) -> None:
        now = self.clock.now
        if flight.sender is Side.SERVER:
            self.client.receive([flight.datagram], Side.SERVER, now)
        elif self._server is not None:
            self._server.receive([flight.datagram], Side.CLIENT, now)
        elif self.responder is not None and self._accept is not None:
            answer = self.responder.receive_untrusted(
                flight.datagram, Side.CLIENT, now, self.clock.unix_microseconds, set()
            )
            if isinstance(answer, ConnectionRequest):
                self._server = self._accept(answer, now)
            elif answer is not None:
                self._dispatch(Flight(Side.SERVER, answer, now))

    def run_until(self, predicate: Callable[[], bool], max_time: float = 10.0) -> None:
        """Step until the predicate holds; AssertionError if it does not within `max_time` seconds."""
        limit = self.clock.now + max_time
        self._run(predicate, limit)
        if not predicate():
            raise AssertionError(f"not within {max_time} s: {self.describe()}")

    def run_for(self, seconds: float) -> None:
        limit = self.clock.now + seconds
        self._run(lambda: False, limit)
        self.clock.now = limit

    def _run(self, predicate: Callable[[], bool], limit: float) -> None:
        steps, before = 0, self.clock.now
        self.flush()
        while not predicate() and self.step(limit):
            steps = steps + 1 if self.clock.now == before else 0
            before = self.clock.now
            if steps > STILLSTAND:
                raise AssertionError(f"the clock stands still: {self.describe()}")

    def describe(self) -> str:
        server = self._server.state.name if self._server is not None else "none"
        return f"client {self.client.state.name}, server {server}, {len(self._under_way)} under way"
