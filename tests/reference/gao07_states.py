"""Section 5 of draft-gao-flexible-session-protocol-07 as a list of rows, to hold an implementation against.

Written from the draft and the decisions alone; nothing of fsp_trio is imported.  A row says what a packet
does that is intact, in the window and in its turn.  What becomes of the others hardly depends on the state:
see `successor`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

# One column per fact, several rows to a state: the lists read as section 5 does.


class State(enum.StrEnum):
    NON_EXISTENT = "NON_EXISTENT"  # 5.1
    LISTENING = "LISTENING"  # 5.2
    CONNECT_BOOTSTRAP = "CONNECT_BOOTSTRAP"  # 5.3
    CONNECT_AFFIRMING = "CONNECT_AFFIRMING"  # 5.4
    CHALLENGING = "CHALLENGING"  # 5.5
    ACTIVE = "ACTIVE"  # 5.6
    COMMITTING = "COMMITTING"  # 5.7
    COMMITTED = "COMMITTED"  # 5.8
    PEER_COMMIT = "PEER_COMMIT"  # 5.9
    COMMITTING2 = "COMMITTING2"  # 5.10
    CLOSABLE = "CLOSABLE"  # 5.11
    SHUT_REQUESTED = "SHUT_REQUESTED"  # 5.12
    PRE_CLOSED = "PRE_CLOSED"  # 5.13
    CLOSED = "CLOSED"  # 5.14
    CLONING = "CLONING"  # 5.15


class Packet(enum.StrEnum):
    """4.4.1"""

    INIT_CONNECT = "INIT_CONNECT"
    ACK_INIT_CONNECT = "ACK_INIT_CONNECT"
    CONNECT_REQUEST = "CONNECT_REQUEST"
    ACK_CONNECT_REQ = "ACK_CONNECT_REQ"
    RESET = "RESET"
    NULCOMMIT = "NULCOMMIT"
    KEEP_ALIVE = "KEEP_ALIVE"
    PERSIST = "PERSIST"
    PURE_DATA = "PURE_DATA"
    ACK_FLUSH = "ACK_FLUSH"
    RELEASE = "RELEASE"
    MULTIPLY = "MULTIPLY"


class Own(enum.StrEnum):
    """This end's half of the connection (M17)."""

    EMPTY = "EMPTY"
    """Nothing to send."""
    OPEN = "OPEN"
    """Something to send or sent, no end of the transaction yet."""
    COMMITTING = "COMMITTING"
    """The transaction is ended, and the packet at hand does not acknowledge that."""
    COMMITTED = "COMMITTED"
    """Its EoT was sent and is acknowledged, by this packet at the latest: "ULA-flushing" in 5.5 and 5.15."""


class Position(enum.StrEnum):
    IN_ORDER = "IN_ORDER"
    """The expected number.  Out of band: a new serial, with a number up to the last one received."""
    AHEAD = "AHEAD"
    """In the window, after a gap.  Out of band: a new serial, with a number up to the right edge (B11)."""
    DUPLICATE = "DUPLICATE"
    """Below the window.  Out of band: a serial that is not new (M5).  RESET: below left edge - 1 (M35)."""
    BEYOND = "BEYOND"
    """A number after the right edge."""


class Reaction(enum.StrEnum):
    NONE = "NONE"
    ACK_FLUSH = "ACK_FLUSH"
    SNACK = "SNACK"  # a KEEP_ALIVE with SNACK, at once or within a round trip (8.5.2)
    RESET = "RESET"
    RELEASE = "RELEASE"  # jason-00 alone answers so
    ACK_INIT_CONNECT = "ACK_INIT_CONNECT"
    CONNECT_REQUEST = "CONNECT_REQUEST"
    ACK_CONNECT_REQ = "ACK_CONNECT_REQ"
    NULCOMMIT = "NULCOMMIT"
    PERSIST = "PERSIST"
    PERSIST_EOT = "PERSIST_EOT"
    BRANCH = "BRANCH"  # 5.16: whatever the branch answers; the parent itself says nothing


class Notify(enum.Flag):
    """What the application gets to know."""

    NOTHING = 0
    DATA = enum.auto()
    COMMIT = enum.auto()  # the peer's transaction is complete
    FLUSHED = enum.auto()  # its own transaction has arrived
    ESTABLISHED = enum.auto()
    REQUEST = enum.auto()  # somebody wants to connect
    RELEASED = enum.auto()  # the peer shuts down
    CLOSED = enum.auto()
    DEAD = enum.auto()  # reset by the peer


