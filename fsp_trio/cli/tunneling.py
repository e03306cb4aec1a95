"""`fsp-trio tunnel` and `fsp-trio gateway`: TCP connections, each over a branch of one session.

The near end is a SOCKS 5 proxy.  What it asks the far end is the beginning of the branch's first transaction::

    "FSPT"   version 1 (1 octet)   port (2)   length of the name (1)   host, by name or address (at most 255)

and what the client sends follows in the same transaction.  The far end connects, and answers with a transaction that
begins with one octet, a reply code of SOCKS; after 0, what the host sends follows.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from fsp_trio._groups import unwrapped
from fsp_trio.cli import socks
from fsp_trio.cli.connection import Common, accept_key, listening, opened, parse_target
from fsp_trio.cli.exits import CommandError, Exit, explain
from fsp_trio.cli.reporting import Reporter
from fsp_trio.cli.statistics import format_address
from fsp_trio.errors import FSPError
from fsp_trio.listener import FSPListener
from fsp_trio.session import FSPSession
from fsp_trio.streams import FSPStream

__all__ = ["Target", "gateway", "parse_allowed", "pass_both_ways", "read_exactly", "tunnel"]

MAGIC: Final = b"FSPT"
VERSION: Final = 1
_HEAD: Final = struct.Struct(">4sBHB")
CONNECT_TIMEOUT: Final = 30.0
"""Seconds for the far end to reach a host, and for a client to say what it wants."""
MOST_CONNECTIONS: Final = 256
"""TCP connections that the near end has open at a time; further ones wait in the system's backlog."""

Target = tuple[str, int]


def parse_allowed(text: str) -> Target:
    """HOST:PORT or HOST, which means all its ports (0); ValueError if it is neither."""
    return parse_target(text, 0) if ":" in text else (text, 0)


# the near end


async def tunnel(
    host: str,
    port: int,
    socks_address: Target,
    common: Common,
    reporter: Reporter,
    *,
    task_status: trio.TaskStatus[Target] = trio.TASK_STATUS_IGNORED,
) -> None:
    """A SOCKS 5 proxy whose connections leave at the far end; until cancelled, or the session is lost."""
    if common.key is None:
        raise CommandError("a tunnel needs a key: sessions without one have no branches", Exit.USAGE)
    async with opened(host, port, common) as session:
        try:
            [listener] = await trio.open_tcp_listeners(socks_address[1], host=socks_address[0])
        except (OSError, ValueError) as error:
            raise CommandError(f"cannot listen on {format_address(socks_address)}: {error}") from None
        address = listener.socket.getsockname()[:2]
        with unwrapped():
            async with listener, trio.open_nursery() as nursery:
                reporter.info(f"SOCKS 5 on {format_address(address)}")
                task_status.started(address)
                nursery.start_soon(_end_with, session)
                limit = trio.CapacityLimiter(MOST_CONNECTIONS)
                while True:
                    await limit.acquire_on_behalf_of(turn := object())
                    connection = await listener.accept()
                    nursery.start_soon(_serve_client, session, connection, reporter, limit, turn)


async def _end_with(session: FSPSession) -> None:
    """Nothing comes on the session itself but its end."""
    with suppress(trio.EndOfChannel):
        await session.receive_transaction()
        raise CommandError("the peer does not answer as a gateway")
    raise CommandError("the gateway ended the session", Exit.UNREACHABLE)


async def _serve_client(
    session: FSPSession, client: trio.SocketStream, reporter: Reporter, limit: trio.CapacityLimiter, turn: object
) -> None:
    try:
        async with client:
            await _tunnel_client(session, client)
    except socks.SocksError as error:
        reporter.warn(str(error))
    except (FSPError, trio.BrokenResourceError, trio.TooSlowError, OSError, EOFError) as error:
        reporter.info(f"a connection ended: {explain(error)[0]}")
    finally:
        limit.release_on_behalf_of(turn)


async def _tunnel_client(session: FSPSession, client: trio.SocketStream) -> None:
    read = partial(read_exactly, client)
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            await client.send_all(await socks.greeting_answer(read))
            host, port = await socks.read_target(read)
    except socks.SocksError as error:
        await client.send_all(error.answer)
        raise
    name = host.encode()
    request = _HEAD.pack(MAGIC, VERSION, port, len(name)) + name
    async with (await session.multiply(request, ends=False)).stream() as branch:
        with trio.fail_after(2 * CONNECT_TIMEOUT):
            verdict = await branch.receive_some(1)
        kind = socks.Reply(verdict[0]) if verdict and verdict[0] in set(socks.Reply) else socks.Reply.FAILED
        await client.send_all(socks.reply(kind))
        if kind is socks.Reply.SUCCEEDED:
            await pass_both_ways(client, branch)
        else:
            await branch.send_eof()


