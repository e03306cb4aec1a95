"""Windows, probes and limits (gao-07 4.6, 8.6; G5, M7, M8, M16)."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import FLAG_EOT, Op
from fsp_trio.wire.serial import add, sub

from .pair import Pair, Side
from .talk import (
    IN_BAND,
    KEY,
    RESPONSIVE,
    drain,
    drop_only,
    established,
    expected_of,
    op_of,
    sent_by,
    sn_of,
    state_of,
    window_of,
)
from .wiretap import Wiretap

NARROW = dataclasses.replace(RESPONSIVE, receive_window=4, max_payload=100)


def narrow(key: bytes = b"") -> Pair:
    return established(Settings(max_payload=100), NARROW, key=key)


def stuffed(pair: Pair, octets: int = 2000) -> Pair:
    """The server's application does not read: its window is shut."""
    pair.client.send(bytes(i % 251 for i in range(octets)))
    pair.run_for(0.2)
    assert pair.server.received.window == 0
    return pair


def test_m7_never_beyond_the_right_edge() -> None:
    """M7: SN < E + W, looked at for each packet; the probe alone is E + W."""
    pair = stuffed(narrow())
    first = pair.server.received.expected
    assert pair.client.sent.room == 0
    assert pair.client.sent.next_sn == first, "nothing is in flight"


def test_m8_a_shut_window_is_probed() -> None:
    """8.6, M8: with the packet numbered E + W, once in an RTO, backed off; the receiver answers and drops it."""
    pair = stuffed(narrow())
    mark = len(pair.record)
    first = pair.server.received.expected
    pair.run_for(40.0)
    probes = sent_by(pair, Side.CLIENT, Op.PURE_DATA, since=mark)
    assert {sn_of(flight) for flight in probes} == {first}
    gaps = [b.sent_at - a.sent_at for a, b in itertools.pairwise(probes)]
    assert len(gaps) >= 4
    assert all(b > 1.5 * a for a, b in itertools.pairwise(gaps))
    answers = sent_by(pair, Side.SERVER, since=mark)
    assert len(answers) == len(probes)
    assert {op_of(flight) for flight in answers} == {Op.KEEP_ALIVE}
    assert {window_of(flight) for flight in answers} == {0}, "0 to 3 may be told when it is full (G5)"
    assert pair.server.statistics.drops["no-room"] == len(probes)


def test_m8_the_opening_is_told_at_once() -> None:
    """M8: in an out-of-band packet, since the acknowledgement stays (N1)."""
    pair = stuffed(narrow(KEY))
    mark = len(pair.record)
    assert pair.server.read(100)
    pair.flush()
    [flight] = sent_by(pair, Side.SERVER, since=mark)
    assert op_of(flight) is Op.KEEP_ALIVE
    assert window_of(flight) == 1
    pair.run_for(0.03)
    assert [op_of(f) for f in sent_by(pair, Side.CLIENT, since=mark)] == [Op.PURE_DATA]


def test_m8_a_lost_opening_costs_a_probe() -> None:
    pair = stuffed(narrow())
    drop_only(pair, 0, lambda flight: flight.sender is Side.SERVER)
    got = drain(pair.server)
    pair.run_until(lambda: pair.server.readable, 10.0)  # the probe
    while pair.client.unacknowledged:
        pair.run_until(lambda: pair.server.readable or not pair.client.unacknowledged, 60.0)
        got += drain(pair.server)
    assert b"".join(got) == bytes(i % 251 for i in range(2000))


def test_m8_growth_by_half_is_told() -> None:
    """A reader that keeps up does not leave the sender with a stale window until the next SNACK."""
    settings = dataclasses.replace(RESPONSIVE, max_payload=100)
    pair = established(settings, dataclasses.replace(settings, receive_window=64))
    pair.client.macroflow.cwnd = 1e6
    pair.client.send(bytes(100 * 40))
    pair.run_for(0.5)
    mark = len(pair.record)
    pair.server.read(100 * 10)
    pair.flush()
    assert sent_by(pair, Side.SERVER, since=mark) == []
    pair.server.read(100 * 30)
    pair.flush()
    assert [window_of(flight) for flight in sent_by(pair, Side.SERVER, since=mark)] == [64]


