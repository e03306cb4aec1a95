"""Repeats: when, how many, with which octets (gao-07 8.5.4; N1, B9, B10, M9, M12, M45)."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable

import pytest

from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.revisions import JASON_00, REFERENCE_2020, Revision
from fsp_trio.revisions.states import State
from fsp_trio.wire.codec import ULTID_PAIR
from fsp_trio.wire.packets import Op, Snack
from fsp_trio.wire.serial import add

from .pair import Pair, Side
from .situations import situation_in
from .talk import (
    IN_BAND,
    KEY,
    RESPONSIVE,
    drain,
    drop_only,
    established,
    every_single_loss,
    expected_of,
    op_of,
    sent_by,
    sn_of,
    state_of,
    transfer,
)
from .wiretap import CODEC, Wiretap

PERSIST_OF_2020 = REFERENCE_2020.codec.op_codes[Op.PERSIST]
KEEP_ALIVE_OF_2020 = REFERENCE_2020.codec.op_codes[Op.KEEP_ALIVE]
DATA_OF_2020 = {PERSIST_OF_2020, REFERENCE_2020.codec.op_codes[Op.PURE_DATA]}


def test_n1_an_unchanged_acknowledgement_repeats_the_octets() -> None:
    """N1: window, flags and all; under a key nothing else would be safe."""
    pair = established(key=KEY)
    mark = len(pair.record)
    pair.drop_from(Side.CLIENT)
    pair.client.send(b"again and again")
    pair.client.commit()
    pair.run_for(20.0)
    flights = sent_by(pair, Side.CLIENT, since=mark)
    assert len(flights) == 5
    assert len({flight.datagram for flight in flights}) == 1


def test_n1_the_window_may_have_grown_meanwhile() -> None:
    """N1: reading moves the window, not the acknowledgement; the repeat keeps the old one."""
    pair = established(key=KEY)
    pair.server.send(b"unread")
    pair.server.commit()
    pair.run_for(0.5)
    pair.drop_from(Side.CLIENT)
    mark = len(pair.record)
    pair.client.send(b"again")
    pair.run_for(0.5)
    drain(pair.client)
    pair.run_for(5.0)
    flights = sent_by(pair, Side.CLIENT, Op.PERSIST, since=mark)
    assert len(flights) == 3
    assert len({flight.datagram for flight in flights}) == 1


def test_n1_a_grown_acknowledgement_is_sealed_anew() -> None:
    """N1: only when E has grown, and then with the present one."""
    pair = established(key=KEY)
    undo = pair.drop_from(Side.CLIENT)
    mark = len(pair.record)
    pair.client.send(b"again")
    pair.run_for(0.1)
    pair.server.send(b"news")
    pair.run_for(1.5)
    first, second = sent_by(pair, Side.CLIENT, Op.PERSIST, since=mark)
    assert sn_of(first) == sn_of(second)
    assert expected_of(second) == add(expected_of(first), 1)
    assert first.datagram != second.datagram
    undo()
    pair.run_for(3.0)
    assert drain(pair.server) == [b"again"]


@pytest.mark.parametrize("settings", [Settings(), RESPONSIVE], ids=["draft", "responsive"])
@pytest.mark.parametrize("loss", [3, 4, 6])
def test_never_a_repeat_within_one_rto(settings: Settings, loss: int) -> None:
    """8.5.4, the MUST: looked at for each packet at the moment of its repeat."""
    pair = established(settings, delay=0.03)
    rng = random.Random(loss)
    pair.drop(lambda flight: rng.random() < 1 / loss)
    sent_at: dict[tuple[Side, int], float] = {}
    looked_at = len(pair.record)

    def look() -> bool:
        nonlocal looked_at
        for flight in pair.record[looked_at:]:
            if op_of(flight) in IN_BAND:
                key = (flight.sender, sn_of(flight))
                if key in sent_at:
                    assert flight.sent_at - sent_at[key] >= pair.end(flight.sender).rtt.rto - 1e-6
                sent_at[key] = flight.sent_at
        looked_at = len(pair.record)
        drain(pair.server)
        return pair.client.committed == 1

    pair.client.send(bytes(60_000))
    pair.client.commit()
    pair.run_until(look, 600.0)
    assert pair.client.statistics.retransmissions > 3


def test_the_time_out_doubles() -> None:
    """B9: up to a minute."""
    pair = established()
    pair.drop_from(Side.CLIENT)
    mark = len(pair.record)
    pair.client.send(b"x")
    pair.run_for(250.0)
    times = [flight.sent_at for flight in sent_by(pair, Side.CLIENT, Op.PERSIST, since=mark)]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])


def test_progress_ends_the_doubling() -> None:
    pair = established()
    undo = pair.drop_from(Side.CLIENT)
    pair.client.send(b"x")
    pair.run_for(10.0)
    assert pair.client.rtt.backoff > 1
    undo()
    pair.run_for(10.0)
    assert pair.client.rtt.backoff == 1


def test_b10_repeats_of_an_eot_that_had_arrived_do_not_slow_down_what_follows() -> None:
    """B10: the data was acknowledged at once, the ACK_FLUSHes were lost; then all is well again."""
    pair = established()
    undo = pair.drop(lambda flight: flight.sender is Side.SERVER and op_of(flight) is Op.ACK_FLUSH)
    pair.client.send(b"x")
    pair.client.commit()
    pair.run_for(0.05)
    pair.server.send(b"y")  # whose packet acknowledges it
    pair.run_for(20.0)
    assert pair.client.unacknowledged == 0
    assert pair.client.rtt.backoff >= 8
    undo()
    pair.run_until(lambda: pair.client.committed == 1, 40.0)
    assert pair.client.rtt.backoff == 1
    assert pair.client.rtt.timeout == 1.0


def test_at_most_half_as_many_repeats_in_an_interval() -> None:
    """8.5.4: M/2 in a clock interval in which M were sent, and one at least."""
    pair = established(Settings(timers=dataclasses.replace(Timers.draft(), granularity=0.1)))
    pair.client.macroflow.cwnd = 1e6
    undo = pair.drop_from(Side.CLIENT)
    mark = len(pair.record)
    pair.client.send(bytes(1024 * 20))
    pair.run_for(0.5)
    first = len(sent_by(pair, Side.CLIENT, since=mark))
    assert first == 20
    pair.client.macroflow.cwnd = 1e6
    pair.run_for(1.5)
    repeats = sent_by(pair, Side.CLIENT, since=mark + first)
    intervals = itertools.groupby(repeats, key=lambda flight: math.floor(flight.sent_at * 10 + 0.01))
    by_interval = [len(list(group)) for _, group in intervals]
    assert by_interval
    assert max(by_interval) <= 10
    undo()


def heard_but_lost(pair: Pair, payload: bytes) -> Callable[[], None]:
    """The client sends, and nothing of it arrives until the callable that is returned is called.

    Meanwhile a packet arrives that the server had sent before.
    """
    pair.server.send(b"a sign that the path is there")
    pair.flush()
    undo = pair.drop_from(Side.CLIENT)
    pair.client.send(payload)
    pair.flush()
    return undo


def test_at_least_one_repeat_however_small_the_congestion_window() -> None:
    """8.5.4: at least one packet may be repeated; 8.5.4 and 8.7: the others wait for the window."""
    pair = established()
    heard_but_lost(pair, bytes(1024 * 8))
    pair.run_for(0.5)
    pair.client.macroflow.cwnd = 2 * 1056
    mark = len(pair.record)
    pair.run_for(1.0)
    times = [flight.sent_at for flight in sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA, since=mark)]
    assert len(times) == 8
    assert times[1] == times[0], "the congestion window has room for two"
    assert all(b - a > 0.0099 for a, b in itertools.pairwise(times[1:])), "then one in a clock interval"


def test_half_of_what_one_interval_had_and_not_of_all_since_the_last_loss() -> None:
    """8.5.4: twenty seconds at one packet in 10 ms, then a break: one repeat in 10 ms, not a thousand."""
    pair = established(delay=0.005)
    for _ in range(2000):
        pair.client.send(bytes(100))
        pair.run_for(0.01)
        drain(pair.server)
    undo = pair.drop_from(Side.CLIENT)
    for _ in range(50):
        pair.client.send(bytes(100))
        pair.server.send(b"a sign that the path is there")
        pair.run_for(0.01)
        drain(pair.client)
    undo()
    pair.client.macroflow.cwnd = 1e6
    mark = len(pair.record)
    pair.run_for(3.0)
    moments = [flight.sent_at for flight in sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA, since=mark)]
    assert len(moments) >= 50
    assert all(b - a >= 0.0099 for a, b in itertools.pairwise(moments))


def test_while_nobody_answers_one_packet_asks_for_all() -> None:
    """RFC 5681, 5: the others leave the path, where they would shut out other connections, and wait."""
    pair = established()
    undo = pair.drop_from(Side.CLIENT)
    pair.client.send(bytes(1024 * 8))
    mark = len(pair.record)
    pair.run_for(8.0)
    flights = sent_by(pair, Side.CLIENT, since=mark)
    assert {sn_of(flight) for flight in flights[8:]} == {sn_of(flights[0])}
    spans = [b.sent_at - a.sent_at for a, b in itertools.pairwise(flights[7:])]
    assert spans == pytest.approx([1.0, 2.0, 4.0], abs=0.1)
    assert pair.client.macroflow.in_flight == len(flights[0].datagram)
    undo()
    mark = len(pair.record)
    pair.run_for(8.5)
    repeats = sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA, since=mark)
    assert [sn_of(flight) for flight in repeats] == [sn_of(flight) for flight in flights[:8]]
    assert repeats[-1].sent_at - repeats[0].sent_at < 0.5, "the answer brings the others, without another doubling"
    assert pair.client.unacknowledged == 0


def test_repeats_that_were_acknowledged_while_they_waited_are_not_sent() -> None:
    slow = dataclasses.replace(Timers.responsive(), granularity=0.1)
    pair = established(Settings(max_payload=100, timers=slow), RESPONSIVE, delay=0.001)
    pair.client.macroflow.cwnd = 1e6
    pair.server.send(b"a sign that the path is there")
    pair.flush()
    undo = pair.drop_from(Side.SERVER)
    pair.client.send(bytes(5000))
    pair.flush()
    pair.run_until(lambda: bool(pair.client._repeats), 5.0)
    waiting = len(pair.client._repeats)
    undo()
    before = pair.client.statistics.retransmissions
    pair.run_for(3.0)
    assert pair.client.sent.una == pair.client.sent.next_sn
    assert pair.client.statistics.retransmissions - before < waiting


def test_m12_a_lost_ack_flush_is_drawn_again() -> None:
    """M12, B10: everything is acknowledged cumulatively, and yet the EoT packet goes on until ACK_FLUSH comes."""
    pair = established()
    lost = drop_only(pair, 0, lambda flight: op_of(flight) is Op.ACK_FLUSH)
    mark = len(pair.record)
    pair.client.send(bytes(3000))
    pair.client.commit()
    pair.run_for(0.5)
    assert pair.client.committed == 0
    pair.run_for(5.0)
    assert lost() >= 2
    assert pair.client.committed == 1
    assert len(sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA, since=mark)) > 3
    assert state_of(pair.client) is State.CLOSABLE


def test_b10_cumulative_acknowledgement_of_eot_is_no_flush() -> None:
    """B10, 2: only an ACK_FLUSH that covers everything sent ends COMMITTING2."""
    pair = established()
    pair.drop(lambda flight: op_of(flight) is Op.ACK_FLUSH)
    pair.client.send(b"mine")
    pair.client.commit()
    pair.run_for(0.05)
    pair.server.send(b"yours")
    pair.run_for(0.6)
    assert pair.client.unacknowledged == 0
    assert pair.client.sent.una == pair.client.sent.next_sn
    assert state_of(pair.client) is State.COMMITTING
    assert pair.client.committed == 0


def test_b10_an_eot_that_was_told_selectively_goes_on_until_ack_flush() -> None:
    """A SNACK had named the EoT packet as arrived, then the ACK_FLUSH for the filled gap is lost."""
    pair = established()
    undo = pair.drop(lambda flight: op_of(flight) is Op.PERSIST)
    pair.server.send(b"keeps the transaction of the server open")
    undo()
    pair.run_for(3.0)
    drop_only(pair, 0, lambda flight: flight.sender is Side.CLIENT and op_of(flight) is Op.PERSIST)
    lost = pair.drop(lambda flight: flight.sender is Side.SERVER and op_of(flight) is Op.ACK_FLUSH)
    pair.client.send(bytes(3000))
    pair.client.commit()
    pair.run_for(5.0)
    pair.server.commit()
    pair.run_for(5.0)
    assert pair.client.sent.una == pair.client.sent.next_sn
    lost()
    pair.run_until(lambda: pair.client.committed == 1, 70.0)


def test_a_late_snack_about_the_first_packet_does_not_stop_the_timer() -> None:
    """An in-band acknowledgement overtakes a SNACK whose gaps then name the first packet outstanding."""
    pair = established(RESPONSIVE)
    wiretap = Wiretap(pair)
    pair.drop_from(Side.CLIENT)
    wiretap.follow()
    pair.client.send(bytes(4 * 1024))
    pair.flush()
    client, now = pair.client, pair.clock.now
    first = client.sent.una
    data = wiretap.craft(
        Side.SERVER, Op.PERSIST, sn=wiretap.speakers[Side.SERVER].next_sn, expected=add(first, 2), payload=b"x"
    )
    chain = CODEC.snack(Snack(first, add(first, -1), 0, ((1, 3),)))
    snack = wiretap.craft(
        Side.SERVER,
        Op.KEEP_ALIVE,
        sn=add(wiretap.speakers[Side.SERVER].next_sn, -1),
        expected=add(wiretap.speakers[Side.SERVER].serial, 1),
        chain=chain,
    )
    client.receive([data, snack], Side.SERVER, now)
    assert [block.acknowledged for block in client.sent.blocks] == [True, True]
    mark = len(pair.record)
    pair.run_for(3.0)  # the pair would notice a clock that stands still
    repeated = {sn_of(flight) for flight in sent_by(pair, Side.CLIENT, Op.PURE_DATA, since=mark)}
    assert repeated == {add(first, 2)}, "its repeat draws the acknowledgement that may have been lost"


def test_m9_a_repeated_packet_is_not_measured() -> None:
    """M9, Karn"""
    pair = established(delay=0.1)
    before = pair.client.rtt.srtt
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.PERSIST)
    transfer(pair, Side.CLIENT, b"x")
    assert pair.client.rtt.srtt == before


def test_m9_a_measurement_excludes_the_delay_of_the_acknowledgement() -> None:
    """8.5.1, M9: the SNACK comes one round trip late and says so."""
    pair = established(delay=0.1)
    pair.client.send(b"x")
    for _ in range(20):
        pair.client.send(b"y")
        pair.run_for(2.0)
    assert pair.client.rtt.latest == pytest.approx(0.2, abs=0.001)
    assert pair.client.rtt.srtt == pytest.approx(0.2, abs=0.001)


@pytest.mark.parametrize("key", [b"", KEY], ids=["crc64", "aead"])
def test_every_single_packet_of_a_transfer_lost(key: bytes) -> None:
    def scenario(number: int) -> int:
        pair = established(RESPONSIVE, key=key)
        seen = drop_only(pair, number)
        pair.server.send(b"reply")
        pair.server.commit()
        transfer(pair, Side.CLIENT, bytes(range(256)) * 20)
        pair.run_until(lambda: pair.server.committed == 1, 20.0)
        assert drain(pair.client) == [b"reply"]
        return seen()

    assert len(list(every_single_loss(scenario))) >= 8


def test_nothing_outstanding_no_timer() -> None:
    """8.5.4: when everything is acknowledged the timer is off; only the idle time-out remains."""
    pair = established()
    transfer(pair, Side.CLIENT, bytes(5000))
    pair.run_for(1.0)
    assert pair.client._retransmission_deadline() == math.inf
    assert pair.client.next_deadline() == pair.client.last_heard + 4 * 3600


def test_a_timer_that_rings_early_does_nothing() -> None:
    pair = established()
    pair.client.send(b"x")
    pair.flush()
    pair.client.handle_timer(pair.clock.now)
    assert pair.client.rtt.backoff == 1
    assert pair.client.datagrams_to_send(pair.clock.now) == []


def test_octets_in_flight_are_conserved() -> None:
    """8.7: whatever is lost, repeated and acknowledged in whatever order."""
    pair = established(RESPONSIVE)
    count = itertools.count(1)
    undo = pair.drop(lambda flight: next(count) % 3 == 0)
    for side in (Side.CLIENT, Side.SERVER, Side.CLIENT):
        transfer(pair, side, bytes(20_000))
    undo()
    pair.run_for(30.0)
    assert pair.client.macroflow.in_flight == 0
    assert pair.server.macroflow.in_flight == 0


def test_a_time_out_with_signs_of_life_does_not_start_over() -> None:
    """The path is not dead when something was heard since: only a loss is reported."""
    pair: Pair = established(RESPONSIVE, delay=0.05)
    pair.client.macroflow.cwnd = 50_000.0
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.PERSIST)
    pair.client.send(bytes(10 * 1024))
    pair.run_for(5.0)
    assert pair.client.statistics.retransmissions >= 1
    assert pair.client.macroflow.cwnd > 30_000


def test_an_rto_that_grew_while_repeats_waited_counts() -> None:
    """8.5.4, the MUST: the time-out was over by the old RTO, the repeat would be within the new one."""
    pair = established(RESPONSIVE)
    undo = heard_but_lost(pair, bytes(4 * 1024))
    pair.run_until(lambda: bool(pair.client._repeats), 3.0)
    waiting = {block.sn for block in pair.client._repeats}
    pair.client.rtt.sample(5.0)
    mark = len(pair.record)
    pair.run_for(1.0)
    assert sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA, since=mark) == []
    undo()
    pair.run_for(60.0)
    assert waiting <= {sn_of(flight) for flight in sent_by(pair, Side.CLIENT, since=mark)}


@pytest.mark.parametrize(("offset", "used"), [(-1, True), (-2, False), (0, False)])
def test_m9_a_sample_of_another_packet_is_not_taken(offset: int, used: bool) -> None:
    """M9: the number is E - 1, else the delay says nothing about the packet that we measure."""
    pair = established(delay=0.05)
    wiretap = Wiretap(pair)
    pair.drop_from(Side.CLIENT)
    pair.client.send(bytes(2 * 1024))
    pair.flush()
    wiretap.follow()
    server, expected = wiretap.speakers[Side.SERVER], pair.client.sent.next_sn
    chain = CODEC.snack(Snack(expected, add(expected, offset), 0))
    datagram = wiretap.craft(
        Side.SERVER, Op.KEEP_ALIVE, sn=add(server.next_sn, -1), expected=add(server.serial, 1), chain=chain
    )
    for _ in range(2):
        pair.client.receive([datagram], Side.SERVER, pair.clock.now + 0.7)
    assert (pair.client.rtt.latest == pytest.approx(0.7)) == used


def test_reference_2020_repeats_a_lost_beginning_alone() -> None:
    """The author's program acknowledges what overtook a lost PERSIST as if that had come, when it comes again first."""
    pair = Pair.connecting(revision=REFERENCE_2020, settings=Settings(max_payload=512))
    pair.run_until(lambda: pair.has_server and pair.server.state is State.CLOSABLE)
    pair.run_for(3.0)
    mark = len(pair.record)
    drop_only(pair, 0, lambda flight: flight.sender is Side.CLIENT and flight.datagram[8] == PERSIST_OF_2020)
    pair.client.send(bytes(512 * 6))
    pair.client.commit()
    pair.run_for(0.5)
    acknowledgements = [f.datagram[8] for f in pair.record[mark:] if f.sender is Side.SERVER]
    assert acknowledgements, "the gap is told"
    assert set(acknowledgements) == {KEEP_ALIVE_OF_2020}, "no ACK_FLUSH, which would be taken for the end of all"
    pair.run_for(5.0)
    sent = [sn_of(f) for f in pair.record[mark:] if f.sender is Side.CLIENT and f.datagram[8] in DATA_OF_2020]
    assert [sn for sn in sent if sent.count(sn) > 1] == [sent[0]] * 2
    assert pair.client.committed == 1


