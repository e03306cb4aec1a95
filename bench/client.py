"""The measures, written once over byte pipes so that every subject is asked the same."""

from __future__ import annotations

import abc
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from .jobs import BLOCK, CHUNK

T = TypeVar("T")
Numbers = dict[str, float]
Octets = bytes | bytearray

ECHO = b"E" + bytes(BLOCK - 1)
COUNT_OCTETS = 8
WARM_UP = 200
CALIBRATION_SECONDS = 0.2


class InThread(Protocol):
    async def __call__(self, function: Callable[[], T], /) -> T: ...


class Pipe(Protocol):
    async def send(self, data: Octets, /) -> None: ...

    async def receive(self, max_octets: int, /) -> Octets: ...

    async def finish(self) -> None:
        """End the outgoing direction, where the subject can without closing the other one."""


async def receive_exactly(pipe: Pipe, octets: int) -> Octets:
    data = await pipe.receive(octets)
    while data and len(data) < octets:
        more = await pipe.receive(octets - len(data))
        if not more:
            return b""
        data += more
    return data


async def answer(pipe: Pipe) -> None:
    """The server's side of every measure; the first octet of the first block says which."""
    block = await receive_exactly(pipe, BLOCK)
    if block[:1] == b"B":
        expected, octets = int.from_bytes(block[1 : 1 + COUNT_OCTETS], "big"), 0
        while octets < expected and (data := await pipe.receive(4 * CHUNK)):
            octets += len(data)
        await pipe.send(octets.to_bytes(COUNT_OCTETS, "big"))
        await pipe.finish()
        return
    while block:
        await pipe.send(block)
        block = await receive_exactly(pipe, BLOCK)


class Client(abc.ABC):
    """A measuring client; sessions once opened stay open until the process ends."""

    def __init__(self) -> None:
        self._kept: list[Pipe] = []

    @abc.abstractmethod
    async def open(self) -> Pipe:
        """A session that can be used at once, with its keys in place."""

    async def open_another(self) -> Pipe:
        """One of many sessions, the way an application with many of them would open it."""
        return await self.open()

    def facts(self) -> Numbers:
        """Counters that tell how a transfer went (packets, losses), as far as the subject has them."""
        return {}

    async def transfer(self, octets: int) -> Numbers:
        pipe = await self.open()
        self._kept.append(pipe)
        chunk, octets = bytes(CHUNK), octets // CHUNK * CHUNK
        head = b"B" + octets.to_bytes(COUNT_OCTETS, "big")
        cpu, start = time.process_time(), time.perf_counter()
        await pipe.send(head.ljust(BLOCK, b"\0"))
        for _ in range(octets // CHUNK):
            await pipe.send(chunk)
        await pipe.finish()
        count = int.from_bytes(await receive_exactly(pipe, COUNT_OCTETS), "big")
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        if count != octets:
            raise RuntimeError(f"the server counted {count} octets of {octets}")
        return {"octets": count, "seconds": seconds, "client_cpu": cpu, **self.facts()}

    async def calibrate(self, seconds: float) -> int:
        """Octets that a transfer of about this many seconds carries."""
        octets = 16 * CHUNK
        while True:
            took = (await self.transfer(octets))["seconds"]
            if took >= min(CALIBRATION_SECONDS, seconds / 2):
                return max(1, round(octets * seconds / took / CHUNK)) * CHUNK
            octets *= 4

    async def exchange(self, count: int) -> list[float]:
        """Microseconds of each request and response of one block on one session."""
        pipe = await self.open()
        self._kept.append(pipe)
        samples: list[float] = []
        clock = time.perf_counter_ns
        for _ in range(min(WARM_UP, count) + count):
            start = clock()
            await pipe.send(ECHO)
            await receive_exactly(pipe, BLOCK)
            samples.append((clock() - start) / 1000)
        return samples[-count:]

    async def connect(self, count: int) -> dict[str, list[float]]:
        """Microseconds from the call to a usable session, and to the first answer over it."""
        usable: list[float] = []
        answered: list[float] = []
        clock = time.perf_counter_ns
        for _ in range(count):
            start = clock()
            pipe = await self.open()
            opened = clock()
            await pipe.send(ECHO)
            await receive_exactly(pipe, BLOCK)
            answered.append((clock() - start) / 1000)
            usable.append((opened - start) / 1000)
            self._kept.append(pipe)
        return {"usable": usable, "answered": answered}

    async def hold(self, count: int) -> int:
        """Open this many sessions, exchange one block on each, and leave them idle."""
        for _ in range(count):
            pipe = await self.open_another()
            await pipe.send(ECHO)
            await receive_exactly(pipe, BLOCK)
            self._kept.append(pipe)
        return len(self._kept)


ClientWork = Callable[[Client, InThread], Awaitable[None]]
ServerWork = Callable[[int, InThread], Awaitable[None]]
