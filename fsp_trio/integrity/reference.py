"""What protects packets in reference-2020, where it differs from gao-07.

CRC64 takes and gives its numbers in the order of the author's machine.  The nonce of AES-GCM is made of the wrong
half of the header: it repeats, and with it the key stream.  Both have to be copied to talk to that program.
"""

from __future__ import annotations

from hashlib import blake2b

from fastcrc.crc64 import ecma_182

from fsp_trio.integrity.aead import AeadProtection
from fsp_trio.integrity.branch import Branching
from fsp_trio.integrity.crc64 import Crc64Protection
from fsp_trio.integrity.mac import MacProtection
from fsp_trio.integrity.schedule import AeadSchedule, expand, hash_subkey
from fsp_trio.integrity.suite import IntegritySuite

LONGEST_FOR_128 = 16
"""Octets of key material up to which the program takes a key of 128 bits."""


class LittleEndianCrc64(Crc64Protection):
    """CRC64 of the whole packet, its start value read and its result stored least significant octet first."""

    __slots__ = ()

    def __init__(
        self,
        local_ultid: bytes,
        remote_ultid: bytes,
        init_check_code: bytes,
        cookie: bytes,
        salt: bytes,
        time_delta: bytes,
        timestamp: bytes,
    ) -> None:
        fields = init_check_code + cookie + salt + time_delta + timestamp
        self._sent = _start_value(local_ultid + remote_ultid, fields)
        self._received = _start_value(remote_ultid + local_ultid, fields)

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        icc = ecma_182(head + self._sent + body).to_bytes(8, "little")
        return ids + head + icc + body

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        body = datagram[32:]
        if ecma_182(datagram[8:24] + self._received + body) != int.from_bytes(datagram[24:32], "little"):
            return None
        return body


def _start_value(ids: bytes, fields: bytes) -> bytes:
    return ecma_182(fields, int.from_bytes(ids, "little")).to_bytes(8, "little")


class RepeatingAead(AeadProtection):
    """AES-GCM whose nonce is operation, flags and window: the same for most packets of a transaction."""

    __slots__ = ()

    def nonce(self, head: bytes, out_of_band: bool) -> bytes:
        return super().nonce(head, out_of_band)[:4] + head[:8]


class ReferenceSchedule(AeadSchedule):
    """As gao-07; the size of the key follows from that of the material."""

    __slots__ = ()

    protection = RepeatingAead

    def __init__(self, ikm: bytes, key_bits: int) -> None:
        wanted = 256 if len(ikm) > LONGEST_FOR_128 else 128
        if key_bits != wanted:
            raise ValueError(f"with {len(ikm)} octets of key material the key has {wanted} bits, not {key_bits}")
        super().__init__(ikm, key_bits)


def branch_schedule(parent: AeadSchedule, index: int, branching: Branching) -> AeadSchedule:
    """As gao-07 11.5, with the hash subkey of the key that MULTIPLY is under in front."""
    bits = parent.key_bits
    info = hash_subkey(parent.batch(index).key) + branching.info(bits)
    return parent.continued(expand(parent.master_key, info, bits, parent.protection))


def branch_mac(parent: MacProtection, branching: Branching) -> MacProtection:
    """As gao-07 11.5, without the length of the key."""
    return parent.with_key(blake2b(branching.info(0), key=parent.key, digest_size=64).digest())


REFERENCE = IntegritySuite(
    crc64=LittleEndianCrc64,
    mac=MacProtection,
    aead=ReferenceSchedule,
    branch_mac=branch_mac,
    branch_aead=branch_schedule,
)
