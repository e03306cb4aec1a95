"""What every way of protecting packets has in common."""

from __future__ import annotations

from typing import Protocol


class Schedule(Protocol):
    """The keys that come of one installation (gao-07 7.4, 7.5)."""

    def batch(self, index: int) -> Protection:
        """What protects batch `index`; 1 is the first."""
        ...


class Protection(Protocol):
    """One key, or CRC64, for both directions of a connection.

    A datagram is source ULTID, destination ULTID, the fixed header with the ICC in its octets 16 to 23, and a
    body: extension headers and payload.
    """

    @property
    def mode(self) -> str:
        """crc64, mac or aead."""
        ...

    @property
    def flags(self) -> int:
        """Bits that it sets itself where the fixed header has flags, or RESET of jason-00 its reason."""
        ...

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        """The datagram for a packet with the first 16 octets `head` of its fixed header.

        `ids` are the source and the destination ULTID, as the peer will see them.
        """
        ...

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        """The body in plaintext, or None when the ICC is wrong.

        Never raises on 32 octets or more.
        """
        ...
