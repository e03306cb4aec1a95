"""An end that moves: notices, their acknowledgement, what becomes of the path (gao-07 10.2 to 10.5; F50 to F59)."""

from __future__ import annotations

import itertools
import math

import pytest

from fsp_trio.core.congestion import INITIAL_WINDOW
from fsp_trio.core.mobile import ANSWERS, NOTICES_ALONE, PROMPT_NOTICES, SLOWEST_NOTICES
from fsp_trio.core.paths import Path, PathState, Route
from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import CLOSING, CONNECTED, State
from fsp_trio.wire.packets import NO_PREFIXES, Op
from fsp_trio.wire.prefixes import prefix_of

from .pair import Side
from .roving import C1, C2, C3, DELAY, ROUND_TRIP, S1, S2, Roving, Sent, sequence_number
from .situations import situation_in
from .talk import drain

CLIENT, SERVER = Side.CLIENT, Side.SERVER


def intervals(notices: list[Sent]) -> list[float]:
    return [b.at - a.at for a, b in itertools.pairwise(notices)]


# 10.2, F50


def test_10_2_notices_leave_at_once_and_every_four_round_trips() -> None:
    world = Roving()
    world.kill((C2, S1))
    moved_at = world.now
    world.move(CLIENT, C2)
    world.run_for(4 * ROUND_TRIP * (PROMPT_NOTICES - 1) + DELAY)
    notices = world.notices(CLIENT)
    assert len(notices) == PROMPT_NOTICES
    assert notices[0].at == moved_at
    assert intervals(notices) == pytest.approx([4 * world.client.rtt.srtt] * (PROMPT_NOTICES - 1))
    assert world.client.rtt.srtt == pytest.approx(ROUND_TRIP, rel=0.2)


def test_f50_then_each_waits_twice_as_long_up_to_a_minute() -> None:
    world = Roving(settings=Settings(heartbeat_interval=1e6, idle_timeout=1e6))
    world.kill((C2, S1))
    world.move(CLIENT, C2)
    world.run_for(1000.0)
    gaps = intervals(world.notices(CLIENT))[PROMPT_NOTICES:]
    first = 8 * world.client.rtt.srtt
    assert gaps[:4] == pytest.approx([first, 2 * first, 4 * first, 8 * first])
    assert gaps[-3:] == pytest.approx([SLOWEST_NOTICES] * 3)


def test_10_2_notices_are_keep_alive_with_sink_parameter_and_snack_and_serials_of_their_own() -> None:
    world = Roving()
    world.kill((C2, S1))
    serial = world.client._serial
    world.move(CLIENT, C2)
    world.run_for(0.5)
    notices = world.notices(CLIENT)
    assert [notice.serial for notice in notices] == list(range(serial + 1, serial + 1 + len(notices)))
    for notice in notices:
        assert notice.op is Op.KEEP_ALIVE
        assert world.sink_of(notice).prefixes == NO_PREFIXES, "4.7: nobody knows the outside address"
        assert sequence_number(notice) == (world.client.sent.next_sn - 1) % 2**32, "10.1"
    world.up[CLIENT].append(C1)
    assert world.client.statistics.notices_sent == len(notices)


@pytest.mark.parametrize("state", [s for s in State if s in CONNECTED | CLOSING], ids=lambda state: state.name)
def test_10_2_in_six_states(state: State) -> None:
    situation = situation_in(state.name, Side.CLIENT, "aead")
    end, now = situation.subject, situation.pair.clock.now
    assert end.state is state
    end.moved("elsewhere", now)
    assert end.local == "elsewhere"
    assert bool(end.notices_to_send(now)) == (state in CONNECTED)
    assert (end.next_heartbeat() < math.inf) == (state in CONNECTED)


def test_10_2_a_session_that_ends_meanwhile_sends_no_more_notices() -> None:
    world = Roving()
    world.kill((C2, S1))
    world.move(CLIENT, C2)
    world.client.reset(1, world.now)
    before = len(world.notices(CLIENT))
    world.run_for(10.0)
    assert len(world.notices(CLIENT)) == before
    assert world.client.notices_to_send(world.now + 100.0) == []


