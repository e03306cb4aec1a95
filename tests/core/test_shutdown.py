"""The graceful end and its crossing cases (gao-07 5.9 to 5.14, 9; M37 to M41, B8, B16, S5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from fsp_trio.core.failure import ConnectionMisuse
from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import FLAG_EOT, Op
from fsp_trio.wire.serial import add

from .pair import Pair, Side
from .situations import situation_in
from .talk import (
    KEY,
    RESPONSIVE,
    drain,
    drop_only,
    established,
    every_single_loss,
    flags_of,
    op_of,
    ops_since,
    sent_by,
    state_of,
)
from .wiretap import Wiretap

Scene = Callable[[Pair], None]


def both_closed(pair: Pair) -> bool:
    return pair.client.state is State.CLOSED and pair.server.state is State.CLOSED


def follow(pair: Pair, side: Side) -> None:
    """The other application reads everything and shuts down when it sees the release."""
    end = pair.end(side)
    pair.run_until(lambda: end.peer_released, 90.0)
    end.shutdown(pair.clock.now)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("key", [b"", KEY], ids=["crc64", "aead"])
def test_one_after_the_other(side: Side, key: bytes) -> None:
    """9.1 to 9.3"""
    pair = established(key=key)
    mark = len(pair.record)
    pair.end(side).shutdown(pair.clock.now)
    follow(pair, side.other)
    pair.run_for(0.5)
    assert both_closed(pair)
    assert pair.client.closed_confirmed
    assert pair.server.closed_confirmed
    assert ops_since(pair, mark) == [(side.value, "RELEASE"), (side.other.value, "ACK_FLUSH")]
    assert flags_of(pair.record[mark]) == FLAG_EOT, "M37: sent set"
    assert pair.end(side).states_passed[-2:] == [State.PRE_CLOSED, State.CLOSED]
    assert pair.end(side.other).states_passed[-2:] == [State.SHUT_REQUESTED, State.CLOSED]


def test_m38_shutdown_commits_and_waits_for_ack_flush() -> None:
    """M38: then RELEASE; the minute of PRE_CLOSED begins when it leaves."""
    pair = established(delay=0.1)
    mark = len(pair.record)
    pair.client.send(bytes(3000))
    pair.client.shutdown(pair.clock.now)
    pair.client.shutdown(pair.clock.now)
    pair.run_for(2.0)
    assert [name for side, name in ops_since(pair, mark) if side == "client"] == [
        "PERSIST",
        "PURE_DATA",
        "PURE_DATA",
        "RELEASE",
    ]
    flush = sent_by(pair, Side.SERVER, Op.ACK_FLUSH, since=mark)[0]
    release = sent_by(pair, Side.CLIENT, Op.RELEASE)[0]
    assert release.sent_at == pytest.approx(flush.sent_at + 0.1)
    assert drain(pair.server) == [bytes(3000)]


def test_9_1_not_before_the_peer_has_committed() -> None:
    pair = established()
    pair.server.send(b"not yet the end")
    pair.run_for(0.5)
    pair.client.shutdown(pair.clock.now)
    pair.run_for(50.0)
    assert sent_by(pair, Side.CLIENT, Op.RELEASE) == []
    pair.server.commit()
    pair.run_for(0.5)
    assert len(sent_by(pair, Side.CLIENT, Op.RELEASE)) == 1
    assert drain(pair.client) == [b"not yet the end"]


def test_m39_simultaneous() -> None:
    """5.17.4: two RELEASEs cross, each confirms the other."""
    pair = established(key=KEY)
    for end in (pair.client, pair.server):
        end.shutdown(pair.clock.now)
    pair.run_for(0.5)
    assert both_closed(pair)
    assert pair.client.closed_confirmed
    assert pair.server.closed_confirmed
    assert State.SHUT_REQUESTED not in pair.client.states_passed


def test_m39_peer_data_that_crosses_release_is_taken() -> None:
    """M39: PRE_CLOSED still receives; the peer hears what it could not deliver (B16)."""
    pair = established(delay=0.1)
    pair.client.shutdown(pair.clock.now)
    pair.server.send(b"crossing")
    pair.server.send(bytes(2000))
    pair.run_for(3.0)
    assert state_of(pair.client) is State.CLOSED
    assert pair.client.closed_confirmed
    assert drain(pair.client) == [b"crossing" + bytes(2000)]
    assert state_of(pair.server) is State.SHUT_REQUESTED
    assert pair.server.undelivered == 2008, "it was not acknowledged when the release came"
    pair.server.shutdown(pair.clock.now)
    assert state_of(pair.server) is State.CLOSED
    assert not pair.server.closed_confirmed


def test_m40_release_waits_for_what_is_before_it() -> None:
    """M40, 9.2: buffered until every packet before it has been received."""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn, client, now = wiretap.speakers[Side.SERVER].next_sn, pair.client, pair.clock.now

    def packet(offset: int, op: Op, payload: bytes = b"", flags: int = 0) -> bytes:
        return wiretap.craft(
            Side.SERVER, op, sn=add(sn, offset), expected=client.sent.next_sn, flags=flags, payload=payload
        )

    client.receive([packet(2, Op.RELEASE, flags=FLAG_EOT), packet(1, Op.PURE_DATA, b"b", FLAG_EOT)], Side.SERVER, now)
    assert state_of(client) is State.CLOSABLE
    client.receive([packet(0, Op.PERSIST, b"a")], Side.SERVER, now)
    assert state_of(client) is State.SHUT_REQUESTED
    assert client.peer_released
    assert drain(client) == [b"ab"]
    [answer] = client.datagrams_to_send(now)
    assert answer[8] == 10


@pytest.mark.parametrize("state", ["ACTIVE", "COMMITTED"])
def test_b16_release_ends_an_open_transaction(state: str) -> None:
    """B16, S5: RELEASE says itself that the transaction is committed (9)."""
    situation = situation_in(state, Side.CLIENT, "crc64")
    wiretap, client = situation.wiretap, situation.subject
    datagram = wiretap.craft(
        Side.SERVER, Op.RELEASE, sn=wiretap.speakers[Side.SERVER].next_sn, expected=client.sent.una, flags=FLAG_EOT
    )
    client.receive([datagram], Side.SERVER, situation.pair.clock.now)
    assert state_of(client) is State.SHUT_REQUESTED
    assert client.at_end


@pytest.mark.parametrize("covers", [True, False])
def test_m39_a_crossing_release_confirms_only_if_it_covers_everything(covers: bool) -> None:
    situation = situation_in("PRE_CLOSED", Side.CLIENT, "aead")
    wiretap, client = situation.wiretap, situation.subject
    expected = add(client.sent.next_sn, -1 if covers else -2)
    client.sent.una = expected  # as if what is before RELEASE were outstanding
    datagram = wiretap.craft(
        Side.SERVER, Op.RELEASE, sn=wiretap.speakers[Side.SERVER].next_sn, expected=expected, flags=FLAG_EOT
    )
    client.receive([datagram], Side.SERVER, situation.pair.clock.now)
    assert state_of(client) is State.CLOSED
    assert client.closed_confirmed == covers


def test_a_release_proves_that_our_transaction_has_arrived() -> None:
    """ACK_FLUSH was lost, and RELEASE acknowledges everything: the commit has succeeded."""
    pair = established()
    pair.drop(lambda flight: op_of(flight) is Op.ACK_FLUSH)
    pair.client.send(b"arrives")
    pair.client.commit()
    pair.run_for(0.1)
    pair.server.shutdown(pair.clock.now)
    pair.run_until(lambda: pair.client.peer_released)
    assert pair.client.committed == 1
    assert pair.client.undelivered == 0


def test_b16_a_release_that_crosses_our_transaction_does_not() -> None:
    pair = established()
    undo = pair.drop_from(Side.CLIENT)
    pair.client.send(b"lost")
    pair.client.commit()
    pair.run_for(0.1)
    pair.server.shutdown(pair.clock.now)
    pair.run_until(lambda: pair.client.peer_released)
    assert pair.client.committed == 0
    assert pair.client.undelivered == 4
    undo()
    pair.client.shutdown(pair.clock.now)
    assert state_of(pair.client) is State.CLOSED
    assert not pair.client.closed_confirmed


def test_b16_shutdown_was_asked_for_when_the_release_came() -> None:
    """Data outstanding, so that ours has not left: SHUT_REQUESTED, and at once CLOSED."""
    pair = established()
    pair.drop_from(Side.CLIENT)
    pair.client.send(b"lost")
    pair.client.shutdown(pair.clock.now)
    pair.run_for(0.1)
    pair.server.shutdown(pair.clock.now)
    pair.run_until(lambda: pair.client.is_over)
    assert pair.client.states_passed[-2:] == [State.SHUT_REQUESTED, State.CLOSED]
    assert not pair.client.closed_confirmed
    assert pair.client.undelivered == 4


def test_m41_closed_answers_release_for_two_minutes() -> None:
    """M41: each repeat of RELEASE draws an ACK_FLUSH under a fresh serial."""
    pair = established(key=KEY)
    undo = pair.drop(lambda flight: flight.sender is Side.SERVER)
    pair.client.shutdown(pair.clock.now)
    pair.run_for(0.1)
    pair.server.shutdown(pair.clock.now)
    assert state_of(pair.server) is State.CLOSED
    pair.run_for(10.0)
    flushes = sent_by(pair, Side.SERVER, Op.ACK_FLUSH)[-4:]
    assert len({flight.datagram for flight in flushes}) == 4
    undo()
    pair.run_until(lambda: pair.client.is_over, 60.0)
    assert pair.client.closed_confirmed
    assert pair.server.tombstone_until > pair.clock.now


def test_closed_survives_whatever_an_authenticated_peer_says() -> None:
    """What was forgotten when it was closed cannot be acknowledged any more."""
    situation = situation_in("PRE_CLOSED", Side.CLIENT, "aead")
    pair, wiretap, client = situation.pair, situation.wiretap, situation.subject
    pair.run_until(lambda: client.is_over, 70.0)
    peer = wiretap.speakers[Side.SERVER]
    for expected in (client.sent.una, client.sent.next_sn):
        for sn in (add(peer.next_sn, -1), peer.next_sn, add(peer.next_sn, 1)):
            for op, flags, payload in (
                (Op.PERSIST, 0, b"x"),
                (Op.NULCOMMIT, FLAG_EOT, b""),
                (Op.RELEASE, FLAG_EOT, b""),
            ):
                datagram = wiretap.craft(Side.SERVER, op, sn=sn, expected=expected, flags=flags, payload=payload)
                client.receive([datagram], Side.SERVER, pair.clock.now)
                client.datagrams_to_send(pair.clock.now)
    assert state_of(client) is State.CLOSED
    assert not client.closed_confirmed, "12.4: it was not, and nothing changes that afterwards"
    assert not client.readable
    client.shutdown(pair.clock.now)
    client.handle_timer(pair.clock.now)


def test_shutdown_after_the_end() -> None:
    pair = established()
    pair.client.reset(1, pair.clock.now)
    pair.client.shutdown(pair.clock.now)
    assert state_of(pair.client) is State.NON_EXISTENT
    with pytest.raises(ConnectionMisuse):
        pair.client.send(b"x")


def client_first(pair: Pair) -> None:
    pair.client.shutdown(pair.clock.now)
    follow(pair, Side.SERVER)


def server_first(pair: Pair) -> None:
    pair.server.shutdown(pair.clock.now)
    follow(pair, Side.CLIENT)


def both(pair: Pair) -> None:
    for end in (pair.client, pair.server):
        end.shutdown(pair.clock.now)


def with_data(pair: Pair) -> None:
    pair.client.send(bytes(range(256)) * 10)
    pair.client.shutdown(pair.clock.now)
    follow(pair, Side.SERVER)


def crossing_data(pair: Pair) -> None:
    """Both have a transaction to commit first."""
    for end in (pair.client, pair.server):
        end.send(bytes(range(256)) * 5)
        end.shutdown(pair.clock.now)


def a_little_later(pair: Pair) -> None:
    pair.client.shutdown(pair.clock.now)
    pair.run_for(0.005)
    pair.server.shutdown(pair.clock.now)


def just_after_install(pair: Pair) -> None:
    for end in (pair.client, pair.server):
        end.install_key(b"another key")
        end.shutdown(pair.clock.now)


SCENES: list[Scene] = [client_first, server_first, both, with_data, crossing_data, a_little_later, just_after_install]


@pytest.mark.parametrize("settings", [RESPONSIVE, Settings()], ids=["responsive", "draft"])
@pytest.mark.parametrize("scene", SCENES)
def test_every_single_packet_lost(scene: Scene, settings: Settings) -> None:
    """Whichever packet is lost: both CLOSED and confirmed, all data there, within a few time-outs."""

    def scenario(number: int) -> int:
        pair = established(settings, key=KEY)
        seen = drop_only(pair, number)
        scene(pair)
        pair.run_until(lambda: both_closed(pair), 70.0)
        for side in Side:
            end = pair.end(side)
            sent = end.statistics.payload_sent
            assert sum(map(len, drain(pair.end(side.other)))) == sent
            assert end.undelivered == 0
            assert end.closed_confirmed
        pair.run_for(5.0)
        return seen()

    assert len(list(every_single_loss(scenario))) >= 2


def test_two_packets_lost() -> None:
    """Every two packets of the shortest shutdown, one after the other or not."""
    for first in range(6):
        for second in range(first + 1, 7):
            pair = established(dataclasses.replace(RESPONSIVE), key=KEY)
            drop_only(pair, first)
            drop_only(pair, second)
            both(pair)
            pair.run_until(lambda pair=pair: both_closed(pair), 70.0)  # type: ignore[misc]


def test_what_came_early_after_a_release_is_dropped() -> None:
    """9.2: RELEASE is the last one; whatever a peer sent behind it changes nothing."""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    sn, client, now = wiretap.speakers[Side.SERVER].next_sn, pair.client, pair.clock.now
    for offset, op, payload in ((2, Op.PERSIST, b"late"), (1, Op.RELEASE, b""), (0, Op.PERSIST, b"data")):
        flags = 0 if payload == b"late" else FLAG_EOT
        datagram = wiretap.craft(
            Side.SERVER, op, sn=add(sn, offset), expected=client.sent.next_sn, flags=flags, payload=payload
        )
        client.receive([datagram], Side.SERVER, now)
    assert state_of(client) is State.SHUT_REQUESTED
    assert client.statistics.drops == {"state": 1}
    assert drain(client) == [b"data"]


@pytest.mark.parametrize("key", [b"", KEY], ids=["crc64", "aead"])
def test_f27_release_needs_no_room(key: bytes) -> None:
    """It is the last packet and has no octets, so a reader that rests longer than PRE_CLOSED lasts still gets it."""
    pair = established(server_settings=Settings(receive_window=4), key=key)
    pair.client.send(bytes(4 * 1024))
    pair.client.shutdown(pair.clock.now)
    pair.run_for(5.0)
    assert pair.server.received.window == 0
    assert pair.client.state is State.CLOSED
    assert pair.client.closed_confirmed
    assert pair.server.peer_released
    assert b"".join(drain(pair.server)) == bytes(4 * 1024)
