"""Tenth layer of a connection: transactions that are compressed on the wire (gao-07 4.6, 8.8)."""

from __future__ import annotations

from fsp_trio.core.compression import CompressionError, Compressor, Decompressor
from fsp_trio.core.failure import ConnectionMisuse, FailureKind, ResetReason
from fsp_trio.core.multiplication import Multiplication
from fsp_trio.revisions.states import OVER, Event, State
from fsp_trio.wire.serial import sub


class Compressing(Multiplication):
    """What the application gives and reads is plain; in between are the octets of the wire."""

    __slots__ = ("_compressor", "_decompressor")

    def _begin(self, now: float) -> None:
        super()._begin(now)
        self._compressor: Compressor | None = None
        """Of the transaction that is open now, if it is compressed."""
        self._decompressor: Decompressor | None = None
        """Of the transaction that is read now, if it is compressed and has begun."""

    # sending

    def compress_transaction(self) -> None:
        """What is given next is a compressed transaction; it must be called before any of it is.

        ConnectionMisuse where a transaction is open, or the revision has no compression.
        """
        if not self.revision.compressed_flag:
            raise ConnectionMisuse(f"revision {self.revision.name} has no compression")
        if self._own_open or self._compressor is not None:
            raise ConnectionMisuse("a transaction is open")
        self._compressor = Compressor()
        self.queue.flags = self.revision.compressed_flag

    def _compressed(self, data: bytes) -> bytes:
        assert self._compressor is not None
        packed = self._compressor.feed(data)
        self.statistics.plain_sent += len(data)
        self.statistics.compressed_sent += len(packed)
        return packed

    def _end_compression(self) -> bytes:
        """The rest of a compressed transaction; nothing of the next one is compressed unless it is said again."""
        compressor, self._compressor = self._compressor, None
        if compressor is None:
            return b""
        packed = compressor.finish()
        self.statistics.compressed_sent += len(packed)
        return packed

    @property
    def _uncompressed(self) -> int:
        """Octets that wait for their block to be filled."""
        return 0 if self._compressor is None else self._compressor.held

    # reading

    def _inflate(self) -> None:
        """Draw from what has arrived until there is something to read: a compressed block at the most is held."""
        received = self.received
        if received.passed not in self._compressed_in:
            return
        if self._decompressor is None:
            self._decompressor = Decompressor()
        decompressor = self._decompressor
        if decompressor.pending:
            return
        try:
            decompressor.draw(self._read_wire)
            if received.at_end and not decompressor.pending and not decompressor.complete:
                raise CompressionError("the transaction ends within a block")
        except CompressionError:
            now = max(self.last_heard, received.latest_at)
            self._fail(Event.RESET, FailureKind.COMPRESSION, ResetReason.COMPRESSION, now)
            received.clear_ready()

    def _read_wire(self, max_octets: int) -> bytes:
        data = self.received.read(max_octets)
        if data:
            self._reading_made_room()
        return data

    def _read_inflated(self, max_octets: int) -> bytes:
        if self.received.passed not in self._compressed_in:
            return self._read_wire(max_octets)
        self._inflate()
        if self._decompressor is None:
            return b""
        data = self._decompressor.take(max_octets)
        if data:
            self.statistics.plain_received += len(data)
            self._inflate()
        return data

    @property
    def _inflated(self) -> int:
        """Octets drawn from the window, and not read yet."""
        return 0 if self._decompressor is None else self._decompressor.held

    @property
    def _may_read_inflated(self) -> bool:
        if self.received.passed not in self._compressed_in:
            return bool(self.received.ready)
        self._inflate()
        pending = self._decompressor is not None and self._decompressor.pending > 0
        return pending or self.received.at_end

    def _next_inflated(self) -> None:
        self._compressed_in.discard(self.received.passed)
        self._decompressor = None

    def _reading_made_room(self) -> None:
        """Announce at once that a shut window opened, or grew by half of its capacity, in blocks or octets (M8, N1)."""
        if self.state in OVER or self.state is State.CHALLENGING:
            return
        received = self.received
        told = sub(self.advertised_edge, received.expected)
        relieved = received.refused and received.octets_left >= received.refused
        if relieved:
            received.refused = 0
        if told <= 0 or relieved or (received.window - told) * 2 >= received.capacity:
            self._ack_now = True
