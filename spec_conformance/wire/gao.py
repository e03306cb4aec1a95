"""Layouts of draft-gao-flexible-session-protocol-07, section 4."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from spec_conformance.wire.keys import Frame, Protection
from spec_conformance.wire.packet import PRELIMINARY, Extension, Op, Packet, RawHeader, Sink, Snack, Unreadable

OPS: Final = {
    Op.INIT_CONNECT: 1,
    Op.ACK_INIT_CONNECT: 2,
    Op.CONNECT_REQUEST: 3,
    Op.ACK_CONNECT_REQ: 4,
    Op.RESET: 5,
    Op.NULCOMMIT: 6,
    Op.KEEP_ALIVE: 7,
    Op.PERSIST: 8,
    Op.PURE_DATA: 9,
    Op.ACK_FLUSH: 10,
    Op.RELEASE: 11,
    Op.MULTIPLY: 12,
}
"""4.4.1"""
PEER_SUBNETS: Final = 17
SELECTIVE_NACK: Final = 18

IDS: Final = 8
FIXED: Final = 24
CONNECT_REQUEST_FIXED: Final = 40
NORMAL: Final = struct.Struct(">BBHIII")
INIT: Final = struct.Struct(">BBH4sQ8s")
ACK_INIT: Final = struct.Struct(">BBH4s8s8s")
REQUEST: Final = struct.Struct(">BBH4sQ8sI4s8s")
RESET: Final = struct.Struct(">BBHIQ")
PREFIX: Final = struct.Struct("<BBH")
OUT_OF_BAND: Final = (Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.MULTIPLY)


class GaoWire:
    """Writes and reads packets of gao-07."""

    draft = "gao-07"
    """Whose rules hold beyond the layouts."""
    udp_port = 18003
    flags: tuple[str, ...] = ("EoT", "MIND", "CPR", "ECE", "SRR")
    nothing_to_send = Op.NULCOMMIT
    """What ends a transaction without payload."""
    full_block = 1000
    """Octets of payload in the packets of longer transactions."""
    least_block = 0
    """Octets of payload that a packet must have which does not end its transaction."""
    byte_order: Literal["big", "little"] = "big"
    """Of CRC64 (8.1.1)."""

    ops: Mapping[Op, int] = OPS
    subnets_code = PEER_SUBNETS
    snack_code = SELECTIVE_NACK

    def __init__(self) -> None:
        self._names = {code: op for op, code in self.ops.items()}

    def code(self, op: Op | int) -> int:
        return self.ops[op] if isinstance(op, Op) else op

    # writing

    def encode(self, packet: Packet, protection: Protection | None = None) -> bytes:
        """The datagram.  `protection` makes the check code of packets that have one, unless `icc` is given."""
        ids = packet.source + packet.destination
        if packet.op in PRELIMINARY:
            return ids + self._preliminary(packet) + packet.payload
        extensions = b"".join(map(self._extension, packet.extensions))
        if packet.op is Op.RESET and protection is None:
            proof = packet.icc if packet.icc is not None else packet.cookie
            offset = self._offset(packet, FIXED)
            head = RESET.pack(self.code(Op.RESET), packet.major, offset, packet.reason, packet.timestamp)
            return ids + head + proof + extensions + packet.payload
        frame = self.frame(packet, extensions + packet.payload)
        if packet.icc is not None or protection is None:
            return ids + frame.filled(packet.icc or bytes(8)) + frame.body
        icc, body = protection.seal(frame)
        return ids + frame.filled(icc) + body

    def frame(self, packet: Packet, body: bytes) -> Frame:
        size = len(body) - len(packet.payload)
        second = packet.reason if packet.op is Op.RESET else packet.flags << 24 | packet.window
        head = NORMAL.pack(
            self.code(packet.op), packet.major, self._offset(packet, FIXED + size), second, packet.sn, packet.expected
        )
        return self._frame(packet.source + packet.destination, head + bytes(8), body, packet.op in OUT_OF_BAND)

    def _frame(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool) -> Frame:
        mask = head[:4] if out_of_band else bytes(4)  # 8.1.4
        return Frame(ids, head, 16, b"", body, head[8:16], mask, 0)

    def _offset(self, packet: Packet, truth: int) -> int:
        return truth if packet.offset is None else packet.offset

    def _preliminary(self, packet: Packet) -> bytes:
        extensions = b"".join(map(self._extension, packet.extensions))
        code = self.code(packet.op)
        if packet.op is Op.INIT_CONNECT:
            offset = self._offset(packet, FIXED + len(extensions))
            head = INIT.pack(code, packet.major, offset, packet.salt, packet.timestamp, packet.check_code)
        elif packet.op is Op.ACK_INIT_CONNECT:
            offset = self._offset(packet, FIXED + len(extensions))
            head = ACK_INIT.pack(code, packet.major, offset, packet.time_delta, packet.cookie, packet.check_code)
        else:
            head = REQUEST.pack(
                code,
                packet.major,
                self._offset(packet, CONNECT_REQUEST_FIXED + len(extensions)),
                packet.salt,
                packet.timestamp,
                packet.check_code,
                packet.initial_sn,
                packet.time_delta,
                packet.cookie,
            )
        return head + extensions

    def _extension(self, extension: Extension) -> bytes:
        if isinstance(extension, Sink):
            content = extension.listener_or_host + b"".join(extension.prefixes)
            return PREFIX.pack(self.subnets_code, 0, 4 + len(content)) + content
        if isinstance(extension, Snack):
            numbers = [extension.expected or 0, extension.delay_sample, extension.delay]
            numbers += [number for gap in extension.gaps for number in gap]
            content = struct.pack(f"<{len(numbers)}I", *numbers)
            return PREFIX.pack(self.snack_code, 0, 4 + len(content)) + content
        length = 4 + len(extension.content) if extension.length is None else extension.length
        return PREFIX.pack(extension.code, extension.mark, length) + extension.content

    # reading

    def cut(self, datagram: bytes) -> tuple[Frame, bytes]:
        """A packet cut up for its check, and its check code."""
        head = datagram[IDS : IDS + 16]
        out_of_band = self._names.get(head[0]) in OUT_OF_BAND
        frame = self._frame(datagram[:IDS], head + bytes(8), datagram[IDS + FIXED :], out_of_band)
        return frame, datagram[IDS + 16 : IDS + FIXED]

    def peek(self, datagram: bytes) -> tuple[Op | int, int]:
        """Operation and sequence number of a datagram that may be anything, to find out what protects it."""
        if len(datagram) < IDS + FIXED:
            raise Unreadable(f"{len(datagram)} octets are less than ULTIDs and a fixed header")
        code = datagram[IDS]
        return self._names.get(code, code), int.from_bytes(datagram[IDS + 8 : IDS + 8 + 4], "big")

    def decode(self, datagram: bytes, protection: Protection | None = None) -> Packet:
        """The packet; `authentic` tells of its check code.  Unreadable if the octets follow no layout."""
        if len(datagram) < IDS + FIXED:
            raise Unreadable(f"{len(datagram)} octets are less than ULTIDs and a fixed header")
        code, major, offset = struct.unpack_from(">BBH", datagram, IDS)
        op = self._names.get(code)
        if op is None:
            raise Unreadable(f"unknown operation code {code}")
        packet = Packet(op=op, source=datagram[:4], destination=datagram[4:8], major=major, offset=offset)
        if op in PRELIMINARY:
            return self._read_preliminary(packet, datagram)
        _, _, _, second, sn, expected = NORMAL.unpack_from(datagram, IDS)
        icc = datagram[IDS + 16 : IDS + FIXED]
        packet = replace(packet, sn=sn, expected=expected, icc=icc)
        if op is Op.RESET:
            packet = replace(packet, reason=second, timestamp=sn << 32 | expected, cookie=icc)
        else:
            packet = replace(packet, flags=second >> 24, window=second & 0xFFFFFF)
        body: bytes | None = datagram[IDS + FIXED :]
        if protection is not None:
            body = protection.open(self.cut(datagram)[0], icc)
            packet = replace(packet, authentic=body is not None)
            if body is None:
                return packet
        assert body is not None
        if not FIXED <= offset <= FIXED + len(body):
            raise Unreadable(f"{packet.name}: Offset {offset} lies outside of the packet")
        extensions = self._read_extensions(packet, body[: offset - FIXED])
        return replace(packet, extensions=extensions, payload=body[offset - FIXED :])

    def _read_preliminary(self, packet: Packet, datagram: bytes) -> Packet:
        fixed = CONNECT_REQUEST_FIXED if packet.op is Op.CONNECT_REQUEST else FIXED
        assert packet.offset is not None
        if not fixed <= packet.offset <= len(datagram) - IDS:
            raise Unreadable(f"{packet.name}: Offset {packet.offset} lies outside of the packet")
        if packet.op is Op.INIT_CONNECT:
            _, _, _, salt, timestamp, check_code = INIT.unpack_from(datagram, IDS)
            packet = replace(packet, salt=salt, timestamp=timestamp, check_code=check_code)
        elif packet.op is Op.ACK_INIT_CONNECT:
            _, _, _, delta, cookie, check_code = ACK_INIT.unpack_from(datagram, IDS)
            packet = replace(packet, time_delta=delta, cookie=cookie, check_code=check_code)
        else:
            _, _, _, salt, timestamp, check_code, initial, delta, cookie = REQUEST.unpack_from(datagram, IDS)
            packet = replace(packet, salt=salt, timestamp=timestamp, check_code=check_code)
            packet = replace(packet, initial_sn=initial, time_delta=delta, cookie=cookie)
        assert packet.offset is not None
        extensions = self._read_extensions(packet, datagram[IDS + fixed : IDS + packet.offset])
        return replace(packet, extensions=extensions, payload=datagram[IDS + packet.offset :])

    def _read_extensions(self, packet: Packet, octets: bytes) -> tuple[Extension, ...]:
        found: list[Extension] = []
        while octets:
            if len(octets) < 8:
                raise Unreadable(f"{packet.name}: {len(octets)} octets left where an extension header should be")
            code, mark, length = PREFIX.unpack_from(octets)
            if length < 8 or length % 8 or length > len(octets):
                raise Unreadable(f"{packet.name}: an extension header of length {length}")
            content = octets[4:length]
            if code == self.subnets_code:
                prefixes = tuple(content[at : at + 8] for at in range(4, len(content), 8))
                found.append(Sink(content[:4], prefixes))
            elif code == self.snack_code and length >= 16:
                expected, sample, delay, *rest = struct.unpack(f"<{len(content) // 4}I", content)
                found.append(Snack(tuple(zip(rest[::2], rest[1::2], strict=True)), expected, sample, delay))
            else:
                found.append(RawHeader(code, content, mark))
            octets = octets[length:]
        return tuple(found)
