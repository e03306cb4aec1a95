"""What a packet of each kind may and must consist of (gao-07 4.4.1, 4.4.4, 4.4.5, 4.5; G2, G16-G18, M4).

`Shape.check` needs the fixed header and the length of the packet alone, so it serves encrypted packets before
they are opened.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import FLAG_EOT, Extension, Op, Snack

FIXED_HEADER = 24
CONNECT_REQUEST_HEADER = 40
SINK_PARAMETER_LENGTH = 40
HOST_NAME_LIMIT = 255
_ANY_OFFSET = 0xFFFF


@dataclass(slots=True, frozen=True)
class Shape:
    """The rules for one kind of packet."""

    least_offset: int = FIXED_HEADER
    most_offset: int = _ANY_OFFSET
    payload_allowed: bool = True
    payload_required: bool = False
    eot_required: bool = False
    snack_required: bool = False
    gaps_allowed: bool = True

    def check(self, offset: int, flags: int, payload_length: int) -> None:
        """Raise MalformedPacket unless a header with these fields may stand before so much payload."""
        if offset < self.least_offset or offset & 7 or payload_length < 0:
            raise MalformedPacket("offset")  # G16
        if offset > self.most_offset:
            raise MalformedPacket("extension-forbidden")
        if payload_length:
            if not self.payload_allowed:
                raise MalformedPacket("payload-forbidden")
        elif self.payload_required:
            raise MalformedPacket("payload-missing")
        if self.eot_required and not flags & FLAG_EOT:
            raise MalformedPacket("eot-missing")

    def check_extensions(self, extensions: tuple[Extension, ...]) -> None:
        """Raise MalformedPacket unless the acknowledgement that such a packet consists of is there (M4)."""
        if self.snack_required:
            for extension in extensions:
                if isinstance(extension, Snack) and (self.gaps_allowed or not extension.gaps):
                    return
            raise MalformedPacket("snack")


def _exactly(offset: int, *, payload_allowed: bool = True) -> Shape:
    return Shape(least_offset=offset, most_offset=offset, payload_allowed=payload_allowed)


# The payload of the preliminary packets is a host name; RESET ends with its fixed header (4.9).
SHAPES = {
    Op.INIT_CONNECT: _exactly(FIXED_HEADER),
    Op.ACK_INIT_CONNECT: _exactly(FIXED_HEADER + SINK_PARAMETER_LENGTH, payload_allowed=False),
    Op.CONNECT_REQUEST: _exactly(CONNECT_REQUEST_HEADER + SINK_PARAMETER_LENGTH),
    Op.ACK_CONNECT_REQ: Shape(),
    Op.RESET: _exactly(FIXED_HEADER, payload_allowed=False),
    Op.NULCOMMIT: Shape(payload_allowed=False, eot_required=True),
    Op.KEEP_ALIVE: Shape(payload_allowed=False, snack_required=True),
    Op.PERSIST: Shape(payload_required=True),
    Op.PURE_DATA: _exactly(FIXED_HEADER),
    Op.ACK_FLUSH: Shape(payload_allowed=False, snack_required=True, gaps_allowed=False),
    Op.RELEASE: Shape(payload_allowed=False),
    Op.MULTIPLY: Shape(),
}

PRELIMINARY = frozenset({Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST})
NORMAL = frozenset(Op) - PRELIMINARY - {Op.RESET}


def host_name(name: bytes) -> bytes:
    """The name, if it is UTF-8 of a bearable length (4.5.1, 4.5.3, M52)."""
    if len(name) > HOST_NAME_LIMIT:
        raise MalformedPacket("host-name")
    try:
        name.decode()
    except UnicodeDecodeError:
        raise MalformedPacket("host-name") from None
    return name
