"""`fsp-trio tunnel` and `fsp-trio gateway`: SOCKS 5 here, TCP there, a branch for each connection in between."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from fsp_trio.cli import socks
from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.key_files import write_identity
from fsp_trio.cli.keys import PublicKeys
from fsp_trio.cli.known_hosts import KnownHosts
from fsp_trio.cli.tunneling import gateway, parse_allowed, tunnel
from fsp_trio.listener import FSPListener
from tests.cli.tools import KEY, LOOPBACK, Paper, common

pytestmark = pytest.mark.realnet

Service = Callable[[trio.SocketStream], Awaitable[None]]


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)
    await stream.send_eof()


@asynccontextmanager
async def chain(
    service: Service = echo, allowed: tuple[tuple[str, int], ...] = ()
) -> AsyncGenerator[tuple[Proxy, tuple[str, int], FSPListener], None]:
    """The proxy's address, that of a TCP service behind the gateway, and the gateway's listener."""
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        [server] = await nursery.start(partial(trio.serve_tcp, service, 0, host=LOOPBACK))
        target = server.socket.getsockname()[:2]
        allowed = tuple((host, port or target[1]) for host, port in allowed)
        listener = await nursery.start(partial(gateway, common(KEY), Paper(), allowed=allowed))
        host, port = listener.endpoint.local_address
        proxy = await nursery.start(tunnel, host, port, (LOOPBACK, 0), common(KEY), Paper())
        try:
            yield Proxy(proxy, stack), target, listener
        finally:
            nursery.cancel_scope.cancel()


class Proxy:
    """The SOCKS proxy, and the connections to it that have to be closed."""

    def __init__(self, address: tuple[str, int], stack: AsyncExitStack) -> None:
        self.address = address
        self._stack = stack

    async def open(self) -> trio.SocketStream:
        return await self._stack.enter_async_context(await trio.open_tcp_stream(*self.address))


async def connect(proxy: Proxy, host: bytes, port: int) -> tuple[trio.SocketStream, int]:
    """As a SOCKS client, by name; the connection and the reply code."""
    stream = await proxy.open()
    await stream.send_all(b"\x05\x01\x00")
    assert await exactly(stream, 2) == b"\x05\x00"
    await stream.send_all(b"\x05\x01\x00\x03" + bytes([len(host)]) + host + port.to_bytes(2, "big"))
    answer = await exactly(stream, 10)
    return stream, answer[1]


async def exactly(stream: trio.SocketStream, number: int) -> bytes:
    data = b""
    while len(data) < number:
        piece = await stream.receive_some(number - len(data))
        assert piece
        data += piece
    return data


async def test_there_and_back() -> None:
    octets = random.Random(1).randbytes(1_000_000)
    async with chain() as (proxy, target, listener):
        stream, code = await connect(proxy, b"127.0.0.1", target[1])
        assert code == socks.Reply.SUCCEEDED
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                await stream.send_all(octets)
                await stream.send_eof()

            assert b"".join([piece async for piece in stream]) == octets
        assert listener.endpoint.sessions


async def test_many_at_once() -> None:
    async with chain() as (proxy, target, _), trio.open_nursery() as nursery:
        done = []

        async def one(n: int) -> None:
            stream, code = await connect(proxy, b"localhost", target[1])
            assert code == socks.Reply.SUCCEEDED
            await stream.send_all(b"%d" % n)
            await stream.send_eof()
            assert b"".join([piece async for piece in stream]) == b"%d" % n
            done.append(n)

        for n in range(200):
            nursery.start_soon(one, n)
    assert sorted(done) == list(range(200))


async def test_a_slow_connection_does_not_hold_up_others() -> None:
    async def stuck(stream: trio.SocketStream) -> None:
        if await stream.receive_some(1) == b"s":
            await trio.sleep_forever()
        await stream.send_all(b"x")

    async with chain(stuck) as (proxy, target, _), trio.open_nursery() as nursery:
        slow, _ = await connect(proxy, b"127.0.0.1", target[1])

        @nursery.start_soon
        async def fill() -> None:
            await slow.send_all(b"s" + bytes(50_000_000))

        await trio.sleep(0.5)
        with trio.fail_after(5):
            quick, _ = await connect(proxy, b"127.0.0.1", target[1])
            await quick.send_all(b"q")
            assert await quick.receive_some() == b"x"
        nursery.cancel_scope.cancel()


async def test_hosts_that_cannot_be_reached() -> None:
    async with chain() as (proxy, _, _):
        with trio.socket.socket() as closed:
            await closed.bind((LOOPBACK, 0))
            _, code = await connect(proxy, b"127.0.0.1", closed.getsockname()[1])
        assert code == socks.Reply.REFUSED
        _, code = await connect(proxy, b"host.invalid", 80)
        assert code == socks.Reply.HOST_UNREACHABLE


async def test_only_what_is_allowed() -> None:
    async with chain(allowed=(("127.0.0.1", 0),)) as (proxy, target, _):
        _, code = await connect(proxy, b"127.0.0.1", target[1])
        assert code == socks.Reply.SUCCEEDED
        for host, port in ((b"localhost", target[1]), (b"127.0.0.1", target[1] ^ 1)):
            _, code = await connect(proxy, host, port)
            assert code == socks.Reply.NOT_ALLOWED
    assert parse_allowed("host") == ("host", 0)
    assert parse_allowed("host:80") == ("host", 80)
    with pytest.raises(ValueError, match="port"):
        parse_allowed("host:x")


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        (b"\x04\x01\x00\x50", b""),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\x00\x05\x07\x00\x01" + bytes(6)),
        (b"\x05\x01\x00\x05\x01\x00\x09\x00", b"\x05\x00\x05\x08\x00\x01" + bytes(6)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x01\xff\x00\x50", b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        (b"\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x00", b"\x05\x00\x05\x01\x00\x01" + bytes(6)),
        (b"\x05\x01", b""),
    ],
    ids=["socks 4", "wants to authenticate", "bind", "kind of address", "no text", "port 0", "ends early"],
)
async def test_clients_that_make_no_sense(octets: bytes, answer: bytes) -> None:
    async with chain() as (proxy, target, _):
        stream = await proxy.open()
        with trio.fail_after(5):
            try:
                await stream.send_all(octets)
                await stream.send_eof()
                heard = b"".join([piece async for piece in stream])
            except trio.BrokenResourceError:
                heard = answer
        assert heard == answer
        _, code = await connect(proxy, b"127.0.0.1", target[1])  # it goes on
        assert code == socks.Reply.SUCCEEDED


@pytest.mark.parametrize("kind", [b"\x01\x7f\x00\x00\x01", b"\x04" + bytes(15) + b"\x01"], ids=["IPv4", "IPv6"])
async def test_addresses(kind: bytes) -> None:
    async with chain() as (proxy, target, _):
        stream = await proxy.open()
        await stream.send_all(b"\x05\x01\x00")
        await exactly(stream, 2)
        await stream.send_all(b"\x05\x01\x00" + kind + target[1].to_bytes(2, "big"))
        code = (await exactly(stream, 10))[1]
        assert code == (socks.Reply.SUCCEEDED if kind[0] == 1 else socks.Reply.REFUSED)


async def test_a_lost_gateway_is_told() -> None:
    errors = []
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(gateway, common(KEY), Paper())
        host, port = listener.endpoint.local_address

        async def near(task_status: trio.TaskStatus[tuple[str, int]]) -> None:
            try:
                await tunnel(host, port, (LOOPBACK, 0), common(KEY), Paper(), task_status=task_status)
            except CommandError as error:
                errors.append(error)

        await nursery.start(near)
        await listener.endpoint.sessions[0].aclose()
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    assert "ended the session" in str(errors[0])
    assert errors[0].code is Exit.UNREACHABLE


async def test_no_open_proxy(tmp_path: Path) -> None:
    anybody = PublicKeys(
        identity=write_identity(tmp_path / "key", force=False),
        known_hosts=KnownHosts(tmp_path / "hosts"),
        strict=False,
        authorized=None,
        info=print,
    )
    for key in (None, anybody):
        ours = common(KEY)
        with pytest.raises(CommandError, match="open proxy") as caught:
            await gateway(type(ours)(key=key, bind=LOOPBACK, port=0), Paper())
        assert caught.value.code is Exit.USAGE
    with pytest.raises(CommandError, match="needs a key"):
        await tunnel(LOOPBACK, 1, (LOOPBACK, 0), common(None), Paper())


@pytest.mark.skipif(not os.path.exists("/usr/bin/curl"), reason="needs curl")
async def test_curl(tmp_path: Path) -> None:
    octets = os.urandom(3_000_000)

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(octets) + octets)

    async with chain(serve) as (proxy, target, _):
        command = ["curl", "-sS", "--socks5-hostname", "{}:{}".format(*proxy.address), f"http://localhost:{target[1]}/"]
        with trio.fail_after(30):
            done = await trio.run_process(command, capture_stdout=True)
        assert done.stdout == octets
