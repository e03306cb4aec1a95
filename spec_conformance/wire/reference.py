"""What the author's program of October 2020 makes of the layouts of gao-07 (docs/interoperation.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from spec_conformance.wire.gao import CONNECT_REQUEST_FIXED, FIXED, IDS, OPS, REQUEST, GaoWire
from spec_conformance.wire.keys import Frame
from spec_conformance.wire.packet import Op, Packet, Unreadable

SINK: Final = 40
"""Octets of a Sink Parameter."""


class ReferenceWire(GaoWire):
    """Other codes, another order of CONNECT_REQUEST, CRC64 from right to left, and a nonce that is used again."""

    full_block = least_block = 512
    byte_order = "little"
    ops = OPS | {
        Op.PURE_DATA: 7,
        Op.PERSIST: 8,
        Op.ACK_FLUSH: 9,
        Op.RELEASE: 10,
        Op.MULTIPLY: 11,
        Op.KEEP_ALIVE: 12,
    }
    subnets_code = 16
    snack_code = 17

    def _frame(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool) -> Frame:
        """The initialization vector has the first words of the header where gao-07 has the numbers."""
        return replace(super()._frame(ids, head, body, out_of_band), iv=head[:8])

    def _preliminary(self, packet: Packet) -> bytes:
        octets = super()._preliminary(packet)
        if packet.op is not Op.CONNECT_REQUEST:
            return octets
        numbers = octets[FIXED:CONNECT_REQUEST_FIXED]
        return octets[:FIXED] + octets[CONNECT_REQUEST_FIXED:] + numbers

    def _read_preliminary(self, packet: Packet, datagram: bytes) -> Packet:
        """Sink Parameters stand where the program has them, whatever Offset says of them."""
        if packet.op is Op.ACK_INIT_CONNECT and len(datagram) == IDS + FIXED + SINK:
            return replace(super()._read_preliminary(replace(packet, offset=FIXED + SINK), datagram), offset=FIXED)
        if packet.op is Op.CONNECT_REQUEST:
            if len(datagram) != IDS + REQUEST.size + SINK:
                raise Unreadable(f"CONNECT_REQUEST of {len(datagram)} octets")
            head, sink = datagram[: IDS + FIXED], datagram[IDS + FIXED : IDS + FIXED + SINK]
            datagram = head + datagram[IDS + FIXED + SINK :] + sink
        return super()._read_preliminary(packet, datagram)
