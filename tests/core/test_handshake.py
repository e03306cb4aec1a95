"""Opening a connection (gao-07 5.1 to 5.5, 6, 8.5.1; B1 to B5, M14, M18 to M20, M51, M53, N2, F5, F6)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ConnectionMisuse, FailureKind, ResetReason
from fsp_trio.core.responder import ConnectionRequest
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.revisions import GAO_07
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import (
    FLAG_CPR,
    FLAG_EOT,
    FLAG_MIND,
    AckInitConnect,
    ConnectRequest,
    InitConnect,
    Op,
    Reset,
    SinkParameter,
)
from fsp_trio.wire.serial import add, sub

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
from .wiretap import CODEC, Wiretap

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
    request = ConnectionRequest(b"INIT", b"RESP", LISTENER, "there", packet, 0.1)
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
def test_m53_a_repeated_request_that_differs(field: str, value: object, reason: str) -> None:
    """M51, M53: only the same ULTIDs, cookie and initial number are a repeat."""
    situation = challenging_server()
    server, request = situation.subject, situation.wiretap.request
    assert request is not None
    changed = ConnectRequest(**{name: getattr(request, name) for name in ConnectRequest.__slots__} | {field: value})
    ids = server.remote_ultid + server.local_ultid
    server.receive([ids + CODEC.encode(changed)], Side.CLIENT, situation.pair.clock.now)
    assert server.statistics.drops == {reason: 1}
    assert server.datagrams_to_send(situation.pair.clock.now) == []
    server.receive([b"XXXX" + server.local_ultid + CODEC.encode(request)], Side.CLIENT, situation.pair.clock.now)
    assert server.statistics.drops["cookie"] >= 1
    server.receive([ids + CODEC.encode(request)], Side.CLIENT, situation.pair.clock.now)
    assert len(server.datagrams_to_send(situation.pair.clock.now)) == 1


# what is not believed


def test_a_challenge_with_another_check_code_or_listener() -> None:
    """6.3: the initiator accepts its own check code only, from the listener that it asked."""
    situation = connecting_client()
    client, now = situation.subject, situation.pair.clock.now
    init = situation.wiretap.init_connect
    assert init is not None
    for check, host in ((bytes(8), LISTENER), (init.init_check_code, b"else")):
        packet = AckInitConnect(bytes(4), bytes(8), check, SinkParameter(host, NO_PREFIXES))
        client.receive([b"OFFR" + client.local_ultid + CODEC.encode(packet)], Side.SERVER, now)
    assert client.statistics.drops == {"check-code": 2}
    assert state_of(client) is State.CONNECT_BOOTSTRAP
    good = AckInitConnect(bytes(4), bytes(8), init.init_check_code, SinkParameter(LISTENER, NO_PREFIXES))
    datagram = b"OFFR" + client.local_ultid + CODEC.encode(good)
    client.receive([datagram, datagram], "elsewhere", now)
    assert state_of(client) is State.CONNECT_AFFIRMING
    assert client.statistics.drops["state"] == 1, "the second one says nothing new"
    assert client.remote == "elsewhere", "10.5: behind a NAT the answer may come from another address"


def acceptance(situation: object, **changes: object) -> bytes:
    """ACK_CONNECT_REQ as the server would send it, but for the changes."""
    wiretap: Wiretap = situation.wiretap  # type: ignore[attr-defined]
    fields: dict[str, object] = {
        "sn": 12345,
        "expected": wiretap.speakers[Side.CLIENT].next_sn,
        "flags": FLAG_EOT,
    }
    return wiretap.craft(Side.SERVER, Op.ACK_CONNECT_REQ, **fields | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expected": 1}, "acknowledgement"),
        ({"source": b"ELSE"}, "source-ultid"),
        ({"chain": bytes(8)}, "extension-length"),
    ],
)
def test_acceptances_that_are_none(changes: dict[str, object], reason: str) -> None:
    """6.4: it must expect the initial number that was asked for."""
    situation = affirming_client()
    client = situation.subject
    client.receive([acceptance(situation, **changes)], Side.SERVER, situation.pair.clock.now)
    assert client.statistics.drops == {reason: 1}
    assert state_of(client) is State.CONNECT_AFFIRMING


def test_an_acceptance_with_a_wrong_check_code_or_shape() -> None:
    situation = affirming_client()
    client, now = situation.subject, situation.pair.clock.now
    good = acceptance(situation)
    client.receive([good[:-1] + bytes([good[-1] ^ 1])], Side.SERVER, now)
    client.receive([good[:10] + b"\x00\x10" + good[12:]], Side.SERVER, now)
    client.receive([good[:10] + b"\x00\x28" + good[12:]], Side.SERVER, now)
    assert client.statistics.drops == {"icc": 1, "offset": 2}
    client.receive([good], Side.SERVER, now)
    assert state_of(client) is State.COMMITTING2


def test_an_acceptance_with_an_extension_header() -> None:
    """M2a: unknown ones are skipped."""
    situation = affirming_client()
    chain = bytes([99, 0, 8, 0]) + b"what"
    situation.subject.receive(
        [acceptance(situation, chain=chain, payload=b"hi")], Side.SERVER, situation.pair.clock.now
    )
    assert drain(situation.subject) == [b"hi"]


def test_b5_an_acceptance_without_eot() -> None:
    """5.4: the responder's transaction goes on; NULCOMMIT leads to COMMITTING, not to COMMITTING2."""
    situation = affirming_client()
    situation.subject.receive([acceptance(situation, flags=0, payload=b"hi")], Side.SERVER, situation.pair.clock.now)
    assert state_of(situation.subject) is State.COMMITTING
    assert situation.subject.read(10) == b"hi"
    assert not situation.subject.at_end


