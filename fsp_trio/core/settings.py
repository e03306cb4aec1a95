"""What an application may choose about its connections, and the named limits on what a peer can make grow."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

from fsp_trio.core.timers import Timers, positive

MINIMUM_RECEIVE_WINDOW = 4
"""Blocks; gao-07 8.6."""
MAXIMUM_RECEIVE_WINDOW = 2**20 - 1
"""Blocks; gao-07 4.6 speaks of 20 bits in a field of 24 (G5)."""
MAXIMUM_PAYLOAD = 65_000
"""Octets; the largest UDP datagram less all headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a connection.  Octets, seconds and packets as said.

    ValueError if one is out of its range, TypeError if it is no number.
    """

    max_payload: int = 1024
    """Octets of payload in a packet that we send (M15), 1 to 65,000; any size is received."""
    receive_window: int = 2048
    """Receive capacity in blocks, 4 to 2^20 - 1: one packet is one block (M15, 8.6)."""
    receive_octets: int = 8 * 2**20
    """Most octets held for a reader, however large the peer's packets, 2^16 to 2^40; as many may wait out of order."""
    send_buffer: int = 2**20
    """Octets queued or unacknowledged above which a sender waits, 1 to 2^40; a packet counts 128 more."""
    branch_backlog: int = 16
    """Branches of one session that the peer may ask for before they are accepted, 0 to 65,535; 0 refuses all (11)."""
    timers: Timers = field(default_factory=Timers.draft)
    """When packets are repeated (8.5.4, B9)."""
    heartbeat_interval: float | None = None
    """Seconds between heartbeats, more than 0; None for the revision's, 600 in gao-07 (10.1)."""
    nat_keepalive: float | None = None
    """Seconds without a packet of ours after which one leaves, so that no NAT forgets us; None for never (F59)."""
    multihoming: bool = False
    """Use all addresses of this host: answer from where packets came in, and leave a dead path for another (10.6)."""
    advertise: bool = False
    """Tell the peer these addresses (4.7): there must be no NAT before any of them.  Needs `multihoming`."""
    idle_timeout: float | None = None
    """Seconds without an authentic packet that end the session; None for the revision's, 4 hours in gao-07 (12.5)."""
    commit_timeout: float | None = None
    """Seconds without acknowledgement after which commit() gives up; None for the revision's, 30 in gao-07 (8.4.4)."""
    rekey_after: int | None = None
    """Packets under one AEAD key in one direction; None for 2^29 (7.5).  The same at both ends, and only for tests."""
    key_life: int | None = None
    """How often one key may be applied before the session ends; None for 2^30 (12.6)."""
    forgery_budget: int = 2**32
    """Failed openings of packets of up to 2 KiB that one AEAD key bears (NIST SP 800-38D, appendix C)."""

    def __post_init__(self) -> None:
        _between("max_payload", self.max_payload, 1, MAXIMUM_PAYLOAD)
        _between("receive_window", self.receive_window, MINIMUM_RECEIVE_WINDOW, MAXIMUM_RECEIVE_WINDOW)
        _between("receive_octets", self.receive_octets, 2**16, 2**40)
        _between("send_buffer", self.send_buffer, 1, 2**40)
        _between("branch_backlog", self.branch_backlog, 0, 65_535)
        _between("forgery_budget", self.forgery_budget, 1, 2**62)
        for name in ("rekey_after", "key_life"):
            if (number := getattr(self, name)) is not None:
                _between(name, number, 1, 2**32)
        for name in ("heartbeat_interval", "nat_keepalive", "idle_timeout", "commit_timeout"):
            if (seconds := getattr(self, name)) is not None:
                positive(name, seconds)
        if self.advertise and not self.multihoming:
            raise ValueError("advertise needs multihoming")


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= operator.index(value) <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")
