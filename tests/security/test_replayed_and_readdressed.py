"""On the path, without the key: packets copied, delayed, repeated and from elsewhere (4.6, 10.3, 10.5, 12.3, 12.5)."""

from __future__ import annotations

import dataclasses

from fsp_trio.core.congestion import INITIAL_WINDOW
from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import OVER
from fsp_trio.wire.packets import Op
from tests.core.pair import Side
from tests.core.talk import KEY, QUIET, RESPONSIVE, drain, established, sent_by, transfer

ELSEWHERE = "somebody who never asked for anything"


def test_old_packets_sent_again_do_not_keep_a_dead_session_alive() -> None:
    """12.5, M42: the peer is gone, and somebody repeats one recorded packet now and then."""
    pair = established(dataclasses.replace(Settings(), idle_timeout=60.0), key=KEY)
    pair.client.send(b"the last words")
    pair.client.commit()
    pair.run_for(QUIET)
    drain(pair.server)
    recorded = sent_by(pair, Side.CLIENT, Op.PERSIST)[-1].datagram
    pair.drop(lambda flight: True)
    server = pair.server
    for _ in range(20):
        pair.run_for(30.0)
        if server.state in OVER:
            break
        server.receive([recorded], ELSEWHERE, pair.clock.now)
    assert server.state in OVER
    assert server.last_heard < 1070.0


def test_old_serials_do_not_become_new_after_two_to_the_thirty_first() -> None:
    """4.6, M5, N4: serials never wrap, so one that is smaller is never newer, however far ahead the newest is.

    The end that only listens has one number in all its acknowledgements; its first one comes back in the end.
    """
    pair = established(RESPONSIVE, key=KEY)
    transfer(pair, Side.CLIENT, b"one")
    recorded = sent_by(pair, Side.SERVER, Op.ACK_FLUSH)[-1].datagram
    pair.server._serial = pair.client._last_serial = 2**31 + 100
    transfer(pair, Side.CLIENT, b"two")
    pair.client.receive([recorded], Side.SERVER, pair.clock.now)
    pair.client.send(b"three")
    wanted = pair.client.commit()
    pair.run_for(20.0)
    assert pair.client.committed == wanted


def test_a_copy_from_elsewhere_that_comes_first_draws_little_there() -> None:
    """10.5: who is faster than the original moves the address, and a silent peer does not move it back.

    Until the new address has shown that somebody is there, no more must go to it than to any new path: the initial
    window, and then repeats, fewer and fewer (the limit is for five seconds).
    """
    pair = established(RESPONSIVE, key=KEY)
    transfer(pair, Side.SERVER, bytes(2_000_000))  # the congestion window is large now
    server = pair.server
    pair.client.send(b"the next packet of the peer, delayed")
    (copy,) = pair.client.datagrams_to_send(pair.clock.now)
    server.receive([copy], ELSEWHERE, pair.clock.now)
    assert server.remote == ELSEWHERE
    server.send(bytes(1_000_000))
    there = 0
    end = pair.clock.now + 5.0
    while pair.clock.now < end:
        while batch := server.datagrams_to_send(pair.clock.now):
            there += sum(map(len, batch))
        pair.clock.now = min(end, max(server.next_deadline(), pair.clock.now + 0.001))
        if server.next_deadline() <= pair.clock.now:
            server.handle_timer(pair.clock.now)
    assert there <= 6 * INITIAL_WINDOW, f"{there} octets for the {len(copy)} of the copy"


def test_a_mark_on_a_packet_sent_again_does_not_slow_the_peer_down() -> None:
    """8.7, M45: who made the copy marked it; the peer would be told of congestion that its packets never met."""
    pair = established(RESPONSIVE, key=KEY)
    transfer(pair, Side.CLIENT, bytes(50_000))
    recorded = sent_by(pair, Side.CLIENT, Op.PURE_DATA)[-1].datagram
    before = pair.client.macroflow.reductions
    pair.server.receive([recorded], ELSEWHERE, pair.clock.now, True)
    pair.run_for(QUIET)
    assert pair.client.macroflow.reductions == before
