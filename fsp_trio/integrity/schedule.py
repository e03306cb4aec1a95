"""From the octets that an application installs to the keys of packets (gao-07 7.4, 7.5, G8, G10)."""

from __future__ import annotations

from hashlib import blake2b
from typing import ClassVar, Self

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from fsp_trio.integrity.aead import AeadProtection

KEY_BITS = (128, 256)
SALT_LENGTH = 4
BATCHES_KEPT = 8
"""Two directions can be at different batches, and each needs its next one on trial (M33)."""

_EXTRACT_PREFIX = bytes(32)
_EXPAND_LABEL = b"Establishes an FSP session"
_REKEY_LABEL = b"Sustains an FSP connection"


def mac_schedule(ikm: bytes) -> bytes:
    """The key of a MAC, which is the master key too (7.4, G8)."""
    return blake2b(_material(ikm)).digest()


def master_key(ikm: bytes) -> bytes:
    """Km of 7.4, the extract phase."""
    return blake2b(_EXTRACT_PREFIX + _material(ikm), digest_size=32).digest()


def expand(
    master: bytes, info: bytes, key_bits: int, protection: type[AeadProtection] = AeadProtection
) -> AeadProtection:
    """A key and its salt, as a hash of just their length: one of 128 bits is no part of one of 256 (G10)."""
    key_length = key_length_of(key_bits)
    octets = blake2b(info, key=master, digest_size=key_length + SALT_LENGTH).digest()
    return protection(octets[:key_length], octets[key_length:])


def key_length_of(key_bits: int) -> int:
    if key_bits not in KEY_BITS:
        raise ValueError(f"a key has 128 or 256 bits, not {key_bits}")  # 7.1
    return key_bits // 8


def hash_subkey(key: bytes) -> bytes:
    """The subkey that GCM authenticates with: a block of zeros under the key."""
    return Cipher(AES(key), ECB()).encryptor().update(bytes(16))  # noqa: S305 (one block, which is what GCM says)


def _material(ikm: bytes) -> bytes:
    if not ikm:
        raise ValueError("no key material")
    return ikm


class AeadSchedule:
    """Extracted from the material and expanded to a chain of keys (7.4, 7.5).

    Every key depends on the one before, so a batch that is no longer remembered is reached from the newest
    remembered one before it; the first is never forgotten.
    """

    __slots__ = ("_batches", "key_bits", "master_key")

    protection: ClassVar[type[AeadProtection]] = AeadProtection

    def __init__(self, ikm: bytes, key_bits: int) -> None:
        self.key_bits = key_bits
        self.master_key = master_key(ikm)
        first = expand(self.master_key, _EXPAND_LABEL + _index(1), key_bits, self.protection)
        self._batches = {1: first}

    def continued(self, first: AeadProtection) -> Self:
        """A chain from the same master key, with another first key (11.5)."""
        other = type(self).__new__(type(self))
        other.key_bits = self.key_bits
        other.master_key = self.master_key
        other._batches = {1: first}
        return other

    def batch(self, index: int) -> AeadProtection:
        """The protection of batch `index`: 1 is the initial key, the next follow by re-keying (7.5)."""
        batches = self._batches
        found = batches.get(index)
        if found is None:
            found = self._derive(index)
        return found

    def _derive(self, index: int) -> AeadProtection:
        if index < 1:
            raise ValueError(f"there is no batch {index}")
        batches = self._batches
        newest = max(i for i in batches if i < index)
        protection = batches[newest]
        for i in range(newest + 1, index + 1):
            info = hash_subkey(protection.key) + _REKEY_LABEL + _index(i)
            protection = expand(self.master_key, info, self.key_bits, self.protection)
        batches[index] = protection
        if len(batches) > BATCHES_KEPT:
            del batches[list(batches)[1]]
        return protection


def _index(batch: int) -> bytes:
    return batch.to_bytes(4, "big")
