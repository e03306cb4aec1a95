"""Packets kept for a key, keys that change, numbers that wrap, RESET under a key (gao-07 7.5; B14, M33, N3, F2)."""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Literal

import pytest

from fsp_trio.core.settings import Settings
from fsp_trio.integrity import AeadSchedule
from fsp_trio.testing.nonces import NonceLedger
from fsp_trio.wire.packets import FLAG_EOT, Op
from fsp_trio.wire.serial import add

from .agreements import Order, agree, speak
from .pair import Pair, Side
from .situations import situation_in
from .talk import (
    KEY,
    QUIET,
    RESPONSIVE,
    established,
    sent_by,
    sn_of,
    transfer,
)
from .wiretap import Wiretap

# limbo (F2)


@pytest.mark.parametrize("mode", ["aead", "mac"])
def test_f2_packets_under_a_key_that_is_not_there_yet(mode: Literal["aead", "mac"]) -> None:
    """F2: kept unopened, at most eight, at most 2 KiB each, and opened when the key comes; F26: no more are sent."""
    pair = established()
    pair.client.install_key(KEY, mode=mode)
    pair.client.send(bytes(1024 * 100))
    pair.run_for(0.05)
    assert pair.server.statistics.drops == {"icc": 8}
    assert len(pair.server._limbo) == 8
    assert not pair.server.readable
    pair.server.install_key(KEY, mode=mode)
    assert pair.server.read(100_000) == bytes(1024 * 8)
    assert pair.server._limbo == []
    pair.run_for(0.5)
    assert pair.server.read(100_000) == bytes(1024 * 92)
    assert pair.client.statistics.retransmissions == 0


def test_f26_a_key_that_has_been_heard_limits_nothing() -> None:
    pair = established()
    agree(pair, Order.CLOSABLE)
    pair.run_for(0.3)
    sent = pair.client.statistics.in_band_sent
    pair.client.send(bytes(1024 * 9))
    pair.client.datagrams_to_send(pair.clock.now)
    assert pair.client.statistics.in_band_sent == sent + 9


def test_f2_large_ones_are_not_kept() -> None:
    pair = established(Settings(max_payload=4000), Settings(max_payload=1000))
    pair.client.install_key(KEY)
    pair.client.send(bytes(4000))
    pair.run_for(0.05)
    assert pair.server._limbo == []
    pair.server.install_key(KEY)
    pair.run_for(5.0)
    assert pair.server.readable


def test_f2_limbo_is_for_a_complete_transaction_only() -> None:
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn = wiretap.speakers[Side.CLIENT].next_sn
    garbage = wiretap.craft(
        Side.CLIENT,
        Op.PURE_DATA,
        sn=add(sn, 1),
        expected=pair.server.sent.next_sn,
        payload=b"x",
        protection=AeadSchedule(b"guess", 256).batch(1),
    )
    pair.server.receive([garbage], Side.CLIENT, pair.clock.now)
    assert len(pair.server._limbo) == 1
    pair.client.send(b"and it goes on as before")
    pair.run_for(0.05)
    assert pair.server._limbo == []
    pair.server.receive([garbage], Side.CLIENT, pair.clock.now)
    assert pair.server._limbo == []


def test_f2_what_was_kept_does_not_turn_the_clock_back() -> None:
    """A packet kept for minutes must not count as the last sign of life (12.3)."""
    pair = established(Settings(), Settings(heartbeat_interval=50.0))
    pair.client.install_key(KEY)
    pair.run_for(0.1)
    assert pair.server._limbo
    pair.drop_from(Side.CLIENT)
    pair.run_for(400.0)
    pair.server.last_heard = pair.clock.now - 1.0  # a heartbeat under CRC64, say
    pair.server.install_key(KEY)
    assert pair.server.last_heard == pair.clock.now - 1.0


# changing keys (7.5)


