"""The layouts of reference-2020, the author's program of October 2020, where they differ from those of gao-07."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace

from fsp_trio.wire.codec import NORMAL_HEADER
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.extensions import exactly
from fsp_trio.wire.gao import GaoCodec
from fsp_trio.wire.packets import AckInitConnect, ConnectRequest, ExtensionKind, Op, Packet, Reset
from fsp_trio.wire.shapes import FIXED_HEADER, SHAPES, SINK_PARAMETER_LENGTH, host_name

_ACK_INIT_CONNECT = struct.Struct(">4s8s8s")
_REQUEST = struct.Struct(">4s8s8s")
_REQUEST_END = struct.Struct(">I4s8s")
_RESET = struct.Struct("<I8s8s")  # the reason in the order of the author's machine
_SIGNATURE = 4
_ESTABLISHED_REASON = 0
_LARGEST_REASON = 0xFF
"""Reasons of the program are error numbers and small bits: what is larger was written the other way round."""


class ReferenceCodec(GaoCodec):
    """As gao-07, with the program's oddities.

    ACK_INIT_CONNECT says that its payload begins where its Sink Parameter does; CONNECT_REQUEST has the Sink
    Parameter before the last three fields; RESET of an established connection has no reason, but a window.
    """

    def __init__(self, op_codes: Mapping[Op, int], extension_codes: Mapping[ExtensionKind, int]) -> None:
        super().__init__(op_codes, extension_codes)
        odd = replace(SHAPES[Op.ACK_INIT_CONNECT], least_offset=FIXED_HEADER, most_offset=FIXED_HEADER)
        self._shapes[op_codes[Op.ACK_INIT_CONNECT]] = replace(odd, payload_allowed=True, payload_required=True)

    def reset_head(self, reason: int, window: int, sn: int, expected: int) -> bytes:
        return self.head(self.op_codes[Op.RESET], NORMAL_HEADER, 0, window, sn, expected)

    def reset_reason(self, datagram: bytes) -> int:
        super().reset_reason(datagram)  # for the check of its shape
        return _ESTABLISHED_REASON

    def refusal_reason(self, datagram: bytes) -> int:
        super().reset_reason(datagram)
        return int.from_bytes(datagram[12:16], "little")

    def _encode(self, packet: Packet) -> bytes:
        if isinstance(packet, AckInitConnect):
            if packet.sink is None:
                raise MalformedPacket("sink-parameter")
            fields = _ACK_INIT_CONNECT.pack(
                exactly(packet.time_delta, 4), exactly(packet.cookie, 8), exactly(packet.init_check_code, 8)
            )
            return self._assemble(Op.ACK_INIT_CONNECT, fields, payload=self.sink_parameter(packet.sink))
        if isinstance(packet, ConnectRequest):
            first = _REQUEST.pack(
                exactly(packet.salt, 4), exactly(packet.timestamp, 8), exactly(packet.init_check_code, 8)
            )
            last = _REQUEST_END.pack(packet.initial_sn, exactly(packet.time_delta, 4), exactly(packet.cookie, 8))
            chain = self.sink_parameter(packet.sink) + last
            return self._assemble(Op.CONNECT_REQUEST, first, chain, host_name(packet.host_name))
        if isinstance(packet, Reset):
            fields = _RESET.pack(packet.reason, exactly(packet.first, 8), exactly(packet.proof, 8))
            return self._assemble(Op.RESET, fields)
        return super()._encode(packet)

    def decode(self, data: bytes) -> Packet:
        op = self.ops.get(data[0]) if data else None
        if op not in (Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST, Op.RESET):
            return super().decode(data)
        if len(data) < FIXED_HEADER:
            raise MalformedPacket("truncated")
        op_code, major, offset, *_ = self.unpack_head(data, 0)
        if major:
            raise MalformedPacket("major-version")
        self.check_shape(op_code, offset, 0, len(data) - offset)
        if op is Op.RESET:
            return Reset(*_RESET.unpack_from(data, _SIGNATURE))
        if op is Op.ACK_INIT_CONNECT:
            time_delta, cookie, check_code = _ACK_INIT_CONNECT.unpack_from(data, _SIGNATURE)
            sink = self._extensions.decode_sink_parameter(data[FIXED_HEADER:])
            return AckInitConnect(time_delta, cookie, check_code, sink)
        salt, timestamp, check_code = _REQUEST.unpack_from(data, _SIGNATURE)
        end = FIXED_HEADER + SINK_PARAMETER_LENGTH
        sink = self._extensions.decode_sink_parameter(data[FIXED_HEADER:end])
        sn, time_delta, cookie = _REQUEST_END.unpack_from(data, end)
        return ConnectRequest(salt, timestamp, check_code, sn, time_delta, cookie, sink, host_name(data[offset:]))
