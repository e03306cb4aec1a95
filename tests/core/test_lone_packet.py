"""`seal_alone` and `sealed_alone` do what `send` and `datagrams_to_send` do, or nothing at all."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from fsp_trio.core.compression import BLOCK
from fsp_trio.core.connection import Connection
from fsp_trio.core.send_window import Acknowledgement
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import JASON_00
from fsp_trio.revisions.states import OWN_OPEN
from tests.core.pair import Pair, Side
from tests.core.talk import KEY, drain, established

REQUEST = bytes(range(256)) * 4


def talking(settings: Settings | None = None) -> Pair:
    """Both ends in ACTIVE, with everything acknowledged."""
    pair = established(settings, key=KEY)
    for side in Side:
        pair.end(side).send(b"a transaction begins")
        pair.run_for(0.25)
        drain(pair.end(side.other))
    pair.run_for(0.25)
    assert not pair.client.outstanding
    assert not pair.server.outstanding
    return pair


def what_is_known(connection: Connection, now: float) -> tuple[object, ...]:
    sent, flow = connection.sent, connection.macroflow
    blocks = [(b.sn, b.payload, b.datagram, b.expected, b.sent_at, b.times, b.in_flight) for b in sent.blocks]
    told = (connection.told_expected, connection.advertised_edge, connection.more_to_send, connection.transaction_open)
    numbers = (sent.next_sn, sent.una, sent.payload, sent.right_edge, flow.in_flight, flow.cwnd)
    return blocks, told, numbers, connection.state, connection.next_deadline(), connection.statistics


@pytest.mark.parametrize("octets", [1, 100, 1024])
def test_both_ways_give_the_same(octets: int) -> None:
    short, long = talking(), talking()
    for turn in range(20):
        side = (Side.CLIENT, Side.SERVER)[turn % 2]
        now = short.clock.now
        assert now == long.clock.now
        one, other = short.end(side), long.end(side)
        datagram = one.seal_alone(REQUEST[:octets], now)
        one.sealed_alone(REQUEST[:octets], datagram, now)
        other.send(REQUEST[:octets])
        assert other.datagrams_to_send(now) == [datagram]
        assert what_is_known(one, now) == what_is_known(other, now)
        for pair in (short, long):
            pair.clock.now += 0.0001
            pair.end(side.other).receive([datagram], side, pair.clock.now)
            assert drain(pair.end(side.other)) == [REQUEST[:octets]]


def acknowledgement_due(connection: Connection) -> None:
    connection._ack_now = True


def something_queued(connection: Connection) -> None:
    connection.send(b"before")


def something_under_way(connection: Connection) -> None:
    connection.send(b"before")
    connection.datagrams_to_send(1e6)


def committed(connection: Connection) -> None:
    connection.commit()
    connection.datagrams_to_send(1e6)


def shut_window(connection: Connection) -> None:
    connection.sent.right_edge = connection.sent.next_sn


def delayed_acknowledgement_due(connection: Connection) -> None:
    connection._snack_at = -math.inf


def new_key(connection: Connection) -> None:
    connection._announce_key = True


def shutting_down(connection: Connection) -> None:
    connection.shutdown(1e6)


def over(connection: Connection) -> None:
    connection.reset(1, 1e6)


@pytest.mark.parametrize(
    "happens",
    [
        acknowledgement_due,
        something_queued,
        something_under_way,
        committed,
        shut_window,
        delayed_acknowledgement_due,
        new_key,
        shutting_down,
        over,
    ],
)
def test_all_else_goes_the_long_way(happens: Callable[[Connection], None]) -> None:
    pair = talking()
    assert pair.client.seal_alone(REQUEST, pair.clock.now)
    happens(pair.client)
    before = what_is_known(pair.client, pair.clock.now)
    assert pair.client.seal_alone(REQUEST, pair.clock.now) == b""
    assert what_is_known(pair.client, pair.clock.now) == before


@pytest.mark.parametrize("data", [b"", bytes(1025)])
def test_only_what_makes_one_packet(data: bytes) -> None:
    pair = talking()
    assert pair.client.seal_alone(data, pair.clock.now) == b""


def test_the_last_use_of_a_key_ends_the_connection() -> None:
    pair = talking(Settings(key_life=20))
    client, now = pair.client, pair.clock.now
    for _ in range(40):
        datagram = client.seal_alone(b"x", now)
        client.sealed_alone(b"x", datagram, now)
        if client.is_over:
            break
        client.sent.acknowledge(client.sent.next_sn, Acknowledgement())
    assert client.is_over
    assert client.datagrams_to_send(now), "the RESET"


def test_no_block_larger_than_the_peers() -> None:
    """jason-00 3.7: the size of a block is told in the handshake."""
    small = Settings(max_payload=512)
    pair = Pair.connecting(revision=JASON_00, server_settings=small, welcome=b"hello")
    pair.run_for(1)
    pair.client.send(b"a transaction begins")
    pair.run_for(1)
    assert pair.client.payload_limit == 512
    assert pair.client.seal_alone(REQUEST[:513], pair.clock.now) == b""
    assert pair.client.seal_alone(REQUEST[:512], pair.clock.now)


def test_none_of_a_compressed_transaction() -> None:
    pair = talking()
    pair.client.commit()
    pair.run_for(1)
    pair.client.compress_transaction()
    pair.client.send(bytes(BLOCK))  # so that something leaves before the transaction ends
    pair.run_for(1)
    assert pair.client.state in OWN_OPEN
    assert pair.client.seal_alone(REQUEST, pair.clock.now) == b""
    pair.client.commit()
    pair.client.send(b"a plain transaction begins")
    pair.run_for(1)
    assert pair.client.seal_alone(REQUEST, pair.clock.now)
