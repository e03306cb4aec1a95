"""Trio's TLS over TCP: `trio.SSLStream`."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress

import trio

from .client import Client, ClientWork, Pipe, ServerWork, answer
from .jobs import HOST, SERVER_NAME, Job
from .trio_thread import in_thread

Stream = trio.SSLStream[trio.SocketStream]


class StreamPipe:
    __slots__ = ("receive", "send", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.send = stream.send_all
        self.receive = stream.receive_some

    async def finish(self) -> None:
        """TLS as trio speaks it has no half-close."""


class TLSClient(Client):
    def __init__(self, job: Job) -> None:
        super().__init__()
        self._port = job.port
        self._context = ssl.create_default_context(cafile=os.path.join(job.directory, "ca.pem"))

    async def open(self) -> Pipe:
        transport = await trio.open_tcp_stream(HOST, self._port)
        stream: Stream = trio.SSLStream(transport, self._context, server_hostname=SERVER_NAME)
        await stream.do_handshake()
        return StreamPipe(stream)


async def _client(job: Job, work: ClientWork) -> None:
    await work(TLSClient(job), in_thread)


def run_client(job: Job, work: ClientWork) -> None:
    trio.run(_client, job, work)


async def _server(job: Job, work: ServerWork) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(os.path.join(job.directory, "server.pem"))

    async def handle(transport: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # a client whose process ends takes no leave of TLS
            await answer(StreamPipe(trio.SSLStream(transport, context, server_side=True)))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        await work(listeners[0].socket.getsockname()[1], in_thread)
        nursery.cancel_scope.cancel()


def run_server(job: Job, work: ServerWork) -> None:
    trio.run(_server, job, work)
