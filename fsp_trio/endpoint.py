"""FSPEndpoint: one port, the sessions that share it, and the loop that sorts what arrives."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Container, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import trio

from fsp_trio import revisions
from fsp_trio._groups import unwrapped
from fsp_trio._halves import octets_of
from fsp_trio._insecure import warn_of
from fsp_trio._roaming import Roaming
from fsp_trio._timer_wheel import TimerWheel
from fsp_trio._tombstones import Tombstones
from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ResetReason
from fsp_trio.core.responder import ConnectionRequest, listener_of_untrusted
from fsp_trio.core.settings import MINIMUM_RECEIVE_WINDOW, Settings
from fsp_trio.errors import FSPBusyError, FSPClosedError, FSPConnectError
from fsp_trio.listener import Admit, FSPListener, Welcome
from fsp_trio.ports import Address, Batch, Port, PortStatistics, open_udp_port
from fsp_trio.ports.udp import resolve
from fsp_trio.revisions import Revision
from fsp_trio.session import FSPSession
from fsp_trio.statistics import EndpointStatistics
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.prefixes import NO_PREFIX, prefix_of

__all__ = ["DEFAULT_PORT", "FSPEndpoint", "open_fsp_endpoint"]

DEFAULT_PORT: Final = 18003
"""UDP port of FSP, and the service that is listened to and asked for unless told otherwise (M34)."""
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - an endpoint is meant to be reached
SMALLEST: Final = 32
"""Octets of the smallest datagram: two ULTIDs and the shortest packet."""
LARGEST_SERVICE: Final = 65_535
"""ULTIDs up to this one are services' (G4); those drawn at random are above (M49)."""
ULTID_ATTEMPTS: Final = 64
BUFFER_PER_BLOCK: Final = {True: 1536, False: 2560}
"""Octets of the socket's receive buffer that a block of the receive window takes, with and without receive offload:
the system counts its own overhead, which is large for single datagrams."""
REFUSALS_PER_SECOND: Final = 100
"""RESET packets that answer requests at the most (B2)."""


