"""The wire of the author's C++ program of October 2020: for interoperation with it, and for nothing else."""

from __future__ import annotations

from fsp_trio.integrity.reference import REFERENCE
from fsp_trio.revisions.base import Revision
from fsp_trio.revisions.gao_07_states import STATES
from fsp_trio.wire.packets import FLAG_CPR, FLAG_MIND, ExtensionKind, Op
from fsp_trio.wire.reference import ReferenceCodec

OP_CODES = {
    Op.INIT_CONNECT: 1,
    Op.ACK_INIT_CONNECT: 2,
    Op.CONNECT_REQUEST: 3,
    Op.ACK_CONNECT_REQ: 4,
    Op.RESET: 5,
    Op.NULCOMMIT: 6,
    Op.PURE_DATA: 7,
    Op.PERSIST: 8,
    Op.ACK_FLUSH: 9,
    Op.RELEASE: 10,
    Op.MULTIPLY: 11,
    Op.KEEP_ALIVE: 12,
}
EXTENSION_CODES = {ExtensionKind.PEER_SUBNETS: 16, ExtensionKind.SELECTIVE_NACK: 17}

REFERENCE_2020 = Revision(
    name="reference-2020",
    document="github.com/jaglee/FSP, commit c681764",
    codec=ReferenceCodec(OP_CODES, EXTENSION_CODES),
    integrity=REFERENCE,
    states=STATES,
    udp_port=18003,
    reply_port=18003,
    udp_checksum=True,
    max_payload=512,
    most_outstanding=96,
    careless_flush=True,
    whole_blocks=True,
    tells_congestion=False,
    compressed_flag=FLAG_CPR,
    unsupported_flags=FLAG_MIND,
    announces_keys=False,
    repeats_nonces=True,
    rekey_after=2**29,
    key_life=2**30,
    initial_window_minimum=4,
    heartbeat_interval=600.0,
    idle_timeout=4 * 3600.0,
    transient_timeout=60.0,
    commit_timeout=90.0,
    commit_abort=300.0,
    shutdown_timeout=120.0,
)
