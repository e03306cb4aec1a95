"""Counters of one connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from fsp_trio.wire.packets import Op


@dataclass(slots=True)
class ConnectionStatistics:
    """Plain numbers since the start of the connection; octets are of whole datagrams unless said otherwise."""

    packets_sent: int = 0
    """Packets of every kind, repeats included."""
    octets_sent: int = 0
    packets_received: int = 0
    """Packets that arrived for this connection, those that were dropped included."""
    octets_received: int = 0
    payload_sent: int = 0
    """Octets of the application's, each counted once however often it was repeated."""
    payload_received: int = 0
    """Octets of the peer's application, in order."""
    plain_sent: int = 0
    """Octets of the application's in compressed transactions (8.8), before they were compressed."""
    compressed_sent: int = 0
    """What was made of them."""
    plain_received: int = 0
    """Octets read from compressed transactions."""
    messages_unsent: int = 0
    """Messages with minimal delay (8.9) that made room for newer ones before they left."""
    messages_unread: int = 0
    """Messages that made room for newer ones before they were read, or were too old then."""
    messages_lost: int = 0
    """Packets of such a flow that have not come though later ones have."""
    in_band_sent: int = 0
    """Packets with a sequence number of their own (gao-07 4.6), repeats not included."""
    out_of_band_sent: int = 0
    """KEEP_ALIVE and ACK_FLUSH packets (8.5.2, 10.1)."""
    retransmissions: int = 0
    """Packets sent again (8.5.4), those of the handshake included (6.6)."""
    duplicates: int = 0
    """In-band packets that had arrived before."""
    out_of_order: int = 0
    """In-band packets that came before their turn and were kept."""
    address_changes: int = 0
    """How often the peer was followed to another address (10.3, 10.5)."""
    moves: int = 0
    """How often this end went over to another address of its own (10.3, 10.5)."""
    notices_sent: int = 0
    """KEEP_ALIVE packets that told the peer of that, or asked for it on other paths (10.2)."""
    failed_checks: int = 0
    """Packets whose integrity check code was wrong (8.1); they are among the drops, too."""
    sent: dict[str, int] = field(default_factory=dict)
    """Packets sent, by the name of their operation (gao-07 4.4.1); repeats are not included."""
    received: dict[str, int] = field(default_factory=dict)
    """Packets received, by the name of their operation, whether they were taken or dropped."""
    drops: dict[str, int] = field(default_factory=dict)
    """Packets that were dropped, by reason."""

    def drop(self, reason: str) -> None:
        self.drops[reason] = self.drops.get(reason, 0) + 1

    def count_sent(self, op: Op, number: int = 1) -> None:
        name = op.label
        self.sent[name] = self.sent.get(name, 0) + number

    def count_received(self, op: Op, number: int = 1) -> None:
        name = op.label
        self.received[name] = self.received.get(name, 0) + number
