"""RESET, congestion signals, following addresses (gao-07 4.6, 4.9, 8.7, 10.3, 10.5; M35, M45, B15, B18)."""

from __future__ import annotations

import random

import pytest

from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import FailureKind
from fsp_trio.core.paths import path_key
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import FLAG_ECE, FLAG_EOT, FLAG_SRR, Op, SinkParameter, Snack
from fsp_trio.wire.serial import add

from .pair import LISTENER, Pair, Side
from .situations import situation_in
from .talk import KEY, drain, established, flags_of, op_of, sent_by, state_of, transfer
from .wiretap import CODEC, Wiretap

# RESET


@pytest.mark.parametrize(
    "way", ["ACTIVE", "COMMITTING", "COMMITTED", "PEER_COMMIT", "CLOSABLE", "SHUT_REQUESTED", "PRE_CLOSED"]
)
@pytest.mark.parametrize("mode", ["crc64", "aead"])
def test_reset_by_either_side(way: str, mode: str) -> None:
    """12.7: the reason arrives, everything that is queued is dropped, what is in order stays readable."""
    situation = situation_in(way, Side.CLIENT, mode)  # type: ignore[arg-type]
    pair, client = situation.pair, situation.subject
    client.reset(4711, pair.clock.now)
    client.reset(4712, pair.clock.now)
    assert client.failure is not None
    assert (client.failure.kind, client.failure.reason) == (FailureKind.RESET_LOCALLY, 4711)
    assert client.macroflow.in_flight == 0
    assert client.unacknowledged == 0
    pair.run_for(0.1)
    if way != "SHUT_REQUESTED":
        assert pair.server.failure is not None
        assert (pair.server.failure.kind, pair.server.failure.reason) == (FailureKind.RESET_BY_PEER, 4711)


@pytest.mark.parametrize("accepted", [False, True])
def test_4_9_a_reset_from_challenging_is_understood_in_either_state_of_the_initiator(accepted: bool) -> None:
    """4.9, M35: before ACK_CONNECT_REQ arrives by timestamp and cookie, afterwards by numbers and ICC."""
    pair = Pair.connecting()
    lost = pair.drop(lambda flight: flight.sender is Side.SERVER and op_of(flight) is Op.ACK_CONNECT_REQ)
    if accepted:
        lost()
    pair.run_until(lambda: pair.has_server)
    if accepted:
        pair.drop_from(Side.CLIENT)
        pair.run_until(lambda: pair.client.is_established)
    assert state_of(pair.server) is State.CHALLENGING
    pair.server.reset(7, pair.clock.now)
    pair.run_for(0.1)
    assert state_of(pair.client) is State.NON_EXISTENT
    assert pair.client.failure is not None
    assert pair.client.failure.reason == 7


def test_what_is_in_order_stays_readable_after_a_reset() -> None:
    pair = established()
    pair.client.send(b"in order")
    pair.run_for(0.2)
    pair.client.reset(1, pair.clock.now)
    pair.run_for(0.2)
    assert pair.server.failure is not None
    assert pair.server.read(100) == b"in order"
    assert pair.server.peer_released
    assert not pair.server.readable


def test_m35_tombstone() -> None:
    """M35: for a minute the same octets to later packets, at most one in a round trip; never to a RESET."""
    pair = established(key=KEY)
    lost = pair.drop_from(Side.CLIENT)
    pair.server.send(b"x")
    pair.client.reset(1, pair.clock.now)
    pair.run_for(0.1)
    lost()
    packet = sent_by(pair, Side.SERVER)[-1].datagram
    client, start = pair.client, pair.clock.now
    reset = sent_by(pair, Side.CLIENT, Op.RESET)[0].datagram
    answers = []
    for i in range(1200):
        client.receive([packet, packet], Side.SERVER, start + i * 0.1)
        answers += [(i * 0.1, datagram) for datagram in client.datagrams_to_send(start + i * 0.1)]
    assert {datagram for _, datagram in answers} == {reset}
    assert len(answers) == pytest.approx(60 / client.rtt.rto, abs=2)
    assert answers[-1][0] < 60.0
    echo = reset[4:8] + reset[:4] + reset[8:]
    client.receive([echo], Side.SERVER, start + 1.0)
    assert client.datagrams_to_send(start + 1.0) == []


def test_m35_who_was_reset_does_not_answer() -> None:
    pair = established()
    pair.client.reset(1, pair.clock.now)
    pair.run_for(0.1)
    mark = len(pair.record)
    pair.server.receive([sent_by(pair, Side.CLIENT)[-2].datagram], Side.CLIENT, pair.clock.now)
    pair.run_for(1.0)
    assert sent_by(pair, Side.SERVER, since=mark) == []


