"""Installing keys and changing them (gao-07 7; B12 to B14, M28 to M33, N1 to N5, F2, F3)."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import random

import pytest

from fsp_trio.core.failure import KeyInstallationRefused
from fsp_trio.core.settings import Settings
from fsp_trio.integrity import AeadSchedule
from fsp_trio.revisions.states import State
from fsp_trio.testing.nonces import NonceLedger
from fsp_trio.wire.packets import FLAG_EOT, Op, Snack
from fsp_trio.wire.serial import add

from .pair import Pair, Side
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


class Order(enum.Enum):
    """How the two ends agree on a key: what each sends first, and when it installs."""

    CLOSABLE = "nothing to send, both at once"
    ONE_LATER = "nothing to send, the server a little later"
    COMMITTED_FIRST = "both commit, install as soon as the other's transaction is there"
    OPEN = "the server installs while its transaction is open, and commits then"
    QUEUED = "the client has queued more than one packet, and installs before they have left"
    AWAITED = "the client awaits its acknowledgement first"


def install(pair: Pair, side: Side, key: bytes = KEY) -> None:
    pair.end(side).install_key(key)


def agree(pair: Pair, order: Order, key: bytes = KEY) -> None:
    """Both ends install the key; everything that was said before is read."""
    client, server = pair.client, pair.server
    if order is Order.CLOSABLE:
        install(pair, Side.CLIENT, key)
        install(pair, Side.SERVER, key)
    elif order is Order.ONE_LATER:
        install(pair, Side.CLIENT, key)
        pair.run_for(0.3)
        install(pair, Side.SERVER, key)
    elif order in (Order.COMMITTED_FIRST, Order.QUEUED, Order.AWAITED):
        size = 5000 if order is Order.QUEUED else 10
        client.send(bytes(size))
        ordinal = client.commit()
        server.send(b"mine")
        server.commit()
        waiting = {Side.CLIENT, Side.SERVER}

        def both() -> bool:
            for side in waiting.copy():
                end = pair.end(side)
                heard = end.peer_committed and (len(end.received.ready) > 0) and not end.received.early
                whole = end.received.ready_octets == (4 if side is Side.CLIENT else size)
                flushed = order is not Order.AWAITED or side is Side.SERVER or end.committed >= ordinal
                if heard and whole and flushed:
                    install(pair, side, key)
                    waiting.discard(side)
            return not waiting

        pair.run_until(both, 300.0)
    else:
        client.send(b"first")
        client.commit()
        pair.run_until(lambda: server.peer_committed and server.readable, 100.0)
        server.send(bytes(2500))
        install(pair, Side.SERVER, key)
        server.commit()
        pair.run_until(lambda: client.received.ready_octets == 2500 and client.peer_committed, 100.0)
        install(pair, Side.CLIENT, key)
    drain(client)
    drain(server)


def modes(pair: Pair) -> set[str]:
    return {
        direction.newest.secret.mode
        for end in (pair.client, pair.server)
        for direction in (end.keyring.sending, end.keyring.receiving)
    }


def speak(pair: Pair) -> None:
    for side in (Side.CLIENT, Side.SERVER):
        transfer(pair, side, bytes(range(256)) * 10)
    for side in Side:
        assert pair.end(side).keyring.keyed


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


# limbo (F2)


def test_f2_packets_under_a_key_that_is_not_there_yet() -> None:
    """F2: kept unopened, at most eight, at most 2 KiB each, and opened when the key comes."""
    pair = established()
    pair.client.install_key(KEY)
    pair.client.send(bytes(1024 * 9))
    pair.run_for(0.05)
    assert pair.server.statistics.drops == {"icc": 9}
    assert len(pair.server._limbo) == 8
    assert not pair.server.readable
    pair.server.install_key(KEY)
    assert pair.server.read(100_000) == bytes(1024 * 8)
    assert pair.server._limbo == []


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
    datagram = wiretap.craft(
        Side.SERVER,
        Op.PERSIST,
        sn=wiretap.speakers[Side.SERVER].next_sn,
        expected=pair.client.sent.next_sn,
        flags=FLAG_EOT,
        payload=b"x",
    )
    pair.client.send(bytes(5000))
    pair.drop_from(Side.CLIENT)
    pair.run_until(lambda: bool(pair.client._repeats), 3.0)
    pair.client.receive([datagram], Side.SERVER, pair.clock.now)
    assert pair.client.has_output
    pair.client.reset(1, pair.clock.now)
    assert [
        each[8] for each in itertools.chain(*[pair.client.datagrams_to_send(pair.clock.now) for _ in range(3)])
    ] == [5]
    assert not pair.client.has_output


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
