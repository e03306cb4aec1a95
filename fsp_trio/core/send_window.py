"""What one end has to send: octets not yet numbered, and numbered packets not yet acknowledged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fsp_trio.wire.packets import Snack
from fsp_trio.wire.serial import sub

MASK = 0xFFFFFFFF
REORDERING_THRESHOLD = 3
"""Packets that must have arrived after a missing one before it counts as lost for congestion control."""


class Block:
    """One in-band packet that was sent: its number, its payload and its latest form on the wire."""

    __slots__ = ("acknowledged", "datagram", "expected", "in_flight", "payload", "sent_at", "sn", "times")

    def __init__(self, sn: int, payload: bytes, datagram: bytes, expected: int, now: float) -> None:
        self.sn = sn & MASK
        self.payload = payload
        self.datagram = datagram
        self.expected = expected
        self.sent_at = now
        self.times = 1
        self.acknowledged = False
        self.in_flight = True


@dataclass(slots=True)
class Piece:
    """Queued octets of one transaction; `ordinal` is not 0 if they end it, `flags` are those of its packets."""

    data: bytes
    flags: int
    ordinal: int = 0


@dataclass(slots=True)
class Acknowledgement:
    """What an acknowledgement brought."""

    octets: int = 0
    """Octets of datagrams that left the path."""
    progress: bool = False
    """It told of a packet that was not acknowledged before."""
    loss_sent_at: float = -math.inf
    """When the newest packet that is now taken for lost was sent."""
    gone: Sequence[Block] = ()
    """Packets acknowledged cumulatively; some may have been acknowledged selectively before."""
    arrived: Sequence[Block] = ()
    """Packets acknowledged selectively, and not before."""

    def sent_once(self) -> list[float]:
        """When each packet was sent of which this is the first acknowledgement, repeated ones left out (Karn)."""
        fresh = [block.sent_at for block in self.gone if block.times == 1 and not block.acknowledged]
        return fresh + [block.sent_at for block in self.arrived if block.times == 1]


class SendQueue:
    """Octets of the application's transactions in order, not yet numbered."""

    __slots__ = ("_coalesce", "_ends", "_start", "flags", "holds_ends", "octets", "pieces", "whole_blocks")

    repeats: ClassVar[bool] = True
    """What is lost of it is sent again."""

    def __init__(self, coalesce: int, *, whole_blocks: bool = False) -> None:
        self.pieces: list[Piece] = []
        self.octets = 0
        self._coalesce = coalesce
        self.whole_blocks = whole_blocks
        self.flags = 0
        """Of the transaction to which octets are added now."""
        self.holds_ends = False
        """The end of a transaction waits if no octets are left for its packet."""
        self._ends = 0
        """Transactions that end here."""
        self._start = 0
        """Where the octets of the first piece begin that were not taken yet."""

    def __bool__(self) -> bool:
        return bool(self.pieces)

    @property
    def ready(self) -> bool:
        """A packet can be made: of octets that end a transaction, or of others that need not wait to fill a block."""
        if self.whole_blocks and not self._ends:
            return self.octets > self._coalesce
        if self.holds_ends and not self.octets:
            return False
        return bool(self.pieces)

    def append(self, data: bytes) -> None:
        """Queue octets of the open transaction; small ones are joined to those that wait already."""
        self.octets += len(data)
        if self.pieces:
            last = self.pieces[-1]
            if not last.ordinal and len(last.data) + len(data) <= self._coalesce:
                last.data += data
                return
        self.pieces.append(Piece(data, self.flags))

    def end(self, ordinal: int) -> None:
        """End the open transaction: with its last queued octets, or with a piece that has none (M16)."""
        self._ends += 1
        if self.pieces:
            last = self.pieces[-1]
            if not last.ordinal:
                last.ordinal = ordinal
                return
        self.pieces.append(Piece(b"", 0, ordinal))

    def cut_full(self, limit: int, count: int) -> list[bytes]:
        """Take up to `count` payloads of exactly `limit` octets that end nothing, from the first piece alone."""
        piece = self.pieces[0]
        data = piece.data
        start = self._start
        count = min(count, (len(data) - start - 1) // limit)
        if count <= 0:
            return []
        stop = self._start = start + count * limit
        self.octets -= stop - start
        return [data[at : at + limit] for at in range(start, stop, limit)]

    def cut(self, limit: int) -> tuple[bytes, Piece | None]:
        """Take the payload of one packet, at most `limit` octets, and the piece that it ends, if it ends one.

        Several short pieces of one transaction share a packet.
        """
        pieces = self.pieces
        payload = b""
        while True:
            piece = pieces[0]
            start = self._start
            part = piece.data[start : start + limit - len(payload)]
            payload = payload + part if payload else part
            self.octets -= len(part)
            if start + len(part) < len(piece.data):
                self._start = start + len(part)
                return payload, None
            del pieces[0]
            self._start = 0
            if piece.ordinal:
                self._ends -= 1
                return payload, piece
            if not pieces or len(payload) == limit:
                return payload, None

    def clear(self) -> None:
        self.pieces.clear()
        self._ends = 0
        self.octets = 0
        self._start = 0


class SendWindow:
    """Numbered packets from the first unacknowledged one on."""

    __slots__ = ("blocks", "next_sn", "payload", "right_edge", "sample", "una")

    def __init__(self, first_sn: int, window: int) -> None:
        self.blocks: list[Block] = []
        self.una = first_sn
        self.next_sn = first_sn
        self.right_edge = (first_sn + window) & MASK
        self.payload = 0
        """Octets of payload in `blocks`: packets after a gap count until it is closed, for they are kept."""
        self.sample: tuple[int, float] | None = None
        """Number and sending time of the newest cumulatively acknowledged packet, if it was sent only once."""

    @property
    def room(self) -> int:
        """How many new packets the peer's window admits (gao-07 4.6, 8.6, M7)."""
        return max(sub(self.right_edge, self.next_sn), 0)

    def advertise(self, expected: int, window: int) -> None:
        """The right edge is the furthest that any authenticated packet named; it never moves back (M7)."""
        edge = (expected + window) & MASK
        if 0 < edge - self.right_edge & MASK <= MASK >> 1:
            self.right_edge = edge

    def advertise_anew(self, expected: int, window: int) -> None:
        """What was advertised before does not count any more: it may have been forged."""
        self.right_edge = (expected + window) & MASK

    def append(self, block: Block) -> None:
        self.blocks.append(block)
        self.payload += len(block.payload)
        self.next_sn = (self.next_sn + 1) & MASK

    def acknowledge(self, expected: int, result: Acknowledgement) -> Block | None:
        """Drop everything before `expected`; the newest dropped packet, or None if nothing was.

        The caller has checked that `expected` is not beyond `next_sn` (M50).
        """
        blocks = self.blocks
        count = expected - self.una & MASK
        if not 0 < count <= len(blocks):  # it is behind
            return None
        gone = blocks[:count]
        del blocks[:count]
        payload = octets = 0
        for block in gone:
            payload += len(block.payload)
            if block.in_flight:
                octets += len(block.datagram)
                block.in_flight = False
        self.una = expected
        self.payload -= payload
        result.progress = True
        result.octets += octets
        result.gone = gone
        block = gone[-1]
        self.sample = (block.sn, block.sent_at) if block.times == 1 else None
        return block

    def acknowledge_selectively(self, snack: Snack, result: Acknowledgement) -> bool:
        """Mark what lies between the gaps as arrived (gao-07 8.5.3); False if the SNACK is void (M10)."""
        sn = snack.expected_sn
        ranges = []
        for width, length in snack.gaps:
            if not width or not length:
                return False
            start = sub(sn, self.una) + width
            end = start + length
            if end > len(self.blocks) or width > MASK >> 1 or length > MASK >> 1:
                return False
            ranges.append((start, end))
            sn = (sn + width + length) & MASK
        arrived: list[Block] = []
        arrived_last = -1
        for start, end in ranges:
            for i in range(max(start, 0), end):
                block = self.blocks[i]
                if not block.acknowledged:
                    block.acknowledged = True
                    arrived.append(block)
                    result.progress = True
                    if block.in_flight:
                        block.in_flight = False
                        result.octets += len(block.datagram)
            arrived_last = end - 1
        result.arrived = arrived
        for i in range(arrived_last - REORDERING_THRESHOLD, -1, -1):
            block = self.blocks[i]
            if not block.acknowledged and block.times == 1:
                result.loss_sent_at = block.sent_at
                break
        return True

    def forget_lost(self) -> None:
        """Await no acknowledgement of the first packets any more, as far as they have left the path."""
        count = 0
        for block in self.blocks:
            if block.in_flight:
                break
            self.payload -= len(block.payload)
            count += 1
        del self.blocks[:count]
        self.una = (self.una + count) & MASK

    def leave_path(self) -> int:
        """Nothing is in flight any more on the path that is left; the octets that were."""
        octets = 0
        for block in self.blocks:
            if block.in_flight:
                octets += len(block.datagram)
                block.in_flight = False
        return octets

    def forget_samples(self) -> None:
        """What was sent so far tells nothing of round trips and losses from now on."""
        self.sample = None
        for block in self.blocks:
            block.times += 1

    def clear(self) -> int:
        """Forget all packets; the octets of datagrams that were in flight."""
        octets = self.leave_path()
        self.blocks.clear()
        self.payload = 0
        self.una = self.next_sn
        return octets
