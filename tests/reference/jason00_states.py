"""Section 4 of draft-jason-fsp-00 as a list of rows, to hold an implementation against.

Written from the draft and from the decisions of docs/revisions.md (A..), which refer to those of gao-07 where
the draft is silent (M.., S..); nothing of fsp_trio is imported.  A row says what a packet does that is intact,
in the window and in its turn; what becomes of the others: see `successor`.
"""

from __future__ import annotations

from .gao07_states import (
    IN_BAND,
    OUT_OF_BAND,
    PRELIMINARY,
    Notify,
    Outcome,
    Own,
    Packet,
    Position,
    Reaction,
    Row,
    State,
    outcome_by,
)

_S, _P, _R, _N = State, Packet, Reaction, Notify
_DATA, _NEW, _BYE = _N.DATA, _N.DATA | _N.COMMIT, _N.RELEASED | _N.CLOSED
_TALK, _ALL = _N.ESTABLISHED | _DATA, _N.ESTABLISHED | _NEW
_DONE = frozenset({Own.COMMITTED})

ROWS: tuple[Row, ...] = (
    # 4.1: no rows.  A packet for nobody is met with silence (A40); of branches there are none (A12)
    Row("4.2", _S.LISTENING, _P.INIT_CONNECT, _S.LISTENING, _R.ACK_INIT_CONNECT),
    Row("4.2", _S.LISTENING, _P.CONNECT_REQUEST, _S.LISTENING, _R.NONE, _N.REQUEST),
    Row("4.3", _S.CONNECT_BOOTSTRAP, _P.ACK_INIT_CONNECT, _S.CONNECT_AFFIRMING, _R.CONNECT_REQUEST),
    Row("4.3", _S.CONNECT_BOOTSTRAP, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.4: the keep-alive is not started; ACK_CONNECT_REQ has ended its transaction (A8), and who confirms acknowledges
    # it (S7)
    Row("4.2", _S.CHALLENGING, _P.CONNECT_REQUEST, _S.CHALLENGING, _R.ACK_CONNECT_REQ),  # A28
    Row("4.4", _S.CHALLENGING, _P.PERSIST, _S.COMMITTED, _R.SNACK, _TALK, eot=False, own=_DONE),
    Row("4.4", _S.CHALLENGING, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _ALL, eot=True, own=_DONE),
    Row("4.4", _S.CHALLENGING, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.5: EoT is taken as set (A8); who has nothing to say confirms with PERSIST and EoT (A31)
    *(
        Row("4.5", _S.CONNECT_AFFIRMING, _P.ACK_CONNECT_REQ, target, reaction, _N.ESTABLISHED, own=frozenset({own}))
        for own, target, reaction in (
            (Own.EMPTY, _S.COMMITTING2, _R.PERSIST_EOT),
            (Own.OPEN, _S.PEER_COMMIT, _R.PERSIST),
            (Own.COMMITTING, _S.COMMITTING2, _R.PERSIST_EOT),
        )
    ),
    Row("4.5", _S.CONNECT_AFFIRMING, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # From here on KEEP_ALIVE with EoT stands for Rcv.EOT (2, 7.5, A34), whichever packet brings it.
    # 4.6; 4.6 and 8.2 let no RELEASE in
    Row("4.6", _S.ACTIVE, _P.PURE_DATA, _S.ACTIVE, _R.SNACK, _DATA, eot=False),
    Row("4.6", _S.ACTIVE, _P.PURE_DATA, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.6", _S.ACTIVE, _P.PERSIST, _S.ACTIVE, _R.SNACK, _DATA, eot=False),
    Row("4.6", _S.ACTIVE, _P.PERSIST, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.6", _S.ACTIVE, _P.KEEP_ALIVE, _S.PEER_COMMIT, _R.ACK_FLUSH, _N.COMMIT, eot=True),
    Row("4.6", _S.ACTIVE, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.7 has no PERSIST: as PURE_DATA (S3)
    Row("4.7", _S.COMMITTING, _P.ACK_FLUSH, _S.COMMITTED, _R.NONE, _N.FLUSHED, covers_all=True),  # A33
    Row("4.7", _S.COMMITTING, _P.PURE_DATA, _S.COMMITTING, _R.SNACK, _DATA, eot=False),
    Row("4.7", _S.COMMITTING, _P.PURE_DATA, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("S3", _S.COMMITTING, _P.PERSIST, _S.COMMITTING, _R.SNACK, _DATA, eot=False),
    Row("S3", _S.COMMITTING, _P.PERSIST, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.7", _S.COMMITTING, _P.KEEP_ALIVE, _S.COMMITTING2, _R.ACK_FLUSH, _N.COMMIT, eot=True),
    Row("8.2", _S.COMMITTING, _P.RELEASE, _S.CLOSED, _R.RELEASE, _BYE),  # A36
    Row("4.7", _S.COMMITTING, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.8; a PURE_DATA that waits is one that came early (S2), in its turn it opens a transaction (A32)
    Row("A32", _S.PEER_COMMIT, _P.PURE_DATA, _S.ACTIVE, _R.SNACK, _DATA, eot=False),
    Row("A32", _S.PEER_COMMIT, _P.PURE_DATA, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.8", _S.PEER_COMMIT, _P.PERSIST, _S.ACTIVE, _R.SNACK, _DATA, eot=False),
    Row("4.8", _S.PEER_COMMIT, _P.PERSIST, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.8", _S.PEER_COMMIT, _P.KEEP_ALIVE, _S.PEER_COMMIT, _R.ACK_FLUSH, eot=True),  # nothing new to tell
    Row("4.8", _S.PEER_COMMIT, _P.RELEASE, _S.CLOSED, _R.RELEASE, _BYE),  # 8.2, A36: not ACK_FLUSH
    Row("4.8", _S.PEER_COMMIT, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.9
    Row("4.9", _S.COMMITTING2, _P.ACK_FLUSH, _S.CLOSABLE, _R.NONE, _N.FLUSHED, covers_all=True),  # A33
    Row("A32", _S.COMMITTING2, _P.PURE_DATA, _S.COMMITTING, _R.SNACK, _DATA, eot=False),
    Row("A32", _S.COMMITTING2, _P.PURE_DATA, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.9", _S.COMMITTING2, _P.PERSIST, _S.COMMITTING, _R.SNACK, _DATA, eot=False),
    Row("4.9", _S.COMMITTING2, _P.PERSIST, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.9", _S.COMMITTING2, _P.KEEP_ALIVE, _S.COMMITTING2, _R.ACK_FLUSH, eot=True),
    Row("4.9", _S.COMMITTING2, _P.RELEASE, _S.CLOSED, _R.RELEASE, _BYE),
    Row("4.9", _S.COMMITTING2, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.10
    Row("4.10", _S.COMMITTED, _P.PURE_DATA, _S.COMMITTED, _R.SNACK, _DATA, eot=False),
    Row("4.10", _S.COMMITTED, _P.PURE_DATA, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.10", _S.COMMITTED, _P.PERSIST, _S.COMMITTED, _R.SNACK, _DATA, eot=False),
    Row("4.10", _S.COMMITTED, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.10", _S.COMMITTED, _P.KEEP_ALIVE, _S.CLOSABLE, _R.ACK_FLUSH, _N.COMMIT, eot=True),
    Row("8.2", _S.COMMITTED, _P.RELEASE, _S.CLOSED, _R.RELEASE, _BYE),  # A36
    Row("4.10", _S.COMMITTED, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.11
    Row("A32", _S.CLOSABLE, _P.PURE_DATA, _S.COMMITTED, _R.SNACK, _DATA, eot=False),
    Row("A32", _S.CLOSABLE, _P.PURE_DATA, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.11", _S.CLOSABLE, _P.PERSIST, _S.COMMITTED, _R.SNACK, _DATA, eot=False),
    Row("4.11", _S.CLOSABLE, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("4.11", _S.CLOSABLE, _P.KEEP_ALIVE, _S.CLOSABLE, _R.ACK_FLUSH, eot=True),
    Row("4.11", _S.CLOSABLE, _P.RELEASE, _S.CLOSED, _R.RELEASE, _BYE),  # A36: answered
    Row("4.11", _S.CLOSABLE, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.12: the RELEASE that is out is the answer (A36); what else the peer says is lost (8).  RESET: 3.10
    Row("4.12", _S.PRE_CLOSED, _P.RELEASE, _S.CLOSED, _R.NONE, _N.CLOSED),
    Row("3.10", _S.PRE_CLOSED, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 4.13: no rows, nothing follows a RELEASE
)

# who makes an in-band packet heard that is early, or was heard before (7.4.2, A29); 4.4 and 8 let the others be silent
_HEARTBEAT = {
    _S.ACTIVE: _R.SNACK,
    _S.COMMITTING: _R.SNACK,
    _S.COMMITTED: _R.SNACK,
    _S.PEER_COMMIT: _R.ACK_FLUSH,
    _S.COMMITTING2: _R.ACK_FLUSH,
    _S.CLOSABLE: _R.ACK_FLUSH,
}


def successor(
    state: State,
    packet: Packet,
    *,
    position: Position = Position.IN_ORDER,
    icc_ok: bool = True,
    eot: bool = False,
    covers_all: bool = False,
    own: Own = Own.OPEN,
    encrypted: bool = False,
    tombstone: bool = False,
) -> Outcome:
    """What a packet does; the words are those of gao-07, but that a `tombstone` in CLOSED is who answered RELEASE."""
    stays = Outcome(state)
    if state is State.NON_EXISTENT:  # RESET answers packets with a normal header (3.10, M35)
        speaks = tombstone and packet is not Packet.RESET and packet not in PRELIMINARY
        return Outcome(state, Reaction.RESET) if speaks else stays
    if not icc_ok or position is Position.BEYOND:  # 2, 3.8, A26
        return stays
    if state is State.CLOSED:  # the answer may have been lost (A36)
        again = tombstone and packet is Packet.RELEASE and position is Position.DUPLICATE
        return Outcome(state, Reaction.RELEASE) if again else stays
    if packet in IN_BAND and position is not Position.IN_ORDER:
        # a late ACK_CONNECT_REQ has no check code that could be believed (A7)
        heard = packet is not Packet.ACK_CONNECT_REQ
        return Outcome(state, _HEARTBEAT.get(state, Reaction.NONE)) if heard else stays
    if position is Position.DUPLICATE:  # an old serial (A23), a RESET from the past
        return stays
    if packet in OUT_OF_BAND:  # EoT counts with the number of the last packet received only (2)
        eot = eot and position is Position.IN_ORDER
    outcome = outcome_by(ROWS, state, packet, eot, covers_all, own)
    if packet is Packet.ACK_FLUSH and eot:  # it acknowledges first
        then = outcome_by(ROWS, outcome.state, Packet.KEEP_ALIVE, eot, covers_all, own)
        outcome = Outcome(then.state, then.reaction, outcome.notify | then.notify)
    return outcome