def test_edges_never_move_back() -> None:
    """M7, N1: of all packets of an end, in the order in which they were sent."""
    pair = established(NARROW, NARROW, key=KEY)
    for i in range(60):
        pair.client.send(bytes(150))
        pair.server.send(bytes(90))
        if i % 5 == 0:
            pair.client.commit()
        pair.run_for(0.03)
        pair.server.read(i * 10)
        pair.client.read(i * 7)
    for side in Side:
        edges = [
            (expected_of(flight), add(expected_of(flight), window_of(flight)))
            for flight in sent_by(pair, side)
            if op_of(flight) in IN_BAND - {Op.ACK_CONNECT_REQ}
        ]
        fresh = [pair_ for pair_, _ in itertools.groupby(edges)]
        assert all(sub(b[0], a[0]) >= 0 for a, b in itertools.pairwise(fresh))


def test_end_of_transaction_in_a_shut_window() -> None:
    pair = stuffed(narrow(), 400)
    assert pair.client.commit() == 1
    pair.run_for(3.0)
    assert state_of(pair.client) is State.COMMITTING2, "NULCOMMIT was the probe"
    assert drain(pair.server) == [bytes(i % 251 for i in range(400))]
    pair.run_until(lambda: pair.client.committed == 1, 10.0)


def test_release_waits_behind_a_shut_window() -> None:
    pair = stuffed(narrow(), 400)
    pair.client.shutdown(pair.clock.now)
    pair.run_for(2.0)
    assert not pair.server.peer_released
    drain(pair.server)
    pair.run_until(lambda: pair.server.peer_released, 10.0)
    drain(pair.server)


def test_a_probe_that_nobody_wants_any_more_is_forgotten() -> None:
    """The peer releases while our new transaction waits behind its shut window; time must go on."""
    pair = established(dataclasses.replace(RESPONSIVE, max_payload=100), NARROW)
    pair.client.send(bytes(399))
    pair.client.commit()
    pair.run_until(lambda: pair.client.committed == 1)
    assert pair.client.sent.room == 0
    pair.client.send(b"one more")
    pair.flush()
    assert pair.client._probe_at < float("inf")
    pair.server.shutdown(pair.clock.now)
    pair.run_until(lambda: pair.client.state is State.SHUT_REQUESTED)
    assert pair.client.undelivered == 8
    pair.run_for(30.0)
    assert pair.client.next_deadline() > pair.clock.now + 1000


def test_a_release_that_waits_for_a_window_and_then_for_the_peer_does_not_spin() -> None:
    pair = established(dataclasses.replace(RESPONSIVE, max_payload=100), NARROW)
    pair.client.send(bytes(399))
    pair.client.commit()
    pair.run_until(lambda: pair.client.committed == 1)
    pair.client.shutdown(pair.clock.now)
    pair.flush()
    assert pair.client._probe_at < float("inf")
    pair.server.send(b"a transaction that stays open")
    pair.run_for(30.0)
    assert state_of(pair.client) is State.COMMITTED
    assert pair.client.next_deadline() > pair.clock.now


def test_m16_an_empty_pure_data_is_nothing_to_read() -> None:
    """M16: accepted, never sent; an application that sees it readable would take it for the end."""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn, client = wiretap.speakers[Side.SERVER].next_sn, pair.client
    for i, payload in enumerate([b"", b"", b"data", b""]):
        datagram = wiretap.craft(
            Side.SERVER, Op.PURE_DATA, sn=add(sn, i), expected=client.sent.next_sn, payload=payload
        )
        client.receive([datagram], Side.SERVER, pair.clock.now)
        assert client.readable == (i >= 2)
    assert client.received.expected == add(sn, 4)
    assert client.read(100) == b"data"
    assert not client.readable
    assert not client.at_end


# limits


def test_unread_octets_are_limited() -> None:
    """However large the packets of the peer are, and however many blocks are free."""
    large = dataclasses.replace(RESPONSIVE, max_payload=60_000)
    pair = established(large, dataclasses.replace(RESPONSIVE, receive_octets=2**16))
    pair.client.macroflow.cwnd = 1e7
    pair.client.send(bytes(300_000))
    pair.run_for(3.0)
    assert pair.server.received.ready_octets <= 2**16
    assert pair.server.statistics.drops["no-room"] > 0
    got = 0
    while pair.client.unacknowledged:
        got += sum(map(len, drain(pair.server)))
        pair.run_until(lambda: pair.server.readable or not pair.client.unacknowledged, 120.0)
    got += sum(map(len, drain(pair.server)))
    assert got == 300_000