# 10.3, 10.4


def test_10_3_everything_leaves_from_the_new_address_at_once() -> None:
    world = Roving()
    world.client.send(b"before")
    world.flush()
    mark = len(world.record)
    world.move(CLIENT, C2)
    world.client.send(b"after")
    world.run_for(5.0)
    ours = [each for each in world.record[mark:] if each.sender is CLIENT]
    assert {each.source for each in ours} == {C2}
    assert drain(world.server) == [b"beforeafter"]
    assert world.server.remote == C2
    assert world.client.statistics.moves == 1


def test_10_4_a_packet_to_the_new_address_ends_the_notices() -> None:
    world = Roving()
    world.move(CLIENT, C2)
    world.run_for(60.0)
    assert len(world.notices(CLIENT)) == 1
    assert world.client.paths()[0].state is PathState.ACTIVE


def test_10_4_one_to_another_address_does_not() -> None:
    """What was under way to the old one, where both are up, says nothing of the new one."""
    world = Roving(client=(C1, C2))
    world.kill((C2, S1))
    world.server.send(b"to the old address")
    world.flush()
    world.client.moved(C2, world.now)
    world.run_for(DELAY)
    assert drain(world.client) == [b"to the old address"]
    assert world.client.local == C2, "F55: not drawn back by it"
    assert world.client.paths()[0].state is PathState.TRIED
    world.run_for(1.0)
    assert len(world.notices(CLIENT)) > 5


def test_10_4_neither_does_one_that_is_forged_or_was_heard_before() -> None:
    world = Roving()
    world.server.send(b"recorded")
    world.run_for(1.0)
    recorded = next(each for each in world.record if each.sender is SERVER and each.op is Op.PERSIST)
    world.kill((C2, S1))
    world.move(CLIENT, C2)
    client = world.client
    for octets in (recorded.datagram, recorded.datagram[:-1] + b"?", recorded.datagram[:40] + bytes(20)):
        client.receive([octets], S1, world.now, False, C2)
        assert client.paths()[0].state is PathState.TRIED


def test_10_4_data_in_order_does_it_too() -> None:
    """Packets of the common kind are taken in a loop of their own."""
    world = Roving()
    world.server.send(b"first")
    world.run_for(1.0)
    world.dead |= {(C2, S1)}
    world.move(CLIENT, C2)
    world.server._take_path(C2, S1, world.now)
    world.server.send(b"second")
    mark = len(world.record)
    world.run_for(DELAY)
    assert {each.op for each in world.record[mark:] if each.sender is SERVER} == {Op.PURE_DATA}
    assert drain(world.client) == [b"firstsecond"]
    assert world.client.paths()[0].state is PathState.ACTIVE


def test_10_4_where_the_system_chooses_whatever_comes_to_any_address_does_it() -> None:
    """Some ports tell where something came in, because other sessions have moved there."""
    world = Roving()
    world.up[CLIENT] = [C2]
    world.client.moved(None, world.now)
    world.run_for(10.0)
    assert world.client.local is None
    assert len(world.notices(CLIENT)) == 1


def test_a_port_that_does_not_tell_counts_whatever_comes_in() -> None:
    world = Roving(tells=False)
    world.move(CLIENT, C2)
    world.run_for(10.0)
    assert world.client.local is None
    assert len(world.notices(CLIENT)) == 1
    assert world.server.remote == C2


def test_an_address_that_comes_back_is_told_again() -> None:
    """The peer's repeats have become rare meanwhile, so both ends start over at once."""
    world = Roving()
    world.up[CLIENT] = []
    world.client.send(b"into nothing")
    world.run_for(20.0)
    assert world.client.rtt.backoff > 4
    world.move(CLIENT, C1)
    assert world.client.rtt.backoff == 1
    world.run_for(1.5)
    assert drain(world.server) == [b"into nothing"]
    assert world.client.statistics.moves == 0


def test_f50_an_address_that_comes_back_is_told_four_times() -> None:
    """The peer hears nothing new, and may have nothing to say."""
    world = Roving()
    mark = len(world.record)
    world.move(CLIENT, C1)
    world.run_for(500.0)
    assert [each.sender for each in world.record[mark:]] == [CLIENT] * NOTICES_ALONE


