"""A UDP proxy between two real programs that loses, alters, delays, repeats and reorders what passes.

What a run does depends on the seed and on the order in which datagrams arrive, and on nothing else.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import Final

import trio

MAXIMUM_CLIENTS: Final = 1024
"""Addresses on the client's side that are told apart; datagrams of further ones are dropped."""
MAXIMUM_QUEUED: Final = 10_000
"""Datagrams under way in one direction; further ones are dropped."""
LARGEST: Final = 65_536

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairments:
    """What happens to datagrams of one direction; probabilities from 0 to 1, times in seconds."""

    loss: float = 0.0
    drop_nth: int = 0
    """Every so many-th datagram is dropped; 0 for none."""
    corrupt: float = 0.0
    """One octet, anywhere, is altered."""
    duplicate: float = 0.0
    reorder: float = 0.0
    """Held back for `reorder_delay` beside the usual delay."""
    reorder_delay: float = 0.02
    delay: float = 0.0
    jitter: float = 0.0
    """Added to the delay, evenly from nothing to this; without reordering."""
    bandwidth: float = 0.0
    """Octets a second; 0 for no limit."""
    blackholes: tuple[tuple[float, float], ...] = ()
    """From when to when, in seconds since the proxy began, nothing passes."""

    def __post_init__(self) -> None:
        for name in ("loss", "corrupt", "duplicate", "reorder"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a probability between 0 and 1")
        for name in ("drop_nth", "reorder_delay", "delay", "jitter", "bandwidth"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} cannot be negative")
        if any(start < 0 or end <= start for start, end in self.blackholes):
            raise ValueError("a blackhole ends after it begins")


@dataclass(slots=True)
class Tally:
    """What has happened to the datagrams of one direction."""

    arrived: int = 0
    passed: int = 0
    """Sent on, repetitions included."""
    lost: int = 0
    corrupted: int = 0
    duplicated: int = 0
    held_back: int = 0
    blackholed: int = 0
    overflowed: int = 0


class Direction:
    """Decides for each datagram whether, when and how it goes on; no sockets, no clock of its own."""

    def __init__(self, impairments: Impairments, seed: int) -> None:
        self.impairments = impairments
        self.tally = Tally()
        self._random = random.Random(seed)  # noqa: S311 - a run must be repeatable
        self._line_free_at = 0.0
        self._latest = 0.0

    def pass_on(self, datagram: bytes, now: float) -> list[tuple[float, bytes]]:
        """When copies of the datagram go on, `now` being the seconds since the proxy began."""
        wanted, tally, chance = self.impairments, self.tally, self._random.random
        tally.arrived += 1
        if any(start <= now < end for start, end in wanted.blackholes):
            tally.blackholed += 1
            return []
        nth = wanted.drop_nth and tally.arrived % wanted.drop_nth == 0
        if nth or chance() < wanted.loss:
            tally.lost += 1
            return []
        if datagram and chance() < wanted.corrupt:
            tally.corrupted += 1
            place = self._random.randrange(len(datagram))
            altered = datagram[place] ^ self._random.randint(1, 255)
            datagram = datagram[:place] + bytes([altered]) + datagram[place + 1 :]
        copies = 1
        if chance() < wanted.duplicate:
            tally.duplicated += 1
            copies = 2
        return [(self._moment(len(datagram), now), datagram) for _ in range(copies)]

    def _moment(self, octets: int, now: float) -> float:
        wanted = self.impairments
        moment = now
        if wanted.bandwidth:
            self._line_free_at = max(self._line_free_at, now) + octets / wanted.bandwidth
            moment = self._line_free_at
        moment += wanted.delay + self._random.uniform(0.0, wanted.jitter)
        if self._random.random() < wanted.reorder:
            self.tally.held_back += 1
            return moment + wanted.reorder_delay
        self._latest = max(self._latest, moment)  # jitter alone does not reorder
        return self._latest


@dataclass(slots=True)
class _Client:
    """One address on the client's side, and the socket that speaks to the server for it."""

    address: Address
    upstream: trio.socket.SocketType
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebinding:
    """How a NAT between both would change its mind."""

    every: float = 0.0
    """Seconds after which the server sees another port; 0 for never."""
    times: int = 0
    """How often at the most; 0 for as long as the proxy runs."""
    addresses: tuple[str, ...] = ("0.0.0.0",)  # noqa: S104 - the system chooses
    """Local addresses that take turns."""


class Proxy:
    """Serves one port; each client gets a socket of its own towards the server."""

    def __init__(
        self,
        server: Address,
        *,
        towards_server: Impairments,
        towards_client: Impairments,
        rebinding: Rebinding | None = None,
        seed: int = 0,
    ) -> None:
        self._server = server
        self.up = Direction(towards_server, seed)
        self.down = Direction(towards_client, seed + 1)
        self._rebinding = Rebinding() if rebinding is None else rebinding
        self._rebindings = 0
        self._clients: dict[Address, _Client] = {}
        self._queue: list[tuple[float, int, trio.socket.SocketType, bytes, Address]] = []
        self._count = 0
        self._changed = trio.Event()
        self._began = 0.0

    @property
    def rebindings(self) -> int:
        """How often clients got another port or address."""
        return self._rebindings

    async def run(self, local: Address, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen at `local` until cancelled; started, it gives the address that it has."""
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as front:
            await front.bind(local)
            for address in self._rebinding.addresses:  # now, and not when the first client comes
                with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as probe:
                    await probe.bind((address, 0))
            self._began = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_when_due)
                if self._rebinding.every:
                    nursery.start_soon(self._rebind, nursery, front)
                host, port = front.getsockname()
                task_status.started((host, port))
                try:
                    while True:
                        datagram, source = await _receive(front)
                        client = self._clients.get(source)
                        if client is None:
                            if len(self._clients) >= MAXIMUM_CLIENTS:
                                self.up.tally.overflowed += 1
                                continue
                            client = self._clients[source] = _Client(source, await self._new_upstream())
                            nursery.start_soon(self._receive_upstream, client, front)
                        self._enqueue(self.up, client.upstream, datagram, self._server)
                finally:
                    for client in self._clients.values():
                        client.upstream.close()

    async def _new_upstream(self) -> trio.socket.SocketType:
        sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        addresses = self._rebinding.addresses
        await sock.bind((addresses[self._rebindings % len(addresses)], 0))
        return sock

    async def _receive_upstream(self, client: _Client, front: trio.socket.SocketType) -> None:
        upstream = client.upstream
        with client.scope:
            while True:
                datagram, source = await _receive(upstream)
                if source == self._server:
                    self._enqueue(self.down, front, datagram, client.address)
        upstream.close()

    async def _rebind(self, nursery: trio.Nursery, front: trio.socket.SocketType) -> None:
        """Now and then each client gets another socket; what comes to the old one is lost, as behind a NAT."""
        while not self._rebinding.times or self._rebindings < self._rebinding.times:
            await trio.sleep(self._rebinding.every)
            self._rebindings += 1
            for address, old in list(self._clients.items()):
                self._clients[address] = client = _Client(address, await self._new_upstream())
                nursery.start_soon(self._receive_upstream, client, front)
                self._queue = [
                    (moment, count, client.upstream if sock is old.upstream else sock, datagram, remote)
                    for moment, count, sock, datagram, remote in self._queue
                ]
                heapq.heapify(self._queue)
                old.scope.cancel()

    def _enqueue(self, direction: Direction, sock: trio.socket.SocketType, datagram: bytes, remote: Address) -> None:
        now = trio.current_time() - self._began
        for moment, octets in direction.pass_on(datagram, now):
            if len(self._queue) >= 2 * MAXIMUM_QUEUED:
                direction.tally.overflowed += 1
                continue
            direction.tally.passed += 1
            self._count += 1
            heapq.heappush(self._queue, (moment, self._count, sock, octets, remote))
        self._changed.set()

    async def _send_when_due(self) -> None:
        while True:
            self._changed = trio.Event()
            now = trio.current_time() - self._began
            while self._queue and self._queue[0][0] <= now:
                _, _, sock, datagram, remote = heapq.heappop(self._queue)
                try:
                    await sock.sendto(datagram, remote)
                except OSError:  # nobody is there, or the socket is gone: lost, as on any network
                    continue
            wait = self._queue[0][0] - now if self._queue else float("inf")
            with trio.move_on_after(max(wait, 0.0)):
                await self._changed.wait()


async def _receive(sock: trio.socket.SocketType) -> tuple[bytes, Address]:
    while True:
        try:
            datagram, (host, port) = await sock.recvfrom(LARGEST)
        except ConnectionError:  # ICMP: nobody was at the other end
            continue
        return datagram, (host, port)
