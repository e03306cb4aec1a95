"""A host of the simulated network: its addresses come and go, and it may have several."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from fsp_trio.ports.base import Address, count

from ._simulated_port import INBOX_OCTETS, SimulatedPort

if TYPE_CHECKING:
    from fsp_trio.testing.network import SimulatedNetwork

ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - nothing is bound

Attach = Callable[[Address, SimulatedPort | None], None]
"""Let what comes to an address go to a port, or to none."""


def is_loopback(address: str) -> bool:
    return address.startswith("127.")


class SimulatedHost:
    """IPv4 addresses with one UDP port number; made by `SimulatedNetwork.host`.

    What it sends from no particular address leaves from the one that `prefer` named last, or from the first one that it
    has, be it unplugged; but not from an address of 127.0.0.0/8, from which nobody else can be reached.
    """

    def __init__(self, network: SimulatedNetwork, addresses: Sequence[str], number: int, attach: Attach) -> None:
        self._network = network
        self._number = number
        self._attach = attach
        self._addresses: list[str] = []
        self._preferred: str | None = None
        self._unplugged: set[str] = set()
        self._primary: HostPort | None = None
        self._siblings: dict[str, HostPort] = {}
        self._changed = trio.Event()
        for address in addresses:
            self.add(address)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Those that it has now and that are not unplugged, each with the port number."""
        return tuple((address, self._number) for address in self._addresses if address not in self._unplugged)

    @property
    def source(self) -> tuple[str, int] | None:
        """From where it sends unless told; None if it has no address for that."""
        if self._preferred in self._addresses:
            return self._preferred, self._number
        outward = (address for address in self._addresses if not is_loopback(address))
        return next(((address, self._number) for address in outward), None)

    def port(self, *, receive_buffer: int = INBOX_OCTETS) -> HostPort:
        """The port for all addresses; ValueError if it is open already."""
        if self._primary is not None:
            raise ValueError("the port of the host is open already")
        self._primary = port = HostPort(self, None, self._network, receive_buffer)
        self._bind()
        return port

    def add(self, address: str) -> None:
        """The host has a further address from now on; ValueError if anybody has it."""
        local = (address, self._number)
        if address in self._addresses:
            raise ValueError(f"the host has {address} already")
        self._attach(local, self._siblings.get(address, self._primary))
        self._addresses.append(address)
        self._tell()

    def remove(self, address: str) -> None:
        """The host has the address no more: neither sends it from there nor does anything arrive.

        ValueError if it has not got it.
        """
        self._addresses.remove(address)
        self._unplugged.discard(address)
        self._attach((address, self._number), None)
        self._tell()

    def unplug(self, address: str) -> None:
        """There is no carrier where the address is: the host has it, and may send from there, but in vain."""
        self._unplugged.add(address)
        self._bind()
        self._tell()

    def plug(self, address: str) -> None:
        """The carrier is there again."""
        self._unplugged.discard(address)
        self._bind()
        self._tell()

    def prefer(self, address: str) -> None:
        """What the host sends unless told from where leaves from this address, as long as it has it."""
        self._preferred = address
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _bind(self) -> None:
        for address in self._addresses:
            port = None if address in self._unplugged else self._siblings.get(address, self._primary)
            self._attach((address, self._number), port)

    def has(self, address: str) -> bool:
        """It has the address, be it unplugged."""
        return address in self._addresses

    def is_unplugged(self, address: str) -> bool:
        return address in self._unplugged

    def open_sibling(self, address: str, receive_buffer: int) -> HostPort:
        """For the port: another one, of one address only."""
        if address not in self._addresses:
            raise OSError(errno.EADDRNOTAVAIL, "the host does not have the address", address)
        if address in self._siblings:
            raise OSError(errno.EADDRINUSE, "there is a port already", address)
        self._siblings[address] = port = HostPort(self, (address, self._number), self._network, receive_buffer)
        self._bind()
        return port

    def forget(self, port: HostPort) -> None:
        """For the port: it was closed."""
        if port is self._primary:
            self._primary = None
            self._tell()
        else:
            self._siblings = {address: sibling for address, sibling in self._siblings.items() if sibling is not port}
        self._bind()

    async def wait_changed(self) -> None:
        await self._changed.wait()


class HostPort(SimulatedPort):
    """Implements `RovingPort`; made by `SimulatedHost.port`."""

    def __init__(
        self, host: SimulatedHost, local: tuple[str, int] | None, network: SimulatedNetwork, receive_buffer: int
    ) -> None:
        super().__init__(
            local or (ANY_ADDRESS, host._number), network._send, lambda _: host.forget(self), receive_buffer
        )
        self.host = host
        self._network = network
        self._arrives_at = self._local = local

    @property
    def source(self) -> tuple[str, int] | None:
        if self._local is None:
            return self.host.source
        return self._local if self.host.has(self._local[0]) else None

    @property
    def bound_address(self) -> None:
        return None

    def addresses(self) -> tuple[tuple[str, int], ...]:
        return self.host.addresses

    def source_towards(self, remote: Address) -> Address | None:
        return self.host.source

    def local_address_towards(self, remote: Address) -> Address:
        return self.source or self.local_address

    def sibling(self, local: Address) -> HostPort:
        self._check_open()
        address = str(local[0] if isinstance(local, tuple) else local)
        return self.host.open_sibling(address, self.statistics.receive_buffer)

    def choose_interface(self) -> None:
        self._check_open()

    async def wait_addresses(self) -> None:
        self._check_open()
        await self.host.wait_changed()
        self._check_open()

    def send(self, remote: Address, datagrams: Sequence[bytes], *, preliminary: bool = False) -> int:
        source = self.source
        if not self._closed:
            if source is None or is_loopback(source[0]):
                count(self.statistics.send_errors, "ENETUNREACH", len(datagrams))
                return len(datagrams)
            if self.host.is_unplugged(source[0]):
                return len(datagrams)
        return super().send(remote, datagrams, preliminary=preliminary)
