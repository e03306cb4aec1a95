"""What the behaviour tests say to a pair of connections, and what they look for in its record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from fsp_trio.core.connection import Connection
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import Op

from .pair import Flight, Pair, Side
from .wiretap import CODEC

KEY = b"a key that both applications have agreed upon"
QUIET = 0.25
"""Seconds after which everything is said: many round trips, less than a retransmission time-out."""
RESPONSIVE = Settings(timers=Timers.responsive())
IN_BAND = frozenset({Op.ACK_CONNECT_REQ, Op.NULCOMMIT, Op.PERSIST, Op.PURE_DATA, Op.RELEASE})


def op_of(flight: Flight) -> Op:
    return CODEC.ops[flight.datagram[8]]


def state_of(connection: Connection) -> State:
    """The state now; type checkers take the attribute for a constant between two assertions."""
    return connection.state


def sn_of(flight: Flight) -> int:
    return int.from_bytes(flight.datagram[16:20], "big")


def expected_of(flight: Flight) -> int:
    """Expected number; of an out-of-band packet the serial."""
    return int.from_bytes(flight.datagram[20:24], "big")


def window_of(flight: Flight) -> int:
    return int.from_bytes(flight.datagram[13:16], "big")


def flags_of(flight: Flight) -> int:
    return flight.datagram[12]


def sent_by(pair: Pair, side: Side, *ops: Op, since: int = 0) -> list[Flight]:
    """What a side has sent, from entry `since` of the record on, of these kinds or of all."""
    return [flight for flight in pair.record[since:] if flight.sender is side and (not ops or op_of(flight) in ops)]


def ops_since(pair: Pair, mark: int) -> list[tuple[str, str]]:
    return [(flight.sender.value, op_of(flight).name) for flight in pair.record[mark:]]


def established(
    settings: Settings | None = None,
    server_settings: Settings | None = None,
    *,
    key: bytes = b"",
    welcome: bytes = b"",
    delay: float = 0.01,
    seed: int = 1,
) -> Pair:
    """Both ends in CLOSABLE with nothing to say; under AEAD if there is a key."""
    pair = Pair.connecting(settings=settings, server_settings=server_settings, welcome=welcome, delay=delay, seed=seed)
    closable = (State.CLOSABLE, State.CLOSABLE)
    pair.run_until(lambda: pair.has_server and (pair.client.state, pair.server.state) == closable)
    pair.run_for(20 * delay + QUIET)
    if key:
        pair.client.install_key(key)
        pair.server.install_key(key)
        pair.run_for(20 * delay + QUIET)
    drain(pair.client)
    drain(pair.server)
    assert (pair.client.state, pair.server.state) == closable
    return pair


def drain(connection: Connection) -> list[bytes]:
    """Read everything: whole transactions, and what there is of the last one if that has not ended."""
    transactions, octets = [], b""
    while connection.readable:
        if connection.at_end:
            connection.next_transaction()
            transactions.append(octets)
            octets = b""
        else:
            octets += connection.read(65_536)
    return [*transactions, octets] if octets else transactions


def transfer(pair: Pair, sender: Side, data: bytes, max_time: float = 600.0) -> None:
    """One transaction, read as it comes; AssertionError unless it arrives whole and its commit is acknowledged."""
    end, peer = pair.end(sender), pair.end(sender.other)
    end.send(data)
    ordinal = end.commit()
    got = bytearray()

    def arrived() -> bool:
        while octets := peer.read(65_536):
            got.extend(octets)
        return peer.at_end and end.committed >= ordinal

    pair.run_until(arrived, max_time)
    assert bytes(got) == data
    peer.next_transaction()


def drop_only(pair: Pair, number: int, wanted: Callable[[Flight], bool] = lambda flight: True) -> Callable[[], int]:
    """Lose the `number`th packet from now on, counted from 0, of those that are wanted; a call tells how many came."""
    count = itertools.count()
    seen = 0

    def predicate(flight: Flight) -> bool:
        nonlocal seen
        if not wanted(flight):
            return False
        seen += 1
        return next(count) == number

    pair.drop(predicate)
    return lambda: seen


def every_single_loss(scenario: Callable[[int], int], most: int = 200) -> Iterator[int]:
    """Run a scenario with packet 0, 1, 2 ... lost, until it sends fewer packets than that."""
    for number in range(most):
        if scenario(number) <= number:
            return
        yield number
    raise AssertionError(f"more than {most} packets")
