"""What a revision of the protocol is: data that the core asks for, never a name that it compares."""

from __future__ import annotations

from dataclasses import dataclass

from fsp_trio.revisions.states import StateTable
from fsp_trio.wire.gao import GaoCodec


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision of FSP.

    Times are in seconds, limits in packets.  `section` numbers of the fields are those of gao-07.
    """

    name: str
    document: str
    codec: GaoCodec
    states: StateTable
    udp_port: int
    """Default UDP port (M34)."""
    rekey_after: int
    """Packets in one direction under one AEAD key (7.5)."""
    key_life: int
    """How often a key may be applied before the connection is aborted (12.6)."""
    initial_window_minimum: int
    """Smallest receive capacity that may be negotiated (8.6)."""
    heartbeat_interval: float
    """10.1"""
    idle_timeout: float
    """12.5"""
    transient_timeout: float
    """6.6, 12.1, 12.2"""
    commit_timeout: float
    """8.4.4: `commit()` gives up when nothing was acknowledged for so long (B7)."""
    commit_abort: float
    """12.3: no packet at all for so long while committing ends the connection (B7)."""
    shutdown_timeout: float
    """12.4"""