def test_m35_a_reset_that_is_not_believed() -> None:
    """S4, M35"""
    pair = established(key=KEY)
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    sn, client, now = wiretap.speakers[Side.SERVER].next_sn, pair.client, pair.clock.now
    good = wiretap.craft_reset(Side.SERVER, sn=sn, expected=client.sent.next_sn)
    far = wiretap.craft_reset(Side.SERVER, sn=add(sn, 5000), expected=client.sent.next_sn)
    behind = wiretap.craft_reset(Side.SERVER, sn=add(sn, -2), expected=client.sent.next_sn)
    client.receive([good[:-1] + b"!" if good[-1:] != b"!" else good[:-1] + b"?"], Side.SERVER, now)
    client.receive(
        [far, behind, b"ELSE" + good[4:], good + bytes(8), good[:11] + b"\x20" + good[12:]], Side.SERVER, now
    )
    assert client.failure is None
    assert client.statistics.drops == {"icc": 1, "window": 2, "source-ultid": 1, "offset": 2}
    client.receive([good], Side.SERVER, now)
    assert client.failure is not None


# congestion signals (8.7, M45)


def congested(pair: Pair, side: Side) -> None:
    """The next datagram for `side` has been marked on the way."""
    end, other = pair.end(side), pair.end(side.other)
    other.send(b"marked")
    [datagram] = other.datagrams_to_send(pair.clock.now)
    end.receive([datagram], side.other, pair.clock.now, congested=True)


def test_m45_ece_until_srr_and_srr_until_acknowledged() -> None:
    """M45, 4.6, 8.7"""
    pair = established()
    congested(pair, Side.SERVER)
    before = pair.client.macroflow.cwnd
    silent = pair.drop_from(Side.CLIENT)
    pair.server.send(b"one")
    pair.run_for(0.1)
    assert flags_of(sent_by(pair, Side.SERVER, Op.PERSIST)[-1]) == FLAG_ECE
    assert pair.client.macroflow.cwnd == pytest.approx(before * 0.7), "told once"
    assert pair.client.macroflow.reductions == 1
    pair.server.send(b"two")
    pair.run_for(0.1)
    assert flags_of(sent_by(pair, Side.SERVER, Op.PURE_DATA)[-1]) == FLAG_ECE, "until SRR has been heard"
    silent()
    assert pair.client.macroflow.reductions == 1
    pair.client.send(b"three")
    pair.run_for(0.1)
    assert flags_of(sent_by(pair, Side.CLIENT, Op.PURE_DATA)[-1]) == FLAG_SRR
    pair.server.send(b"four")
    pair.client.send(b"five")
    pair.run_for(0.1)
    assert flags_of(sent_by(pair, Side.SERVER, Op.PURE_DATA)[-1]) == 0, "SRR was heard"
    pair.client.send(b"six")
    pair.run_for(0.1)
    assert flags_of(sent_by(pair, Side.CLIENT, Op.PURE_DATA)[-1]) == 0, "SRR was acknowledged"
    congested(pair, Side.SERVER)
    pair.run_for(0.1)
    pair.server.send(b"seven")
    pair.run_for(0.1)
    assert pair.client.macroflow.reductions == 2, "8.7: now it counts again"


def test_m45_out_of_band_packets_carry_the_flags_too() -> None:
    pair = established()
    congested(pair, Side.SERVER)
    pair.run_for(0.3)
    assert flags_of(sent_by(pair, Side.SERVER, Op.KEEP_ALIVE)[-1]) == FLAG_ECE
    assert pair.client.macroflow.reductions == 1
    pair.client.handle_heartbeat(pair.client.next_heartbeat())
    pair.run_for(0.1)
    assert flags_of(sent_by(pair, Side.CLIENT, Op.ACK_FLUSH, Op.KEEP_ALIVE)[-1]) & FLAG_SRR
    assert not pair.server._ce_seen


def test_m45_repeats_keep_their_flags() -> None:
    """M45, N1"""
    pair = established()
    undo = pair.drop_from(Side.CLIENT)
    pair.client.send(b"before the signal")
    pair.flush()
    congested(pair, Side.CLIENT)
    pair.run_for(1.5)
    undo()
    first, second = sent_by(pair, Side.CLIENT, Op.PERSIST)
    assert first.datagram != second.datagram
    assert flags_of(first) == flags_of(second) == 0


