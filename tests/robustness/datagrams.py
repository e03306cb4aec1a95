"""What an attacker may send: noise, packets of every kind gone wrong, and nonsense that is correctly sealed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from fsp_trio.revisions import GAO_07
from fsp_trio.revisions.gao_07 import EXTENSION_CODES
from fsp_trio.wire.gao import GaoCodec
from fsp_trio.wire.packets import (
    FLAG_EOT,
    AckInitConnect,
    ConnectRequest,
    InitConnect,
    Op,
    Packet,
    Reset,
    SinkParameter,
    Snack,
    UnknownExtension,
)

CODEC = GaoCodec(GAO_07.codec.op_codes, EXTENSION_CODES)
MASK = 0xFFFFFFFF
EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0x80000001, MASK)
PRELIMINARY = {Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST}
NORMAL = [CODEC.op_codes[op] for op in Op if op not in PRELIMINARY]
OUT_OF_BAND = {CODEC.op_codes[op] for op in (Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.MULTIPLY)}
DATA = [CODEC.op_codes[op] for op in (Op.PURE_DATA, Op.PERSIST, Op.NULCOMMIT)]
ACKNOWLEDGEMENTS = [CODEC.op_codes[op] for op in (Op.KEEP_ALIVE, Op.ACK_FLUSH)]
RARE = [CODEC.op_codes[op] for op in (Op.ACK_CONNECT_REQ, Op.MULTIPLY)]
LETHAL = [CODEC.op_codes[op] for op in (Op.RELEASE, Op.RESET)]
LARGEST = 65_507
"""Octets of the largest UDP datagram over IPv4."""

Seal = Callable[[int, bytes, bytes, bool], bytes]
"""Gives the datagram for a number, the first 16 octets of a header, a body, and whether it is out of band."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the victim expects: its own view of both directions."""

    expected: int
    window: int
    una: int
    next_sn: int
    serial: int