# F51


def test_f51_a_notice_is_answered_at_the_new_address_though_there_is_nothing_to_send() -> None:
    world = Roving()
    mark = len(world.record)
    world.move(CLIENT, C2)
    world.run_for(1.0)
    answers = [(each.op, each.destination) for each in world.record[mark:] if each.sender is SERVER]
    assert answers == [(Op.ACK_FLUSH, C2)]


def test_f51_answers_that_are_lost_are_given_again() -> None:
    world = Roving()
    world.dead.add((S1, C2))
    mark = len(world.record)
    world.move(CLIENT, C2)
    world.run_for(4 * ROUND_TRIP * 2 + 2 * DELAY)
    assert len([each for each in world.record[mark:] if each.sender is SERVER]) == 3
    world.dead.clear()
    world.run_for(10.0)
    assert world.client.paths()[0].state is PathState.ACTIVE
    assert len(world.notices(CLIENT)) == 4


def test_f51_not_more_than_so_many() -> None:
    world = Roving(settings=Settings(heartbeat_interval=1e6, idle_timeout=1e6))
    world.dead.add((S1, C2))
    mark = len(world.record)
    world.move(CLIENT, C2)
    world.run_for(500.0)
    assert len(world.notices(CLIENT)) > ANSWERS
    assert len([each for each in world.record[mark:] if each.sender is SERVER]) == ANSWERS


def test_f51_where_there_is_something_to_send_that_is_the_answer() -> None:
    world = Roving()
    world.dead.add((S1, C2))
    world.move(CLIENT, C2)
    world.run_for(DELAY)
    world.server.send(b"data")
    mark = len(world.record)
    world.run_for(0.8)
    assert len(world.notices(CLIENT, mark)) > 5
    assert {each.op for each in world.record[mark:] if each.sender is SERVER} == {Op.PERSIST}


def test_f51_other_keep_alives_are_not_answered() -> None:
    """M11: acknowledgements are not acknowledged, or two ends would never fall silent."""
    world = Roving()
    world.server.send(b"the client acknowledges this with KEEP_ALIVE")
    world.run_for(0.5)
    mark = len(world.record)
    world.client._ack_now = True
    world.run_for(10.0)
    assert [each.sender for each in world.record[mark:]] == [CLIENT]


# F55


def test_f55_answers_leave_from_where_the_newest_packet_came_in() -> None:
    world = Roving(server=(S1, S2))
    world.client._take_path(S2, C1, world.now)
    world.client.send(b"to the second address")
    world.run_for(5.0)
    assert drain(world.server) == [b"to the second address"]
    assert world.server.local == S2
    assert {each.source for each in world.record if each.sender is SERVER} == {S2}
    assert world.server.statistics.moves == 1


def test_f55_for_data_in_order_too() -> None:
    world = Roving(server=(S1, S2))
    world.client.send(b"one ")
    world.run_for(1.0)
    world.client._take_path(S2, C1, world.now)
    world.client.send(b"two")
    world.run_for(1.0)
    assert drain(world.server) == [b"one two"]
    assert world.server.local == S2


def test_f55_not_for_older_packets() -> None:
    world = Roving(server=(S1, S2))
    world.client.send(b"first ")
    (old,) = world.client.datagrams_to_send(world.now)
    world.client.send(b"second")
    world.run_for(0.1)
    world.server.receive([old], C1, world.now, False, S2)
    assert drain(world.server) == [b"first second"]
    assert world.server.local == S1


def test_f55_an_end_that_sends_from_no_particular_address_goes_on_so() -> None:
    world = Roving()
    world.server._take_path(C1, None, world.now)
    flow = world.server.macroflow
    world.client.send(b"x")
    world.run_for(5.0)
    assert world.server.local is None
    assert world.server.macroflow is flow


def test_f55_once_the_new_path_has_settled_the_peer_may_choose() -> None:
    world = Roving(client=(C1, C2))
    world.client.moved(C2, world.now)
    world.run_for(5.0)
    world.server._take_path(C1, S1, world.now)
    world.server.send(b"back to the first")
    world.run_for(5.0)
    assert drain(world.client) == [b"back to the first"]
    assert world.client.local == C1


