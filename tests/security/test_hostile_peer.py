"""A peer that has the key: what it can make grow, and whom it can hold up."""

from __future__ import annotations

import random

import pytest

from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.responder import ConnectionRequest
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.packets import ConnectRequest, Op, SinkParameter, Snack
from fsp_trio.wire.serial import add, sub
from tests.core.pair import LISTENER, Pair, Side
from tests.core.talk import RESPONSIVE, established
from tests.core.wiretap import CODEC, Wiretap

SMALL = Settings(send_buffer=2**16, timers=RESPONSIVE.timers)


class Teaser:
    """Acknowledges everything but the first packet, and opens its window as far as a window goes."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._wiretap = Wiretap(pair)
        self._wiretap.follow()
        pair.drop(lambda flight: True)

    def answer(self) -> None:
        self._wiretap.follow()
        client = self._pair.client
        peer = self._wiretap.speakers[Side.SERVER]
        peer.serial += 1
        beyond = sub(client.sent.next_sn, client.sent.una) - 1
        gaps = ((1, beyond),) if beyond > 0 else ()
        chain = CODEC.snack(Snack(client.sent.una, add(client.sent.una, -1), 0, gaps))
        packet = self._wiretap.craft(
            Side.SERVER,
            Op.KEEP_ALIVE,
            sn=add(peer.next_sn, -1),
            expected=peer.serial,
            window=0xFFFFFF,
            chain=chain,
        )
        client.receive([packet], Side.SERVER, self._pair.clock.now)


@pytest.mark.parametrize("size", [1024, 64])
def test_selective_acknowledgement_does_not_lift_the_limit_of_the_send_buffer(size: int) -> None:
    """Packets after a gap have to be kept until the gap is closed, so they count (limits page: `send_buffer`)."""
    pair = established(SMALL)
    client = pair.client
    teaser = Teaser(pair)
    for _ in range(40):
        for _ in range(100):
            if client.buffered < client.settings.send_buffer:
                client.send(bytes(size))
            while client.datagrams_to_send(pair.clock.now):
                pass
        pair.clock.now += 0.05
        teaser.answer()
    kept = sum(len(block.payload) + len(block.datagram) for block in client.sent.blocks)
    assert kept < 3 * client.settings.send_buffer, f"{len(client.sent.blocks)} packets, {kept} octets"


def test_many_small_packets_count_for_what_they_take() -> None:
    """An octet in a packet of its own costs some hundred octets here, and every SNACK looks at each of them."""
    pair = established(SMALL)
    client = pair.client
    teaser = Teaser(pair)
    for _ in range(100):
        for _ in range(100):
            if client.buffered < client.settings.send_buffer:
                client.send(b"x")
            while client.datagrams_to_send(pair.clock.now):
                pass
        pair.clock.now += 0.05
        teaser.answer()
    kept = sum(len(block.payload) + len(block.datagram) for block in client.sent.blocks)
    assert kept < 3 * client.settings.send_buffer, f"{len(client.sent.blocks)} packets, {kept} octets"


def test_requests_with_a_forged_source_do_not_shut_the_path_of_others() -> None:
    """Cookies fetched at one address, 128 requests sent as from another (backlog): sessions there must go on."""
    congestion = CongestionManager()
    chance = random.Random(1)
    flow = congestion.join("victim")
    before = flow.allowance(1000.0)
    for number in range(128):
        octets = chance.randbytes
        packet = ConnectRequest(
            octets(4),
            octets(8),
            octets(8),
            chance.getrandbits(32),
            octets(4),
            octets(8),
            SinkParameter(LISTENER, (bytes(8), bytes(8), bytes(8), bytes(8))),
        )
        request = ConnectionRequest(octets(4), octets(4), LISTENER, ("victim", number), packet, 0.01, 0)
        accepted = Connection.accept(
            GAO_07, Settings(), request, welcome=bytes(1024), now=1000.0, congestion=congestion, random=octets
        )
        assert accepted.datagrams_to_send(1000.0)
    assert flow.allowance(1000.0) == before
