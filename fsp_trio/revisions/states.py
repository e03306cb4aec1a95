"""The names of the finite state machine: states, what happens to them, what they answer.

The names are the draft's (gao-07 section 5).  Which event leads where is data of a revision: see the
`states` table of each revision module.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.Enum):
    """A connection's state, in the order of gao-07 section 5."""

    __hash__ = object.__hash__  # by identity: several look-ups for every packet

    NON_EXISTENT = "NON_EXISTENT"
    LISTENING = "LISTENING"
    CONNECT_BOOTSTRAP = "CONNECT_BOOTSTRAP"
    CONNECT_AFFIRMING = "CONNECT_AFFIRMING"
    CHALLENGING = "CHALLENGING"
    ACTIVE = "ACTIVE"
    COMMITTING = "COMMITTING"
    COMMITTED = "COMMITTED"
    PEER_COMMIT = "PEER_COMMIT"
    COMMITTING2 = "COMMITTING2"
    CLOSABLE = "CLOSABLE"
    SHUT_REQUESTED = "SHUT_REQUESTED"
    PRE_CLOSED = "PRE_CLOSED"
    CLOSED = "CLOSED"
    CLONING = "CLONING"


class Event(enum.Enum):
    """What can happen to a connection.

    A packet event takes effect in sequence order: an in-band packet that arrives early is buffered and
    happens when everything before it has.  `..._EOT` is the same packet with the End of Transaction flag.
    """

    __hash__ = object.__hash__

    LISTEN = "API Listen"
    CONNECT = "API Connect"
    MULTIPLY = "API Multiply"
    ACCEPT = "API Accept"
    SEND = "API Send, more data"
    FLUSH = "API Send, flush"
    SHUTDOWN = "API Shutdown"
    RESET = "API Reset"
    RCV_MULTIPLY = "MULTIPLY, accepted"
    RCV_MULTIPLY_EOT = "MULTIPLY with EoT, accepted"
    RCV_ACK_INIT_CONNECT = "ACK_INIT_CONNECT"
    RCV_ACK_CONNECT_REQ = "ACK_CONNECT_REQ"
    RCV_ACK_CONNECT_REQ_EOT = "ACK_CONNECT_REQ with EoT"
    RCV_NULCOMMIT = "NULCOMMIT"
    RCV_PERSIST = "PERSIST"
    RCV_PERSIST_EOT = "PERSIST with EoT"
    RCV_PURE_DATA = "PURE_DATA"
    RCV_PURE_DATA_EOT = "PURE_DATA with EoT"
    RCV_ACK_FLUSH = "ACK_FLUSH of all sent"
    RCV_RELEASE = "RELEASE"
    RCV_RESET = "RESET"
    TRANSIENT_TIMEOUT = "transient state time-out"
    IDLE_TIMEOUT = "idle time-out"
    COMMIT_TIMEOUT = "commit time-out"
    RECYCLE = "recycling needed"


class Reply(enum.Enum):
    """What a transition sends."""

    NOTHING = ""
    INIT_CONNECT = "INIT_CONNECT"
    CONNECT_REQUEST = "CONNECT_REQUEST"
    ACK_CONNECT_REQ = "ACK_CONNECT_REQ"
    CONFIRMATION = "NULCOMMIT or PERSIST"
    MULTIPLY = "MULTIPLY"
    DATA = "data"
    SNACK = "delayed SNACK"
    ACK_FLUSH = "ACK_FLUSH"
    RELEASE = "RELEASE"
    RESET = "RESET"


@dataclass(frozen=True, slots=True)
class Transition:
    """One edge of the machine.

    `flushing` is the draft's {ULA-flushing}: own EoT is in the packet that answers (CONNECT_AFFIRMING) or was
    acknowledged by the packet received (CHALLENGING, CLONING); None where it makes no difference.
    """

    state: State
    event: Event
    successor: State
    reply: Reply = Reply.NOTHING
    section: str = ""
    flushing: bool | None = None
    notify: bool = False


def transition(
    section: str,
    state: State,
    event: Event,
    successor: State,
    reply: Reply = Reply.NOTHING,
    *,
    flushing: bool | None = None,
    notify: bool = False,
) -> Transition:
    """A row of a table, in the order in which a draft has its parts."""
    return Transition(state, event, successor, reply, section, flushing, notify)


class StateTable:
    """The transitions of a revision, looked up by (state, event, flushing)."""

    __slots__ = ("_index", "transitions")

    def __init__(self, transitions: tuple[Transition, ...]) -> None:
        self.transitions = transitions
        self._index: dict[tuple[State, Event, bool], Transition] = {}
        for transition in transitions:
            for flushing in (False, True) if transition.flushing is None else (transition.flushing,):
                key = (transition.state, transition.event, flushing)
                if key in self._index:
                    raise ValueError(f"two transitions for {key}")
                self._index[key] = transition

    def find(self, state: State, event: Event, flushing: bool = False) -> Transition | None:
        """The transition, or None when the event means nothing in that state."""
        return self._index.get((state, event, flushing))


# Sets of states that rules name together.
CONNECTED = frozenset(  # gao-07 10.1, 11.2
    {State.ACTIVE, State.COMMITTING, State.COMMITTED, State.PEER_COMMIT, State.COMMITTING2, State.CLOSABLE}
)
OWN_OPEN = frozenset({State.ACTIVE, State.PEER_COMMIT})
OWN_COMMITTING = frozenset({State.COMMITTING, State.COMMITTING2})
OWN_COMMITTED = frozenset({State.COMMITTED, State.CLOSABLE})
PEER_OPEN = frozenset({State.ACTIVE, State.COMMITTING, State.COMMITTED})
CONNECTING = frozenset({State.CONNECT_BOOTSTRAP, State.CONNECT_AFFIRMING})
CONFIRMING = frozenset({State.CHALLENGING, State.CLONING})
"""The first packet of the peer's in its turn establishes the connection."""
AWAITING = CONNECTING | {State.CLONING}
"""One packet was sent, and is repeated until it is answered."""
CLOSING = frozenset({State.PRE_CLOSED, State.SHUT_REQUESTED})
OVER = frozenset({State.NON_EXISTENT, State.CLOSED})
