"""What remains of ended connections: answers to a peer that has not heard of the end (M35, M41), and ULTIDs that
must not be used again so soon (M49)."""

from __future__ import annotations

import math
from typing import Final

import trio

from fsp_trio._timer_wheel import TimerWheel
from fsp_trio.core.connection import Connection

RESERVATION: Final = 120.0
"""Seconds for which the ULTID of an ended connection is not used again (M49)."""
SWEEP_INTERVAL: Final = 1.0
"""Seconds between two removals at the least, so that each can look at all."""


class _Tombstone:
    __slots__ = ("connection", "forget_at")

    def __init__(self, connection: Connection | None, forget_at: float) -> None:
        self.connection = connection
        self.forget_at = forget_at


class Tombstones:
    """Ended connections by local ULTID, at most `limit`; the oldest makes room."""

    __slots__ = ("_graves", "_limit", "_timer", "_wheel")

    def __init__(self, wheel: TimerWheel, limit: int) -> None:
        self._wheel = wheel
        self._limit = limit
        self._graves: dict[bytes, _Tombstone] = {}
        self._timer = wheel.add(lambda: self._sweep(trio.current_time()))

    def __len__(self) -> int:
        return len(self._graves)

    def __contains__(self, ultid: object) -> bool:
        return ultid in self._graves

    def add(self, connection: Connection, now: float) -> None:
        if len(self._graves) >= self._limit:
            del self._graves[next(iter(self._graves))]
        forget_at = max(connection.tombstone_until, now + RESERVATION)
        self._graves[connection.local_ultid] = _Tombstone(connection if connection.answers else None, forget_at)
        if not self._timer.armed:
            self._wheel.arm(self._timer, max(connection.tombstone_until, now + SWEEP_INTERVAL))

    def awake(self, ultid: bytes, now: float) -> Connection | None:
        """The connection, if it still has to answer."""
        connection = self._graves[ultid].connection
        return connection if connection is not None and now < connection.tombstone_until else None

    def _sweep(self, now: float) -> None:
        earliest = math.inf
        for ultid, grave in list(self._graves.items()):
            if now >= grave.forget_at:
                del self._graves[ultid]
                continue
            if grave.connection is not None and now >= grave.connection.tombstone_until:
                grave.connection = None
            until = grave.forget_at if grave.connection is None else grave.connection.tombstone_until
            earliest = min(earliest, until)
        if self._graves:
            self._wheel.arm(self._timer, max(earliest, now + SWEEP_INTERVAL))
