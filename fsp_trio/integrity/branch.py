"""Keys of a branch that MULTIPLY makes (gao-07 11.5, M23; the other revisions beside it).

A branch keeps the master key of its parent, for re-keying and for branches of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from fsp_trio.integrity.mac import MacProtection
from fsp_trio.integrity.schedule import AeadSchedule, expand

LABEL = b"Multiply an FSP connection"
_DEPTH = b"\x01"
_MAC_KEY_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Branching:
    """What the key of a branch depends on; ULTIDs have 4 octets."""

    initiator_ultid: bytes
    """The initiator's for the branch."""
    responder_ultid: bytes
    """The acceptor's of the parent."""
    multiply_sn: int
    """Number of the MULTIPLY."""
    responder_sn: int
    """First sequence number of the acceptor in the branch; only some revisions ask for it."""

    def info(self, bits: int, counter: bytes = _DEPTH) -> bytes:
        """What is hashed beside the key: depth, label, the two ULTIDs, the bits of the key."""
        ultids = self.initiator_ultid + self.responder_ultid
        return counter + LABEL + b"\x00" + ultids + bits.to_bytes(4, "big")


def branch_schedule(parent: AeadSchedule, index: int, branching: Branching) -> AeadSchedule:
    """The chain of keys of a branch under AEAD; `index` is the parent's batch that MULTIPLY is under."""
    bits = parent.key_bits
    return parent.continued(expand(parent.master_key, branching.info(bits), bits, parent.protection))


def branch_mac(parent: MacProtection, branching: Branching) -> MacProtection:
    """The MAC of a branch, whose key is its master key too."""
    info = branching.info(_MAC_KEY_LENGTH * 8)
    return parent.with_key(blake2b(info, key=parent.key, digest_size=_MAC_KEY_LENGTH).digest())
