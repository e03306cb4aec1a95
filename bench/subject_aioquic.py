"""aioquic over asyncio: one bidirectional stream per connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.tls import CipherSuite

from .client import Client, ClientWork, Numbers, Octets, Pipe, ServerWork, answer
from .jobs import BLOCK, HOST, SERVER_NAME, Job

T = TypeVar("T")
FLOW_CONTROL = 16 * 2**20
IDLE_TIMEOUT = 600.0
# leaves BLOCK octets to a stream frame; the rest is the header, the head of the frame and the tag
SMALL_DATAGRAM = BLOCK + 41


def _configuration(job: Job, *, is_client: bool) -> QuicConfiguration:
    configuration = QuicConfiguration(
        is_client=is_client,
        alpn_protocols=["bench"],
        cipher_suites=[CipherSuite.AES_128_GCM_SHA256],
        max_data=FLOW_CONTROL,
        max_stream_data=FLOW_CONTROL,
        idle_timeout=IDLE_TIMEOUT,
        server_name=SERVER_NAME if is_client else None,
    )
    if is_client:
        configuration.load_verify_locations(os.path.join(job.directory, "ca.pem"))
    else:
        configuration.load_cert_chain(
            os.path.join(job.directory, "certificate.pem"), os.path.join(job.directory, "key.pem")
        )
    return configuration


class StreamPipe:
    __slots__ = ("_writer", "receive")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.receive = reader.read
        self._writer = writer

    async def send(self, data: Octets) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def finish(self) -> None:
        self._writer.write_eof()


class QuicClient(Client):
    def __init__(self, job: Job, stack: AsyncExitStack) -> None:
        super().__init__()
        self._port = job.port
        self._stack = stack
        self._small = job.subject.endswith("1024")
        self._configuration = _configuration(job, is_client=True)
        self._newest: QuicConnectionProtocol | None = None

    async def open(self) -> Pipe:
        protocol = await self._stack.enter_async_context(connect(HOST, self._port, configuration=self._configuration))
        internals: Any = protocol
        if self._small:
            # the configuration refuses anything below 1,200 octets, so this goes past it after the handshake
            internals._quic._max_datagram_size = SMALL_DATAGRAM
        self._newest = protocol
        return StreamPipe(*await protocol.create_stream())

    def facts(self) -> Numbers:
        internals: Any = self._newest
        return {"packets_sent": internals._quic._packet_number} if internals is not None else {}


async def _in_thread(function: Callable[[], T], /) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, function)


async def _client(job: Job, work: ClientWork) -> None:
    stack = AsyncExitStack()  # never closed: what is open ends with the process
    await work(QuicClient(job, stack), _in_thread)


def run_client(job: Job, work: ClientWork) -> None:
    asyncio.run(_client(job, work))


async def _server(job: Job, work: ServerWork) -> None:
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(answer(StreamPipe(reader, writer)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await serve(HOST, 0, configuration=_configuration(job, is_client=False), stream_handler=accept)
    internals: Any = server
    await work(internals._transport.get_extra_info("sockname")[1], _in_thread)


def run_server(job: Job, work: ServerWork) -> None:
    asyncio.run(_server(job, work))