def test_packets_that_left_within_a_tick_are_repeated_each_in_its_time() -> None:
    """8.5.4: not only those whose time is over when the first one's is; the others would wait for its next time."""
    pair = established()
    pair.client.send(b"begun")
    pair.run_for(0.5)
    first = pair.client.sent.next_sn
    fourth = add(first, 3)
    pair.drop(lambda flight: flight.sender is Side.CLIENT and op_of(flight) in IN_BAND and sn_of(flight) != fourth)
    mark = len(pair.record)
    began = pair.clock.now
    for _ in range(4):
        pair.client.send(bytes(1024))
        pair.run_for(0.002)
    pair.run_for(1.5)
    repeats = sent_by(pair, Side.CLIENT, *IN_BAND, since=mark)[4:]
    assert [sn_of(flight) for flight in repeats] == [first, add(first, 1), add(first, 2)]
    for number, flight in enumerate(repeats):
        waited = flight.sent_at - (began + 0.002 * number)
        assert 1.0 - 1e-6 <= waited < 1.05


def test_a_persist_goes_in_place_of_a_heartbeat() -> None:
    """jason-00 9.1: of the periodic one, too, and not beside it."""
    situation = situation_in("COMMITTED", Side.CLIENT, "crc64", JASON_00)
    pair = situation.pair
    pair.drop_from(Side.CLIENT)
    pair.drop_from(Side.SERVER)
    mark = len(pair.record)
    pair.client.send(b"unheard")
    due = pair.client.next_heartbeat()
    pair.run_for(due - pair.clock.now + 1.0)
    said = [flight for flight in pair.record[mark:] if flight.sender is Side.CLIENT]
    assert {op_in(JASON_00, flight.datagram) for flight in said} == {Op.PERSIST}
    assert any(due <= flight.sent_at < due + 1.0 for flight in said)
    assert pair.client.next_heartbeat() > pair.clock.now


def op_in(revision: Revision, datagram: bytes) -> Op:
    return revision.codec.ops[revision.codec.unpack_head(datagram, ULTID_PAIR)[0]]