def test_a_mark_on_garbage_means_nothing() -> None:
    pair = established()
    pair.server.receive([bytes(32)], Side.CLIENT, pair.clock.now, congested=True)
    assert not pair.server._ce_seen


def test_loss_is_reported_to_the_congestion_manager() -> None:
    pair = established(delay=0.05)
    pair.client.macroflow.cwnd = 100_000.0
    wiretap = Wiretap(pair)
    pair.drop_from(Side.CLIENT)
    pair.client.send(bytes(10 * 1024))
    pair.flush()
    wiretap.follow()
    una, server = pair.client.sent.una, wiretap.speakers[Side.SERVER]
    chain = CODEC.snack(Snack(una, add(una, -1), 0, ((1, 4),)))
    for serial in (1, 2):
        datagram = wiretap.craft(
            Side.SERVER, Op.KEEP_ALIVE, sn=add(server.next_sn, -1), expected=server.serial + serial, chain=chain
        )
        pair.client.receive([datagram], Side.SERVER, pair.clock.now + 0.1)
    assert pair.client.macroflow.reductions == 1


def test_b18_one_macroflow_for_all_connections_of_a_path() -> None:
    """B18, F8: by the address without the port."""
    manager = CongestionManager()

    def connection(remote: object) -> Connection:
        return Connection.initiate(
            GAO_07,
            Settings(),
            local_ultid=b"CLIE",
            listener_ultid=LISTENER,
            remote=remote,
            now=0.0,
            unix_microseconds=0,
            congestion=manager,
            random=random.Random(1).randbytes,
        )

    first, second, other = connection(("192.0.2.1", 1)), connection(("192.0.2.1", 2)), connection(("192.0.2.2", 1))
    assert first.macroflow is second.macroflow
    assert first.macroflow is not other.macroflow
    assert first.macroflow.members == 2
    first.reset(1, 0.0)
    first.reset(1, 0.0)
    assert second.macroflow.members == 1
    assert path_key("a name") == "a name"
    assert path_key(()) == ()


# addresses (10.3, 10.5, B15)


def crafted(pair: Pair, wiretap: Wiretap, op: Op = Op.PERSIST, offset: int = 0, **more: object) -> bytes:
    wiretap.follow()
    fields: dict[str, object] = {"expected": pair.client.sent.next_sn, "payload": b"x"} | more
    return wiretap.craft(Side.SERVER, op, sn=add(wiretap.speakers[Side.SERVER].next_sn, offset), **fields)  # type: ignore[arg-type]


def keep_alive(pair: Pair, wiretap: Wiretap, *, serial: int = 1, ahead: int = 0) -> bytes:
    """After `ahead` more in-band packets."""
    wiretap.follow()
    server, sent = wiretap.speakers[Side.SERVER], pair.client.sent
    chain = CODEC.snack(Snack(sent.next_sn, add(sent.next_sn, -1), 0))
    sn = add(server.next_sn, ahead - 1)
    return wiretap.craft(Side.SERVER, Op.KEEP_ALIVE, sn=sn, expected=server.serial + serial, chain=chain)


@pytest.mark.parametrize("key", [b"", KEY], ids=["crc64", "aead"])
def test_10_5_the_source_of_the_newest_packet_is_followed(key: bytes) -> None:
    """10.3, 10.5, M34"""
    pair = established(key=key)
    wiretap = Wiretap(pair, KEY)
    later, newest = crafted(pair, wiretap, offset=1, op=Op.PURE_DATA), crafted(pair, wiretap, offset=2, op=Op.PURE_DATA)
    earlier = crafted(pair, wiretap)
    followed = []
    arrivals = ((later, "moved"), (earlier, "older"), (later, "replayed"), (newest, "again"))
    for datagram, source in arrivals:
        pair.client.receive([datagram], source, pair.clock.now)
        followed.append(pair.client.remote)
    assert followed == ["moved", "moved", "moved", "again"]
    assert pair.client.statistics.address_changes == 2


def test_10_3_an_out_of_band_packet_is_later_by_its_serial() -> None:
    """B15: SN newer, or the same SN and a newer serial."""
    pair = established(key=KEY)
    wiretap = Wiretap(pair, KEY)
    client = pair.client
    second, first = keep_alive(pair, wiretap, serial=2), keep_alive(pair, wiretap, serial=1)
    client.receive([second], "moved", pair.clock.now)
    assert client.remote == "moved"
    client.receive([first], "overtaken", pair.clock.now)
    client.receive([second], "replayed", pair.clock.now)
    assert client.remote == "moved"


