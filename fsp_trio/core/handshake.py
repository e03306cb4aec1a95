"""Eighth layer of a connection: the handshake (gao-07 5.1 to 5.5, 6)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Self

from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.core.incoming import Incoming
from fsp_trio.core.link import MASK
from fsp_trio.core.paths import Address
from fsp_trio.core.receive_window import ReceiveWindow
from fsp_trio.core.responder import ConnectionRequest
from fsp_trio.core.send_window import SendWindow
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import Revision
from fsp_trio.revisions.states import AWAITING, Event, State
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import (
    FLAG_EOT,
    AckInitConnect,
    ConnectRequest,
    InitConnect,
    Normal,
    Op,
    Packet,
    Reset,
    SinkParameter,
    sink_among,
)
from fsp_trio.wire.prefixes import NO_PREFIX

NONCE_DISTANCE = 2**30
"""Least distance between the initial numbers of the two directions (N2)."""
REPEAT_ACCEPTANCE_AFTER = 0.25
"""Seconds between two ACK_CONNECT_REQ of a connection at least: they are longer than what asks for them (S9)."""
SECTOR = 512
"""Octets in the unit of a block size (jason-00 3.7)."""


def distant_number(peers: int, random: Callable[[int], bytes]) -> int:
    """A first sequence number, far from the peer's first (N2)."""
    spread = int.from_bytes(random(4), "big") % (2**32 - 2 * NONCE_DISTANCE)
    return (peers + NONCE_DISTANCE + spread) & MASK


