"""What a decoder has to know of a revision beside what the revision itself says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fsp_trio.capture.keys import Secret
from fsp_trio.revisions import Revision
from fsp_trio.revisions.gao_07 import GAO_07
from fsp_trio.revisions.jason_00 import JASON_00
from fsp_trio.revisions.reference_2020 import REFERENCE_2020
from fsp_trio.wire.codec import Codec

__all__ = ["DIALECTS", "Dialect"]

NEVER: Final = 2**32
"""Packets after which a key is followed by the next one where no key is."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A revision, for the decoder."""

    revision: Revision
    flags: tuple[str, ...] = ("EOT", "MIND", "CPR", "ECE", "SRR")
    """Names of the flags, from the highest bit on."""
    reset_has_reason: bool = True
    """A RESET of an established connection has its reason where other packets have flags and window."""

    @property
    def name(self) -> str:
        return self.revision.name

    @property
    def codec(self) -> Codec:
        return self.revision.codec

    def flag_names(self, flags: int) -> tuple[str, ...]:
        """The names of those that are set, and the number of one that has no name."""
        bits = [bit for bit in range(8) if flags & 0x80 >> bit]
        return tuple(self.flags[bit] if bit < len(self.flags) else f"0x{0x80 >> bit:02x}" for bit in bits)

    def secret(self, mode: str, bits: int, ikm: bytes, rekey_after: int) -> Secret:
        """An installed key.  ValueError for what the revision does not allow."""
        suite = self.revision.integrity
        if mode == "mac":
            return Secret(fixed=suite.mac(ikm), rekey_after=NEVER)
        limit = rekey_after if self.revision.rekey_after is not None else NEVER
        return Secret(schedule=suite.aead(ikm, bits), rekey_after=limit)


_ALL: Final = (
    Dialect(GAO_07),
    Dialect(JASON_00, ("EOT", "MIND", "HMAC", "ECN")),
    Dialect(REFERENCE_2020, ("EOT", "MIND", "CPR", "ECE"), reset_has_reason=False),
)
DIALECTS: Final[Mapping[str, Dialect]] = {each.name: each for each in _ALL}
"""By the names of the revisions."""
