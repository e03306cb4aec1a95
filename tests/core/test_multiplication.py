"""Branches of a connection (gao-07 3.5, 5.15, 5.16, 11): who says what, under which key, and what is not believed."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest

from fsp_trio.core import multiplication
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import FailureKind, KeyInstallationRefused, MultiplicationRefused, ResetReason
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.integrity.branch import Branching
from fsp_trio.revisions import GAO_07, JASON_00, REFERENCE_2020, Revision
from fsp_trio.revisions.states import State
from fsp_trio.testing import NonceLedger
from fsp_trio.wire.packets import FLAG_EOT, FLAG_MIND, Op
from fsp_trio.wire.serial import sub

from .family import KEY, Family, keyed_pair, read_all
from .pair import Flight, Pair, Side
from .talk import established, expected_of, flags_of, sn_of, state_of

REVISIONS = [GAO_07, JASON_00, REFERENCE_2020]
every_revision = pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.name)


@pytest.fixture
def family() -> Family:
    return Family(keyed_pair())


def drops(end: Connection) -> dict[str, int]:
    return end.statistics.drops


# the way it goes


@every_revision
def test_first_octets_take_one_way(revision: Revision) -> None:
    family = Family(keyed_pair(revision=revision, delay=0.05))
    begun = family.now
    branch = family.multiply(b"GET /")
    family.run_until(lambda: bool(family.branches()))
    assert family.now == pytest.approx(begun + 0.05)
    assert read_all(family.accepted(branch)) == [b"GET /"]


@every_revision
def test_octets_both_ways_and_the_end(revision: Revision) -> None:
    family = Family(keyed_pair(revision=revision))
    branch = family.multiply(b"request")
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    answer = random.Random(3).randbytes(100_000)
    other.send(answer)
    other.commit()
    family.run_until(lambda: other.committed == 1 and branch.committed == 1)
    assert read_all(other) == [b"request"]
    assert read_all(branch) == [answer]
    for end in (branch, other):
        end.shutdown(family.now)
    family.run_until(lambda: branch.is_over and other.is_over)
    assert branch.closed_confirmed
    assert family.client.state is State.CLOSABLE


@pytest.mark.parametrize("ends", [True, False], ids=["whole", "open"])
@pytest.mark.parametrize("answer_ends", [True, False], ids=["whole answer", "open answer"])
def test_states_of_both_ends(family: Family, ends: bool, answer_ends: bool) -> None:
    """5.15 for the initiator, B6 for the acceptor."""
    branch = family.multiply(b"first", ends=ends)
    assert branch.state is State.CLONING
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    other.send(b"answer")
    if answer_ends:
        other.commit()
    family.flush()
    first_flight = {
        (False, False): State.ACTIVE,
        (False, True): State.COMMITTING,
        (True, False): State.PEER_COMMIT,
        (True, True): State.COMMITTING2,
    }
    assert other.state is first_flight[ends, answer_ends]
    family.run_until(lambda: state_of(branch) is not State.CLONING)
    taken = {
        (False, False): State.ACTIVE,
        (False, True): State.PEER_COMMIT,
        (True, False): State.COMMITTED,
        (True, True): State.CLOSABLE,
    }
    assert branch.state is taken[ends, answer_ends]


@every_revision
def test_nothing_to_say_is_answered_after_a_round_trip(revision: Revision) -> None:
    """11.2 case 1, F28: a bare commit, which is no transaction of the application's."""
    family = Family(keyed_pair(revision=revision))
    branch = family.multiply(b"push")
    family.run_until(lambda: branch.is_established)
    other = family.accepted(branch)
    answers = [flight for flight in family.sent(Side.SERVER) if flight.datagram[:4] == other.local_ultid]
    assert family.op(answers[0]) is revision.bare_commit
    assert len(answers[0].datagram) == 32
    family.run_for(1)
    assert not branch.readable
    assert branch.state is State.CLOSABLE


def test_the_answer_waits_for_octets_no_longer_than_a_round_trip(family: Family) -> None:
    branch = family.multiply(b"question")
    family.run_until(lambda: bool(family.branches()))
    accepted_at = family.now
    srtt = family.accepted(branch).rtt.srtt
    family.run_until(lambda: bool(family.sent(Side.SERVER, Op.NULCOMMIT)))
    assert family.now == pytest.approx(accepted_at + srtt)


def test_an_empty_transaction_of_the_acceptor_is_not_taken_for_the_answer(family: Family) -> None:
    branch = family.multiply(b"question")
    family.run_until(lambda: bool(family.branches()))
    family.accepted(branch).commit()
    family.run_until(lambda: branch.readable)
    assert read_all(branch) == [b""]


def test_without_octets_multiply_is_no_transaction(family: Family) -> None:
    branch = family.multiply()
    family.run_until(lambda: branch.is_established)
    other = family.accepted(branch)
    assert not other.readable
    assert flags_of(family.multiply_of(branch)) & FLAG_EOT
    branch.send(b"later")
    branch.commit()
    family.run_until(lambda: branch.committed == 1)
    assert read_all(other) == [b"later"]


def test_an_open_branch_goes_on_with_its_transaction(family: Family) -> None:
    branch = family.multiply(b"one, ", ends=False)
    branch.send(b"two")
    branch.commit()
    family.run_until(lambda: branch.committed == 1)
    assert read_all(family.accepted(branch)) == [b"one, two"]


