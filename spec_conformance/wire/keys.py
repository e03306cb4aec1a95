"""Check codes and keys (gao-07 7.4, 7.5, 8.1; jason-00 6), written from the drafts."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastcrc import crc64

TAG: Final = 8
INITIAL_LABEL: Final = b"Establishes an FSP session"
REKEY_LABEL: Final = b"Sustains an FSP connection"


class Protection(Protocol):
    """What makes the check code of one direction's packets and, under AEAD, hides what is in them.

    `head` is the fixed header with zeros for the check code; `near` says whether this end has sent the packet.
    """

    @property
    def mode(self) -> str:
        """ "crc64", "mac" or "aead"."""
        ...

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        """The check code, and the octets that follow the fixed header."""
        ...

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        """What follows the fixed header, in clear; None if the check code is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """A packet cut up for its protection."""

    ids: bytes
    """Source and destination ULTID."""
    head: bytes
    """The fixed header, zeros for the check code."""
    icc_at: int
    clear: bytes
    """What follows and is never encrypted."""
    body: bytes
    """What follows and is encrypted under AEAD."""
    iv: bytes
    """The 8 octets that follow the salt in the initialization vector."""
    mask: bytes
    """Exclusive-ored into the salt: zeros in band."""
    aad_from: int
    """Where the additional data begin in the fixed header."""

    def filled(self, octets: bytes) -> bytes:
        """The fixed header with these octets for a check code."""
        return self.head[: self.icc_at] + octets + self.head[self.icc_at + 8 :]


@dataclass(frozen=True, slots=True)
class Crc64:
    """From the handshake, until a key is installed (gao-07 8.1.1; jason-00 6.1)."""

    check_code: bytes
    cookie: bytes
    salt: bytes
    time_delta: bytes
    timestamp: int
    whole_packet: bool = True
    """False: the fixed header alone is covered, as in jason-00."""
    byte_order: Literal["big", "little"] = "big"
    """In which the ULTIDs are read and the codes are written."""
    mode: str = "crc64"

    def _start(self, ids: bytes) -> int:
        parts = self.check_code + self.cookie + self.salt + self.time_delta + self.timestamp.to_bytes(8, "big")
        return crc64.ecma_182(parts, int.from_bytes(ids, self.byte_order))

    def _code(self, frame: Frame) -> bytes:
        covered = frame.filled(self._start(frame.ids).to_bytes(8, self.byte_order))
        if self.whole_packet:
            covered += frame.clear + frame.body
        return crc64.ecma_182(covered).to_bytes(8, self.byte_order)

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        return self._code(frame), frame.clear + frame.body

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        return frame.clear + frame.body if self._code(frame) == icc else None


@dataclass(frozen=True, slots=True)
class Mac:
    """BLAKE2b with a digest of 8 octets over the packet (gao-07 8.1.2, G8; jason-00 6.3, A17)."""

    key: bytes
    mode: str = "mac"

    @classmethod
    def of_material(cls, material: bytes) -> Mac:
        """gao-07 7.4: the material is hashed into 64 octets."""
        return cls(blake2b(material, digest_size=64).digest())

    def _code(self, frame: Frame) -> bytes:
        covered = frame.filled(frame.ids) + frame.clear + frame.body
        return blake2b(covered, key=self.key, digest_size=TAG).digest()

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        return self._code(frame), frame.clear + frame.body

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        return frame.clear + frame.body if hmac.compare_digest(self._code(frame), icc) else None


@dataclass(frozen=True, slots=True)
class Aead:
    """AES-GCM with 8 octets of tag (gao-07 8.1.3, 8.1.4; jason-00 6.2)."""

    key: bytes
    salt: bytes
    mode: str = "aead"

    @classmethod
    def of_material(cls, material: bytes, bits: int, batch: int = 1) -> Aead:
        """The key of a batch, by extraction and expansion (gao-07 7.4, 7.5)."""
        master = blake2b(bytes(32) + material, digest_size=32).digest()
        found = _expanded(master, INITIAL_LABEL + (1).to_bytes(4, "big"), bits)
        for index in range(2, batch + 1):
            found = _expanded(master, hash_subkey(found.key) + REKEY_LABEL + index.to_bytes(4, "big"), bits)
        return found

    @classmethod
    def of_key(cls, key: bytes) -> Aead:
        """jason-00 6.2, A18: the key as it is, the salt from it and from its hash subkey."""
        subkey = hash_subkey(key)
        return cls(key, bytes(a ^ b for a, b in zip(subkey[:4], key[:4], strict=True)))

    def nonce(self, frame: Frame) -> bytes:
        return bytes(a ^ b for a, b in zip(self.salt, frame.mask, strict=True)) + frame.iv

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        aad = frame.filled(frame.ids)[frame.aad_from :] + frame.clear
        sealed = AESGCM(self.key).encrypt(self.nonce(frame), frame.body, aad)
        return sealed[-16 : -16 + TAG], frame.clear + sealed[:-16]

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        # a cut tag cannot be given to AESGCM: the plaintext comes from the key stream, and its tag is compared
        aad = frame.filled(frame.ids)[frame.aad_from :] + frame.clear
        nonce = self.nonce(frame)
        plain = AESGCM(self.key).encrypt(nonce, frame.body, aad)[:-16]
        tag = AESGCM(self.key).encrypt(nonce, plain, aad)[-16 : -16 + TAG]
        return frame.clear + plain if hmac.compare_digest(tag, icc) else None


def hash_subkey(key: bytes) -> bytes:
    """H of AES-GCM: the block of zeros, encrypted."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one block, as GCM does it
    return encryptor.update(bytes(16)) + encryptor.finalize()


def _expanded(master: bytes, info: bytes, bits: int) -> Aead:
    octets = blake2b(info, key=master, digest_size=bits // 8 + 4).digest()
    return Aead(octets[:-4], octets[-4:])
