"""Opening a connection (gao-07 5.1 to 5.5, 6, 8.5.1; B1 to B5, M14, M18 to M20, M51, M53, N2, F5, F6)."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ConnectionMisuse, FailureKind
from fsp_trio.core.responder import ConnectionRequest
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.revisions import GAO_07
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import (
    FLAG_EOT,
    ConnectRequest,
    InitConnect,
    Op,
    SinkParameter,
)
from fsp_trio.wire.serial import sub

from .pair import EPOCH, LISTENER, Pair, Side
from .situations import affirming_client, challenging_server, connecting_client
from .talk import (
    RESPONSIVE,
    drain,
    drop_only,
    established,
    every_single_loss,
    op_of,
    ops_since,
    sent_by,
    state_of,
    transfer,
)
from .wiretap import CODEC

NO_PREFIXES = (bytes(8), bytes(8), bytes(8), bytes(8))


def test_two_and_a_half_pairs_of_packets() -> None:
    """6: what goes over the wire, and the states that are passed."""
    pair = established()
    assert ops_since(pair, 0)[:6] == [
        ("client", "INIT_CONNECT"),
        ("server", "ACK_INIT_CONNECT"),
        ("client", "CONNECT_REQUEST"),
        ("server", "ACK_CONNECT_REQ"),
        ("client", "NULCOMMIT"),
        ("server", "ACK_FLUSH"),
    ]
    names = [state.name for state in pair.client.states_passed]
    assert names == ["CONNECT_BOOTSTRAP", "CONNECT_AFFIRMING", "COMMITTING2", "CLOSABLE"]
    assert [state.name for state in pair.server.states_passed] == ["CHALLENGING", "CLOSABLE"]
    assert pair.client.is_established
    assert pair.server.is_established


def test_m20_the_confirmation_is_no_transaction() -> None:
    """M20, F4: NULCOMMIT as confirmation, and the empty welcome, give the application nothing."""
    pair = established()
    for end in (pair.client, pair.server):
        assert not end.readable
        assert end.committed == 0
        with pytest.raises(ConnectionMisuse):
            end.next_transaction()


def test_welcome() -> None:
    """M18, B5: one packet of the responder's own travels in ACK_CONNECT_REQ and ends a transaction."""
    pair = Pair.connecting(welcome=b"welcome")
    pair.run_until(lambda: pair.client.readable)
    assert state_of(pair.client) is State.COMMITTING2
    assert drain(pair.client) == [b"welcome"]
    assert pair.client.statistics.payload_received == 7


def test_m18_a_welcome_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="1025 octets"):
        established(welcome=bytes(1025))


def test_m18_other_data_of_the_responder_waits_for_the_confirmation() -> None:
    pair = Pair.connecting(welcome=b"welcome")
    pair.run_until(lambda: pair.has_server)
    undo = pair.drop_from(Side.CLIENT)
    pair.server.send(b"more")
    pair.server.commit()
    pair.run_for(5.0)
    assert {op_of(flight) for flight in sent_by(pair, Side.SERVER)} == {Op.ACK_INIT_CONNECT, Op.ACK_CONNECT_REQ}
    undo()
    pair.run_until(lambda: len(pair.client.received.ready) == 2)
    assert drain(pair.client) == [b"welcome", b"more"]


@pytest.mark.parametrize("welcome", [b"", b"welcome"])
@pytest.mark.parametrize("size", [1, 1024, 1025, 5000])
@pytest.mark.parametrize("commit", [False, True])
def test_octets_given_before_the_answer_confirm(size: int, commit: bool, welcome: bytes) -> None:
    """6.5: PERSIST with what the application gave already."""
    pair = Pair.connecting(welcome=welcome)
    pair.client.send(bytes(size))
    if commit:
        pair.client.commit()
    pair.run_for(0.5)
    [confirmation] = sent_by(pair, Side.CLIENT, Op.PERSIST, Op.NULCOMMIT)
    assert op_of(confirmation) is Op.PERSIST
    assert b"".join(drain(pair.server)) == bytes(size)
    assert pair.client.committed == commit
    assert pair.client.state is (State.CLOSABLE if commit else State.PEER_COMMIT)


