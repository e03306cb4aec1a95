"""What a revision of the protocol is: data that the core asks for, never a name that it compares."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fsp_trio.integrity.suite import IntegritySuite
from fsp_trio.revisions.states import CLOSING, CONNECTED, State, StateTable
from fsp_trio.wire.codec import Codec
from fsp_trio.wire.packets import FLAG_EOT, Op


class RoundTripRule(enum.Enum):
    """How round trips are measured, and what the retransmission time-out makes of them."""

    SMOOTHED = "smoothed"
    """From the delay sample of SNACKs, smoothed, with a variance (gao-07 8.5.1)."""
    HALVED = "halved"
    """From all that was acknowledged, halfway from the old to the new mean; four of them time out (jason-00 7.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision of FSP: its data, and by name the few strategies in which revisions differ.

    Times are in seconds, limits in packets.  Section numbers of the fields are those of gao-07 unless said otherwise.
    """

    name: str
    document: str
    codec: Codec
    """Layouts and numbers (4)."""
    integrity: IntegritySuite
    """Check codes, and the keys for them (7.4, 7.5, 8.1, 11.5)."""
    states: StateTable
    """Section 5."""
    udp_port: int
    """Default UDP port (M34)."""
    reply_port: int | None = None
    """The UDP port that everything is sent to whatever port it came from; None where answers go back (10.5)."""
    udp_checksum: bool | None = None
    """True where every datagram has the UDP checksum; None where it is off if that costs nothing (4.1, G19)."""
    max_payload: int = 65_000
    """Octets of payload that a block holds at the most."""
    most_outstanding: int = 2**30
    """Packets that may be unacknowledged at once, whatever windows admit."""
    careless_flush: bool = False
    """Peers take any ACK_FLUSH for the end of all they have committed, and acknowledge with theirs what overtook a lost
    PERSIST (8.4.3): none is sent while packets are missing, and the others wait until the PERSIST has arrived."""
    whole_blocks: bool = False
    """A packet that does not end its transaction is full: short ones are refused or misunderstood."""
    bare_commit: Op = Op.NULCOMMIT
    """What ends a transaction without octets, and confirms a connection (6.5, 8.4.1)."""
    ends_with_empty_data: bool = False
    """PURE_DATA without octets may end a transaction, where a bare commit would be misunderstood (F33)."""
    release_flags: int = FLAG_EOT
    """Flags of RELEASE: EoT if it ends a transaction, too (9.1, M37)."""
    acceptance_is_sealed: bool = True
    """ACK_CONNECT_REQ has an integrity check code, and not the time in its place (jason-00 5.5, A7)."""
    names_prefix: bool = False
    """Sink Parameters of the handshake name the address of their sender (jason-00 3.7, A6)."""
    bounded_time_delta: bool = False
    """An INIT_CONNECT whose clock is further off than a signed Time Delta can tell draws silence (jason-00 3.5)."""
    acceptance_ends: bool = False
    """ACK_CONNECT_REQ is a whole transaction whether its flag says so or not (jason-00 3.9, A8)."""
    heartbeats_in: frozenset[State] = CONNECTED
    """States in which heartbeats are sent though nothing has arrived (10.1)."""
    heartbeat_repeats_head: bool = False
    """The first packet that is not acknowledged is repeated before a KEEP_ALIVE if it ends its transaction, and in
    place of one if it is the PERSIST of an open one (jason-00 9.1)."""
    keep_alive_names_sink: bool = True
    """KEEP_ALIVE always has a Sink Parameter (10.1)."""
    acknowledging: frozenset[State] = CONNECTED | CLOSING | {State.CHALLENGING, State.CLOSED}
    """States in which a packet of the stream that is early, or was heard before, draws an acknowledgement (8.5.2); a
    repeated RELEASE always does."""
    commits_out_of_band: bool = False
    """An out-of-band packet may end the peer's transaction after the fact (jason-00 7.5, A34)."""
    compressed_flag: int = 0
    """The flag of the first packet of a compressed transaction (8.8); 0 where there are none."""
    minimal_delay_flag: int = 0
    """The flag of packets with minimal delay (4.6, 8.9); 0 where there are none."""
    tells_congestion: bool = True
    """ECE and SRR (4.6, 8.7)."""
    unsupported_flags: int = 0
    """Flags of features that this library does not have in this revision (4.6, F5)."""
    announces_keys: bool = True
    """A key installed takes effect with a packet that has no other purpose (M30)."""
    mac_multiplies: bool = True
    """A connection under a MAC may have branches (11.5)."""
    branch_key_of_numbers: bool = False
    """The key of a branch depends on the acceptor's first number, too (jason-00 10, A22)."""
    repeats_nonces: bool = False
    """Encryption is broken by design: one nonce serves many packets."""
    round_trips: RoundTripRule = RoundTripRule.SMOOTHED
    """How round trips are measured, and time-outs made of them (8.5.1; jason-00 7.4)."""
    rekey_after: int | None
    """Packets in one direction under one AEAD key (7.5); None where keys are not changed."""
    key_life: int
    """How often a key may be applied before the connection is aborted (12.6)."""
    initial_window_minimum: int
    """Smallest receive capacity that may be negotiated (8.6)."""
    heartbeat_interval: float
    """Where nothing is sent for so long a KEEP_ALIVE is (10.1)."""
    idle_timeout: float
    """Silence of the peer that ends a connection (12.5)."""
    transient_timeout: float
    """For a connection to be set up, from the first packet (6.6, 12.1, 12.2)."""
    commit_timeout: float
    """8.4.4: `commit()` gives up when nothing was acknowledged for so long (B7)."""
    commit_abort: float
    """12.3: no packet at all for so long while committing ends the connection (B7)."""
    shutdown_timeout: float
    """For RELEASE to be answered (12.4)."""
