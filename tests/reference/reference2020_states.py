"""What the author's C++ program does with a packet in each state, as a list of rows.

Read from the program's sources (October 2020), not from a draft; nothing of fsp_trio is imported.  The words are
those of the copy for gao-07.  The first column names the function that handles the packet: all are methods of the
program's CSocketItemEx in remote.cpp, unless another file is given.  The states of the handshake are left out, as
only what follows it is swept.

"Ours" marks where we go by a decision of docs/design/decisions.md and not by the program; none of these harms a
connection with it.
"""

from __future__ import annotations

from .gao07_states import IN_BAND, PRELIMINARY, Notify, Outcome, Own, Packet, Position, Reaction, Row, State, outcome_by

_S, _P, _R, _N = State, Packet, Reaction, Notify
_NEW = _N.DATA | _N.COMMIT
_UP = _N.ESTABLISHED
_NOT, _DONE = frozenset({Own.EMPTY, Own.OPEN}), frozenset({Own.COMMITTED})

_HALVES = {
    # TransitOnPeerCommit, and the end of OnGetPersist: where the peer's half is open, and where it is committed
    _S.ACTIVE: (_S.ACTIVE, _S.PEER_COMMIT),
    _S.PEER_COMMIT: (_S.ACTIVE, _S.PEER_COMMIT),
    _S.COMMITTING: (_S.COMMITTING, _S.COMMITTING2),
    _S.COMMITTING2: (_S.COMMITTING, _S.COMMITTING2),
    _S.COMMITTED: (_S.COMMITTED, _S.CLOSABLE),
    _S.CLOSABLE: (_S.COMMITTED, _S.CLOSABLE),
    _S.PRE_CLOSED: (_S.PRE_CLOSED, _S.PRE_CLOSED),
}
_PEER_COMMITTED = frozenset({_S.PEER_COMMIT, _S.COMMITTING2, _S.CLOSABLE})


def _data(state: State, open_: State, ended: State) -> tuple[Row, ...]:
    """What carries data in its turn.

    PERSIST without EoT is answered at once; PURE_DATA sets a flag that the next tick serves (timers.cpp DoEventLoop).
    Ours: the program ignores PURE_DATA in its turn where the peer has committed, and never sends it there (S2).
    Ours: in PRE_CLOSED it answers PERSIST without EoT by ACK_FLUSH, and PURE_DATA without EoT not at all.  We send
    KEEP_ALIVE (M39, M11), which its sender counts, while it takes ACK_FLUSH for the end of its transaction.
    """
    return (
        # NULCOMMIT without EoT is stored and not answered; ours: dropped (G18), see `successor`
        Row("OnGetNulCommit", state, _P.NULCOMMIT, ended, _R.ACK_FLUSH, _N.COMMIT),
        Row("OnGetPersist", state, _P.PERSIST, ended, _R.ACK_FLUSH, _NEW, eot=True),
        Row("OnGetPersist", state, _P.PERSIST, open_, _R.SNACK, _N.DATA, eot=False),
        Row("OnGetPureData", state, _P.PURE_DATA, ended, _R.ACK_FLUSH, _NEW, eot=True),
        Row("OnGetPureData", state, _P.PURE_DATA, open_, _R.SNACK, _N.DATA, eot=False),
    )


def _reset(state: State) -> Row:
    """Ours: the program answers with a RESET of its own (socket.cpp SetMutexFree); ours does not (M35)."""
    return Row("OnGetReset", state, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD)


def _release(state: State) -> Row:
    """The program counts everything as acknowledged by it.

    Ours: in ACTIVE and PEER_COMMIT the program ignores it, and leaves its sender to its two minutes (M40, S5).
    """
    return Row("OnGetRelease", state, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH, _N.RELEASED)


