"""draft-gao-flexible-session-protocol-07 (16 October 2021): the default revision."""

from __future__ import annotations

from fsp_trio.integrity.suite import GAO
from fsp_trio.revisions.base import Revision
from fsp_trio.revisions.gao_07_states import STATES
from fsp_trio.wire.gao import GaoCodec
from fsp_trio.wire.packets import FLAG_CPR, FLAG_MIND, ExtensionKind, Op

OP_CODES = {  # 4.4.1 (G1)
    Op.INIT_CONNECT: 1,
    Op.ACK_INIT_CONNECT: 2,
    Op.CONNECT_REQUEST: 3,
    Op.ACK_CONNECT_REQ: 4,
    Op.RESET: 5,
    Op.NULCOMMIT: 6,
    Op.KEEP_ALIVE: 7,
    Op.PERSIST: 8,
    Op.PURE_DATA: 9,
    Op.ACK_FLUSH: 10,
    Op.RELEASE: 11,
    Op.MULTIPLY: 12,
}
EXTENSION_CODES = {ExtensionKind.PEER_SUBNETS: 17, ExtensionKind.SELECTIVE_NACK: 18}

GAO_07 = Revision(
    name="gao-07",
    document="draft-gao-flexible-session-protocol-07",
    codec=GaoCodec(OP_CODES, EXTENSION_CODES),
    integrity=GAO,
    states=STATES,
    udp_port=18003,
    ends_with_empty_data=True,
    compressed_flag=FLAG_CPR,
    minimal_delay_flag=FLAG_MIND,
    rekey_after=2**29,
    key_life=2**30,
    initial_window_minimum=4,
    heartbeat_interval=600.0,
    idle_timeout=4 * 3600.0,
    transient_timeout=60.0,
    commit_timeout=30.0,
    commit_abort=300.0,
    shutdown_timeout=60.0,
)
