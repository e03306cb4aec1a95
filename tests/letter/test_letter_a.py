"""Sentences of sections 1 to 6 and 12 to 15 of gao-07 that no other test holds the connection to."""

from __future__ import annotations

import pytest

from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import FLAG_ECE, Op, Reset
from fsp_trio.wire.serial import add
from tests.core.pair import Pair, Side
from tests.core.situations import challenging_server, situation_in
from tests.core.talk import KEY, drain, established, flags_of, op_of, sent_by, state_of, transfer
from tests.core.wiretap import CODEC

# 12.3


@pytest.mark.parametrize("key", [b"", KEY], ids=["crc64", "aead"])
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("quiet", [301.0, 590.0])
def test_12_3_silence_before_the_commit_does_not_count(side: Side, key: bytes, quiet: float) -> None:
    """12.3: the five minutes are of COMMITTING or COMMITTING2; heartbeats come every ten minutes only (10.1)."""
    pair = established(key=key)
    pair.run_for(quiet)
    transfer(pair, side, b"something after a pause")
    assert pair.client.failure is None
    assert pair.server.failure is None


def test_12_3_five_minutes_from_the_commit_on() -> None:
    """12.3: entered late, the state still lasts its five minutes when nothing comes."""
    pair = established()
    pair.run_for(200.0)
    pair.drop_from(Side.SERVER)
    committed_at = pair.clock.now
    pair.client.send(b"x")
    pair.client.commit()
    pair.run_until(lambda: pair.client.is_over, 400.0)
    assert pair.clock.now == pytest.approx(committed_at + 300.0)
    assert pair.client.failure is not None
    assert pair.client.failure.kind is FailureKind.COMMIT_TIMEOUT


# 12.6


def test_12_6_acknowledgements_wear_an_aead_key_too() -> None:
    """12.6, 7.5: what only acknowledges stays in the first batch of its direction, and applies that key for ever."""
    pair = established(Settings(key_life=40, rekey_after=16), key=KEY)
    for _ in range(60):
        if pair.client.is_over or pair.server.is_over:
            break
        pair.client.send(b"x")
        pair.client.commit()
        pair.run_for(1.0)
        drain(pair.server)
    assert pair.server.failure is not None
    assert pair.server.failure.kind is FailureKind.KEY_EXHAUSTED
    assert pair.client.failure is not None
    assert pair.client.failure.kind is FailureKind.RESET_BY_PEER


# 4.6


def test_4_6_a_mark_on_what_comes_at_the_same_moment() -> None:
    """4.6: Congestion Experienced is echoed, whatever else came within the same tick of the clock."""
    situation = situation_in("CLOSABLE", Side.CLIENT, "crc64")
    pair, client, wiretap = situation.pair, situation.subject, situation.wiretap
    server = wiretap.speakers[Side.SERVER]
    sn, expected = server.next_sn, wiretap.speakers[Side.CLIENT].next_sn
    first, marked = (
        wiretap.craft(Side.SERVER, Op.PERSIST, sn=add(sn, ahead), expected=expected, payload=b"x") for ahead in (0, 2)
    )
    mark = len(pair.record)
    client.receive([first], Side.SERVER, pair.clock.now)
    client.receive([marked], Side.SERVER, pair.clock.now, congested=True)
    pair.drop_from(Side.CLIENT)
    pair.run_for(0.1)
    told = sent_by(pair, Side.CLIENT, since=mark)
    assert told
    assert all(flags_of(flight) & FLAG_ECE for flight in told)


# 4.9, 5.5, 6.4


@pytest.mark.parametrize("heard", [True, False], ids=["ACK_CONNECT_REQ arrived", "ACK_CONNECT_REQ lost"])
def test_6_4_a_reset_from_challenging_that_was_lost_is_said_again(heard: bool) -> None:
    """4.9, 5.5, M35: a repeated CONNECT_REQUEST draws the RESET that repeats its fields, not a minute of silence."""
    pair = Pair.connecting()
    pair.run_until(lambda: pair.has_server)
    undo = pair.drop_from(Side.SERVER)
    pair.drop_under_way()
    pair.run_for(1.0)
    pair.server.reset(ResetReason.REJECTED, pair.clock.now)
    pair.run_for(1.0)
    undo()
    mark = len(pair.record)
    if heard:
        acceptance = sent_by(pair, Side.SERVER, Op.ACK_CONNECT_REQ)[0].datagram
        pair.client.receive([acceptance], Side.SERVER, pair.clock.now)
    pair.run_until(lambda: pair.client.is_over, 70.0)
    failure = pair.client.failure
    assert failure is not None
    assert failure.reason == ResetReason.REJECTED
    assert failure.kind is (FailureKind.RESET_BY_PEER if heard else FailureKind.REFUSED)
    assert [op_of(flight) for flight in sent_by(pair, Side.SERVER, since=mark)] == [Op.RESET]


def test_m49_a_reset_in_challenging_comes_from_the_stored_peer() -> None:
    """3.2, 4.9, M49: the right cookie under another source ULTID is another's."""
    situation = challenging_server()
    server, request = situation.subject, situation.wiretap.request
    assert request is not None
    packet = CODEC.encode(Reset(1, request.timestamp, request.cookie))
    server.receive([b"ELSE" + server.local_ultid + packet], Side.CLIENT, situation.pair.clock.now)
    assert state_of(server) is State.CHALLENGING
    assert server.statistics.drops == {"source-ultid": 1}


def test_m53_an_unsealed_reset_from_challenging_needs_the_udp_checksum() -> None:
    """4.1, 4.9, M53: nothing else covers the reason of a RESET without check code."""
    situation = challenging_server()
    pair, server = situation.pair, situation.subject
    server.reset(ResetReason.REJECTED, pair.clock.now)
    batch = server.datagrams_to_send(pair.clock.now)
    assert [datagram[8] for datagram in batch] == [5, 5]
    assert server.preliminary
