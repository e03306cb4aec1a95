"""What protects packets in jason-00 (section 6): keys are used as they are installed, and never changed.

The check code stands in the middle of the fixed header, after sequence number and expected sequence number.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastcrc.crc64 import ecma_182

from fsp_trio.integrity.aead import AeadProtection
from fsp_trio.integrity.branch import Branching
from fsp_trio.integrity.crc64 import Crc64Protection
from fsp_trio.integrity.protection import Protection
from fsp_trio.integrity.schedule import hash_subkey
from fsp_trio.integrity.suite import IntegritySuite
from fsp_trio.wire.codec import NORMAL_HEADER
from fsp_trio.wire.jason import headers_of

HMAC_FLAG = 0x20
"""The check code is a MAC (3.8)."""
LARGEST_MAC_KEY = 64
"""Octets that BLAKE2b takes for a key."""
KEY_SIZES = (16, 24, 32)
MULTIPLY = 12
SELECTIVE_NACK = 18


class HeaderCrc64(Crc64Protection):
    """CRC64 of the fixed header alone: extension headers and payload are not covered (6.1, A15, A16)."""

    __slots__ = ()

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        icc = ecma_182(head[:8] + self._sent + head[8:]).to_bytes(8, "big")
        return ids + head[:8] + icc + head[8:] + body

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        if ecma_182(datagram[8:16] + self._received + datagram[24:32]) != int.from_bytes(datagram[16:24], "big"):
            return None
        return datagram[32:]


class FlaggedMac:
    """BLAKE2b with a digest of 8 octets over the whole packet, keyed with the material as it is (6.3, A17)."""

    __slots__ = ("_keyed",)

    mode = "mac"
    flags = HMAC_FLAG

    def __init__(self, ikm: bytes) -> None:
        if not 0 < len(ikm) <= LARGEST_MAC_KEY:
            raise ValueError(f"a MAC key has 1 to {LARGEST_MAC_KEY} octets, not {len(ikm)}")
        self._keyed = blake2b(key=ikm, digest_size=8)

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        end = bytes([head[8] | HMAC_FLAG]) + head[9:]
        return ids + head[:8] + self._icc(ids, head[:8], end, body) + end + body

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        body = datagram[32:]
        icc = self._icc(datagram[:8], datagram[8:16], datagram[24:32], body)
        if datagram[24] & HMAC_FLAG and compare_digest(icc, datagram[16:24]):
            return body
        return None

    def _icc(self, ids: bytes, numbers: bytes, end: bytes, body: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(numbers + ids + end)
        keyed.update(body)
        return keyed.digest()


class HeaderInClearAead(AeadProtection):
    """AES-GCM that encrypts the payload alone; extension headers are authenticated in clear (6.2, A18, A19)."""

    __slots__ = ()

    def __init__(self, key: bytes) -> None:
        subkey = hash_subkey(key)
        super().__init__(key, bytes(a ^ b for a, b in zip(subkey[:4], key[:4], strict=True)))
        self._encrypt = AESGCM(key).encrypt

    def nonce_of(self, head: bytes, body: bytes, out_of_band: bool) -> bytes:
        """Salt, sequence number, expected number; out of band the salt is mixed with the serial (A19)."""
        if not out_of_band:
            return self.salt + head[:8]
        serial = _serial(head, body)
        return (self._salt_number ^ serial).to_bytes(4, "big") + head[:8]

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        headers, payload = _split(head, body)
        sealed = self._encrypt(self.nonce_of(head, body, out_of_band), payload, ids + head[8:] + headers)
        end = len(payload)
        return ids + head[:8] + sealed[end : end + 8] + head[8:] + headers + sealed[:end]

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        head = datagram[8:16] + datagram[24:32]
        body = datagram[32:]
        headers, hidden = _split(head, body)
        nonce = self.nonce_of(head, body, out_of_band)
        payload = self._encrypt(nonce, hidden, None)[:-16]
        tag = self._encrypt(nonce, payload, datagram[:8] + head[8:] + headers)[-16:-8]
        return headers + payload if compare_digest(tag, datagram[16:24]) else None


def _split(head: bytes, body: bytes) -> tuple[bytes, bytes]:
    headers = int.from_bytes(head[12:14], "big") - NORMAL_HEADER
    return body[:headers], body[headers:]


def _serial(head: bytes, body: bytes) -> int:
    """As the codec finds it; the caller has checked that it is there."""
    if head[15] == MULTIPLY:
        return int.from_bytes(head[4:8], "big")
    for code, _, content in headers_of(_split(head, body)[0]):
        if code == SELECTIVE_NACK:
            return int.from_bytes(content[-4:], "big")
    return 0


class RawKey:
    """As it was installed, and the only one of its installation (6.2)."""

    __slots__ = ("_protection", "key_bits")

    def __init__(self, ikm: bytes, key_bits: int) -> None:
        if len(ikm) not in KEY_SIZES or key_bits != 8 * len(ikm):
            raise ValueError(f"the key material must have {key_bits} bits, or 192, not {8 * len(ikm)}")
        self.key_bits = key_bits
        self._protection = HeaderInClearAead(ikm)

    def batch(self, index: int) -> HeaderInClearAead:
        if index != 1:
            raise ValueError(f"there is no batch {index}: keys are not changed in this revision")
        return self._protection


def branch_key(parent: RawKey, index: int, branching: Branching) -> RawKey:
    """The key of a branch: authentication codes of AES-GCM under the parent's key (A22)."""
    protection = parent.batch(index)
    first = (branching.multiply_sn + 1) & 0xFFFFFFFF
    nonce = protection.salt + first.to_bytes(4, "big") + branching.responder_sn.to_bytes(4, "big")
    code = AESGCM(protection.key).encrypt
    octets = b"".join(code(nonce, b"", branching.info(parent.key_bits, bytes([part]))) for part in (1, 2))
    return RawKey(octets[: parent.key_bits // 8], parent.key_bits)


def branch_mac(parent: FlaggedMac, branching: Branching) -> Protection:
    raise ValueError("a MAC has no branches")


JASON = IntegritySuite(crc64=HeaderCrc64, mac=FlaggedMac, aead=RawKey, branch_mac=branch_mac, branch_aead=branch_key)
