"""How to bring one end of a pair into each state by legal means, and what can be seen of it there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fsp_trio.core.connection import Connection
from fsp_trio.revisions import GAO_07, Revision
from fsp_trio.wire.packets import Normal, Op, Packet
from fsp_trio.wire.serial import sub

from .pair import Pair, Side
from .wiretap import OUT_OF_BAND, Wiretap

KEY = b"a key that both applications have agreed upon"
QUIET = 0.25
"""Seconds after which everything is said: many round trips, less than a retransmission time-out."""
LATER = 1.5
"""Seconds after which a tombstone speaks again."""

Mode: TypeAlias = Literal["crc64", "aead"]


@dataclass(slots=True)
class Situation:
    """A pair of which one end, the subject, is about to get a packet."""

    pair: Pair
    wiretap: Wiretap
    side: Side

    @property
    def subject(self) -> Connection:
        return self.pair.end(self.side)

    @property
    def peer(self) -> Connection:
        return self.pair.end(self.side.other)

    def settle(self) -> None:
        self.pair.run_for(QUIET)
        self.wiretap.follow()

    def silence_peer(self) -> None:
        self.pair.drop_from(self.side.other)

    def read_all(self) -> bytes:
        """Take from the subject what there is to read, ends of transactions included."""
        octets = b""
        while self.subject.readable:
            if self.subject.at_end:
                self.subject.next_transaction()
            else:
                octets += self.subject.read(65536)
        return octets

    def reactions_to(self, datagram: bytes) -> tuple[list[Packet], list[Packet]]:
        """Deliver a datagram: what the subject says at once, and what it says a little later.

        Repeats of in-band packets that were on their way anyway are left out.
        """
        wiretap = self.wiretap
        known = wiretap.speakers[self.side].next_sn if wiretap.speakers else 0
        self.silence_peer()
        self.pair.drop_from(self.side)
        self.subject.receive([datagram], self.side.other, self.pair.clock.now)
        self.pair.flush()
        at_once = self._new_of_subject(known)
        self.pair.run_for(QUIET)
        return at_once, self._new_of_subject(known)

    def _new_of_subject(self, known: int) -> list[Packet]:
        said = [packet for side, packet in self.wiretap.follow() if side is self.side]
        if self.subject.state.name == "CLOSED":  # nothing is repeated there but on request
            return said
        return [packet for packet in said if not _is_repeat(packet, known)]


def _is_repeat(packet: Packet, known: int) -> bool:
    if not isinstance(packet, Normal) or packet.op in OUT_OF_BAND or packet.op is Op.ACK_CONNECT_REQ:
        return False
    return sub(packet.sn, known) < 0


def closable(side: Side, mode: Mode, revision: Revision = GAO_07) -> Situation:
    """Both have sent and committed something, both have read it; under a key if `mode` says so."""
    pair = Pair.connecting(revision=revision)
    key = KEY if revision.rekey_after is not None else KEY[:32]  # some revisions take it as it is
    situation = Situation(pair, Wiretap(pair, key, revision), side)
    pair.run_until(lambda: pair.has_server and pair.server.state.name == "CLOSABLE")
    pair.run_for(QUIET)
    if mode == "aead":
        for end in (pair.client, pair.server):
            end.install_key(key, key_bits=256)
        pair.run_for(QUIET)
    for end in (pair.client, pair.server):
        end.send(b"something")
        end.commit()
    pair.run_for(QUIET)
    for end in (pair.client, pair.server):
        while end.readable:
            if end.at_end:
                end.next_transaction()
            else:
                end.read(65536)
    situation.settle()
    assert situation.wiretap.encrypted == (mode == "aead")
    return situation


def first_words(end: Connection) -> bytes:
    """Enough to be sent at once."""
    return b"first words" if not end.revision.whole_blocks else b"first words".ljust(end.payload_limit + 1)


def _peer_speaks(situation: Situation) -> None:
    situation.peer.send(first_words(situation.peer))
    situation.settle()
    situation.read_all()
    situation.settle()


def _speak(situation: Situation) -> None:
    situation.subject.send(first_words(situation.subject))
    situation.settle()


def _commit_unheard(situation: Situation) -> None:
    situation.silence_peer()
    situation.subject.send(b"only words")
    situation.subject.commit()
    situation.settle()


def _active(situation: Situation) -> None:
    _peer_speaks(situation)
    _speak(situation)


def _committing(situation: Situation) -> None:
    _peer_speaks(situation)
    _commit_unheard(situation)


def _shut_requested(situation: Situation) -> None:
    situation.peer.shutdown(situation.pair.clock.now)
    situation.settle()


def _pre_closed(situation: Situation) -> None:
    situation.silence_peer()
    if situation.subject._farewell is not None:  # the peer would answer with a packet that takes a number
        situation.pair.drop_from(situation.side)
    situation.subject.shutdown(situation.pair.clock.now)
    situation.settle()


def _closed(situation: Situation) -> None:
    situation.subject.shutdown(situation.pair.clock.now)
    situation.settle()


def _closed_second(situation: Situation) -> None:
    _shut_requested(situation)
    _closed(situation)


def _reset(situation: Situation) -> None:
    situation.subject.reset(1, situation.pair.clock.now)
    situation.pair.run_for(LATER)
    situation.wiretap.follow()


def _reset_by_peer(situation: Situation) -> None:
    situation.peer.reset(1, situation.pair.clock.now)
    situation.settle()


CONNECTED: dict[str, Callable[[Situation], None]] = {
    "ACTIVE": _active,
    "COMMITTING": _committing,
    "COMMITTED": _peer_speaks,
    "PEER_COMMIT": _speak,
    "COMMITTING2": _commit_unheard,
    "CLOSABLE": Situation.settle,
    "SHUT_REQUESTED": _shut_requested,
    "PRE_CLOSED": _pre_closed,
    "CLOSED": _closed,
    "CLOSED, as second": _closed_second,
    "NON_EXISTENT, tombstone": _reset,
    "NON_EXISTENT": _reset_by_peer,
}
"""Ways to the states after the handshake; the name is the state's up to a comma."""