# going over on request


def test_a_trial_carries_on_at_the_old_address_until_the_new_one_answers() -> None:
    world = Roving(client=(C1, C2))
    world.kill((C2, S1))
    world.client.try_local(C2, world.now)
    world.client.send(b"meanwhile")
    world.run_for(1.0)
    assert drain(world.server) == [b"meanwhile"]
    assert world.client.local == C1
    assert [path.state for path in world.client.paths()] == [PathState.ACTIVE]
    assert world.client.tries_local(C2)
    world.dead.clear()
    world.run_until(lambda: world.client.local == C2)
    assert world.client.chosen
    world.client.send(b" more")
    world.run_for(1.0)
    assert drain(world.server) == [b" more"]
    assert world.server.remote == C2
    assert not world.client.tries_local(C2)


def test_a_trial_that_is_given_up_leaves_everything_as_it_was() -> None:
    world = Roving(client=(C1, C2))
    world.kill((C2, S1))
    world.client.try_local(C2, world.now)
    world.run_for(0.5)
    world.client.stop_trying()
    mark = len(world.record)
    world.dead.clear()
    world.run_for(60.0)
    assert world.notices(CLIENT, mark) == []
    assert world.client.local == C1


def test_data_under_way_at_the_old_address_does_not_draw_a_session_back() -> None:
    """F55: the peer follows what was sent before to the old address once more, and its answers come in there."""
    world = Roving(client=(C1, C2))
    world.client.try_local(C2, world.now)
    places: list[object] = []
    for _ in range(400):
        for end in (world.client, world.server):
            end.send(bytes(300))
        world.run_for(0.001)
        places.append(world.client.local)
        for end in (world.client, world.server):
            end.read(2**20)
    assert places == sorted(places, key=str), "from the first to the second, and that once"
    assert places[-1] == C2
    assert world.client.statistics.moves == 1


# F56


def dead_path(**more: object) -> Roving:
    world = Roving(client=(C1, C2), multihoming=True, **more)  # type: ignore[arg-type]
    world.kill((C1, S1))
    world.client.send(b"who hears this?")
    return world


def test_f56_a_dead_path_is_left_for_a_living_one() -> None:
    world = dead_path()
    world.run_until(lambda: world.client.local == C2, 10.0)
    world.run_for(3.0)
    assert drain(world.server) == [b"who hears this?"]
    assert world.client.chosen
    states = {(path.local, path.remote): path.state for path in world.client.paths()}
    assert states == {(C2, S1): PathState.ACTIVE, (C1, S1): PathState.FAILED}


def test_a_path_that_is_used_again_has_not_failed() -> None:
    world = dead_path()
    world.run_until(lambda: world.client.local == C2, 10.0)
    world.dead.clear()
    world.client.moved(C1, world.now)
    world.run_for(1.0)
    world.client.moved(C2, world.now)
    assert world.client.paths()[1] == Path(C1, S1, PathState.STANDBY, world.client.paths()[1].rtt)


def test_f56_after_the_second_time_out_of_one_silence_and_not_before() -> None:
    world = dead_path()
    sent_at = world.now
    world.run_until(lambda: bool(world.notices(CLIENT)))
    rto = world.client.settings.timers.minimum
    assert world.now - sent_at == pytest.approx(3 * rto, abs=0.05)
    assert {notice.source for notice in world.notices(CLIENT)} == {C2}


def test_f56_one_lost_packet_makes_nothing_suspect() -> None:
    world = Roving(client=(C1, C2), multihoming=True)
    world.kill((C1, S1))
    world.client.send(b"lost once")
    world.run_for(0.5)
    world.dead.clear()
    world.run_for(10.0)
    assert drain(world.server) == [b"lost once"]
    assert world.notices(CLIENT) == []
    assert world.client.local == C1


