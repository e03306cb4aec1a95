"""The finite state machine of draft-jason-fsp-00, in the order of its section 4.

There is no NULCOMMIT and no SHUT_REQUESTED.  `Event.RCV_NULCOMMIT` stands for what the draft calls "Rcv.EOT": the End
of Transaction flag on an out-of-band packet (7.5, A34).  Where the draft contradicts itself, decisions A8 and A31 to
A36 shaped the rows (docs/revisions.md).
"""

from __future__ import annotations

from fsp_trio.revisions.states import Event, Reply, State, StateTable, Transition
from fsp_trio.revisions.states import transition as _t

_NON, _LIS = State.NON_EXISTENT, State.LISTENING
_BOO, _AFF, _CHA = State.CONNECT_BOOTSTRAP, State.CONNECT_AFFIRMING, State.CHALLENGING
_ACT, _CMG, _CMD = State.ACTIVE, State.COMMITTING, State.COMMITTED
_PEE, _CM2, _CLB = State.PEER_COMMIT, State.COMMITTING2, State.CLOSABLE
_PRE, _CLO, _CLN = State.PRE_CLOSED, State.CLOSED, State.CLONING


def _takes(section: str, state: State, open_: State, ended: State) -> tuple[Transition, ...]:
    """What the peer sends in its turn: PURE_DATA starts a transaction as PERSIST does (A32)."""
    return (
        _t(section, state, Event.RCV_PERSIST, open_, Reply.SNACK, notify=True),
        _t(section, state, Event.RCV_PERSIST_EOT, ended, Reply.ACK_FLUSH, notify=True),
        _t(section, state, Event.RCV_PURE_DATA, open_, Reply.SNACK, notify=True),
        _t(section, state, Event.RCV_PURE_DATA_EOT, ended, Reply.ACK_FLUSH, notify=True),
        _t(section, state, Event.RCV_NULCOMMIT, ended, Reply.ACK_FLUSH, notify=True),
    )


def _ends(section: str, state: State) -> tuple[Transition, ...]:
    """Reset by either side, and silence (11.5)."""
    return (
        _t(section, state, Event.RESET, _NON, Reply.RESET),
        _t(section, state, Event.RCV_RESET, _NON, notify=True),
        _t("11.5", state, Event.IDLE_TIMEOUT, _NON, Reply.RESET, notify=True),
    )


def _released(section: str, state: State) -> Transition:
    """RELEASE is answered by RELEASE, once (8.2, A36)."""
    return _t(section, state, Event.RCV_RELEASE, _CLO, Reply.RELEASE, notify=True)


