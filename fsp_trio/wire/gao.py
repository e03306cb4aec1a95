"""The layouts of gao-07 (section 4), op code numbers given as data.

Packets in plaintext go through `GaoCodec.decode`.  Of a sealed packet only the fixed header can be read:
`unpack_head` and `check_shape` serve it before it is opened, `extensions` and `check_extensions` afterwards.
`decode` is made of the same steps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.extensions import ExtensionCodec, exactly
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
)
from fsp_trio.wire.prefixes import NO_PREFIX
from fsp_trio.wire.shapes import CONNECT_REQUEST_HEADER, FIXED_HEADER, NORMAL, SHAPES, host_name

_HEAD = struct.Struct(">BBHIII")
_INIT_CONNECT = struct.Struct(">4s8s8s")
_ACK_INIT_CONNECT = struct.Struct(">4s8s8s")
_CONNECT_REQUEST = struct.Struct(">4s8s8sI4s8s")
_RESET = struct.Struct(">I8s8s")
_SIGNATURE = struct.Struct(">BBH")
_MAJOR = 0  # 4.4.2 (G17)
_MOST_WINDOW = 0xFFFFFF


class GaoCodec:
    """Op code first, check code last; extension headers are a chain from the front, their lengths little-endian (4.2).

    decode(encode(x)) == x, and encode(decode(o)) == o.
    """

    def __init__(self, op_codes: Mapping[Op, int], extension_codes: Mapping[ExtensionKind, int]) -> None:
        self.op_codes: Mapping[Op, int] = dict(op_codes)
        self.ops: Mapping[int, Op] = {code: op for op, code in op_codes.items()}
        self.extension_codes: Mapping[ExtensionKind, int] = dict(extension_codes)
        self.unpack_head: Callable[[bytes, int], tuple[int, int, int, int, int, int]] = _HEAD.unpack_from
        self._shapes = {code: SHAPES[op] for op, code in op_codes.items()}
        self._extensions = ExtensionCodec(extension_codes)
        self.snack: Callable[[Snack], bytes] = self._extensions.snack
        self.sink_parameter: Callable[[SinkParameter], bytes] = self._extensions.sink_parameter

    # parts, for packets that are sealed or about to be

    def head(self, op_code: int, offset: int, flags: int, window: int, sn: int, expected: int) -> bytes:
        """The fixed header without its ICC (4.6)."""
        return _HEAD.pack(op_code, _MAJOR, offset, flags << 24 | window, sn, expected)

    def check_shape(self, op_code: int, offset: int, flags: int, payload_length: int) -> None:
        """Raise MalformedPacket unless a packet of this kind may look so (G16-G18); `flags` is one octet."""
        shape = self._shapes.get(op_code)
        if shape is None:
            raise MalformedPacket("op-code")
        shape.check(offset, flags, payload_length)

    def extensions(self, headers: bytes) -> tuple[Extension, ...]:
        """The extension headers between fixed header and payload, opened (4.4)."""
        return self._extensions.decode(headers)

    def check_extensions(self, op_code: int, extensions: tuple[Extension, ...]) -> None:
        """Raise MalformedPacket unless the extension headers that such a packet must have are there (M4)."""
        self._shapes[op_code].check_extensions(extensions)

    def serial(self, datagram: bytes) -> int:
        return int.from_bytes(datagram[20:24], "big")

    def acknowledgement(
        self, op: Op, flags: int, window: int, sn: int, snack: Snack, serial: int, sink: SinkParameter | None
    ) -> tuple[bytes, bytes]:
        body = self.snack(snack)
        if sink is not None:
            body = self.sink_parameter(sink) + body
        return self.head(self.op_codes[op], NORMAL_HEADER + len(body), flags, window, sn, serial), body

    def acknowledged_by(self, extensions: tuple[Extension, ...], expected: int) -> Snack:
        for extension in extensions:
            if isinstance(extension, Snack):
                return extension
        raise MalformedPacket("snack")

    def challenge_sink(self, listener: bytes) -> SinkParameter | None:
        return SinkParameter(listener, NO_PREFIXES)

    def handshake_sink(
        self, listener: bytes, window: int, max_payload: int, prefix: bytes = NO_PREFIX
    ) -> SinkParameter:
        return SinkParameter(listener, NO_PREFIXES)

    def listener_of(self, sink: SinkParameter) -> bytes:
        return sink.host_id

    def reset_head(self, reason: int, window: int, sn: int, expected: int) -> bytes:
        code = self.op_codes[Op.RESET]
        return self.head(code, NORMAL_HEADER, reason >> 24 & 0xFF, reason & 0xFFFFFF, sn, expected)

    def reset_reason(self, datagram: bytes) -> int:
        if len(datagram) != ULTID_PAIR + NORMAL_HEADER or datagram[10:12] != b"\x00\x18":
            raise MalformedPacket("offset")
        return int.from_bytes(datagram[12:16], "big")

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
                exactly(packet.salt, 4), exactly(packet.timestamp, 8), exactly(packet.init_check_code, 8)
            )
            return self._assemble(Op.INIT_CONNECT, fields, payload=host_name(packet.host_name))
        if isinstance(packet, AckInitConnect):
            fields = _ACK_INIT_CONNECT.pack(
                exactly(packet.time_delta, 4), exactly(packet.cookie, 8), exactly(packet.init_check_code, 8)
            )
            if packet.sink is None:
                raise MalformedPacket("sink-parameter")
            return self._assemble(Op.ACK_INIT_CONNECT, fields, self.sink_parameter(packet.sink))
        if isinstance(packet, ConnectRequest):
            fields = _CONNECT_REQUEST.pack(
                exactly(packet.salt, 4),
                exactly(packet.timestamp, 8),
                exactly(packet.init_check_code, 8),
                packet.initial_sn,
                exactly(packet.time_delta, 4),
                exactly(packet.cookie, 8),
            )
            sink = self.sink_parameter(packet.sink)
            return self._assemble(Op.CONNECT_REQUEST, fields, sink, host_name(packet.host_name))
        return self._assemble(Op.RESET, _RESET.pack(packet.reason, exactly(packet.first, 8), exactly(packet.proof, 8)))

    def _assemble(self, op: Op, fields: bytes, chain: bytes = b"", payload: bytes = b"") -> bytes:
        """Signature, fixed fields, extension headers and payload of a packet without a normal header."""
        offset = _SIGNATURE.size + len(fields) + len(chain)
        return _SIGNATURE.pack(self.op_codes[op], _MAJOR, offset) + fields + chain + payload

    def _encode_normal(self, packet: Normal) -> bytes:
        if packet.op not in NORMAL:
            raise MalformedPacket("op-code")
        if not 0 <= packet.window <= _MOST_WINDOW:
            raise MalformedPacket("field")
        chain = b"".join(map(self._extensions.encode, packet.extensions))
        offset = NORMAL_HEADER + len(chain)
        op_code = self.op_codes[packet.op]
        head = self.head(op_code, offset, packet.flags, packet.window, packet.sn, packet.expected)
        self.check_shape(op_code, offset, packet.flags, len(packet.payload))
        if self.extensions(chain) != packet.extensions:
            raise MalformedPacket("extension-unknown")
        self.check_extensions(op_code, packet.extensions)
        return head + exactly(packet.icc, 8) + chain + packet.payload

    def decode(self, data: bytes) -> Packet:
        """The packet that the octets stand for; MalformedPacket when they stand for none."""
        if len(data) < FIXED_HEADER:
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
            window = flags_and_window & _MOST_WINDOW
            return Normal(op, flags, window, sn, expected, data[16:24], extensions, payload)
        if op is Op.RESET:
            return Reset(*_RESET.unpack_from(data, _SIGNATURE.size))
        if op is Op.INIT_CONNECT:
            salt, timestamp, check_code = _INIT_CONNECT.unpack_from(data, _SIGNATURE.size)
            return InitConnect(salt, timestamp, check_code, host_name(payload))
        if op is Op.ACK_INIT_CONNECT:
            time_delta, cookie, check_code = _ACK_INIT_CONNECT.unpack_from(data, _SIGNATURE.size)
            sink = self._extensions.decode_sink_parameter(data[FIXED_HEADER:offset])
            return AckInitConnect(time_delta, cookie, check_code, sink)
        salt, timestamp, check_code, sn, time_delta, cookie = _CONNECT_REQUEST.unpack_from(data, _SIGNATURE.size)
        sink = self._extensions.decode_sink_parameter(data[CONNECT_REQUEST_HEADER:offset])
        return ConnectRequest(salt, timestamp, check_code, sn, time_delta, cookie, sink, host_name(payload))
