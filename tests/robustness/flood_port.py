"""A real UDP port into which a test can also put datagrams from anywhere, without a system call for each."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import trio

from fsp_trio.ports import Address, Batch, Port, PortStatistics

AT_ONCE = 64
"""Injected batches that one `receive` gives."""
NOWHERE = "198.51.100."
"""Addresses that begin so (RFC 5737) are the attackers'; what is sent to them is counted and goes nowhere."""


class FloodPort:
    """Implements `Port` over another one."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._injected: deque[Batch] = deque()
        self._arrival = trio.Event()
        self._emptied = trio.Event()
        self.injected = 0
        """Datagrams given to `inject`."""
        self.injected_octets = 0
        self.arrived = 0
        """Datagrams that `receive` has given out, real ones and injected ones."""
        self.answers = 0
        """Datagrams sent to attackers."""
        self.answer_octets = 0
        self.newest_answers: deque[bytes] = deque(maxlen=64)
        self.captured: deque[bytes] = deque(maxlen=256)
        """What was really sent lately."""

    def inject(self, source: Address, datagrams: list[bytes], *, congested: bool = False) -> None:
        self._injected.append(Batch(source, datagrams, congested))
        self.injected += len(datagrams)
        self.injected_octets += sum(map(len, datagrams))
        self._arrival.set()

    async def emptied(self) -> None:
        """Wait until everything injected was taken, and a little longer, so that it was dealt with."""
        while self._injected:
            self._emptied = trio.Event()
            await self._emptied.wait()
        for _ in range(3):
            await trio.lowlevel.checkpoint()

    @property
    def local_address(self) -> Address:
        return self._port.local_address

    @property
    def statistics(self) -> PortStatistics:
        return self._port.statistics

    def check_remote(self, remote: Address) -> None:
        self._port.check_remote(remote)

    def local_address_towards(self, remote: Address) -> Address:
        return self._port.local_address_towards(remote)

    async def wait_readable(self) -> None:
        if self._injected:
            await trio.lowlevel.checkpoint()
            return
        self._arrival = trio.Event()
        async with trio.open_nursery() as nursery:

            async def wait_injected() -> None:
                await self._arrival.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait_injected)
            await self._port.wait_readable()
            nursery.cancel_scope.cancel()

    def interrupt(self) -> None:
        self._port.interrupt()

    async def wait_writable(self) -> None:
        await self._port.wait_writable()

    def receive(self) -> list[Batch]:
        batches = self._port.receive()
        for _ in range(min(AT_ONCE, len(self._injected))):
            batches.append(self._injected.popleft())
        if not self._injected:
            self._emptied.set()
        self.arrived += sum(len(batch.datagrams) for batch in batches)
        return batches

    def send(self, remote: Address, datagrams: Sequence[bytes], *, preliminary: bool = False) -> int:
        if isinstance(remote, tuple) and str(remote[0]).startswith(NOWHERE):
            self.answers += len(datagrams)
            self.answer_octets += sum(map(len, datagrams))
            self.newest_answers.extend(datagrams)
            return len(datagrams)
        self.captured.extend(datagrams)
        return self._port.send(remote, datagrams, preliminary=preliminary)

    def close(self) -> None:
        self._port.close()