@pytest.mark.parametrize("flag", [FLAG_MIND, FLAG_CPR])
def test_f5_an_acceptance_with_a_feature_that_is_not_there(flag: int) -> None:
    """F5: its payload would be delivered wrongly."""
    situation = affirming_client()
    client, now = situation.subject, situation.pair.clock.now
    client.receive([acceptance(situation, flags=FLAG_EOT | flag, payload=b"hi")], Side.SERVER, now)
    assert client.failure is not None
    assert client.failure.kind is FailureKind.UNSUPPORTED
    assert not client.readable
    [datagram] = client.datagrams_to_send(now)
    reset = CODEC.decode(datagram[8:])
    assert isinstance(reset, Reset)
    assert reset.reason == ResetReason.UNSUPPORTED
    request = situation.wiretap.request
    assert request is not None
    assert (reset.first, reset.proof) == (request.timestamp, request.cookie), "M35"


def test_a_repeated_acceptance_changes_nothing() -> None:
    pair = established()
    [acceptance_flight] = sent_by(pair, Side.SERVER, Op.ACK_CONNECT_REQ)
    before = list(pair.client.states_passed)
    pair.client.receive([acceptance_flight.datagram], Side.SERVER, pair.clock.now)
    assert pair.client.statistics.duplicates == 1
    assert pair.client.states_passed == before


def test_handshake_packets_elsewhere_are_dropped() -> None:
    pair = established()
    for flight in [f for f in pair.record if op_of(f) in (Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST)]:
        for end in (pair.client, pair.server):
            before = sum(end.statistics.drops.values())
            end.receive([flight.datagram], "there", pair.clock.now)
            assert sum(end.statistics.drops.values()) == before + 1
            assert state_of(end) is State.CLOSABLE


def test_an_initiator_takes_nothing_else() -> None:
    situation = connecting_client()
    client, now = situation.subject, situation.pair.clock.now
    malformed = b"OFFR" + client.local_ultid + bytes([2, 0, 0, 64]) + bytes(60)
    normal = b"OFFR" + client.local_ultid + CODEC.head(9, 24, 0, 0, 0, 0) + bytes(8)
    init = b"OFFR" + client.local_ultid + CODEC.encode(InitConnect(bytes(4), bytes(8), bytes(8)))
    client.receive([malformed, normal, init], Side.SERVER, now)
    client.receive([acceptance(affirming_client())], Side.SERVER, now)
    assert sum(client.statistics.drops.values()) == 4
    assert state_of(client) is State.CONNECT_BOOTSTRAP


# RESET in the handshake (M35)


