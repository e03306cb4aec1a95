"""fsp-trio: a session as a byte stream, or a transmit transaction for each message."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import cast

import trio

from fsp_trio.channel import FSPChannel
from fsp_trio.core.settings import Settings
from fsp_trio.endpoint import FSPEndpoint, open_fsp_endpoint
from fsp_trio.errors import FSPBrokenError
from fsp_trio.opening import open_fsp_session
from fsp_trio.session import FSPSession

from .client import Client, ClientWork, Numbers, Octets, Pipe, ServerWork, answer
from .jobs import BLOCK, HOST, Job
from .trio_thread import in_thread

NONCE = 16
KEY_BITS = 128
SERVICE = 7
SETTINGS = Settings(max_payload=BLOCK)


class StreamPipe:
    """The session as a stream: one transaction each way."""

    __slots__ = ("finish", "receive", "send")

    def __init__(self, session: FSPSession) -> None:
        stream = session.stream()
        self.send = stream.send_all
        self.receive = stream.receive_some
        self.finish = stream.send_eof


class MessagePipe:
    """The session as a channel: each block is a transaction of its own."""

    __slots__ = ("_channel",)

    def __init__(self, session: FSPSession) -> None:
        self._channel: FSPChannel = session.channel()

    async def send(self, data: Octets) -> None:
        await self._channel.send(bytes(data))

    async def receive(self, max_octets: int) -> Octets:
        try:
            return await self._channel.receive()
        except trio.EndOfChannel:
            return b""

    async def finish(self) -> None:
        """Each message has told its end."""


def _pipe(job: Job, session: FSPSession) -> Pipe:
    return MessagePipe(session) if job.subject.endswith("channel") else StreamPipe(session)


async def _receive_nonce(session: FSPSession) -> bytes:
    nonce = b""
    async for piece in await session.receive_transaction():
        nonce += piece
    return nonce


def _install(session: FSPSession, secret: bytes, nonces: bytes) -> None:
    session.install_key(hashlib.blake2b(nonces, key=secret).digest(), key_bits=KEY_BITS)


async def agree_as_client(session: FSPSession, secret: bytes, own: bytes) -> None:
    """The key is made of the pre-shared secret and a nonce of each side.

    Ours travelled as the first transaction, with the confirmation of the connection; the server's is its welcome.
    """
    _install(session, secret, own + await _receive_nonce(session))


async def agree_as_server(session: FSPSession, secret: bytes) -> None:
    _install(session, secret, await _receive_nonce(session) + session.welcome)


def _nonce() -> bytes:
    return secrets.token_bytes(NONCE)


class FSPClient(Client):
    def __init__(self, job: Job, stack: AsyncExitStack, endpoint: FSPEndpoint) -> None:
        super().__init__()
        self._job = job
        self._stack = stack
        self._endpoint = endpoint
        self._secret = (Path(job.directory) / "psk").read_bytes()
        self._newest: FSPSession | None = None

    async def _ready(self, session: FSPSession, own: bytes) -> Pipe:
        await agree_as_client(session, self._secret, own)
        self._newest = session
        return _pipe(self._job, session)

    async def open(self) -> Pipe:
        own = _nonce()
        opening = open_fsp_session(HOST, self._job.port, service=SERVICE, first=own, settings=SETTINGS)
        return await self._ready(await self._stack.enter_async_context(opening), own)

    async def open_another(self) -> Pipe:
        own = _nonce()
        return await self._ready(
            await self._endpoint.open_session(HOST, self._job.port, service=SERVICE, first=own), own
        )

    def facts(self) -> Numbers:
        if self._newest is None:
            return {}
        counters = self._newest.statistics().packets
        return {"packets_sent": counters.packets_sent, "retransmissions": counters.retransmissions}


async def _client(job: Job, work: ClientWork) -> None:
    with trio.CancelScope() as scope:
        async with open_fsp_endpoint(HOST, 0, settings=SETTINGS) as endpoint, AsyncExitStack() as stack:
            await work(FSPClient(job, stack, endpoint), in_thread)
            scope.cancel()  # sessions that are left open are reset


def run_client(job: Job, work: ClientWork) -> None:
    trio.run(_client, job, work)


async def _handle(job: Job, secret: bytes, session: FSPSession) -> None:
    try:
        await agree_as_server(session, secret)
        await answer(_pipe(job, session))
        await session.aclose()
    except FSPBrokenError:
        pass  # a client whose process ends resets its sessions


async def _server(job: Job, work: ServerWork) -> None:
    secret = (Path(job.directory) / "psk").read_bytes()
    async with open_fsp_endpoint(HOST, 0, settings=SETTINGS) as endpoint, trio.open_nursery() as nursery:
        listener = endpoint.listen(SERVICE, welcome=_nonce)

        async def accept() -> None:
            while True:
                nursery.start_soon(partial(_handle, job, secret, await listener.accept_session()))

        nursery.start_soon(accept)
        _, port = cast(tuple[str, int], endpoint.local_address)
        await work(port, in_thread)
        nursery.cancel_scope.cancel()


def run_server(job: Job, work: ServerWork) -> None:
    trio.run(_server, job, work)
