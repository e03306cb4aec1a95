"""Second layer of a connection: in-band packets are numbered, sealed, remembered and counted (gao-07 4.6, 12.6)."""

from __future__ import annotations

from itertools import repeat

from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.core.link import MASK, NEXT, Link
from fsp_trio.core.send_window import Block
from fsp_trio.integrity import Protection
from fsp_trio.revisions.states import Event
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.packets import Op


class Sealing(Link):
    """Makes packets of payloads; which, and when, is the next layer's business."""

    __slots__ = ("_first_sends", "_transaction_flags", "advertised_edge", "told_expected")

    def _start_sealing(self) -> None:
        self._first_sends = 0
        """New packets since the interval began that limits repeats (8.5.4)."""
        self._transaction_flags = 0
        """Flags of all packets of the outgoing transaction."""
        self.advertised_edge = 0
        """The furthest number that the windows told so far admit."""
        self.told_expected = 0
        """The newest cumulative acknowledgement that we sent."""

    def _emit(self, batch: list[bytes], op: Op, flags: int, payload: bytes, now: float) -> None:
        """Number, seal and remember one in-band packet."""
        datagram = self._seal(op, flags, payload)
        self._remember(op, payload, datagram, now)
        batch.append(datagram)

    def _seal(self, op: Op, flags: int, payload: bytes) -> bytes:
        """The next in-band packet; the number is not used up before `_remember`."""
        received = self.received
        sn = self.sent.next_sn
        if self._srr_since == NEXT:
            self._srr_since = sn
        codec = self.codec
        flags |= self._header_flags() | self._transaction_flags
        head = codec.head(codec.op_codes[op], NORMAL_HEADER, flags, received.window, sn, received.expected)
        return self.keyring.sending.run(sn)[0].seal(self._ids, head, payload)

    def _remember(self, op: Op, payload: bytes, datagram: bytes, now: float) -> None:
        """The packet that `_seal` gave is going to leave."""
        sent, received = self.sent, self.received
        expected = received.expected
        sent.append(Block(sent.next_sn, payload, datagram, expected, now))
        self._told(expected, received.window)
        self._account(1, len(datagram))
        self.statistics.count_sent(op)

    def _emit_run(self, batch: list[bytes], op: Op, payloads: list[bytes], protection: Protection, now: float) -> None:
        """Number, seal and remember packets that end nothing: one of `op`, the rest PURE_DATA."""
        sent = self.sent
        head = self.codec.head
        expected = self.received.expected
        window = self.received.window
        flags = self._header_flags() | self._transaction_flags
        sn = first = sent.next_sn
        if self._srr_since == NEXT:
            self._srr_since = sn
        seal = protection.seal
        ids = self._ids
        codes = self.codec.op_codes
        op_code, pure_data = codes[op], codes[Op.PURE_DATA]
        datagrams: list[bytes] = []
        for payload in payloads:
            datagrams.append(seal(ids, head(op_code, NORMAL_HEADER, flags, window, sn, expected), payload))
            sn = (sn + 1) & MASK
            op_code = pure_data
        count = len(payloads)
        numbers = range(first, first + count)
        sent.blocks.extend(map(Block, numbers, payloads, datagrams, repeat(expected), repeat(now)))
        octets = sum(map(len, datagrams))
        sent.next_sn = sn
        sent.payload += octets - count * (NORMAL_HEADER + ULTID_PAIR)
        batch += datagrams
        self._told(expected, window)
        self._account(count, octets)
        self.statistics.count_sent(op)
        if count > 1:
            self.statistics.count_sent(Op.PURE_DATA, count - 1)

    def _told(self, expected: int, window: int) -> None:
        """A packet left with this acknowledgement and window."""
        self.told_expected = expected
        self.advertised_edge = (expected + window) & MASK

    def _account(self, count: int, octets: int) -> None:
        self.macroflow.sent(octets)
        self._first_sends += count
        statistics = self.statistics
        statistics.in_band_sent += count
        statistics.payload_sent += octets - count * (NORMAL_HEADER + ULTID_PAIR)

    def _count_datagrams(self, batch: list[bytes]) -> None:
        statistics = self.statistics
        statistics.packets_sent += len(batch)
        statistics.octets_sent += sum(map(len, batch))

    def _life_over(self, sn: int, uses: int, now: float) -> bool:
        """Count applications of a key; True, and the connection ended, past 12.6's limit.

        A key of a chain is replaced before (7.5), unless this end does little but acknowledge.
        """
        if self.keyring.sending.era(sn).wear(sn, uses) <= self.keyring.key_life:
            return False
        self._fail(Event.RESET, FailureKind.KEY_EXHAUSTED, ResetReason.KEY_EXHAUSTED, now)
        return True