def test_m35_reset_in_bootstrap() -> None:
    """M35: none is sent, one is accepted on timestamp and check code."""
    for timestamp_good, check_good in ((True, True), (False, True), (True, False)):
        situation = connecting_client()
        client, init = situation.subject, situation.wiretap.init_connect
        assert init is not None
        reset = Reset(
            2, init.timestamp if timestamp_good else bytes(8), init.init_check_code if check_good else bytes(8)
        )
        client.receive([b"OFFR" + client.local_ultid + CODEC.encode(reset)], Side.SERVER, 1000.0)
        if timestamp_good and check_good:
            assert client.failure is not None
            assert (client.failure.kind, client.failure.reason) == (FailureKind.REFUSED, 2)
        else:
            assert client.failure is None
            assert client.statistics.drops == {"reset": 1}
    situation = connecting_client()
    situation.subject.receive(
        [b"OFFR" + situation.subject.local_ultid + b"\x05\x00\x00\x20" + bytes(28)], Side.SERVER, 1000.0
    )
    assert sum(situation.subject.statistics.drops.values()) == 1
    situation.subject.reset(1, 1000.0)
    assert situation.subject.datagrams_to_send(1000.0) == []
    assert situation.subject.is_over


@pytest.mark.parametrize(
    ("timestamp", "cookie", "source", "accepted"),
    [
        (True, True, True, True),
        (False, True, True, False),
        (True, False, True, False),
        (True, True, False, False),
    ],
)
def test_m35_reset_in_affirming(timestamp: bool, cookie: bool, source: bool, accepted: bool) -> None:
    """M35: on timestamp and cookie, from the ULTID that was offered."""
    situation = affirming_client()
    client, request = situation.subject, situation.wiretap.request
    assert request is not None
    reset = Reset(3, request.timestamp if timestamp else bytes(8), request.cookie if cookie else bytes(8))
    ids = (client.remote_ultid if source else b"ELSE") + client.local_ultid
    client.receive([ids + CODEC.encode(reset)], Side.SERVER, situation.pair.clock.now)
    assert (client.failure is not None) == accepted


def test_m35_reset_by_the_initiator_in_affirming_ends_challenging() -> None:
    situation = challenging_server()
    pair = situation.pair
    assert state_of(pair.client) is State.CONNECT_AFFIRMING
    pair.client.reset(ResetReason.APPLICATION, pair.clock.now)
    pair.run_for(0.1)
    assert pair.server.failure is not None
    assert pair.server.failure.kind is FailureKind.REFUSED
    assert pair.server.failure.reason == ResetReason.APPLICATION


def test_m35_challenging_accepts_both_forms() -> None:
    situation = challenging_server()
    wiretap, server = situation.wiretap, situation.subject
    datagram = wiretap.craft_reset(
        Side.CLIENT, sn=wiretap.speakers[Side.CLIENT].next_sn, expected=server.sent.next_sn, reason=9
    )
    server.receive([datagram[:10] + b"\x00\x20" + datagram[12:]], Side.CLIENT, situation.pair.clock.now)
    assert state_of(server) is State.CHALLENGING
    server.receive([datagram], Side.CLIENT, situation.pair.clock.now)
    assert server.failure is not None
    assert (server.failure.kind, server.failure.reason) == (FailureKind.RESET_BY_PEER, 9)


def test_a_request_with_a_repeated_cookie_after_a_probe_does_not_crash() -> None:
    """An initiator may acknowledge ACK_CONNECT_REQ beyond the window and then ask for it again."""
    situation = challenging_server()
    wiretap, server, now = situation.wiretap, situation.subject, situation.pair.clock.now
    request = wiretap.request
    assert request is not None
    probe = wiretap.craft(
        Side.CLIENT,
        Op.PURE_DATA,
        sn=add(wiretap.speakers[Side.CLIENT].next_sn, server.settings.receive_window),
        expected=server.sent.next_sn,
        payload=b"x",
    )
    again = server.remote_ultid + server.local_ultid + CODEC.encode(request)
    server.receive([probe, again, again], Side.CLIENT, now)
    assert state_of(server) is State.CHALLENGING
    assert server.datagrams_to_send(now), "the same answer again"


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
