"""Who takes part in an attack: those who are attacked, one who shakes hands and goes, and who keeps the books."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fsp_trio import FSPEndpoint, FSPSession, Settings
from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.statistics import ConnectionStatistics
from fsp_trio.integrity import AeadProtection
from fsp_trio.ports import Batch
from fsp_trio.revisions import GAO_07

from .datagrams import Numbers, Seal
from .flood_port import NOWHERE, FloodPort

NO_PREFIXES = (bytes(8), bytes(8), bytes(8), bytes(8))
SERVICE = 7
LISTENER = SERVICE.to_bytes(4, "big")


AEAD_SEAL = AeadProtection.seal


def unix_microseconds() -> int:
    return time.time_ns() // 1000


def source(number: int) -> tuple[str, int]:
    """An attacker's address."""
    return NOWHERE + str(number % 250 + 1), 1024 + number // 250


@dataclass(slots=True)
class Target:
    """Somebody at the endpoint whose ULTIDs the attacker knows."""

    name: str
    connection: Connection
    """The attacked one."""
    ids: bytes
    """Both ULTIDs as the peer sends them."""
    seal: Seal | None = None
    session: FSPSession | None = None
    peer: FSPSession | None = None
    received: int = 0
    accounted_before: int = 0
    """Packets that had arrived and were taken when the attack began."""

    @property
    def unaccounted(self) -> int:
        """Packets that were neither dropped nor duplicates, since the attack began."""
        return taken(self.connection.statistics) - self.accounted_before

    @property
    def numbers(self) -> Numbers:
        connection = self.connection
        received, sent = connection.received, connection.sent
        return Numbers(received.expected, received.window, sent.una, sent.next_sn, connection._last_serial)


def taken(statistics: ConnectionStatistics) -> int:
    return statistics.packets_received - sum(statistics.drops.values()) - statistics.duplicates


def seal_of(connection: Connection) -> Seal:
    """Seals as this end does, that is for its peer to open."""

    def seal(sn: int, head: bytes, body: bytes, out_of_band: bool) -> bytes:
        protection = connection.keyring.sending.protection(sn)
        if isinstance(protection, AeadProtection):  # the hostile uses of a nonce are not for the ledger (N5)
            return AEAD_SEAL(protection, connection._ids, head, body, out_of_band)
        return protection.seal(connection._ids, head, body, out_of_band)

    return seal


class Initiator:
    """An attacker who does the handshake by the book, from whatever address, and no more."""

    def __init__(self, number: int, *, ultid: bytes | None = None) -> None:
        self.source = source(number)
        self.connection = Connection.initiate(
            GAO_07,
            Settings(),
            local_ultid=ultid or (0x10000 + number).to_bytes(4, "big"),
            listener_ultid=LISTENER,
            remote="endpoint",
            now=0.0,
            unix_microseconds=unix_microseconds(),
            congestion=CongestionManager(),
        )
        self.request = b""

    def init_connect(self) -> bytes:
        (datagram,) = self.connection.datagrams_to_send(0.0)
        return datagram

    def connect_request(self, challenge: bytes) -> bytes:
        self.connection.receive([challenge], "endpoint", 0.0)
        (self.request,) = self.connection.datagrams_to_send(0.0)
        return self.request

    async def shake_hands(self, port: FloodPort) -> bool:
        """Leave the endpoint with a connection in CHALLENGING; False if it refused or was silent."""
        challenge = await self._ask(port, self.init_connect())
        acceptance = await self._ask(port, self.connect_request(challenge)) if challenge else b""
        if acceptance:
            self.connection.receive([acceptance], "endpoint", 0.0)
        return self.connection.is_established

    async def _ask(self, port: FloodPort, question: bytes) -> bytes:
        """The answer to a datagram, b"" if there is none."""
        port.newest_answers.clear()
        port.inject(self.source, [question])
        await port.emptied()
        own = (each for each in port.newest_answers if each[4:8] == self.connection.local_ultid)
        return next(own, b"")


class Books:
    """Where each datagram that reached the endpoint went."""

    def __init__(self, endpoint: FSPEndpoint) -> None:
        self.to_sessions = 0
        self.to_tombstones = 0
        self.tombstone_drops: Counter[str] = Counter()
        """Those that the endpoint counted for ended connections; the connections counted most of them, too."""
        self.statistics: list[ConnectionStatistics] = []
        """Of all connections that the endpoint ever had."""
        self._endpoint = endpoint
        for name in ("_hand_on_untrusted", "_ask_tombstone_untrusted", "_adopt"):
            setattr(endpoint, name, getattr(self, name.removeprefix("_"))(getattr(endpoint, name)))

    def hand_on_untrusted(self, original: Callable[..., Any]) -> Callable[..., None]:
        def hand_on(ultid: bytes, batch: Batch, alone: bool = False) -> None:
            if ultid in self._endpoint._sessions:
                self.to_sessions += len(batch.datagrams)
            elif ultid in self._endpoint._tombstones:
                self.to_tombstones += len(batch.datagrams)
            original(ultid, batch, alone)

        return hand_on

    def ask_tombstone_untrusted(self, original: Callable[..., Any]) -> Callable[..., None]:
        def ask(ultid: bytes, batch: Batch) -> None:
            before = Counter(self._endpoint._drops)
            original(ultid, batch)
            self.tombstone_drops.update(Counter(self._endpoint._drops) - before)

        return ask

    def adopt(self, original: Callable[..., Any]) -> Callable[..., None]:
        def adopt(session: FSPSession, now: float) -> None:
            self.statistics.append(session._connection.statistics)
            original(session, now)

        return adopt