STATES = StateTable(
    (
        # 4.1
        _t("4.1", _NON, Event.LISTEN, _LIS),
        _t("4.1", _NON, Event.CONNECT, _BOO, Reply.INIT_CONNECT),
        _t("4.2", _NON, Event.ACCEPT, _CHA, Reply.ACK_CONNECT_REQ),
        _t("4.14", _NON, Event.MULTIPLY, _CLN, Reply.MULTIPLY),
        # 4.15: nothing of its own has been sent yet, the answer is a transaction like any other
        _t("4.15", _NON, Event.RCV_MULTIPLY, _CMD, Reply.CONFIRMATION, notify=True),
        _t("4.15", _NON, Event.RCV_MULTIPLY_EOT, _CLB, Reply.CONFIRMATION, notify=True),
        # 4.2
        _t("4.2", _LIS, Event.RESET, _NON),
        # 4.3
        _t("4.3", _BOO, Event.RESET, _NON, Reply.RESET),
        _t("4.3", _BOO, Event.RCV_ACK_INIT_CONNECT, _AFF, Reply.CONNECT_REQUEST),
        _t("4.3", _BOO, Event.RCV_RESET, _NON, notify=True),
        _t("4.3", _BOO, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
        # 4.4: ACK_CONNECT_REQ counts as a transaction that was acknowledged
        _t("4.4", _CHA, Event.RESET, _NON, Reply.RESET),
        _t("4.4", _CHA, Event.SEND, _CHA),
        _t("4.4", _CHA, Event.RCV_PERSIST, _CMD, Reply.SNACK, notify=True),
        _t("4.4", _CHA, Event.RCV_PERSIST_EOT, _CLB, Reply.ACK_FLUSH, notify=True),
        _t("4.4", _CHA, Event.RCV_RESET, _NON, notify=True),
        _t("4.4", _CHA, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
        # 4.5: ACK_CONNECT_REQ always ends its transaction (3.9, A8)
        _t("4.5", _AFF, Event.RESET, _NON, Reply.RESET),
        _t("4.5", _AFF, Event.RCV_ACK_CONNECT_REQ_EOT, _CM2, Reply.CONFIRMATION, flushing=True, notify=True),
        _t("4.5", _AFF, Event.RCV_ACK_CONNECT_REQ_EOT, _PEE, Reply.CONFIRMATION, flushing=False, notify=True),
        _t("4.5", _AFF, Event.RCV_RESET, _NON, notify=True),
        _t("4.5", _AFF, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
        # 4.6
        *_ends("4.6", _ACT),
        _t("4.6", _ACT, Event.FLUSH, _CMG, Reply.DATA),
        _t("4.6", _ACT, Event.SEND, _ACT, Reply.DATA),
        *_takes("4.6", _ACT, _ACT, _PEE),
        # 4.7
        *_ends("4.7", _CMG),
        _t("4.7", _CMG, Event.RCV_ACK_FLUSH, _CMD, notify=True),
        *_takes("4.7", _CMG, _CMG, _CM2),
        _released("8.2", _CMG),
        _t("11.3", _CMG, Event.COMMIT_TIMEOUT, _NON, Reply.RESET, notify=True),
        # 4.8
        *_ends("4.8", _PEE),
        _t("4.8", _PEE, Event.FLUSH, _CM2, Reply.DATA),
        _t("4.8", _PEE, Event.SEND, _PEE, Reply.DATA),
        *_takes("4.8", _PEE, _ACT, _PEE),
        _released("4.8", _PEE),
        # 4.9
        *_ends("4.9", _CM2),
        _t("4.9", _CM2, Event.RCV_ACK_FLUSH, _CLB, notify=True),
        *_takes("4.9", _CM2, _CMG, _CM2),
        _released("4.9", _CM2),
        _t("11.3", _CM2, Event.COMMIT_TIMEOUT, _NON, Reply.RESET, notify=True),
        # 4.10
        *_ends("4.10", _CMD),
        _t("4.10", _CMD, Event.SEND, _ACT, Reply.DATA),
        _t("4.10", _CMD, Event.FLUSH, _CMG, Reply.DATA),
        *_takes("4.10", _CMD, _CMD, _CLB),
        _released("8.2", _CMD),
        # 4.11
        *_ends("4.11", _CLB),
        _t("4.11", _CLB, Event.SEND, _PEE, Reply.DATA),
        _t("4.11", _CLB, Event.FLUSH, _CM2, Reply.DATA),
        _t("4.11", _CLB, Event.SHUTDOWN, _PRE, Reply.RELEASE),
        *_takes("4.11", _CLB, _CMD, _CLB),
        _released("4.11", _CLB),
        # 4.12: a RELEASE that crosses ours is the answer to it (A36); data that crosses it is lost (8)
        _t("4.12", _PRE, Event.RESET, _NON, Reply.RESET),
        _t("3.10", _PRE, Event.RCV_RESET, _NON, notify=True),
        _t("4.12", _PRE, Event.RCV_RELEASE, _CLO, notify=True),
        _t("4.12", _PRE, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
        # 4.13
        _t("4.13", _CLO, Event.RCV_RELEASE, _CLO, Reply.RELEASE),
        _t("4.13", _CLO, Event.RECYCLE, _NON),
        # 4.14
        _t("4.14", _CLN, Event.RESET, _NON),
        _t("4.14", _CLN, Event.SEND, _CLN),
        _t("4.14", _CLN, Event.RCV_PERSIST, _ACT, Reply.SNACK, flushing=False, notify=True),
        _t("4.14", _CLN, Event.RCV_PERSIST, _CMD, Reply.SNACK, flushing=True, notify=True),
        _t("4.14", _CLN, Event.RCV_PERSIST_EOT, _PEE, Reply.ACK_FLUSH, flushing=False, notify=True),
        _t("4.14", _CLN, Event.RCV_PERSIST_EOT, _CLB, Reply.ACK_FLUSH, flushing=True, notify=True),
        _t("4.14", _CLN, Event.RCV_RESET, _NON, notify=True),
        _t("4.14", _CLN, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
    )
)
