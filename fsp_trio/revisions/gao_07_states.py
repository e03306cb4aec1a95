"""The finite state machine of draft-gao-flexible-session-protocol-07, in the order of its section 5.

Decisions that shaped rows (docs/design/decisions.md): B5, M16, M17, M37 to M41, S2, S3, S5.
"""

from __future__ import annotations

from fsp_trio.revisions.states import Event, Reply, State, StateTable, Transition
from fsp_trio.revisions.states import transition as _t

_NON, _LIS = State.NON_EXISTENT, State.LISTENING
_BOO, _AFF, _CHA = State.CONNECT_BOOTSTRAP, State.CONNECT_AFFIRMING, State.CHALLENGING
_ACT, _CMG, _CMD = State.ACTIVE, State.COMMITTING, State.COMMITTED
_PEE, _CM2, _CLB = State.PEER_COMMIT, State.COMMITTING2, State.CLOSABLE
_SHU, _PRE, _CLO, _CLN = State.SHUT_REQUESTED, State.PRE_CLOSED, State.CLOSED, State.CLONING


def _starts(section: str, state: State, successor: State, committed: State) -> tuple[Transition, ...]:
    """A new transaction of the peer, begun by PERSIST or, tolerated, by PURE_DATA (M16, S2)."""
    return (
        _t(section, state, Event.RCV_PERSIST, successor, Reply.SNACK, notify=True),
        _t(section, state, Event.RCV_PERSIST_EOT, committed, Reply.ACK_FLUSH, notify=True),
        _t(section, state, Event.RCV_PURE_DATA, successor, Reply.SNACK, notify=True),
        _t(section, state, Event.RCV_PURE_DATA_EOT, committed, Reply.ACK_FLUSH, notify=True),
    )


