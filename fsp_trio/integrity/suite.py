"""All ways of protecting packets that a revision has, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fsp_trio.integrity.branch import Branching, branch_mac, branch_schedule
from fsp_trio.integrity.crc64 import Crc64Protection
from fsp_trio.integrity.mac import MacProtection
from fsp_trio.integrity.protection import Protection, Schedule
from fsp_trio.integrity.schedule import AeadSchedule


@dataclass(frozen=True, slots=True)
class IntegritySuite:
    """Check codes of a revision, and what makes keys for them."""

    crc64: Callable[[bytes, bytes, bytes, bytes, bytes, bytes, bytes], Protection]
    """From local ULTID, remote ULTID, Init-Check-Code, cookie, salt, time delta, timestamp."""
    mac: Callable[[bytes], Protection]
    """From the key material that was installed."""
    aead: Callable[[bytes, int], Schedule]
    """From the key material that was installed, and the bits of the key."""
    branch_mac: Callable[[Any, Branching], Protection]
    """The protection of a branch, from that of its parent; ValueError where a MAC has no branches (11.5)."""
    branch_aead: Callable[[Any, int, Branching], Schedule]
    """The keys of a branch, from those of its parent and the batch that MULTIPLY is under (11.5)."""


GAO = IntegritySuite(
    crc64=Crc64Protection,
    mac=MacProtection,
    aead=AeadSchedule,
    branch_mac=branch_mac,
    branch_aead=branch_schedule,
)