# the far end


async def gateway(
    common: Common,
    reporter: Reporter,
    *,
    allowed: Collection[Target] = (),
    task_status: trio.TaskStatus[FSPListener] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Let sessions' branches out to TCP hosts, to those that are allowed if any are named; until cancelled."""
    if common.key is None or common.key.lets_in_anybody:
        raise CommandError("a gateway for everybody is an open proxy: use --authorized FILE or --psk FILE", Exit.USAGE)
    async with listening(common, reporter) as listener, trio.open_nursery() as nursery:
        task_status.started(listener)
        while True:
            session = await listener.accept_session()
            nursery.start_soon(_serve_session, session, common, reporter, allowed)


async def _serve_session(session: FSPSession, common: Common, reporter: Reporter, allowed: Collection[Target]) -> None:
    try:
        async with session:
            await accept_key(session, common)
            await session.serve_branches(partial(_serve_branch, reporter, allowed))
    except (CommandError, FSPError, trio.TooSlowError) as error:
        reporter.error(f"{format_address(session.remote_address)}: {explain(error)[0]}")


async def _serve_branch(reporter: Reporter, allowed: Collection[Target], branch: FSPSession) -> None:
    try:
        async with branch.stream() as stream:
            await _reach(stream, reporter, allowed)
    except (FSPError, trio.BrokenResourceError, trio.TooSlowError, OSError, EOFError) as error:
        reporter.info(f"a connection ended: {explain(error)[0]}")


async def _reach(stream: FSPStream, reporter: Reporter, allowed: Collection[Target]) -> None:
    read = partial(read_exactly, stream)
    with trio.fail_after(CONNECT_TIMEOUT):
        magic, version, port, length = _HEAD.unpack(await read(_HEAD.size))
        host = (await read(length)).decode("ascii", "replace")
    if (magic, version) != (MAGIC, VERSION) or not host or not port:
        raise EOFError("the peer does not ask for a connection")
    name = f"{host}:{port}"
    if allowed and not {(host, port), (host, 0)} & set(allowed):
        reporter.warn(f"{name} is not allowed")
        return await _answer(stream, socks.Reply.NOT_ALLOWED)
    try:
        with trio.fail_after(CONNECT_TIMEOUT):
            server = await trio.open_tcp_stream(host, port)
    except (OSError, trio.TooSlowError, ValueError) as error:
        reporter.info(f"{name} cannot be reached: {error}")
        return await _answer(stream, _reply_for(error))
    async with server:
        await stream.send_all(bytes([socks.Reply.SUCCEEDED]))
        await pass_both_ways(server, stream)


async def _answer(stream: FSPStream, kind: socks.Reply) -> None:
    await stream.send_all(bytes([kind]))
    await stream.send_eof()


def _reply_for(error: Exception) -> socks.Reply:
    number = error.errno if isinstance(error, OSError) else None
    cause = error.__cause__
    while number is None and isinstance(cause, OSError | ExceptionGroup):
        cause = cause.exceptions[0] if isinstance(cause, ExceptionGroup) else cause
        number = getattr(cause, "errno", None)
        cause = cause.__cause__
    replies = {
        errno.ECONNREFUSED: socks.Reply.REFUSED,
        errno.ENETUNREACH: socks.Reply.NETWORK_UNREACHABLE,
    }
    return replies.get(number or 0, socks.Reply.HOST_UNREACHABLE)


# both


async def read_exactly(stream: trio.abc.ReceiveStream, number: int) -> bytes:
    """So many octets; EOFError if there are fewer."""
    data = b""
    while len(data) < number:
        piece = await stream.receive_some(number - len(data))
        if not piece:
            raise EOFError("it ended before it had begun")
        data += piece
    return data


async def pass_both_ways(one: trio.abc.HalfCloseableStream, other: trio.abc.HalfCloseableStream) -> None:
    """What comes from each goes to the other, ends included; if one breaks both do."""
    with unwrapped():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pass_on, one, other)
            nursery.start_soon(_pass_on, other, one)


async def _pass_on(source: trio.abc.HalfCloseableStream, sink: trio.abc.HalfCloseableStream) -> None:
    async for data in source:
        await sink.send_all(data)
    await sink.send_eof()
