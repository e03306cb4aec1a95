"""What one end has received: octets in order that wait for a reader, and packets that came early."""

from __future__ import annotations

from fsp_trio.wire.packets import Op, Snack
from fsp_trio.wire.serial import sub

MASK = 0xFFFFFFFF
MAXIMUM_GAPS = 100
"""Most gaps described in one SNACK, so that a KEEP_ALIVE fits into a small packet."""

Early = tuple[Op, int, bytes, float]
"""Operation, flags, payload and time of arrival of a packet that came before its turn."""


class ReceiveWindow:
    """The receive buffer: one packet is one block (M15).

    `ready` holds the blocks that are in order: bytes, or a tuple of one bytes for a block that ends a
    transaction.  The right edge, `expected` + `window`, never moves back.
    """

    __slots__ = (
        "_octets_limit",
        "_partial",
        "capacity",
        "early",
        "early_octets",
        "ends",
        "expected",
        "latest_at",
        "passed",
        "ready",
        "ready_octets",
        "refused",
    )

    def __init__(self, first_sn: int, capacity: int, octets_limit: int) -> None:
        self.expected = first_sn
        """The earliest number not yet received: the cumulative acknowledgement."""
        self.ready: list[bytes | tuple[bytes]] = []
        self.ready_octets = 0
        self.early: dict[int, Early] = {}
        self.early_octets = 0
        self.ends = 0
        """Transactions that have come whole."""
        self.passed = 0
        """Transactions that the reader has stepped over."""
        self.refused = 0
        """Octets of the newest packet for which there was no room, until there is."""
        self.latest_at = 0.0
        """When the packet `expected` - 1 was first accepted (M9)."""
        self.capacity = capacity
        self._octets_limit = octets_limit
        self._partial = 0

    @property
    def window(self) -> int:
        """Free blocks from `expected` on (4.6)."""
        return self.capacity - len(self.ready)

    @property
    def octets_left(self) -> int:
        """Octets that may still wait for a reader; packets larger than ours count too."""
        return self._octets_limit - self.ready_octets

    # arriving

    def fits(self, sn: int, octets: int) -> bool:
        """There is room for a packet inside the window: peers may send blocks larger than ours."""
        if sn == self.expected:
            return self.ready_octets + octets <= self._octets_limit or not self.ready
        return self.early_octets + octets <= self._octets_limit

    def hold(self, sn: int, early: Early) -> None:
        self.early[sn] = early
        self.early_octets += len(early[2])

    def take_early(self) -> Early | None:
        """The buffered packet whose turn it is, if it is there."""
        early = self.early.pop(self.expected, None)
        if early is not None:
            self.early_octets -= len(early[2])
        return early

    def advance(self, arrived: float) -> None:
        """The packet `expected` is in; it came at `arrived`."""
        self.expected = (self.expected + 1) & MASK
        self.latest_at = arrived

    def deliver(self, payload: bytes, ends: bool) -> None:
        if payload or ends:  # an empty PURE_DATA is nothing to read (M16)
            self.ready.append((payload,) if ends else payload)
            self.ready_octets += len(payload)
            self.ends += ends

    # leaving

    def read(self, max_octets: int) -> bytes:
        """Up to `max_octets` octets of the current transaction; b"" if none are there."""
        ready = self.ready
        if len(ready) == 1 and not self._partial and type(whole := ready[0]) is bytes and len(whole) <= max_octets:
            ready.clear()
            self.ready_octets -= len(whole)
            return whole
        parts = []
        room = max_octets
        emptied = 0
        while emptied < len(ready) and room > 0:
            head = ready[emptied]
            if type(head) is tuple:
                payload = head[0][self._partial : self._partial + room]
                parts.append(payload)
                self._partial += len(payload)
                room = 0
            else:
                assert type(head) is bytes
                size = len(head) - self._partial
                if size <= room:
                    parts.append(head[self._partial :] if self._partial else head)
                    emptied += 1
                    self._partial = 0
                    room -= size
                else:
                    parts.append(head[self._partial : self._partial + room])
                    self._partial += room
                    room = 0
        del ready[:emptied]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.ready_octets -= len(data)
        return data

    @property
    def at_end(self) -> bool:
        """Everything of the current transaction was read, and it is complete."""
        if not self.ready:
            return False
        head = self.ready[0]
        return type(head) is tuple and self._partial >= len(head[0])

    def next_transaction(self) -> None:
        del self.ready[0]
        self._partial = 0
        self.passed += 1

    def clear_early(self) -> None:
        self.early.clear()
        self.early_octets = 0

    def clear_ready(self) -> None:
        self.ready.clear()
        self.ready_octets = 0
        self._partial = 0

    # telling

    def snack(self, now: float, *, gaps: bool) -> Snack:
        """Acknowledge: the cumulative number, a sample of the delay (M9), and the gaps (4.8, 8.5.3)."""
        delay = min(int(max(now - self.latest_at, 0.0) * 1e6), MASK)
        found: list[tuple[int, int]] = []
        if gaps and self.early:
            offsets = sorted(sub(sn, self.expected) for sn in self.early)
            start = 0  # where the gap begins that is being measured
            first = last = offsets[0]
            for offset in offsets[1:]:
                if offset != last + 1:
                    found.append((first - start, last + 1 - first))
                    if len(found) == MAXIMUM_GAPS:
                        break
                    start, first = last + 1, offset
                last = offset
            else:
                found.append((first - start, last + 1 - first))
        return Snack(self.expected, (self.expected - 1) & MASK, delay, tuple(found))
