"""A network within one process, on trio's clock, that repeats itself exactly for the same seed.

Under `trio.testing.MockClock` hours of network time pass in an instant. Chance is drawn for each direction of
each pair of addresses by itself, in the order of the datagrams there, so what one session sends does not
change the fate of another's. Addresses may be any hashable values with a stable `repr`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TypeAlias

import trio

from fsp_trio.ports.base import Address, count

from ._links import Impairment, Link, Transit
from ._simulated_host import SimulatedHost
from ._simulated_nat import SimulatedNAT
from ._simulated_port import INBOX_OCTETS, SimulatedPort

__all__ = [
    "Impairment",
    "NetworkStatistics",
    "PacketRecord",
    "SimulatedHost",
    "SimulatedNAT",
    "SimulatedNetwork",
    "SimulatedPort",
    "Tap",
]

IN_FLIGHT_LIMIT: Final = 65_536
"""Datagrams under way at the most; what comes on top is dropped (`in-flight-limit`)."""

RECORD_LIMIT: Final = 10_000
"""Datagrams of which a record is kept; the oldest ones are forgotten."""

Tap: TypeAlias = Callable[[Address, Address, bytes], bytes | None]
"""Sees (source, destination, datagram) as it leaves; gives what shall travel on, or None to drop it."""


@dataclass(slots=True)
class PacketRecord:
    """What became of one datagram; a duplicate made by the network has a record of its own."""

    sent_at: float
    source: Address
    destination: Address
    datagram: bytes
    """As it travelled, that is after taps and corruption."""
    fate: str = "in-flight"
    """`in-flight`, `delivered`, or the cause of the drop."""
    arrived_at: float | None = None
    corrupted: bool = False
    copy: bool = False
    preliminary: bool = False


@dataclass(slots=True)
class NetworkStatistics:
    """Counts since the network was made."""

    sent: int = 0
    delivered: int = 0
    """Into the inbox of a port."""
    duplicated: int = 0
    """Copies that the network made; they are not among `sent`."""
    corrupted: int = 0
    reordered: int = 0
    """Deliveries that came after a later sent datagram of the same direction."""
    congested: int = 0
    """Deliveries with the mark ECN CE."""
    drops: dict[str, int] = field(default_factory=dict)
    """By cause: loss, mtu, queue, partition, unreachable, nat, receive-buffer, checksum, tap, in-flight-limit."""


@dataclass(slots=True)
class _Delivery:
    link: Link
    number: int
    congested: bool
    record: PacketRecord


class SimulatedNetwork:
    """Ports connected by links with impairments.

    `seed`: of all chance.  `default`: the impairment of links that `link` does not name, none if None.
    `in_flight_limit`: datagrams under way at the most.  `record_limit`: how many of the newest PacketRecords are
    kept in `record`.

    Use it as an async context manager, or start `run` in a nursery: without one of them nothing arrives.
    """

    def __init__(
        self,
        seed: int = 0,
        default: Impairment | None = None,
        *,
        in_flight_limit: int = IN_FLIGHT_LIMIT,
        record_limit: int = RECORD_LIMIT,
    ) -> None:
        self.seed = seed
        """The seed that was given."""
        self.statistics = NetworkStatistics()
        """Counts since the network was made; they go on counting."""
        self.record: deque[PacketRecord] = deque(maxlen=record_limit)
        """The newest datagrams and what became of them, oldest first."""
        self._default = Impairment() if default is None else default
        self._in_flight_limit = in_flight_limit
        self._impairments: dict[tuple[Address, Address], Impairment] = {}
        self._links: dict[tuple[Address, Address], Link] = {}
        self._ports: dict[Address, SimulatedPort] = {}  # by the address that others see
        self._homes: dict[Address, Address] = {}  # seen address -> local address, where they differ
        self._seen: dict[Address, Address] = {}  # the reverse
        self._nats: dict[str, SimulatedNAT] = {}  # by the hosts behind them
        self._outsides: dict[str, SimulatedNAT] = {}  # by their own address
        self._partitions: set[tuple[Address | None, Address | None]] = set()
        self._taps: list[Tap] = []
        self._heap: list[tuple[float, bytes, int, _Delivery]] = []
        self._injection = Link(seed, None, None, Impairment())
        self._running = False
        self._scope: trio.CancelScope | None = None

    # Life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver what is due, until cancelled."""
        if self._running:
            raise RuntimeError("the simulated network is already running")
        self._running = True
        try:
            while True:
                # `send` moves the deadline of this scope instead of waking the task.
                with trio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf) as self._scope:
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await trio.sleep_forever()
                self._scope = None
                self._deliver(trio.current_time())
        finally:
            self._running = False
            self._scope = None

    async def __aenter__(self) -> Self:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        await self._nursery.start(self.run)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._nursery.cancel_scope.cancel()
        # The nursery is an implementation detail: it does not get to wrap the caller's exception in a group.
        await self._manager.__aexit__(None, None, None)

    # Arrangement

    def port(self, address: Address, *, receive_buffer: int = INBOX_OCTETS) -> SimulatedPort:
        """A new port at `address`; ValueError if there is one already.

        `receive_buffer`: octets that may wait in it, of which each datagram takes 256 more than it has.
        """
        if address in self._ports or address in self._seen:
            raise ValueError(f"there is a port at {address!r} already")
        port = SimulatedPort(address, self._send, self._withdraw, receive_buffer)
        self._ports[address] = port
        return port

    def host(self, *addresses: str, port: int = 18003) -> SimulatedHost:
        """A new host with IPv4 addresses that may change; ValueError if one of them is somebody's already."""
        return SimulatedHost(self, addresses, port, self._attach)

    def nat(self, address: str, *behind: str, lifetime: float = math.inf) -> SimulatedNAT:
        """A new NAT with an outside address of its own, before the inside addresses `behind`.

        A mapping is forgotten when nothing has left by it for `lifetime` seconds.  ValueError if one of the addresses
        is behind a NAT already, or the NAT's own taken.
        """
        if address in self._outsides or any(each in self._nats for each in behind):
            raise ValueError("one of the addresses belongs to a NAT already")
        nat = self._outsides[address] = SimulatedNAT(address, lifetime)
        for each in behind:
            self._nats[each] = nat
        return nat

    def link(self, source: Address, destination: Address, impairment: Impairment, *, both_ways: bool = True) -> None:
        """Set what happens between two ports (by their local addresses) from now on; datagrams under way stay."""
        pairs = [(source, destination)]
        if both_ways:
            pairs.append((destination, source))
        for pair in pairs:
            self._impairments[pair] = impairment
            if pair in self._links:
                self._links[pair].impairment = impairment

    def partition(self, a: Address, b: Address | None = None, *, both_ways: bool = True) -> None:
        """Let nothing more arrive at `b` from `a` (local addresses), nor the other way; None is everyone.

        What is under way is lost too.
        """
        self._partitions.add((a, b))
        if both_ways:
            self._partitions.add((b, a))

    def heal(self, a: Address | None = None, b: Address | None = None) -> None:
        """End the partitions between two addresses, those of one and everybody, or all."""
        if a is None and b is None:
            self._partitions.clear()
        self._partitions -= {(a, b), (b, a)}

    def rebind(self, port: SimulatedPort, seen_address: Address) -> None:
        """Let others see the port at another address from now on, as when a NAT forgets its mapping.

        The port itself does not notice, and what is sent to the earlier address does not arrive.  ValueError if
        another port is there, or if `port` is closed or of another network.
        """
        if seen_address in self._ports:
            raise ValueError(f"there is a port at {seen_address!r} already")
        home = port.local_address
        earlier = self._seen.pop(home, home)
        if self._ports.get(earlier) is not port:
            raise ValueError("the port is closed or belongs to another network")
        del self._ports[earlier]
        self._homes.pop(earlier, None)
        self._ports[seen_address] = port
        if seen_address != home:
            self._seen[home] = seen_address
            self._homes[seen_address] = home

    def seen_address(self, port: SimulatedPort) -> Address:
        """Where others see the port."""
        return self._seen.get(port.local_address, port.local_address)

    def tap(self, tap: Tap) -> Callable[[], None]:
        """Let `tap` see, alter or drop each datagram that a port sends; gives a function that ends it."""
        self._taps.append(tap)
        return lambda: self._taps.remove(tap)

    def inject(self, source: Address, destination: Address, datagram: bytes, *, delay: float = 0.0) -> None:
        """A datagram with a source of the attacker's choice; it meets no taps and no impairments."""
        now = trio.current_time()
        transit = Transit(now + delay, datagram, congested=False, corrupted=False, copy=False)
        record = PacketRecord(now, source, destination, datagram)
        self.record.append(record)
        self.statistics.sent += 1
        self._launch(self._injection, transit, record)

    # The way of a datagram

    def _send(self, port: SimulatedPort, remote: Address, datagrams: Sequence[bytes], preliminary: bool) -> None:
        now = trio.current_time()
        local = port.source
        nat = self._nats.get(_host_of(local))
        source = self._seen.get(local, local) if nat is None else nat.outward(local, remote, now)
        link = self._link(local, self._home(remote))
        for datagram in datagrams:
            self._send_one(link, now, source, remote, bytes(datagram), preliminary)

    def _send_one(
        self,
        link: Link,
        now: float,
        source: Address,
        destination: Address,
        datagram: bytes,
        preliminary: bool,
    ) -> None:
        self.statistics.sent += 1
        for tap in list(self._taps):
            altered = tap(source, destination, datagram)
            if altered is None:
                record = PacketRecord(now, source, destination, datagram, preliminary=preliminary)
                self.record.append(record)
                self._drop(record, "tap")
                return
            datagram = altered
        outcome = link.carry(datagram, now)
        if isinstance(outcome, str):
            record = PacketRecord(now, source, destination, datagram, preliminary=preliminary)
            self.record.append(record)
            self._drop(record, outcome)
            return
        for transit in outcome:
            record = PacketRecord(
                now,
                source,
                destination,
                transit.datagram,
                corrupted=transit.corrupted,
                copy=transit.copy,
                preliminary=preliminary,
            )
            self.record.append(record)
            self.statistics.duplicated += transit.copy
            self.statistics.corrupted += transit.corrupted
            self._launch(link, transit, record)

    def _launch(self, link: Link, transit: Transit, record: PacketRecord) -> None:
        if len(self._heap) >= self._in_flight_limit:
            self._drop(record, "in-flight-limit")
            return
        link.number += 1
        delivery = _Delivery(link, link.number, transit.congested, record)
        # Those due at one instant are ordered by their links, not by whose task happened to run first.
        heapq.heappush(self._heap, (transit.due, link.ordinal, link.number, delivery))
        scope = self._scope
        if scope is not None and transit.due < scope.deadline:
            scope.deadline = transit.due

    def _deliver(self, now: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            delivery = heapq.heappop(heap)[3]
            record = delivery.record
            inside = record.destination
            if (nat := self._outsides.get(_host_of(inside))) is not None:
                inside = nat.inward(_number_of(inside), record.source, now)
            port = self._ports.get(inside)
            if self._partitions and self._parted(record):
                self._drop(record, "partition")
            elif nat is not None and inside is None:
                self._drop(record, "nat")
            elif port is None:
                self._drop(record, "unreachable")
            elif record.corrupted and record.preliminary:
                # Preliminary packets carry the UDP checksum, and the receiving system checks it. (M53)
                self._drop(record, "checksum")
            elif not port.deliver(record.source, record.datagram, delivery.congested):
                self._drop(record, "receive-buffer")
            else:
                record.fate = "delivered"
                record.arrived_at = now
                self._count_delivery(delivery)

    def _count_delivery(self, delivery: _Delivery) -> None:
        statistics = self.statistics
        statistics.delivered += 1
        statistics.congested += delivery.congested
        link = delivery.link
        if delivery.number >= link.newest:
            link.newest = delivery.number
        elif link is not self._injection:
            statistics.reordered += 1

    def _parted(self, record: PacketRecord) -> bool:
        source = self._home(record.source)
        destination = self._home(record.destination)
        partitions = self._partitions
        return (source, destination) in partitions or (source, None) in partitions or (None, destination) in partitions

    def _home(self, seen: Address) -> Address:
        """The local address of who is seen there."""
        nat = self._outsides.get(_host_of(seen))
        if nat is not None:
            return nat.inside_of(_number_of(seen))
        return self._homes.get(seen, seen)

    def _drop(self, record: PacketRecord, cause: str) -> None:
        record.fate = cause
        count(self.statistics.drops, cause)

    def _link(self, source: Address, destination: Address) -> Link:
        pair = (source, destination)
        link = self._links.get(pair)
        if link is None:
            impairment = self._impairments.get(pair, self._default)
            link = self._links[pair] = Link(self.seed, source, destination, impairment)
        return link

    def _attach(self, address: Address, port: SimulatedPort | None) -> None:
        """What comes to an address of a host goes to `port`; to nobody if that is None."""
        present = self._ports.get(address)
        if present is not None and port is not None and getattr(present, "host", None) is not getattr(port, "host", 0):
            raise ValueError(f"there is a port at {address!r} already")
        if port is None:
            self._ports.pop(address, None)
        else:
            self._ports[address] = port

    def _withdraw(self, port: SimulatedPort) -> None:
        seen = self._seen.pop(port.local_address, port.local_address)
        self._homes.pop(seen, None)
        del self._ports[seen]


def _host_of(address: Address) -> str:
    return address[0] if isinstance(address, tuple) and address and isinstance(address[0], str) else ""


def _number_of(address: Address) -> int:
    return address[1] if isinstance(address, tuple) and len(address) > 1 and isinstance(address[1], int) else 0