class FSPEndpoint:
    """One datagram port and all sessions over it, opened from here or accepted; see `open_fsp_endpoint`."""

    def __init__(
        self,
        port: Port,
        nursery: trio.Nursery,
        *,
        settings: Settings,
        revision: Revision,
        max_tombstones: int,
        unix_time: Callable[[], int],
        random: Callable[[int], bytes],
    ) -> None:
        self._port = port
        self._nursery = nursery
        self._settings = _fitting(settings, port.statistics)
        self._revision = revision
        self._unix_time = unix_time
        self._random = random
        self._congestion = CongestionManager()
        self._wheel = TimerWheel()
        self._sessions: dict[bytes, FSPSession] = {}
        self._listeners: dict[bytes, FSPListener] = {}
        self._tombstones = Tombstones(self._wheel, max_tombstones)
        self._taken = _Taken(self)
        self._closing = False
        self._all_over = trio.lowlevel.ParkingLot()
        self._roaming = Roaming(port, settings, nursery, self._sort_untrusted)
        self._challenges = 0
        self._inbox_drops = 0
        self._drops: dict[str, int] = {}
        self._refusals_second = 0
        self._refusals = 0

    # looking

    @property
    def local_address(self) -> Address:
        """The port's own address; for UDP a pair of address and port number."""
        return self._port.local_address

    @property
    def settings(self) -> Settings:
        """The settings of all sessions of the endpoint."""
        return self._settings

    @property
    def sessions(self) -> list[FSPSession]:
        """The sessions alive: being opened, established, or lingering."""
        return list(self._sessions.values())

    def statistics(self) -> EndpointStatistics:
        """Counters as they stand now."""
        return EndpointStatistics(
            port=self._roaming.statistics(),
            sessions=len(self._sessions),
            tombstones=len(self._tombstones),
            listeners=len(self._listeners),
            inbox_drops=self._inbox_drops,
            challenges=self._challenges,
            drops=dict(self._drops),
        )

    # using

    def listen(
        self,
        service: int = DEFAULT_PORT,
        *,
        backlog: int = 128,
        welcome: Welcome = b"",
        admit: Admit | None = None,
    ) -> FSPListener:
        """Listen for sessions to a service (up to 65535, gao-07 13.1) or to a larger ULTID.

        `backlog`: how many sessions may be unconfirmed or unaccepted; further requests are answered with RESET,
        reason NO_RESOURCES (6.4, B2).  `welcome`: octets of the first transaction to the initiator, at most one
        packet, or a function that gives them; they travel in ACK_CONNECT_REQ (6.4, 8.2).  An initiator that uses the
        session as a stream or channel meets them as its first transaction.  `admit`: gets the source address of
        a request whose cookie is good; False refuses it with RESET, reason REJECTED.  An exception of either
        function is logged, and the request refused.

        FSPBusyError if somebody listens there already, FSPClosedError when the endpoint is being left, ValueError
        for an argument out of its range.
        """
        if self._closing:
            raise FSPClosedError("the endpoint is closed")
        if not 0 < service < 2**32:
            raise ValueError(f"a service or ULTID is between 1 and 2**32-1, not {service}")
        ultid = service.to_bytes(4, "big")
        if ultid in self._taken:
            raise FSPBusyError(f"ULTID {service} is in use at this endpoint")
        listener = FSPListener(self, ultid, backlog=backlog, welcome=welcome, admit=admit)
        self._listeners[ultid] = listener
        return listener

    async def open_session(
        self, host: str, port: int = DEFAULT_PORT, *, service: int = DEFAULT_PORT, first: bytes = b""
    ) -> FSPSession:
        """Open a session with the service (or larger ULTID) of the endpoint at an IPv4 host and UDP port.

        Returns when the peer has accepted the connection (gao-07 6.4).  `first`: octets of a first transaction that
        travels in the packets which confirm the connection (6.5), a round trip earlier than one begun afterwards;
        at most `Settings.send_buffer` of them.  FSPConnectError if it refuses or does not
        answer within 60 seconds, OSError if `host` has no address, FSPClosedError when the endpoint is being left,
        ValueError for an argument out of its range.
        Cancelled, it leaves nothing behind; the peer is told if it may know of the session.
        """
        return await self.open_session_to(await resolve(host, port), service=service, first=first)

    async def open_session_to(self, remote: Address, *, service: int = DEFAULT_PORT, first: bytes = b"") -> FSPSession:
        """As `open_session`, to an address as the port knows it: no name is resolved.

        ValueError if it is no such address.
        """
        if self._closing:
            raise FSPClosedError("the endpoint is closed")
        if not 0 < service < 2**32:
            raise ValueError(f"a service or ULTID is between 1 and 2**32-1, not {service}")
        first = octets_of(first)
        self._port.check_remote(remote)
        if len(first) > self._settings.send_buffer:
            raise ValueError(f"a first transaction of {len(first)} octets does not fit into the send buffer")
        await trio.lowlevel.checkpoint_if_cancelled()
        now = trio.current_time()
        connection = Connection.initiate(
            self._revision,
            self._settings,
            local_ultid=self._new_ultid(),
            listener_ultid=service.to_bytes(4, "big"),
            remote=remote,
            now=now,
            unix_microseconds=self._unix_time(),
            congestion=self._congestion,
            prefix=self._prefix_towards(remote),
            random=self._random,
        )
        self._roaming.introduce(connection)
        session = FSPSession(self, connection)
        if first:
            session._queue_first(first)
        try:
            self._adopt(session, now)
            await session._until(lambda: connection.is_established or connection.is_over)
        except BaseException:
            session.reset(ResetReason.APPLICATION)
            raise
        if not connection.is_established:
            failure = connection.failure
            if failure is None or session._closed:
                raise FSPClosedError("the endpoint is closed")
            raise FSPConnectError(f"no session: {failure}", kind=failure.kind, reason=failure.reason)
        session._established()
        return session

    def advertise(self, addresses: Sequence[Address]) -> None:
        """Tell all peers by which addresses this endpoint can be reached from outside, up to four (gao-07 4.7, 10.6).

        For addresses that a NAT has given, pairs of IPv4 address and port, the most wanted first and the last resort
        last; how they were learnt (PCP, by configuration) is the application's business.  They count until a local
        address changes, or until this is called again.  Peers use them instead of the addresses that they see.
        ValueError if one is no address.
        """
        for address in addresses:
            self._port.check_remote(address)
        self._roaming.advertise(addresses, self.sessions)

    # sessions come and go

    def _new_ultid(self) -> bytes:
        for _ in range(ULTID_ATTEMPTS):
            ultid = self._random(4)
            if int.from_bytes(ultid, "big") > LARGEST_SERVICE and ultid not in self._taken:
                return ultid
        raise FSPBusyError("no ULTID is free")

    def _prefix_towards(self, remote: Address) -> bytes:
        """Where this end tells peers to reach it, in revisions that ask for that (jason-00 3.7)."""
        return prefix_of(self._port.local_address_towards(remote)) if self._revision.names_prefix else NO_PREFIX

    def _new_branch(self, connection: Connection) -> FSPSession:
        return FSPSession(self, connection)

    def _adopt(self, session: FSPSession, now: float, nursery: trio.Nursery | None = None) -> None:
        """A new session; a branch runs in the nursery of its parent."""
        self._sessions[session.local_ultid] = session
        (nursery or self._nursery).start_soon(session._run, name="FSP session")
        session._after(now)

    def _bury(self, connection: Connection, now: float) -> None:
        """A connection is over: keep it only as long as it has to answer its peer."""
        if self._sessions.pop(connection.local_ultid, None) is not None:
            self._tombstones.add(connection, now)
            if not self._sessions:
                self._all_over.unpark_all()

    def _forget_listener(self, listener: FSPListener) -> None:
        self._listeners.pop(listener.ultid, None)

    async def _leave(self, linger: float) -> None:
        """The application leaves: nothing new, what was closed may finish, everything else ends now."""
        self._stop()
        with trio.move_on_after(linger):
            while self._sessions:
                await self._all_over.park()

    def _stop(self) -> None:
        self._closing = True
        for listener in list(self._listeners.values()):
            listener.close()
        for session in list(self._sessions.values()):
            if not session._closed:
                session.reset(ResetReason.APPLICATION)

    def _abort(self) -> None:
        self._stop()
        for session in list(self._sessions.values()):
            session._abort(ResetReason.TIMED_OUT)

    # receiving

    def _sort_untrusted(self, batches: list[Batch]) -> None:
        """Hand batches on by destination ULTID, octets 4 to 7 of each datagram (gao-07 4.1)."""
        alone = len(batches) == 1
        for batch in batches:
            datagrams = batch.datagrams
            ultid = datagrams[0][4:8]
            for datagram in datagrams:
                if datagram[4:8] != ultid or len(datagram) < SMALLEST:
                    self._sort_mixed_untrusted(batch)
                    break
            else:
                self._hand_on_untrusted(ultid, batch, alone)

    def _sort_mixed_untrusted(self, batch: Batch) -> None:
        source, datagrams, congested, local = batch
        run: list[bytes] = []
        ultid = b""
        for datagram in datagrams:
            if len(datagram) < SMALLEST:
                self._drop("truncated", 1)
            elif datagram[4:8] == ultid:
                run.append(datagram)
            else:
                if run:
                    self._hand_on_untrusted(ultid, Batch(source, run, congested, local))
                run = [datagram]
                ultid = datagram[4:8]
        if run:
            self._hand_on_untrusted(ultid, Batch(source, run, congested, local))

    def _hand_on_untrusted(self, ultid: bytes, batch: Batch, alone: bool = False) -> None:
        session = self._sessions.get(ultid)
        if session is not None:
            session._deliver(batch, alone=alone)
        elif ultid in self._tombstones:
            self._ask_tombstone_untrusted(ultid, batch)
        else:
            for datagram in batch.datagrams:
                self._greet_untrusted(datagram, batch.source, batch.local)

    def _ask_tombstone_untrusted(self, ultid: bytes, batch: Batch) -> None:
        """A dead connection answers what it must: RELEASE, or anything after a RESET (M35, M41)."""
        now = trio.current_time()
        connection = self._tombstones.awake(ultid, now)
        if connection is None:
            self._drop("closed-ultid", len(batch.datagrams))
            return
        drops = connection.statistics.drops
        before = dict(drops)
        connection.receive(batch.datagrams, batch.source, now, batch.congested, batch.local)
        for reason, number in drops.items():
            self._drop(reason, number - before.get(reason, 0))
        if answer := connection.datagrams_to_send(now):
            port = self._roaming.gate(connection.local).port
            port.send(connection.remote, answer, preliminary=connection.preliminary)

    def _greet_untrusted(self, datagram: bytes, source: Address, local: Address | None) -> None:
        """A datagram for no session: the first or third of a handshake, or nothing (6.1 to 6.4, M36, M51)."""
        try:
            ultid = listener_of_untrusted(self._revision, datagram)
        except MalformedPacket as malformed:
            return self._drop(malformed.reason, 1)
        if ultid is None:
            return self._drop("unknown-ultid", 1)
        listener = self._listeners.get(ultid)
        if listener is None:
            return self._drop("no-listener", 1)
        now = trio.current_time()
        try:
            answer = listener._responder.receive_untrusted(datagram, source, now, self._unix_time(), self._taken)
        except MalformedPacket as malformed:
            return self._drop(malformed.reason, 1)
        if isinstance(answer, bytes):
            self._challenges += 1
            self._roaming.gate(local).port.send(source, [answer], preliminary=True)
        elif answer is None:
            self._drop("silence", 1)
        else:
            self._answer(listener, answer, local, now)
        return None

    def _answer(self, listener: FSPListener, request: ConnectionRequest, local: Address | None, now: float) -> None:
        """A request whose cookie is good: accept it, or say why not (6.4)."""
        if request.local_ultid in self._taken:
            return self._drop("taken-ultid", 1)  # M51: silence
        refusal = listener._refusal(request)
        session = listener._incarnate(request, local, now) if refusal is None else None
        if session is not None:
            return self._adopt(session, now)
        if self._may_refuse(now):
            packet = listener._responder.refuse(request, refusal or ResetReason.NO_RESOURCES)
            self._roaming.gate(local).port.send(request.source, [packet], preliminary=True)
        return None

    def _may_refuse(self, now: float) -> bool:
        second = int(now)
        if second != self._refusals_second:
            self._refusals_second = second
            self._refusals = 0
        self._refusals += 1
        return self._refusals <= REFUSALS_PER_SECOND

    def _drop(self, reason: str, number: int) -> None:
        if number:
            self._drops[reason] = self._drops.get(reason, 0) + number


