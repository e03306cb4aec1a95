"""On the path, before a key: what is forged then must not outlive the key (security page; M30, S10, B15, F3).

Until `install_key` every packet can be forged, and the page says so.  From then on contents, order and addresses are
promised.  These attacks say something before the key, or under CRC64 after it, that is believed under the key.
"""

from __future__ import annotations

import dataclasses

import pytest

from fsp_trio.core.settings import Settings
from fsp_trio.wire.packets import FLAG_EOT, Op, Snack
from fsp_trio.wire.serial import add, sub
from tests.core.pair import Flight, Pair, Side
from tests.core.talk import KEY, QUIET, RESPONSIVE, drain, established, op_of, sn_of
from tests.core.wiretap import CODEC, Wiretap

ATTACKER = "an address of the attacker's"
MOST_WINDOW = 0xFFFFFF


def snack_of(expected: int) -> bytes:
    return CODEC.snack(Snack(expected, add(expected, -1), 0))


def forged_flush(pair: Pair, wiretap: Wiretap, *, serial: int, window: int = 64) -> bytes:
    """An ACK_FLUSH for the client under CRC64, with the last number that the server used before the key."""
    client = pair.client
    last = add(client.keyring.receiving.newest.first, -1)
    return wiretap.craft(
        Side.SERVER,
        Op.ACK_FLUSH,
        sn=last,
        expected=serial,
        window=window,
        chain=snack_of(client.sent.next_sn),
        protection=wiretap.crc64[Side.SERVER],
    )


def test_a_transaction_slipped_in_before_the_key_is_not_read_under_it() -> None:
    """A whole forged transaction waits behind the last message of the agreement.

    The application would read it, after `install_key`, as the peer's word: the session refuses to install (F10).
    """
    pair = established()
    wiretap = Wiretap(pair)
    pair.client.send(b"last message of the agreement")
    pair.client.commit()
    pair.run_for(QUIET)
    wiretap.follow()
    client = wiretap.speakers[Side.CLIENT]
    forged = wiretap.craft(
        Side.CLIENT,
        Op.PERSIST,
        sn=client.next_sn,
        expected=client.expected,
        flags=FLAG_EOT,
        payload=b"transfer all to the attacker",
    )
    server = pair.server
    server.receive([forged], Side.CLIENT, pair.clock.now)
    assert server.read(1000) == b"last message of the agreement"
    server.next_transaction()
    assert server.unread_without_key


def test_a_window_forged_before_the_key_does_not_hold_under_it() -> None:
    """The right edge never moves back (M7): a forged one would end flow control for 2^24 packets."""
    pair = established(dataclasses.replace(RESPONSIVE, receive_window=8, max_payload=100))
    wiretap = Wiretap(pair)
    wiretap.follow()
    peer = wiretap.speakers[Side.SERVER]
    forged = wiretap.craft(
        Side.SERVER,
        Op.ACK_FLUSH,
        sn=add(peer.next_sn, -1),
        expected=peer.serial + 1,
        window=MOST_WINDOW,
        chain=snack_of(pair.client.sent.next_sn),
    )
    pair.client.receive([forged], Side.SERVER, pair.clock.now)
    for end in (pair.client, pair.server):
        end.install_key(KEY)
    pair.run_for(QUIET)
    pair.client.send(bytes(100 * 100))
    beyond = 0

    def watch(flight: Flight) -> bool:
        nonlocal beyond
        received = pair.server.received
        beyond += flight.sender is Side.CLIENT and sub(sn_of(flight), received.expected) > received.capacity
        return False

    pair.drop(watch)
    pair.run_for(QUIET)
    assert beyond == 0


def test_an_address_forged_before_the_key_does_not_hold_under_it() -> None:
    """A number far ahead makes everything that the peer says later look older than the forgery (10.3, B15)."""
    pair = established()
    wiretap = Wiretap(pair)
    wiretap.follow()
    client, server = wiretap.speakers[Side.CLIENT], pair.server
    forged = wiretap.craft(
        Side.CLIENT,
        Op.KEEP_ALIVE,
        sn=add(server.received.expected, server.received.window),
        expected=client.serial + 1,
        chain=snack_of(server.sent.next_sn),
    )
    server.receive([forged], ATTACKER, pair.clock.now)
    for end in (pair.client, server):
        end.install_key(KEY)
    for _ in range(5):
        pair.client.send(b"from where I am")
        pair.client.commit()
        pair.run_for(QUIET)
        drain(server)
    assert server.remote is Side.CLIENT


@pytest.fixture
def awaiting() -> tuple[Pair, Wiretap]:
    """Under AEAD: all that the client has sent was acknowledged in-band, and the ACK_FLUSH was lost on the way."""
    pair = established(RESPONSIVE)
    wiretap = Wiretap(pair, KEY)
    wiretap.follow()
    for end in (pair.client, pair.server):
        end.install_key(KEY)
    pair.run_for(QUIET)
    undo = pair.drop(lambda flight: flight.sender is Side.SERVER and op_of(flight) is Op.ACK_FLUSH)
    pair.client.send(b"under the key")
    pair.client.commit()
    pair.run_for(0.03)
    drain(pair.server)
    pair.server.send(b"answer")
    pair.run_for(0.03)
    undo()
    assert pair.client.committed == 0
    return pair, wiretap


def test_a_flush_under_crc64_ends_nothing_that_a_key_protects(awaiting: tuple[Pair, Wiretap]) -> None:
    """F3 is for the last transaction before the key, and for none after it."""
    pair, wiretap = awaiting
    pair.client.receive([forged_flush(pair, wiretap, serial=1000)], Side.SERVER, pair.clock.now)
    assert pair.client.committed == 0


def test_a_flush_under_crc64_does_not_make_deaf(awaiting: tuple[Pair, Wiretap]) -> None:
    """S10: with an extreme serial no ACK_FLUSH and no heartbeat of the peer's would be heard again."""
    pair, wiretap = awaiting
    extreme = pair.client._last_serial + 2**31 - 1
    pair.client.receive([forged_flush(pair, wiretap, serial=extreme)], Side.SERVER, pair.clock.now)
    pair.run_for(QUIET)
    pair.client.send(b"more")
    wanted = pair.client.commit()
    pair.run_for(20.0)
    assert pair.client.committed == wanted


def test_a_flush_under_crc64_does_not_open_the_window(awaiting: tuple[Pair, Wiretap]) -> None:
    pair, wiretap = awaiting
    before = pair.client.sent.right_edge
    pair.client.receive([forged_flush(pair, wiretap, serial=1000, window=MOST_WINDOW)], Side.SERVER, pair.clock.now)
    assert pair.client.sent.right_edge == before


def test_packets_of_ones_own_are_not_the_peers() -> None:
    """A MAC key, and a listener played by the attacker who offers the initiator's own ULTID and reflects its packets.

    Both directions have one key; only the ULTIDs tell them apart, for the numbers of a MAC may meet (N2b is AEAD's).
    """
    pair = Pair.connecting(settings=Settings())
    client = pair.client
    (request,) = client.datagrams_to_send(pair.clock.now)
    assert pair.responder is not None
    offer = pair.responder.receive_untrusted(
        request, Side.CLIENT, pair.clock.now, pair.clock.unix_microseconds, frozenset()
    )
    assert isinstance(offer, bytes)
    client.receive([client.local_ultid + offer[4:]], ATTACKER, pair.clock.now)
    assert client.remote_ultid != client.local_ultid
