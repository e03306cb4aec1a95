"""Keys of branches, for a decoder: how each revision makes them from the parent's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fsp_trio.capture.keys import Secret
from fsp_trio.integrity import AeadProtection, AeadSchedule, MacProtection
from fsp_trio.integrity.branch import branch_mac_key, branch_protection
from fsp_trio.integrity.schedule import expand, hash_subkey
from fsp_trio.integrity.suite import IntegritySuite

__all__ = ["BranchRule", "Branching", "gao_branch", "jason_branch", "reference_branch"]

_LABEL: Final = b"Multiply an FSP connection"
_REKEY_LABEL: Final = b"Sustains an FSP connection"


@dataclass(frozen=True, slots=True)
class Branching:
    """What the key of a branch depends on."""

    initiator_ultid: bytes
    """The initiator's for the branch."""
    responder_ultid: bytes
    """The responder's of the parent."""
    multiply_sn: int
    responder_sn: int
    """First sequence number of the responder in the branch."""


BranchRule: TypeAlias = Callable[[IntegritySuite, Secret, int, Branching], Secret]
"""The key of a branch, from that which its MULTIPLY was under and the batch of it.  ValueError where there is none."""


class _Chain:
    """The batches of a branch under AEAD: as after an installation, but for the first key (gao-07 11.5)."""

    def __init__(self, master_key: bytes, key_bits: int, first: AeadProtection) -> None:
        self.master_key = master_key
        self.key_bits = key_bits
        self._batches = [first]

    def batch(self, index: int) -> AeadProtection:
        while len(self._batches) < index:
            newest = self._batches[-1]
            info = hash_subkey(newest.key) + _REKEY_LABEL + (len(self._batches) + 1).to_bytes(4, "big")
            self._batches.append(expand(self.master_key, info, self.key_bits, type(newest)))
        return self._batches[index - 1]


class _RawMac(MacProtection):
    """A MAC whose key is there already: no material that has to be hashed first."""

    __slots__ = ()

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(key=key, digest_size=8)


def gao_branch(suite: IntegritySuite, parent: Secret, batch: int, branching: Branching) -> Secret:
    """gao-07 11.5 (M23): of the master key and the ULTIDs."""
    initiator, responder = branching.initiator_ultid, branching.responder_ultid
    schedule = parent.schedule
    if isinstance(schedule, AeadSchedule | _Chain):
        first = branch_protection(schedule.master_key, initiator, responder, schedule.key_bits)
        return _chained(parent, schedule, first)
    return _macked(parent, branch_mac_key(parent.mac_key, initiator, responder))


def reference_branch(suite: IntegritySuite, parent: Secret, batch: int, branching: Branching) -> Secret:
    """reference-2020: the hash subkey of the parent's present key comes in front; a MAC has no length in it."""
    schedule = parent.schedule
    if isinstance(schedule, AeadSchedule | _Chain):
        current = schedule.batch(batch)
        info = hash_subkey(current.key) + _info(b"\x01", branching, schedule.key_bits)
        return _chained(parent, schedule, expand(schedule.master_key, info, schedule.key_bits, type(current)))
    info = _info(b"\x01", branching, 0)
    return _macked(parent, blake2b(info, key=parent.mac_key, digest_size=64).digest())


def jason_branch(suite: IntegritySuite, parent: Secret, batch: int, branching: Branching) -> Secret:
    """jason-00: authentication codes of AES-GCM under the parent's key (A22); AEAD only."""
    protection = parent.batch(1) if parent.schedule is not None else None
    key, salt = getattr(protection, "key", b""), getattr(protection, "salt", b"")
    if not key or not salt:
        raise ValueError("a MAC has no branches")
    bits = len(key) * 8
    first = (branching.multiply_sn + 1) & 0xFFFFFFFF
    nonce = salt + first.to_bytes(4, "big") + branching.responder_sn.to_bytes(4, "big")
    code = AESGCM(key).encrypt
    octets = b"".join(code(nonce, b"", _info(bytes([number]), branching, bits)) for number in (1, 2))
    return Secret(schedule=suite.aead(octets[: bits // 8], bits), rekey_after=parent.rekey_after)


def _info(counter: bytes, branching: Branching, bits: int) -> bytes:
    ultids = branching.initiator_ultid + branching.responder_ultid
    return counter + _LABEL + b"\x00" + ultids + bits.to_bytes(4, "big")


def _chained(parent: Secret, schedule: AeadSchedule | _Chain, first: AeadProtection) -> Secret:
    chain = _Chain(schedule.master_key, schedule.key_bits, first)
    return Secret(schedule=chain, rekey_after=parent.rekey_after)


def _macked(parent: Secret, key: bytes) -> Secret:
    return Secret(fixed=_RawMac(key), mac_key=key, rekey_after=parent.rekey_after)
