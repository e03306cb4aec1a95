"""draft-jason-fsp-00 (3 July 2017): the first draft, with the decisions A1 to A50 (docs/revisions.md)."""

from __future__ import annotations

from fsp_trio.integrity.jason import JASON
from fsp_trio.revisions.base import Revision, RoundTripRule
from fsp_trio.revisions.jason_00_states import STATES
from fsp_trio.revisions.states import CONNECTED, PEER_OPEN
from fsp_trio.wire.jason import JasonCodec
from fsp_trio.wire.packets import FLAG_MIND, ExtensionKind, Op

OP_CODES = {  # 3.3 (A3); there is no NULCOMMIT
    Op.INIT_CONNECT: 1,
    Op.ACK_INIT_CONNECT: 2,
    Op.CONNECT_REQUEST: 3,
    Op.ACK_CONNECT_REQ: 4,
    Op.RESET: 5,
    Op.PERSIST: 6,
    Op.KEEP_ALIVE: 7,
    Op.PURE_DATA: 9,
    Op.ACK_FLUSH: 10,
    Op.RELEASE: 11,
    Op.MULTIPLY: 12,
}
EXTENSION_CODES = {ExtensionKind.PEER_SUBNETS: 17, ExtensionKind.SELECTIVE_NACK: 18}

JASON_00 = Revision(
    name="jason-00",
    document="draft-jason-fsp-00",
    codec=JasonCodec(OP_CODES, EXTENSION_CODES),
    integrity=JASON,
    states=STATES,
    udp_port=18003,  # A2
    udp_checksum=True,  # A1: nothing else protects payload under CRC64 (6.1)
    bare_commit=Op.PERSIST,  # 4.5, A31, A34
    release_flags=0,  # 7.5: the flag is not for RELEASE
    acceptance_is_sealed=False,  # 5.5, A7
    names_prefix=True,  # 3.2, 3.7, A6
    bounded_time_delta=True,  # 3.5
    acceptance_ends=True,  # 3.9, A8
    heartbeats_in=PEER_OPEN,  # 4.6 to 4.11, 9.1
    heartbeat_repeats_head=True,  # 9.1, A49
    keep_alive_names_sink=False,  # 9.1, A10
    acknowledging=CONNECTED,  # 4.4, 4.12, 4.13, 7.4.2, A47
    commits_out_of_band=True,  # 7.5, A34
    tells_congestion=False,  # 3.8: yet to be studied
    unsupported_flags=FLAG_MIND,  # 12.5: over IPv6 only
    announces_keys=False,
    mac_multiplies=False,  # A22
    branch_key_of_numbers=True,  # A22
    round_trips=RoundTripRule.HALVED,  # 7.4.1, 7.4.4, A30
    rekey_after=None,  # A21
    key_life=2**30,  # 11.6, A21
    initial_window_minimum=4,  # 7.3
    heartbeat_interval=600.0,  # A29
    idle_timeout=4 * 3600.0,  # 11.5
    transient_timeout=60.0,  # 5.4, 11.1
    commit_timeout=30.0,  # none in the draft; the application may set its own
    commit_abort=300.0,  # 11.3
    shutdown_timeout=60.0,  # 11.4
)