def test_more_than_a_packet(family: Family) -> None:
    octets = random.Random(1).randbytes(50_000)
    branch = family.multiply(octets)
    assert not flags_of(family.multiply_of(branch)) & FLAG_EOT
    family.run_until(lambda: branch.committed == 1)
    assert read_all(family.accepted(branch)) == [octets]


def test_what_waits_counts_as_unacknowledged(family: Family) -> None:
    branch = family.multiply(bytes(3000))
    assert branch.unacknowledged == 3000
    family.run_until(lambda: branch.committed == 1)
    assert branch.unacknowledged == 0


def test_branches_of_branches(family: Family) -> None:
    """A branch keeps the master key: its own branches are made of that (M23)."""
    child = family.multiply(b"child")
    family.run_until(lambda: child.is_established)
    grandchild = family.multiply(b"grandchild", parent=child)
    family.run_until(lambda: grandchild.is_established)
    assert read_all(family.accepted(grandchild)) == [b"grandchild"]
    back = family.multiply(b"back", side=Side.SERVER, parent=family.accepted(child))
    family.run_until(lambda: back.is_established)
    assert read_all(family.accepted(back)) == [b"back"]


def test_both_ends_at_once(family: Family) -> None:
    one, other = family.multiply(b"from the client"), family.multiply(b"from the server", side=Side.SERVER)
    family.run_until(lambda: one.is_established and other.is_established)
    assert read_all(family.accepted(one)) == [b"from the client"]
    assert read_all(family.accepted(other)) == [b"from the server"]


@pytest.mark.parametrize("mode", ["aead", "mac"])
def test_modes(mode: str) -> None:
    family = Family(keyed_pair(mode=mode))
    branch = family.multiply(b"first")
    family.run_until(lambda: branch.is_established)
    assert branch.keyring.sending.newest.secret.mode == mode
    assert read_all(family.accepted(branch)) == [b"first"]


# on the wire


def test_fields_of_multiply(family: Family) -> None:
    """11.1, M21, G13: the parent's last number and next serial; EoT and window are the branch's."""
    sn = (family.client.sent.next_sn - 1) & 0xFFFFFFFF
    serial = family.client._serial + 1
    branch = family.multiply(b"first")
    flight = family.multiply_of(branch)
    assert flight.datagram[:8] == branch.local_ultid + family.client.remote_ultid
    assert (sn_of(flight), expected_of(flight)) == (sn, serial)
    assert flags_of(flight) == FLAG_EOT
    assert int.from_bytes(flight.datagram[13:16], "big") == Settings().receive_window
    assert family.client.sent.next_sn == sn + 1  # none is taken in the parent
    opened = family.server.keyring.receiving.protection(sn).open(flight.datagram, True)
    assert opened == b"first"


def test_numbers_of_the_branch(family: Family) -> None:
    """The branch goes on from MULTIPLY's number; the acceptor's is far away (N2); it expects the next (M21)."""
    branch = family.multiply(b"first", ends=False)
    sn = sn_of(family.multiply_of(branch))
    family.run_until(lambda: branch.is_established)
    other = family.accepted(branch)
    answer = family.sent(Side.SERVER, Op.NULCOMMIT)[0]
    assert expected_of(answer) == sn + 1
    assert abs(sub(sn_of(answer), sn)) >= 2**30
    branch.send(b"second")
    family.flush()
    assert sn_of(family.sent(Side.CLIENT, Op.PURE_DATA, Op.PERSIST)[-1]) == sn + 1
    family.run_for(1)
    assert other.received.expected == sn + 2


def test_keys_of_the_branch(family: Family) -> None:
    """M24: MULTIPLY is under the parent's key, all else of the branch under its own, out-of-band packets too."""
    branch = family.multiply(b"first")
    family.run_for(2)
    other = family.accepted(branch)
    parent = family.client.keyring.sending.newest.secret
    origin = Branching(branch.local_ultid, family.client.remote_ultid, sn_of(family.multiply_of(branch)), 0)
    key = GAO_07.integrity.branch_aead(parent.schedule, 1, origin).batch(1)
    ultids = {branch.local_ultid, other.local_ultid}
    said = [
        flight for flight in family.record if flight.datagram[:4] in ultids and family.op(flight) is not Op.MULTIPLY
    ]
    assert {family.op(flight) for flight in said} == {Op.NULCOMMIT, Op.ACK_FLUSH}
    for flight in said:
        out_of_band = family.op(flight) is Op.ACK_FLUSH
        assert key.open(flight.datagram, out_of_band) is not None


def test_serials_of_the_branch(family: Family) -> None:
    """M24: the initiator's go on from MULTIPLY's, the acceptor's start at 1."""
    branch = family.multiply(b"first")
    serial = expected_of(family.multiply_of(branch))
    family.run_for(1)
    other = family.accepted(branch)
    first = next(f for f in family.sent(Side.CLIENT, Op.ACK_FLUSH) if f.datagram[:4] == branch.local_ultid)
    assert expected_of(first) == serial + 1
    branch.send(b"more")
    branch.commit()
    family.run_for(1)
    acceptors = [f for f in family.sent(Side.SERVER, Op.ACK_FLUSH) if f.datagram[:4] == other.local_ultid]
    assert expected_of(acceptors[0]) == 1


