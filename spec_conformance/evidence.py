"""Packets and keys of cases, in files that other programs read."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from spec_conformance.link import Exchange
from spec_conformance.runner import CaseResult

SUITE: Final = (bytes([198, 51, 100, 1]), 40_000)
"""Address and first port that the suite has in captures (RFC 5737), the cases' peers counted up from there."""
TARGET: Final = (bytes([203, 0, 113, 1]), 18_003)
RAW_IPV4: Final = 228
"""Link type of pcapng."""


def write_evidence(folder: Path, results: Iterable[CaseResult]) -> None:
    """A capture and a key log for each case, named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        name = f"{result.case.revision} {result.case.id}".replace("/", " ").replace(":", " ").replace(" ", "-")
        (folder / f"{name}.pcapng").write_bytes(pcapng(result.exchanges, f"{result.case.id}: {result.detail}"))
        if result.keys:
            (folder / f"{name}.keys").write_text("\n".join(result.keys) + "\n", encoding="ascii")


def pcapng(exchanges: Iterable[Exchange], comment: str = "") -> bytes:
    """Datagrams as a capture of raw IPv4; each packet has its words as a comment."""
    header = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _options(comment)
    blocks = [_block(0x0A0D0D0A, header), _block(1, struct.pack("<HHI", RAW_IPV4, 0, 0))]
    for each in exchanges:
        packet = _ipv4(each)
        moment = int(each.time * 1e6)
        head = struct.pack("<IIIII", 0, moment >> 32, moment & 0xFFFFFFFF, len(packet), len(packet))
        blocks.append(_block(6, head + _padded(packet) + _options(each.words)))
    return b"".join(blocks)


def _ipv4(exchange: Exchange) -> bytes:
    suite = (SUITE[0], SUITE[1] + exchange.peer)
    source, destination = (suite, TARGET) if exchange.sent else (TARGET, suite)
    length = 8 + len(exchange.datagram)
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0x4000, 64, 17, 0, source[0], destination[0])
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big") + head[12:]
    return head + struct.pack(">HHHH", source[1], destination[1], length, 0) + exchange.datagram


def _options(comment: str) -> bytes:
    if not comment:
        return b""
    octets = comment.encode()[:4096]
    return struct.pack("<HH", 1, len(octets)) + _padded(octets) + bytes(4)


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)
