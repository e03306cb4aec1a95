"""SNACKs: when, which packet carries them, what is believed (gao-07 8.4.2, 8.5.2, 8.5.3; M4 to M6, M10, M11, M50)."""

from __future__ import annotations

import dataclasses

import pytest

from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import FLAG_EOT, NO_PREFIXES, Normal, Op, SinkParameter, Snack
from fsp_trio.wire.serial import add

from .pair import Pair, Side
from .situations import situation_in
from .talk import KEY, drain, drop_only, established, expected_of, flags_of, op_of, sent_by, sn_of, state_of, transfer
from .wiretap import CODEC, Wiretap


def test_ack_flush_leaves_at_once() -> None:
    """8.4.2, M11: when the last gap of a transaction is filled."""
    pair = established(delay=0.1)
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.PERSIST)
    mark = len(pair.record)
    pair.client.send(bytes(3000))
    pair.client.commit()
    pair.run_until(lambda: pair.server.readable, 10.0)
    arrived = pair.clock.now
    assert sent_by(pair, Side.SERVER, Op.ACK_FLUSH, since=mark)[-1].sent_at == arrived
    assert sn_of(sent_by(pair, Side.SERVER, Op.ACK_FLUSH, since=mark)[-1]) == add(pair.server.sent.next_sn, -1)


def test_delayed_snack_leaves_one_round_trip_later() -> None:
    """8.5.2: KEEP_ALIVE, once for all packets of the meantime."""
    pair = established(delay=0.1)
    mark = len(pair.record)
    pair.client.send(bytes(3000))
    pair.run_until(lambda: pair.server.readable)
    arrived = pair.clock.now
    pair.run_for(0.5)
    [snack] = sent_by(pair, Side.SERVER, since=mark)
    assert op_of(snack) is Op.KEEP_ALIVE
    assert snack.sent_at - arrived == pytest.approx(pair.server.rtt.srtt)


def test_m11_no_acknowledgement_of_acknowledgements() -> None:
    """M11: only in-band packets and their duplicates trigger; after them all is quiet until the heartbeat."""
    pair = established()
    transfer(pair, Side.CLIENT, bytes(3000))
    pair.run_for(1.0)
    mark = len(pair.record)
    pair.run_for(500.0)
    assert len(pair.record) == mark


def test_m11_duplicates_draw_an_acknowledgement() -> None:
    """8.4.2: ACK_FLUSH at once where the transaction is complete, else a SNACK after one round trip."""
    pair = established()
    pair.client.send(b"open")
    pair.run_for(0.5)
    duplicate = sent_by(pair, Side.CLIENT, Op.PERSIST)[0].datagram
    mark = len(pair.record)
    pair.server.receive([duplicate], Side.CLIENT, pair.clock.now)
    assert pair.server.datagrams_to_send(pair.clock.now) == []
    pair.run_for(0.5)
    assert [op_of(flight) for flight in sent_by(pair, Side.SERVER, since=mark)] == [Op.KEEP_ALIVE]
    pair.client.commit()
    pair.run_for(0.5)
    mark = len(pair.record)
    pair.server.receive([duplicate], Side.CLIENT, pair.clock.now)
    pair.flush()
    assert [op_of(flight) for flight in sent_by(pair, Side.SERVER, since=mark)] == [Op.ACK_FLUSH]
    assert pair.server.statistics.duplicates == 2
    assert drain(pair.server) == [b"open"]


def test_m4_form_of_ack_flush_and_keep_alive() -> None:
    """M4: ACK_FLUSH is 40 octets, a SNACK without gaps; KEEP_ALIVE has a Sink Parameter too (10.1)."""
    pair = established()
    wiretap = Wiretap(pair)
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.PURE_DATA)
    pair.client.send(bytes(3000))
    pair.run_for(5.0)
    pair.client.commit()
    pair.run_for(5.0)
    seen = {Op.ACK_FLUSH: 0, Op.KEEP_ALIVE: 0}
    gaps = set()
    for side, packet in wiretap.follow():
        if side is Side.SERVER and isinstance(packet, Normal) and packet.op in seen:
            seen[packet.op] += 1
            snack = packet.extensions[-1]
            assert isinstance(snack, Snack)
            gaps.add(snack.gaps)
            if packet.op is Op.KEEP_ALIVE:
                assert packet.extensions[0] == SinkParameter(bytes(4), NO_PREFIXES)
            else:
                assert len(packet.extensions) == 1
                assert snack.gaps == ()
    assert all(seen.values())
    assert ((1, 1),) in gaps
    assert all(len(f.datagram) == 8 + 40 for f in sent_by(pair, Side.SERVER, Op.ACK_FLUSH))