def test_an_empty_transaction_before_the_answer_is_the_confirmation() -> None:
    """M20: it is announced as done, and the peer's application sees none."""
    pair = Pair.connecting()
    assert pair.client.commit() == 1
    pair.run_for(0.5)
    assert pair.client.committed == 1
    assert not pair.server.readable


def test_shutdown_during_the_handshake_adds_no_transaction() -> None:
    pair = Pair.connecting()
    pair.client.send(b"only")
    pair.client.commit()
    pair.client.shutdown(pair.clock.now)
    pair.run_until(lambda: pair.server.peer_released if pair.has_server else False)
    assert drain(pair.server) == [b"only"]
    pair.server.shutdown(pair.clock.now)
    pair.run_until(lambda: pair.client.state is State.CLOSED)
    assert pair.client.closed_confirmed


@pytest.mark.parametrize("side", Side)
def test_shutdown_at_once(side: Side) -> None:
    pair = Pair.connecting()
    pair.run_until(lambda: side is Side.CLIENT or pair.has_server)
    pair.end(side).shutdown(pair.clock.now)
    pair.run_until(lambda: pair.has_server and pair.end(side.other).state is State.SHUT_REQUESTED)
    pair.end(side.other).shutdown(pair.clock.now)
    pair.run_until(lambda: pair.client.state is State.CLOSED and pair.server.state is State.CLOSED)
    assert pair.client.closed_confirmed
    assert pair.server.closed_confirmed


def test_every_single_packet_of_the_handshake_lost() -> None:
    """6.6: whichever packet is lost, the connection comes about, and both ends are CLOSABLE."""

    def scenario(number: int) -> int:
        pair = Pair.connecting(settings=RESPONSIVE, welcome=b"welcome")
        seen = drop_only(pair, number)
        pair.client.send(b"hello")
        pair.client.commit()
        pair.run_until(
            lambda: pair.has_server and pair.client.state is State.CLOSABLE and pair.server.state is State.CLOSABLE,
            20.0,
        )
        assert drain(pair.client) == [b"welcome"]
        assert drain(pair.server) == [b"hello"]
        pair.run_for(1.0)
        return seen()

    assert list(every_single_loss(scenario)) == list(range(6))


# repeats


@pytest.mark.parametrize(("timers", "interval"), [(Timers.draft(), 15.0), (Timers.responsive(), 1.0)])
def test_init_connect_is_repeated(timers: Timers, interval: float) -> None:
    """6.6, B9: the same octets, every 15 seconds (or every second), for a minute."""
    pair = Pair.connecting(settings=Settings(timers=timers))
    pair.drop_from(Side.CLIENT)
    began = pair.clock.now
    pair.run_until(lambda: pair.client.is_over, 61.0)
    flights = sent_by(pair, Side.CLIENT)
    assert len({flight.datagram for flight in flights}) == 1
    assert [flight.sent_at - began for flight in flights] == pytest.approx(
        [interval * i for i in range(round(60 / interval))]
    )
    assert pair.client.failure is not None
    assert pair.client.failure.kind is FailureKind.HANDSHAKE_TIMEOUT
    assert pair.clock.now - began == pytest.approx(60.0)
    assert pair.client.next_deadline() == float("inf")


def test_connect_request_is_repeated_and_given_up_a_minute_after_the_first_packet() -> None:
    """6.6: the minute starts with the very first INIT_CONNECT."""
    situation = affirming_client()
    pair = situation.pair
    pair.run_until(lambda: pair.client.is_over, 61.0)
    assert pair.clock.now == pytest.approx(1060.0)
    requests = sent_by(pair, Side.CLIENT, Op.CONNECT_REQUEST)
    assert len({flight.datagram for flight in requests}) == 1
    assert [flight.sent_at for flight in requests] == pytest.approx([1000.02, 1015.02, 1030.02, 1045.02])


