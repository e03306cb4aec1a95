"""UDP over IPv4 on a non-blocking socket, with segmentation offload where the system has it. # gao-07 4.1

Trio is only asked to wait: sending and receiving are plain system calls that carry up to 64 datagrams each.
"""

from __future__ import annotations

import errno
import math
import operator
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any, Final, NoReturn, TypeAlias, cast

import trio

from . import _offload as offload
from ._host import HostWatch, addresses_up, source_of_route
from .base import Address, Batch, PortStatistics, count

DEFAULT_PORT: Final = 18003  # gao-07 15
LAST_PORT: Final = 65_535

SEND_BUFFER: Final = 1 << 20
RECEIVE_BUFFER: Final = 4 << 20

RECEIVE_CALLS: Final = 64
"""System calls within one `receive` at the most."""
SPARSE_ROUNDS: Final = 8
"""How often, after a datagram that came alone, one is taken without asking whether there is another."""

RECEIVE_OCTETS: Final = 1 << 19
"""Octets after which one `receive` leaves the rest for the next."""

REFUSALS_BEFORE_GIVING_UP: Final = 16
"""Segmented sends refused in a row until the port stops trying them."""

_LARGEST: Final = 65_536
_CONTROL_SPACE: Final = 128  # three small control messages; more than enough on every platform

_UNMARKED: Final = [(offload.SOL_IP, offload.IP_TOS, bytes([offload.ECT_0]))]
"""The control messages of nearly every datagram that came alone: nothing to tell."""

_Arrival: TypeAlias = tuple[list[bytes], int, bool, Address]


def errno_name(error: OSError) -> str:
    number = error.errno
    return errno.errorcode.get(number, str(number)) if number is not None else type(error).__name__


async def open_udp_port(
    host: str = "0.0.0.0",  # noqa: S104 - peers are elsewhere
    port: int = DEFAULT_PORT,
    *,
    udp_checksum: bool | None = None,
    reply_port: int | None = None,
    send_buffer: int = SEND_BUFFER,
    receive_buffer: int = RECEIVE_BUFFER,
) -> UDPPort:
    """Open a UDP port bound to the IPv4 address `host` and to `port`; port 0 lets the system choose.

    `udp_checksum`: True for every datagram, False for the preliminary ones only (which rules out
    segmentation offload for sending), None for the latter where offload is not in use (gao-07 4.1, G19).
    `reply_port`: the port to which answers go, whatever port a datagram came from; None for that one.
    `send_buffer` and `receive_buffer`: octets to ask the system for; what it grants is in the statistics.
    OSError if the name has no IPv4 address or the port is taken, ValueError for a port beyond 65535.  Cancelled, it
    leaves nothing open.
    """
    address = await resolve(host, port, passive=True)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    try:
        sock.bind(address)
        return UDPPort(
            sock,
            udp_checksum=udp_checksum,
            reply_port=reply_port,
            send_buffer=send_buffer,
            receive_buffer=receive_buffer,
        )
    except BaseException:
        sock.close()
        raise


async def resolve(host: str, port: int, *, passive: bool = False) -> tuple[str, int]:
    """Numeric IPv4 address of a host, and the port.

    OSError if it has none or its name is none; ValueError unless the port is one, 0 if `passive` included.
    """
    if not (0 if passive else 1) <= operator.index(port) <= LAST_PORT:
        raise ValueError(f"there is no UDP port {port}")
    flags = socket.AI_PASSIVE if passive else 0
    try:
        found = await trio.socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP, flags)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, f"{host!r} is not a host name") from None
    return str(found[0][4][0]), port