def test_older_serials_do_not_count_in_the_branch(family: Family) -> None:
    """M5, M24: the initiator's are newer than MULTIPLY's from the beginning."""
    branch = family.multiply(b"first")
    family.run_until(lambda: branch.is_established)
    other = family.accepted(branch)
    serial = expected_of(family.multiply_of(branch))
    codec = GAO_07.codec
    sn = (branch.sent.next_sn - 1) & 0xFFFFFFFF
    snack = branch.received.snack(family.now, gaps=False)
    key = branch.keyring.sending.newest.batch(0)[0]
    for number, drop in ((serial, {"replay": 1}), (serial + 1, {"replay": 1})):
        head, body = codec.acknowledgement(Op.ACK_FLUSH, 0, 64, sn, snack, number, None)
        other.receive([key.seal(branch.local_ultid + other.local_ultid, head, body, True)], Side.CLIENT, family.now)
        assert drops(other) == drop


def test_a_request_behind_newer_packets_of_its_parent(family: Family) -> None:
    """M22: the order of serials is no matter for MULTIPLY."""
    family.accept = False
    branch = Connection.multiply(family.client, family.ultid(), b"late", ends=True, now=family.now)
    datagrams = branch.datagrams_to_send(family.now)
    family.server.send(b"something to acknowledge")
    family.server.commit()
    family.run_for(1)
    assert family.server._last_serial > expected_of(Flight(Side.CLIENT, datagrams[0], 0.0))
    family.server.receive(datagrams, Side.CLIENT, family.now)
    assert [request.payload for request in family.server.take_branch_requests()] == [b"late"]


def test_multiply_does_not_hold_the_congestion_window(family: Family) -> None:
    """F30: its repeat is far away; but the pacer counts it."""
    before, credit = family.client.macroflow.in_flight, family.client.macroflow.credit
    branch = family.multiply(bytes(500))
    assert family.client.macroflow.in_flight == before
    assert family.client.macroflow.credit < credit
    family.run_until(lambda: branch.is_established)
    assert family.client.macroflow.in_flight == before


def test_the_initiator_need_not_prove_its_key(family: Family) -> None:
    """F26 is for keys that applications install: nobody without this one could have answered."""
    branch = family.multiply(b"first")
    family.run_until(lambda: branch.is_established)
    mark = len(family.record)
    branch.send(bytes(9 * 1024))
    family.flush()
    assert len([f for f in family.record[mark:] if f.datagram[:4] == branch.local_ultid]) == 9


def test_no_out_of_band_packet_before_the_answer() -> None:
    """M25; not even where reading opens a shut window."""
    family = Family(keyed_pair(Settings(receive_window=4)))
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    other._ack_now = True
    mark = len(family.record)
    family.flush()
    assert [family.op(flight) for flight in family.record[mark:]] == [Op.NULCOMMIT]


def test_round_trip_is_the_parents(family: Family) -> None:
    """8.5.1, for both ends."""
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.branches()))
    assert branch.rtt.srtt == family.client.rtt.srtt
    assert family.accepted(branch).rtt.srtt == family.server.rtt.srtt


def test_key_life_is_inherited() -> None:
    """11.1: what the parent's key has served counts for the branch (12.6)."""
    family = Family(keyed_pair(Settings(key_life=100)))
    for _ in range(60):
        family.client.send(b"x")
        family.client.commit()
        family.run_for(0.1)
    uses = family.client.keyring.sending.newest.uses
    branch = family.multiply(b"first")
    assert branch.keyring.sending.newest.uses == uses
    family.run_until(lambda: branch.is_established)
    for _ in range(60):
        if not branch.is_over:
            branch.send(b"x")
            branch.commit()
            family.run_for(0.1)
    assert branch.failure is not None
    assert branch.failure.kind is FailureKind.KEY_EXHAUSTED


def test_a_branch_re_keys_from_the_master_key() -> None:
    """7.5 in a branch, both directions."""
    family = Family(keyed_pair(Settings(rekey_after=16)))
    branch = family.multiply(b"first", ends=False)
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    octets = random.Random(5).randbytes(100_000)
    for end in (branch, other):
        end.send(octets)
        end.commit()
    family.run_until(lambda: branch.committed == 1 and other.committed == 1)
    assert read_all(other) == [b"first" + octets]
    assert read_all(branch) == [octets]
    assert branch.keyring.sending.newest.index(branch.sent.una) > 5


def test_a_branch_may_install_a_key_of_its_own(family: Family) -> None:
    branch = family.multiply(b"first")
    family.run_for(1)
    other = family.accepted(branch)
    read_all(other)
    for end in (branch, other):
        end.install_key(b"another key", key_bits=256)
    branch.send(b"under it")
    branch.commit()
    family.run_until(lambda: branch.committed == 2)
    assert read_all(other) == [b"under it"]
    assert branch.keyring.sending.newest.secret.lineage is not family.client.keyring.sending.newest.secret.lineage


# loss


@pytest.mark.parametrize("lost", [1, 2])
def test_multiply_is_repeated_octet_for_octet(family: Family, lost: int) -> None:
    """11.4: every 15 seconds."""
    family.lost = lambda flight: family.op(flight) is Op.MULTIPLY and len(family.sent(Side.CLIENT, Op.MULTIPLY)) <= lost
    begun = family.now
    branch = family.multiply(b"first")
    family.run_until(lambda: branch.is_established, 60)
    sent = family.sent(Side.CLIENT, Op.MULTIPLY)
    assert [round(flight.sent_at - begun) for flight in sent] == [15 * n for n in range(lost + 1)]
    assert len({flight.datagram for flight in sent}) == 1