@pytest.mark.parametrize("loss", [0.0, 0.25])
def test_b14_changing_keys_under_loss(loss: float) -> None:
    """7.5, B14: every 64 packets, in each direction by itself; nothing notices."""
    rng = random.Random(5)
    settings = dataclasses.replace(RESPONSIVE, rekey_after=64, max_payload=50)
    with NonceLedger() as ledger:
        pair = established(settings, key=KEY)
        undo = pair.drop(lambda flight: rng.random() < loss)
        for _ in range(3):
            transfer(pair, Side.CLIENT, bytes(range(256)) * 50)
            transfer(pair, Side.SERVER, bytes(range(256)) * 5)
        undo()
        assert ledger.sealed > 800
    batches = {len({sn_of(f) // 64 for f in sent_by(pair, side, Op.PURE_DATA)}) for side in Side}
    assert max(batches) >= 12


def test_b14_the_batch_changes_exactly_at_its_number() -> None:
    settings = dataclasses.replace(RESPONSIVE, rekey_after=64, max_payload=50)
    pair = established(settings)
    first = pair.client.sent.next_sn
    pair.client.install_key(KEY)
    pair.server.install_key(KEY)
    transfer(pair, Side.CLIENT, bytes(50 * 200))
    schedule = AeadSchedule(KEY, 256)
    for flight in sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA):
        index = (sn_of(flight) - first) % 2**32
        if index < 2**31:
            assert schedule.batch(index // 64 + 1).open(flight.datagram) is not None


def test_m33_old_keys_are_forgotten() -> None:
    """M33: a minute after everything under them was acknowledged both ways."""
    pair = established(key=KEY)
    speak(pair)
    assert len(pair.client.keyring.sending.eras) == 2
    pair.run_for(61.0)
    speak(pair)
    assert len(pair.client.keyring.sending.eras) == 1
    assert len(pair.server.keyring.receiving.eras) == 1
    speak(pair)


# numbers wrap


@pytest.mark.parametrize("key", [b"", KEY], ids=["crc64", "aead"])
@pytest.mark.parametrize("before", [1, 2, 5, 40])
def test_numbers_wrap_around_in_both_directions(before: int, key: bytes) -> None:
    """2, 4.6: 32-bit serial arithmetic everywhere, under loss and re-keying too."""
    rng = random.Random(before)
    settings = dataclasses.replace(RESPONSIVE, rekey_after=64, max_payload=100)
    for side in Side:
        pair = Pair.connecting(settings=settings)
        if side is Side.CLIENT:
            pair.client._initial_sn = (2**32 - before) % 2**32
        pair.run_until(lambda pair=pair: pair.has_server)  # type: ignore[misc]
        pair.run_until(lambda pair=pair: pair.server.is_established)  # type: ignore[misc]
        pair.run_for(QUIET)
        if side is Side.SERVER:
            shift_server(pair, before)
        with NonceLedger():
            if key:
                agree(pair, Order.CLOSABLE, key)
            undo = pair.drop(lambda flight: rng.random() < 0.2)
            for _ in range(2):
                transfer(pair, Side.CLIENT, bytes(range(256)) * 20)
                transfer(pair, Side.SERVER, bytes(range(256)) * 20)
            undo()
        wrapped = pair.end(side).sent.next_sn
        assert wrapped < 2**31


def shift_server(pair: Pair, before: int) -> None:
    """Move the numbers of the idle server to just before the wrap; both ends are told."""
    sn = 2**32 - before
    pair.server.sent.una = pair.server.sent.next_sn = sn
    pair.server.sent.right_edge = add(sn, pair.client.received.window)
    pair.server.keyring.sending.eras[0].first = sn
    pair.server.keyring.sending._forget_run()
    pair.client.received.expected = sn
    pair.client.told_expected = sn
    pair.client.advertised_edge = add(sn, pair.client.received.window)
    pair.client.keyring.receiving.eras[0].first = sn
    pair.client.keyring.receiving._forget_run()
    pair.client._address_newest = (add(sn, -1), 0)


# N3


@pytest.mark.parametrize("way", ["ACTIVE", "COMMITTING", "PEER_COMMIT", "CLOSABLE", "PRE_CLOSED", "SHUT_REQUESTED"])
def test_n3_a_reset_uses_a_fresh_number_and_is_repeated_verbatim(way: str) -> None:
    """N3: sealed once."""
    with NonceLedger():
        situation = situation_in(way, Side.CLIENT, "aead")
        pair, client = situation.pair, situation.subject
        used = {sn_of(flight) for flight in sent_by(pair, Side.CLIENT)}
        client.reset(1, pair.clock.now)
        pair.flush()
        reset = sent_by(pair, Side.CLIENT, Op.RESET)[-1]
        assert sn_of(reset) not in used
        packet = sent_by(pair, Side.SERVER, Op.ACK_FLUSH, Op.PERSIST, Op.NULCOMMIT)[-1].datagram
        for _ in range(3):
            pair.clock.now += 2.0
            client.receive([packet], Side.SERVER, pair.clock.now)
            assert client.datagrams_to_send(pair.clock.now) == [reset.datagram]


def test_nothing_follows_a_reset() -> None:
    """An acknowledgement that was due, and repeats that waited, die with the connection."""
    pair = established(RESPONSIVE, key=KEY)
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    first = wiretap.speakers[Side.SERVER].next_sn
    sign, datagram = (
        wiretap.craft(
            Side.SERVER, op, sn=first + turn, expected=pair.client.sent.next_sn, flags=turn * FLAG_EOT, payload=b"x"
        )
        for turn, op in enumerate((Op.PERSIST, Op.PURE_DATA))
    )
    pair.client.send(bytes(5000))
    pair.drop_from(Side.CLIENT)
    pair.flush()
    pair.clock.now += 0.01
    pair.client.receive([sign], Side.SERVER, pair.clock.now)  # else one packet would be repeated for all
    pair.run_until(lambda: bool(pair.client._repeats), 3.0)
    pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    assert pair.client.has_output
    pair.client.reset(1, pair.clock.now)
    assert [
        each[8] for each in itertools.chain(*[pair.client.datagrams_to_send(pair.clock.now) for _ in range(3)])
    ] == [5]
    assert not pair.client.has_output
