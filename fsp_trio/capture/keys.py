"""Which keys a packet of a capture may be under.

As in a connection, the numbers of each direction are divided into eras: CRC64 from the start, then one for each
installed key.  Unlike a connection a decoder does not know when an end came to know what, so where the number does
not decide it tries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fsp_trio.integrity.branch import Branching
from fsp_trio.integrity.protection import Protection, Schedule
from fsp_trio.integrity.suite import IntegritySuite
from fsp_trio.wire.serial import sub

__all__ = ["Candidate", "Direction", "Era", "Secret"]

MASK: Final = 0xFFFFFFFF
FURTHEST_FIRST: Final = 2**30
"""How far behind the numbers in use the first one of an era may lie; serial arithmetic ends at 2^31."""
MOST_DERIVATIONS: Final = 1024
"""Batch keys that are derived for one packet at most; one whose number asks for more cannot be checked."""
BATCHES_AT_HAND: Final = 4
"""How far behind the newest batch another one costs no derivations."""
MOST_ERAS: Final = 64
"""Keys of one connection that are remembered."""


class Secret:
    """An installed key: a MAC, one protection for ever, or AEAD, a chain of batches."""

    def __init__(
        self,
        *,
        fixed: Protection | None = None,
        schedule: Schedule | None = None,
        rekey_after: int,
    ) -> None:
        self.fixed = fixed
        self.schedule = schedule
        self.rekey_after = rekey_after
        self._newest = 1

    @property
    def mode(self) -> str:
        return "mac" if self.schedule is None else "gcm"

    def batch(self, index: int) -> Protection | None:
        """The protection of a batch, counted from 1; None if it is too far away from those in use."""
        if self.schedule is None:
            return self.fixed
        distance = index - self._newest if index > self._newest - BATCHES_AT_HAND else index
        if index < 1 or distance > MOST_DERIVATIONS:
            return None
        try:
            return self.schedule.batch(index)
        except ValueError:  # a revision without re-keying
            return None

    def branch(self, suite: IntegritySuite, index: int, branching: Branching) -> Secret:
        """The key of a branch whose MULTIPLY is under batch `index`; ValueError where there is none (11.5)."""
        if self.schedule is None:
            return Secret(fixed=suite.branch_mac(self.fixed, branching), rekey_after=self.rekey_after)
        return Secret(schedule=suite.branch_aead(self.schedule, index, branching), rekey_after=self.rekey_after)

    def proved(self, index: int) -> None:
        """A packet was good under this batch."""
        self._newest = max(self._newest, index)


class Era:
    """The numbers of one direction from `first` on, under one secret."""

    __slots__ = ("always", "batches_before", "first", "secret")

    def __init__(self, first: int, secret: Secret, *, always: bool = False) -> None:
        self.first = first
        self.secret = secret
        self.batches_before = 0
        """Whole batches that lie before `first` since it was moved along."""
        self.always = always
        """Earlier numbers too: in a branch nothing is under another key (M24)."""

    def holds(self, sn: int) -> bool:
        return self.always or sub(sn, self.first) >= 0

    def batches(self, sn: int) -> list[int]:
        """The batches that a number may belong to: its own, and next to a border the other side's too."""
        if self.secret.schedule is None:
            return [1]
        offset = max(sub(sn, self.first), 0)
        index, used = divmod(offset, self.secret.rekey_after)
        index += self.batches_before + 1
        found = [index]
        if used == self.secret.rekey_after - 1:
            found.append(index + 1)
        if used == 0 and index > 1:
            found.append(index - 1)
        return found

    def move_along(self, sn: int) -> None:
        offset = sub(sn, self.first)
        if offset >= FURTHEST_FIRST and self.secret.schedule is not None:
            whole = (offset - FURTHEST_FIRST // 2) // self.secret.rekey_after
            self.first = self.first + whole * self.secret.rekey_after & MASK
            self.batches_before += whole


class Candidate:
    """A protection that may fit a packet."""

    __slots__ = ("batch", "era", "mode", "name", "protection")

    def __init__(self, mode: str, name: str, protection: Protection | None, era: Era | None = None, batch: int = 1):
        self.mode = mode
        self.name = name
        """For people: which key this is."""
        self.protection = protection
        """None if there is none: a handshake that was not seen, a batch out of reach."""
        self.era = era
        self.batch = batch

    def proved(self, sn: int) -> None:
        """The packet was good."""
        if self.era is not None:
            self.era.secret.proved(self.batch)
            self.era.move_along(sn)


class Direction:
    """The eras of one direction after CRC64, oldest first.

    `crc64` gives the protections of the CRC64 phase: of the handshakes that were seen, the newest first.
    """

    __slots__ = ("_crc64", "eras")

    def __init__(self, crc64: Callable[[], list[Protection]]) -> None:
        self._crc64 = crc64
        self.eras: list[Era] = []

    def begin(self, era: Era) -> None:
        """Take up a key; keys come in the order of their installation, or twice."""
        for known in self.eras:
            if known.secret is era.secret and known.first == era.first:
                return
        if len(self.eras) < MOST_ERAS:
            self.eras.append(era)

    def candidates(self, sn: int, out_of_band: bool) -> Iterator[Candidate]:
        """What a packet may be under: the key that its number calls for, and others where that may be wrong.

        An out-of-band packet carries the number of the last in-band one, so that right after an installation the
        old key is the right one; an implementation may think otherwise, and the newer ones are tried first.
        """
        position = len(self.eras) - 1
        while position >= 0 and not self.eras[position].holds(sn):
            position -= 1
        yield from self._of(position, sn)
        if out_of_band:
            for other in range(len(self.eras) - 1, -2, -1):
                if other != position:
                    yield from self._of(other, sn)

    def acceptance(self) -> Iterator[Candidate]:
        """What ACK_CONNECT_REQ may be under."""
        yield from self._of(-1, 0)

    def _of(self, position: int, sn: int) -> Iterator[Candidate]:
        if position < 0:
            found: list[Protection | None] = [*self._crc64()]
            for protection in found or [None]:
                yield Candidate("crc64", "crc64", protection)
            return
        era = self.eras[position]
        for batch in era.batches(sn):
            name = f"key {position + 1}" + (f", batch {batch}" if batch > 1 else "")
            yield Candidate(era.secret.mode, name, era.secret.batch(batch), era, batch)