class Handshake(Incoming):
    """Opens a connection, as initiator or as responder."""

    __slots__ = (
        "_connect_request",
        "_handshake_datagram",
        "_handshake_deadline",
        "_handshake_samples",
        "_handshake_sent_at",
        "_handshake_times",
        "_init",
        "_initial_sn",
        "_listener_ultid",
        "_prefix",
    )

    # beginnings

    @classmethod
    def initiate(
        cls,
        revision: Revision,
        settings: Settings,
        *,
        local_ultid: bytes,
        listener_ultid: bytes,
        remote: Address,
        now: float,
        unix_microseconds: int,
        congestion: CongestionManager,
        prefix: bytes = NO_PREFIX,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """API Connect: INIT_CONNECT to a listener (5.1, 6.1).

        Octets given to `send` before the answer comes travel in the PERSIST that confirms the connection.  `prefix`
        is where this end can be reached, as far as it knows (jason-00 3.7).
        """
        self = cls(
            revision,
            settings,
            local_ultid=local_ultid,
            remote_ultid=listener_ultid,
            remote=remote,
            now=now,
            congestion=congestion,
        )
        self._take_path(remote, None, now)
        self._begin(now)
        self._listener_ultid = listener_ultid
        self._prefix = prefix
        self._init = InitConnect(
            salt=random(4),
            timestamp=(unix_microseconds & 2**64 - 1).to_bytes(8, "big"),
            init_check_code=random(8),
        )
        self._initial_sn = int.from_bytes(random(4), "big")
        self._happen(Event.CONNECT)
        self._send_handshake(Op.INIT_CONNECT, self._init, now)
        return self

    @classmethod
    def accept(
        cls,
        revision: Revision,
        settings: Settings,
        request: ConnectionRequest,
        *,
        welcome: bytes = b"",
        now: float,
        congestion: CongestionManager,
        prefix: bytes = NO_PREFIX,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """API Accept: answer a request whose cookie was good (5.2, 6.4).

        `welcome`, at most one packet's payload, is the first transaction and travels in ACK_CONNECT_REQ (M18);
        `prefix` as for `initiate`.  Raises ValueError if the welcome is longer.
        """
        self = cls(
            revision,
            settings,
            local_ultid=request.local_ultid,
            remote_ultid=request.initiator_ultid,
            remote=request.source,
            now=now,
            congestion=congestion,
        )
        if len(welcome) > self.payload_limit:
            raise ValueError(f"welcome of {len(welcome)} octets does not fit into {self.payload_limit}")
        self._begin(now)
        self._prefix = prefix
        packet = request.packet
        self._adapt(packet.sink)
        self._connect_request = packet
        first = distant_number(packet.initial_sn, random)
        self.sent = SendWindow(first, 1)  # the initiator's window comes with its confirmation (8.6)
        self._begin_receiving(packet.initial_sn)
        self._begin_integrity(
            first,
            packet.initial_sn,
            proof=(packet.init_check_code, packet.cookie, packet.salt, packet.time_delta, packet.timestamp),
        )
        self.rtt.challenged(request.rtt)
        self._address_newest = ((packet.initial_sn - 1) & MASK, 0)
        self._peer_open = True
        self._told(packet.initial_sn, settings.receive_window)
        self._happen(Event.ACCEPT)
        self._emit(self._urgent, Op.ACK_CONNECT_REQ, FLAG_EOT, welcome, now)
        if not revision.acceptance_is_sealed:
            self._urgent[-1] = self._unsealed_acceptance(request, welcome)
        self._handshake_datagram = self._urgent[-1]
        self._unflushed = self.sent.blocks[-1]
        return self

    def _sink_for(self, listener: bytes) -> SinkParameter:
        return self.codec.handshake_sink(listener, self.settings.receive_window, self.payload_limit, self._prefix)

    def _unsealed_acceptance(self, request: ConnectionRequest, welcome: bytes) -> bytes:
        """ACK_CONNECT_REQ with the time in place of a check code, and a Sink Parameter (jason-00 3.9, 5.5, A7)."""
        codec = self.codec
        sink = self._sink_for(request.listener_ultid)
        packet = Normal(
            Op.ACK_CONNECT_REQ,
            FLAG_EOT,
            self.received.window,
            self.sent.blocks[-1].sn,
            self.received.expected,
            (request.arrived & 2**64 - 1).to_bytes(8, "big"),
            (sink,),
            welcome,
        )
        return self._ids + codec.encode(packet)

    def _adapt(self, sink: SinkParameter) -> None:
        """Send no larger blocks than the peer's (jason-00 3.7)."""
        if sink.block_size:
            self.payload_limit = min(self.payload_limit, sink.block_size * SECTOR)

    def _begin(self, now: float) -> None:
        self._start_outgoing(now)
        self._start_incoming()
        self._handshake_datagram = b""
        self._handshake_deadline = now + self.revision.transient_timeout
        self._handshake_sent_at = now
        self._handshake_times = 0
        self._handshake_samples: list[float] = []
        self._connect_request: ConnectRequest | None = None
        self._init: InitConnect | None = None
        self._initial_sn = 0
        self._listener_ultid = b""
        self._prefix = NO_PREFIX

    def _begin_receiving(self, first_sn: int) -> None:
        self.received = ReceiveWindow(first_sn, self.settings.receive_window, self.settings.receive_octets)
        self.has_windows = True

    # the handshake

    @property
    def preliminary(self) -> bool:
        """The packets of this state have no integrity check code, so they need the UDP checksum (M53).

        In revisions whose check code does not cover everything all do.
        """
        return not self.has_windows or len(self._reset_datagrams) > 1 or self.revision.udp_checksum is True

    @property
    def is_established(self) -> bool:
        return self.established_at < math.inf

    def _send_handshake(self, op: Op, packet: Packet, now: float) -> None:
        datagram = self._ids + self.codec.encode(packet)
        self._handshake_datagram = datagram
        self._handshake_sent_at = now
        self._handshake_times = 1
        self._urgent.append(datagram)
        self.statistics.count_sent(op)

    def _receive_preliminary_untrusted(self, op: Op, datagram: bytes, source: Address, now: float) -> None:
        drop = self.statistics.drop
        if datagram[4:ULTID_PAIR] != self.local_ultid:
            return drop("destination-ultid")  # 6.3
        try:
            packet = self.codec.decode(datagram[ULTID_PAIR:]) if op is not Op.ACK_CONNECT_REQ else None
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        if isinstance(packet, AckInitConnect):
            return self._take_challenge_untrusted(packet, datagram[:4], source, now)
        if isinstance(packet, ConnectRequest):
            if self.state is State.NON_EXISTENT:
                return self._refuse_again_untrusted(packet, now)
            return self._take_repeated_request_untrusted(packet, datagram[:4], now)
        if op is Op.ACK_CONNECT_REQ:
            return self._take_acceptance_untrusted(datagram, source, now)
        return drop("state")

    def _take_challenge_untrusted(self, packet: AckInitConnect, offered: bytes, source: Address, now: float) -> None:
        """ACK_INIT_CONNECT: ask formally (6.3)."""
        init = self._init
        if self.state is not State.CONNECT_BOOTSTRAP or init is None:
            return self.statistics.drop("state")
        named = packet.sink is None or self.codec.listener_of(packet.sink) == self._listener_ultid
        if offered == self.local_ultid:  # what we send could be sent back to us as the peer's
            return self.statistics.drop("source-ultid")
        if packet.init_check_code != init.init_check_code or not named:
            return self.statistics.drop("check-code")
        if self._handshake_times == 1:
            self._handshake_samples.append(now - self._handshake_sent_at)
        self._set_remote_ultid(offered)
        self.remote = source
        self._happen(Event.RCV_ACK_INIT_CONNECT)
        request = ConnectRequest(
            salt=init.salt,
            timestamp=init.timestamp,
            init_check_code=init.init_check_code,
            initial_sn=self._initial_sn,
            time_delta=packet.time_delta,
            cookie=packet.cookie,
            sink=self._sink_for(self._listener_ultid),
        )
        self._connect_request = request
        self._send_handshake(Op.CONNECT_REQUEST, request, now)
        return None

    def _refuse_again_untrusted(self, packet: ConnectRequest, now: float) -> None:
        """The request of a connection that was reset in CHALLENGING: the initiator knows no numbers (4.9, M35)."""
        if self._reset_datagrams and packet.cookie in self._reset_datagrams[-1]:
            self._repeat_reset(-1, now)
        return self.statistics.drop("state")

    def _take_repeated_request_untrusted(self, packet: ConnectRequest, source_ultid: bytes, now: float) -> None:
        """The initiator did not get our ACK_CONNECT_REQ: the same again (5.2, B4, M51, M53)."""
        if self.state is not State.CHALLENGING:
            return self.statistics.drop("state")
        first = self._connect_request
        assert first is not None
        if source_ultid != self.remote_ultid or packet.cookie != first.cookie:
            return self.statistics.drop("cookie")
        if packet.initial_sn != first.initial_sn:
            return self.statistics.drop("initial-sn")
        if now < self._handshake_sent_at + REPEAT_ACCEPTANCE_AFTER:
            return self.statistics.drop("repeat-rate")
        self._handshake_sent_at = now
        self._urgent = [self._handshake_datagram]
        for block in self.sent.blocks:
            block.times += 1  # Karn: no sample from it (M14)
        return None

    def _take_acceptance_untrusted(self, datagram: bytes, source: Address, now: float) -> None:
        """ACK_CONNECT_REQ: the connection is there; confirm it (5.4, 6.5)."""
        drop = self.statistics.drop
        request = self._connect_request
        if self.state is not State.CONNECT_AFFIRMING or request is None:
            return drop("state")
        if datagram[:ULTID_PAIR] != self._peer_ids:
            return drop("source-ultid")
        op_code, _, offset, flags_window, sn, expected = self.codec.unpack_head(datagram, ULTID_PAIR)
        flags, window = flags_window >> 24, flags_window & 0xFFFFFF
        try:
            self.codec.check_shape(op_code, offset, flags, len(datagram) - ULTID_PAIR - offset)
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        if expected != self._initial_sn:
            return drop("acknowledgement")  # 6.4
        proof = (request.init_check_code, request.cookie, request.salt, request.time_delta, request.timestamp)
        self._begin_integrity(self._initial_sn, sn, proof=proof)
        body: bytes | None = datagram[ULTID_PAIR + NORMAL_HEADER :]
        if self.revision.acceptance_is_sealed:
            body = self._open(datagram, self.keyring.receiving.protection(sn), False, now)
        if body is None:
            return None
        headers = offset - NORMAL_HEADER
        try:
            extensions = self.codec.extensions(body[:headers])
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        sink = sink_among(extensions)
        named = sink is not None and self.codec.listener_of(sink) == self._listener_ultid
        if not (self.revision.acceptance_is_sealed or named):
            return drop("sink-parameter")  # jason-00 5.5: nothing else says which listener answers
        if sink is not None:
            self._adapt(sink)
        if flags & self.revision.unsupported_flags:
            return self._fail(Event.RESET, FailureKind.UNSUPPORTED, ResetReason.UNSUPPORTED, now)  # F5
        payload = body[headers:]
        if self._handshake_times == 1:
            self._handshake_samples.append(now - self._handshake_sent_at)
        if self._handshake_samples:  # 8.5.1: the mean of both exchanges; none from repeated ones (M14)
            self.rtt.sample(sum(self._handshake_samples) / len(self._handshake_samples))
        self.sent = SendWindow(self._initial_sn, window)
        self._begin_receiving(sn)
        self._address_newest = (sn, 0)
        self._authentic(sn, 0, source, None, flags, now, follows=True)
        self._take_path(source, self._arrived_at, now)
        self._forget_handshake()
        self.received.advance(now)
        ends = self._ends(flags) or self.revision.acceptance_ends
        self._peer_open = not ends
        self._take_first_payload(sn, payload, flags, ends, now)
        self.established_at = now
        self._heartbeat_at = now + self.heartbeat_interval
        self._confirm(ends, now)
        return None

    def _confirm(self, ends: bool, now: float) -> None:
        """A bare commit, or PERSIST with what the application gave already (5.4, 6.5)."""
        event = Event.RCV_ACK_CONNECT_REQ_EOT if ends else Event.RCV_ACK_CONNECT_REQ
        bare = self.revision.bare_commit
        if not self.queue.ready:
            self._happen(event, True)
            self._emit(self._urgent, bare, FLAG_EOT, b"", now)
            self._end_sent(self.sent.blocks[-1], 0)
            return
        self._transaction_flags = self.queue.pieces[0].flags
        payload, ended = self.queue.cut(self.payload_limit)
        if not payload:  # an empty transaction of the application's own
            self._happen(event, True)
            self._emit(self._urgent, bare, FLAG_EOT, b"", now)
        else:
            self._happen(event, ended is not None)
            self._emit(self._urgent, Op.PERSIST, FLAG_EOT if ended is not None else 0, payload, now)
        if ended is not None:
            self._end_sent(self.sent.blocks[-1], ended.ordinal)

    def _confirmed(self, now: float) -> None:
        super()._confirmed(now)
        self._forget_handshake()

    def _forget_handshake(self) -> None:
        """Nothing asks for these again when the connection is established, or has ended."""
        self._handshake_datagram = b""
        self._handshake_samples = []
        self._connect_request = None
        self._init = None

    def _release_resources(self, tombstone_until: float) -> None:
        super()._release_resources(tombstone_until)
        self._repeats = []
        self._unflushed = None
        self._limbo = []
        self._forget_handshake()

    def _receive_reset_untrusted(self, datagram: bytes, sn: int, now: float) -> None:
        """RESET by state (M35); in the handshake it must repeat what only the peer has seen."""
        init, request = self._init, self._connect_request
        if self.state is State.CHALLENGING and self._echoes(datagram, request):
            if datagram[:ULTID_PAIR] != self._peer_ids:
                return self.statistics.drop("source-ultid")  # M49
            return self._refused(datagram, now)
        if self.state is State.CONNECT_AFFIRMING:
            if datagram[:ULTID_PAIR] == self._peer_ids and self._echoes(datagram, request):
                return self._refused(datagram, now)
            return self.statistics.drop("reset")
        if self.state is State.CONNECT_BOOTSTRAP:
            assert init is not None
            try:
                packet = self.codec.decode(datagram[ULTID_PAIR:])
            except MalformedPacket as malformed:
                return self.statistics.drop(malformed.reason)
            assert isinstance(packet, Reset)
            if packet.first == init.timestamp and packet.proof == init.init_check_code:
                return self._refused(datagram, now)
            return self.statistics.drop("reset")
        return super()._receive_reset_untrusted(datagram, sn, now)

    def _echoes(self, datagram: bytes, request: ConnectRequest | None) -> bool:
        """A RESET that repeats timestamp and cookie of the CONNECT_REQUEST (4.9)."""
        try:
            packet = self.codec.decode(datagram[ULTID_PAIR:])
        except MalformedPacket:
            return False
        assert isinstance(packet, Reset)
        return request is not None and packet.first == request.timestamp and packet.proof == request.cookie

    def _refused(self, datagram: bytes, now: float) -> None:
        self._fail(Event.RCV_RESET, FailureKind.REFUSED, self.codec.refusal_reason(datagram), now)

    def _make_resets(self, reason: int) -> list[bytes]:
        """The answer to a CONNECT_REQUEST repeats its fields (4.9); who has ACK_CONNECT_REQ wants numbers (M35)."""
        resets = super()._make_resets(reason) if self.has_windows else []
        request, init = self._connect_request, self._init
        if request is not None and (not resets or self.state is State.CHALLENGING):
            resets.append(self._ids + self.codec.encode(Reset(reason, request.timestamp, request.cookie)))
        elif not resets and init is not None:
            resets.append(self._ids + self.codec.encode(Reset(reason, init.timestamp, init.init_check_code)))
        return resets

    def _handle_handshake_timer(self, now: float) -> None:
        if now >= self._handshake_deadline:  # 6.6, 12.1
            return self._fail(Event.TRANSIENT_TIMEOUT, FailureKind.HANDSHAKE_TIMEOUT, ResetReason.TIMED_OUT, now)
        due = self._handshake_sent_at + self.settings.timers.handshake_interval
        if self.state in AWAITING and now >= due:
            self._handshake_sent_at = now
            self._handshake_times += 1
            self._urgent.append(self._handshake_datagram)
            self.statistics.retransmissions += 1
        return None