def test_b4_the_responder_answers_repeats_with_the_same_and_never_repeats_by_itself() -> None:
    situation = affirming_client()
    pair = situation.pair
    pair.run_for(40.0)
    asked = sent_by(pair, Side.CLIENT, Op.CONNECT_REQUEST)
    answered = sent_by(pair, Side.SERVER, Op.ACK_CONNECT_REQ)
    assert len(asked) == len(answered) == 3
    assert len({flight.datagram for flight in answered}) == 1
    pair.drop_from(Side.CLIENT)
    pair.run_for(15.0)
    assert len(sent_by(pair, Side.SERVER, Op.ACK_CONNECT_REQ)) == 3


def test_challenging_lasts_a_minute() -> None:
    """12.1: then the responder forgets the connection, without a word."""
    situation = challenging_server()
    pair = situation.pair
    pair.drop_from(Side.CLIENT)
    sent = len(sent_by(pair, Side.SERVER))
    pair.run_until(lambda: pair.server.is_over, 61.0)
    assert pair.server.failure is not None
    assert pair.server.failure.kind is FailureKind.HANDSHAKE_TIMEOUT
    assert len(sent_by(pair, Side.SERVER)) == sent
    assert pair.clock.now == pytest.approx(1060.03, abs=0.01)


def test_a_short_idle_time_out_does_not_make_challenging_spin() -> None:
    """M42 is about connected states: until then handle_timer has nothing to do at that moment."""
    pair = Pair.connecting(server_settings=Settings(idle_timeout=5.0))
    pair.run_until(lambda: pair.has_server)
    pair.drop_from(Side.CLIENT)
    pair.run_until(lambda: pair.server.is_over, 61.0)
    assert pair.clock.now > 1059


# measurements


def test_m14_mean_of_both_exchanges() -> None:
    """8.5.1: the initiator's first RTT is the mean of two exchanges; the responder has its own."""
    pair = Pair.connecting(delay=0.05)
    pair.run_until(lambda: pair.client.is_established)
    assert pair.client.rtt.srtt == pytest.approx(0.1)
    assert pair.client.rtt.rttvar == pytest.approx(0.05)
    assert pair.server.rtt.srtt == pytest.approx(0.1)


@pytest.mark.parametrize(("lost", "samples"), [(0, 1), (1, 1), (2, 1), (3, 1)])
def test_m14_a_repeated_step_gives_no_sample(lost: int, samples: int) -> None:
    """M14: the other step's is taken alone."""
    pair = Pair.connecting(settings=RESPONSIVE, delay=0.05)
    drop_only(pair, lost)
    pair.run_until(lambda: pair.client.is_established, 5.0)
    assert pair.client.rtt.srtt == pytest.approx(0.1)


def test_m14_no_step_without_repeats_no_sample() -> None:
    pair = Pair.connecting(settings=RESPONSIVE, delay=0.05)
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.INIT_CONNECT)
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.CONNECT_REQUEST)
    pair.run_until(lambda: pair.client.is_established, 5.0)
    assert not pair.client.rtt.measured
    assert pair.client.rtt.rto == 1.0


def test_f6_the_responder_takes_no_sample_of_a_second_or_more() -> None:
    """F6: it contains the initiator's waiting for a repeat."""
    pair = Pair.connecting(settings=RESPONSIVE, delay=0.05)
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.CONNECT_REQUEST)
    pair.run_until(lambda: pair.has_server, 5.0)
    assert not pair.server.rtt.measured


def test_m14_a_repeated_ack_connect_req_gives_no_sample() -> None:
    """Karn: the responder cannot know which of them was confirmed."""
    pair = Pair.connecting(settings=RESPONSIVE, delay=0.05)
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.ACK_CONNECT_REQ)
    pair.run_until(lambda: pair.has_server and pair.server.is_established, 5.0)
    assert pair.server.rtt.srtt == pytest.approx(0.1)
    assert pair.server.sent.sample is None


