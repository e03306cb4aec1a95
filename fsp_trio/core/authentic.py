"""Sixth layer of a connection: what proves to be the peer's, and what is not part of the stream.

gao-07 4.8, 4.9, 8.4.2, 8.5.3, 10.3.  Names that end in `_untrusted` take octets that nothing has vouched for.
Everything that is refused is counted in `statistics.drops` by reason and changes nothing else.
"""

from __future__ import annotations

from abc import abstractmethod

from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.core.keyring import Era, Secret
from fsp_trio.core.link import MASK, NEXT
from fsp_trio.core.mobile import Mobile
from fsp_trio.core.paths import Address
from fsp_trio.integrity import Protection
from fsp_trio.revisions.states import CLOSING, CONNECTED, OVER, Event
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import FLAG_ECE, FLAG_EOT, FLAG_SRR, Op, SinkParameter, sink_among
from fsp_trio.wire.serial import sub

SMALLEST = ULTID_PAIR + NORMAL_HEADER
MULTIPLY_REACH = 2**20
"""How far behind the window the number of a MULTIPLY may lie (M22)."""
_ACKNOWLEDGED = CONNECTED | CLOSING


class Authentic(Mobile):
    """Opens packets, notes what they prove, and takes acknowledgements and RESET."""

    __slots__ = ("_new_key_heard", "_news")

    def _start_authentic(self) -> None:
        self._start_mobile()
        self._new_key_heard = True
        """A packet under the newest installed key has arrived: CRC64 is over (M30)."""
        self._news = 0
        """Packets that proved to be the peer's, and new."""

    def _open(self, datagram: bytes, protection: Protection, out_of_band: bool, now: float) -> bytes | None:
        body = protection.open(datagram, out_of_band)
        if body is None:
            self.statistics.drop("icc")
            self.statistics.failed_checks += 1
            if protection.mode == "aead" and self.keyring.forged(len(datagram)):
                self._fail(Event.RESET, FailureKind.FORGERIES, ResetReason.KEY_EXHAUSTED, now)
        return body

    def _authentic(
        self,
        sn: int,
        serial: int,
        source: Address,
        sink: SinkParameter | None,
        flags: int,
        now: float,
        *,
        follows: bool,
    ) -> None:
        """A packet proved to be the peer's, and new: note when, from where, and its congestion flags."""
        self._news += 1
        if self.last_heard < self._last_asked_at:
            self.rtt.progress()  # doublings were for the silence, and that is over (F57)
        self.last_heard = max(self.last_heard, now)  # a packet kept unopened came earlier (F2)
        newest_sn, newest_serial = self._address_newest
        later = sub(sn, newest_sn)
        if later > 0 or (later == 0 and sub(serial, newest_serial) > 0):  # 10.3, B15
            self._address_newest = (sn, serial)
            if follows:
                self._locate(source, sink, serial > 0, now)  # 10.5, M34
        if not self.revision.tells_congestion:
            return
        if flags & FLAG_ECE and self._srr_since is None:
            self._srr_since = NEXT  # 8.7: told once, until SRR is acknowledged
            # what met congestion left a round trip ago: sessions that hear of the same event reduce once (B18)
            self.macroflow.congested(now - self.rtt.srtt, now)
        if flags & FLAG_SRR:
            self._ce_seen = False

    def _hear_new_key(self, sn: int, serial: int, expected: int, window: int) -> None:
        """The first packet under the newest key: what was said before it of address and window no longer counts.

        Under CRC64 it may have been anybody who said it (M30, F11).
        """
        self._new_key_heard = True
        self._address_newest = ((sn - 1) & MASK, serial)
        self.sent.advertise_anew(expected, window)

    # out-of-band packets

    def _receive_out_of_band_untrusted(
        self,
        op: Op,
        datagram: bytes,
        source: Address,
        now: float,
        *,
        flags: int,
        window: int,
        sn: int,
        expected: int,
        serial: int,
    ) -> None:
        drop = self.statistics.drop
        received = self.received
        if self.state not in (CONNECTED if op is Op.MULTIPLY else _ACKNOWLEDGED):
            return drop("state")  # 11.2
        ahead = sub(sn, received.expected)
        reach = MULTIPLY_REACH if op is Op.MULTIPLY else received.capacity
        awaited = op is Op.ACK_FLUSH and self._awaits_old_flush(sn)
        if ahead > received.window or (ahead < -reach and not awaited):
            return drop("window")  # B11
        era = self.keyring.receiving.era(sn)
        old_key = era is not self.keyring.receiving.newest
        first_of_key = not old_key and era is not self._serial_era  # what was forged before does not count (S10)
        if op is not Op.MULTIPLY and serial <= self._last_serial and not first_of_key:
            return drop("replay")  # M5; serials do not wrap (N4)
        forgeable = old_key and era.secret.mode == "crc64" and self._new_key_heard
        if forgeable and not awaited:
            return drop("old-key")
        if op is Op.MULTIPLY and not self._multiplies(era.secret):
            return drop("multiply")  # M23
        body = self._open(datagram, self.keyring.receiving.protection(sn), True, now)
        if body is None:
            return None
        if op is Op.MULTIPLY:
            return self._take_multiply(datagram, body, era, source, now)
        if not forgeable:
            self._last_serial = serial
        if first_of_key:
            self._serial_era = era
        try:
            extensions = self.codec.extensions(body)
            self.codec.check_extensions(self.codec.op_codes[op], extensions)
            snack = self.codec.acknowledged_by(extensions, expected)
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        sink = sink_among(extensions)
        if sub(snack.expected_sn, self.sent.next_sn) > 0:
            return drop("acknowledgement")
        if forgeable:  # it may end the last transaction before the key, and do nothing else (F3)
            if snack.expected_sn == self.sent.next_sn:
                self._flushed(now)
            return None
        if not old_key and not self._new_key_heard:
            self._hear_new_key(sn, serial - 1, snack.expected_sn, window)
        self._authentic(sn, serial, source, sink, flags, now, follows=not old_key)
        self._take_snack(snack, window, now)
        if op is Op.ACK_FLUSH and snack.expected_sn == self.sent.next_sn:  # 2, 8.4.3, B10
            self._flushed(now)
        if flags & FLAG_EOT and self.revision.commits_out_of_band:
            self._take_late_end(sn, now)
        return None

    @abstractmethod
    def _multiplies(self, secret: Secret) -> bool:
        """Whether a connection under that secret may have branches; the layer of multiplication knows."""

    @abstractmethod
    def _take_multiply(self, datagram: bytes, body: bytes, era: Era, source: Address, now: float) -> None:
        """A MULTIPLY that the peer has sealed; for the same layer."""

    def _take_late_end(self, sn: int, now: float) -> None:
        """An out-of-band packet ends the peer's transaction after the fact (jason-00 2, 7.5, A34)."""
        received = self.received
        complete = sn == (received.expected - 1) & MASK and not received.early
        if complete and self._happen(Event.RCV_NULCOMMIT) is not None:
            if self._peer_open:
                received.deliver(b"", True)
                self._peer_open = False
            self._ack_now = True

    def _awaits_old_flush(self, sn: int) -> bool:
        """Our last transaction under the old key still lacks its ACK_FLUSH, though it has arrived (M29, F3).

        That has the last number under the old key, however many have been sent under the new one since.
        """
        last = self._unflushed
        if last is None or self.sent.una != self.sent.next_sn:
            return False
        if sub(last.sn, self.keyring.sending.newest.first) >= 0:
            return False
        return sn == (self.keyring.receiving.newest.first - 1) & MASK

    # RESET

    def _receive_reset_untrusted(self, datagram: bytes, sn: int, now: float) -> None:
        """RESET of a connection with numbers both ways (4.9, M35); `Handshake` knows those before that."""
        drop = self.statistics.drop
        if self.state in OVER or not self.has_windows:
            return drop("state")
        if datagram[:ULTID_PAIR] != self._peer_ids:
            return drop("source-ultid")
        try:
            reason = self.codec.reset_reason(datagram)
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        received = self.received
        ahead = sub(sn, received.expected)
        left = -len(received.ready) - 1
        right = received.window or 1  # the peer may have probed a shut window (M8, S8)
        if ahead > right or ahead < left:
            return drop("window")
        era = self.keyring.receiving.era(sn)
        old_key = era is not self.keyring.receiving.newest
        if old_key and era.secret.mode == "crc64" and self.keyring.keyed:
            return drop("old-key")  # once a key is installed CRC64 may only acknowledge (M30)
        protection = self.keyring.receiving.protection(sn)
        if self._open(datagram, protection, False, now) is None:
            return None
        self.last_heard = now
        reason &= ~(protection.flags << 24)  # A50
        self._fail(Event.RCV_RESET, FailureKind.RESET_BY_PEER, reason, now)
        return None

    def _repeat_reset(self, form: int, now: float) -> None:
        """A reset connection answers later packets with the same octets, at most once per round trip (M35)."""
        due = self._reset_repeated_at + self.rtt.rto
        if self._reset_datagrams and due <= now < self.tombstone_until:
            self._urgent.append(self._reset_datagrams[form])
            self._reset_repeated_at = now
