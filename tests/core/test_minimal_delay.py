"""Messages with minimal delay, packet by packet (gao-07 4.6, 8.7, 8.9)."""

from __future__ import annotations

import dataclasses
import random

import pytest

from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ConnectionMisuse, FailureKind, KeyInstallationRefused
from fsp_trio.core.messages import Message, MessageBuffer, MessageQueue
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import JASON_00
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import FLAG_CPR, FLAG_ECE, FLAG_EOT, FLAG_MIND, Op

from .family import Family, keyed_pair
from .pair import Pair, Side
from .situations import affirming_client, challenging_server
from .talk import (
    KEY,
    QUIET,
    RESPONSIVE,
    drain,
    drop_only,
    established,
    flags_of,
    op_of,
    sent_by,
    sn_of,
    state_of,
    transfer,
)
from .wiretap import Wiretap


def flowing(settings: Settings = RESPONSIVE) -> Pair:
    """The client has gone over to messages, and sent one."""
    pair = established(settings, key=KEY)
    pair.client.begin_messages()
    pair.client.send_message(b"first")
    pair.run_for(QUIET)
    assert messages(pair.server, pair) == [b"first"]
    return pair


def messages(connection: Connection, pair: Pair) -> list[bytes]:
    read = []
    while (message := connection.read_message(1e9, pair.clock.now)) is not None:
        read.append(message)
    return read


def crafted(pair: Pair, op: Op, ahead: int, payload: bytes, flags: int = FLAG_MIND) -> bytes:
    """A packet of the client's, `ahead` of those that it has sent."""
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    sn = wiretap.speakers[Side.CLIENT].next_sn + ahead & 0xFFFFFFFF
    return wiretap.craft(Side.CLIENT, op, sn=sn, expected=pair.server.sent.next_sn, flags=flags, payload=payload)


def give(pair: Pair, datagram: bytes) -> None:
    pair.server.receive([datagram], Side.CLIENT, pair.clock.now)


def test_the_flag_is_on_persist_and_on_every_pure_data() -> None:
    """8.9, M43; and no packet ends anything."""
    pair = established(RESPONSIVE, key=KEY)
    pair.client.begin_messages()
    mark = len(pair.record)
    for i in range(5):
        pair.client.send_message(b"%d" % i)
        pair.run_for(QUIET)
    sent = sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA, since=mark)
    assert [op_of(flight) for flight in sent] == [Op.PERSIST] + 4 * [Op.PURE_DATA]
    assert {flags_of(flight) for flight in sent} == {FLAG_MIND}
    assert messages(pair.server, pair) == [b"0", b"1", b"2", b"3", b"4"]
    assert state_of(pair.client) is State.PEER_COMMIT
    assert state_of(pair.server) is State.COMMITTED


@pytest.mark.parametrize("number", range(6))
def test_any_one_packet_may_be_lost_and_is_not_sent_again(number: int) -> None:
    """8.9; the PERSIST is one of them: the PURE_DATA after it begins the flow as well (F60)."""
    pair = established(RESPONSIVE, key=KEY)
    pair.client.begin_messages()
    retransmissions = pair.client.statistics.retransmissions
    drop_only(pair, number, lambda flight: flight.sender is Side.CLIENT)
    for i in range(6):
        pair.client.send_message(b"%d" % i)
        pair.run_for(QUIET)
    pair.run_for(10)
    assert messages(pair.server, pair) == [b"%d" % i for i in range(6) if i != number]
    assert pair.client.statistics.retransmissions == retransmissions
    assert not pair.client.sent.blocks
    assert pair.client.macroflow.in_flight == 0


def test_the_end_of_a_transaction_is_ignored() -> None:
    """4.6"""
    pair = flowing()
    mark = len(pair.record)
    give(pair, crafted(pair, Op.PURE_DATA, 0, b"last?", FLAG_MIND | FLAG_EOT))
    pair.run_for(QUIET)
    assert state_of(pair.server) is State.COMMITTED
    assert not sent_by(pair, Side.SERVER, Op.ACK_FLUSH, since=mark)
    assert messages(pair.server, pair) == [b"last?"]
    give(pair, crafted(pair, Op.NULCOMMIT, 1, b"", FLAG_EOT))
    assert state_of(pair.server) is State.COMMITTED


