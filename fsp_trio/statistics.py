"""What sessions, listeners and endpoints count; snapshots that do not change afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fsp_trio.core.statistics import ConnectionStatistics
from fsp_trio.ports import PortStatistics

if TYPE_CHECKING:
    from fsp_trio._engine import SessionEngine

__all__ = ["EndpointStatistics", "ListenerStatistics", "SessionStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatistics:
    """One session.  Times in seconds, sizes in octets; 0 where nothing was measured yet."""

    packets: ConnectionStatistics
    """Packets and octets both ways, repeats, duplicates, and drops by reason."""
    inbox_drops: int
    """Datagrams dropped because the session's receive pump could not keep up."""
    unacknowledged: int
    """Octets queued or in flight."""
    readable: int
    """Octets in order that wait for a reader."""
    transactions_committed: int
    """Outgoing transactions that the peer has acknowledged as a whole."""
    undelivered: int
    """Octets of ours unacknowledged when the peer released the session (gao-07 9.2, B16)."""
    srtt: float
    """Smoothed round-trip time (8.5.1)."""
    rttvar: float
    """Its variation (8.5.1)."""
    rto: float
    """Retransmission time-out without doublings (8.5.4)."""
    congestion_window: int
    """Of the path, which the sessions of the endpoint to the same peer address share (8.7)."""
    congestion_reductions: int
    """How often that window was reduced."""

    @classmethod
    def of(cls, session: SessionEngine) -> SessionStatistics:
        connection = session._connection
        packets = connection.statistics
        return cls(
            packets=replace(
                packets, sent=dict(packets.sent), received=dict(packets.received), drops=dict(packets.drops)
            ),
            inbox_drops=session.inbox_drops,
            unacknowledged=connection.unacknowledged,
            readable=connection.readable_octets,
            transactions_committed=connection.committed,
            undelivered=connection.undelivered,
            srtt=connection.rtt.srtt,
            rttvar=connection.rtt.rttvar,
            rto=connection.rtt.rto,
            congestion_window=int(connection.macroflow.cwnd),
            congestion_reductions=connection.macroflow.reductions,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerStatistics:
    """One listener, since it was opened."""

    accepted: int
    """Sessions given out by `accept`."""
    waiting: int
    """Established sessions that wait for `accept`."""
    challenging: int
    """Connections whose initiator has not confirmed yet (gao-07 5.5)."""
    unconfirmed: int
    """Connections that ended before they were confirmed."""
    refused: int
    """Requests turned down because the backlog was full or the application did not admit them (6.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatistics:
    """One endpoint, since it was opened."""

    port: PortStatistics
    """Datagrams, octets and system calls both ways, offload in use, buffers."""
    sessions: int
    """Sessions alive, lingering ones included."""
    tombstones: int
    """Dead connections that still answer their peers (M35, M41), and ULTIDs not to be used again yet (M49)."""
    listeners: int
    """Listeners that are open."""
    inbox_drops: int
    """Datagrams dropped because a session's inbox was full."""
    challenges: int
    """INIT_CONNECT packets answered; none of them left any state (6.2, B1)."""
    drops: dict[str, int]
    """Datagrams that belonged to no session and were dropped, by reason."""
