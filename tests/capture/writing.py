"""Capture files, written octet by octet."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.core.pair import EPOCH, Flight, Pair, Side

CLIENT = ("10.77.0.1", 40000)
SERVER = ("10.77.0.2", 18003)
Place = tuple[str, int]


@dataclass(frozen=True)
class Sent:
    """A datagram on its way."""

    time: int
    """Nanoseconds since 1970."""
    source: Place
    destination: Place
    payload: bytes


def sent(flights: Iterable[Flight], client: Place = CLIENT, server: Place = SERVER) -> list[Sent]:
    """The record of a pair, between two addresses."""
    places = {Side.CLIENT: (client, server), Side.SERVER: (server, client)}
    return [
        Sent(EPOCH * 1000 + round(flight.sent_at * 1e9), *places[flight.sender], flight.datagram) for flight in flights
    ]


def recorded(pair: Pair) -> list[Sent]:
    return sent(pair.record)


def ip(packet: Sent, *, options: bytes = b"", fragment: int = 0, protocol: int = 17) -> bytes:
    """The UDP datagram in IPv4; check sums are zero, which nobody looks at."""
    udp = struct.pack(">HHHH", packet.source[1], packet.destination[1], 8 + len(packet.payload), 0) + packet.payload
    header = 20 + len(options)
    start = struct.pack(
        ">BBHHHBBH4s4s",
        0x40 | header // 4,
        0,
        header + len(udp),
        7,
        fragment,
        64,
        protocol,
        0,
        bytes(map(int, packet.source[0].split("."))),
        bytes(map(int, packet.destination[0].split("."))),
    )
    return start + options + udp


ETHERNET = 1
LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (ETHERNET, lambda packet: bytes(12) + b"\x08\x00" + packet),
    "ethernet, padded": (ETHERNET, lambda packet: bytes(12) + b"\x08\x00" + packet + bytes(18)),
    "vlan": (ETHERNET, lambda packet: bytes(12) + b"\x81\x00\x00\x05\x08\x00" + packet),
    "vlan in vlan": (ETHERNET, lambda packet: bytes(12) + b"\x88\xa8\x00\x07\x81\x00\x00\x05\x08\x00" + packet),
    "linux cooked": (113, lambda packet: bytes(14) + b"\x08\x00" + packet),
    "linux cooked 2": (276, lambda packet: b"\x08\x00" + bytes(18) + packet),
    "null, little-endian": (0, lambda packet: b"\x02\x00\x00\x00" + packet),
    "null, big-endian": (0, lambda packet: b"\x00\x00\x00\x02" + packet),
    "loop": (108, lambda packet: b"\x00\x00\x00\x02" + packet),
    "raw": (101, lambda packet: packet),
    "raw, as some write it": (12, lambda packet: packet),
    "ipv4": (228, lambda packet: packet),
}


def framed(packets: Iterable[Sent], link: str = "ethernet") -> tuple[int, list[tuple[int, bytes]]]:
    """Link type, and times and octets of frames."""
    link_type, wrap = LINKS[link]
    return link_type, [(packet.time, wrap(ip(packet))) for packet in packets]


def pcap(
    link_type: int, frames: Sequence[tuple[int, bytes]], *, order: str = "<", nano: bool = False, snap: int = 65_535
) -> bytes:
    magic, unit = (0xA1B23C4D, 1) if nano else (0xA1B2C3D4, 1000)
    pieces = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link_type)]
    for time, octets in frames:
        kept = octets[:snap]
        seconds, rest = divmod(time, 1_000_000_000)
        pieces += [struct.pack(order + "IIII", seconds, rest // unit, len(kept), len(octets)), kept]
    return b"".join(pieces)


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(order: str, link_type: int, options: bytes = b"", snap: int = 0) -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link_type, 0, snap) + options)


def enhanced(order: str, index: int, stamp: int, octets: bytes, original: int | None = None) -> bytes:
    fields = (index, stamp >> 32, stamp & 0xFFFFFFFF, len(octets), original or len(octets))
    return block(order, 6, struct.pack(order + "IIIII", *fields) + octets + bytes(-len(octets) % 4))


def pcapng(link_type: int, frames: Sequence[tuple[int, bytes]], *, order: str = "<") -> bytes:
    packets = [enhanced(order, 0, time // 1000, octets) for time, octets in frames]
    return b"".join([section(order), interface(order, link_type), *packets])
