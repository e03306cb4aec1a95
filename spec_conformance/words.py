"""A packet in one line of words, for reports."""

from __future__ import annotations

from spec_conformance.wire.dialect import Wire
from spec_conformance.wire.packet import PRELIMINARY, Op, Packet, RawHeader, Sink, Snack, Unreadable

SHOWN: int = 24
"""Octets of payload that are shown."""


def words(wire: Wire, packet: Packet) -> str:
    """Kind, flags, numbers, headers, payload and whether the check code is right."""
    parts = [packet.name]
    if packet.op in PRELIMINARY:
        parts.append(f"check code {packet.check_code.hex()}")
        if packet.op is not Op.INIT_CONNECT:
            parts.append(f"cookie {packet.cookie.hex()}")
        if packet.op is Op.CONNECT_REQUEST:
            parts.append(f"initial sn {packet.initial_sn}")
    elif packet.op is Op.RESET:
        parts += [f"reason {packet.reason}", f"sn {packet.sn}", f"expected {packet.expected}"]
    else:
        parts += flag_names(wire, packet.flags)
        serial = wire.draft == "gao-07" and packet.out_of_band
        parts += [
            f"sn {packet.sn}",
            f"{'serial' if serial else 'expected'} {packet.expected}",
            f"window {packet.window}",
        ]
    if packet.major:
        parts.append(f"major {packet.major}")
    parts += map(_extension, packet.extensions)
    if packet.payload:
        parts.append(f"{len(packet.payload)} octets {packet.payload[:SHOWN]!r}")
    if packet.authentic is False:
        parts.append("WRONG CHECK CODE")
    return ", ".join(parts)


def flag_names(wire: Wire, flags: int) -> list[str]:
    """Names of the flags that are set, from the highest bit on."""
    bits = [bit for bit in range(8) if flags & 0x80 >> bit]
    return [wire.flags[bit] if bit < len(wire.flags) else f"flag 0x{0x80 >> bit:02x}" for bit in bits]


def octets(wire: Wire, datagram: bytes) -> str:
    """Octets that somebody has sent as they are."""
    try:
        return f"{words(wire, wire.decode(datagram))} (octets made by hand)"
    except Unreadable as reason:
        return f"{len(datagram)} octets: {reason}"


def _extension(extension: Sink | Snack | RawHeader) -> str:
    if isinstance(extension, Sink):
        return f"PEER_SUBNETS {extension.listener_or_host.hex()}"
    if isinstance(extension, Snack):
        expected = "" if extension.expected is None else f" expected {extension.expected}"
        serial = "" if extension.serial is None else f" serial {extension.serial}"
        gaps = f" gaps {list(extension.gaps)}" if extension.gaps else ""
        return f"SELECTIVE_NACK{expected}{serial}{gaps}"
    return f"extension {extension.code} of {len(extension.content) + 4} octets"
