"""What a packet says, whichever draft it is written in; and whatever may be wrong with it."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias

FLAG_EOT: Final = 0x80
FLAG_MIND: Final = 0x40
FLAG_CPR: Final = 0x20
"""End of transaction: the same bit in both drafts (gao-07 4.6, jason-00 3.8)."""

MASK: Final = 0xFFFFFFFF


class Op(enum.StrEnum):
    INIT_CONNECT = "INIT_CONNECT"
    ACK_INIT_CONNECT = "ACK_INIT_CONNECT"
    CONNECT_REQUEST = "CONNECT_REQUEST"
    ACK_CONNECT_REQ = "ACK_CONNECT_REQ"
    RESET = "RESET"
    NULCOMMIT = "NULCOMMIT"
    PERSIST = "PERSIST"
    PURE_DATA = "PURE_DATA"
    KEEP_ALIVE = "KEEP_ALIVE"
    ACK_FLUSH = "ACK_FLUSH"
    RELEASE = "RELEASE"
    MULTIPLY = "MULTIPLY"


PRELIMINARY: Final = frozenset({Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST})
OUT_OF_BAND: Final = frozenset({Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.MULTIPLY})
IN_BAND: Final = frozenset({Op.ACK_CONNECT_REQ, Op.NULCOMMIT, Op.PERSIST, Op.PURE_DATA, Op.RELEASE})


@dataclass(frozen=True, slots=True)
class Sink:
    """Sink Parameter (gao-07 4.7), Sink Parameters (jason-00 3.7)."""

    listener_or_host: bytes = bytes(4)
    prefixes: tuple[bytes, ...] = (bytes(8),) * 4
    host: bytes = bytes(4)
    """jason-00 alone, where listener and host have a field each."""
    window: int = 0
    """jason-00 alone."""
    block_size: int = 0
    """jason-00 alone, in units of 512 octets."""


@dataclass(frozen=True, slots=True)
class Snack:
    """Selective negative acknowledgement: each gap is followed by so many packets that are there."""

    gaps: tuple[tuple[int, int], ...] = ()
    expected: int | None = None
    """gao-07 alone."""
    delay_sample: int = 0
    """gao-07 alone."""
    delay: int = 0
    """Microseconds; gao-07 alone."""
    serial: int | None = None
    """jason-00 alone, where gao-07 has it in the fixed header."""


@dataclass(frozen=True, slots=True)
class RawHeader:
    """Any extension header: the code, and the octets between prefix and end (or before the signature)."""

    code: int
    content: bytes
    mark: int = 0
    length: int | None = None
    """What the length field says, if not the truth; jason-00: the header stack pointer."""


Extension: TypeAlias = Sink | Snack | RawHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet.  Fields that its kind has no place for are ignored by the encoder."""

    op: Op | int
    source: bytes
    """ULTID, 4 octets."""
    destination: bytes
    # the normal header
    flags: int = 0
    window: int = 0
    sn: int = 0
    expected: int = 0
    """Expected sequence number; of an out-of-band packet of gao-07 its serial number."""
    # the handshake, and RESET in it
    timestamp: int = 0
    """Microseconds since 1970."""
    check_code: bytes = bytes(8)
    salt: bytes = bytes(4)
    cookie: bytes = bytes(8)
    time_delta: bytes = bytes(4)
    initial_sn: int = 0
    reason: int = 0
    """Of RESET."""
    # what follows the fixed header
    extensions: tuple[Extension, ...] = ()
    payload: bytes = b""
    # what a decoder found, or an encoder shall write whatever is right
    icc: bytes | None = None
    """None: the right one."""
    major: int = 0
    offset: int | None = None
    """Of the payload; None: the truth."""
    authentic: bool | None = None
    """What the decoder found of the check code; None if nothing could be said."""

    @property
    def ends(self) -> bool:
        return bool(self.flags & FLAG_EOT)

    @property
    def name(self) -> str:
        return self.op.value if isinstance(self.op, Op) else f"operation {self.op}"

    @property
    def out_of_band(self) -> bool:
        return self.op in OUT_OF_BAND

    @property
    def in_band(self) -> bool:
        return self.op in IN_BAND

    @property
    def snack(self) -> Snack | None:
        return next((each for each in self.extensions if isinstance(each, Snack)), None)

    @property
    def sink(self) -> Sink | None:
        return next((each for each in self.extensions if isinstance(each, Sink)), None)

    @property
    def acknowledged(self) -> int | None:
        """The earliest number that its sender has not received; None if it does not say."""
        snack = self.snack
        if snack is not None and snack.expected is not None:
            return snack.expected
        return None if self.out_of_band and snack is None else self.expected


class Unreadable(Exception):
    """Octets that are no packet of the draft; the message says what is wrong with them."""


def later(a: int, b: int) -> int:
    """By how much `a` is later than `b` in serial arithmetic; negative if it is earlier."""
    difference = (a - b) & MASK
    return difference - (1 << 32) if difference >= 1 << 31 else difference