def test_no_answer_for_a_minute(family: Family) -> None:
    """12.2"""
    family.lost = lambda flight: flight.sender is Side.CLIENT
    branch = family.multiply(b"first")
    family.run_for(61)
    assert branch.failure is not None
    assert branch.failure.kind is FailureKind.HANDSHAKE_TIMEOUT


def test_a_lost_answer_is_repeated(family: Family) -> None:
    answers: list[Flight] = []

    def lost(flight: Flight) -> bool:
        if family.op(flight) is Op.NULCOMMIT:
            answers.append(flight)
        return family.op(flight) is Op.NULCOMMIT and len(answers) <= 3

    family.lost = lost
    branch = family.multiply(b"first")
    family.run_until(lambda: branch.is_established, 30)
    assert len(family.branches()) == 1
    assert len({flight.datagram for flight in answers}) == 1


def test_a_repeated_multiply_draws_the_answer_before_doublings_would(family: Family) -> None:
    """11.3: the head of the send queue is sent again."""
    family.lost = lambda flight: family.op(flight) is Op.NULCOMMIT and flight.sent_at < 1_000_000
    branch = family.multiply(b"first")
    multiply = family.multiply_of(branch)
    family.run_for(10)  # at 1, 3, 7 seconds; the next would come at 15
    family.lost = lambda flight: False
    mark = len(family.record)
    family.dispatch(multiply)
    family.run_until(lambda: branch.is_established, 1)
    assert [family.op(f) for f in family.record[mark:]][:2] == [Op.MULTIPLY, Op.NULCOMMIT]
    assert len(family.branches()) == 1


def test_data_that_overtakes_the_answer_is_kept(family: Family) -> None:
    """5.15: PURE_DATA is kept unopened, up to eight packets."""
    held: list[Flight] = []

    def hold(flight: Flight) -> bool:
        if family.op(flight) is Op.PERSIST and flight.sender is Side.SERVER and not held:
            held.append(flight)
            return True
        return False

    branch = family.multiply(b"question")
    family.run_until(lambda: bool(family.branches()))
    family.lost = hold
    octets = random.Random(9).randbytes(6000)
    other = family.accepted(branch)
    other.send(octets)
    other.commit()
    family.run_for(0.1)
    assert state_of(branch) is State.CLONING
    assert len(branch._limbo) == 5
    family.dispatch(held[0])
    family.run_until(lambda: branch.readable, 0.1)
    assert read_all(branch) == [octets]


@every_revision
def test_a_bare_end_does_not_overtake_the_answer(revision: Revision) -> None:
    """It would be taken for the answer, and the octets before it would be lost (F33)."""
    family = Family(keyed_pair(revision=revision))
    branch = family.multiply(b"question")
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    mark = len(family.record)
    family.lost = lambda flight: flight.sender is Side.SERVER and len(family.record) <= mark + 1
    other.send(bytes(512))
    family.flush()
    other.commit()
    family.run_until(lambda: other.committed == 1)
    assert read_all(branch) == [bytes(512)]


def test_what_is_kept_is_bounded(family: Family) -> None:
    branch = family.multiply(b"question")
    head = GAO_07.codec.head(GAO_07.codec.op_codes[Op.PURE_DATA], 24, 0, 64, 7, sn_of(family.multiply_of(branch)) + 1)
    forged = b"\xa0\xa0\xa0\xa0" + branch.local_ultid + head + bytes(8) + b"forged"
    for _ in range(100):
        branch.receive([forged], Side.SERVER, family.now)
    assert len(branch._limbo) == 8
    family.run_until(lambda: branch.is_established)
    assert not branch._limbo
    assert not branch.readable


@pytest.mark.parametrize("seed", range(10))
@every_revision
def test_loss_both_ways(revision: Revision, seed: int) -> None:
    settings = Settings(timers=Timers.responsive())
    family = Family(keyed_pair(settings, revision=revision))
    chance = random.Random(seed)
    family.lost = lambda flight: chance.random() < 0.2
    branches = [family.multiply(b"question %d" % n) for n in range(10)]
    answered: set[bytes] = set()

    def answer() -> bool:
        for branch in branches:
            if branch.local_ultid not in answered:
                try:
                    other = family.accepted(branch)
                except AssertionError:
                    continue
                answered.add(branch.local_ultid)
                other.send(bytes(5000))
                other.commit()
        return all(branch.committed == 1 and branch.received.ready_octets == 5000 for branch in branches)

    if revision is REFERENCE_2020:  # a lost ACK_FLUSH is not made good there
        family.lost = lambda flight: family.op(flight) is Op.MULTIPLY and chance.random() < 0.2
    family.run_until(answer, 120)
    assert len(family.branches()) == 10


def test_nonces_are_used_once() -> None:
    """N1 to N5, M24: two ends, branches and branches of those, loss, refusals, re-keying."""
    with NonceLedger() as ledger:
        family = Family(keyed_pair(Settings(timers=Timers.responsive(), rekey_after=32)))
        chance = random.Random(4)
        family.lost = lambda flight: chance.random() < 0.1
        branches = [
            family.multiply(bytes(200 * n), ends=bool(n % 2), side=side)
            for n in range(12)
            for side in (Side.CLIENT, Side.SERVER)
        ]
        family.run_until(lambda: all(branch.is_established for branch in branches), 120)
        children = [
            family.multiply(b"child", side=side, parent=parent)
            for parent, side in zip(branches, [Side.CLIENT, Side.SERVER] * 12, strict=True)
        ]
        for end in [*branches, *children]:
            end.send(bytes(20_000))
            end.commit()
        family.run_until(lambda: all(end.committed for end in [*branches, *children]), 120)
    assert ledger.sealed > 1000


