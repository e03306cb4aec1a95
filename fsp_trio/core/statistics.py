"""Counters of one connection."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ConnectionStatistics:
    """Plain numbers since the start of the connection; octets are of whole datagrams unless said otherwise."""

    packets_sent: int = 0
    octets_sent: int = 0
    packets_received: int = 0
    octets_received: int = 0
    payload_sent: int = 0
    payload_received: int = 0
    in_band_sent: int = 0
    out_of_band_sent: int = 0
    retransmissions: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    address_changes: int = 0
    failed_checks: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    """Packets that were dropped, by reason."""

    def drop(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1