# numbers


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4))
def test_n2_distance_of_the_initial_numbers(initial: bytes, drawn: bytes) -> None:
    """N2: at least 2^30 apart modulo 2^32, whatever is drawn."""
    packet = ConnectRequest(
        bytes(4),
        bytes(8),
        bytes(8),
        int.from_bytes(initial, "big"),
        bytes(4),
        bytes(8),
        SinkParameter(LISTENER, NO_PREFIXES),
    )
    request = ConnectionRequest(b"INIT", b"RESP", LISTENER, "there", packet, 0.1, 0)
    server = Connection.accept(
        GAO_07, Settings(), request, now=0.0, congestion=CongestionManager(), random=lambda size: drawn[:size]
    )
    assert abs(sub(server.sent.una, packet.initial_sn)) >= 2**30


def test_initial_numbers_are_random() -> None:
    """6.4: both are drawn."""
    firsts = {established(seed=seed).client.received.expected for seed in range(20)}
    assert len(firsts) == 20


def test_only_preliminary_packets_need_the_udp_checksum() -> None:
    """M53"""
    situation = connecting_client()
    pair = situation.pair
    assert pair.client.preliminary
    assert affirming_client().subject.preliminary
    pair.run_until(lambda: pair.client.is_established)
    assert [end.preliminary for end in (pair.client, pair.server)] == [False, False]


@pytest.mark.parametrize(
    ("field", "value", "reason"), [("initial_sn", 1, "initial-sn"), ("cookie", bytes(8), "cookie")]
)
def test_m53_a_repeated_request_that_differs(field: str, value: Any, reason: str) -> None:
    """M51, M53: only the same ULTIDs, cookie and initial number are a repeat."""
    situation = challenging_server()
    server, request = situation.subject, situation.wiretap.request
    assert request is not None
    changed = replace(request, **{field: value})
    ids = server.remote_ultid + server.local_ultid
    server.receive([ids + CODEC.encode(changed)], Side.CLIENT, situation.pair.clock.now)
    assert server.statistics.drops == {reason: 1}
    assert server.datagrams_to_send(situation.pair.clock.now) == []
    server.receive([b"XXXX" + server.local_ultid + CODEC.encode(request)], Side.CLIENT, situation.pair.clock.now)
    assert server.statistics.drops["cookie"] >= 1
    server.receive([ids + CODEC.encode(request)], Side.CLIENT, situation.pair.clock.now)
    assert len(server.datagrams_to_send(situation.pair.clock.now)) == 1


def test_clocks_before_1970() -> None:
    """Clocks in the future or before 1970 do no harm: the timestamp is opaque but to its maker."""
    for microseconds in (0, -5, 2**63, EPOCH):
        client = Connection.initiate(
            GAO_07,
            Settings(),
            local_ultid=b"CLIE",
            listener_ultid=LISTENER,
            remote="there",
            now=5.0,
            unix_microseconds=microseconds,
            congestion=CongestionManager(),
            random=random.Random(1).randbytes,
        )
        [datagram] = client.datagrams_to_send(5.0)
        assert isinstance(CODEC.decode(datagram[8:]), InitConnect)


def test_the_connection_serves() -> None:
    pair = established(RESPONSIVE, welcome=b"welcome")
    transfer(pair, Side.CLIENT, bytes(range(256)) * 50)
    transfer(pair, Side.SERVER, bytes(range(256)) * 50)


@pytest.mark.parametrize(("op", "payload"), [(Op.PURE_DATA, b"x"), (Op.RELEASE, b"")])
def test_s7_only_nulcommit_or_persist_confirms(op: Op, payload: bytes) -> None:
    """S7, 6.5: PURE_DATA or RELEASE as the first is dropped, and comes again in its turn."""
    situation = challenging_server()
    wiretap, server = situation.wiretap, situation.subject
    datagram = wiretap.craft(
        Side.CLIENT,
        op,
        sn=wiretap.speakers[Side.CLIENT].next_sn,
        expected=server.sent.next_sn,
        flags=FLAG_EOT,
        payload=payload,
    )
    server.receive([datagram], Side.CLIENT, situation.pair.clock.now)
    assert state_of(server) is State.CHALLENGING
    assert server.statistics.drops == {"state": 1}