# refusals


@every_revision
def test_a_refusal(revision: Revision) -> None:
    """11.2 case 3, M26."""
    family = Family(keyed_pair(revision=revision), accept=False)
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.requests))
    family.server.refuse_branch(family.requests[0], ResetReason.REJECTED)
    family.run_until(lambda: branch.is_over, 1)
    assert branch.failure is not None
    assert branch.failure.kind is FailureKind.REFUSED
    if revision is not REFERENCE_2020:  # whose RESET has no reason
        assert branch.failure.reason == ResetReason.REJECTED
    assert not family.server.is_over


def test_fields_of_a_refusal(family: Family) -> None:
    family.accept = False
    branch = family.multiply(b"first")
    multiply = family.multiply_of(branch)
    family.run_until(lambda: bool(family.requests))
    family.server.refuse_branch(family.requests[0], 7)
    family.flush()
    reset = family.sent(Side.SERVER, Op.RESET)[0]
    assert reset.datagram[:8] == family.server.local_ultid + branch.local_ultid
    assert (sn_of(reset), expected_of(reset)) == (expected_of(multiply), sn_of(multiply))
    assert branch.keyring.receiving.newest.batch(0)[0].open(reset.datagram) == b""


def test_a_lost_refusal_is_repeated_octet_for_octet(family: Family) -> None:
    family.accept = False
    family.lost = lambda flight: family.op(flight) is Op.RESET and len(family.sent(Side.SERVER, Op.RESET)) == 1
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.requests))
    family.server.refuse_branch(family.requests[0], ResetReason.REJECTED)
    family.run_until(lambda: branch.is_over, 20)
    resets = family.sent(Side.SERVER, Op.RESET)
    assert len(resets) == 2
    assert resets[0].datagram == resets[1].datagram
    assert len(family.requests) == 1


def test_a_branch_reset_before_its_answer_is_a_refusal(family: Family) -> None:
    """F31"""
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.branches()))
    family.accepted(branch).reset(ResetReason.APPLICATION, family.now)
    family.run_until(lambda: branch.is_over, 1)
    assert branch.failure is not None
    assert branch.failure.kind is FailureKind.REFUSED


def test_a_branch_reset_after_a_lost_answer(family: Family) -> None:
    family.lost = lambda flight: family.op(flight) is Op.NULCOMMIT
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.sent(Side.SERVER, Op.NULCOMMIT)))
    family.accepted(branch).reset(ResetReason.APPLICATION, family.now)
    family.run_until(lambda: branch.is_over, 1)
    assert branch.failure is not None
    assert branch.failure.kind is FailureKind.RESET_BY_PEER


def test_a_repeated_request_for_a_branch_that_was_reset_draws_the_same_reset(family: Family) -> None:
    """M22: both the answer and the RESET are lost."""
    family.lost = lambda flight: flight.sender is Side.SERVER
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.sent(Side.SERVER, Op.NULCOMMIT)))
    family.accepted(branch).reset(9, family.now)
    family.run_for(2)
    family.lost = lambda flight: False
    mark = len(family.record)
    family.dispatch(family.multiply_of(branch))
    family.run_until(lambda: branch.is_over, 1)
    assert [family.op(flight) for flight in family.record[mark:]] == [Op.MULTIPLY, Op.RESET]
    assert branch.failure is not None
    assert branch.failure.reason == 9


def test_no_key_is_installed_before_the_answer(family: Family) -> None:
    """The answer would be under it, and the initiator does not have it."""
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    read_all(other)
    with pytest.raises(KeyInstallationRefused):
        other.install_key(b"too early")


def test_an_answer_that_acknowledges_something_else(family: Family) -> None:
    """11.2: the acceptor expects the number after MULTIPLY's."""
    family.lost = lambda flight: flight.sender is Side.SERVER
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    key = other.keyring.sending.newest.batch(0)[0]
    codec = GAO_07.codec
    for wrong in (-1, 1):
        expected = (branch.sent.next_sn + wrong) & 0xFFFFFFFF
        head = codec.head(codec.op_codes[Op.NULCOMMIT], 24, FLAG_EOT, 64, other.sent.next_sn, expected)
        branch.receive([key.seal(other.local_ultid + branch.local_ultid, head, b"")], Side.SERVER, family.now)
    assert drops(branch) == {"acknowledgement": 2}


def test_refusals_remembered_are_bounded(family: Family) -> None:
    family.accept = False
    for _ in range(multiplication.MOST_REFUSALS + 10):
        family.multiply(b"first")
    family.run_for(0.1)
    for request in family.requests:
        family.server.refuse_branch(request, 2)
    assert family.server._family is not None
    assert len(family.server._family.refusals) == multiplication.MOST_REFUSALS


@every_revision
@pytest.mark.parametrize("early", [True, False], ids=["before the request", "before the answer"])
def test_a_branch_that_is_given_up(revision: Revision, early: bool) -> None:
    """5.15 sends nothing; whoever has accepted is told when the answer comes (F32)."""
    family = Family(keyed_pair(revision=revision))
    branch = family.multiply(b"first")
    if not early:
        family.run_until(lambda: bool(family.branches()))
    mark = len(family.record)
    branch.reset(9, family.now)
    assert branch.state is State.NON_EXISTENT
    assert len(family.record) == mark
    family.run_for(1)
    other = family.accepted(branch)
    assert other.failure is not None
    assert other.failure.kind is FailureKind.RESET_BY_PEER
    if revision is not REFERENCE_2020:
        assert other.failure.reason == 9


