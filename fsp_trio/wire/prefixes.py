"""Addressable network prefixes over UDP and IPv4 (gao-07 4.7, jason-00 3.2, 3.7)."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from ipaddress import AddressValueError, IPv4Address
from typing import Final

NO_PREFIX: Final = bytes(8)
SIX_TO_FOUR: Final = 0x2002


def prefix_of(address: Hashable) -> bytes:
    """The 8 octets that tell a pair of IPv4 address and UDP port; zeros for anything else, and for no address."""
    match address:
        case (str(host), int(port)) if 0 < port < 2**16:
            try:
                octets = IPv4Address(host)
            except AddressValueError:
                return NO_PREFIX
            return NO_PREFIX if octets.is_unspecified else struct.pack(">H4sH", SIX_TO_FOUR, octets.packed, port)
    return NO_PREFIX
