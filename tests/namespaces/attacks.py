"""What somebody on the path does with each packet who sees everything and lacks the key."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from fsp_trio.integrity.protection import Protection
from fsp_trio.revisions import Revision
from fsp_trio.wire.packets import ConnectRequest, Op, SinkParameter, Snack
from fsp_trio.wire.prefixes import prefix_of

Socket = tuple[str, int]
MASK: Final = 0xFFFFFFFF
RECORDED: Final = 4096
"""Packets kept for later, besides those of the handshake."""
ELSEWHERE: Final = ("10.99.0.66", 18003)
"""Where nobody is; what is sent there comes to the attacker."""
TO_RESET: Final = (Op.RESET, Op.RELEASE)
TO_STALL: Final = (Op.NULCOMMIT, Op.PERSIST, Op.PURE_DATA, Op.MULTIPLY, Op.ACK_CONNECT_REQ)
ACKNOWLEDGEMENTS: Final = (Op.KEEP_ALIVE, Op.ACK_FLUSH)

CHANCES: Final = {
    "altered instead": 0.005,
    "delayed": 0.03,
    "altered before": 0.15,
    "copied before, from elsewhere": 0.01,
    "copied": 0.1,
    "copied from elsewhere": 0.15,
    "replayed": 0.15,
    "replayed from elsewhere": 0.1,
    "reflected": 0.05,
    "forged": 0.2,
    "forged from elsewhere": 0.1,
}
"""How often each is done to a packet, of 1."""


@dataclass(frozen=True)
class Seen:
    """A datagram on its way."""

    source: Socket
    target: Socket
    datagram: bytes
    mark: int = 0
    """The octet of the IP header with the ECN mark."""


@dataclass
class Side:
    """What is known of one sender."""

    handshake: list[Seen] = field(default_factory=list)
    recorded: list[Seen] = field(default_factory=list)
    sn: int = 0
    expected: int = 0
    serial: int = 0
    window: int = 64


class Attacker:
    """Both ends are known by their addresses, the first one opens the session."""

    def __init__(self, revision: Revision, chance: random.Random, client: Socket, server: Socket) -> None:
        self._codec = revision.codec
        self._integrity = revision.integrity
        self._chance = chance
        self._sides = {client: Side(), server: Side()}
        self._fields: tuple[bytes, bytes, bytes, bytes, bytes] | None = None
        self.done: Counter[str] = Counter()

    def look(self, seen: Seen) -> None:
        """Remember a packet, and what can be read in it without a key."""
        side = self._sides[seen.source]
        kept = side.recorded if self._fields else side.handshake
        if len(kept) < RECORDED:
            kept.append(seen)
        else:
            kept[self._chance.randrange(RECORDED)] = seen
        op_code, _, _, flags_window, sn, expected = self._codec.unpack_head(seen.datagram, 8)
        op = self._codec.ops.get(op_code)
        if op is Op.CONNECT_REQUEST:
            self._look_at_handshake(seen.datagram)
        elif op in (Op.INIT_CONNECT, Op.ACK_INIT_CONNECT):
            pass  # all that they tell is there again
        elif op in ACKNOWLEDGEMENTS:
            side.serial = max(side.serial, self._codec.serial(seen.datagram))
        elif (sn - side.sn) & MASK < 2**31 or not side.sn:
            side.sn, side.expected, side.window = sn, expected, flags_window & 0xFFFFFF

    def _look_at_handshake(self, datagram: bytes) -> None:
        packet = self._codec.decode(datagram[8:])
        assert isinstance(packet, ConnectRequest)
        self._fields = (packet.init_check_code, packet.cookie, packet.salt, packet.time_delta, packet.timestamp)

    def attack(self, seen: Seen) -> list[tuple[float, Seen]]:
        """What leaves instead of a packet, each with seconds to wait: itself as a rule, and more."""
        chance = self._chance
        does = {name for name, share in CHANCES.items() if chance.random() < share}
        side, other = self._sides[seen.source], self._sides[seen.target]
        self.done.update(does)
        leaves: list[tuple[float, Seen]] = []
        if "altered before" in does:
            leaves.append((0.0, self.altered(seen)))
        if "copied before, from elsewhere" in does:
            leaves.append((0.0, self.readdressed(seen)))
        if "altered instead" in does:
            leaves.append((0.0, self.altered(seen)))
        else:
            leaves.append((chance.uniform(0.001, 0.02) if "delayed" in does else 0.0, seen))
        if "copied" in does:
            leaves.append((chance.choice((0.0, 0.01, 0.5, 2.0)), seen))
        if "copied from elsewhere" in does:
            leaves.append((chance.choice((0.0, 0.001, 0.05, 1.0)), self.readdressed(seen)))
        recorded = chance.choice(side.recorded + side.handshake)
        if "replayed" in does:
            leaves.append((0.0, recorded))
        if "replayed from elsewhere" in does:
            leaves.append((0.0, self.readdressed(recorded)))
        if "reflected" in does:
            leaves.append((0.0, replace(seen, source=seen.target, target=seen.source)))
        if "forged" in does:
            leaves.append((0.0, self.forged(seen, side, other)))
        if "forged from elsewhere" in does:
            leaves.append((0.0, self.readdressed(self.forged(seen, side, other))))
        return leaves

    def altered(self, seen: Seen) -> Seen:
        """One to eight bits, anywhere; the session is still the one that is meant, as a rule."""
        octets = bytearray(seen.datagram)
        first = 8 if self._chance.random() < 0.9 else 0
        for bit in self._chance.sample(range(first * 8, len(octets) * 8), self._chance.randrange(1, 9)):
            octets[bit // 8] ^= 1 << bit % 8
        if self._chance.random() < 0.1:
            octets = octets[: self._chance.randrange(32, len(octets) + 1)]
        return replace(seen, datagram=bytes(octets))

    def readdressed(self, seen: Seen) -> Seen:
        """From another port of the same host, as behind a NAT, or from another host."""
        host, _ = seen.source
        return replace(seen, source=self._chance.choice(((host, self._chance.randrange(1024, 65536)), ELSEWHERE)))

    def forged(self, seen: Seen, side: Side, other: Side) -> Seen:
        """Right in all that can be seen: ULTIDs, numbers, the check code that counted before there was a key."""
        chance = self._chance
        kinds = chance.choice((TO_RESET, TO_STALL, ACKNOWLEDGEMENTS, ACKNOWLEDGEMENTS))
        op = chance.choice([kind for kind in kinds if kind in self._codec.op_codes])
        sn = side.sn + chance.choice((0, 1, 1, 2, 100, 2**20)) & MASK
        head, body = self._forged_parts(op, sn, side, other)
        self.done[f"forged {op.name}"] += 1
        ids = seen.datagram[:8]
        out_of_band = op in ACKNOWLEDGEMENTS
        return replace(seen, datagram=self._protection(ids).seal(ids, head, body, out_of_band))

    def _forged_parts(self, op: Op, sn: int, side: Side, other: Side) -> tuple[bytes, bytes]:
        chance = self._chance
        expected = chance.choice((side.expected, other.sn + 1, other.sn + 1, other.sn + 1000)) & MASK
        if op is Op.RESET:
            return self._codec.reset_head(chance.choice((0, 1, 33)), side.window, sn, expected), b""
        if op in ACKNOWLEDGEMENTS:
            serial = side.serial + chance.choice((1, 1, 2, 1000, 2**31)) & MASK
            snack = Snack(expected, (expected - 1) & MASK, chance.choice((0, 10**6, MASK)), serial=serial)
            sink = None
            if op is Op.KEEP_ALIVE and chance.random() < 0.7:
                sink = SinkParameter(bytes(4), (prefix_of(ELSEWHERE), bytes(8), bytes(8), prefix_of(ELSEWHERE)))
            window = chance.choice((0, side.window, 2**20 - 1))
            return self._codec.acknowledgement(op, 0, window, sn, snack, serial, sink)
        body = chance.randbytes(chance.choice((64, 1024))) if op in (Op.PERSIST, Op.PURE_DATA) else b""
        flags = chance.choice((0, 0x80))
        return self._codec.head(self._codec.op_codes[op], 24, flags, side.window, sn, expected), body

    def _protection(self, ids: bytes) -> Protection:
        """As its sender would have it without a key; what is from another one is of no use (8.1)."""
        assert self._fields is not None, "the handshake has not been seen"
        return self._integrity.crc64(ids[:4], ids[4:], *self._fields)