# when it cannot be done


def test_no_branch_without_a_key() -> None:
    """M23: CRC64 has none."""
    pair = established()
    with pytest.raises(MultiplicationRefused, match="without a key"):
        pair.client.may_multiply()


def test_no_branch_while_connecting() -> None:
    pair = Pair.connecting()
    with pytest.raises(MultiplicationRefused, match="CONNECT_BOOTSTRAP"):
        pair.client.may_multiply()


def test_no_branch_of_a_branch_that_is_not_answered(family: Family) -> None:
    branch = family.multiply(b"first")
    with pytest.raises(MultiplicationRefused, match="CLONING"):
        branch.may_multiply()


def test_no_branch_under_a_mac_in_jason_00() -> None:
    pair = keyed_pair(revision=JASON_00, mode="mac")
    with pytest.raises(MultiplicationRefused, match="MAC"):
        pair.client.may_multiply()


def test_not_before_the_peer_has_the_key() -> None:
    pair = established()
    pair.client.install_key(KEY, key_bits=128)
    assert not pair.client.may_multiply()
    pair.run_for(1)
    pair.server.install_key(KEY, key_bits=128)
    pair.run_for(3)
    assert pair.client.may_multiply()


def test_an_ultid_serves_once_under_a_master_key(family: Family) -> None:
    branch = family.multiply(b"first")
    family.run_until(lambda: branch.is_established)
    for parent in (family.client, branch):
        with pytest.raises(MultiplicationRefused, match="served"):
            Connection.multiply(parent, branch.local_ultid, b"", ends=True, now=family.now)