_CONNECTED = tuple(_HALVES.items())
ROWS: tuple[Row, ...] = (
    Row("OnGetConnectRequest", _S.CHALLENGING, _P.CONNECT_REQUEST, _S.CHALLENGING, _R.ACK_CONNECT_REQ),
    # TransitOnAckStart, then TransitOnPeerCommit; PURE_DATA in its turn is ignored
    Row("OnGetNulCommit", _S.CHALLENGING, _P.NULCOMMIT, _S.CLOSABLE, _R.ACK_FLUSH, _UP, own=_DONE),
    Row("OnGetNulCommit", _S.CHALLENGING, _P.NULCOMMIT, _S.PEER_COMMIT, _R.ACK_FLUSH, _UP, own=_NOT),
    Row("OnGetPersist", _S.CHALLENGING, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _UP | _NEW, eot=True, own=_DONE),
    Row("OnGetPersist", _S.CHALLENGING, _P.PERSIST, _S.PEER_COMMIT, _R.ACK_FLUSH, _UP | _NEW, eot=True, own=_NOT),
    Row("OnGetPersist", _S.CHALLENGING, _P.PERSIST, _S.COMMITTED, _R.SNACK, _UP | _N.DATA, eot=False, own=_DONE),
    Row("OnGetPersist", _S.CHALLENGING, _P.PERSIST, _S.ACTIVE, _R.SNACK, _UP | _N.DATA, eot=False, own=_NOT),
    # ours: the program wants its initial number and the cookie there, which nobody sends; both forms count (M35)
    _reset(_S.CHALLENGING),
    *(row for state, (open_, ended) in _CONNECTED for row in _data(state, open_, ended)),
    *(_reset(state) for state in _HALVES),
    *(_release(state) for state in _HALVES if state is not _S.PRE_CLOSED),
    # Ours: the program takes any ACK_FLUSH, whatever it acknowledges; we want everything covered (B10, M39).  In its
    # answers it always is, once the program has everything.
    Row("OnAckFlush", _S.COMMITTING, _P.ACK_FLUSH, _S.COMMITTED, _R.NONE, _N.FLUSHED, covers_all=True),
    Row("OnAckFlush", _S.COMMITTING2, _P.ACK_FLUSH, _S.CLOSABLE, _R.NONE, _N.FLUSHED, covers_all=True),
    Row("OnAckFlush", _S.PRE_CLOSED, _P.ACK_FLUSH, _S.CLOSED, _R.NONE, _N.CLOSED, covers_all=True),
    # ours: not under CRC64 (M23); KEEP_ALIVE needs no row, OnGetKeepAlive moves and answers nothing
    *(Row("OnGetMultiply", state, _P.MULTIPLY, state, _R.BRANCH) for state in _HALVES if state is not _S.PRE_CLOSED),
    Row("OnGetRelease", _S.PRE_CLOSED, _P.RELEASE, _S.CLOSED, _R.ACK_FLUSH, _N.CLOSED),
    # Whatever its number, at the next tick (timers.cpp KeepAlive).  Ours: only in its turn, or below.  The program
    # stores data too, and answers ACK_FLUSH; ours drops what follows a RELEASE, since nothing does (5.12).
    Row("OnGetRelease", _S.SHUT_REQUESTED, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH),
    _reset(_S.SHUT_REQUESTED),
    # Ours: the program's tick does not look at the flag in CLOSED, so it says nothing there, nor to RELEASE nor to
    # anything seen before; it still stores new data and answers by ACK_FLUSH.  We answer RELEASE (B8), and drop data.
    Row("OnGetRelease", _S.CLOSED, _P.RELEASE, _S.CLOSED, _R.ACK_FLUSH),
)


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
    """As `gao07_states.successor`."""
    stays = Outcome(state)
    if state is _S.NON_EXISTENT:
        # ours: the program forgets what it has reset, and is silent; the tombstone is M35
        speaks = tombstone and packet is not _P.RESET and packet not in PRELIMINARY
        return Outcome(state, _R.RESET) if speaks else stays
    # ours: below the window and, but for PURE_DATA, beyond it the program answers before it has looked at the ICC (S4)
    if not icc_ok or position is Position.BEYOND:
        return stays
    if packet is _P.NULCOMMIT and not eot:
        return stays
    if packet is _P.MULTIPLY and not encrypted:
        return stays
    # ValidateSNACK, OnGetReset; ours: MULTIPLY with an old serial (M5), the program looks its ULTID up instead
    if position is Position.DUPLICATE and packet not in IN_BAND:
        return stays
    if packet in IN_BAND:
        # ours: the program believes a confirmation that does not acknowledge ACK_CONNECT_REQ, which nobody sends (S7)
        if state is _S.CHALLENGING and own is Own.COMMITTING:
            return stays
        if position is Position.DUPLICATE:
            return Outcome(state, _again(state))
        if position is Position.AHEAD:
            return Outcome(state, _early(state, packet))
    return outcome_by(ROWS, state, packet, eot, covers_all, own)


def _again(state: State) -> Reaction:
    """The answer to an in-band packet below the window (timers.cpp SendKeepAlive): has the peer committed?

    Ours: the flag that the program sets in PRE_CLOSED and CLOSED is not served there, and it is silent to
    ACK_CONNECT_REQ, to RELEASE before SHUT_REQUESTED, and to PERSIST and NULCOMMIT that its application has not yet
    read; we answer all of them (M11, B8).
    """
    if state in _PEER_COMMITTED or state in {_S.SHUT_REQUESTED, _S.PRE_CLOSED, _S.CLOSED}:
        return _R.ACK_FLUSH
    return _R.SNACK if state in _HALVES else _R.NONE


def _early(state: State, packet: Packet) -> Reaction:
    """The answer to an in-band packet after a gap: KEEP_ALIVE with that gap.

    OnGetPersist leaves PEER_COMMIT, COMMITTING2 and CLOSABLE at once, and says KEEP_ALIVE from the state that it goes
    to.  Ours: the state changes in the packet's turn (S1); the answer is the same.  ACK_FLUSH would do harm there:
    OnAckFlush believes it in COMMITTING and COMMITTING2 whatever it acknowledges, so the program would report as
    flushed what is lost, and in PRE_CLOSED, where that may take it, it repeats no data (timers.cpp KeepAlive).
    Ours: to PURE_DATA where the peer has committed, to NULCOMMIT and to RELEASE the program says nothing (RELEASE is
    dropped, as its number is not the next); KEEP_ALIVE does no harm, and spares repeats (8.5.2, M40).
    In PRE_CLOSED the program says ACK_FLUSH to PERSIST, and nothing else; ours: to all (M11).  Its RELEASE, which has
    gone out, ends the peer's transactions anyway.
    """
    if packet is _P.ACK_CONNECT_REQ:
        return _R.NONE
    if state is _S.PRE_CLOSED:
        return _R.ACK_FLUSH
    return _R.SNACK if state is _S.CHALLENGING or state in _HALVES else _R.NONE