def test_m5_serials_count_all_kinds_together_from_one() -> None:
    """M5, 8.4.2, 10.1: one counter in a direction."""
    pair = established(welcome=b"x")
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.PURE_DATA)
    for _ in range(3):
        pair.client.send(bytes(3000))
        pair.run_for(5.0)
        pair.client.commit()
        pair.run_for(5.0)
    serials = [expected_of(flight) for flight in sent_by(pair, Side.SERVER, Op.ACK_FLUSH, Op.KEEP_ALIVE)]
    assert serials == list(range(1, len(serials) + 1))
    assert len(serials) > 5


def test_m5_a_replayed_or_overtaken_packet_is_dropped() -> None:
    """M5: newer serials only, and recorded only after the check code was good."""
    pair = established(key=KEY)
    undo = pair.drop_from(Side.SERVER)
    transfers = 3
    for _ in range(transfers):
        pair.client.send(b"x")
        pair.run_for(0.5)
    undo()
    first, second, *_ = [flight.datagram for flight in sent_by(pair, Side.SERVER, Op.KEEP_ALIVE)][-3:]
    forged = second[:20] + (2**30).to_bytes(4, "big") + second[24:]
    now = pair.clock.now
    pair.client.receive([forged, second, second, first], Side.SERVER, now)
    assert pair.client.statistics.drops == {"icc": 1, "replay": 2}


@pytest.mark.parametrize("state", ["ACTIVE", "COMMITTING", "CLOSABLE"])
def test_m6_the_number_of_an_out_of_band_packet_is_the_last_in_band_one(state: str) -> None:
    """B11, M6"""
    situation = situation_in(state, Side.CLIENT, "aead")
    pair = situation.pair
    mark = len(pair.record)
    situation.subject.handle_heartbeat(situation.subject.next_heartbeat())
    pair.flush()
    [flight] = [f for f in sent_by(pair, Side.CLIENT, since=mark) if op_of(f) in (Op.KEEP_ALIVE, Op.ACK_FLUSH)]
    assert sn_of(flight) == add(situation.subject.sent.next_sn, -1)


@pytest.mark.parametrize(("capacity", "every"), [(4, 1), (7, 1), (16, 4), (64, 8)])
def test_f1_many_packets_do_not_wait_for_a_round_trip(capacity: int, every: int) -> None:
    """F1: eight packets, or a quarter of the receive capacity if that is less."""
    pair = established(Settings(), Settings(receive_window=capacity), delay=0.2)
    mark = len(pair.record)
    pair.client.macroflow.cwnd = 1e6
    pair.client.send(bytes(1024 * every))
    pair.run_until(lambda: pair.server.received.ready_octets == 1024 * every)
    pair.flush()
    assert [op_of(flight) for flight in sent_by(pair, Side.SERVER, since=mark)] == [Op.KEEP_ALIVE]


def test_f1_the_steps_grow_up_to_a_quarter_of_the_capacity() -> None:
    pair = established(Settings(), dataclasses.replace(Settings(), receive_window=256), delay=0.001)
    pair.client.macroflow.cwnd = 1e9
    pair.client.macroflow.srtt = 1e-5
    mark = len(pair.record)
    pair.client.send(bytes(1024 * 250))
    pair.run_until(lambda: len(pair.server.received.ready) == 250)
    assert len(sent_by(pair, Side.SERVER, since=mark)) <= 8
    assert pair.server._snack_every <= 64


def crafted_snack(pair: Pair, wiretap: Wiretap, snack: Snack, op: Op = Op.KEEP_ALIVE) -> bytes:
    wiretap.follow()
    speaker = wiretap.speakers[Side.SERVER]
    return wiretap.craft(
        Side.SERVER, op, sn=add(speaker.next_sn, -1), expected=add(speaker.serial, 1), chain=CODEC.snack(snack)
    )