def test_branches_under_one_key_are_bounded(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsp_trio.core.lineage.MOST_BRANCHES", 3)
    for _ in range(3):
        family.multiply(b"first")
    with pytest.raises(MultiplicationRefused, match="too often"):
        family.client.may_multiply()


def test_branches_taken_under_one_key_are_bounded(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplication, "MOST_BRANCHES", 3)
    for _ in range(5):
        family.multiply(b"first")
    family.run_for(0.1)
    assert len(family.branches()) == 3
    assert drops(family.server) == {"branches": 2}


def test_requests_that_nobody_looks_at_are_bounded(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplication, "MOST_REQUESTS", 3)
    for _ in range(5):
        Connection.multiply(family.client, family.ultid(), b"x", ends=True, now=family.now)
    packets = []
    for n in range(5):
        branch = Connection.multiply(family.client, family.ultid(), b"%d" % n, ends=True, now=family.now)
        packets += branch.datagrams_to_send(family.now)
    family.server.receive(packets, Side.CLIENT, family.now)
    assert len(family.server.take_branch_requests()) == 3
    assert drops(family.server) == {"branches": 2}
    family.server.receive(packets, Side.CLIENT, family.now)  # the others are not forgotten for ever
    assert len(family.server.take_branch_requests()) == 2


# replays and duplicates: none is accepted twice


@pytest.fixture
def recorded(family: Family) -> tuple[Family, Connection, bytes]:
    """A branch that was accepted, and its MULTIPLY as an attacker has recorded it."""
    branch = family.multiply(b"pay 100")
    family.run_until(lambda: branch.is_established)
    return family, branch, family.multiply_of(branch).datagram


def _at_once(family: Family, branch: Connection) -> None:
    """As the network doubles packets."""


def _after_data(family: Family, branch: Connection) -> None:
    branch.send(b"more")
    branch.commit()
    family.run_for(1)


def _after_the_end(family: Family, branch: Connection) -> None:
    other = family.accepted(branch)
    for end in (branch, other):
        end.shutdown(family.now)
    family.run_until(lambda: branch.is_over and other.is_over)


def _after_a_reset_by_the_initiator(family: Family, branch: Connection) -> None:
    branch.reset(1, family.now)
    family.run_for(1)


def _after_a_reset_by_the_acceptor(family: Family, branch: Connection) -> None:
    family.accepted(branch).reset(1, family.now)
    family.run_for(1)


def _after_other_branches(family: Family, branch: Connection) -> None:
    for _ in range(20):
        family.multiply(b"other")
    family.run_for(1)


def _after_much_in_the_parent(family: Family, branch: Connection) -> None:
    family.client.send(bytes(3_000_000))
    family.client.commit()

    def all_there() -> bool:
        read_all(family.server)
        return family.client.committed >= 2

    family.run_until(all_there, 60)


def _after_a_new_key(family: Family, branch: Connection) -> None:
    for end in (family.client, family.server):
        end.install_key(b"a second key", key_bits=128)
    family.run_for(1)


def _long_after_a_new_key(family: Family, branch: Connection) -> None:
    _after_a_new_key(family, branch)
    for _ in range(3):
        for end in (family.client, family.server):
            end.send(b"x")
            end.commit()
        family.run_for(61)


def _after_the_parent_was_released(family: Family, branch: Connection) -> None:
    for end in (family.client, family.server):
        end.shutdown(family.now)
    family.run_for(2)


def _after_the_parent_was_reset(family: Family, branch: Connection) -> None:
    family.server.reset(1, family.now)
    family.run_for(1)


REPLAYS = [
    _at_once,
    _after_data,
    _after_the_end,
    _after_a_reset_by_the_initiator,
    _after_a_reset_by_the_acceptor,
    _after_other_branches,
    _after_much_in_the_parent,
    _after_a_new_key,
    _long_after_a_new_key,
    _after_the_parent_was_released,
    _after_the_parent_was_reset,
]


@pytest.mark.parametrize("scene", REPLAYS, ids=lambda scene: scene.__name__.strip("_"))
def test_replayed(recorded: tuple[Family, Connection, bytes], scene: Callable[[Family, Connection], None]) -> None:
    """M22: a MULTIPLY counts once as long as it can be opened at all."""
    family, branch, datagram = recorded
    scene(family, branch)
    before = len(family.branches())
    for _ in range(3):
        family.server.receive([datagram], Side.CLIENT, family.now)
    family.run_for(1)
    assert len(family.branches()) == before
    assert not family.server.take_branch_requests()


def test_replayed_to_a_branch(recorded: tuple[Family, Connection, bytes]) -> None:
    """Neither the branch nor its other end takes the parent's MULTIPLY for one of its own."""
    family, branch, datagram = recorded
    other = family.accepted(branch)
    for end in (branch, other):
        end.receive([datagram[:4] + end.local_ultid + datagram[8:]], Side.CLIENT, family.now)
        assert not end.take_branch_requests()
        assert sum(drops(end).values()) == 1


def test_replayed_under_another_ultid(recorded: tuple[Family, Connection, bytes]) -> None:
    family, _, datagram = recorded
    family.server.receive([b"\xc0\xc1\xc2\xc3" + datagram[4:]], Side.CLIENT, family.now)
    assert drops(family.server) == {"icc": 1}
    assert not family.server.take_branch_requests()


def test_reflected_to_its_sender(recorded: tuple[Family, Connection, bytes]) -> None:
    """Both ends have one key; the ULTIDs in the check code tell the directions apart."""
    family, _, datagram = recorded
    family.client.receive([datagram[:4] + family.client.local_ultid + datagram[8:]], Side.SERVER, family.now)
    assert not family.client.take_branch_requests()


def test_delayed_behind_newer_serials(family: Family) -> None:
    """M22: requests come in any order of their serials, each once."""
    packets = []
    for n in range(10):
        branch = Connection.multiply(family.client, family.ultid(), b"%d" % n, ends=True, now=family.now)
        packets += branch.datagrams_to_send(family.now)
    for datagram in [*reversed(packets), *packets]:
        family.server.receive([datagram], Side.CLIENT, family.now)
    requests = family.server.take_branch_requests()
    assert [request.payload for request in requests] == [b"%d" % n for n in reversed(range(10))]


def test_a_second_request_with_the_same_ultid(family: Family) -> None:
    """Its key would be that of the first (M23)."""
    ultid = family.ultid()
    for payload in (b"one", b"two"):
        family.client.keyring.sending.newest.secret.lineage._drawn = None
        branch = Connection.multiply(family.client, ultid, payload, ends=True, now=family.now)
        family.server.receive(branch.datagrams_to_send(family.now), Side.CLIENT, family.now)
    assert [request.payload for request in family.server.take_branch_requests()] == [b"one"]
    assert drops(family.server) == {"branch-ultid": 1}


def test_a_repeated_request_that_waits_is_one_request(family: Family) -> None:
    family.accept = False
    branch = family.multiply(b"first")
    family.run_for(50)
    assert len(family.sent(Side.CLIENT, Op.MULTIPLY)) == 4
    assert len(family.requests) == 1
    family.take(Side.SERVER, family.server, family.requests[0])
    family.run_until(lambda: branch.is_established, 1)


# what is not believed


@pytest.mark.parametrize("octet", [8, 9, 10, 12, 14, 17, 21, 26, 33])
def test_an_altered_multiply(family: Family, octet: int) -> None:
    family.lost = lambda flight: True
    branch = family.multiply(b"first")
    datagram = bytearray(family.multiply_of(branch).datagram)
    datagram[octet] ^= 1
    family.server.receive([bytes(datagram)], Side.CLIENT, family.now)
    assert not family.server.take_branch_requests()
    assert sum(drops(family.server).values()) == 1


@pytest.mark.parametrize("octet", [1, 8, 9, 12, 14, 17, 21, 26])
def test_an_altered_answer(family: Family, octet: int) -> None:
    family.lost = lambda flight: flight.sender is Side.SERVER
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.sent(Side.SERVER, Op.NULCOMMIT)))
    datagram = bytearray(family.sent(Side.SERVER, Op.NULCOMMIT)[0].datagram)
    datagram[octet] ^= 1
    branch.receive([bytes(datagram)], Side.SERVER, family.now)
    assert branch.state is State.CLONING
    assert sum(drops(branch).values()) == 1


@pytest.mark.parametrize("octet", [1, 8, 12, 14, 17, 21, 26])
@every_revision
def test_an_altered_refusal(revision: Revision, octet: int) -> None:
    family = Family(keyed_pair(revision=revision), accept=False)
    family.lost = lambda flight: flight.sender is Side.SERVER
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.requests))
    family.server.refuse_branch(family.requests[0], 2)
    family.flush()
    reset = bytearray(family.sent(Side.SERVER, Op.RESET)[0].datagram)
    reset[octet] ^= 1
    branch.receive([bytes(reset)], Side.SERVER, family.now)
    assert branch.state is State.CLONING
    branch.receive([family.sent(Side.SERVER, Op.RESET)[0].datagram], Side.SERVER, family.now)
    assert branch.is_over


