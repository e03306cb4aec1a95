"""Authenticated encryption: AES-GCM with a tag of 8 octets (gao-07 8.1.3, 8.1.4, G11, G12)."""

from __future__ import annotations

from hmac import compare_digest

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class AeadProtection:
    """AES-GCM; the nonce is made of salt and numbers, extension headers are encrypted as the payload is (8.1).

    The nonce is made of header fields, so the caller must never seal two different packets with the same
    sequence and expected or serial number.
    """

    __slots__ = ("_encrypt", "_salt_number", "key", "salt")

    mode = "aead"
    flags = 0

    def __init__(self, key: bytes, salt: bytes) -> None:
        self.key = key
        self.salt = salt
        self._salt_number = int.from_bytes(salt, "big")
        self._encrypt = AESGCM(key).encrypt

    def nonce(self, head: bytes, out_of_band: bool) -> bytes:
        """Salt, sequence number, expected or serial number (G11, G12)."""
        if out_of_band:  # 8.1.4: the salt is mixed with the header signature
            return (self._salt_number ^ int.from_bytes(head[:4], "big")).to_bytes(4, "big") + head[8:16]
        return self.salt + head[8:16]

    def nonce_of(self, head: bytes, body: bytes, out_of_band: bool) -> bytes:
        """The nonce of a packet; the body counts in revisions that have the serial there."""
        return self.nonce(head, out_of_band)

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        sealed = self._encrypt(self.nonce(head, out_of_band), body, head + ids)
        end = len(body)
        return ids + head + sealed[end : end + 8] + sealed[:end]

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        # AESGCM.decrypt wants all 16 octets of a tag, a Cipher with a shorter one costs three times as much.
        # Encrypting the ciphertext gives the plaintext, for GCM is a stream cipher; encrypting that again
        # gives the tag which the sender must have found.
        head = datagram[8:24]
        nonce = self.nonce(head, out_of_band)
        body = self._encrypt(nonce, datagram[32:], None)[:-16]
        tag = self._encrypt(nonce, body, head + datagram[:8])[-16:-8]
        return body if compare_digest(tag, datagram[24:32]) else None
