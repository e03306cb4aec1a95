"""Installing keys (gao-07 7; B12, B13, M28 to M30, N2b, N5, F3)."""

from __future__ import annotations

import dataclasses
import random

import pytest

from fsp_trio.core.failure import FailureKind, KeyInstallationRefused
from fsp_trio.core.settings import Settings
from fsp_trio.integrity import AeadSchedule
from fsp_trio.revisions.states import State
from fsp_trio.testing.nonces import NonceLedger
from fsp_trio.wire.packets import Op, Snack
from fsp_trio.wire.serial import add

from .agreements import Order, agree, modes, speak
from .pair import Side
from .situations import situation_in
from .talk import (
    KEY,
    QUIET,
    RESPONSIVE,
    drain,
    drop_only,
    established,
    every_single_loss,
    op_of,
    sent_by,
    sn_of,
    transfer,
)
from .wiretap import CODEC, Wiretap


@pytest.mark.parametrize("order", Order)
def test_every_legal_order(order: Order) -> None:
    """B13, M28, 7.6: afterwards both directions are under the key."""
    with NonceLedger() as ledger:
        pair = established()
        agree(pair, order)
        speak(pair)
        assert modes(pair) == {"aead"}
        assert ledger.sealed > 6


@pytest.mark.parametrize("settings", [RESPONSIVE, Settings()], ids=["responsive", "draft"])
@pytest.mark.parametrize("order", Order)
def test_every_legal_order_with_every_single_packet_lost(order: Order, settings: Settings) -> None:
    """M29, F2, F3: whichever packet of the exchange is lost."""

    def scenario(number: int) -> int:
        with NonceLedger():
            pair = established(settings)
            seen = drop_only(pair, number)
            agree(pair, order)
            speak(pair)
            pair.run_for(5.0)
            return seen()

    assert len(list(every_single_loss(scenario))) >= 10


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("seed", range(6))
def test_every_legal_order_under_heavy_loss(order: Order, seed: int) -> None:
    rng = random.Random(seed)
    with NonceLedger():
        pair = established(dataclasses.replace(RESPONSIVE, max_payload=300))
        undo = pair.drop(lambda flight: rng.random() < 0.3)
        agree(pair, order)
        speak(pair)
        agree(pair, Order.COMMITTED_FIRST, b"second")
        speak(pair)
        undo()
        pair.run_for(70.0)
        assert pair.client.state is pair.server.state is State.CLOSABLE


@pytest.mark.parametrize("order", [Order.CLOSABLE, Order.COMMITTED_FIRST, Order.OPEN])
def test_a_second_and_a_third_key(order: Order) -> None:
    pair = established()
    with NonceLedger():
        for key in (b"first", b"second", b"third"):
            agree(pair, order, key)
            speak(pair)
            pair.run_for(QUIET)


@pytest.mark.parametrize("mode", ["aead", "mac"])
@pytest.mark.parametrize("bits", [128, 256])
def test_modes(mode: str, bits: int) -> None:
    """7.1"""
    pair = established()
    for end in (pair.client, pair.server):
        end.install_key(KEY, mode=mode, key_bits=bits)  # type: ignore[arg-type]
    speak(pair)
    assert modes(pair) == {mode}


def test_keys_that_differ_do_not_talk() -> None:
    pair = established()
    pair.client.install_key(b"one")
    pair.server.install_key(b"another")
    pair.client.send(b"secret")
    pair.run_for(5.0)
    assert not pair.server.readable
    assert pair.server.statistics.failed_checks > 0


# refusals


@pytest.mark.parametrize("arguments", [{"ikm": b""}, {"ikm": b"x", "mode": "rot13"}, {"ikm": b"x", "key_bits": 192}])
def test_bad_arguments(arguments: dict[str, object]) -> None:
    pair = established()
    with pytest.raises(ValueError, match=r"empty|mode|128"):
        pair.client.install_key(**arguments)  # type: ignore[arg-type]
    assert not pair.client.keyring.keyed


@pytest.mark.parametrize("way", ["ACTIVE", "COMMITTING", "COMMITTED"])
def test_b13_too_early(way: str) -> None:
    """7.2, B13: the peer's newest packet does not end a transaction; nothing changes."""
    situation = situation_in(way, Side.CLIENT, "crc64")
    with pytest.raises(KeyInstallationRefused, match=r"7\.2"):
        situation.subject.install_key(KEY)
    assert not situation.subject.keyring.keyed


def test_b13_packets_out_of_order_say_that_there_is_more() -> None:
    pair = established()
    drop_only(pair, 0, lambda flight: op_of(flight) is Op.PERSIST)
    pair.server.send(bytes(3000))
    pair.run_for(0.5)
    with pytest.raises(KeyInstallationRefused):
        pair.client.install_key(KEY)


@pytest.mark.parametrize("way", ["SHUT_REQUESTED", "PRE_CLOSED", "CLOSED", "NON_EXISTENT"])
def test_b13_not_connected(way: str) -> None:
    situation = situation_in(way, Side.CLIENT, "crc64")
    with pytest.raises(KeyInstallationRefused, match=way.split(",")[0]):
        situation.subject.install_key(KEY)