def _confirms(section: str, state: State) -> tuple[Transition, ...]:
    """The answer that ends CHALLENGING or CLONING."""
    return (
        _t(section, state, Event.RCV_NULCOMMIT, _CLB, Reply.ACK_FLUSH, flushing=True, notify=True),
        _t(section, state, Event.RCV_NULCOMMIT, _PEE, Reply.ACK_FLUSH, flushing=False, notify=True),
        _t(section, state, Event.RCV_PERSIST_EOT, _CLB, Reply.ACK_FLUSH, flushing=True, notify=True),
        _t(section, state, Event.RCV_PERSIST_EOT, _PEE, Reply.ACK_FLUSH, flushing=False, notify=True),
        _t(section, state, Event.RCV_PERSIST, _CMD, Reply.SNACK, flushing=True, notify=True),
        _t(section, state, Event.RCV_PERSIST, _ACT, Reply.SNACK, flushing=False, notify=True),
        _t(section, state, Event.RCV_RESET, _NON, notify=True),
        _t(section, state, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
    )


def _aborts(section: str, state: State, *, idle: bool = True) -> tuple[Transition, ...]:
    """What every connected state has: Reset by either side and, but for CLOSABLE's row, the idle time-out.

    Section 5.11 lists no idle time-out for CLOSABLE; 12.5 asks for it of every participant and wins (M42).
    """
    rows = (
        _t(section, state, Event.RESET, _NON, Reply.RESET),
        _t(section, state, Event.RCV_RESET, _NON, notify=True),
    )
    return (*rows, _t("12.5", state, Event.IDLE_TIMEOUT, _NON, Reply.RESET, notify=True)) if idle else rows


STATES = StateTable(
    (
        # 5.1
        _t("5.1", _NON, Event.LISTEN, _LIS),
        _t("5.1", _NON, Event.CONNECT, _BOO, Reply.INIT_CONNECT),
        _t("5.2", _NON, Event.ACCEPT, _CHA, Reply.ACK_CONNECT_REQ),
        _t("5.15", _NON, Event.MULTIPLY, _CLN, Reply.MULTIPLY),
        # 5.16: nothing of its own has been sent yet, the answer is a transaction like any other (B6)
        _t("5.16", _NON, Event.RCV_MULTIPLY, _CMD, Reply.CONFIRMATION, notify=True),
        _t("5.16", _NON, Event.RCV_MULTIPLY_EOT, _CLB, Reply.CONFIRMATION, notify=True),
        # 5.2: the listener answers without a state of its own; see core.responder
        _t("5.2", _LIS, Event.RESET, _NON),
        # 5.3; M35: no RESET leaves BOOTSTRAP
        _t("5.3", _BOO, Event.RESET, _NON),
        _t("5.3", _BOO, Event.RCV_ACK_INIT_CONNECT, _AFF, Reply.CONNECT_REQUEST),
        _t("5.3", _BOO, Event.RCV_RESET, _NON, notify=True),
        _t("5.3", _BOO, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
        # 5.4; flushing: the confirmation carries EoT, as NULCOMMIT always does
        _t("5.4", _AFF, Event.RESET, _NON, Reply.RESET),
        _t("5.4", _AFF, Event.RCV_ACK_CONNECT_REQ_EOT, _CM2, Reply.CONFIRMATION, flushing=True, notify=True),
        _t("5.4", _AFF, Event.RCV_ACK_CONNECT_REQ_EOT, _PEE, Reply.CONFIRMATION, flushing=False, notify=True),
        _t("5.4", _AFF, Event.RCV_ACK_CONNECT_REQ, _CMG, Reply.CONFIRMATION, flushing=True, notify=True),
        _t("5.4", _AFF, Event.RCV_ACK_CONNECT_REQ, _ACT, Reply.CONFIRMATION, flushing=False, notify=True),
        _t("5.4", _AFF, Event.RCV_RESET, _NON, notify=True),
        _t("5.4", _AFF, Event.TRANSIENT_TIMEOUT, _NON, notify=True),
        # 5.5
        _t("5.5", _CHA, Event.RESET, _NON, Reply.RESET),
        _t("5.5", _CHA, Event.SEND, _CHA),
        *_confirms("5.5", _CHA),
        # 5.6
        *_aborts("5.6", _ACT),
        _t("5.6", _ACT, Event.FLUSH, _CMG, Reply.DATA),
        _t("5.6", _ACT, Event.SEND, _ACT, Reply.DATA),
        _t("5.6", _ACT, Event.RCV_NULCOMMIT, _PEE, Reply.ACK_FLUSH, notify=True),
        *_starts("5.6", _ACT, _ACT, _PEE),
        _t("9.2", _ACT, Event.RCV_RELEASE, _SHU, Reply.ACK_FLUSH, notify=True),  # M40, S5
        # 5.7; PERSIST is not listed there and behaves as PURE_DATA (M17, S3)
        *_aborts("5.7", _CMG),
        _t("5.7", _CMG, Event.RCV_ACK_FLUSH, _CMD, notify=True),
        _t("5.7", _CMG, Event.RCV_NULCOMMIT, _CM2, Reply.ACK_FLUSH, notify=True),
        *_starts("5.7", _CMG, _CMG, _CM2),
        _t("5.7", _CMG, Event.RCV_RELEASE, _SHU, Reply.ACK_FLUSH, notify=True),
        _t("12.3", _CMG, Event.COMMIT_TIMEOUT, _NON, Reply.RESET, notify=True),
        # 5.8
        *_aborts("5.8", _CMD),
        _t("5.8", _CMD, Event.SEND, _ACT, Reply.DATA),
        _t("5.8", _CMD, Event.FLUSH, _CMG, Reply.DATA),
        _t("5.8", _CMD, Event.RCV_NULCOMMIT, _CLB, Reply.ACK_FLUSH, notify=True),
        *_starts("5.8", _CMD, _CMD, _CLB),
        _t("5.8", _CMD, Event.RCV_RELEASE, _SHU, Reply.ACK_FLUSH, notify=True),
        # 5.9
        *_aborts("5.9", _PEE),
        _t("5.9", _PEE, Event.FLUSH, _CM2, Reply.DATA),
        _t("5.9", _PEE, Event.SHUTDOWN, _PRE, Reply.RELEASE),
        _t("5.9", _PEE, Event.SEND, _PEE, Reply.DATA),
        _t("5.9", _PEE, Event.RCV_NULCOMMIT, _PEE, Reply.ACK_FLUSH),
        *_starts("5.9", _PEE, _ACT, _PEE),
        _t("9.2", _PEE, Event.RCV_RELEASE, _SHU, Reply.ACK_FLUSH, notify=True),  # M40, S5
        # 5.10; Shutdown waits for ACK_FLUSH and so has no edge of its own here (M38)
        *_aborts("5.10", _CM2),
        _t("5.10", _CM2, Event.RCV_NULCOMMIT, _CM2, Reply.ACK_FLUSH),
        _t("5.10", _CM2, Event.RCV_ACK_FLUSH, _CLB, notify=True),
        *_starts("5.10", _CM2, _CMG, _CM2),
        _t("5.10", _CM2, Event.RCV_RELEASE, _SHU, Reply.ACK_FLUSH, notify=True),
        _t("12.3", _CM2, Event.COMMIT_TIMEOUT, _NON, Reply.RESET, notify=True),
        # 5.11
        *_aborts("5.11", _CLB),
        _t("5.11", _CLB, Event.SEND, _PEE, Reply.DATA),
        _t("5.11", _CLB, Event.FLUSH, _CM2, Reply.DATA),
        _t("5.11", _CLB, Event.SHUTDOWN, _PRE, Reply.RELEASE),
        _t("5.11", _CLB, Event.RCV_NULCOMMIT, _CLB, Reply.ACK_FLUSH),
        *_starts("5.11", _CLB, _CMD, _CLB),
        _t("5.11", _CLB, Event.RCV_RELEASE, _SHU, Reply.ACK_FLUSH, notify=True),
        # 5.12; resurrection is not supported (B8), the idle time-out ends it (M42)
        *_aborts("5.12", _SHU),
        _t("5.12", _SHU, Event.SHUTDOWN, _CLO, notify=True),
        _t("5.12", _SHU, Event.RCV_RELEASE, _SHU, Reply.ACK_FLUSH),
        # 5.13; data of the peer that crosses our RELEASE is still taken (M39)
        *_aborts("5.13", _PRE, idle=False),
        _t("5.13", _PRE, Event.RCV_ACK_FLUSH, _CLO, notify=True),
        _t("5.13", _PRE, Event.RCV_RELEASE, _CLO, Reply.ACK_FLUSH, notify=True),
        _t("9.2", _PRE, Event.RCV_NULCOMMIT, _PRE, Reply.ACK_FLUSH),
        *_starts("9.2", _PRE, _PRE, _PRE),
        _t("5.13", _PRE, Event.TRANSIENT_TIMEOUT, _CLO, notify=True),  # B8
        # 5.14; kept for two minutes to answer a repeated RELEASE (M41)
        _t("5.14", _CLO, Event.RCV_RELEASE, _CLO, Reply.ACK_FLUSH),
        _t("5.14", _CLO, Event.RECYCLE, _NON),
        # 5.15
        _t("5.15", _CLN, Event.RESET, _NON),
        _t("5.15", _CLN, Event.SEND, _CLN),
        *_confirms("5.15", _CLN),
    )
)
