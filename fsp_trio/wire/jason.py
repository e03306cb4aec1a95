"""The layouts of jason-00 (section 3): signature at the end of each header, a stack of headers, all big-endian.

The signature of a header tells where the header below it ends, counted from the start of the fixed header; that of the
fixed header tells where the topmost one ends, which is where the payload begins.  So the stack is read from the top.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.extensions import exactly
from fsp_trio.wire.packets import (
    NO_PREFIXES,
    AckInitConnect,
    ConnectRequest,
    Extension,
    ExtensionKind,
    InitConnect,
    Normal,
    Op,
    Packet,
    Reset,
    SinkParameter,
    Snack,
    UnknownExtension,
)
from fsp_trio.wire.prefixes import NO_PREFIX
from fsp_trio.wire.shapes import NORMAL, Shape, host_name

REQUEST_HEADER = 40
"""Octets of the fixed part of CONNECT_REQUEST (3.6)."""
SINK_PARAMETERS = 48
"""Octets of Sink Parameters, signature included (3.7)."""
SECTOR = 512
"""Octets in the unit of the block size (3.7)."""

_HEAD = struct.Struct(">IIIHBB")
_SEALED_HEAD = struct.Struct(">II8xIHBB")
_SIGNATURE = struct.Struct(">HBB")
_INIT_CONNECT = struct.Struct(">8s8s4s")
_ACK_INIT_CONNECT = struct.Struct(">8s8s4s")
_REQUEST_END = struct.Struct(">I4s8s")
_SINK = struct.Struct(">8s8s8s8s4s4sI")
_GAP = struct.Struct(">II")
_RESET = struct.Struct(">8s8sI")
_MAJOR = 0
_MOST_WINDOW = 0xFFFFFF
_MOST_ADVERTISED = 0xFFFFF  # 20 bits in a field of 24 (3.7, A24)


def _exactly(offset: int, *, payload_allowed: bool = True, payload_required: bool = False) -> Shape:
    return Shape(offset, offset, payload_allowed=payload_allowed, payload_required=payload_required)


SHAPES = {  # 3.3 to 3.11
    Op.INIT_CONNECT: _exactly(NORMAL_HEADER),
    Op.ACK_INIT_CONNECT: _exactly(NORMAL_HEADER, payload_allowed=False),
    Op.CONNECT_REQUEST: _exactly(REQUEST_HEADER + SINK_PARAMETERS),
    Op.ACK_CONNECT_REQ: _exactly(NORMAL_HEADER + SINK_PARAMETERS),
    Op.RESET: _exactly(NORMAL_HEADER, payload_allowed=False),
    Op.PERSIST: Shape(),  # with options or payload; both are accepted (A9)
    Op.KEEP_ALIVE: Shape(payload_allowed=False, snack_required=True),  # A10
    Op.PURE_DATA: _exactly(NORMAL_HEADER, payload_required=True),
    Op.ACK_FLUSH: Shape(payload_allowed=False, snack_required=True, gaps_allowed=False),
    Op.RELEASE: Shape(payload_allowed=False),
    Op.MULTIPLY: Shape(),
}


def headers_of(headers: bytes, base: int = NORMAL_HEADER) -> Iterator[tuple[int, int, bytes]]:
    """(code, major version, content) of the headers on the stack, the topmost first.

    `headers` are the octets between the fixed part, which ends at `base`, and the payload.
    """
    end = base + len(headers)
    while end > base:
        if end - base < 8:
            raise MalformedPacket("extension-length")
        below, major, code = _SIGNATURE.unpack_from(headers, end - base - 4)
        if below < base or below & 7 or below > end - 8:
            raise MalformedPacket("extension-length")
        yield code, major, headers[below - base : end - base - 4]
        end = below


class JasonCodec:
    """Numbers first, check code in the middle, op code last; extension headers are a stack from the end (3.3, 3.8).

    decode(encode(x)) == x, and encode(decode(o)) == o.
    """

    def __init__(self, op_codes: Mapping[Op, int], extension_codes: Mapping[ExtensionKind, int]) -> None:
        self.op_codes: Mapping[Op, int] = dict(op_codes)
        self.ops: Mapping[int, Op] = {code: op for op, code in op_codes.items()}
        self.extension_codes: Mapping[ExtensionKind, int] = dict(extension_codes)
        self._shapes = {code: SHAPES[op] for op, code in op_codes.items()}
        self._sink_code = extension_codes[ExtensionKind.PEER_SUBNETS]
        self._snack_code = extension_codes[ExtensionKind.SELECTIVE_NACK]

    # parts, for packets that are sealed or about to be

    def unpack_head(self, datagram: bytes, position: int) -> tuple[int, int, int, int, int, int]:
        sn, expected, flags_and_window, offset, major, op_code = _SEALED_HEAD.unpack_from(datagram, position)
        return op_code, major, offset, flags_and_window, sn, expected

    def head(self, op_code: int, offset: int, flags: int, window: int, sn: int, expected: int) -> bytes:
        return _HEAD.pack(sn, expected, flags << 24 | window, offset, _MAJOR, op_code)

    def check_shape(self, op_code: int, offset: int, flags: int, payload_length: int) -> None:
        shape = self._shapes.get(op_code)
        if shape is None:
            raise MalformedPacket("op-code")
        shape.check(offset, flags, payload_length)

    def serial(self, datagram: bytes) -> int:
        """Extension headers are in clear, and the SNACK has the serial (3.11); MULTIPLY has it as its Salt (A12)."""
        op_code, _, offset, *_, expected = self.unpack_head(datagram, ULTID_PAIR)
        if self.ops.get(op_code) is Op.MULTIPLY:
            return expected
        for code, _, content in headers_of(datagram[ULTID_PAIR + NORMAL_HEADER : ULTID_PAIR + offset]):
            if code == self._snack_code:
                return int.from_bytes(content[-4:], "big")
        raise MalformedPacket("snack")

    def extensions(self, headers: bytes) -> tuple[Extension, ...]:
        return self._stack(headers, NORMAL_HEADER)

    def _stack(self, headers: bytes, base: int) -> tuple[Extension, ...]:
        """The headers in the order of their octets."""
        found = [self._decode_one(*header) for header in headers_of(headers, base)]
        if len({type(each) if not isinstance(each, UnknownExtension) else each.code for each in found}) < len(found):
            raise MalformedPacket("extension-repeated")
        return tuple(reversed(found))

    def _decode_one(self, code: int, major: int, content: bytes) -> Extension:
        if code == self._sink_code:
            if len(content) != _SINK.size:
                raise MalformedPacket("extension-length")
            *prefixes, listener, host_id, window_and_block = _SINK.unpack(content)
            first, second, third, fourth = prefixes
            return SinkParameter(
                host_id,
                (first, second, third, fourth),
                major,
                block_size=window_and_block & 0xFF,
                listener=listener,
                window=window_and_block >> 8,
            )
        if code == self._snack_code:
            gaps = tuple(_GAP.iter_unpack(content[:-4]))
            return Snack(0, None, 0, gaps, major, serial=int.from_bytes(content[-4:], "big"))
        return UnknownExtension(code, major, content)

    def check_extensions(self, op_code: int, extensions: tuple[Extension, ...]) -> None:
        self._shapes[op_code].check_extensions(extensions)

    def acknowledgement(
        self, op: Op, flags: int, window: int, sn: int, snack: Snack, serial: int, sink: SinkParameter | None
    ) -> tuple[bytes, bytes]:
        described = Snack(0, None, 0, snack.gaps, serial=serial)
        body = self._encode_stack((described,) if sink is None else (sink, described), NORMAL_HEADER)
        head = self.head(self.op_codes[op], NORMAL_HEADER + len(body), flags, window, sn, snack.expected_sn)
        return head, body

    def acknowledged_by(self, extensions: tuple[Extension, ...], expected: int) -> Snack:
        """The cumulative acknowledgement is in the fixed header of every packet (3.8)."""
        for extension in extensions:
            if isinstance(extension, Snack):
                return replace(extension, expected_sn=expected)
        raise MalformedPacket("snack")

    # the handshake

    def challenge_sink(self, listener: bytes) -> SinkParameter | None:
        return None  # 3.5

    def handshake_sink(
        self, listener: bytes, window: int, max_payload: int, prefix: bytes = NO_PREFIX
    ) -> SinkParameter:
        sectors = min(-(-max_payload // SECTOR), 0xFF)
        return SinkParameter(
            bytes(4),
            (prefix, *NO_PREFIXES[1:]),
            block_size=sectors,
            listener=listener,
            window=min(window, _MOST_ADVERTISED),
        )

    def listener_of(self, sink: SinkParameter) -> bytes:
        return sink.listener

    # RESET

    def reset_head(self, reason: int, window: int, sn: int, expected: int) -> bytes:
        code = self.op_codes[Op.RESET]
        return self.head(code, NORMAL_HEADER, reason >> 24 & 0xFF, reason & 0xFFFFFF, sn, expected)

    def reset_reason(self, datagram: bytes) -> int:
        _, _, offset, reason, *_ = self.unpack_head(datagram, ULTID_PAIR)
        if len(datagram) != ULTID_PAIR + NORMAL_HEADER or offset != NORMAL_HEADER:
            raise MalformedPacket("offset")
        return reason

    def refusal_reason(self, datagram: bytes) -> int:
        return self.reset_reason(datagram)

    # whole packets

    def encode(self, packet: Packet) -> bytes:
        """The octets of a packet, from its fixed header on; MalformedPacket when these values have none."""
        try:
            return self._encode(packet)
        except struct.error as error:
            raise MalformedPacket("field") from error

    def _encode(self, packet: Packet) -> bytes:
        if isinstance(packet, Normal):
            return self._encode_normal(packet)
        if isinstance(packet, InitConnect):
            fields = _INIT_CONNECT.pack(
                exactly(packet.timestamp, 8), exactly(packet.init_check_code, 8), exactly(packet.salt, 4)
            )
            return fields + self._signature(Op.INIT_CONNECT, NORMAL_HEADER) + host_name(packet.host_name)
        if isinstance(packet, AckInitConnect):
            if packet.sink is not None:
                raise MalformedPacket("sink-parameter")
            fields = _ACK_INIT_CONNECT.pack(
                exactly(packet.cookie, 8), exactly(packet.init_check_code, 8), exactly(packet.time_delta, 4)
            )
            return fields + self._signature(Op.ACK_INIT_CONNECT, NORMAL_HEADER)
        if isinstance(packet, ConnectRequest):
            fields = _INIT_CONNECT.pack(
                exactly(packet.timestamp, 8), exactly(packet.init_check_code, 8), exactly(packet.salt, 4)
            )
            fields += self._signature(Op.CONNECT_REQUEST, REQUEST_HEADER + SINK_PARAMETERS)
            fields += _REQUEST_END.pack(packet.initial_sn, exactly(packet.time_delta, 4), exactly(packet.cookie, 8))
            return fields + self._encode_stack((packet.sink,), REQUEST_HEADER) + host_name(packet.host_name)
        fields = _RESET.pack(exactly(packet.first, 8), exactly(packet.proof, 8), packet.reason)
        return fields + self._signature(Op.RESET, NORMAL_HEADER)

    def _signature(self, op: Op, offset: int) -> bytes:
        return _SIGNATURE.pack(offset, _MAJOR, self.op_codes[op])

    def _encode_stack(self, extensions: tuple[Extension, ...], base: int) -> bytes:
        octets = b""
        for extension in extensions:
            below = base + len(octets)
            if isinstance(extension, SinkParameter):
                if not 0 <= extension.window <= _MOST_WINDOW or not 0 <= extension.block_size <= 0xFF:
                    raise MalformedPacket("field")
                prefixes = (exactly(prefix, 8) for prefix in extension.prefixes)
                content = _SINK.pack(
                    *prefixes,
                    exactly(extension.listener, 4),
                    exactly(extension.host_id, 4),
                    extension.window << 8 | extension.block_size,
                )
                code = self._sink_code
            elif isinstance(extension, Snack):
                content = b"".join(_GAP.pack(width, count) for width, count in extension.gaps)
                content += extension.serial.to_bytes(4, "big")
                code = self._snack_code
            else:
                content, code = extension.content, extension.code
            octets += content + _SIGNATURE.pack(below, extension.mark, code)
        return octets

    def _encode_normal(self, packet: Normal) -> bytes:
        if packet.op not in self.op_codes or packet.op not in NORMAL:
            raise MalformedPacket("op-code")
        if not 0 <= packet.window <= _MOST_WINDOW:
            raise MalformedPacket("field")
        headers = self._encode_stack(packet.extensions, NORMAL_HEADER)
        offset = NORMAL_HEADER + len(headers)
        op_code = self.op_codes[packet.op]
        head = self.head(op_code, offset, packet.flags, packet.window, packet.sn, packet.expected)
        self.check_shape(op_code, offset, packet.flags, len(packet.payload))
        if self.extensions(headers) != packet.extensions:
            raise MalformedPacket("extension-unknown")
        self.check_extensions(op_code, packet.extensions)
        return head[:8] + exactly(packet.icc, 8) + head[8:] + headers + packet.payload

    def decode(self, data: bytes) -> Packet:
        """The packet that the octets stand for; MalformedPacket when they stand for none."""
        if len(data) < NORMAL_HEADER:
            raise MalformedPacket("truncated")
        op_code, major, offset, flags_and_window, sn, expected = self.unpack_head(data, 0)
        if major != _MAJOR:
            raise MalformedPacket("major-version")
        flags = flags_and_window >> 24
        self.check_shape(op_code, offset, flags, len(data) - offset)
        op = self.ops[op_code]
        payload = data[offset:]
        if op in NORMAL:
            extensions = self.extensions(data[NORMAL_HEADER:offset])
            self.check_extensions(op_code, extensions)
            return Normal(op, flags, flags_and_window & _MOST_WINDOW, sn, expected, data[8:16], extensions, payload)
        if op is Op.RESET:
            first, proof, reason = _RESET.unpack_from(data)
            return Reset(reason, first, proof)
        if op is Op.ACK_INIT_CONNECT:
            cookie, check_code, time_delta = _ACK_INIT_CONNECT.unpack_from(data)
            return AckInitConnect(time_delta, cookie, check_code, None)
        timestamp, check_code, salt = _INIT_CONNECT.unpack_from(data)
        if op is Op.INIT_CONNECT:
            return InitConnect(salt, timestamp, check_code, host_name(payload))
        sn, time_delta, cookie = _REQUEST_END.unpack_from(data, NORMAL_HEADER)
        match self._stack(data[REQUEST_HEADER:offset], REQUEST_HEADER):  # its pointer is 40 (A5)
            case (SinkParameter() as sink,):
                return ConnectRequest(salt, timestamp, check_code, sn, time_delta, cookie, sink, host_name(payload))
        raise MalformedPacket("sink-parameter")
