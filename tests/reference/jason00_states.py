"""Section 4 of draft-jason-fsp-00 as a list of rows, to hold an implementation against.

The words (states, packets, positions) are those of the copy for gao-07; the rows are this draft's, with decisions A8
and A31 to A36.  KEEP_ALIVE and ACK_FLUSH with the flag EoT are what the draft calls "Rcv.EOT".
"""

from __future__ import annotations

from .gao07_states import IN_BAND, PRELIMINARY, Notify, Outcome, Own, Packet, Position, Reaction, Row, State

_S, _P, _R, _N = State, Packet, Reaction, Notify
_NEW = _N.DATA | _N.COMMIT
_DEAD = (_R.NONE, _N.DEAD)


def _data(section: str, state: State, open_: State, ended: State) -> tuple[Row, ...]:
    """PERSIST; PURE_DATA in its turn does the same (A32)."""
    return (
        Row(section, state, _P.PERSIST, open_, _R.SNACK, _N.DATA, eot=False),
        Row(section, state, _P.PERSIST, ended, _R.ACK_FLUSH, _NEW, eot=True),
        Row("A32", state, _P.PURE_DATA, open_, _R.SNACK, _N.DATA, eot=False),
        Row("A32", state, _P.PURE_DATA, ended, _R.ACK_FLUSH, _NEW, eot=True),
    )


ROWS: tuple[Row, ...] = (
    Row("4.4", _S.CHALLENGING, _P.PERSIST, _S.COMMITTED, _R.SNACK, _N.ESTABLISHED | _N.DATA, eot=False),
    Row("4.4", _S.CHALLENGING, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _N.ESTABLISHED | _NEW, eot=True),
    Row("4.2", _S.CHALLENGING, _P.CONNECT_REQUEST, _S.CHALLENGING, _R.ACK_CONNECT_REQ),
    Row("4.4", _S.CHALLENGING, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    *_data("4.6", _S.ACTIVE, _S.ACTIVE, _S.PEER_COMMIT),
    Row("4.6", _S.ACTIVE, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    *_data("4.7", _S.COMMITTING, _S.COMMITTING, _S.COMMITTING2),
    Row("4.7", _S.COMMITTING, _P.ACK_FLUSH, _S.COMMITTED, _R.NONE, _N.FLUSHED, covers_all=True),  # A33
    Row("8.2", _S.COMMITTING, _P.RELEASE, _S.CLOSED, _R.RELEASE, _N.CLOSED),  # A36
    Row("4.7", _S.COMMITTING, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    *_data("4.8", _S.PEER_COMMIT, _S.ACTIVE, _S.PEER_COMMIT),
    Row("4.8", _S.PEER_COMMIT, _P.RELEASE, _S.CLOSED, _R.RELEASE, _N.CLOSED),
    Row("4.8", _S.PEER_COMMIT, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    *_data("4.9", _S.COMMITTING2, _S.COMMITTING, _S.COMMITTING2),
    Row("4.9", _S.COMMITTING2, _P.ACK_FLUSH, _S.CLOSABLE, _R.NONE, _N.FLUSHED, covers_all=True),
    Row("4.9", _S.COMMITTING2, _P.RELEASE, _S.CLOSED, _R.RELEASE, _N.CLOSED),
    Row("4.9", _S.COMMITTING2, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    *_data("4.10", _S.COMMITTED, _S.COMMITTED, _S.CLOSABLE),
    Row("8.2", _S.COMMITTED, _P.RELEASE, _S.CLOSED, _R.RELEASE, _N.CLOSED),
    Row("4.10", _S.COMMITTED, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    *_data("4.11", _S.CLOSABLE, _S.COMMITTED, _S.CLOSABLE),
    Row("4.11", _S.CLOSABLE, _P.RELEASE, _S.CLOSED, _R.RELEASE, _N.CLOSED),
    Row("4.11", _S.CLOSABLE, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    Row("4.12", _S.PRE_CLOSED, _P.RELEASE, _S.CLOSED, _R.NONE, _N.CLOSED),
    Row("3.10", _S.PRE_CLOSED, _P.RESET, _S.NON_EXISTENT, *_DEAD),
    Row("A36", _S.CLOSED, _P.RELEASE, _S.CLOSED, _R.RELEASE),
)

_PEER_OPEN = {_S.ACTIVE: _S.PEER_COMMIT, _S.COMMITTING: _S.COMMITTING2, _S.COMMITTED: _S.CLOSABLE}
"""Where the end of the peer's transaction leads, should it come out of band (7.5, A34)."""
_COMMITTED = {_S.PEER_COMMIT, _S.COMMITTING2, _S.CLOSABLE, _S.PRE_CLOSED}


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
    """As `gao07_states.successor`; a `tombstone` in CLOSED is of the end that answered the other's RELEASE."""
    stays = Outcome(state)
    if state is _S.NON_EXISTENT:
        speaks = tombstone and packet is not _P.RESET and packet not in PRELIMINARY
        return Outcome(state, _R.RESET) if speaks else stays
    if not icc_ok or position is Position.BEYOND:
        return stays
    if packet is _P.ACK_CONNECT_REQ:  # it has no check code (A7), so nothing later than 4.5 believes it
        return stays
    if packet in (_P.NULCOMMIT, _P.MULTIPLY) or (position is Position.DUPLICATE and packet not in IN_BAND):
        return stays
    if packet in IN_BAND:
        if state is _S.CHALLENGING and own is Own.COMMITTING:
            return stays
        if position is Position.DUPLICATE:
            return Outcome(state, _again(state, tombstone))
        if position is Position.AHEAD:
            return Outcome(state, _early(state))
    if state is _S.CLOSED and not tombstone:  # the peer's RELEASE was the answer, and it is closed as well
        return stays
    row = next((row for row in ROWS if _fits(row, state, packet, eot, covers_all)), None)
    outcome = stays if row is None else Outcome(row.target, row.reaction, row.notify)
    out_of_band = packet in (_P.KEEP_ALIVE, _P.ACK_FLUSH)
    if out_of_band and eot and position is Position.IN_ORDER and outcome.state in _PEER_OPEN:
        return Outcome(_PEER_OPEN[outcome.state], _R.ACK_FLUSH, outcome.notify | _N.COMMIT)
    return outcome


def _fits(row: Row, state: State, packet: Packet, eot: bool, covers_all: bool) -> bool:
    same = row.state is state and row.packet is packet
    return same and row.eot in (None, eot) and row.covers_all in (None, covers_all)


def _again(state: State, answered: bool) -> Reaction:
    """The answer to a packet that was accepted before (7.4.2): RELEASE once more from the grave (A36)."""
    if state is _S.CLOSED:
        return _R.RELEASE if answered else _R.NONE
    if state in _COMMITTED:
        return _R.ACK_FLUSH
    return _R.SNACK if state in _PEER_OPEN else _R.NONE


def _early(state: State) -> Reaction:
    """The answer to a packet that came early (7.4.2)."""
    if state in _COMMITTED:
        return _R.ACK_FLUSH
    return _R.SNACK if state in _PEER_OPEN or state is _S.CHALLENGING else _R.NONE
