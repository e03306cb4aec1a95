"""Time-outs and heartbeats (gao-07 10.1, 12.3 to 12.6; B7, M35, M42, F7, N4)."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.core.link import LAST_SERIAL
from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import Op

from .pair import Side
from .situations import situation_in
from .talk import KEY, drain, established, op_of, sent_by, state_of, transfer
from .wiretap import Wiretap


@pytest.mark.parametrize("state", ["ACTIVE", "COMMITTED", "PEER_COMMIT", "CLOSABLE"])
def test_heartbeats_every_600_seconds(state: str) -> None:
    """10.1: after the last out-of-band packet, again and again; they keep the connection alive for days."""
    situation = situation_in(state, Side.CLIENT, "aead")
    pair = situation.pair
    mark = len(pair.record)
    pair.run_for(6 * 3600.0)
    beats = [
        flight for flight in sent_by(pair, Side.CLIENT, since=mark) if op_of(flight) in (Op.KEEP_ALIVE, Op.ACK_FLUSH)
    ]
    gaps = {round(b.sent_at - a.sent_at) for a, b in itertools.pairwise(beats)}
    assert gaps == {600}
    assert len(beats) >= 35
    assert pair.client.state.name == state
    assert pair.client.failure is None


def test_heartbeats_only_in_the_connected_states() -> None:
    for way in ("SHUT_REQUESTED", "PRE_CLOSED", "CLOSED"):
        situation = situation_in(way, Side.CLIENT, "crc64")
        assert situation.subject.next_heartbeat() == math.inf
        situation.subject.handle_heartbeat(situation.pair.clock.now)
        assert situation.subject.datagrams_to_send(situation.pair.clock.now) == []


def test_heartbeat_interval_is_a_setting() -> None:
    pair = established(Settings(heartbeat_interval=7.0))
    assert pair.client.heartbeat_interval == 7.0
    mark = len(pair.record)
    pair.run_for(70.0)
    assert len(sent_by(pair, Side.CLIENT, since=mark)) == 10
    assert pair.client.next_heartbeat() > pair.clock.now
    pair.client.handle_heartbeat(pair.clock.now)
    assert not pair.client.has_output, "not due yet"


@pytest.mark.parametrize("state", ["COMMITTING", "COMMITTING2"])
def test_12_3_five_minutes_without_any_packet(state: str) -> None:
    """12.3, B7: aborted, with a RESET; any authenticated packet puts it off."""
    situation = situation_in(state, Side.CLIENT, "aead")
    pair, client = situation.pair, situation.subject
    limit = max(client.last_heard, client._committing_since) + 300
    pair.run_until(lambda: client.is_over, 400.0)
    assert pair.clock.now == pytest.approx(limit)
    assert client.failure is not None
    assert (client.failure.kind, client.failure.reason) == (FailureKind.COMMIT_TIMEOUT, ResetReason.TIMED_OUT)
    assert op_of(pair.record[-1]) is Op.RESET
    assert client.next_deadline() == math.inf


def test_12_3_a_sign_of_life_puts_it_off() -> None:
    pair = established()
    undo = pair.drop(lambda flight: op_of(flight) in (Op.ACK_FLUSH, Op.KEEP_ALIVE))
    pair.client.send(b"x")
    pair.client.commit()
    pair.run_for(200.0)
    pair.server.send(b"sign of life")
    pair.run_for(200.0)
    assert state_of(pair.client) is State.COMMITTING
    undo()
    pair.run_until(lambda: pair.client.committed == 1, 61.0)


@pytest.mark.parametrize("state", ["ACTIVE", "COMMITTED", "PEER_COMMIT", "CLOSABLE", "SHUT_REQUESTED"])
def test_12_5_four_hours_without_a_packet(state: str) -> None:
    """12.5, M42: heard, not sent; though heartbeats go out all the time."""
    situation = situation_in(state, Side.CLIENT, "crc64")
    pair, client = situation.pair, situation.subject
    situation.silence_peer()
    limit = client.last_heard + 4 * 3600
    pair.run_until(lambda: client.is_over, 5 * 3600.0)
    assert pair.clock.now == pytest.approx(limit)
    assert client.failure is not None
    assert client.failure.kind is FailureKind.IDLE_TIMEOUT


def test_m42_shorter_as_an_option() -> None:
    pair = established(Settings(idle_timeout=5.0, heartbeat_interval=2.0))
    pair.run_for(3.0)
    assert pair.client.failure is None
    pair.drop_from(Side.SERVER)
    pair.run_until(lambda: pair.client.is_over, 5.0)


def test_m42_forgeries_are_no_signs_of_life() -> None:
    pair = established(Settings(idle_timeout=50.0), key=KEY)
    pair.drop_from(Side.SERVER)
    packet = sent_by(pair, Side.SERVER, Op.ACK_FLUSH)[-1].datagram
    forged = packet[:20] + b"\x00\x00\x10\x00" + packet[24:]
    while not pair.client.is_over:
        pair.run_for(10.0)
        pair.client.receive([forged, packet], Side.SERVER, pair.clock.now)
        assert pair.clock.now < 1070


def test_12_4_a_minute_in_pre_closed() -> None:
    """12.4, B8, M41: then CLOSED, not confirmed; RELEASE was repeated all the time (9.4)."""
    situation = situation_in("PRE_CLOSED", Side.CLIENT, "aead")
    pair, client = situation.pair, situation.subject
    released = sent_by(pair, Side.CLIENT, Op.RELEASE)[0].sent_at
    pair.run_until(lambda: client.is_over, 70.0)
    assert pair.clock.now - released == pytest.approx(60.0)
    assert state_of(client) is State.CLOSED
    assert client.failure is None
    assert not client.closed_confirmed
    assert len(sent_by(pair, Side.CLIENT, Op.RELEASE)) == 6
    assert client.tombstone_until == pytest.approx(pair.clock.now + 120)


def test_12_4_a_shorter_idle_time_out_does_not_matter_there() -> None:
    """PRE_CLOSED has its own time-out; the other one must neither end it, nor spin, nor stop the repeats."""
    pair = established(Settings(idle_timeout=5.0))
    pair.drop_from(Side.SERVER)
    pair.client.shutdown(pair.clock.now)
    began = pair.clock.now
    pair.run_until(lambda: pair.client.is_over, 70.0)
    assert pair.clock.now - began == pytest.approx(60.0, abs=0.1)
    assert state_of(pair.client) is State.CLOSED
    assert len(sent_by(pair, Side.CLIENT, Op.RELEASE)) == 6


def test_12_6_a_mac_key_ends_the_connection() -> None:
    """12.6, B14: MAC keys are not changed, so the connection ends; data and acknowledgements count alike."""
    settings = Settings(key_life=40)
    pair = established(settings)
    for end in (pair.client, pair.server):
        end.install_key(KEY, mode="mac")
    pair.run_for(0.5)
    for _ in range(60):
        if not pair.client.is_over:
            pair.client.send(b"x")
            pair.client.commit()
        pair.run_for(1.0)
        drain(pair.server)
    kinds = {end.failure.kind for end in (pair.client, pair.server) if end.failure is not None}
    assert FailureKind.KEY_EXHAUSTED in kinds
    assert kinds <= {FailureKind.KEY_EXHAUSTED, FailureKind.RESET_BY_PEER}


@pytest.mark.parametrize("what", ["data", "repeats"])
def test_12_6_in_the_middle_of_a_batch(what: str) -> None:
    pair = established(Settings(key_life=10))
    for end in (pair.client, pair.server):
        end.install_key(KEY, mode="mac")
    pair.run_for(0.5)
    pair.drop_from(Side.CLIENT)
    pair.client.send(bytes(1024 * (20 if what == "data" else 4)))
    for _ in range(12):
        pair.run_for(5.0)
        if not pair.client.is_over:
            pair.server.send(b"moves the acknowledgement, so that repeats are sealed anew")
    assert pair.client.failure is not None
    assert pair.client.failure.kind is FailureKind.KEY_EXHAUSTED
    assert pair.client.datagrams_to_send(pair.clock.now) == []


def test_n4_serials_are_not_reused() -> None:
    """N4: the connection ends before they wrap."""
    pair = established(key=KEY)
    pair.server._serial = pair.client._last_serial = LAST_SERIAL - 1
    transfer(pair, Side.CLIENT, b"x")
    pair.client.send(b"y")
    pair.run_for(1.0)
    assert pair.server.failure is not None
    assert (pair.server.failure.kind, pair.server.failure.reason) == (
        FailureKind.KEY_EXHAUSTED,
        ResetReason.KEY_EXHAUSTED,
    )
    assert pair.client.failure is not None


def test_f7_too_many_forgeries_end_the_connection() -> None:
    """F7, M32: only AEAD packets in the window count."""
    pair = established(Settings(forgery_budget=5), key=KEY)
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    sn, client, now = wiretap.speakers[Side.SERVER].next_sn, pair.client, pair.clock.now

    def forge(sn: int) -> bytes:
        datagram = wiretap.craft(Side.SERVER, Op.PURE_DATA, sn=sn, expected=client.sent.next_sn, payload=b"x")
        return datagram[:-1] + bytes([datagram[-1] ^ 1])

    client.receive([forge((sn + 5000) % 2**32)] * 20, Side.SERVER, now)
    assert client.statistics.drops == {"window": 20}
    client.receive([forge(sn)] * 4, Side.SERVER, now)
    assert state_of(client) is State.CLOSABLE
    client.receive([forge(sn)], Side.SERVER, now)
    assert client.failure is not None
    assert client.failure.kind is FailureKind.FORGERIES
    assert client.statistics.failed_checks == 5


def test_f7_crc64_failures_are_accidents() -> None:
    pair = established(Settings(forgery_budget=1))
    good = sent_by(pair, Side.SERVER, Op.ACK_FLUSH)[-1].datagram if sent_by(pair, Side.SERVER, Op.ACK_FLUSH) else b""
    broken = dataclasses.replace(sent_by(pair, Side.SERVER)[-1], datagram=good[:20] + b"\x00\x00\x10\x00" + good[24:])
    pair.client.receive([broken.datagram] * 50, Side.SERVER, pair.clock.now)
    assert pair.client.statistics.drops == {"icc": 50}
    assert pair.client.failure is None