def test_b13_a_second_key_before_the_first_took_effect() -> None:
    pair = established()
    pair.client.send(b"open")
    pair.client.install_key(KEY)
    with pytest.raises(KeyInstallationRefused, match="not yet taken effect"):
        pair.client.install_key(b"second")
    pair.client.commit()
    pair.run_for(0.5)
    with pytest.raises(KeyInstallationRefused, match="not yet taken effect"):
        pair.client.install_key(b"second")
    drain(pair.server)
    pair.server.install_key(KEY)
    pair.run_for(0.5)
    agree(pair, Order.CLOSABLE, b"second")
    speak(pair)


def test_n2b_directions_that_are_too_near() -> None:
    """N2b: a foreign peer is not bound to N2."""
    situation = situation_in("CLOSABLE", Side.CLIENT, "crc64")
    client = situation.subject
    client.sent.una = client.sent.next_sn = add(client.received.expected, 2**29)
    with pytest.raises(KeyInstallationRefused, match="nonce"):
        client.install_key(KEY)
    assert not client.keyring.keyed
    client.install_key(KEY, mode="mac")


# which key a packet has


def test_m30_the_key_is_announced_when_there_is_nothing_to_send() -> None:
    """M30: a NULCOMMIT of its own, which gives the peer's application nothing."""
    pair = established()
    mark = len(pair.record)
    pair.client.install_key(KEY)
    pair.server.install_key(KEY)
    pair.run_for(QUIET)
    for side in Side:
        assert [op_of(flight) for flight in sent_by(pair, side, Op.NULCOMMIT, since=mark)] == [Op.NULCOMMIT]
        assert not pair.end(side).readable
    assert pair.client.committed == 0


def test_m30_data_announces_it_as_well() -> None:
    pair = established()
    mark = len(pair.record)
    pair.client.install_key(KEY)
    pair.server.install_key(KEY)
    transfer(pair, Side.CLIENT, b"data")
    assert sent_by(pair, Side.CLIENT, Op.NULCOMMIT, since=mark) == []


def test_f4_an_empty_transaction_under_a_new_key_is_one() -> None:
    """F4: the announcement goes before it, so that the application's own is seen."""
    pair = established()
    pair.client.install_key(KEY)
    pair.server.install_key(KEY)
    pair.client.commit()
    pair.run_for(QUIET)
    assert drain(pair.server) == [b""]
    assert pair.client.committed == 1


@pytest.mark.parametrize("pieces", [1, 3])
def test_b13_the_switch_is_after_the_eot_that_ends_the_open_transaction(pieces: int) -> None:
    """B13, M28"""
    pair = established()
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    for _ in range(pieces):
        pair.client.send(bytes(1024))
    pair.run_for(0.05)
    pair.client.install_key(KEY)
    pair.client.send(b"the last of it")
    pair.client.commit()
    pair.client.send(b"after it")
    pair.run_for(0.05)
    pair.server.install_key(KEY)
    pair.run_for(QUIET)
    schedule = AeadSchedule(KEY, 256).batch(1)
    data = sent_by(pair, Side.CLIENT, Op.PERSIST, Op.PURE_DATA)
    under_key = [schedule.open(flight.datagram) is not None for flight in data]
    assert under_key == [False] * (pieces + 1) + [True]
    assert drain(pair.server) == [bytes(1024 * pieces) + b"the last of it", b"after it"]


def test_m29_an_old_packet_is_answered_under_the_old_key() -> None:
    """M29: with its last number and a fresh serial, although newer numbers are out."""
    pair = established()
    lost = pair.drop(lambda flight: flight.sender is Side.SERVER and op_of(flight) is Op.ACK_FLUSH)
    pair.client.send(b"x")
    pair.client.commit()
    pair.run_for(0.1)
    pair.client.install_key(KEY)
    first_new = pair.server.sent.next_sn
    pair.server.install_key(KEY)
    pair.run_for(0.1)
    assert pair.server.sent.next_sn == add(first_new, 1), "the announcement is out"
    lost()
    mark = len(pair.record)
    pair.run_until(lambda: pair.client.committed == 1, 5.0)
    answer = sent_by(pair, Side.SERVER, Op.ACK_FLUSH, since=mark)[0]
    assert sn_of(answer) == add(first_new, -1)
    assert AeadSchedule(KEY, 256).batch(1).open(answer.datagram, True) is None


