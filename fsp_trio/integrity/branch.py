"""Keys of a branch that MULTIPLY makes (gao-07 11.5, M23).

A branch keeps the master key of its parent, for re-keying and for branches of its own.
"""

from __future__ import annotations

from hashlib import blake2b

from fsp_trio.integrity.aead import AeadProtection
from fsp_trio.integrity.schedule import expand

_DEPTH = b"\x01"
_LABEL = b"Multiply an FSP connection"
_MAC_KEY_LENGTH = 64


def branch_protection(master_key: bytes, branch_ultid: bytes, responder_ultid: bytes, key_bits: int) -> AeadProtection:
    """The initial key of a branch under AEAD.

    `branch_ultid` is the initiator's for the branch, `responder_ultid` the acceptor's of the parent.
    """
    return expand(master_key, _info(branch_ultid, responder_ultid, key_bits), key_bits)


def branch_mac_key(master_key: bytes, branch_ultid: bytes, responder_ultid: bytes) -> bytes:
    """The key of a branch under MAC, which is its master key too."""
    info = _info(branch_ultid, responder_ultid, _MAC_KEY_LENGTH * 8)
    return blake2b(info, key=master_key, digest_size=_MAC_KEY_LENGTH).digest()


def _info(branch_ultid: bytes, responder_ultid: bytes, bits: int) -> bytes:
    return _DEPTH + _LABEL + b"\x00" + branch_ultid + responder_ultid + bits.to_bytes(4, "big")
