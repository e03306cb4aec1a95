"""What carries datagrams between the suite and a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import trio


class Link(Protocol):
    """One address of the suite's, to and from which datagrams go."""

    @property
    def local_address(self) -> tuple[str, int]: ...

    async def send(self, datagram: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Wait for the next datagram."""
        ...

    def settle(self) -> None:
        """Whoever has sent the newest datagram is the remote end from now on; nobody else is heard."""
        ...

    def close(self) -> None: ...


class UDPLink:
    """A UDP socket.  `remote` is the target, or the sender of the first datagram if there is none.

    A target that `answers_to` one port, whatever port it was spoken to from, may itself speak from any.
    """

    def __init__(
        self,
        sock: trio.socket.SocketType,
        remote: tuple[str, int] | None = None,
        *,
        shared: bool = False,
        answers_to: int | None = None,
    ) -> None:
        self._socket = sock
        self._shared = shared
        self._answers_to = answers_to
        self.remote = remote
        self._source = remote

    @classmethod
    async def open(
        cls,
        remote: tuple[str, int] | None = None,
        local: tuple[str, int] = ("0.0.0.0", 0),  # noqa: S104
        *,
        answers_to: int | None = None,
    ) -> UDPLink:
        sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await sock.bind(local)
        return cls(sock, remote, answers_to=answers_to)

    @property
    def local_address(self) -> tuple[str, int]:
        host, port = self._socket.getsockname()
        return host, port

    async def send(self, datagram: bytes) -> None:
        assert self.remote is not None
        await self._socket.sendto(datagram, self.remote)

    async def receive(self) -> bytes:
        while True:
            try:
                datagram, source = await self._socket.recvfrom(65_536)
            except ConnectionError:  # ICMP tells that nobody is at the port
                continue
            if self._answers_to is not None:
                source = source[0], self._answers_to
            if self.remote is None or source == self.remote:
                self._source = source
                return datagram

    def settle(self) -> None:
        self.remote = self._source

    def close(self) -> None:
        if not self._shared:
            self._socket.close()


@dataclass(slots=True)
class Exchange:
    """A datagram that the suite sent or received."""

    time: float
    """Seconds since the case began."""
    sent: bool
    """By the suite."""
    datagram: bytes
    peer: int
    """Which of the case's peers."""
    words: str = ""
    """What it says, as far as whoever noted it could read it."""