def _fitting(settings: Settings, port: PortStatistics) -> Settings:
    """The settings, with a receive window that the socket's buffer can hold while the process is not looking.

    What overflows there is lost, and a repeat comes a second later at the earliest (8.5.4).
    """
    blocks = max(port.receive_buffer // BUFFER_PER_BLOCK[port.receive_offload], MINIMUM_RECEIVE_WINDOW)
    if not port.receive_buffer or blocks >= settings.receive_window:
        return settings
    return replace(settings, receive_window=blocks)


class _Taken(Container[bytes]):
    """The ULTIDs that must not be given to a new session (M49)."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: FSPEndpoint) -> None:
        self._endpoint = endpoint

    def __contains__(self, ultid: object) -> bool:
        endpoint = self._endpoint
        return ultid in endpoint._sessions or ultid in endpoint._tombstones or ultid in endpoint._listeners


def _unix_microseconds() -> int:
    return time.time_ns() // 1000


@asynccontextmanager
async def open_fsp_endpoint(
    host: str = ANY_ADDRESS,
    port: int = DEFAULT_PORT,
    *,
    settings: Settings | None = None,
    revision: str = "gao-07",
    transport: Port | None = None,
    linger: float = 2.0,
    max_tombstones: int = 4096,
    unix_time: Callable[[], int] = _unix_microseconds,
    random: Callable[[int], bytes] = os.urandom,
) -> AsyncGenerator[FSPEndpoint, None]:
    """An endpoint on a UDP port, as an asynchronous context manager.

    `host` and `port`: the local IPv4 address and UDP port, 0 for any.  `settings`: of all sessions.  `revision`: of
    the protocol, by name: gao-07, jason-00 or reference-2020; the last one warns, once per process, and sends to port
    18003 whatever port its peers send from.  `transport`: a port to use, and close, instead of opening one.
    `linger`: seconds that sessions closed gracefully, and not yet finished, get when the block is left; then, as those
    that were not closed at all, they are reset.  `max_tombstones`: ended sessions remembered at the most, for their
    peers' repeated packets (two minutes, M41).  `unix_time`: microseconds since 1970 for the Timestamp field (gao-07
    4.5.1).  `random`: gives so many random octets; only tests have a reason to set it.

    If the block is left by an exception all sessions are reset at once, and the exception comes out as itself.
    OSError if the port cannot be opened, ValueError for an unknown revision or an argument out of its range.
    """
    if not linger >= 0 or max_tombstones < 1:
        raise ValueError("linger must not be negative, and max_tombstones at least 1")
    settings = settings or Settings()
    protocol = revisions.get(revision)
    if protocol.repeats_nonces:
        warn_of(protocol)
    if transport is not None:
        carrier = transport
    else:
        carrier = await open_udp_port(host, port, udp_checksum=protocol.udp_checksum, reply_port=protocol.reply_port)
    failure: BaseException | None = None
    try:
        with unwrapped():
            async with trio.open_nursery() as nursery:
                endpoint = FSPEndpoint(
                    carrier,
                    nursery,
                    settings=settings,
                    revision=protocol,
                    max_tombstones=max_tombstones,
                    unix_time=unix_time,
                    random=random,
                )
                nursery.start_soon(endpoint._wheel.run)
                nursery.start_soon(endpoint._roaming.primary.run, name="FSP receive loop")
                nursery.start_soon(endpoint._roaming.watch, lambda: list(endpoint._sessions.values()))
                try:
                    try:
                        yield endpoint
                    except BaseException as error:
                        failure = error
                    else:
                        await endpoint._leave(linger)
                finally:
                    endpoint._abort()
                    endpoint._roaming.close()
                    nursery.cancel_scope.cancel()
    finally:
        carrier.close()
    if failure is not None:
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context
            del failure