class Attacker:
    """Makes datagrams, the same ones from the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.captured: list[bytes] = []
        """Datagrams seen on the way: what is altered and replayed."""

    # of no meaning at all

    def noise(self, ids: bytes = b"") -> bytes:
        """Random octets, after ULTIDs if there are any."""
        chance = self.random
        size = chance.choice((0, 3, 8, 24, 31, 32, 33, 64, 200, 1056, 1472))
        if chance.random() < 0.002:
            size = LARGEST - 8
        octets = chance.randbytes(size)
        if len(octets) > 4 and chance.random() < 0.8:  # further than the op code
            octets = bytes([chance.randrange(1, 13), 0, 0, chance.choice((24, 24, 32, 64, 80))]) + octets[4:]
        return ids + octets

    def packet(self, ids: bytes) -> bytes:
        """A packet of any kind with random fields, well formed and sealed by nobody."""
        chance = self.random
        octets = chance.randbytes
        op = chance.randrange(12)
        value: Packet
        if op == 0:
            value = InitConnect(octets(4), octets(8), octets(8), b"host" * chance.randrange(3))
        elif op == 1:
            value = AckInitConnect(octets(4), octets(8), octets(8), self.sink())
        elif op == 2:
            value = ConnectRequest(
                octets(4), octets(8), octets(8), chance.getrandbits(32), octets(4), octets(8), self.sink()
            )
        elif op == 3:
            value = Reset(chance.getrandbits(32), octets(8), octets(8))
        else:
            code = chance.choice(NORMAL)
            head = CODEC.head(code, 24, self.flags(), self.window(), chance.getrandbits(32), chance.getrandbits(32))
            return ids + head + octets(8) + octets(chance.choice((0, 0, 8, 100, 1024)))
        return ids + CODEC.encode(value)

    def sink(self) -> SinkParameter:
        octets = self.random.randbytes
        host = self.random.choice((b"\x00\x00\x00\x07", octets(4)))
        return SinkParameter(host, (octets(8), bytes(8), bytes(8), octets(8)))

    def flags(self) -> int:
        """Of one octet; MIND and CPR, which end a connection, are rare."""
        flags = self.random.getrandbits(8)
        return flags if self.random.random() < 0.002 else flags & ~0x60

    def window(self) -> int:
        return self.random.choice((0, 1, 4, 2048, 2**20, 2**24 - 1))

    # of real packets

    def altered(self) -> bytes:
        """A captured datagram with something wrong about it."""
        chance = self.random
        datagram = chance.choice(self.captured)
        size = len(datagram)
        kind = chance.randrange(9)
        if kind == 0:  # one to eight bits
            octets = bytearray(datagram)
            for _ in range(chance.randrange(1, 9)):
                octets[chance.randrange(8, size)] ^= 1 << chance.randrange(8)
            return bytes(octets)
        if kind == 1:
            return datagram[: chance.randrange(8, size)]
        if kind == 2:
            return datagram + chance.randbytes(chance.choice((1, 8, 500)))
        if kind == 3:
            return datagram[4:8] + datagram[:4] + datagram[8:]
        if kind == 4:
            return datagram[:8] + bytes([chance.randrange(256)]) + datagram[9:]
        if kind == 5:  # numbers, stale or extreme
            at = chance.choice((16, 20))
            return datagram[:at] + chance.choice(EXTREMES).to_bytes(4, "big") + datagram[at + 4 :]
        if kind == 6:
            return datagram[:12] + (chance.getrandbits(8) << 24 | self.window()).to_bytes(4, "big") + datagram[16:]
        if kind == 7:  # Major, Offset
            offset = chance.choice((0, 8, 24, 25, 32, 64, 0xFFF8, 0xFFFF))
            return datagram[:9] + bytes([chance.choice((0, 0, 1))]) + offset.to_bytes(2, "big") + datagram[12:]
        return chance.randbytes(4) + datagram[4:]

    def replayed(self) -> bytes:
        return self.random.choice(self.captured)

    # of those who can seal

    def sealed(self, numbers: Numbers, seal: Seal, *, lethal: float = 0.002) -> bytes:
        """Anything that a victim would open: near what it expects, or far from it."""
        chance = self.random
        code = chance.choice(chance.choice((DATA, DATA, ACKNOWLEDGEMENTS, ACKNOWLEDGEMENTS, RARE)))
        if chance.random() < lethal:
            code = chance.choice(LETHAL)
        out_of_band = code in OUT_OF_BAND
        sn = self._near(numbers.expected, numbers.window)
        if out_of_band:
            expected = numbers.serial + 1 if chance.random() < 0.95 else numbers.serial + chance.choice(EXTREMES)
        else:
            expected = self._near(numbers.next_sn, numbers.next_sn - numbers.una & 0xFFFF)
        body, offset = self._body(code, numbers)
        flags = self.flags()
        if code == CODEC.op_codes[Op.NULCOMMIT]:
            flags |= FLAG_EOT
        elif chance.random() < 0.8:
            flags &= ~FLAG_EOT
        head = CODEC.head(code, offset, flags & 0xFF, self.window(), sn, expected & MASK)
        return seal(sn, head, body, out_of_band)

    def _near(self, number: int, spread: int) -> int:
        chance = self.random
        return (
            chance.choice(
                (
                    number,
                    number,
                    number,
                    number + 1,
                    number - 1,
                    number + chance.randrange(max(spread, 1)),
                    number - chance.randrange(max(spread, 1)),
                    number + spread,
                    number + spread + 1,
                    number + chance.choice(EXTREMES),
                )
            )
            & MASK
        )

    def _body(self, code: int, numbers: Numbers) -> tuple[bytes, int]:
        """Extension headers and payload, and the Offset that belongs to them or does not."""
        chance = self.random
        chain = b""
        if code in OUT_OF_BAND:
            chain = self._snack(numbers)
            if chance.random() < 0.5:
                chain = CODEC.sink_parameter(self.sink()) + chain
        kind = chance.randrange(20)
        if kind == 0 and len(chain) < 1000:
            chain += chain
        elif kind == 1:
            unknown = UnknownExtension(chance.randrange(19, 256), chance.getrandbits(8), bytes(4))
            chain += bytes([unknown.code, unknown.mark]) + (8).to_bytes(2, "little") + unknown.content
        elif kind == 2:
            chain += chance.randbytes(8 * chance.randrange(20))
        payload = b""
        if code in DATA[:2] or kind == 3:
            payload = chance.randbytes(chance.choice((0, 1, 7, 64, 1024, 1400)))
            if chance.random() < 0.002:
                payload = bytes(LARGEST - 8 - 24 - len(chain) & ~7)
        offset = 24 + len(chain) if kind != 4 else chance.choice((0, 24, 32, 40, 0xFFF8))
        return chain + payload, offset

    def _snack(self, numbers: Numbers) -> bytes:
        chance = self.random
        many = chance.random()
        count = 7000 if many < 0.001 else chance.choice((0, 0, 1, 2, 30))
        if chance.random() < 0.5:
            gaps = tuple((chance.randrange(1, 4), chance.randrange(1, 4)) for _ in range(count))
        else:
            gaps = tuple((chance.getrandbits(32), chance.getrandbits(32)) for _ in range(count))
        outstanding = numbers.next_sn - numbers.una & 0xFFFF
        expected = self._near(numbers.una, outstanding)
        delay = chance.choice((0, 5, 10**6, MASK))
        return CODEC.snack(Snack(expected, (expected - 1) & MASK, delay, gaps, chance.getrandbits(8)))