def test_an_answer_with_our_own_ultid(family: Family) -> None:
    """What an end sends could be sent back to it (F15)."""
    family.lost = lambda flight: flight.sender is Side.SERVER
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.sent(Side.SERVER, Op.NULCOMMIT)))
    answer = family.sent(Side.SERVER, Op.NULCOMMIT)[0].datagram
    branch.receive([branch.local_ultid + answer[4:]], Side.SERVER, family.now)
    assert drops(branch) == {"source-ultid": 1}


def test_out_of_band_packets_do_not_answer(family: Family) -> None:
    """M25"""
    branch = family.multiply(b"first")
    family.run_for(1)
    said = [f for f in family.sent(Side.SERVER) if f.datagram[4:8] == branch.local_ultid]
    other = family.multiply(b"second")
    for flight in said:
        other.receive([flight.datagram[:4] + other.local_ultid + flight.datagram[8:]], Side.SERVER, family.now)
    assert state_of(other) is State.CLONING


def test_nothing_is_multiplied_under_crc64() -> None:
    """M23: such a MULTIPLY is dropped, though its check code is good."""
    pair = established()
    client = pair.client
    sn = (client.sent.next_sn - 1) & 0xFFFFFFFF
    head = GAO_07.codec.head(GAO_07.codec.op_codes[Op.MULTIPLY], 24, FLAG_EOT, 64, sn, client._serial + 1)
    datagram = client.keyring.sending.protection(sn).seal(b"\xb4\xb4\xb4\xb4" + client.remote_ultid, head, b"x", True)
    pair.server.receive([datagram], Side.CLIENT, pair.clock.now)
    assert not pair.server.take_branch_requests()
    assert drops(pair.server) == {"multiply": 1}


def test_only_a_connected_parent_takes_requests(family: Family) -> None:
    """11.2"""
    family.server.shutdown(family.now)
    branch = family.multiply(b"first")
    family.run_for(0.1)
    assert not family.branches()
    assert drops(family.server).get("state") == 1
    assert branch.state is State.CLONING


def test_numbers_far_behind(family: Family) -> None:
    """M22: [left - 2^20, right edge]."""
    family.accept = False
    client = family.client
    secret = client.keyring.sending.newest.secret
    for distance, taken in ((0, 1), (2**20 - 1, 1), (2**20 + 1, 0)):
        sn = (family.server.received.expected - 1 - distance) & 0xFFFFFFFF
        serial = client._next_serial()
        head = GAO_07.codec.head(GAO_07.codec.op_codes[Op.MULTIPLY], 24, FLAG_EOT, 64, sn, serial)
        datagram = secret.batch(0, 0)[0].seal(family.ultid() + client.remote_ultid, head, b"x", True)
        family.server.keyring.receiving.eras[:] = family.server.keyring.receiving.eras[-1:]
        family.server.receive([datagram], Side.CLIENT, family.now)
        assert len(family.server.take_branch_requests()) == taken


def test_numbers_of_both_directions_too_near(family: Family) -> None:
    """N2b: an acceptor that draws its numbers without care gets no branch."""
    family.lost = lambda flight: flight.sender is Side.SERVER
    branch = family.multiply(b"first")
    family.run_until(lambda: bool(family.branches()))
    other = family.accepted(branch)
    sn = branch.sent.next_sn + 1000
    head = GAO_07.codec.head(GAO_07.codec.op_codes[Op.NULCOMMIT], 24, FLAG_EOT, 64, sn, branch.sent.next_sn)
    key = other.keyring.sending.newest.batch(0)[0]
    branch.receive([key.seal(other.local_ultid + branch.local_ultid, head, b"")], Side.SERVER, family.now)
    assert branch.failure is not None
    assert branch.failure.kind is FailureKind.KEY_EXHAUSTED


def test_features_that_are_not_there(family: Family) -> None:
    """F5: a request that needs them is refused."""
    client = family.client
    family.server.revision = dataclasses.replace(GAO_07, minimal_delay_flag=0, unsupported_flags=FLAG_MIND)
    branch = family.multiply(b"lost")
    family.run_for(1)
    del branch
    sn = (client.sent.next_sn - 1) & 0xFFFFFFFF
    head = GAO_07.codec.head(GAO_07.codec.op_codes[Op.MULTIPLY], 24, FLAG_MIND, 64, sn, client._next_serial())
    datagram = client.keyring.sending.protection(sn).seal(family.ultid() + client.remote_ultid, head, b"x", True)
    family.server.receive([datagram], Side.CLIENT, family.now)
    assert not family.server.take_branch_requests()
    family.flush()
    assert family.sent(Side.SERVER, Op.RESET)[-1].datagram[12:16] == bytes([0, 0, 0, ResetReason.UNSUPPORTED])


def test_a_branch_outlives_its_parent_in_the_core(family: Family) -> None:
    """It is a connection of its own; what ends with what is the session's business."""
    branch = family.multiply(b"first")
    family.run_until(lambda: branch.is_established)
    family.client.reset(1, family.now)
    family.run_for(1)
    branch.send(b"still here")
    branch.commit()
    family.run_until(lambda: branch.committed == 2)


def test_the_peer_moves_and_multiplies(family: Family) -> None:
    """10.3: MULTIPLY is a packet like any other, if it is the latest."""
    branch = Connection.multiply(family.client, family.ultid(), b"first", ends=True, now=family.now)
    family.server.receive(branch.datagrams_to_send(family.now), "elsewhere", family.now)
    assert family.server.remote == "elsewhere"