def test_f56_the_present_path_is_kept_if_it_answers_first() -> None:
    world = dead_path()
    world.kill((C2, S1))
    world.run_until(lambda: len(world.notices(CLIENT)) > 3)
    world.dead = {(C2, S1), (S1, C2)}
    world.run_for(20.0)
    assert drain(world.server) == [b"who hears this?"]
    assert world.client.local == C1
    assert [path.state for path in world.client.paths()] == [PathState.ACTIVE, PathState.STANDBY]
    mark = len(world.record)
    world.run_for(100.0)
    assert world.notices(CLIENT, mark) == []


def test_f56_other_addresses_of_the_peer_are_tried_too() -> None:
    world = Roving(server=(S1, S2), multihoming=True)
    world.server.know_addresses((S1, S2), (S1, S2))
    world.server.announce(world.now)
    world.run_for(1.0)
    assert set(world.client.routes()) == {Route(C1, S1), Route(C1, S2)}
    world.kill((C1, S1))
    world.client.send(b"to whichever address")
    world.run_for(8.0)
    assert drain(world.server) == [b"to whichever address"]
    assert world.client.route == Route(C1, S2)
    assert world.server.local == S2


def test_f56_where_no_other_route_is_known_nothing_is_tried() -> None:
    world = Roving(multihoming=True)
    world.kill((C1, S1))
    world.client.send(b"x")
    world.run_for(30.0)
    assert world.notices(CLIENT) == []


def test_f56_a_new_address_that_does_not_answer_is_not_trusted_for_long() -> None:
    """The system says that C2 is the way now; it is not, but C3 would be."""
    world = Roving(client=(C1, C2, C3), multihoming=True)
    world.kill((C2, S1), (C1, S1))
    world.client.moved(C2, world.now)
    world.run_until(lambda: world.client.local == C3, 5.0)
    first = [notice.source for notice in world.notices(CLIENT)][: NOTICES_ALONE + 1]
    assert first[:NOTICES_ALONE] == [C2] * NOTICES_ALONE


# F57


def test_f57_the_congestion_state_is_that_of_the_new_path() -> None:
    world = Roving(client=(C1, C2))
    client = world.client
    before = client.macroflow
    before.cwnd = 500_000.0
    client.send(bytes(200_000))
    world.flush()
    assert before.in_flight > 100_000
    client.moved(C2, world.now)
    assert client.macroflow is not before
    assert (before.in_flight, before.members) == (0, 0)
    assert client.macroflow.cwnd == INITIAL_WINDOW
    assert client.macroflow.in_flight == 0
    client.moved(C1, world.now)
    assert client.macroflow is before


def test_f57_the_peers_too() -> None:
    world = Roving()
    server = world.server
    before = server.macroflow
    world.move(CLIENT, C2)
    world.run_for(1.0)
    assert server.macroflow is not before
    assert before.members == 0


def test_f57_another_port_of_the_same_host_is_the_same_path() -> None:
    """F8: a NAT that gives another port has not moved anybody."""
    world = Roving(tells=False)
    flow, srtt = world.server.macroflow, world.server.rtt.srtt
    world.move(CLIENT, (C1[0], 4711))
    world.run_for(1.0)
    assert world.server.remote == (C1[0], 4711)
    assert world.server.macroflow is flow
    assert world.server.rtt.srtt == pytest.approx(srtt)


def test_f57_what_was_sent_on_the_old_path_gives_no_sample_and_no_loss() -> None:
    world = Roving(client=(C1, C2))
    client = world.client
    world.kill((C1, S1))
    client.send(bytes(8 * 1024))
    world.run_for(0.5)
    world.clock.now += 5.0
    client.moved(C2, world.now)
    flow = client.macroflow
    srtt = client.rtt.srtt
    world.run_for(10.0)
    assert world.server.received.ready_octets == 8 * 1024
    assert flow.reductions == 0
    assert client.rtt.srtt < srtt + 1.0


def test_f57_what_was_lost_on_the_old_path_is_no_loss_on_the_new_one() -> None:
    """The peer has a gap, and reports it over the new path."""
    world = Roving(client=(C1, C2))
    client = world.client
    client.send(bytes(8 * 1024))
    sent = client.datagrams_to_send(world.now)
    del sent[1]
    world.server.receive(sent, C1, world.now, False, S1)
    client.moved(C2, world.now)
    flow = client.macroflow
    world.run_for(0.1)
    assert any(block.acknowledged for block in client.sent.blocks)
    world.run_for(5.0)
    assert flow.reductions == 0
    assert world.server.received.ready_octets == 8 * 1024


