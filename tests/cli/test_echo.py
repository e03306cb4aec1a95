"""`echo` and `ping` with each other."""

from __future__ import annotations

import errno
import io
from functools import partial

import pytest
import trio

from fsp_trio import FSPBrokenError, FSPListener, FSPSession
from fsp_trio.cli import echoing
from fsp_trio.cli.connection import opened
from fsp_trio.cli.echoing import echo, ping
from fsp_trio.cli.protocol import ProtocolViolation, expect_message, send_message
from fsp_trio.cli.reporting import Reporter
from fsp_trio.keying import KeyAgreementError
from tests.cli.tools import KEY, LOOPBACK, Paper, common

pytestmark = pytest.mark.realnet


async def start_echo(nursery: trio.Nursery, paper: Reporter, key: bytes | None) -> int:
    listener: FSPListener = await nursery.start(partial(echo, common(key), paper))
    port = listener.endpoint.local_address[1]  # type: ignore[index]
    assert isinstance(port, int)
    return port


async def until(paper: Paper, words: str) -> None:
    with trio.fail_after(10):
        while words not in "\n".join(paper.out + paper.err):
            await trio.sleep(0.01)


@pytest.mark.parametrize("key", [KEY, None])
async def test_round_trips(key: bytes | None) -> None:
    server, client = Paper(), Paper()
    async with trio.open_nursery() as nursery:
        port = await start_echo(nursery, server, key)
        summary = await ping(LOOPBACK, port, common(key), client, count=3, interval=0.01, size=5000)
        await until(server, "states:")
        nursery.cancel_scope.cancel()
    assert summary.octets == 15_000
    assert summary.protection == ("aead" if key else "crc64")
    assert len(client.out) == 4
    assert client.out[0].startswith(f"5000 octets from 127.0.0.1:{port}: number 1, ")
    assert client.out[3].startswith("3 round trips: ")
    assert server.err == []


@pytest.mark.parametrize(("ping_key", "echo_key"), [(KEY, b"another key of some length"), (None, KEY), (KEY, None)])
async def test_keys_that_differ(ping_key: bytes | None, echo_key: bytes | None) -> None:
    server = Paper()
    async with trio.open_nursery() as nursery:
        port = await start_echo(nursery, server, echo_key)
        with pytest.raises((KeyAgreementError, FSPBrokenError)):
            await ping(LOOPBACK, port, common(ping_key), Paper(), count=1, interval=0, size=5)
        await until(server, "key")
        # and the server goes on
        await ping(LOOPBACK, port, common(echo_key), Paper(), count=1, interval=0, size=5)
        nursery.cancel_scope.cancel()
    assert len(server.err) == 1


async def test_long_transactions_come_back_whole() -> None:
    content = bytes(range(256)) * 20_000
    async with trio.open_nursery() as nursery:
        port = await start_echo(nursery, Paper(), KEY)
        async with opened(LOOPBACK, port, common()) as session, trio.open_nursery() as inner:
            inner.start_soon(send_message, session, content)
            assert await expect_message(session, len(content)) == content
        nursery.cancel_scope.cancel()


async def test_echo_of_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_something_else(session: FSPSession, _: object) -> int:
        await send_message(session, b"something else")
        async for _transaction in session:
            pass
        return 0

    monkeypatch.setattr(echoing, "_give_back", give_something_else)
    async with trio.open_nursery() as nursery:
        port = await start_echo(nursery, Paper(), None)
        with pytest.raises(ProtocolViolation, match="something else"):
            await ping(LOOPBACK, port, common(None), Paper(), count=1, interval=0, size=14)
        nursery.cancel_scope.cancel()


class Closed(io.StringIO):
    """A pipe whose reader left after the first line."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        return super().write(text)


async def test_nobody_reads_what_the_server_says() -> None:
    """Its stdout is a pipe that was closed: that is told once for each session, and ends nothing."""
    server, client = Paper(), Paper()
    server._out = server._console.file = Closed()
    async with trio.open_nursery() as nursery:
        port = await start_echo(nursery, server, KEY)
        for _ in range(2):
            await ping(LOOPBACK, port, common(KEY), client, count=1, interval=0.0, size=10)
        await until(server, "Broken pipe")
        nursery.cancel_scope.cancel()


async def test_nobody_reads_anything_that_the_server_says() -> None:
    """Its stderr goes into the same pipe: then there is nobody to tell, and it still ends nothing."""
    paper = Closed()
    server, client = Reporter(out=paper, err=paper), Paper()
    async with trio.open_nursery() as nursery:
        port = await start_echo(nursery, server, KEY)
        for _ in range(2):
            await ping(LOOPBACK, port, common(KEY), client, count=1, interval=0.0, size=10)
        nursery.cancel_scope.cancel()
    assert len(client.out) == 4