def test_the_flag_once_set_counts_for_what_follows() -> None:
    """4.6: "has been set"."""
    pair = flowing()
    give(pair, crafted(pair, Op.PURE_DATA, 0, b"without", 0))
    assert messages(pair.server, pair) == [b"without"]
    assert not pair.server.readable


def test_never_with_compression() -> None:
    """4.6"""
    pair = flowing()
    give(pair, crafted(pair, Op.PURE_DATA, 0, b"both", FLAG_MIND | FLAG_CPR))
    assert messages(pair.server, pair) == []
    assert pair.server.statistics.drops["flags"] == 1
    other = established(key=KEY).client
    other.compress_transaction()
    with pytest.raises(ConnectionMisuse):
        other.begin_messages()


def test_not_in_the_middle_of_a_transaction() -> None:
    """F60: neither is sent by us, nor taken from others."""
    pair = established(RESPONSIVE, key=KEY)
    pair.client.send(b"begun")
    with pytest.raises(ConnectionMisuse):
        pair.client.begin_messages()
    pair.run_for(QUIET)
    give(pair, crafted(pair, Op.PURE_DATA, 0, b"x"))
    assert pair.server.failure is not None
    assert pair.server.failure.kind is FailureKind.UNSUPPORTED


def test_a_packet_that_was_overtaken_is_read_in_its_place() -> None:
    """8.9: the order is kept, as long as nothing later has been read."""
    pair = flowing()
    late, later = crafted(pair, Op.PURE_DATA, 0, b"late"), crafted(pair, Op.PURE_DATA, 1, b"later")
    give(pair, later)
    give(pair, late)
    give(pair, late)
    assert messages(pair.server, pair) == [b"late", b"later"]
    assert pair.server.statistics.drops["late"] == 1
    give(pair, late)
    give(pair, later)
    assert messages(pair.server, pair) == []
    give(pair, crafted(pair, Op.PURE_DATA, 5, b"much later"))
    assert pair.server.statistics.messages_lost == 1, "the first of three that are missing"


def test_loss_is_told_by_ece() -> None:
    """F62, 8.7: nothing else tells the sender, since nothing is missed (M43)."""
    pair = flowing()
    before = pair.client.macroflow.reductions
    drop_only(pair, 0, lambda flight: flight.sender is Side.CLIENT)
    for i in range(6):
        pair.client.send_message(b"%d" % i)
        pair.run_for(0.001)
    mark = len(pair.record)
    pair.run_for(QUIET)
    reports = sent_by(pair, Side.SERVER, Op.KEEP_ALIVE, since=mark)
    assert flags_of(reports[-1]) & FLAG_ECE
    assert pair.client.macroflow.reductions == before + 1
    assert pair.server.statistics.messages_lost == 1


def test_a_class_of_its_own_for_congestion() -> None:
    """8.7, B18: what a flow loses does not slow down what goes to the same address without the flag."""
    pair = flowing()
    congestion = pair.client._congestion
    assert len(congestion) == 2
    wine = congestion._flows[Side.SERVER]
    pair.client.macroflow.congested(pair.clock.now, pair.clock.now)
    assert wine.reductions == 0
    assert wine.in_flight == 0


def test_the_other_direction_is_as_it_was() -> None:
    """8.9: it is acknowledged, and repeated where it was lost."""
    pair = flowing()
    dice = random.Random(5)
    pair.drop(lambda flight: dice.random() < 0.2)
    for _ in range(3):
        pair.client.send_message(b"meanwhile")
        transfer(pair, Side.SERVER, bytes(range(256)) * 400)
    assert pair.server.committed == 3


def test_no_more_than_a_report_in_a_while() -> None:
    """8.9, F61"""
    pair = flowing()
    mark = len(pair.record)
    for _ in range(100):
        pair.client.send_message(b"x")
        pair.run_for(0.01)
    assert 5 <= len(sent_by(pair, Side.SERVER, since=mark)) <= 21