class UDPPort:
    """A bound UDP socket as a `Port`. Remote addresses are pairs of a numeric IPv4 address and a port."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        udp_checksum: bool | None = None,
        reply_port: int | None = None,
        send_buffer: int = SEND_BUFFER,
        receive_buffer: int = RECEIVE_BUFFER,
        features: offload.Features | None = None,
    ) -> None:
        """Takes possession of a bound socket; `features` is what to try, by default all the platform has."""
        features = offload.platform_features() if features is None else features
        sock.setblocking(False)
        self._sock = sock
        self._descriptor = sock.fileno()
        self._reply_port = reply_port
        self._another = partial(
            UDPPort,
            udp_checksum=udp_checksum,
            reply_port=reply_port,
            send_buffer=send_buffer,
            receive_buffer=receive_buffer,
            features=features,
        )
        self._host_watch: HostWatch | None = None
        self._sparse = 0
        self._closed = False
        host, number = sock.getsockname()
        self._local_address: tuple[str, int] = (host, number)
        self._arrives_at: Address | None = None
        self.statistics = PortStatistics()
        self.statistics.send_buffer = _ask_buffer(sock, socket.SO_SNDBUF, send_buffer)
        self.statistics.receive_buffer = _ask_buffer(sock, socket.SO_RCVBUF, receive_buffer)
        self._udp_checksum = udp_checksum
        self._can_omit_checksum = features.checksum_omission and _enable(
            sock, offload.SOL_SOCKET, offload.SO_NO_CHECK, 0
        )
        self._omitting = False  # the present state of SO_NO_CHECK
        self._refusals = 0
        self.statistics.segmentation_offload = (
            features.segmentation and udp_checksum is not False and _can_segment(sock)
        )
        self.statistics.receive_offload = features.coalescing and _enable(sock, offload.SOL_UDP, offload.UDP_GRO, 1)
        self.statistics.congestion_notification = (
            features.congestion_notification
            and _enable(sock, offload.SOL_IP, offload.IP_RECVTOS, 1)
            and _enable(sock, offload.SOL_IP, offload.IP_TOS, offload.ECT_0)
        )
        if features.drop_counter:
            _enable(sock, offload.SOL_SOCKET, offload.SO_RXQ_OVFL, 1)
        self._settle_checksum()
        self._buffer = bytearray(_LARGEST)
        self._buffers = [self._buffer]
        self._view = memoryview(self._buffer)
        self._arrival: Callable[[], _Arrival]
        if self.statistics.receive_offload:
            self._arrival = self._arrival_joined
        elif features.congestion_notification or features.drop_counter:
            self._arrival = self._arrival_with_control
        else:
            self._arrival = self._arrival_plain

    @property
    def local_address(self) -> Address:
        """A pair of numeric IPv4 address and port number, as the socket knows them."""
        return self._local_address

    async def wait_readable(self) -> None:
        if self._closed:
            self._refuse()
        try:
            await trio.lowlevel.wait_readable(self._descriptor)
        except trio.ClosedResourceError:
            if self._closed:  # else it was an interruption
                raise

    def check_remote(self, remote: Address) -> None:
        """A pair of a numeric IPv4 address and a port: a name would be looked up each time, and block."""
        match remote:
            case (str(host), int(port)) if 0 < port <= LAST_PORT:
                IPv4Address(host)
            case _:
                raise ValueError(f"{remote!r} is not a pair of IPv4 address and UDP port")

    def local_address_towards(self, remote: Address) -> Address:
        """A port that is bound to no address asks the system, which chooses one for each destination."""
        return self.bound_address or self.source_towards(remote) or self._local_address

    async def wait_writable(self) -> None:
        if self._closed:
            self._refuse()
        try:
            await trio.lowlevel.wait_writable(self._descriptor)
        except trio.ClosedResourceError:
            if self._closed:
                raise

    def interrupt(self) -> None:
        """Let whoever waits for the port return now, though nothing may have come."""
        if not self._closed:
            trio.lowlevel.notify_closing(self._sock)

    def close(self) -> None:
        """Close the socket (from within trio); tasks that wait for it get `trio.ClosedResourceError`."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._sock)
            self._sock.close()
            if self._host_watch is not None:
                self._host_watch.close()

    # The host's addresses

    @property
    def bound_address(self) -> tuple[str, int] | None:
        """None for a port that is bound to 0.0.0.0."""
        return None if IPv4Address(self._local_address[0]).is_unspecified else self._local_address

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Pairs of the IPv4 addresses of this host that are up, and the port number."""
        number = self._local_address[1]
        return tuple((host, number) for host in addresses_up())

    def source_towards(self, remote: Address) -> tuple[str, int] | None:
        """The address that the system would choose now if this port were bound to none, and the port number."""
        source = source_of_route(*cast("tuple[str, int]", remote))
        return None if source is None else (source, self._local_address[1])

    def sibling(self, local: Address) -> UDPPort:
        """A port at an IPv4 address of this host, with the same port number if that is free there.

        Its datagrams leave by the interface that has the address, where the system can do that.
        """
        host = str(local[0] if isinstance(local, tuple) else local)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
        try:
            self._bind_beside(sock, host)
            port = self._another(sock)
            port._arrives_at = port.local_address
            port.choose_interface()
        except BaseException:
            sock.close()
            raise
        return port

    def choose_interface(self) -> None:
        """Let datagrams leave by the interface that has the address of this port now."""
        interface = addresses_up().get(self._local_address[0])
        if sys.platform == "linux" and interface is not None and not self._closed:
            index = socket.htonl(socket.if_nametoindex(interface))
            _enable(self._sock, offload.SOL_IP, offload.IP_UNICAST_IF, index)

    def _bind_beside(self, sock: socket.socket, host: str) -> None:
        """Bind to the port number of this port, which may have that for all addresses."""
        both = (self._sock, sock)
        try:
            for each in both:
                _enable(each, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, self._local_address[1]))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            sock.bind((host, 0))
        finally:
            for each in both:  # for this moment only: else anybody could have the port
                _enable(each, socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    async def wait_addresses(self) -> None:
        if self._closed:
            self._refuse()
        if self._host_watch is None:
            self._host_watch = HostWatch()
        await self._host_watch.changed()

    def _refuse(self) -> NoReturn:
        raise trio.ClosedResourceError("the port has been closed")

    # Receiving

    def receive(self) -> list[Batch]:
        if self._closed:
            self._refuse()
        statistics = self.statistics
        arrival = self._arrival
        batches: list[Batch] = []
        octets_left = RECEIVE_OCTETS
        newest = None
        gathered: list[bytes] = []
        marked = False
        local = self._arrives_at
        for _ in range(RECEIVE_CALLS):
            statistics.receive_calls += 1
            try:
                datagrams, octets, congested, source = arrival()
            except BlockingIOError:
                if not batches and len(gathered) == 1:
                    self._sparse = SPARSE_ROUNDS
                break
            except OSError as error:  # an ICMP error of some earlier datagram, or one too large (Windows)
                count(statistics.receive_errors, errno_name(error))
                continue
            if not datagrams:
                continue
            statistics.datagrams_received += len(datagrams)
            statistics.octets_received += octets
            statistics.congestion_marks += congested
            if source == newest:
                gathered += datagrams
                marked |= congested
            else:
                if gathered:
                    batches.append(Batch(newest, gathered, marked, local))
                newest, gathered, marked = source, datagrams, congested
            octets_left -= octets
            if octets_left <= 0:
                break
            if self._sparse and not batches and len(gathered) == 1:
                self._sparse -= 1  # nearly always alone: waiting again costs no more than asking again
                break
        else:
            self._sparse = 0
        if gathered:
            batches.append(Batch(newest, gathered, marked, local))
        if self._reply_port is not None:
            return [self._readdressed(batch) for batch in batches]
        return batches

    def _readdressed(self, batch: Batch) -> Batch:
        host, _ = cast("tuple[str, int]", batch.source)
        return batch._replace(source=(host, self._reply_port))

    def _arrival_joined(self) -> _Arrival:
        """One system call; what the system has joined (UDP_GRO) is cut again by the size it tells."""
        octets, control, flags, source = self._sock.recvmsg_into(self._buffers, _CONTROL_SPACE)
        segment, congested = octets, False
        if control and control != _UNMARKED:
            segment, congested = self._read_control(control, octets)
        if flags & offload.CUT_SHORT:
            return self._truncated(source)
        if segment < octets:
            return list(offload.splitter(octets, segment).unpack_from(self._buffer)), octets, congested, source
        return [bytes(self._view[:octets])], octets, congested, source

    def _arrival_with_control(self) -> _Arrival:
        # For single datagrams a fresh object is faster than a copy out of the reused buffer.
        datagram, control, flags, source = self._sock.recvmsg(_LARGEST, _CONTROL_SPACE)
        congested = self._read_control(control, 0)[1] if control and control != _UNMARKED else False
        if flags & offload.CUT_SHORT:
            return self._truncated(source)
        return [datagram], len(datagram), congested, source

    def _arrival_plain(self) -> _Arrival:
        datagram, source = self._sock.recvfrom(_LARGEST)
        return [datagram], len(datagram), False, source

    def _read_control(self, control: list[tuple[int, int, bytes]], segment: int) -> tuple[int, bool]:
        """The size of the segments and whether the mark is ECN CE."""
        congested = False
        for level, kind, value in control:
            if kind == offload.IP_TOS and level == offload.SOL_IP:
                congested = value[0] & 0b11 == offload.CONGESTION_EXPERIENCED
            elif kind == offload.UDP_GRO and level == offload.SOL_UDP:
                segment = int.from_bytes(value, sys.byteorder)
            elif kind == offload.SO_RXQ_OVFL and level == offload.SOL_SOCKET:
                self.statistics.kernel_drops = int.from_bytes(value, sys.byteorder)
        return segment, congested

    def _truncated(self, source: Address) -> _Arrival:
        count(self.statistics.receive_errors, "truncated")
        return [], 0, False, source

    # Sending

    def send(self, remote: Address, datagrams: Sequence[bytes], *, preliminary: bool = False) -> int:
        if self._closed:
            self._refuse()
        if self.statistics.segmentation_offload and len(datagrams) > 1:
            return self._send_runs(remote, datagrams, preliminary)
        return self._send_each(remote, datagrams, preliminary)

    def _send_runs(self, remote: Address, datagrams: Sequence[bytes], preliminary: bool) -> int:
        """Runs of equal datagrams in one system call each."""
        lengths = list(map(len, datagrams))
        total = len(lengths)
        taken = 0
        while taken < total:
            number = offload.run_length(lengths, taken)
            run = datagrams[taken : taken + number]
            if number > 1 and self.statistics.segmentation_offload:
                done = self._send_run(remote, run, lengths[taken], preliminary)
            else:
                done = self._send_each(remote, run, preliminary)
            taken += done
            if done < number:
                break
        return taken

    def _send_run(self, remote: Any, run: Sequence[bytes], size: int, preliminary: bool) -> int:
        statistics = self.statistics
        statistics.send_calls += 1
        try:
            octets = self._sock.sendmsg(run, offload.segment_control(size), 0, remote)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in offload.OFFLOAD_ABSENT or error.errno in offload.OFFLOAD_REFUSED:
                return self._repeat_singly(error.errno, remote, run, preliminary)
            count(statistics.send_errors, errno_name(error), len(run))
            return len(run)
        self._refusals = 0
        statistics.datagrams_sent += len(run)
        statistics.octets_sent += octets
        return len(run)

    def _repeat_singly(self, error: int, remote: Address, run: Sequence[bytes], preliminary: bool) -> int:
        statistics = self.statistics
        statistics.segmentation_refusals += 1
        sent_before = statistics.datagrams_sent
        done = self._send_each(remote, run, preliminary)
        # Only where the datagrams leave singly was the segmentation to blame: an impossible address fails
        # both ways. A path with a small MTU (EMSGSIZE) says nothing about the other paths.
        if statistics.datagrams_sent > sent_before and error == errno.EINVAL:
            self._refusals += 1
        if error in offload.OFFLOAD_ABSENT or self._refusals >= REFUSALS_BEFORE_GIVING_UP:
            statistics.segmentation_offload = False
            self._settle_checksum()
        return done

    def _send_each(self, remote: Any, datagrams: Sequence[bytes], preliminary: bool) -> int:
        statistics = self.statistics
        omit = statistics.checksum_omitted and not preliminary
        if omit != self._omitting:
            self._omit_checksum(omit)
        sendto = self._sock.sendto
        for taken, datagram in enumerate(datagrams):
            statistics.send_calls += 1
            try:
                statistics.octets_sent += sendto(datagram, remote)
            except BlockingIOError:
                return taken
            except OSError as error:
                count(statistics.send_errors, errno_name(error))
            else:
                statistics.datagrams_sent += 1
        return len(datagrams)

    # The UDP checksum: gao-07 4.1 (G19, M53)

    def _settle_checksum(self) -> None:
        """The system refuses segmentation without checksum, hence the default follows the offload."""
        wanted = self._udp_checksum is False or (
            self._udp_checksum is None and not self.statistics.segmentation_offload
        )
        self.statistics.checksum_omitted = wanted and self._can_omit_checksum

    def _omit_checksum(self, omit: bool) -> None:
        if _enable(self._sock, offload.SOL_SOCKET, offload.SO_NO_CHECK, int(omit)):
            self._omitting = omit
        else:
            self._can_omit_checksum = False
            self._settle_checksum()


def _enable(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def _can_segment(sock: socket.socket) -> bool:
    try:
        sock.getsockopt(offload.SOL_UDP, offload.UDP_SEGMENT)
    except OSError:
        return False
    return True


def _ask_buffer(sock: socket.socket, option: int, octets: int) -> int:
    """Ask for a buffer and tell what was granted; some systems refuse what is too large and do not cut it."""
    for halvings in range(math.ceil(math.log2(octets)) if octets > 1 else 1):
        if _enable(sock, socket.SOL_SOCKET, option, octets >> halvings):
            break
    return sock.getsockopt(socket.SOL_SOCKET, option)
