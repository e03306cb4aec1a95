"""The port of a simulated network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from fsp_trio.ports.base import Address, Batch, PortStatistics

INBOX_OCTETS: Final = 4 << 20
"""Octets that wait in a port for `receive`; what comes on top is dropped, as a system does."""

DATAGRAM_OVERHEAD: Final = 256
"""Octets a waiting datagram counts for beyond its own, so that empty ones fill the buffer as well."""

RECEIVE_DATAGRAMS: Final = 512
"""Datagrams given out by one `receive` at the most."""

_Send = Callable[["SimulatedPort", Address, Sequence[bytes], bool], None]


class SimulatedPort:
    """Implements `Port`; made by `SimulatedNetwork.port`."""

    def __init__(
        self,
        address: Address,
        send: _Send,
        withdraw: Callable[[SimulatedPort], None],
        receive_buffer: int,
    ) -> None:
        self.local_address: Address = address
        self.statistics = PortStatistics(receive_buffer=receive_buffer, congestion_notification=True)
        self._send = send
        self._withdraw = withdraw
        self._arrives_at: Address | None = None
        self._inbox: deque[tuple[Address, bytes, bool]] = deque()
        self._inbox_octets = 0
        self._clogged = False
        self._closed = False
        self._arrival = trio.Event()
        self._writable = trio.Event()
        self._writable.set()

    @property
    def source(self) -> Address | None:
        """From where it sends now; None if it cannot."""
        return self.local_address

    @property
    def clogged(self) -> bool:
        """While true, `send` takes nothing, as when the buffer of a socket is full."""
        return self._clogged

    @clogged.setter
    def clogged(self, clogged: bool) -> None:
        self._clogged = clogged
        if clogged:
            self._writable = trio.Event()
        else:
            self._writable.set()

    async def wait_readable(self) -> None:
        self._check_open()
        if not self._inbox and self._arrival.is_set():
            self._arrival = trio.Event()
        await self._arrival.wait()
        self._check_open()

    def check_remote(self, remote: Address) -> None:
        """Any address will do: to what nobody has, nothing is delivered."""

    def local_address_towards(self, remote: Address) -> Address:
        return self.local_address

    async def wait_writable(self) -> None:
        self._check_open()
        await self._writable.wait()
        self._check_open()

    def interrupt(self) -> None:
        """Let whoever waits for the port to become readable return now."""
        self._arrival.set()

    def receive(self) -> list[Batch]:
        self._check_open()
        self.statistics.receive_calls += 1
        inbox = self._inbox
        batches: list[Batch] = []
        newest: Address = None
        gathered: list[bytes] = []
        marked = False
        for _ in range(min(len(inbox), RECEIVE_DATAGRAMS)):
            source, datagram, congested = inbox.popleft()
            self._inbox_octets -= len(datagram) + DATAGRAM_OVERHEAD
            self.statistics.octets_received += len(datagram)
            self.statistics.datagrams_received += 1
            self.statistics.congestion_marks += congested
            if gathered and source == newest:
                gathered.append(datagram)
                marked |= congested
            else:
                if gathered:
                    batches.append(Batch(newest, gathered, marked, self._arrives_at))
                newest, gathered, marked = source, [datagram], congested
        if gathered:
            batches.append(Batch(newest, gathered, marked, self._arrives_at))
        return batches

    def send(self, remote: Address, datagrams: Sequence[bytes], *, preliminary: bool = False) -> int:
        self._check_open()
        if self._clogged:
            return 0
        self.statistics.send_calls += 1
        self.statistics.datagrams_sent += len(datagrams)
        self.statistics.octets_sent += sum(map(len, datagrams))
        self._send(self, remote, datagrams, preliminary)
        return len(datagrams)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._withdraw(self)
            self._inbox.clear()
            self._arrival.set()
            self._writable.set()

    def deliver(self, source: Address, datagram: bytes, congested: bool) -> bool:
        """For the network: put a datagram into the inbox; false when it is full."""
        octets = len(datagram) + DATAGRAM_OVERHEAD
        if self._inbox_octets + octets > self.statistics.receive_buffer:
            self.statistics.kernel_drops += 1
            return False
        self._inbox_octets += octets
        self._inbox.append((source, datagram, congested))
        self._arrival.set()
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the port has been closed")
