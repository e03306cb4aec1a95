"""The list of rows agrees with the idea behind it: a state is a pair of halves (M17)."""

from __future__ import annotations

import itertools

import pytest

from .gao07_states import IN_BAND, OUT_OF_BAND, ROWS, Own, Packet, Position, Reaction, State, successor

HALVES = {
    (Own.OPEN, False): State.ACTIVE,
    (Own.COMMITTING, False): State.COMMITTING,
    (Own.COMMITTED, False): State.COMMITTED,
    (Own.OPEN, True): State.PEER_COMMIT,
    (Own.COMMITTING, True): State.COMMITTING2,
    (Own.COMMITTED, True): State.CLOSABLE,
}
"""By this end's half, and whether the peer has committed."""
PAIRS = {state: pair for pair, state in HALVES.items()}
CARRIERS = [Packet.PERSIST, Packet.PURE_DATA, Packet.NULCOMMIT]


@pytest.mark.parametrize("eot", [False, True])
@pytest.mark.parametrize("packet", CARRIERS)
@pytest.mark.parametrize("state", PAIRS)
def test_a_packet_moves_the_peers_half_only(state: State, packet: Packet, eot: bool) -> None:
    if packet is Packet.NULCOMMIT and not eot:
        assert successor(state, packet, eot=eot).state is state
        return
    own, _ = PAIRS[state]
    outcome = successor(state, packet, eot=eot)
    assert outcome.state is HALVES[own, eot]
    assert outcome.reaction is (Reaction.ACK_FLUSH if eot else Reaction.SNACK)


@pytest.mark.parametrize("covers_all", [False, True])
@pytest.mark.parametrize("state", PAIRS)
def test_an_acknowledgement_moves_the_own_half_only(state: State, covers_all: bool) -> None:
    own, peer = PAIRS[state]
    moves = own is Own.COMMITTING and covers_all
    assert successor(state, Packet.ACK_FLUSH, covers_all=covers_all).state is (
        HALVES[Own.COMMITTED, peer] if moves else state
    )


@pytest.mark.parametrize("eot", [False, True])
@pytest.mark.parametrize("own", Own)
@pytest.mark.parametrize("packet", [Packet.PERSIST, Packet.NULCOMMIT])
@pytest.mark.parametrize("state", [State.CHALLENGING, State.CLONING])
def test_the_first_answer_makes_a_pair(state: State, packet: Packet, own: Own, eot: bool) -> None:
    if packet is Packet.NULCOMMIT and not eot:
        return
    if state is State.CHALLENGING and own is Own.COMMITTING:  # S7
        assert successor(state, packet, eot=eot, own=own).state is state
        return
    half = Own.OPEN if own is Own.EMPTY else own
    assert successor(state, packet, eot=eot, own=own).state is HALVES[half, eot]


@pytest.mark.parametrize("eot", [False, True])
@pytest.mark.parametrize("own", [Own.EMPTY, Own.OPEN, Own.COMMITTING])
def test_the_acceptance_makes_a_pair(own: Own, eot: bool) -> None:
    half = Own.COMMITTING if own is Own.EMPTY else own  # NULCOMMIT confirms
    assert successor(State.CONNECT_AFFIRMING, Packet.ACK_CONNECT_REQ, eot=eot, own=own).state is HALVES[half, eot]


@pytest.mark.parametrize("packet", Packet)
@pytest.mark.parametrize("state", State)
def test_what_is_damaged_or_far_off_changes_no_state(state: State, packet: Packet) -> None:
    for eot, covers_all, own, icc_ok, position in itertools.product(
        (False, True), (False, True), Own, (False, True), Position
    ):
        if icc_ok and position is not Position.BEYOND:
            continue
        outcome = successor(state, packet, position=position, icc_ok=icc_ok, eot=eot, covers_all=covers_all, own=own)
        assert (outcome.state, outcome.reaction) == (state, Reaction.NONE)


@pytest.mark.parametrize("packet", sorted(IN_BAND | OUT_OF_BAND))
@pytest.mark.parametrize("position", [Position.AHEAD, Position.DUPLICATE])
@pytest.mark.parametrize("state", State)
def test_only_what_is_in_its_turn_moves_anything(state: State, position: Position, packet: Packet) -> None:
    if packet in OUT_OF_BAND and position is Position.AHEAD:
        return  # it has no turn
    outcome = successor(state, packet, position=position, eot=True, covers_all=True, encrypted=True)
    assert outcome.state is state


def test_no_row_is_hidden_by_another() -> None:
    for first, second in itertools.combinations(ROWS, 2):
        if (first.state, first.packet) != (second.state, second.packet):
            continue
        apart = [
            None not in (first.eot, second.eot) and first.eot != second.eot,
            None not in (first.covers_all, second.covers_all) and first.covers_all != second.covers_all,
            first.own is not None and second.own is not None and not first.own & second.own,
        ]
        assert any(apart), (first, second)
