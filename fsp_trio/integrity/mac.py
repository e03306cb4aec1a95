"""Authenticity without secrecy: keyed BLAKE2b over the whole packet (gao-07 8.1.2, G7, G8)."""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import Self

from fsp_trio.integrity.schedule import mac_schedule


class MacProtection:
    """BLAKE2b of header, ULTIDs and body, which stays readable, under a key extracted from the material (8.1)."""

    __slots__ = ("_keyed", "key")

    mode = "mac"
    flags = 0

    def __init__(self, ikm: bytes) -> None:
        self._take_key(mac_schedule(ikm))

    @classmethod
    def with_key(cls, key: bytes) -> Self:
        """Under a key that is there already: no material that has to be extracted first."""
        self = cls.__new__(cls)
        self._take_key(key)
        return self

    def _take_key(self, key: bytes) -> None:
        self.key = key
        # The ICC is a hash of 8 octets, which is not the head of a longer one (G8).
        self._keyed = blake2b(key=key, digest_size=8)

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        return ids + head + self._icc(head + ids, body) + body

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        body = datagram[32:]
        if compare_digest(self._icc(datagram[8:24] + datagram[:8], body), datagram[24:32]):
            return body
        return None

    def _icc(self, header: bytes, body: bytes) -> bytes:
        # A copy of the hash that has taken the key saves its block for every packet.
        keyed = self._keyed.copy()
        keyed.update(header)
        keyed.update(body)
        return keyed.digest()
