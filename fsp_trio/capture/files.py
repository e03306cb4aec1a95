"""Reading capture files: pcap and pcapng, as a stream, as far as they go.

The libraries at hand either hold to one interface for a whole pcapng file or give up without a word at the first
octet that is missing; both formats are small enough to be read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

__all__ = ["LARGEST_RECORD", "CaptureError", "Frame", "read_frames"]

LARGEST_RECORD: Final = 2**24
"""Octets of a record or block.  A length above it is damage: no link has frames of that size."""
_PCAP_HEADER: Final = 24
_LINK_TYPE: Final = 0x03FFFFFF
"""The bits above tell of frame check sequences."""
_PCAP_MAGICS: Final = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}
"""Nanoseconds in the smaller unit of time."""
_SECTION: Final = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
_INTERFACE, _OBSOLETE_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_TIME_RESOLUTION, _TIME_OFFSET = 9, 14
_BLOCK_OVERHEAD: Final = 12
_MOST_INTERFACES: Final = 4096


class CaptureError(Exception):
    """The capture cannot be read, or not any further; one line that says why and where."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What was captured on a link."""

    n: int
    """Its number in the capture, from 1."""
    time: int
    """Nanoseconds since 1970; 0 where the capture does not tell."""
    link_type: int
    data: bytes
    original_length: int
    """Octets that the frame had on the link; more than those of `data` if it was cut short."""


def read_frames(file: BinaryIO) -> Iterator[Frame]:
    """The frames of a capture in their order.

    Raises CaptureError where the file is no capture, ends too early or makes no sense any more; whatever came
    before has been given by then.
    """
    return _Reader(file).frames()


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0

    def frames(self) -> Iterator[Frame]:
        magic = self._some(4)
        if not magic:
            raise CaptureError("the capture is empty")
        if magic == _SECTION:
            return self._pcapng()
        for order in "<>":
            if len(magic) == 4 and (unit := _PCAP_MAGICS.get(struct.unpack(order + "I", magic)[0])):
                return self._pcap(order, unit)
        raise CaptureError("neither a pcap nor a pcapng file")

    def _some(self, size: int) -> bytes:
        """So many octets, or fewer where the file ends."""
        pieces = []
        while size and (piece := self._file.read(size)):  # a pipe may give less than it was asked for
            pieces.append(piece)
            size -= len(piece)
            self._position += len(piece)
        return b"".join(pieces)

    def _exactly(self, size: int, what: str, start: bytes = b"") -> bytes:
        octets = start + self._some(size - len(start))
        if len(octets) < size:
            raise CaptureError(f"the capture is truncated: it ends at octet {self._position}, within {what}")
        return octets

    def _broken(self, why: str) -> CaptureError:
        return CaptureError(f"the capture is broken at octet {self._position}: {why}")

    # pcap

    def _pcap(self, order: str, unit: int) -> Iterator[Frame]:
        header = self._exactly(_PCAP_HEADER - 4, "the header of the file")
        link_type = struct.unpack(order + "I", header[-4:])[0] & _LINK_TYPE
        record = struct.Struct(order + "IIII")
        n = 0
        while start := self._some(record.size):
            n += 1
            seconds, fraction, length, original = record.unpack(self._exactly(record.size, f"record {n}", start))
            if length > LARGEST_RECORD:
                raise self._broken(f"record {n} would have {length} octets")
            data = self._exactly(length, f"record {n}")
            yield Frame(n, seconds * 1_000_000_000 + fraction * unit, link_type, data, original)

    # pcapng

    def _pcapng(self) -> Iterator[Frame]:
        order = "<"
        interfaces: list[_Interface] = []
        n = 0
        start = _SECTION
        while start:
            kind = self._exactly(4, "the header of a block", start)
            if kind == _SECTION:
                order = self._section()
                interfaces = []
            else:
                body = self._block(order, self._exactly(4, "the header of a block"))
                code = struct.unpack(order + "I", kind)[0]
                if code == _INTERFACE and len(interfaces) < _MOST_INTERFACES:
                    interfaces.append(self._interface(order, body))
                elif code in (_ENHANCED_PACKET, _OBSOLETE_PACKET, _SIMPLE_PACKET):
                    n += 1
                    yield self._packet(order, code, n, body, interfaces)
                # else names, statistics, secrets, and whatever will be invented
            start = self._some(4)

    def _section(self) -> str:
        """Step over a section header; the order of octets in the section."""
        head = self._exactly(8, "the header of a section")
        for order in "<>":
            if struct.unpack(order + "I", head[4:])[0] == _BYTE_ORDER_MAGIC:
                self._block(order, head[:4], head[4:])
                return order
        raise self._broken("a section without the magic number of its order of octets")

    def _block(self, order: str, length_octets: bytes, start: bytes = b"") -> bytes:
        """The body of a block whose type and length have been read."""
        length = struct.unpack(order + "I", length_octets)[0]
        if length < _BLOCK_OVERHEAD + len(start) or length & 3 or length > LARGEST_RECORD:
            raise self._broken(f"a block of {length} octets")
        body = self._exactly(length - _BLOCK_OVERHEAD, "a block", start)
        if self._exactly(4, "a block") != length_octets:
            raise self._broken("the two lengths of a block differ")
        return body

    def _interface(self, order: str, body: bytes) -> _Interface:
        if len(body) < 8:
            raise self._broken("the description of an interface is too short")
        link_type, _, snap_length = struct.unpack_from(order + "HHI", body)
        ticks, offset = 1_000_000, 0
        position = 8
        while position + 4 <= len(body):
            code, length = struct.unpack_from(order + "HH", body, position)
            value = body[position + 4 : position + 4 + length]
            if code == 0 or len(value) < length:
                break
            if code == _TIME_RESOLUTION and length == 1:
                ticks = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
            elif code == _TIME_OFFSET and length == 8:
                offset = struct.unpack(order + "q", value)[0]
            position += 4 + (length + 3 & ~3)
        return _Interface(link_type, snap_length, ticks, offset)

    def _packet(self, order: str, code: int, n: int, body: bytes, interfaces: list[_Interface]) -> Frame:
        layout = _PACKETS[code]
        size = struct.calcsize(order + layout)
        if len(body) < size:
            raise self._broken(f"packet {n} is too short")
        index, high, low, length = 0, 0, 0, len(body) - size
        fields = struct.unpack_from(order + layout, body)
        if code == _SIMPLE_PACKET:
            (original,) = fields
        else:
            index, high, low, length, original = fields
        if index >= len(interfaces):
            raise self._broken(f"packet {n} is of an interface that was not described")
        interface = interfaces[index]
        if code == _SIMPLE_PACKET:  # it has no length of its own, and may be padded
            length = min(length, original, interface.snap_length or original)
        if length > len(body) - size:
            raise self._broken(f"packet {n} is longer than its block")
        data = body[size : size + length]
        return Frame(n, interface.time(high << 32 | low), interface.link_type, data, original)


_PACKETS: Final = {_ENHANCED_PACKET: "IIIII", _OBSOLETE_PACKET: "HxxIIII", _SIMPLE_PACKET: "I"}


@dataclass(frozen=True, slots=True)
class _Interface:
    link_type: int
    snap_length: int
    ticks: int
    """In a second."""
    offset: int
    """Seconds to be added."""

    def time(self, stamp: int) -> int:
        return stamp * 1_000_000_000 // self.ticks + self.offset * 1_000_000_000
