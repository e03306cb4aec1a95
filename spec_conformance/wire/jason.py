"""Layouts of draft-jason-fsp-00, section 3: headers end with their signature, and are found from the end backwards."""

from __future__ import annotations

import struct
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
    Op.PERSIST: 6,
    Op.KEEP_ALIVE: 7,
    Op.PURE_DATA: 9,
    Op.ACK_FLUSH: 10,
    Op.RELEASE: 11,
    Op.MULTIPLY: 12,
}
"""3.3"""
PEER_SUBNETS: Final = 17
SELECTIVE_NACK: Final = 18
FLAG_HMAC: Final = 0x20
"""3.8: the check code is a MAC (6.3)."""

IDS: Final = 8
FIXED: Final = 24
REQUEST_FIXED: Final = 40
SIGNATURE: Final = struct.Struct(">HBB")
_NAMES: Final = {code: op for op, code in OPS.items()}
_OUT_OF_BAND: Final = (Op.KEEP_ALIVE, Op.ACK_FLUSH)


class JasonWire:
    """Writes and reads packets of jason-00."""

    draft = "jason-00"
    """Whose rules hold beyond the layouts."""
    udp_port = 18003
    flags: tuple[str, ...] = ("EoT", "MIND", "HMAC", "ECN")
    nothing_to_send = Op.PERSIST
    """What ends a transaction without payload (A31)."""
    full_block = 1000
    """Octets of payload in the packets of longer transactions."""
    least_block = 0
    """Octets of payload that a packet must have which does not end its transaction."""
    byte_order: Literal["big", "little"] = "big"
    """Of CRC64 (6.1)."""

    def code(self, op: Op | int) -> int:
        return OPS[op] if isinstance(op, Op) else op

    # writing

    def encode(self, packet: Packet, protection: Protection | None = None) -> bytes:
        """The datagram.  `protection` makes the check code of packets that have one, unless `icc` is given."""
        ids = packet.source + packet.destination
        if packet.op in PRELIMINARY:
            return ids + self._preliminary(packet) + packet.payload
        if packet.op is Op.RESET and protection is None:
            proof = packet.icc if packet.icc is not None else packet.cookie
            head = packet.timestamp.to_bytes(8, "big") + proof + struct.pack(">I", packet.reason)
            return ids + head + self._signature(packet, FIXED)
        frame = self.frame(packet)
        if packet.icc is not None or protection is None:
            return ids + frame.filled(packet.icc or bytes(8)) + frame.clear + frame.body
        icc, rest = protection.seal(frame)
        return ids + frame.filled(icc) + rest

    def frame(self, packet: Packet) -> Frame:
        extensions = self._chain(packet.extensions, FIXED)
        flags = packet.reason if packet.op is Op.RESET else packet.flags << 24 | packet.window
        head = struct.pack(">II8xI", packet.sn, packet.expected, flags) + self._signature(
            packet, FIXED + len(extensions)
        )
        return self._frame(packet, head, extensions, packet.payload)

    def _frame(self, packet: Packet, head: bytes, clear: bytes, body: bytes) -> Frame:
        mask = bytes(4)  # A19
        if packet.op is Op.MULTIPLY:
            mask = head[4:8]
        elif packet.op in _OUT_OF_BAND and packet.snack is not None:
            mask = (packet.snack.serial or 0).to_bytes(4, "big")
        return Frame(packet.source + packet.destination, head, 8, clear, body, head[:8], mask, 8)

    def _signature(self, packet: Packet, truth: int) -> bytes:
        return SIGNATURE.pack(truth if packet.offset is None else packet.offset, packet.major, self.code(packet.op))

    def _preliminary(self, packet: Packet) -> bytes:
        time, code = packet.timestamp.to_bytes(8, "big"), packet.check_code
        if packet.op is Op.INIT_CONNECT:
            return time + code + packet.salt + self._signature(packet, FIXED)
        if packet.op is Op.ACK_INIT_CONNECT:
            return packet.cookie + code + packet.time_delta + self._signature(packet, FIXED)
        extensions = self._chain(packet.extensions, REQUEST_FIXED)
        head = time + code + packet.salt + self._signature(packet, REQUEST_FIXED + len(extensions))
        return head + packet.initial_sn.to_bytes(4, "big") + packet.time_delta + packet.cookie + extensions

    def _chain(self, extensions: tuple[Extension, ...], start: int) -> bytes:
        octets = b""
        for each in extensions:
            octets += self._extension(each, start + len(octets))
        return octets

    def _extension(self, extension: Extension, below: int) -> bytes:
        if isinstance(extension, Sink):
            content = b"".join(extension.prefixes) + extension.listener_or_host + extension.host
            content += extension.window.to_bytes(3, "big") + bytes([extension.block_size])
            return content + SIGNATURE.pack(below, 0, PEER_SUBNETS)
        if isinstance(extension, Snack):
            numbers = [number for gap in extension.gaps for number in gap] + [extension.serial or 0]
            return struct.pack(f">{len(numbers)}I", *numbers) + SIGNATURE.pack(below, 0, SELECTIVE_NACK)
        pointer = below if extension.length is None else extension.length
        return extension.content + SIGNATURE.pack(pointer, extension.mark, extension.code)

    # reading

    def cut(self, datagram: bytes) -> tuple[Frame, bytes]:
        """A packet cut up for its check, and its check code."""
        packet = self.decode(datagram)
        assert packet.offset is not None
        head, end = datagram[IDS : IDS + FIXED], IDS + packet.offset
        frame = self._frame(packet, head[:8] + bytes(8) + head[16:], datagram[IDS + FIXED : end], datagram[end:])
        return frame, head[8:16]

    def peek(self, datagram: bytes) -> tuple[Op | int, int]:
        """Operation and sequence number of a datagram that may be anything, to find out what protects it."""
        if len(datagram) < IDS + FIXED:
            raise Unreadable(f"{len(datagram)} octets are less than ULTIDs and a fixed header")
        code = datagram[IDS + 23]
        return _NAMES.get(code, code), int.from_bytes(datagram[IDS : IDS + 4], "big")

    def decode(self, datagram: bytes, protection: Protection | None = None) -> Packet:
        """The packet; `authentic` tells of its check code.  Unreadable if the octets follow no layout."""
        if len(datagram) < IDS + FIXED:
            raise Unreadable(f"{len(datagram)} octets are less than ULTIDs and a fixed header")
        head = datagram[IDS : IDS + FIXED]
        offset, major, code = SIGNATURE.unpack_from(head, 20)
        op = _NAMES.get(code)
        if op is None:
            raise Unreadable(f"unknown operation code {code}")
        packet = Packet(op=op, source=datagram[:4], destination=datagram[4:8], major=major, offset=offset)
        if not FIXED <= offset <= len(datagram) - IDS:
            raise Unreadable(f"{packet.name}: the header stack pointer {offset} lies outside of the packet")
        if op in PRELIMINARY:
            return self._read_preliminary(packet, datagram)
        sn, expected, icc, flags = struct.unpack_from(">II8sI", head)
        packet = replace(packet, sn=sn, expected=expected, icc=icc)
        if op is Op.RESET:
            packet = replace(packet, reason=flags, timestamp=sn << 32 | expected, cookie=icc)
        else:
            packet = replace(packet, flags=flags >> 24, window=flags & 0xFFFFFF)
        packet = replace(packet, extensions=self._read_chain(packet, datagram[IDS:], FIXED))
        clear, body = datagram[IDS + FIXED : IDS + offset], datagram[IDS + offset :]
        if protection is None:
            return replace(packet, payload=body)
        frame = self._frame(packet, head[:8] + bytes(8) + head[16:], clear, body)
        opened = protection.open(frame, icc)
        payload = b"" if opened is None else opened[len(clear) :]
        return replace(packet, authentic=opened is not None, payload=payload)

    def _read_preliminary(self, packet: Packet, datagram: bytes) -> Packet:
        first, second, last = struct.unpack_from(">8s8s4s", datagram, IDS)
        assert packet.offset is not None
        payload = datagram[IDS + packet.offset :]
        if packet.op is Op.ACK_INIT_CONNECT:
            return replace(packet, cookie=first, check_code=second, time_delta=last, payload=payload)
        packet = replace(packet, timestamp=int.from_bytes(first, "big"), check_code=second, salt=last, payload=payload)
        if packet.op is Op.INIT_CONNECT:
            return packet
        if packet.offset is None or packet.offset < REQUEST_FIXED:
            raise Unreadable("CONNECT_REQUEST: the header stack pointer lies inside of the fixed part")
        initial, delta, cookie = struct.unpack_from(">I4s8s", datagram, IDS + FIXED)
        packet = replace(packet, initial_sn=initial, time_delta=delta, cookie=cookie)
        return replace(packet, extensions=self._read_chain(packet, datagram[IDS:], REQUEST_FIXED))

    def _read_chain(self, packet: Packet, octets: bytes, bottom: int) -> tuple[Extension, ...]:
        """The extension headers, lowest first."""
        found: list[Extension] = []
        end = packet.offset
        assert end is not None
        while end > bottom:
            if end - bottom < SIGNATURE.size:
                raise Unreadable(f"{packet.name}: {end - bottom} octets left where an extension header should be")
            below, mark, code = SIGNATURE.unpack_from(octets, end - 4)
            if not bottom <= below < end or (end - below) % 8:
                raise Unreadable(f"{packet.name}: an extension header points to {below}")
            found.insert(0, self._read_extension(code, octets[below : end - 4], mark))
            end = below
        return tuple(found)

    def _read_extension(self, code: int, content: bytes, mark: int) -> Extension:
        if code == PEER_SUBNETS and len(content) == 44:
            prefixes = tuple(content[at : at + 8] for at in range(0, 32, 8))
            window = int.from_bytes(content[40:43], "big")
            return Sink(content[32:36], prefixes, content[36:40], window, content[43])
        if code == SELECTIVE_NACK:
            *numbers, serial = struct.unpack(f">{len(content) // 4}I", content)
            return Snack(tuple(zip(numbers[::2], numbers[1::2], strict=True)), serial=serial)
        return RawHeader(code, content, mark)
