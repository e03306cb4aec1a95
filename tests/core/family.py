"""A pair of keyed connections and the branches that either end makes of them."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable

from fsp_trio.core.connection import Connection
from fsp_trio.core.multiplication import BranchRequest, Multiplication
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07, Revision
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import Op

from .pair import Flight, Pair, Side

KEY = b"0123456789abcdef"


def keyed_pair(
    settings: Settings | None = None, *, revision: Revision = GAO_07, mode: str = "aead", delay: float = 0.01
) -> Pair:
    """Both ends at rest, under a key that each has used."""
    pair = Pair.connecting(settings=settings, revision=revision, delay=delay)
    at_rest = {State.CLOSABLE}
    pair.run_until(lambda: pair.has_server and {pair.client.state, pair.server.state} <= at_rest)
    pair.run_for(1)
    for end in (pair.client, pair.server):
        end.install_key(KEY, mode=mode, key_bits=128)  # type: ignore[arg-type]
    for end in (pair.client, pair.server):
        end.send(b"under the key")
        end.commit()
        pair.run_for(1)
    for end in (pair.client, pair.server):
        assert end.read(100) == b"under the key"
        end.next_transaction()
        end.take_branch_requests()
    return pair


class Family:
    """Connects two ends and their branches; by default each request is accepted at once."""

    def __init__(self, pair: Pair, *, accept: bool = True) -> None:
        self.pair = pair
        self.now = pair.clock.now
        self.delay = pair.delay
        self.accept = accept
        self.sides: dict[Side, dict[bytes, Connection]] = {
            Side.CLIENT: {pair.client.local_ultid: pair.client},
            Side.SERVER: {pair.server.local_ultid: pair.server},
        }
        self.requests: list[BranchRequest] = []
        """Those that were not accepted at once."""
        self.record: list[Flight] = []
        self.lost: Callable[[Flight], bool] = lambda flight: False
        self._under_way: list[tuple[float, int, Flight]] = []
        self._count = 0
        self._random = random.Random(7)

    @property
    def client(self) -> Connection:
        return self.pair.client

    @property
    def server(self) -> Connection:
        return self.pair.server

    def op(self, flight: Flight) -> Op:
        return self.client.codec.ops[self.client.codec.unpack_head(flight.datagram, 8)[0]]

    def ultid(self) -> bytes:
        return bytes([0xB4]) + self._random.randbytes(3)

    def multiply(
        self, first: bytes = b"", *, ends: bool = True, side: Side = Side.CLIENT, parent: Connection | None = None
    ) -> Connection:
        parent = parent or (self.client if side is Side.CLIENT else self.server)
        branch = Connection.multiply(parent, self.ultid(), first, ends=ends, now=self.now)
        self.sides[side][branch.local_ultid] = branch
        self.flush()
        return branch

    def take(self, side: Side, parent: Multiplication, request: BranchRequest) -> Connection:
        branch = Connection.branch_off(parent, request, self.ultid(), now=self.now, random=self._random.randbytes)
        self.sides[side][branch.local_ultid] = branch
        return branch

    def accepted(self, branch: Connection) -> Connection:
        """The other end of a branch that was accepted."""
        for ends in self.sides.values():
            for end in ends.values():
                if end.remote_ultid == branch.local_ultid and end is not branch:
                    return end
        raise AssertionError("not accepted")

    def branches(self, side: Side = Side.SERVER) -> list[Connection]:
        return list(self.sides[side].values())[1:]

    def flush(self) -> None:
        for side, ends in self.sides.items():
            for end in list(ends.values()):
                for unheard in end.take_unheard_branches():
                    unheard.answer_again(self.now)
                for request in end.take_branch_requests():
                    if self.accept:
                        self.take(side, end, request)
                    else:
                        self.requests.append(request)
            for end in list(ends.values()):
                while batch := end.datagrams_to_send(self.now):
                    for datagram in batch:
                        self.dispatch(Flight(side, datagram, self.now))

    def dispatch(self, flight: Flight) -> None:
        self.record.append(flight)
        if not self.lost(flight):
            self._count += 1
            heapq.heappush(self._under_way, (self.now + self.delay, self._count, flight))

    def run_until(self, happened: Callable[[], bool], seconds: float = 10.0) -> None:
        self._run(happened, self.now + seconds)
        assert happened(), f"not within {seconds} s"

    def run_for(self, seconds: float) -> None:
        limit = self.now + seconds
        self._run(lambda: False, limit)
        self.now = limit

    def _run(self, happened: Callable[[], bool], limit: float) -> None:
        self.flush()
        steps = 0
        while not happened():
            ends = [end for side in self.sides.values() for end in side.values()]
            moments = [end.next_deadline() for end in ends] + [end.next_heartbeat() for end in ends]
            if self._under_way:
                moments.append(self._under_way[0][0])
            moment = max(min(moments, default=math.inf), self.now)
            if moment > limit:
                return
            steps = steps + 1 if moment == self.now else 0
            assert steps < 10_000, "the clock stands still"
            self.now = moment
            while self._under_way and self._under_way[0][0] <= moment:
                self._deliver(heapq.heappop(self._under_way)[2])
            for end in ends:
                if end.next_deadline() <= moment:
                    end.handle_timer(moment)
                if end.next_heartbeat() <= moment:
                    end.handle_heartbeat(moment)
            self.flush()

    def _deliver(self, flight: Flight) -> None:
        end = self.sides[flight.sender.other].get(flight.datagram[4:8])
        if end is not None:
            end.receive([flight.datagram], flight.sender, self.now)

    # what was said

    def sent(self, side: Side, *ops: Op, since: int = 0) -> list[Flight]:
        found = [flight for flight in self.record[since:] if flight.sender is side]
        return [flight for flight in found if not ops or self.op(flight) in ops]

    def multiply_of(self, branch: Connection) -> Flight:
        return next(
            flight
            for flight in self.record
            if self.op(flight) is Op.MULTIPLY and flight.datagram[:4] == branch.local_ultid
        )


def read_all(end: Connection) -> list[bytes]:
    """The transactions that are there."""
    found = []
    while end.readable:
        data = b""
        while part := end.read(2**20):
            data += part
        found.append(data)
        if end.at_end:
            end.next_transaction()
    return found
