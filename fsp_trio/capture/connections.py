"""What is known of one connection of a capture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fsp_trio.capture.dialects import Dialect
from fsp_trio.capture.keys import Candidate, Direction, Era, Secret
from fsp_trio.integrity import Protection
from fsp_trio.integrity.branch import Branching
from fsp_trio.keylog import KeyLogEntry

__all__ = ["Branch", "Connection", "Handshake"]

MOST_HANDSHAKES: Final = 4
"""Handshakes remembered for the same two ULTIDs: repeated ones, forged ones, a later connection."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """Everything that the CRC64 of a connection starts from, as it was on the wire."""

    init_check_code: bytes
    cookie: bytes
    salt: bytes
    time_delta: bytes
    timestamp: bytes


class Connection:
    """Two ULTIDs and what protects the packets between them."""

    def __init__(self, dialect: Dialect, one: bytes, other: bytes) -> None:
        self.dialect = dialect
        self.ultids = (one, other)
        self.handshakes: list[Handshake] = []
        """The newest first."""
        self.directions = {one: Direction(lambda: self.crc64(one)), other: Direction(lambda: self.crc64(other))}
        """By the sender's ULTID."""
        self._secrets: dict[tuple[str, int, bytes], Secret] = {}
        self._protections: dict[bytes, list[Protection]] = {}
        self._parent: Connection | None = None
        self._in_parent: dict[bytes, bytes] = {}
        """From an ULTID of ours to that of the same end in the parent."""

    def peer_of(self, ultid: bytes) -> bytes:
        one, other = self.ultids
        return other if ultid == one else one

    def crc64(self, sender: bytes) -> list[Protection]:
        """What opens the sender's packets of the CRC64 phase; a branch inherits it."""
        found = self._protections.get(sender)
        if found is None:
            if self._parent is not None:
                found = self._parent.crc64(self._in_parent[sender])
            else:
                crc64, peer = self.dialect.revision.integrity.crc64, self.peer_of(sender)
                found = [
                    crc64(peer, sender, h.init_check_code, h.cookie, h.salt, h.time_delta, h.timestamp)
                    for h in self.handshakes
                ]
            self._protections[sender] = found
        return found

    def shake_hands(self, handshake: Handshake) -> None:
        if handshake not in self.handshakes:
            self.handshakes = [handshake, *self.handshakes[: MOST_HANDSHAKES - 1]]
            self._protections.clear()

    def install(self, entry: KeyLogEntry, rekey_after: int) -> None:
        """Take up a key of the key log; ValueError if the revision has no such keys."""
        name = (entry.mode, entry.bits, entry.ikm)
        secret = self._secrets.get(name)
        if secret is None:  # else both ends have logged it
            secret = self._secrets[name] = self.dialect.secret(*name, rekey_after)
        self.directions[entry.ultid_a].begin(Era(entry.first_sn_a, secret))
        self.directions[entry.ultid_b].begin(Era(entry.first_sn_b, secret))

    def candidates(self, sender: bytes, sn: int, out_of_band: bool) -> Iterator[Candidate]:
        yield from self.directions[sender].candidates(sn, out_of_band)
        if out_of_band and self._parent is not None:
            # before its first in-band packet an initiator may still use the parent's key (reference-2020)
            yield from self._parent.candidates(self._in_parent[sender], sn, True)

    @property
    def has_parent(self) -> bool:
        return self._parent is not None


class Branch:
    """A connection that a MULTIPLY has begun; the responder has not answered yet."""

    def __init__(self, parent: Connection, initiator_ultid: bytes, responder_ultid: bytes, sn: int) -> None:
        self.parent = parent
        self.initiator_ultid = initiator_ultid
        """Of the branch."""
        self.responder_ultid = responder_ultid
        """Of the parent."""
        self.sn = sn
        self.secret: Secret | None = None
        """What the MULTIPLY was under; None for CRC64."""
        self.batch = 1

    def key(self, responder_sn: int) -> Secret | None:
        """The key of the branch; None for CRC64, which needs none.  ValueError where there cannot be any."""
        if self.secret is None:
            return None
        branching = Branching(self.initiator_ultid, self.responder_ultid, self.sn, responder_sn)
        return self.secret.branch(self.parent.dialect.revision.integrity, self.batch, branching)

    def begin(self, peer: bytes, key: Secret | None, responder_sn: int) -> Connection:
        """The responder's ULTID is known: the connection."""
        branch = Connection(self.parent.dialect, self.initiator_ultid, peer)
        branch._parent = self.parent
        branch._in_parent = {
            peer: self.responder_ultid,
            self.initiator_ultid: self.parent.peer_of(self.responder_ultid),
        }
        if key is not None:
            branch.directions[self.initiator_ultid].begin(Era(self.sn + 1 & 0xFFFFFFFF, key, always=True))
            branch.directions[peer].begin(Era(responder_sn, key, always=True))
        return branch