def test_a_report_where_half_of_the_window_is_used() -> None:
    """M43: else a fast flow would stand still."""
    settings = dataclasses.replace(RESPONSIVE, receive_window=8)
    pair = flowing(settings)
    mark = len(pair.record)
    for _ in range(4):
        pair.client.send_message(b"x")
    pair.run_for(0.02)
    assert len(sent_by(pair, Side.SERVER, Op.KEEP_ALIVE, since=mark)) == 1


def test_a_window_that_is_used_up_opens_again() -> None:
    """8.6, M8: all reports are lost for a while."""
    settings = dataclasses.replace(RESPONSIVE, receive_window=8)
    pair = flowing(settings)
    heal = pair.drop_from(Side.SERVER)
    for _ in range(30):
        pair.client.send_message(b"unheard")
        pair.run_for(0.1)
    heal()
    pair.run_for(5)
    messages(pair.server, pair)
    for i in range(20):
        pair.client.send_message(b"%d" % i)
        pair.run_for(0.1)
    assert messages(pair.server, pair)[-1] == b"19"


def test_what_waits_too_long_makes_room_at_the_sender() -> None:
    pair = established(RESPONSIVE, key=KEY)
    pair.client.begin_messages(3)
    pair.client.send_message(b"0")
    heal = pair.drop(lambda flight: True)
    for i in range(1, 400):
        pair.client.send_message(b"%d" % i)
        pair.flush()
    assert pair.client.statistics.messages_unsent > 100
    heal()
    pair.run_for(30)
    assert messages(pair.server, pair)[-3:] == [b"397", b"398", b"399"]


def test_release_ends_a_flow_whose_last_packets_are_lost() -> None:
    """9.1: RELEASE is repeated like any other, and awaits nothing that was sent once."""
    pair = flowing()
    heal = pair.drop_from(Side.CLIENT)
    pair.client.send_message(b"lost")
    pair.client.shutdown(pair.clock.now)
    pair.run_for(3)
    heal()
    pair.run_for(5)
    assert pair.client.closed_confirmed
    assert state_of(pair.server) is State.SHUT_REQUESTED
    assert pair.server.peer_released
    assert drain(pair.server) == [], "no transaction has ended"


def test_a_release_that_comes_first_ends_it_all() -> None:
    pair = flowing()
    late = crafted(pair, Op.PURE_DATA, 0, b"late")
    give(pair, crafted(pair, Op.RELEASE, 1, b"", FLAG_EOT))
    assert state_of(pair.server) is State.SHUT_REQUESTED
    give(pair, late)
    assert messages(pair.server, pair) == [b"late"]


def test_no_key_takes_effect_in_a_flow() -> None:
    pair = flowing()
    for end in (pair.client, pair.server):
        with pytest.raises(KeyInstallationRefused):
            end.install_key(b"another")


def test_the_key_is_announced_before_what_may_be_lost() -> None:
    """M30: the bare commit is sent until it is acknowledged, messages are not."""
    pair = established(RESPONSIVE)
    pair.client.install_key(KEY)
    pair.server.install_key(KEY)
    pair.client.begin_messages()
    mark = len(pair.record)
    pair.client.send_message(b"secret")
    drop_only(pair, 0, lambda flight: flight.sender is Side.CLIENT)
    pair.run_for(5)
    assert op_of(sent_by(pair, Side.CLIENT, since=mark)[0]) is Op.NULCOMMIT
    assert messages(pair.server, pair) == [b"secret"]


def test_a_revision_without_it() -> None:
    pair = Pair.connecting(revision=JASON_00, welcome=b"hello")
    pair.run_for(1)
    with pytest.raises(ConnectionMisuse):
        pair.client.begin_messages()


