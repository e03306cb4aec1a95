"""What `fsp-trio send` and `fsp-trio receive` say to each other.

Version 1.  Numbers are big-endian.  After the key agreement (fsp_trio.keying), if there is one, for each file:

1. The sender sends a header, one transmit transaction::

       "FSPF"   version (1 octet)   permissions (2)   size (8)   name (the rest: 1 to 255 octets of UTF-8)

2. The receiver answers with a verdict, one transaction::

       kind (1 octet)   BLAKE2b-256 of the file (32)   remark (the rest: at most 512 octets of UTF-8)

   GO_AHEAD lets the sender continue with step 3; REFUSED means: go on with the next file.  The digest is zero.

3. The sender sends the file, one transaction: `size` octets, and after them 32 octets, their BLAKE2b-256.

4. The receiver answers with a verdict.  STORED, with the digest of what it has stored: the file is complete and has
   its name.  DAMAGED: content and digest disagree, or the transaction ended early.  REFUSED: it could not be stored.
   This verdict may come while the sender still sends; the sender then ends the transaction where it is.

The sender releases the session after the last verdict.  Every message has a limit, checked before more is read.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

import trio

from fsp_trio.cli.exits import CommandError
from fsp_trio.session import FSPSession

__all__ = [
    "CHUNK",
    "DIGEST_SIZE",
    "Header",
    "ProtocolViolation",
    "Verdict",
    "VerdictKind",
    "read_message",
    "send_message",
]

MAGIC: Final = b"FSPF"
VERSION: Final = 1
DIGEST_SIZE: Final = 32
CHUNK: Final = 2**19
"""Octets that are read, hashed and written at a time, in a thread."""
LONGEST_NAME: Final = 255
LONGEST_REMARK: Final = 512

_HEAD: Final = struct.Struct(">4sBHQ")


class ProtocolViolation(CommandError):
    """The peer does not speak this protocol."""


@dataclass(frozen=True, slots=True)
class Header:
    name: str
    size: int
    mode: int = 0o644

    LARGEST = _HEAD.size + LONGEST_NAME

    def encode(self) -> bytes:
        return _HEAD.pack(MAGIC, VERSION, self.mode & 0o777, self.size) + _cut(self.name, LONGEST_NAME)

    @classmethod
    def decode_untrusted(cls, message: bytes) -> Header:
        if not message.startswith(MAGIC):
            raise ProtocolViolation("the peer does not send files")
        if len(message) <= _HEAD.size:
            raise ProtocolViolation("the peer sent a header that is too short")
        _, version, mode, size = _HEAD.unpack_from(message)
        if version != VERSION:
            raise ProtocolViolation(f"the peer speaks version {version} of the file protocol, not {VERSION}")
        return cls(_text(message[_HEAD.size :]), size, mode & 0o777)


class VerdictKind(enum.IntEnum):
    GO_AHEAD = 0
    STORED = 1
    REFUSED = 2
    DAMAGED = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: VerdictKind
    remark: str = ""
    digest: bytes = bytes(DIGEST_SIZE)

    LARGEST = 1 + DIGEST_SIZE + LONGEST_REMARK

    def encode(self) -> bytes:
        return bytes([self.kind]) + self.digest + _cut(self.remark, LONGEST_REMARK)

    @classmethod
    def decode_untrusted(cls, message: bytes) -> Verdict:
        if len(message) <= DIGEST_SIZE or message[0] not in set(VerdictKind):
            raise ProtocolViolation("the peer does not answer as one that receives files")
        digest, remark = message[1 : 1 + DIGEST_SIZE], message[1 + DIGEST_SIZE :]
        return cls(VerdictKind(message[0]), _text(remark), digest)


def _cut(text: str, size: int) -> bytes:
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore").encode()


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation("the peer sent text that is not UTF-8") from None


async def send_message(session: FSPSession, message: bytes) -> None:
    """One transaction, acknowledged."""
    transaction = session.send_transaction()
    await transaction.send_all(message)
    await transaction.commit()


async def read_message(session: FSPSession, limit: int) -> bytes:
    """The next transaction as a whole; ProtocolViolation if it has more than `limit` octets.

    trio.EndOfChannel if the peer has released the session instead.
    """
    transaction = await session.receive_transaction()
    message = bytearray()
    while data := await transaction.receive_some(limit + 1 - len(message)):
        message += data
        if len(message) > limit:
            raise ProtocolViolation("the peer sent a message that is too long")
    return bytes(message)


async def expect_message(session: FSPSession, limit: int) -> bytes:
    """As `read_message`, where the end of the session is out of place."""
    try:
        return await read_message(session, limit)
    except trio.EndOfChannel:
        raise ProtocolViolation("the peer ended the session early") from None
