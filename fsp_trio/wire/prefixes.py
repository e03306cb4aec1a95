"""Addressable network prefixes over UDP and IPv4 (gao-07 4.7, jason-00 3.2, 3.7)."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from ipaddress import AddressValueError, IPv4Address
from typing import Final

NO_PREFIX: Final = bytes(8)
SIX_TO_FOUR: Final = 0x2002
_ADDRESS: Final = struct.Struct(">H4sH")


def prefix_of(address: Hashable) -> bytes:
    """The 8 octets that tell a pair of IPv4 address and UDP port; zeros for anything else, and for no address."""
    match address:
        case (str(host), int(port)) if 0 < port < 2**16:
            try:
                octets = IPv4Address(host)
            except AddressValueError:
                return NO_PREFIX
            return NO_PREFIX if octets.is_unspecified else _ADDRESS.pack(SIX_TO_FOUR, octets.packed, port)
    return NO_PREFIX


def address_of(prefix: bytes) -> tuple[str, int] | None:
    """The pair of IPv4 address and UDP port that 8 octets tell; None for zeros and for all that is no such pair."""
    kind, octets, port = _ADDRESS.unpack(prefix)
    return (str(IPv4Address(octets)), port) if kind == SIX_TO_FOUR and port else None
