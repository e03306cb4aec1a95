"""Integrity check codes: CRC64, MAC and AEAD, and the keys for them (gao-07 7.4, 7.5, 8.1, 11.5)."""

from __future__ import annotations

from fsp_trio.integrity.aead import AeadProtection
from fsp_trio.integrity.crc64 import Crc64Protection
from fsp_trio.integrity.mac import MacProtection
from fsp_trio.integrity.protection import Protection, Schedule
from fsp_trio.integrity.schedule import AeadSchedule, mac_schedule

__all__ = [
    "AeadProtection",
    "AeadSchedule",
    "Crc64Protection",
    "MacProtection",
    "Protection",
    "Schedule",
    "mac_schedule",
]
