"""From frames of a link to UDP datagrams over IPv4."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from fsp_trio.capture.files import Frame

__all__ = ["Datagram", "Fragment", "datagram_of"]

ETHERNET: Final = 1
LINUX_COOKED: Final = 113
LINUX_COOKED_2: Final = 276
NULL: Final = 0
LOOP: Final = 108
RAW_IP: Final = frozenset({101, 12, 14, 228})
"""12 and 14 are what some systems write for 101; 228 has IPv4 only."""

_IPV4: Final = 0x0800
_VLAN: Final = frozenset({0x8100, 0x88A8, 0x9100})
_AF_INET: Final = 2
_UDP: Final = 17
_IP_HEADER: Final = 20
_UDP_HEADER: Final = 8
_MORE_FRAGMENTS: Final = 0x2000
_FRAGMENT_OFFSET: Final = 0x1FFF
_ADDRESSES: Final = struct.Struct(">4s4s")
_UDP_FIELDS: Final = struct.Struct(">HHH")


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram; of an offloading host perhaps many of them in one piece."""

    n: int
    """Number of the frame in the capture."""
    time: int
    """Nanoseconds since 1970."""
    source: str
    """Address and port, as in 192.0.2.1:18003."""
    destination: str
    ports: tuple[int, int]
    payload: bytes
    cut: bool
    """The capture has only the beginning of it."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A piece of an IP packet.  Pieces are not put together: FSP packets are made to fit."""

    n: int
    first: bool


def datagram_of(frame: Frame) -> Datagram | Fragment | None:
    """The UDP datagram in a frame; None for any other traffic, or what cannot be read as one."""
    packet = _ip_packet(frame)
    if packet is None or len(packet) < _IP_HEADER or packet[0] >> 4 != 4 or packet[9] != _UDP:
        return None
    header = (packet[0] & 15) * 4
    total = int.from_bytes(packet[2:4], "big") or len(packet)  # offloading leaves 0 where it does not fit
    fragment = int.from_bytes(packet[6:8], "big")
    if fragment & (_MORE_FRAGMENTS | _FRAGMENT_OFFSET):
        return Fragment(frame.n, not fragment & _FRAGMENT_OFFSET)
    if header < _IP_HEADER or total < header + _UDP_HEADER or len(packet) < header + _UDP_HEADER:
        return None
    source, destination = _ADDRESSES.unpack_from(packet, 12)
    source_port, destination_port, length = _UDP_FIELDS.unpack_from(packet, header)
    size = min((length or total - header) - _UDP_HEADER, total - header - _UDP_HEADER)
    if size < 0:
        return None
    payload = packet[header + _UDP_HEADER :][:size]
    return Datagram(
        frame.n,
        frame.time,
        _place(source, source_port),
        _place(destination, destination_port),
        (source_port, destination_port),
        payload,
        len(payload) < size,
    )


def _place(address: bytes, port: int) -> str:
    return f"{address[0]}.{address[1]}.{address[2]}.{address[3]}:{port}"


def _ip_packet(frame: Frame) -> bytes | None:
    data, link_type = frame.data, frame.link_type
    if link_type == ETHERNET:
        return _after_type(data, 12, 14)
    if link_type == LINUX_COOKED:
        return _after_type(data, 14, 16)
    if link_type == LINUX_COOKED_2:
        return _after_type(data, 0, 20)
    if link_type in (NULL, LOOP):
        # NULL has the order of octets of the host that captured, which need not be that of the file
        return data[4:] if _AF_INET.to_bytes(4, "big") in (data[:4], data[3::-1]) else None
    if link_type in RAW_IP:
        return data
    return None


def _after_type(data: bytes, type_at: int, body_at: int) -> bytes | None:
    """What follows a header with an EtherType, and tags of virtual LANs."""
    kind = int.from_bytes(data[type_at : type_at + 2], "big")
    while kind in _VLAN and len(data) >= body_at + 4:
        kind = int.from_bytes(data[body_at + 2 : body_at + 4], "big")
        body_at += 4
    return data[body_at:] if kind == _IPV4 else None