@dataclass(frozen=True, slots=True)
class Row:
    section: str
    state: State
    packet: Packet
    target: State
    reaction: Reaction
    notify: Notify = Notify.NOTHING
    eot: bool | None = None
    covers_all: bool | None = None
    own: frozenset[Own] | None = None

    def fits(self, state: State, packet: Packet, eot: bool, covers_all: bool, own: Own) -> bool:
        return (
            self.state is state
            and self.packet is packet
            and self.eot in (None, eot)
            and self.covers_all in (None, covers_all)
            and (self.own is None or own in self.own)
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    state: State
    reaction: Reaction = Reaction.NONE
    notify: Notify = Notify.NOTHING


def outcome_by(rows: Iterable[Row], state: State, packet: Packet, eot: bool, covers_all: bool, own: Own) -> Outcome:
    """What the first row that fits says; without one nothing happens."""
    row = next((row for row in rows if row.fits(state, packet, eot, covers_all, own)), None)
    return Outcome(state) if row is None else Outcome(row.target, row.reaction, row.notify)


_S, _P, _R, _N = State, Packet, Reaction, Notify
_EMPTY, _OPEN = frozenset({Own.EMPTY}), frozenset({Own.OPEN})
_NOT = _EMPTY | _OPEN  # not ULA-flushing
_SENT = frozenset({Own.COMMITTING})
_DONE = frozenset({Own.COMMITTED})
_NEW = _N.DATA | _N.COMMIT
_UP = _N.ESTABLISHED
_AFFIRM, _ACCEPTANCE = State.CONNECT_AFFIRMING, Packet.ACK_CONNECT_REQ
_ALL, _TALK = _UP | _NEW, _UP | _N.DATA

ROWS: tuple[Row, ...] = (
    # 5.1: no rows.  A packet for nobody is met with silence (M36).
    Row("5.2", _S.LISTENING, _P.INIT_CONNECT, _S.LISTENING, _R.ACK_INIT_CONNECT),
    Row("5.2", _S.LISTENING, _P.CONNECT_REQUEST, _S.LISTENING, _R.NONE, _N.REQUEST),
    Row("5.3", _S.CONNECT_BOOTSTRAP, _P.ACK_INIT_CONNECT, _S.CONNECT_AFFIRMING, _R.CONNECT_REQUEST),
    # 5.3 has no RESET, 4.9 has it (M35)
    Row("4.9", _S.CONNECT_BOOTSTRAP, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.4 (B5)
    Row("5.4", _AFFIRM, _ACCEPTANCE, _S.COMMITTING2, _R.NULCOMMIT, _UP, eot=True, own=_EMPTY),
    Row("5.4", _AFFIRM, _ACCEPTANCE, _S.COMMITTING2, _R.PERSIST_EOT, _UP, eot=True, own=_SENT),
    Row("5.4", _AFFIRM, _ACCEPTANCE, _S.PEER_COMMIT, _R.PERSIST, _UP, eot=True, own=_OPEN),
    Row("5.4", _AFFIRM, _ACCEPTANCE, _S.COMMITTING, _R.NULCOMMIT, _UP, eot=False, own=_EMPTY),
    Row("5.4", _AFFIRM, _ACCEPTANCE, _S.COMMITTING, _R.PERSIST_EOT, _UP, eot=False, own=_SENT),
    Row("5.4", _AFFIRM, _ACCEPTANCE, _S.ACTIVE, _R.PERSIST, _UP, eot=False, own=_OPEN),
    Row("5.4", _S.CONNECT_AFFIRMING, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.5; only NULCOMMIT and PERSIST confirm (6.5, S7)
    Row("5.2", _S.CHALLENGING, _P.CONNECT_REQUEST, _S.CHALLENGING, _R.ACK_CONNECT_REQ),  # B4
    Row("5.5", _S.CHALLENGING, _P.NULCOMMIT, _S.CLOSABLE, _R.ACK_FLUSH, _UP, own=_DONE),  # no empty one: M20
    Row("5.5", _S.CHALLENGING, _P.NULCOMMIT, _S.PEER_COMMIT, _R.ACK_FLUSH, _UP, own=_NOT),
    Row("5.5", _S.CHALLENGING, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _ALL, eot=True, own=_DONE),
    Row("5.5", _S.CHALLENGING, _P.PERSIST, _S.PEER_COMMIT, _R.ACK_FLUSH, _ALL, eot=True, own=_NOT),
    Row("5.5", _S.CHALLENGING, _P.PERSIST, _S.COMMITTED, _R.SNACK, _TALK, eot=False, own=_DONE),
    Row("5.5", _S.CHALLENGING, _P.PERSIST, _S.ACTIVE, _R.SNACK, _TALK, eot=False, own=_NOT),
    Row("5.5", _S.CHALLENGING, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.6
    Row("5.6", _S.ACTIVE, _P.NULCOMMIT, _S.PEER_COMMIT, _R.ACK_FLUSH, _N.COMMIT),
    Row("5.6", _S.ACTIVE, _P.PURE_DATA, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.6", _S.ACTIVE, _P.PURE_DATA, _S.ACTIVE, _R.SNACK, _N.DATA, eot=False),
    Row("5.6", _S.ACTIVE, _P.PERSIST, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.6", _S.ACTIVE, _P.PERSIST, _S.ACTIVE, _R.SNACK, _N.DATA, eot=False),
    Row("5.6", _S.ACTIVE, _P.MULTIPLY, _S.ACTIVE, _R.BRANCH),
    Row("M40", _S.ACTIVE, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH, _N.RELEASED),  # S5, B16
    Row("5.6", _S.ACTIVE, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.7
    Row("5.7", _S.COMMITTING, _P.ACK_FLUSH, _S.COMMITTED, _R.NONE, _N.FLUSHED, covers_all=True),  # B10
    Row("5.7", _S.COMMITTING, _P.NULCOMMIT, _S.COMMITTING2, _R.ACK_FLUSH, _N.COMMIT),
    Row("5.7", _S.COMMITTING, _P.PURE_DATA, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.7", _S.COMMITTING, _P.PURE_DATA, _S.COMMITTING, _R.SNACK, _N.DATA, eot=False),
    Row("S3", _S.COMMITTING, _P.PERSIST, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("S3", _S.COMMITTING, _P.PERSIST, _S.COMMITTING, _R.SNACK, _N.DATA, eot=False),
    Row("5.7", _S.COMMITTING, _P.MULTIPLY, _S.COMMITTING, _R.BRANCH),
    Row("5.7", _S.COMMITTING, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH, _N.RELEASED),
    Row("5.7", _S.COMMITTING, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.8
    Row("5.8", _S.COMMITTED, _P.NULCOMMIT, _S.CLOSABLE, _R.ACK_FLUSH, _N.COMMIT),
    Row("5.8", _S.COMMITTED, _P.PURE_DATA, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.8", _S.COMMITTED, _P.PURE_DATA, _S.COMMITTED, _R.SNACK, _N.DATA, eot=False),
    Row("5.8", _S.COMMITTED, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.8", _S.COMMITTED, _P.PERSIST, _S.COMMITTED, _R.SNACK, _N.DATA, eot=False),
    Row("5.8", _S.COMMITTED, _P.MULTIPLY, _S.COMMITTED, _R.BRANCH),
    Row("5.8", _S.COMMITTED, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH, _N.RELEASED),
    Row("5.8", _S.COMMITTED, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.9; a PURE_DATA that only waits is one that came early (S2); NULCOMMIT is an empty transaction (F4)
    Row("5.9", _S.PEER_COMMIT, _P.NULCOMMIT, _S.PEER_COMMIT, _R.ACK_FLUSH, _N.COMMIT),
    Row("S2", _S.PEER_COMMIT, _P.PURE_DATA, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("S2", _S.PEER_COMMIT, _P.PURE_DATA, _S.ACTIVE, _R.SNACK, _N.DATA, eot=False),
    Row("5.9", _S.PEER_COMMIT, _P.PERSIST, _S.PEER_COMMIT, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.9", _S.PEER_COMMIT, _P.PERSIST, _S.ACTIVE, _R.SNACK, _N.DATA, eot=False),
    Row("5.9", _S.PEER_COMMIT, _P.MULTIPLY, _S.PEER_COMMIT, _R.BRANCH),
    Row("M40", _S.PEER_COMMIT, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH, _N.RELEASED),  # S5, B16
    Row("5.9", _S.PEER_COMMIT, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.10
    Row("5.10", _S.COMMITTING2, _P.NULCOMMIT, _S.COMMITTING2, _R.ACK_FLUSH, _N.COMMIT),
    Row("5.10", _S.COMMITTING2, _P.ACK_FLUSH, _S.CLOSABLE, _R.NONE, _N.FLUSHED, covers_all=True),  # B10
    Row("S2", _S.COMMITTING2, _P.PURE_DATA, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("S2", _S.COMMITTING2, _P.PURE_DATA, _S.COMMITTING, _R.SNACK, _N.DATA, eot=False),
    Row("5.10", _S.COMMITTING2, _P.PERSIST, _S.COMMITTING2, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.10", _S.COMMITTING2, _P.PERSIST, _S.COMMITTING, _R.SNACK, _N.DATA, eot=False),
    Row("5.10", _S.COMMITTING2, _P.MULTIPLY, _S.COMMITTING2, _R.BRANCH),
    Row("5.10", _S.COMMITTING2, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH, _N.RELEASED),
    Row("5.10", _S.COMMITTING2, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.11
    Row("5.11", _S.CLOSABLE, _P.NULCOMMIT, _S.CLOSABLE, _R.ACK_FLUSH, _N.COMMIT),
    Row("S2", _S.CLOSABLE, _P.PURE_DATA, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("S2", _S.CLOSABLE, _P.PURE_DATA, _S.COMMITTED, _R.SNACK, _N.DATA, eot=False),
    Row("5.11", _S.CLOSABLE, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _NEW, eot=True),
    Row("5.11", _S.CLOSABLE, _P.PERSIST, _S.COMMITTED, _R.SNACK, _N.DATA, eot=False),
    Row("5.11", _S.CLOSABLE, _P.MULTIPLY, _S.CLOSABLE, _R.BRANCH),
    Row("5.11", _S.CLOSABLE, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH, _N.RELEASED),
    Row("5.11", _S.CLOSABLE, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.12; nothing follows a RELEASE, so other packets in their turn are nobody's
    Row("5.12", _S.SHUT_REQUESTED, _P.RELEASE, _S.SHUT_REQUESTED, _R.ACK_FLUSH),
    Row("5.12", _S.SHUT_REQUESTED, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.13; the peer's data is still received (M39)
    Row("5.13", _S.PRE_CLOSED, _P.ACK_FLUSH, _S.CLOSED, _R.NONE, _N.CLOSED, covers_all=True),
    Row("M39", _S.PRE_CLOSED, _P.RELEASE, _S.CLOSED, _R.ACK_FLUSH, _N.CLOSED),
    Row("M39", _S.PRE_CLOSED, _P.NULCOMMIT, _S.PRE_CLOSED, _R.ACK_FLUSH, _N.COMMIT),
    Row("M39", _S.PRE_CLOSED, _P.PURE_DATA, _S.PRE_CLOSED, _R.ACK_FLUSH, _NEW, eot=True),
    Row("M39", _S.PRE_CLOSED, _P.PURE_DATA, _S.PRE_CLOSED, _R.SNACK, _N.DATA, eot=False),
    Row("M39", _S.PRE_CLOSED, _P.PERSIST, _S.PRE_CLOSED, _R.ACK_FLUSH, _NEW, eot=True),
    Row("M39", _S.PRE_CLOSED, _P.PERSIST, _S.PRE_CLOSED, _R.SNACK, _N.DATA, eot=False),
    Row("5.13", _S.PRE_CLOSED, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
    # 5.14; no resurrection (M41); RESET is ignored (S6)
    Row("B8", _S.CLOSED, _P.RELEASE, _S.CLOSED, _R.ACK_FLUSH),
    # 5.15; B6, M25: nothing out of band, PURE_DATA waits; an own EoT not yet acknowledged is a half too (M17)
    Row("5.15", _S.CLONING, _P.NULCOMMIT, _S.PEER_COMMIT, _R.ACK_FLUSH, _UP, own=_NOT),
    Row("5.15", _S.CLONING, _P.NULCOMMIT, _S.CLOSABLE, _R.ACK_FLUSH, _UP, own=_DONE),
    Row("M17", _S.CLONING, _P.NULCOMMIT, _S.COMMITTING2, _R.ACK_FLUSH, _UP, own=_SENT),
    Row("5.15", _S.CLONING, _P.PERSIST, _S.ACTIVE, _R.SNACK, _TALK, eot=False, own=_NOT),
    Row("5.15", _S.CLONING, _P.PERSIST, _S.COMMITTED, _R.SNACK, _TALK, eot=False, own=_DONE),
    Row("M17", _S.CLONING, _P.PERSIST, _S.COMMITTING, _R.SNACK, _TALK, eot=False, own=_SENT),
    Row("5.15", _S.CLONING, _P.PERSIST, _S.PEER_COMMIT, _R.ACK_FLUSH, _ALL, eot=True, own=_NOT),
    Row("5.15", _S.CLONING, _P.PERSIST, _S.CLOSABLE, _R.ACK_FLUSH, _ALL, eot=True, own=_DONE),
    Row("M17", _S.CLONING, _P.PERSIST, _S.COMMITTING2, _R.ACK_FLUSH, _ALL, eot=True, own=_SENT),
    Row("5.15", _S.CLONING, _P.RESET, _S.NON_EXISTENT, _R.NONE, _N.DEAD),
)

PRELIMINARY = frozenset({_P.INIT_CONNECT, _P.ACK_INIT_CONNECT, _P.CONNECT_REQUEST})  # 4.5
OUT_OF_BAND = frozenset({_P.KEEP_ALIVE, _P.ACK_FLUSH, _P.MULTIPLY})  # 4.6
IN_BAND = frozenset({_P.ACK_CONNECT_REQ, _P.NULCOMMIT, _P.PERSIST, _P.PURE_DATA, _P.RELEASE})

# answer to an in-band packet that was accepted before (8.4.2, 8.5.2, M11): has the peer committed?
_AGAIN = {
    _S.ACTIVE: _R.SNACK,
    _S.COMMITTING: _R.SNACK,
    _S.COMMITTED: _R.SNACK,
    _S.PEER_COMMIT: _R.ACK_FLUSH,
    _S.COMMITTING2: _R.ACK_FLUSH,
    _S.CLOSABLE: _R.ACK_FLUSH,
    _S.SHUT_REQUESTED: _R.ACK_FLUSH,
    _S.PRE_CLOSED: _R.ACK_FLUSH,
    _S.CLOSED: _R.ACK_FLUSH,
}
# answer to an in-band packet that came early and has to wait (S1): 8.5.2 goes by the state alone, M11 puts
# PRE_CLOSED to the states that 8.5.2 names.  Nothing can come early after a RELEASE.
_EARLY = {
    _S.CHALLENGING: _R.SNACK,
    _S.ACTIVE: _R.SNACK,
    _S.COMMITTING: _R.SNACK,
    _S.COMMITTED: _R.SNACK,
    _S.PEER_COMMIT: _R.ACK_FLUSH,
    _S.COMMITTING2: _R.ACK_FLUSH,
    _S.CLOSABLE: _R.ACK_FLUSH,
    _S.PRE_CLOSED: _R.ACK_FLUSH,
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
    """What a packet does.

    `icc_ok` stands for whatever authenticates the packet: ICC, cookie, Init-Check-Code. `covers_all` says
    that it acknowledges everything this end has sent; it matters in ACK_FLUSH. `own` matters before the
    connection is established, later the state says it. `tombstone` tells a connection that this end has
    reset from one of which nothing is left.
    """
    stays = Outcome(state)
    if state is State.NON_EXISTENT:
        # 12.7 gives up everything, the key too: a tombstone cannot look closer, but it answers no RESET (M35)
        speaks = tombstone and packet is not Packet.RESET and packet not in PRELIMINARY
        return Outcome(state, Reaction.RESET) if speaks else stays
    if not icc_ok or position is Position.BEYOND:  # S4
        return stays
    if packet is Packet.NULCOMMIT and not eot:  # 4.4.1, G18
        return stays
    if packet is Packet.MULTIPLY and not encrypted:  # M23
        return stays
    if position is Position.DUPLICATE and packet not in IN_BAND:  # M5, M35
        return stays
    if state is State.CHALLENGING and own is Own.COMMITTING and packet in IN_BAND:
        return stays  # S7: who confirms has ACK_CONNECT_REQ and acknowledges it
    if packet in IN_BAND and position is Position.DUPLICATE:
        return Outcome(state, _AGAIN.get(state, Reaction.NONE))
    if packet in IN_BAND and position is Position.AHEAD:
        # M18 lets nobody say ACK_CONNECT_REQ later than 5.4
        never = packet is Packet.ACK_CONNECT_REQ
        return stays if never else Outcome(state, _EARLY.get(state, Reaction.NONE))
    return outcome_by(ROWS, state, packet, eot, covers_all, own)
