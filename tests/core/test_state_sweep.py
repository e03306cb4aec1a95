"""Every packet in every state after the handshake, against a second copy of the draft's section 5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fsp_trio.core.connection import Connection
from fsp_trio.revisions import GAO_07, JASON_00, REFERENCE_2020, Revision
from fsp_trio.wire.packets import FLAG_EOT, Normal, Op, Packet, Snack
from fsp_trio.wire.serial import add
from tests.reference import gao07_states, jason00_states, reference2020_states
from tests.reference.gao07_states import (
    IN_BAND,
    OUT_OF_BAND,
    PRELIMINARY,
    Notify,
    Outcome,
    Own,
    Position,
    Reaction,
    successor,
)
from tests.reference.gao07_states import Packet as Kind
from tests.reference.gao07_states import State as RefState

from .pair import Side
from .situations import (
    CONNECTED,
    Mode,
    Situation,
    challenging_server,
    observable,
    situation_in,
)
from .wiretap import CODEC

CRAFTED = b"crafted"
BRANCH_ULTID = bytes.fromhex("b1a9c401")


@dataclass(frozen=True, slots=True)
class Case:
    """One packet, described; `str` of it is its name in the test report."""

    kind: Kind
    position: Position = Position.IN_ORDER
    seal: str = "good"
    """good, or what is wrong: bad-icc, wrong-key (sealed under CRC64 although a key is installed)."""
    eot: bool = False
    covers_all: bool = True

    def __str__(self) -> str:
        words = [self.kind.name, self.position.name, self.seal]
        words += ["eot"] if self.eot else []
        words += [] if self.covers_all else ["not-covering"]
        return "-".join(words)


CHALLENGING = ("CHALLENGING, empty", "CHALLENGING, welcome")
MODES: tuple[Mode, ...] = ("crc64", "aead")


def cases(way: str, mode: Mode) -> Iterator[Case]:
    acknowledging = {Kind.ACK_FLUSH, Kind.KEEP_ALIVE, Kind.RELEASE}
    if way in CHALLENGING:  # whether the packet acknowledges ACK_CONNECT_REQ counts there (M17)
        acknowledging |= IN_BAND
    seals = ["good", "bad-icc"] + (["wrong-key"] if mode == "aead" else [])
    for kind in Kind:
        if kind in PRELIMINARY:
            yield Case(kind)
            continue
        coverages = [True, False] if kind in acknowledging else [True]
        for position in Position:
            for seal in seals:
                for eot in (False, True):
                    for covers_all in coverages:
                        yield Case(kind, position, seal, eot, covers_all)


RULES = {
    GAO_07: gao07_states.successor,
    REFERENCE_2020: reference2020_states.successor,
    JASON_00: jason00_states.successor,
}
COMBINATIONS = [
    pytest.param(way, side, mode, case, revision, id=f"{way}-{side.value}-{mode}-{case}-{revision.name}")
    for revision in RULES
    for mode in MODES
    for way in (*CHALLENGING, *CONNECTED)
    for side in Side
    if way not in CHALLENGING or (side is Side.SERVER and mode == "crc64")
    for case in cases(way, mode)
    if revision is not JASON_00 or (way != "SHUT_REQUESTED" and case.kind is not Kind.NULCOMMIT)
]


def situation_for(way: str, side: Side, mode: Mode, revision: Revision) -> Situation:
    if way in CHALLENGING:
        return challenging_server(b"welcome" if way == "CHALLENGING, welcome" else b"", revision)
    return situation_in(way, side, mode, revision)


def numbers(situation: Situation, case: Case) -> tuple[int, int]:
    """Number and expected number (or serial) of the packet that a case describes."""
    subject = situation.wiretap.speakers[situation.side]
    peer = situation.wiretap.speakers[situation.side.other]
    left = peer.next_sn
    right = subject.right_edge
    beyond = beyond_right_edge(situation)
    if case.kind in OUT_OF_BAND:
        sn = {
            Position.IN_ORDER: add(left, -1),
            Position.AHEAD: right,
            Position.DUPLICATE: add(left, -1),
            Position.BEYOND: beyond,
        }[case.position]
        # the subject has heard serial 1, if the peer has sent any
        return sn, min(peer.serial, 1) if case.position is Position.DUPLICATE else add(peer.serial, 1)
    sn = {
        Position.IN_ORDER: left,
        Position.AHEAD: add(left, 1),
        Position.DUPLICATE: add(left, -2 if case.kind is Kind.RESET else -1),
        Position.BEYOND: beyond,
    }[case.position]
    return sn, subject.next_sn if case.covers_all else add(subject.next_sn, -1)


def beyond_right_edge(situation: Situation) -> int:
    """The first number after the right edge; the subject has read everything, if not yet said so."""
    left = situation.wiretap.speakers[situation.side.other].next_sn
    return add(left, situation.subject.settings.receive_window + 1)


def craft(situation: Situation, case: Case) -> bytes:
    wiretap, sender = situation.wiretap, situation.side.other
    if case.kind in PRELIMINARY:
        return preliminary(situation, case.kind)
    sn, expected = numbers(situation, case)
    protection = wiretap.crc64[sender] if case.seal == "wrong-key" else None
    if case.kind is Kind.RESET:
        datagram = wiretap.craft_reset(sender, sn=sn, expected=expected, protection=protection)
    else:
        op = Op[case.kind.name]
        snack = None
        if case.kind in {Kind.KEEP_ALIVE, Kind.ACK_FLUSH}:
            acknowledged = add(wiretap.speakers[situation.side].next_sn, 0 if case.covers_all else -1)
            snack = Snack(acknowledged, add(acknowledged, -1), 0)
        datagram = wiretap.craft(
            sender,
            op,
            sn=sn,
            expected=expected,
            flags=FLAG_EOT if case.eot else 0,
            snack=snack,
            payload=CRAFTED if op in {Op.PERSIST, Op.PURE_DATA} else b"",
            protection=protection,
            source=BRANCH_ULTID if op is Op.MULTIPLY else None,
        )
    if case.seal == "bad-icc":
        datagram = datagram[:24] + bytes([datagram[24] ^ 0x10]) + datagram[25:]
    return datagram


def preliminary(situation: Situation, kind: Kind) -> bytes:
    """A packet of the handshake, as it was said before; towards the subject whoever said it."""
    wiretap = situation.wiretap
    packet = {
        Kind.INIT_CONNECT: wiretap.init_connect,
        Kind.ACK_INIT_CONNECT: wiretap.challenge,
        Kind.CONNECT_REQUEST: wiretap.request,
    }[kind]
    assert packet is not None
    ultids = wiretap.speakers[situation.side.other].ultid + wiretap.speakers[situation.side].ultid
    return ultids + wiretap.codec.encode(packet)


def expectation(way: str, case: Case, mode: Mode, revision: Revision = GAO_07) -> Outcome:
    return RULES[revision](
        RefState[way.partition(",")[0]],
        case.kind,
        position=case.position,
        icc_ok=case.seal == "good",
        # M37: RELEASE is read as if it had the flag
        eot=case.eot or case.kind is Kind.RELEASE,
        covers_all=case.covers_all,
        own=Own.COMMITTED if case.covers_all else Own.COMMITTING,
        encrypted=mode == "aead",
        tombstone=way in ("NON_EXISTENT, tombstone", "CLOSED, as second"),
    )


@pytest.mark.parametrize(("way", "side", "mode", "case", "revision"), COMBINATIONS)
def test_packet_in_state(way: str, side: Side, mode: Mode, case: Case, revision: Revision) -> None:
    situation = situation_for(way, side, mode, revision)
    subject = situation.subject
    expected = expectation(way, case, mode, revision)
    datagram = craft(situation, case)
    if expected == Outcome(expected.state) and is_dropped(way, case):
        before = observable(subject)
        dropped = sum(subject.statistics.drops.values())
        assert situation.reactions_to(datagram) == ([], [])
        assert observable(subject) == before
        assert sum(subject.statistics.drops.values()) == dropped + 1
        return
    before_state, committed = subject.state.name, subject.committed
    released, failed = subject.peer_released, subject.failure is not None
    sn, _ = (0, 0) if case.kind in PRELIMINARY else numbers(situation, case)
    at_once, later = situation.reactions_to(datagram)
    assert subject.state.name == expected.state.name, f"from {before_state}"
    check_reaction(situation, case, expected.reaction, sn, at_once, later)
    check_notices(subject, case, expected, committed, released, failed)


def is_dropped(way: str, case: Case) -> bool:
    """S4, S7: what is damaged, far off or confirms nothing leaves no trace but in a counter of drops."""
    confirms_nothing = way in CHALLENGING and case.kind in IN_BAND and not case.covers_all
    return case.seal != "good" or case.position is Position.BEYOND or confirms_nothing


def check_reaction(
    situation: Situation,
    case: Case,
    reaction: Reaction,
    sn: int,
    at_once: list[Packet],
    later: list[Packet],
) -> None:
    said = at_once + later
    if reaction in {Reaction.NONE, Reaction.BRANCH}:
        assert said == []
    elif reaction is Reaction.RESET:
        assert [type(packet).__name__ for packet in said] == ["Reset"]
        assert len(set(situation.wiretap.resets)) == 1, "a tombstone repeats the same octets (M35, N3)"
    elif reaction is Reaction.ACK_CONNECT_REQ:
        assert [packet.op for packet in said if isinstance(packet, Normal)] == [Op.ACK_CONNECT_REQ]
        assert len(said) == 1
    elif reaction is Reaction.RELEASE:
        assert [packet.op for packet in said if isinstance(packet, Normal)] == [Op.RELEASE]
    else:
        op = Op.ACK_FLUSH if reaction is Reaction.ACK_FLUSH else Op.KEEP_ALIVE
        assert [packet.op for packet in said if isinstance(packet, Normal)] == [op]
        if op is Op.ACK_FLUSH and case.position is not Position.AHEAD:
            assert later == [], "8.4.2 wants it at once"
        answer = only_normal(said[0])
        snack = situation.wiretap.codec.acknowledged_by(answer.extensions, answer.expected)
        check_snack(case, op, snack, sn)


def only_normal(packet: Packet) -> Normal:
    assert isinstance(packet, Normal)
    return packet


def check_snack(case: Case, op: Op, snack: Snack, sn: int) -> None:
    gap = case.position is Position.AHEAD and op is Op.KEEP_ALIVE  # ACK_FLUSH has none (8.5.3)
    expected = {
        Position.IN_ORDER: add(sn, 1),
        Position.AHEAD: add(sn, -1),
        Position.DUPLICATE: add(sn, 1),
    }[case.position]
    assert snack.expected_sn == expected
    assert snack.gaps == (((1, 1),) if gap else ())


def check_notices(
    subject: Connection, case: Case, expected: Outcome, committed: int, released: bool, failed: bool
) -> None:
    notify = expected.notify
    assert (subject.read(65536) == CRAFTED) == (Notify.DATA in notify)
    if case.kind is not Kind.RELEASE or expected.reaction is Reaction.NONE:
        assert subject.at_end == (Notify.COMMIT in notify)
    if case.kind in OUT_OF_BAND:
        assert (subject.committed > committed) == (Notify.FLUSHED in notify)
    if not released:
        assert subject.peer_released == bool(notify & (Notify.RELEASED | Notify.CLOSED | Notify.DEAD))
    if not failed:
        assert (subject.failure is not None) == (Notify.DEAD in notify)


# an early packet, and the one before it later (S1)


FILLED_WAYS = [
    way
    for way in CONNECTED
    if RefState[way.partition(",")[0]]
    in {
        RefState.ACTIVE,
        RefState.COMMITTING,
        RefState.COMMITTED,
        RefState.PEER_COMMIT,
        RefState.COMMITTING2,
        RefState.CLOSABLE,
        RefState.PRE_CLOSED,
    }
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("side", Side, ids=lambda side: side.value)
@pytest.mark.parametrize("filler_eot", [False, True], ids=["open", "eot"])
@pytest.mark.parametrize("eot", [False, True], ids=["open", "eot"])
@pytest.mark.parametrize("kind", sorted(IN_BAND - {Kind.ACK_CONNECT_REQ}))
@pytest.mark.parametrize("way", FILLED_WAYS)
def test_early_packet_counts_when_its_turn_comes(
    way: str, kind: Kind, eot: bool, filler_eot: bool, side: Side, mode: Mode
) -> None:
    if kind is Kind.NULCOMMIT and not eot:
        eot = True
    situation = situation_in(way, side, mode)
    subject = situation.subject
    early = Case(kind, Position.AHEAD, eot=eot)
    filler = Case(Kind.PERSIST, eot=filler_eot)
    early_datagram, filler_datagram = craft(situation, early), craft(situation, filler)
    sn, _ = numbers(situation, early)
    first = expectation(way, filler, mode)
    final = successor(first.state, kind, eot=eot or kind is Kind.RELEASE, covers_all=True, encrypted=mode == "aead")
    situation.reactions_to(early_datagram)
    assert subject.state.name == way.partition(",")[0]
    assert not subject.readable
    at_once, later = situation.reactions_to(filler_datagram)
    assert subject.state.name == final.state.name
    # one answer speaks for both
    check_reaction(situation, Case(kind, eot=eot), final.reaction, sn, at_once, later)


# edges


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("offset_left", "offset_right", "accepted"),
    [(-1, None, True), (0, None, True), (-2, None, False), (None, -1, True), (None, 0, False)],
    ids=["left-1", "left", "left-2", "right", "right+1"],
)
@pytest.mark.parametrize("way", [way for way in CONNECTED if not way.startswith(("CLOSED", "NON_EXISTENT"))])
def test_reset_at_the_edges(
    way: str, offset_left: int | None, offset_right: int | None, accepted: bool, mode: Mode
) -> None:
    situation = situation_in(way, Side.CLIENT, mode)
    subject, peer = (situation.wiretap.speakers[side] for side in (situation.side, situation.side.other))
    if offset_left is not None:
        sn = add(peer.next_sn, offset_left)
    else:
        assert offset_right is not None
        sn = add(beyond_right_edge(situation), offset_right)
    datagram = situation.wiretap.craft_reset(situation.side.other, sn=sn, expected=subject.next_sn, reason=7)
    before = observable(situation.subject)
    assert situation.reactions_to(datagram) == ([], [])
    if accepted:  # M35, S6
        assert situation.subject.state.name == "NON_EXISTENT"
        assert situation.subject.failure is not None
        assert situation.subject.failure.reason == 7
    else:
        assert observable(situation.subject) == before


@pytest.mark.parametrize(
    ("edge", "offset", "mode", "accepted"),
    [
        ("left", 0, "crc64", True),
        # a number from before the key selects CRC64 (B12), which proves nothing any more (M30)
        ("left", 0, "aead", False),
        ("left", -1, "crc64", False),
        ("left", -1, "aead", False),
        ("right", -1, "crc64", True),
        ("right", -1, "aead", True),
        ("right", 0, "crc64", False),
        ("right", 0, "aead", False),
    ],
)
@pytest.mark.parametrize("way", ["COMMITTING", "COMMITTING2", "PRE_CLOSED"])
def test_out_of_band_number_at_the_edges(way: str, edge: str, offset: int, mode: Mode, accepted: bool) -> None:
    """B11: from the left edge less the receive capacity to the right edge, both included."""
    situation = situation_in(way, Side.CLIENT, mode)
    subject, peer = (situation.wiretap.speakers[side] for side in (situation.side, situation.side.other))
    capacity = situation.subject.settings.receive_window
    base = add(peer.next_sn, -capacity) if edge == "left" else beyond_right_edge(situation)
    chain = CODEC.snack(Snack(subject.next_sn, add(subject.next_sn, -1), 0))
    datagram = situation.wiretap.craft(
        situation.side.other,
        Op.ACK_FLUSH,
        sn=add(base, offset),
        expected=add(peer.serial, 1),
        chain=chain,
    )
    situation.reactions_to(datagram)
    assert (situation.subject.state.name != way) == accepted


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [Kind.PERSIST, Kind.PURE_DATA, Kind.NULCOMMIT, Kind.RELEASE])
@pytest.mark.parametrize(
    "way", ["ACTIVE", "COMMITTING", "COMMITTED", "PEER_COMMIT", "COMMITTING2", "CLOSABLE", "PRE_CLOSED"]
)
def test_acknowledgement_of_what_was_never_sent(way: str, kind: Kind, mode: Mode) -> None:
    """M50: the whole packet is dropped."""
    situation = situation_in(way, Side.SERVER, mode)
    subject, peer = (situation.wiretap.speakers[side] for side in (situation.side, situation.side.other))
    datagram = situation.wiretap.craft(
        situation.side.other,
        Op[kind.name],
        sn=peer.next_sn,
        expected=add(subject.next_sn, 1),
        flags=FLAG_EOT,
        payload=CRAFTED if kind in {Kind.PERSIST, Kind.PURE_DATA} else b"",
    )
    before = observable(situation.subject)
    assert situation.reactions_to(datagram) == ([], [])
    assert observable(situation.subject) == before


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", [Op.ACK_FLUSH, Op.KEEP_ALIVE])
@pytest.mark.parametrize("way", ["COMMITTING", "COMMITTING2", "PRE_CLOSED"])
def test_snack_of_what_was_never_sent(way: str, op: Op, mode: Mode) -> None:
    """M50, M12: it covers more than everything, and so it covers nothing."""
    situation = situation_in(way, Side.SERVER, mode)
    subject, peer = (situation.wiretap.speakers[side] for side in (situation.side, situation.side.other))
    chain = CODEC.snack(Snack(add(subject.next_sn, 1), subject.next_sn, 0))
    datagram = situation.wiretap.craft(
        situation.side.other, op, sn=add(peer.next_sn, -1), expected=add(peer.serial, 1), chain=chain
    )
    assert situation.reactions_to(datagram) == ([], [])
    assert situation.subject.state.name == way


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [Kind.PERSIST, Kind.NULCOMMIT, Kind.ACK_FLUSH, Kind.RELEASE, Kind.RESET])
@pytest.mark.parametrize("way", ["ACTIVE", "COMMITTING2", "CLOSABLE", "PRE_CLOSED"])
def test_any_flipped_bit_is_noticed(way: str, kind: Kind, mode: Mode) -> None:
    """S4; the destination ULTID (octets 4 to 7) has brought the datagram here and is not looked at again."""
    situation = situation_in(way, Side.CLIENT, mode)
    subject = situation.subject
    datagram = craft(situation, Case(kind, eot=True))
    before = observable(subject)
    for octet in (*range(4), *range(8, len(datagram))):
        for bit in range(8):
            damaged = bytearray(datagram)
            damaged[octet] ^= 1 << bit
            subject.receive([bytes(damaged)], situation.side.other, situation.pair.clock.now)
            assert subject.datagrams_to_send(situation.pair.clock.now) == []
    assert observable(subject) == before
    situation.reactions_to(datagram)
    assert subject.state.name == expectation(way, Case(kind, eot=True), mode).state.name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("covers_release", [False, True])
def test_crossing_releases_are_confirmed(covers_release: bool, mode: Mode) -> None:
    """M39: the peer's RELEASE acknowledges all that came before ours, whether or not it has seen ours."""
    situation = situation_in("PRE_CLOSED", Side.SERVER, mode)
    situation.reactions_to(craft(situation, Case(Kind.RELEASE, covers_all=covers_release)))
    assert situation.subject.state.name == "CLOSED"
    assert situation.subject.closed_confirmed
    assert situation.subject.failure is None


@pytest.mark.parametrize("mode", MODES)
def test_tombstone_speaks_once_a_round_trip(mode: Mode) -> None:
    situation = situation_in("NON_EXISTENT, tombstone", Side.SERVER, mode)
    datagram = craft(situation, Case(Kind.PERSIST))
    before = len(situation.wiretap.resets)
    for _ in range(10):
        situation.subject.receive([datagram], Side.CLIENT, situation.pair.clock.now)
    situation.settle()
    assert len(situation.wiretap.resets) == before + 1
    situation.pair.run_for(60.0)
    situation.subject.receive([datagram], Side.CLIENT, situation.pair.clock.now)
    situation.settle()
    assert len(situation.wiretap.resets) == before + 1, "60 s after the end it is silent (M35)"