def test_f57_the_first_measurement_on_the_new_path_counts_alone() -> None:
    world = Roving(client=(C1, C2))
    client = world.client
    client.rtt.srtt = client.rtt.rttvar = 3.0
    client.moved(C2, world.now)
    world.run_for(1.0)
    client.send(b"measure me")
    world.run_for(1.0)
    assert client.rtt.srtt == pytest.approx(ROUND_TRIP, rel=0.1)
    assert client.rtt.rttvar == pytest.approx(ROUND_TRIP / 2, rel=0.1)


def test_f57_doublings_end_at_both_ends() -> None:
    world = Roving(client=(C1, C2))
    world.kill((C1, S1))
    world.client.send(b"up")
    world.server.send(b"down")
    world.run_for(20.0)
    assert min(world.client.rtt.backoff, world.server.rtt.backoff) >= 8
    world.client.moved(C2, world.now)
    world.run_for(2.0)
    assert (drain(world.client), drain(world.server)) == ([b"down"], [b"up"])


# F58


def told(world: Roving, sent: Sent) -> list[bytes]:
    return [prefix for prefix in world.sink_of(sent).prefixes if any(prefix)]


def test_f58_the_address_in_use_is_told_first() -> None:
    """4.7: so it is preferred, and the last one is the last resort."""
    world = Roving(client=(C1, C2, C3))
    world.client.know_addresses((C1, C2, C3), (C1, C2, C3))
    world.server.send(b"x")
    world.run_for(1.0)
    assert told(world, world.notices(CLIENT)[-1]) == [prefix_of(place) for place in (C1, C2, C3)]
    world.client.moved(C2, world.now)
    world.run_for(1.0)
    assert told(world, world.notices(CLIENT)[-1]) == [prefix_of(place) for place in (C2, C1, C3)]
    world.client.know_addresses((), ())
    world.server.send(b"x")
    world.run_for(1.0)
    assert told(world, world.notices(CLIENT)[-1]) == []


def test_f58_four_at_the_most() -> None:
    world = Roving()
    places = [(f"192.0.2.{number}", 18003) for number in range(1, 9)]
    world.client.know_addresses(places, places)
    world.client.announce(world.now)
    world.run_for(1.0)
    assert told(world, world.notices(CLIENT)[0]) == [prefix_of(place) for place in places[:4]]


def test_10_6_addresses_are_announced_until_something_comes_in() -> None:
    world = Roving()
    assert not world.client.announce(world.now), "there are none"
    world.client.know_addresses((C1,), (C1,))
    world.dead.add((C1, S1))
    assert world.client.announce(world.now)
    world.run_for(0.5)
    world.dead.clear()
    before = len(world.notices(CLIENT))
    assert before > 3
    world.run_for(60.0)
    assert len(world.notices(CLIENT)) == before + 1
    assert world.server._peer_addresses == (C1,)


# F59


def keeping(seconds: float) -> Roving:
    return Roving(settings=Settings(nat_keepalive=seconds, heartbeat_interval=1e6))


def test_f59_no_silence_of_ours_is_longer() -> None:
    world = keeping(20.0)
    start = world.now
    world.run_for(3600.0)
    moments = [each.at for each in world.record if each.sender is CLIENT]
    assert max(b - a for a, b in itertools.pairwise([start, *moments])) <= 20.0 + 1e-6
    assert len(moments) <= 3600 / 20 + 1


def test_f59_nothing_is_added_to_what_is_sent_anyway() -> None:
    world = keeping(20.0)
    acknowledgements = world.client.statistics.out_of_band_sent
    for _ in range(100):
        world.client.send(b"x")
        world.run_for(9.0)
        world.server.read(100)
    assert world.client.statistics.out_of_band_sent == acknowledgements


def test_f59_without_it_heartbeats_are_ten_minutes_apart() -> None:
    world = Roving()
    world.run_for(1000.0)
    assert len([each for each in world.record if each.sender is CLIENT]) == 1