def test_a_receiver_without_room_for_octets_answers_and_tells_when_there_is_some() -> None:
    """M8, 12.3: else the sender would take it for dead after five minutes."""
    pair = established(Settings(max_payload=8192), Settings(receive_octets=2**16))
    pair.client.macroflow.cwnd = 1e6
    pair.client.send(bytes(8192 * 12))
    pair.client.commit()
    pair.run_for(400.0)
    assert pair.client.failure is None
    assert pair.server.statistics.drops["no-room"] > 3
    mark = len(pair.record)
    got = sum(map(len, drain(pair.server)))
    pair.run_for(0.1)
    assert sent_by(pair, Side.SERVER, Op.KEEP_ALIVE, since=mark), "it tells at once that there is room"
    while pair.client.unacknowledged:
        pair.run_until(lambda: pair.server.readable or not pair.client.unacknowledged, 120.0)
        got += sum(map(len, drain(pair.server)))
    assert got == 8192 * 12


def test_early_octets_are_limited() -> None:
    pair = established(Settings(), dataclasses.replace(RESPONSIVE, receive_octets=2**16))
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn, server = wiretap.speakers[Side.CLIENT].next_sn, pair.server
    for i in range(2, 20):
        datagram = wiretap.craft(
            Side.CLIENT, Op.PURE_DATA, sn=add(sn, i), expected=server.sent.next_sn, payload=bytes(10_000)
        )
        server.receive([datagram], Side.CLIENT, pair.clock.now)
    assert server.received.early_octets == 60_000
    assert server.statistics.drops == {"no-room": 12}
    assert server.statistics.out_of_order == 6


def test_blocks_are_limited() -> None:
    """Blocks out of order lie inside of the window, so their number is."""
    pair = established(Settings(), NARROW)
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn, server = wiretap.speakers[Side.CLIENT].next_sn, pair.server
    for i in range(1, 50):
        datagram = wiretap.craft(
            Side.CLIENT, Op.PERSIST, sn=add(sn, i), expected=server.sent.next_sn, flags=FLAG_EOT, payload=b"x"
        )
        server.receive([datagram], Side.CLIENT, pair.clock.now)
    assert len(server.received.early) == 3
    assert server.statistics.drops == {"no-room": 1, "window": 45}


def test_the_states_passed_are_limited() -> None:
    pair = established()
    for _ in range(200):
        pair.client.commit()
        pair.run_for(0.05)
        drain(pair.server)
    assert len(pair.client.states_passed) == 256


def test_large_packets_on_a_long_path_are_not_one_in_a_round_trip() -> None:
    """The pacer lets datagrams through that are larger than its usual burst."""
    large = dataclasses.replace(RESPONSIVE, max_payload=16_000)
    pair = established(large, RESPONSIVE, delay=0.05)
    began = pair.clock.now
    pair.client.send(bytes(800_000))
    got = 0

    def done() -> bool:
        nonlocal got
        got += sum(map(len, drain(pair.server)))
        return got == 800_000

    pair.run_until(done, 60.0)
    assert pair.clock.now - began < 2.5, "50 packets, and a round trip takes 0.1 s"


def test_a_blocked_sender_does_not_poll() -> None:
    """While the congestion window is full only acknowledgements and time-outs wake it."""
    pair = established(dataclasses.replace(RESPONSIVE, max_payload=16_000))
    pair.drop_from(Side.SERVER)
    pair.client.send(bytes(200_000))
    pair.flush()
    wakes = 0
    end = pair.clock.now + 20.0
    while pair.step(end):
        wakes += 1
    assert wakes < 60


@pytest.mark.parametrize("size", [1, 999])
def test_send_accepts_whatever_it_gets(size: int) -> None:
    """Back-pressure is the caller's: `unacknowledged` tells how much there is."""
    pair = established()
    opened = []
    for data in (b"", bytes(size)):
        pair.client.send(data)
        opened.append(pair.client.transaction_open)
    assert opened == [False, True]
    assert pair.client.unacknowledged == size
    pair.flush()
    assert pair.client.unacknowledged == size
    pair.run_for(1.0)
    assert pair.client.unacknowledged == 0


def test_a_key_is_announced_when_the_window_opens() -> None:
    """M30, M8: the NULCOMMIT of the protocol's own waits for room, or probes, as any packet."""
    pair = established(Settings(max_payload=100), NARROW)
    pair.client.send(bytes(399))
    pair.client.commit()
    pair.run_until(lambda: pair.client.committed == 1)
    pair.client.install_key(KEY)
    pair.server.install_key(KEY)
    mark = len(pair.record)
    pair.run_for(0.5)
    assert sent_by(pair, Side.CLIENT, Op.NULCOMMIT, since=mark) == []
    drain(pair.server)
    pair.run_for(0.1)
    assert len(sent_by(pair, Side.CLIENT, Op.NULCOMMIT, since=mark)) == 1