def test_10_3_a_run_of_repeats_is_not_later_than_what_is_newer() -> None:
    """What was under way when the peer moved arrives last, and names the place that it has left."""
    pair = established(key=KEY)
    wiretap = Wiretap(pair, KEY)
    client = pair.client
    first, *more, newest = (crafted(pair, wiretap, Op.PURE_DATA if n else Op.PERSIST, n) for n in range(6))
    heartbeat = keep_alive(pair, wiretap, ahead=6)
    for datagrams in ([first], [heartbeat], more[:3]):
        client.receive(datagrams, "moved", pair.clock.now)
    client.receive([more[3]], Side.SERVER, pair.clock.now)
    client.receive([newest], Side.SERVER, pair.clock.now)
    assert client.received.expected == add(wiretap.speakers[Side.SERVER].next_sn, 6)
    assert client.remote == "moved"
    assert client.statistics.address_changes == 1


@pytest.mark.parametrize(("octet", "follows"), [(0, True), (1, False)])
def test_b15_a_sink_parameter_that_names_an_address(octet: int, follows: bool) -> None:
    """B15, 10.3: unless there is a Sink Parameter in the packet; one of zeros counts as absent."""
    pair = established(key=KEY)
    wiretap = Wiretap(pair, KEY)
    sink = CODEC.sink_parameter(SinkParameter(bytes(4), (bytes([octet] * 8), bytes(8), bytes(8), bytes(8))))
    pair.client.receive([crafted(pair, wiretap, chain=sink)], "moved", pair.clock.now)
    assert pair.client.read(10) == b"x"
    assert (pair.client.remote == "moved") == follows


def test_b15_crc64_moves_nothing_once_a_key_is_installed() -> None:
    """B15, M30: an old packet may be acknowledged, but its source is not believed."""
    pair = established()
    undo = pair.drop(lambda flight: flight.sender is Side.CLIENT)
    wiretap = Wiretap(pair)
    wiretap.follow()
    before = sent_by(pair, Side.SERVER)[-1]
    pair.server.send(b"x")
    pair.server.commit()
    pair.run_for(0.1)
    undo()
    assert op_of(before) in (Op.ACK_FLUSH, Op.ACK_CONNECT_REQ)
    pair.client.install_key(KEY)
    newest = wiretap.speakers[Side.SERVER]
    wiretap.follow()
    chain = CODEC.snack(Snack(pair.client.sent.next_sn, add(pair.client.sent.next_sn, -1), 0))
    datagram = wiretap.craft(
        Side.SERVER,
        Op.ACK_FLUSH,
        sn=add(newest.next_sn, -1),
        expected=newest.serial + 5,
        chain=chain,
        protection=wiretap.crc64[Side.SERVER],
    )
    pair.client.receive([datagram, sent_by(pair, Side.SERVER, Op.PERSIST)[-1].datagram], "elsewhere", pair.clock.now)
    assert pair.client.remote == Side.SERVER
    assert pair.client.statistics.address_changes == 0


def test_forgeries_move_nothing() -> None:
    pair = established(key=KEY)
    wiretap = Wiretap(pair, KEY)
    datagram = crafted(pair, wiretap)
    pair.client.receive([datagram[:-1] + bytes([datagram[-1] ^ 1])], "forger", pair.clock.now)
    assert pair.client.remote == Side.SERVER
    assert drain(pair.client) == []


def test_the_fast_path_is_for_the_known_address() -> None:
    """A run of packets from elsewhere goes the long way, and is followed."""
    pair = established(key=KEY)
    wiretap = Wiretap(pair, KEY)
    run = [crafted(pair, wiretap, offset=i, op=Op.PURE_DATA if i else Op.PERSIST) for i in range(5)]
    pair.client.receive(run[:2], Side.SERVER, pair.clock.now)
    pair.client.receive(run[2:], "moved", pair.clock.now)
    assert pair.client.read(10) == b"xxxxx"
    assert pair.client.remote == "moved"


def test_connections_go_on_after_a_move() -> None:
    pair = established(key=KEY)
    wiretap = Wiretap(pair, KEY)
    pair.client.receive([crafted(pair, wiretap, flags=FLAG_EOT)], "moved", pair.clock.now)
    assert state_of(pair.client) is State.CLOSABLE
    assert pair.client.remote == "moved"
    drain(pair.client)
    transfer(established(key=KEY), Side.CLIENT, bytes(5000))