def test_a_number_that_wraps() -> None:
    buffer = MessageBuffer(0xFFFFFFFE, 3)
    for i, sn in enumerate((0xFFFFFFFE, 0xFFFFFFFF, 1, 0)):
        assert buffer.put(Message(sn, b"%d" % i, float(i)))
    assert [message.payload for message in buffer.messages] == [b"1", b"3", b"2"]
    assert buffer.dropped == 1
    assert not buffer.put(Message(0xFFFFFFFE, b"again", 9.0))
    buffer.drop_before(2.5)
    assert buffer.take() == b"3"


def test_lost_numbers_are_not_remembered() -> None:
    """A peer may leave out as many as the window has."""
    buffer = MessageBuffer(0)
    assert buffer.skip(0, 2000)
    assert len(buffer._missing) <= 3
    assert buffer.lost >= 1997


def test_the_queue_keeps_the_newest() -> None:
    queue = MessageQueue(2, FLAG_MIND)
    for i in range(5):
        queue.append(b"%d" % i)
    assert queue.dropped == 3
    assert queue.octets == 2
    assert queue.cut_full(1000, 9) == [b"3", b"4"]
    assert not queue
    assert queue.octets == 0


def test_many_messages_leave_at_once() -> None:
    """Each message has a number of its own."""
    pair = established(RESPONSIVE, key=KEY)
    pair.client.begin_messages()
    mark = len(pair.record)
    for _ in range(10):
        pair.client.send_message(bytes(1000))
    pair.run_for(QUIET)
    numbers = [sn_of(flight) for flight in sent_by(pair, Side.CLIENT, since=mark)]
    assert numbers == [numbers[0] + i & 0xFFFFFFFF for i in range(10)]
    assert [len(message) for message in messages(pair.server, pair)] == [1000] * 10


def test_an_acceptance_may_begin_a_flow() -> None:
    """4.6: MIND of ACK_CONNECT_REQ; its EoT is ignored, and its payload is a message."""
    situation = affirming_client()
    pair, client = situation.pair, situation.subject
    datagram = situation.wiretap.craft(
        Side.SERVER,
        Op.ACK_CONNECT_REQ,
        sn=12345,
        expected=situation.wiretap.speakers[Side.CLIENT].next_sn,
        flags=FLAG_EOT | FLAG_MIND,
        payload=b"hello",
    )
    client.receive([datagram], Side.SERVER, pair.clock.now)
    assert state_of(client) is State.COMMITTING, "and not COMMITTING2"
    assert messages(client, pair) == [b"hello"]
    assert not client.readable


@pytest.mark.parametrize(("op", "confirms"), [(Op.PERSIST, True), (Op.PURE_DATA, False)])
def test_a_confirmation_may_begin_a_flow(op: Op, confirms: bool) -> None:
    """6.5: PERSIST confirms, nothing else with octets does."""
    situation = challenging_server()
    pair, server, wiretap = situation.pair, situation.subject, situation.wiretap
    sn = wiretap.speakers[Side.CLIENT].next_sn
    datagram = wiretap.craft(
        Side.CLIENT, op, sn=sn, expected=server.sent.next_sn, flags=FLAG_MIND | FLAG_EOT, payload=b"x"
    )
    server.receive([datagram], Side.CLIENT, pair.clock.now)
    assert (state_of(server) is State.COMMITTED) == confirms
    assert messages(server, pair) == ([b"x"] if confirms else [])


def test_multiply_may_begin_a_flow() -> None:
    """As ACK_CONNECT_REQ does: it begins a transaction (2)."""
    family = Family(keyed_pair(), accept=False)
    client = family.client
    sn = (client.sent.next_sn - 1) & 0xFFFFFFFF
    codec, flags = client.codec, FLAG_MIND | FLAG_EOT
    head = codec.head(codec.op_codes[Op.MULTIPLY], 24, flags, 64, sn, client._next_serial())
    datagram = client.keyring.sending.protection(sn).seal(family.ultid() + client.remote_ultid, head, b"x", True)
    family.server.receive([datagram], Side.CLIENT, family.now)
    (request,) = family.server.take_branch_requests()
    branch = family.take(Side.SERVER, family.server, request)
    assert state_of(branch) is State.COMMITTED
    assert branch.read_message(1.0, family.now) == b"x"
