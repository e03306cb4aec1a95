"""What every port offers: batches of datagrams in and out, without awaiting per datagram."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

Address: TypeAlias = Hashable


class Batch(NamedTuple):
    """Datagrams of one source, in the order of their arrival."""

    source: Address
    datagrams: list[bytes]
    congested: bool
    """The network marked at least one of them as having met congestion (ECN CE)."""
    local: Address | None = None
    """The address at this end to which they came, if the port is a sibling, which has only one."""


@dataclass(slots=True)
class PortStatistics:
    """What a port has done since it was opened."""

    datagrams_sent: int = 0
    octets_sent: int = 0
    """Octets of UDP payload, ULTIDs included."""
    send_calls: int = 0
    """System calls; one carries up to 64 datagrams."""
    datagrams_received: int = 0
    octets_received: int = 0
    receive_calls: int = 0
    """System calls, those that found nothing included."""
    congestion_marks: int = 0
    """Received units (a datagram, or several that the kernel had joined) with the mark ECN CE."""
    send_errors: dict[str, int] = field(default_factory=dict)
    """Datagrams that the system refused to send, by the name of the error."""
    receive_errors: dict[str, int] = field(default_factory=dict)
    """Errors reported in place of a datagram (ICMP mostly), by name, and `truncated`."""
    kernel_drops: int = 0
    """Datagrams that the system dropped because the receive buffer was full, where it tells."""
    segmentation_offload: bool = False
    """Several datagrams leave in one system call (UDP_SEGMENT)."""
    receive_offload: bool = False
    """The system joins datagrams of one source that arrive together (UDP_GRO)."""
    segmentation_refusals: int = 0
    """Segmented sends that the system refused and that were repeated datagram by datagram."""
    checksum_omitted: bool = False
    """Datagrams that are not preliminary leave without the UDP checksum."""
    congestion_notification: bool = False
    """Datagrams leave with the mark ECT(0), and marks of those that arrive are read."""
    send_buffer: int = 0
    """Octets granted, as the system reports them (Linux reports twice what was asked for)."""
    receive_buffer: int = 0
    """As `send_buffer`."""

    def copy(self) -> PortStatistics:
        """A snapshot."""
        return replace(self, send_errors=dict(self.send_errors), receive_errors=dict(self.receive_errors))

    def add(self, other: PortStatistics) -> None:
        """Add the counters of another port; what is no counter stays."""
        for name in _COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("send_errors", "receive_errors"):
            for reason, number in getattr(other, name).items():
                count(getattr(self, name), reason, number)


class Port(Protocol):
    """Where datagrams leave and arrive.

    Only one task at a time may wait for each direction.
    """

    @property
    def local_address(self) -> Address:
        """The address that the port itself knows; behind a NAT others see another one."""
        ...

    @property
    def statistics(self) -> PortStatistics:
        """The port's own counters, which go on counting; `FSPEndpoint.statistics` gives a copy."""
        ...

    async def wait_readable(self) -> None:
        """Wait until `receive` may have something, or for `interrupt`; `trio.ClosedResourceError` once closed."""
        ...

    async def wait_writable(self) -> None:
        """Wait until `send` may take something, at times too short; `trio.ClosedResourceError` once closed."""
        ...

    def check_remote(self, remote: Address) -> None:
        """ValueError if nothing could ever be sent there: it is no address of the kind that the port knows."""
        ...

    def local_address_towards(self, remote: Address) -> Address:
        """The address from which datagrams to `remote` leave, as far as the port can know it."""
        ...

    def interrupt(self) -> None:
        """Let whoever waits for the port to become readable return now, though nothing may have come."""
        ...

    def receive(self) -> list[Batch]:
        """What has arrived, without blocking and at most so much that other tasks get their turn."""
        ...

    def send(self, remote: Address, datagrams: Sequence[bytes], *, preliminary: bool = False) -> int:
        """Send without blocking; how many were taken, counted from the first.

        A datagram that cannot be sent at all counts as taken: to the session it is one more that the
        network lost. `preliminary` datagrams carry the UDP checksum in any case (gao-07 4.1, G19, M53).
        """
        ...

    def close(self) -> None:
        """Close it; idempotent, does not block.  Tasks that wait for it get `trio.ClosedResourceError`."""
        ...


@runtime_checkable
class RovingPort(Port, Protocol):
    """A port on a host whose addresses may change, and that may have several (gao-07 10).

    A plain `Port` will do, too: then only the peers can move.
    """

    @property
    def bound_address(self) -> Address | None:
        """The one address of this host to which the port is bound; None if it has all."""
        ...

    def addresses(self) -> tuple[Address, ...]:
        """Addresses of this host that are up now, each with the UDP port number of this port."""
        ...

    def source_towards(self, remote: Address) -> Address | None:
        """From where the system would send to `remote` now, if the port left it the choice; None if there is no way."""
        ...

    def sibling(self, local: Address) -> Self:
        """Another port at an address of this host; OSError if the host does not have it, or no port is free there.

        It gets what comes to that address from now on, says so in each `Batch`, and must be closed by itself.
        """
        ...

    def choose_interface(self) -> None:
        """For a port at one address, when the host's links have changed: send by the one that has the address now.

        OSError if that has gone in this moment.
        """
        ...

    async def wait_addresses(self) -> None:
        """Wait until something about addresses, links or routes of the host may have changed.

        `trio.ClosedResourceError` once closed.
        """
        ...


_COUNTERS = (
    "datagrams_sent",
    "octets_sent",
    "send_calls",
    "datagrams_received",
    "octets_received",
    "receive_calls",
    "congestion_marks",
    "kernel_drops",
    "segmentation_refusals",
)


def count(counters: dict[str, int], reason: str, number: int = 1) -> None:
    counters[reason] = counters.get(reason, 0) + number
