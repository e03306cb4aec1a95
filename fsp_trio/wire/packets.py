"""Packets as values: everything that is needed to write the same octets again.

The classes have slots and are not frozen, for they are made for every packet that takes the slow path.
Fields that only one end of a connection can read are octet strings (gao-07 4.3, G3).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

# gao-07 4.6 (G6); the three low bits are reserved: written 0, ignored when read, kept by the codec
FLAG_EOT = 0x80
FLAG_MIND = 0x40
FLAG_CPR = 0x20
FLAG_ECE = 0x10
FLAG_SRR = 0x08


class Op(enum.Enum):
    """Kinds of packets; the numbers on the wire belong to a revision."""

    __hash__ = object.__hash__  # by identity: several look-ups for every packet

    def __init__(self, _: int) -> None:
        self.label = self.name  # an attribute costs a tenth of the property

    INIT_CONNECT = enum.auto()
    ACK_INIT_CONNECT = enum.auto()
    CONNECT_REQUEST = enum.auto()
    ACK_CONNECT_REQ = enum.auto()
    RESET = enum.auto()
    NULCOMMIT = enum.auto()
    KEEP_ALIVE = enum.auto()
    PERSIST = enum.auto()
    PURE_DATA = enum.auto()
    ACK_FLUSH = enum.auto()
    RELEASE = enum.auto()
    MULTIPLY = enum.auto()


class ExtensionKind(enum.Enum):
    """Kinds of extension headers; the numbers on the wire belong to a revision."""

    PEER_SUBNETS = enum.auto()
    SELECTIVE_NACK = enum.auto()


Prefixes: TypeAlias = tuple[bytes, bytes, bytes, bytes]
NO_PREFIXES: Prefixes = (bytes(8), bytes(8), bytes(8), bytes(8))
"""Over UDP the prefixes are zero unless an external address is known (gao-07 4.7, B15)."""


@dataclass(slots=True)
class SinkParameter:
    """How to address the sender in the reverse direction (gao-07 4.7)."""

    host_id: bytes
    """4 octets: the listener's ULTID in the handshake, the aggregation host ID later."""
    prefixes: Prefixes
    """8 octets each; all zero where there is none."""
    mark: int = 0
    block_size: int = 0
    """Units of 512 octets in a block of the receive buffer (jason-00 3.7), 0 where that is not told."""
    listener: bytes = bytes(4)
    """The listening ULTID, where it has a field beside the host ID (jason-00 3.7)."""
    window: int = 0
    """The receive window in blocks, where it is told here, too (jason-00 3.7)."""


@dataclass(slots=True)
class Snack:
    """Acknowledgement with the gaps in the receive window (gao-07 4.8)."""

    expected_sn: int
    delay_sample_sn: int | None
    """None where SNACKs tell no delay."""
    delay: int
    """Microseconds since the sample was accepted."""
    gaps: tuple[tuple[int, int], ...] = ()
    """(packets missing, packets received after them), from `expected_sn` on."""
    mark: int = 0
    serial: int = 0
    """Of the out-of-band packet, where SNACKs carry it (jason-00 3.11)."""


@dataclass(slots=True)
class UnknownExtension:
    """An extension header of a type that this revision does not have; skipped by its length (M2a)."""

    code: int
    mark: int
    content: bytes


Extension: TypeAlias = SinkParameter | Snack | UnknownExtension


def sink_among(extensions: Iterable[Extension]) -> SinkParameter | None:
    """The first Sink Parameter of a packet."""
    return next((each for each in extensions if isinstance(each, SinkParameter)), None)


@dataclass(slots=True)
class InitConnect:
    """gao-07 4.5.1"""

    salt: bytes
    timestamp: bytes
    init_check_code: bytes
    host_name: bytes = b""


@dataclass(slots=True)
class AckInitConnect:
    """gao-07 4.5.2"""

    time_delta: bytes
    cookie: bytes
    init_check_code: bytes
    sink: SinkParameter | None


@dataclass(slots=True)
class ConnectRequest:
    """gao-07 4.5.3"""

    salt: bytes
    timestamp: bytes
    init_check_code: bytes
    initial_sn: int
    time_delta: bytes
    cookie: bytes
    sink: SinkParameter
    host_name: bytes = b""


@dataclass(slots=True)
class Normal:
    """Any packet with the normal fixed header (gao-07 4.6), in plaintext."""

    op: Op
    flags: int
    window: int
    sn: int
    expected: int
    """Expected sequence number, or the serial number of an out-of-band packet (M4)."""
    icc: bytes
    extensions: tuple[Extension, ...] = ()
    payload: bytes = b""


@dataclass(slots=True)
class Reset:
    """gao-07 4.9"""

    reason: int
    first: bytes
    """8 octets: the timestamp, or sequence number and expected sequence number."""
    proof: bytes
    """8 octets: Init-Check-Code, cookie or ICC."""


Packet: TypeAlias = InitConnect | AckInitConnect | ConnectRequest | Normal | Reset