def test_f3_crc64_is_refused_after_the_first_packet_under_the_key() -> None:
    """F3, M30: forging it would be easy."""
    pair = established()
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    old_client, old_server = (wiretap.speakers[side].next_sn for side in Side)
    agree(pair, Order.CLOSABLE)
    pair.run_for(QUIET)
    client, now = pair.client, pair.clock.now
    weak = wiretap.crc64[Side.SERVER]
    snack = CODEC.snack(Snack(client.sent.next_sn, add(client.sent.next_sn, -1), 0))
    in_band = wiretap.craft(
        Side.SERVER, Op.PERSIST, sn=add(old_server, -1), expected=old_client, payload=b"x", protection=weak
    )
    out_of_band = wiretap.craft(
        Side.SERVER, Op.ACK_FLUSH, sn=add(old_server, -1), expected=1000, chain=snack, protection=weak
    )
    reset = wiretap.craft_reset(Side.SERVER, sn=add(old_server, -1), expected=old_client, protection=weak)
    client.receive([in_band, out_of_band, reset], Side.SERVER, now)
    assert client.statistics.drops == {"old-key": 2, "window": 1}
    assert client.failure is None


def test_m30_a_crc64_reset_is_refused_as_soon_as_the_key_is_installed() -> None:
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    pair.client.install_key(KEY)
    peer = wiretap.speakers[Side.SERVER]
    for sn in (add(peer.next_sn, -1), peer.next_sn):
        reset = wiretap.craft_reset(
            Side.SERVER, sn=sn, expected=pair.client.sent.next_sn, protection=wiretap.crc64[Side.SERVER]
        )
        pair.client.receive([reset], Side.SERVER, pair.clock.now)
    assert pair.client.failure is None


def test_old_key_answers_end_with_the_fast_path() -> None:
    """A late repeat under the old key, then new data in a run: the SNACK for it is under the new key."""
    pair = established()
    pair.client.send(b"old")
    pair.client.commit()
    pair.run_for(QUIET)
    agree(pair, Order.CLOSABLE, b"first")
    pair.run_for(QUIET)
    agree(pair, Order.CLOSABLE, b"second")
    pair.run_for(QUIET)
    pair.client.send(bytes(1024))
    pair.run_for(QUIET)
    pair.server._old_key_answer = True  # as after a repeat under an old key
    pair.client.send(bytes(3 * 1024))
    mark = len(pair.record)
    pair.run_for(QUIET)
    answers = sent_by(pair, Side.SERVER, since=mark)
    assert answers
    assert all(AeadSchedule(b"second", 256).batch(1).open(flight.datagram, True) is not None for flight in answers)


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_f3_the_awaited_flush_is_accepted_however_far_the_peer_has_gone_on(reads: bool, again: bool) -> None:
    """F3, M29: its number is the last under the old key, soon far behind a small receive window."""
    small = dataclasses.replace(RESPONSIVE, receive_window=4, max_payload=100)
    pair = established(small)
    if again:
        agree(pair, Order.CLOSABLE, b"the key before")
        speak(pair)
    lost = pair.drop(lambda flight: flight.sender is Side.SERVER and op_of(flight) is Op.ACK_FLUSH)
    pair.client.send(b"nonce")
    pair.client.commit()
    pair.run_for(0.1)
    committed = pair.client.committed
    pair.client.install_key(KEY)
    pair.server.install_key(KEY)
    pair.server.send(bytes(2000))
    for _ in range(20):
        pair.run_for(0.2)
        if reads:
            pair.client.read(10_000)
    assert pair.client.committed == committed
    lost()
    pair.run_until(lambda: pair.client.committed == committed + 1, 70.0)


def test_n2b_is_looked_at_again_when_the_open_transaction_ends() -> None:
    """N2b: a transaction that was open at install_key may have grown into the peer's numbers."""
    pair = established(Settings(rekey_after=64))
    client = pair.client
    client.send(b"open")
    pair.run_for(0.2)
    client.install_key(KEY)
    client.keyring.receiving.newest.first = client.sent.next_sn + 10  # as if the transaction had come so near
    client.commit()
    pair.run_for(0.2)
    assert client.failure is not None
    assert client.failure.kind is FailureKind.KEY_EXHAUSTED
    assert pair.server.failure is not None


def test_s10_a_serial_forged_before_the_key_does_not_count_under_it() -> None:
    """S10: CRC64 can be computed by everybody; one extreme serial must not make us deaf under the key."""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    chain = CODEC.snack(Snack(pair.client.sent.next_sn, add(pair.client.sent.next_sn, -1), 0))
    newest = add(wiretap.speakers[Side.SERVER].next_sn, -1)
    forged = wiretap.craft(Side.SERVER, Op.ACK_FLUSH, sn=newest, expected=2**31 - 1, chain=chain)
    pair.client.receive([forged], Side.SERVER, pair.clock.now)
    assert pair.client.statistics.drops == {}
    with NonceLedger():
        pair.client.install_key(KEY)
        pair.server.install_key(KEY)
        pair.run_for(1.0)
        assert pair.client.state is State.CLOSABLE
        transfer(pair, Side.CLIENT, b"heard", 5.0)
        replays = [flight for flight in pair.record if flight.sender is Side.SERVER and flight.datagram[8] == 10]
        drops = pair.client.statistics.drops.get("replay", 0)
        pair.client.receive([replays[-1].datagram], Side.SERVER, pair.clock.now)
        assert pair.client.statistics.drops["replay"] == drops + 1
