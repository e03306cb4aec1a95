"""Targets behind a UDP socket: one that runs, one that is started, a client that is waited for."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Network
from subprocess import DEVNULL
from typing import Final

import trio

from spec_conformance.bench import Bench
from spec_conformance.link import Link, UDPLink
from spec_conformance.profile import Profile
from spec_conformance.verdict import Outcome

START_TIMEOUT: Final = 10.0
"""Seconds in which a program that was started must answer."""
CLIENT_PATIENCE: Final = 30.0
"""Seconds in which the next client must have come."""
LOOPBACK: Final = IPv4Network("127.9.0.0/16")


class TargetLost(Exception):
    """Nobody answers; the message is one line for the user."""


class SocketTarget:
    """A responder at a host and port, or clients that come to a port of ours."""

    pace = 1.0
    virtual = False
    latency = 0.0
    client_patience = CLIENT_PATIENCE

    def __init__(
        self,
        profile: Profile,
        address: tuple[str, int],
        role: str = "responder",
        *,
        local: IPv4Network | None = None,
    ) -> None:
        self.profile = profile
        self.role = role
        self.address = address
        """Of the responder; or where clients are waited for."""
        self.local = LOOPBACK if local is None and address[0].startswith("127.") else local
        """Addresses of ours, each used by one link: cases do not share congestion state then (8.7)."""
        self._listening: trio.socket.SocketType | None = None
        self._links = 0

    async def open_link(self, beside: Link | None = None) -> Link:
        answers_to = self.profile.answers_to
        if beside is not None:
            return await UDPLink.open(self.address, (beside.local_address[0], 0), answers_to=answers_to)
        host = "0.0.0.0"  # noqa: S104
        if self.local is not None:
            host = str(self.local[self._links % (self.local.num_addresses - 2) + 1])
        self._links += 1
        return await UDPLink.open(self.address, (host, answers_to or 0), answers_to=answers_to)

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()

    async def listen(self) -> None:
        """Be there for clients, before the first `await_client`.  OSError if the port cannot be had."""
        self._listening = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await self._listening.bind(self.address)

    async def await_client(self) -> Link:
        """The port is shared by all cases, one after the other, so that no client finds it closed in between."""
        assert self._listening is not None
        return UDPLink(self._listening, shared=True, answers_to=self.profile.answers_to)

    def unix_microseconds(self) -> int:
        return time.time_ns() // 1000

    async def check(
        self, service: str = "echo", timeout_scale: float = 1.0, process: trio.Process | None = None
    ) -> None:
        """Wait until the responder, maybe a `process` of ours, answers INIT_CONNECT.  TargetLost if it does not."""
        deadline = trio.current_time() + START_TIMEOUT * timeout_scale
        detail = "it does not answer"
        while trio.current_time() < deadline:
            bench = Bench(self, timeout_scale=timeout_scale, service=service)
            bench.patience = 0.5 * timeout_scale
            peer = await bench.peer()
            try:
                await peer.greet()
            except Outcome as ended:
                detail = ended.detail
            except OSError as error:
                raise TargetLost(f"{self.address[0]}:{self.address[1]}: {error}") from None
            else:
                return
            finally:
                peer.link.close()
            if process is not None and process.poll() is not None:
                raise TargetLost(f"the target ended with exit code {process.returncode} before it answered")
            await trio.sleep(0.05)
        raise TargetLost(f"{self.address[0]}:{self.address[1]}: {detail}")


@asynccontextmanager
async def started(command: str, port: int, service: str = "echo") -> AsyncGenerator[trio.Process]:
    """Run a command, with the port and the service in place of `{port}` and `{service}`; it ends with the block."""
    words = [word.replace("{port}", str(port)).replace("{service}", service) for word in shlex.split(command)]
    try:
        process = await trio.lowlevel.open_process(words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    except OSError as error:
        raise TargetLost(f"{words[0]}: {error.strerror}") from None
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True), suppress(ProcessLookupError):
            process.terminate()
            with trio.move_on_after(3.0):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


def free_port() -> int:
    """A UDP port of the loopback interface that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