def situation_in(way: str, side: Side, mode: Mode, revision: Revision = GAO_07) -> Situation:
    situation = closable(side, mode, revision)
    CONNECTED[way](situation)
    assert situation.subject.state.name == way.partition(",")[0], situation.pair.describe()
    return situation


def connecting_client() -> Situation:
    pair = Pair.connecting()
    pair.flush()
    situation = Situation(pair, Wiretap(pair), Side.CLIENT)
    situation.wiretap.follow()
    assert pair.client.state.name == "CONNECT_BOOTSTRAP"
    return situation


def affirming_client(*, payload: bytes = b"", commit: bool = False) -> Situation:
    """A client that awaits ACK_CONNECT_REQ, with something to send perhaps; the server's answer is lost."""
    situation = connecting_client()
    pair = situation.pair
    if payload:
        pair.client.send(payload)
    if commit:
        pair.client.commit()
    pair.run_until(lambda: pair.client.state.name == "CONNECT_AFFIRMING")
    situation.silence_peer()
    pair.run_until(lambda: pair.has_server)
    situation.settle()
    assert pair.client.state.name == "CONNECT_AFFIRMING"
    return situation


def challenging_server(welcome: bytes = b"", revision: Revision = GAO_07) -> Situation:
    """A server whose ACK_CONNECT_REQ is lost."""
    pair = Pair.connecting(welcome=welcome, revision=revision)
    situation = Situation(pair, Wiretap(pair, revision=revision), Side.SERVER)
    pair.run_until(lambda: pair.has_server)
    pair.drop_from(Side.SERVER)
    pair.drop_under_way()
    situation.settle()
    assert pair.server.state.name == "CHALLENGING"
    return situation


def observable(connection: Connection) -> dict[str, object]:
    """All that the interface shows, but for the counters of what has arrived and what was dropped."""
    statistics = dataclasses.asdict(connection.statistics)
    for name in ("packets_received", "octets_received", "received", "drops", "failed_checks"):
        del statistics[name]
    return {
        "state": connection.state,
        "states_passed": list(connection.states_passed),
        "failure": connection.failure,
        "is_over": connection.is_over,
        "closed_confirmed": connection.closed_confirmed,
        "peer_released": connection.peer_released,
        "readable": connection.readable,
        "at_end": connection.at_end,
        "unacknowledged": connection.unacknowledged,
        "committed": connection.committed,
        "committing_since_ack": connection.committing_since_ack,
        "remote": connection.remote,
        "local_ultid": connection.local_ultid,
        "remote_ultid": connection.remote_ultid,
        "preliminary": connection.preliminary,
        "tombstone_until": connection.tombstone_until,
        "next_deadline": connection.next_deadline(),
        "next_heartbeat": connection.next_heartbeat(),
        "statistics": statistics,
    }