def test_m10_a_void_snack_still_acknowledges_cumulatively() -> None:
    """M10: the gaps are void and counted, the expected number is not doubted."""
    pair = established()
    wiretap = Wiretap(pair)
    pair.drop_from(Side.CLIENT)
    pair.client.send(bytes(5 * 1024))
    pair.flush()
    una = pair.client.sent.una
    datagram = crafted_snack(pair, wiretap, Snack(add(una, 2), add(una, 1), 0, ((1, 9),)))
    pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    assert pair.client.statistics.drops == {"snack-gaps": 1}
    assert pair.client.sent.una == add(una, 2)
    assert not any(block.acknowledged for block in pair.client.sent.blocks)


def test_8_5_3_what_was_selectively_acknowledged_is_not_repeated() -> None:
    """8.5.3, M55: the receiver keeps it, so the sender may rely on it."""
    pair = established(delay=0.05)
    wiretap = Wiretap(pair)
    undo = pair.drop_from(Side.CLIENT)
    pair.client.send(bytes(5 * 1024))
    pair.flush()
    una = pair.client.sent.una
    mark = len(pair.record)
    datagram = crafted_snack(pair, wiretap, Snack(una, add(una, -1), 0, ((1, 1), (1, 2))))
    pair.clock.now += 0.01
    pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    pair.run_for(1.9)
    assert {sn_of(flight) for flight in sent_by(pair, Side.CLIENT, since=mark)} == {una, add(una, 2)}
    undo()


def test_m55_early_packets_are_kept() -> None:
    """M55: what was told as arrived is still there after the gap is filled, without a repeat."""
    pair = established()
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.PURE_DATA)
    pair.client.send(bytes(range(256)) * 20)
    pair.run_for(0.5)
    assert len(pair.server.received.early) == 3
    pair.run_for(1.0)
    assert pair.client.statistics.retransmissions == 1
    assert drain(pair.server) == [bytes(range(256)) * 20]


def test_m50_an_old_acknowledgement_is_ignored_but_its_payload_taken() -> None:
    """M50"""
    pair = established()
    wiretap = Wiretap(pair)
    transfer(pair, Side.CLIENT, b"x")
    wiretap.follow()
    una = pair.client.sent.una
    datagram = wiretap.craft(
        Side.SERVER, Op.PERSIST, sn=wiretap.speakers[Side.SERVER].next_sn, expected=add(una, -1), payload=b"payload"
    )
    pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    assert pair.client.sent.una == una
    assert pair.client.read(100) == b"payload"


def test_m50_the_same_in_the_fast_path() -> None:
    pair = established()
    wiretap = Wiretap(pair)
    transfer(pair, Side.CLIENT, b"x")
    wiretap.follow()
    una, sn = pair.client.sent.una, wiretap.speakers[Side.SERVER].next_sn
    datagrams = [
        wiretap.craft(
            Side.SERVER,
            Op.PERSIST if i == 0 else Op.PURE_DATA,
            sn=add(sn, i),
            expected=add(una, [0, 0, -1, 1, 0][i]),
            payload=bytes([i]),
        )
        for i in range(5)
    ]
    pair.client.receive(datagrams[:1], Side.SERVER, pair.clock.now)
    pair.client.receive(datagrams[1:], Side.SERVER, pair.clock.now)
    assert pair.client.read(100) == b"\0\1\2", "what acknowledges the unsent is dropped, and the rest is early"
    assert pair.client.statistics.drops == {"acknowledgement": 1}
    assert pair.client.sent.una == una


def test_delay_sample_is_told() -> None:
    """M9: number E - 1 and the microseconds since it came."""
    pair = established(delay=0.1)
    wiretap = Wiretap(pair)
    wiretap.follow()
    pair.client.send(b"x")
    pair.run_for(0.6)
    [packet] = [packet for side, packet in wiretap.follow() if side is Side.SERVER]
    assert isinstance(packet, Normal)
    snack = packet.extensions[-1]
    assert isinstance(snack, Snack)
    assert snack.delay_sample_sn == add(snack.expected_sn, -1)
    assert snack.delay == pytest.approx(pair.server.rtt.srtt * 1e6, rel=0.01)


