"""What a revision's layouts have to offer.

The fixed header has 24 octets in every revision, 16 of them fields and 8 the integrity check code; a `head` is those
16 in the order of the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from fsp_trio.wire.packets import Extension, ExtensionKind, Op, Packet, SinkParameter, Snack
from fsp_trio.wire.prefixes import NO_PREFIX

NORMAL_HEADER: Final = 24
"""Octets of the fixed header; where the extension headers begin."""
ULTID_PAIR: Final = 8
"""Octets of source and destination ULTID, which go before a packet over UDP (gao-07 4.1, jason-00 3.2)."""


class Codec(Protocol):
    """Packets to octets and back.  Every method that reads raises MalformedPacket, and nothing else."""

    op_codes: Mapping[Op, int]
    ops: Mapping[int, Op]
    extension_codes: Mapping[ExtensionKind, int]

    @property
    def unpack_head(self) -> Callable[[bytes, int], tuple[int, int, int, int, int, int]]:
        """(op code, major version, offset of the payload, flags << 24 | window, SN, expected SN or serial) of the
        fixed header that begins at a position."""
        ...

    # parts, for packets that are sealed or about to be

    def head(self, op_code: int, offset: int, flags: int, window: int, sn: int, expected: int) -> bytes:
        """The fixed header without its check code."""
        ...

    def check_shape(self, op_code: int, offset: int, flags: int, payload_length: int) -> None:
        """Raise unless a packet of this kind may look so; needs nothing that is sealed."""
        ...

    def serial(self, datagram: bytes) -> int:
        """The serial number of an out-of-band packet that is still sealed; ULTIDs included."""
        ...

    def extensions(self, headers: bytes) -> tuple[Extension, ...]:
        """The extension headers, given the octets between fixed header and payload in plaintext."""
        ...

    def check_extensions(self, op_code: int, extensions: tuple[Extension, ...]) -> None:
        """Raise unless the extension headers are there that such a packet must have."""
        ...

    def acknowledgement(
        self, op: Op, flags: int, window: int, sn: int, snack: Snack, serial: int, sink: SinkParameter | None
    ) -> tuple[bytes, bytes]:
        """Head and body of a KEEP_ALIVE or ACK_FLUSH."""
        ...

    def acknowledged_by(self, extensions: tuple[Extension, ...], expected: int) -> Snack:
        """What an opened out-of-band packet acknowledges; `expected` is that field of its fixed header."""
        ...

    # the handshake

    def challenge_sink(self, listener: bytes) -> SinkParameter | None:
        """The Sink Parameter of ACK_INIT_CONNECT, if it has one."""
        ...

    def handshake_sink(
        self, listener: bytes, window: int, max_payload: int, prefix: bytes = NO_PREFIX
    ) -> SinkParameter:
        """The Sink Parameter of CONNECT_REQUEST, and of ACK_CONNECT_REQ where that has one.

        `prefix` is where its sender can be reached, zeros if it does not know.
        """
        ...

    def listener_of(self, sink: SinkParameter) -> bytes:
        """The listening ULTID that a Sink Parameter of the handshake names."""
        ...

    # RESET of a connection with numbers both ways

    def reset_head(self, reason: int, window: int, sn: int, expected: int) -> bytes:
        """The fixed header of a RESET without its check code."""
        ...

    def reset_reason(self, datagram: bytes) -> int:
        """The reason of such a RESET, 0 where it has none."""
        ...

    def refusal_reason(self, datagram: bytes) -> int:
        """The reason of a RESET that answers a packet of the handshake."""
        ...

    # whole packets

    def encode(self, packet: Packet) -> bytes:
        """The octets of a packet in plaintext, from its fixed header on."""
        ...

    def decode(self, data: bytes) -> Packet:
        """The packet that the octets stand for."""
        ...
