"""Extension headers: code, Mark, length, content (gao-07 4.4, 4.7, 4.8; M2a).

Length and the numbers of a SNACK are little-endian, all else is octet strings (G3).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import Extension, ExtensionKind, SinkParameter, Snack, UnknownExtension
from fsp_trio.wire.shapes import SINK_PARAMETER_LENGTH

_PREFIX = struct.Struct("<BBH")
_SINK = struct.Struct("<BBH4s8s8s8s8s")
_SNACK = struct.Struct("<BBHIII")
_GAP = struct.Struct("<II")
_LEAST_LENGTH = 8


def exactly(octets: bytes, size: int) -> bytes:
    """The octets, if they are so many: struct would pad or cut them silently."""
    if len(octets) != size:
        raise MalformedPacket("field")
    return octets


class ExtensionCodec:
    """Extension headers with the type numbers of a revision."""

    def __init__(self, codes: Mapping[ExtensionKind, int]) -> None:
        self._sink_code = codes[ExtensionKind.PEER_SUBNETS]
        self._snack_code = codes[ExtensionKind.SELECTIVE_NACK]

    def sink_parameter(self, sink: SinkParameter) -> bytes:
        prefixes = (exactly(prefix, 8) for prefix in sink.prefixes)
        return _SINK.pack(self._sink_code, sink.mark, SINK_PARAMETER_LENGTH, exactly(sink.host_id, 4), *prefixes)

    def snack(self, snack: Snack) -> bytes:
        length = _SNACK.size + _GAP.size * len(snack.gaps)
        header = _SNACK.pack(
            self._snack_code, snack.mark, length, snack.expected_sn, snack.delay_sample_sn, snack.delay
        )
        return header + b"".join(_GAP.pack(width, count) for width, count in snack.gaps)

    def encode(self, extension: Extension) -> bytes:
        if isinstance(extension, SinkParameter):
            return self.sink_parameter(extension)
        if isinstance(extension, Snack):
            return self.snack(extension)
        length = _PREFIX.size + len(extension.content)
        return _PREFIX.pack(extension.code, extension.mark, length) + extension.content

    def decode_sink_parameter(self, octets: bytes) -> SinkParameter:
        """A chain that has to be one Sink Parameter (4.5.2, 4.5.3)."""
        match self.decode(octets):
            case (SinkParameter() as sink,):
                return sink
        raise MalformedPacket("sink-parameter")

    def decode(self, chain: bytes) -> tuple[Extension, ...]:
        """All extension headers in their order; MalformedPacket unless they fill the chain exactly (G16)."""
        extensions: list[Extension] = []
        codes = set()
        position, end = 0, len(chain)
        while position < end:
            if end - position < _LEAST_LENGTH:
                raise MalformedPacket("extension-length")
            code, mark, length = _PREFIX.unpack_from(chain, position)
            if length < _LEAST_LENGTH or length & 7 or length > end - position:
                raise MalformedPacket("extension-length")
            if code in codes:
                raise MalformedPacket("extension-repeated")  # M2a
            codes.add(code)
            extensions.append(self._decode_one(code, mark, chain[position : position + length]))
            position += length
        return tuple(extensions)

    def _decode_one(self, code: int, mark: int, octets: bytes) -> Extension:
        if code == self._sink_code:
            if len(octets) != SINK_PARAMETER_LENGTH:
                raise MalformedPacket("extension-length")
            *_, host_id, first, second, third, fourth = _SINK.unpack(octets)
            return SinkParameter(host_id, (first, second, third, fourth), mark)
        if code == self._snack_code:
            if len(octets) < _SNACK.size:
                raise MalformedPacket("extension-length")
            *_, expected_sn, sample_sn, delay = _SNACK.unpack_from(octets)
            gaps = tuple(_GAP.iter_unpack(octets[_SNACK.size :]))
            return Snack(expected_sn, sample_sn, delay, gaps, mark)
        return UnknownExtension(code, mark, octets[_PREFIX.size :])
