"""Seventh layer of a connection: what arrives, and in which order it counts (gao-07 4.6, 8.4.2, 9.2)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from fsp_trio.core.authentic import SMALLEST, Authentic
from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.core.keyring import LIMBO
from fsp_trio.core.link import MASK
from fsp_trio.core.messages import MESSAGES_KEPT, MessageBuffer
from fsp_trio.core.paths import Address
from fsp_trio.revisions.states import CONFIRMING, CONNECTED, CONNECTING, OVER, PEER_OPEN, Event, Reply, State
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import FLAG_ECE, FLAG_EOT, FLAG_SRR, Op, sink_among
from fsp_trio.wire.serial import sub

LIMBO_DATAGRAM = 2048
"""Largest of them, in octets."""

_SPEAKING = frozenset(CONNECTED | {State.CHALLENGING, State.SHUT_REQUESTED, State.PRE_CLOSED, State.CLOSED})
_PRELIMINARY = frozenset({Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST})
_ACCEPTING = frozenset(CONNECTED | {State.CHALLENGING, State.PRE_CLOSED})
"""Where something new may still come in its turn."""
_OUT_OF_BAND = frozenset({Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.MULTIPLY})
_PACKET_EVENTS = {
    (Op.NULCOMMIT, True): Event.RCV_NULCOMMIT,
    (Op.PERSIST, False): Event.RCV_PERSIST,
    (Op.PERSIST, True): Event.RCV_PERSIST_EOT,
    (Op.PURE_DATA, False): Event.RCV_PURE_DATA,
    (Op.PURE_DATA, True): Event.RCV_PURE_DATA_EOT,
}


class Incoming(Authentic):
    """Tells packets apart, puts those of the stream in order and lets the state machine have them."""

    __slots__ = ("_compressed_in", "_limbo", "_messages_kept", "_telling_flags", "messages", "undelivered")

    def _start_incoming(self) -> None:
        self._start_authentic()
        revision = self.revision
        congestion = FLAG_ECE | FLAG_SRR if revision.tells_congestion else 0
        features = revision.unsupported_flags | revision.minimal_delay_flag
        self._telling_flags = (FLAG_EOT | features | congestion) << 24
        """Flags that mean something, as the fixed header has them."""
        self._limbo: list[tuple[bytes, Address, Address | None, float]] = []
        self._compressed_in: set[int] = set()
        """Which incoming transactions are compressed, counted as `ReceiveWindow` does (8.8)."""
        self._messages_kept = MESSAGES_KEPT
        self.messages: MessageBuffer | None = None
        """What waits for the reader, once the peer has begun to send with minimal delay (8.9)."""
        self.undelivered = 0
        """Octets of ours that the peer had not acknowledged when it released the connection (B16)."""

    def receive(
        self,
        datagrams: Sequence[bytes],
        source: Address,
        now: float,
        congested: bool = False,
        local: Address | None = None,
    ) -> None:
        """Take datagrams of at least 32 octets that came from `source` for this connection.  Never raises.

        `congested` tells that the network marked one of them Congestion Experienced, `local` at which of our addresses
        they came in, if that is known.
        """
        number = len(datagrams)
        statistics = self.statistics
        statistics.packets_received += number
        statistics.octets_received += sum(map(len, datagrams))
        before = self._news
        taken = 0
        self._arrived_at = local
        usual = source == self.remote and (local == self.local or self.local is None) and not self._trials
        if usual and self.state in PEER_OPEN and not self.received.early and self.messages is None:
            taken = self._receive_run(datagrams, now)
        if taken < number:
            for datagram in datagrams[taken:]:
                self._receive_one_untrusted(datagram, source, now)
        if self._compressed_in:
            self._inflate()
        if congested and self.revision.tells_congestion and (self._news != before or taken):
            self._ce_seen = True  # 4.6: echoed until SRR is heard (M45)

    def _ends(self, flags: int) -> bool:
        """The packet is the last one of a transaction; not so where there are none (4.6)."""
        return bool(flags & FLAG_EOT) and not flags & self.revision.minimal_delay_flag

    def _take_first_payload(self, sn: int, payload: bytes, flags: int, ends: bool, now: float) -> None:
        """Octets that the peer's first packet has brought: nothing was delivered before."""
        if flags & self.revision.minimal_delay_flag:
            return self._take_first_message(sn, payload, now)
        if payload:
            if flags & self.revision.compressed_flag:
                self._compressed_in.add(0)  # 8.8
            self.received.deliver(payload, ends)
            self.statistics.payload_received += len(payload)
        return None

    def _receive_run(self, datagrams: Sequence[bytes], now: float) -> int:
        """The common case in one loop: PURE_DATA without flags, in order, under one key.

        How many datagrams were taken from the front; the rest goes the long way.
        """
        received, sent = self.received, self.sent
        expected = received.expected
        protection, run = self.keyring.receiving.run(expected)
        room = min(received.window, run)
        open_ = protection.open
        codec = self.codec
        unpack = codec.unpack_head
        op_code = codec.op_codes[Op.PURE_DATA]
        telling = self._telling_flags
        peer_ids = self._peer_ids
        ready = received.ready
        octets = 0
        space = received.octets_left + SMALLEST
        acknowledgement = sent.una
        window = -1
        count = 0
        for datagram in datagrams:
            if count >= room:
                break
            op, major, offset, flags, sn, acknowledgement_here = unpack(datagram, ULTID_PAIR)
            if (
                sn != expected
                or op != op_code
                or offset != NORMAL_HEADER
                or major
                or flags & telling
                or datagram[:ULTID_PAIR] != peer_ids
                or octets + len(datagram) > space
            ):
                break
            if acknowledgement_here != acknowledgement:
                news = acknowledgement_here - acknowledgement & MASK
                if news > (sent.next_sn - acknowledgement & MASK):  # beyond what was sent, or older than known
                    break
            payload = open_(datagram)
            if not payload:
                break
            acknowledgement = acknowledgement_here
            window = flags & 0xFFFFFF
            ready.append(payload)
            octets += len(payload)
            expected = (expected + 1) & MASK
            count += 1
        if count:
            received.ready_octets += octets
            received.expected = expected
            received.latest_at = now
            self.statistics.payload_received += octets
            self.statistics.count_received(Op.PURE_DATA, count)
            self.last_heard = now
            newest = (expected - 1) & MASK
            if sub(newest, self._address_newest[0]) > 0:  # repeats come after what is newer (10.3)
                self._address_newest = (newest, 0)
            self._peer_open = True
            self._old_key_answer = False
            self._take_acknowledgement(acknowledgement, window, now)
            if self._snack_at == math.inf:
                self._shift_snack(now)
            if expected - self.told_expected & MASK >= self._snack_every:
                self._acknowledge_often(expected)
        return count

    # one packet, any kind

    def _receive_one_untrusted(self, datagram: bytes, source: Address, now: float) -> None:
        codec = self.codec
        op_code, major, offset, flags_window, sn, expected = codec.unpack_head(datagram, ULTID_PAIR)
        op = codec.ops.get(op_code)
        drop = self.statistics.drop
        if op is None:
            return drop("op-code")
        self.statistics.count_received(op)
        if major:
            return drop("major-version")  # G17
        if op is Op.RESET:
            return self._receive_reset_untrusted(datagram, sn, now)
        if op in _PRELIMINARY or (op is Op.ACK_CONNECT_REQ and self.state in CONNECTING):
            return self._receive_preliminary_untrusted(op, datagram, source, now)
        if self.state is State.CLONING:
            return self._receive_answer_untrusted(op, datagram, source, now)
        if self.state not in _SPEAKING:
            if self.state is State.NON_EXISTENT and self.failure is not None:
                self._tell_of_end_untrusted(datagram, now)
            return drop("state")
        if datagram[:ULTID_PAIR] != self._peer_ids and op is not Op.MULTIPLY:  # that has a new ULTID (11.1)
            return drop("source-ultid")  # M49
        flags = flags_window >> 24
        window = flags_window & 0xFFFFFF
        try:
            codec.check_shape(op_code, offset, flags, len(datagram) - ULTID_PAIR - offset)
            serial = codec.serial(datagram) if op in _OUT_OF_BAND else None
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        if serial is not None:
            self._receive_out_of_band_untrusted(
                op, datagram, source, now, flags=flags, window=window, sn=sn, expected=expected, serial=serial
            )
        else:
            self._receive_in_band_untrusted(
                op, datagram, source, now, offset=offset, flags=flags, window=window, sn=sn, expected=expected
            )

    @abstractmethod
    def _receive_preliminary_untrusted(self, op: Op, datagram: bytes, source: Address, now: float) -> None:
        """Packets of the handshake; the next layer knows them."""

    @abstractmethod
    def _inflate(self) -> None:
        """Something of a compressed transaction may have come; the layer of compression knows."""

    @abstractmethod
    def _take_first_message(self, sn: int, payload: bytes, now: float) -> None:
        """The first packet brought a message with minimal delay; the layer of these knows."""

    @abstractmethod
    def _take_message(
        self, op: Op, flags: int, payload: bytes, sn: int, expected: int, window: int, now: float
    ) -> None:
        """An authentic in-band packet of a flow with minimal delay, or the first one of it."""

    @abstractmethod
    def _receive_answer_untrusted(self, op: Op, datagram: bytes, source: Address, now: float) -> None:
        """Whatever comes while a MULTIPLY is not answered; the layer after the next knows."""

    def _tell_of_end_untrusted(self, datagram: bytes, now: float) -> None:
        """Something came for a connection that was reset (M35)."""
        self._repeat_reset(0, now)

    # in-band packets

    def _receive_in_band_untrusted(
        self,
        op: Op,
        datagram: bytes,
        source: Address,
        now: float,
        *,
        offset: int,
        flags: int,
        window: int,
        sn: int,
        expected: int,
    ) -> None:
        drop = self.statistics.drop
        received = self.received
        ahead = sub(sn, received.expected)
        oldest = 0 if self.state is State.CHALLENGING else -received.capacity
        if ahead > received.window or ahead < oldest:
            return drop("window")
        unsent = sub(expected, self.sent.next_sn)
        if unsent > 0 or (unsent < 0 and self.state is State.CHALLENGING):
            return drop("acknowledgement")  # M50; who confirms has ACK_CONNECT_REQ (6.5, S7)
        era = self.keyring.receiving.era(sn)
        old_key = era is not self.keyring.receiving.newest
        if old_key and era.secret.mode == "crc64" and self._new_key_heard:
            return drop("old-key")  # M30
        protection = self.keyring.receiving.protection(sn)
        body = self._open(datagram, protection, False, now)
        if body is None:
            if ahead >= 0 and not old_key:
                self._keep_unopened(datagram, source, now)
            return None
        headers = offset - NORMAL_HEADER
        sink = None
        if headers:
            try:
                extensions = self.codec.extensions(body[:headers])
            except MalformedPacket as malformed:
                return drop(malformed.reason)
            sink = sink_among(extensions)
        payload = body[headers:]
        if not old_key and not self._new_key_heard:
            self._hear_new_key(sn, 0, expected, window)
        if ahead >= 0 and sn not in received.early:  # anybody may send the others again
            self._authentic(sn, 0, source, sink, flags, now, follows=not old_key)
        self._old_key_answer = old_key
        if ahead >= 0 and (op is Op.ACK_CONNECT_REQ or self.state not in _ACCEPTING):
            again = op is Op.RELEASE and ahead == 0 and self._farewell is None  # else it was answered by ours already
            if again and self._happen(Event.RCV_RELEASE) is not None:
                received.advance(now)
                self._ack_now = True  # 5.12, M41
                return None
            return drop("state")  # a handshake packet in mid-session, or anything after RELEASE
        if flags & self.revision.unsupported_flags:
            return self._fail(Event.RESET, FailureKind.UNSUPPORTED, ResetReason.UNSUPPORTED, now)
        if self.messages is not None or flags & self.revision.minimal_delay_flag:
            return self._take_message(op, flags, payload, sn, expected, window, now)
        ending = op is Op.RELEASE and ahead == 0  # has no octets and is the last: needs no room (F27)
        if ahead >= received.window and ahead >= 0 and not ending:
            self._shift_snack(now)  # a probe of a shut window (M8)
            self._take_acknowledgement(expected, window, now)
            return drop("no-room")
        if ahead < 0 or sn in received.early:
            self.statistics.duplicates += 1
            self._take_acknowledgement(expected, window, now)
            self._answer_duplicate(op, now)
            return None
        if not received.fits(sn, len(payload)):
            received.refused = len(payload)
            if self.state is not State.CHALLENGING:  # as for a probe: else the sender would take us for dead
                self._take_acknowledgement(expected, window, now)
                self._shift_snack(now)
            return drop("no-room")
        if self.state is State.CHALLENGING and ahead == 0 and op in (Op.PURE_DATA, Op.RELEASE):
            return drop("state")  # 6.5: only NULCOMMIT or PERSIST confirms
        if ahead > 0:
            received.hold(sn, (op, flags, payload, now))
            self.statistics.out_of_order += 1
            if self.state is not State.CHALLENGING:
                self._take_acknowledgement(expected, window, now)
            self._shift_snack(now)
            return None
        self._take_in_order(op, flags, payload, expected, window, now)
        return None

    def _keep_unopened(self, datagram: bytes, source: Address, now: float) -> None:
        """Keep a packet that may be under the key which the application is about to install (7.2, F2).

        Its octets stay closed: nothing reads them before the key has opened them.
        """
        due = not self._peer_open and self.state in CONNECTED
        if due and len(datagram) <= LIMBO_DATAGRAM and len(self._limbo) < LIMBO:
            self._limbo.append((datagram, source, self._arrived_at, now))

    def _answer_duplicate(self, op: Op, now: float) -> None:
        """A packet that was accepted before draws an acknowledgement: ours may have been lost (8.4.2)."""
        if self._peer_open:
            self._shift_snack(now)
        elif self.state in self.revision.acknowledging or (op is Op.RELEASE and self._farewell):
            self._ack_now = True

    def _take_in_order(self, op: Op, flags: int, payload: bytes, expected: int, window: int, now: float) -> None:
        """A packet whose turn it is, and then all those that waited for it."""
        received = self.received
        first = received.expected
        arrived = now
        old_key = self._old_key_answer
        confirming = self.state in CONFIRMING
        flushing = confirming and self._unflushed is not None and expected == self.sent.next_sn  # M17
        self._take_acknowledgement(expected, window, now)
        while True:
            ends = bool(flags & FLAG_EOT)
            bare = op is self.revision.bare_commit and not payload
            technical = bare and (confirming or (not self._peer_open and self._first_of_key(first)))
            received.advance(arrived)
            if flags & self.revision.compressed_flag and payload and (confirming or not self._peer_open):
                self._compressed_in.add(received.ends)  # 8.8: the first packet tells
            self._happen_in_order(op, ends, payload, flushing, technical, now)
            if self.state in OVER:
                return
            early = received.take_early()
            if early is None:
                break
            first = received.expected
            confirming = flushing = False
            op, flags, payload, arrived = early
        self._old_key_answer = old_key
        self._acknowledge_often(received.expected)

    def _first_of_key(self, sn: int) -> bool:
        """The first number under an installed key: a bare commit there only announces the key (M30)."""
        if not self.revision.announces_keys:
            return False
        eras = self.keyring.receiving.eras
        return any(era.first == sn and era.secret.mode != "crc64" for era in eras)

    def _happen_in_order(self, op: Op, ends: bool, payload: bytes, flushing: bool, technical: bool, now: float) -> None:
        if op is Op.RELEASE:
            return self._take_release(now)
        confirming = self.state in CONFIRMING
        transition = self._happen(_PACKET_EVENTS[op, ends], flushing)
        if transition is None:
            return self.statistics.drop("state")
        self.statistics.payload_received += len(payload)
        if not technical:
            self.received.deliver(payload, ends)
        self._peer_open = not ends
        if not ends:
            self._limbo.clear()
        if confirming:
            self._confirmed(now)
        if transition.reply is Reply.ACK_FLUSH:
            self._ack_now = True
        else:
            self._shift_snack(now)
        return None

    def _confirmed(self, now: float) -> None:
        """The peer's first packet ends CHALLENGING or CLONING (6.5, 11.2, M20, M25)."""
        self._take_path(self.remote, self._arrived_at, now)
        self.established_at = now
        self._heartbeat_at = now + self.heartbeat_interval
        self._unflushed = None  # B10: it ends the transaction of ACK_CONNECT_REQ or MULTIPLY
        if self._committing:
            self.committed = self._committing
            self._committing = 0

    def _take_release(self, now: float) -> None:
        """RELEASE, everything before it being there (9.2, 9.3, M39, M40)."""
        crossing = self.state is State.PRE_CLOSED
        transition = self._happen(Event.RCV_RELEASE)
        if transition is None:
            return self.statistics.drop("state")
        if self._peer_open and self.messages is None:
            self.received.deliver(b"", True)
        self._peer_open = False
        if transition.reply is Reply.RELEASE:
            self._emit(self._urgent, Op.RELEASE, self.revision.release_flags, b"", now)
            self._farewell = self._urgent[-1]
        else:
            self._ack_now = transition.reply is Reply.ACK_FLUSH
        if crossing:
            last = self._unflushed
            self.closed_confirmed = last is None or sub(self.sent.una, last.sn) >= 0
            return self._closed(now)
        if self._committing and self.sent.una == self.sent.next_sn:
            self.committed = self._committing  # it has all arrived, only ACK_FLUSH was lost
        if self.queue.repeats:
            self.undelivered = self.queue.octets + self.sent.payload
        self.queue.clear()
        self.macroflow.forgotten(self.sent.clear())
        self._unflushed = None
        self._repeats = []
        if self._shutdown_requested or self.state is State.CLOSED:
            self._happen(Event.SHUTDOWN)
            self.closed_confirmed = self.undelivered == 0
            self._closed(now)
        return None
