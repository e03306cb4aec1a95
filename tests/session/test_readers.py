"""A reader that answers waits for the port itself; what others notice of that: nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fsp_trio import FSPClosedError, FSPStream
from fsp_trio.testing import PairMaker, open_pair_maker


async def exchange(a: FSPStream, b: FSPStream, times: int = 3) -> None:
    """Requests and responses."""

    async def answer() -> None:
        for _ in range(times):
            await b.send_all(await b.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        for number in range(times):
            await a.send_all(b"%d" % number)
            assert await a.receive_some() == b"%d" % number


@dataclass
class Echo:
    """A task that answers whatever `stream` brings."""

    stream: FSPStream
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)

    async def run(self) -> None:
        with self.scope:
            try:
                while piece := await self.stream.receive_some():
                    await self.stream.send_all(piece)
            except (FSPClosedError, trio.BrokenResourceError):
                self.ended.set()


async def leader(maker: PairMaker, nursery: trio.Nursery) -> tuple[FSPStream, Echo]:
    """A client's stream, and the task at the other end that has come to wait for the server's port itself."""
    a, b = await maker.streams()
    echo = Echo(b)
    nursery.start_soon(echo.run)
    for number in range(3):
        await a.send_all(b"%d" % number)
        assert await a.receive_some() == b"%d" % number
        await trio.sleep(1)
    assert b.session._leads
    return a, echo


async def test_others_receive_while_a_reader_leads(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker, trio.open_nursery() as nursery:
        a, echo = await leader(maker, nursery)
        c, d = await maker.streams()  # a handshake, too
        await exchange(c, d, 10)
        await c.send_all(bytes(100_000))
        await c.send_eof()
        assert b"".join([piece async for piece in d]) == bytes(100_000)
        await a.send_all(b"end")
        assert await a.receive_some() == b"end"
        echo.scope.cancel()


async def test_a_reader_that_is_cancelled_leaves_the_port_to_others(autojump_clock: MockClock) -> None:
    async with open_pair_maker() as maker, trio.open_nursery() as nursery:
        a, echo = await leader(maker, nursery)
        echo.scope.cancel()
        await wait_all_tasks_blocked()
        assert not echo.stream.session._leads
        await a.send_all(b"later")
        await trio.sleep(1)
        assert await echo.stream.receive_some() == b"later"
        c, d = await maker.streams()
        await exchange(c, d)


@pytest.mark.parametrize("ending", ["reset", "peer", "aclose"])
async def test_a_reader_hears_of_the_end(autojump_clock: MockClock, ending: str) -> None:
    """By another task of its own, or by the peer."""
    async with open_pair_maker() as maker, trio.open_nursery() as nursery:
        a, echo = await leader(maker, nursery)
        match ending:
            case "reset":
                echo.stream.session.reset()
            case "peer":
                a.session.reset()
            case _:
                nursery.start_soon(echo.stream.session.aclose)
        with trio.fail_after(1):
            await echo.ended.wait()
        c, d = await maker.streams()
        await exchange(c, d)
        a.session.reset()


async def test_who_only_reads_leaves_the_port_to_the_loop(autojump_clock: MockClock) -> None:
    """A task hop costs it little, and gives time for more to come."""
    async with open_pair_maker() as maker, trio.open_nursery() as nursery:
        a, b = await maker.streams()

        async def read() -> None:
            assert b"".join([piece async for piece in b]) == b"xxxxx"

        nursery.start_soon(read)
        for _ in range(5):
            await a.send_all(b"x")
            await trio.sleep(1)
            assert not b.session._leads
        await a.send_eof()