def test_an_extension_chain_that_is_malformed_inside() -> None:
    """G16: nothing of such a packet counts, though its check code is good; its serial is used up (M5)."""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    server = wiretap.speakers[Side.SERVER]
    keep_alive = wiretap.craft(
        Side.SERVER, Op.KEEP_ALIVE, sn=add(server.next_sn, -1), expected=add(server.serial, 1), chain=bytes(16)
    )
    persist = wiretap.craft(
        Side.SERVER, Op.PERSIST, sn=server.next_sn, expected=pair.client.sent.next_sn, chain=bytes(8), payload=b"x"
    )
    pair.client.receive([keep_alive, persist], Side.SERVER, pair.clock.now)
    assert pair.client.statistics.drops == {"extension-length": 2}
    assert not pair.client.readable
    pair.client.receive([keep_alive], Side.SERVER, pair.clock.now)
    assert pair.client.statistics.drops["replay"] == 1


def test_drops_by_reason() -> None:
    """S4: each has a counter of its own, and none has another effect."""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    server, client = wiretap.speakers[Side.SERVER], pair.client
    sn, expected = server.next_sn, client.sent.next_sn

    def packet(op: Op = Op.PERSIST, sn: int = sn, flags: int = 0, payload: bytes = b"x", **more: object) -> bytes:
        return wiretap.craft(Side.SERVER, op, sn=sn, expected=expected, flags=flags, payload=payload, **more)  # type: ignore[arg-type]

    good = packet()
    cases = {
        "op-code": good[:8] + b"\x63" + good[9:],
        "major-version": good[:9] + b"\x01" + good[10:],
        "icc": good[:-1] + b"y",
        "window": packet(sn=add(sn, client.settings.receive_window + 1)),
        "source-ultid": packet(source=b"ELSE"),
        "payload-missing": packet(payload=b""),
        "payload-forbidden": packet(op=Op.NULCOMMIT, flags=FLAG_EOT),
        "eot-missing": packet(op=Op.NULCOMMIT, payload=b""),
        "offset": good[:10] + b"\x00\x19" + good[12:],
    }
    for reason, datagram in cases.items():
        client.receive([datagram], Side.SERVER, pair.clock.now)
        assert client.statistics.drops.pop(reason) == 1
        assert client.statistics.drops == {}
    assert state_of(client) is State.CLOSABLE
    assert not client.readable
    assert client.datagrams_to_send(pair.clock.now) == []


def test_flags_of_acknowledgements_are_clean() -> None:
    pair = established()
    transfer(pair, Side.CLIENT, bytes(9000))
    assert {flags_of(flight) for flight in sent_by(pair, Side.SERVER, Op.ACK_FLUSH, Op.KEEP_ALIVE)} == {0}


def test_m50_acknowledging_the_unsent_ends_the_fast_path() -> None:
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn, next_sn = wiretap.speakers[Side.SERVER].next_sn, pair.client.sent.next_sn
    for offset, expected in ((0, next_sn), (1, add(next_sn, 1)), (1, next_sn)):
        op = Op.PURE_DATA if offset else Op.PERSIST
        datagram = wiretap.craft(Side.SERVER, op, sn=add(sn, offset), expected=expected, payload=b"x")
        pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    assert pair.client.read(10) == b"xx"
    assert pair.client.statistics.drops == {"acknowledgement": 1}


def test_m50_a_snack_for_the_unsent_is_dropped() -> None:
    pair = established()
    wiretap = Wiretap(pair)
    beyond = add(pair.client.sent.next_sn, 1)
    datagram = crafted_snack(pair, wiretap, Snack(beyond, add(beyond, -1), 0))
    pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    assert pair.client.statistics.drops == {"acknowledgement": 1}


def test_f21_snacks_while_the_round_trip_is_unknown() -> None:
    """A responder whose only sample was not taken (F6), and that only receives, does not answer each packet."""
    pair = Pair.connecting(settings=Settings(max_payload=100), delay=0.1)
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.CONNECT_REQUEST)
    pair.run_until(lambda: pair.has_server and pair.server.state is State.CLOSABLE, 40.0)
    pair.run_for(3.0)
    assert not pair.server.rtt.measured
    mark = len(pair.record)
    for _ in range(400):
        pair.client.send(bytes(100))
        pair.run_for(0.01)
        drain(pair.server)
    assert 10 <= len(sent_by(pair, Side.SERVER, Op.KEEP_ALIVE, since=mark)) <= 60
