"""Addresses that a peer tells: which of them are used, and when (gao-07 4.7, 10.3, 10.6; B15, F53, F54)."""

from __future__ import annotations

import pytest

from fsp_trio.core.paths import (
    MAXIMUM_ROUTES,
    PathState,
    Route,
    path_key,
    preferred,
    prefixes_of,
    told_addresses,
)
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.packets import Op, SinkParameter
from fsp_trio.wire.prefixes import NO_PREFIX, address_of, prefix_of

from .pair import Side
from .roving import C1, C2, C3, S1, Roving
from .talk import drain

CLIENT, SERVER = Side.CLIENT, Side.SERVER
GLOBAL, OTHER_GLOBAL = ("8.8.8.8", 18003), ("9.9.9.9", 4711)
PRIVATE = ("10.0.0.7", 18003)


@pytest.mark.parametrize("address", [("192.0.2.1", 18003), ("255.1.2.3", 1), ("0.0.0.1", 65535)])
def test_4_7_a_prefix_tells_an_address(address: tuple[str, int]) -> None:
    prefix = prefix_of(address)
    assert prefix[:2] == b"\x20\x02"
    assert address_of(prefix) == address


@pytest.mark.parametrize("prefix", [NO_PREFIX, b"\x20\x01" + bytes(4) + b"\x46\x53", prefix_of(C1)[:6] + bytes(2)])
def test_4_7_what_is_no_address(prefix: bytes) -> None:
    """Zeros, another prefix than that of 6to4, no port."""
    assert address_of(prefix) is None


def test_4_7_four_prefixes_and_zeros_for_those_that_are_missing() -> None:
    assert prefixes_of([C1, "no address", C2]) == (prefix_of(C1), prefix_of(C2), NO_PREFIX, NO_PREFIX)
    assert prefixes_of([C1, C2, C3, S1, GLOBAL]) == tuple(map(prefix_of, (C1, C2, C3, S1)))


def test_4_7_the_last_one_is_the_last_resort() -> None:
    assert preferred([C1, C2, C3], source=C3, present=C3, number=0) == C1
    assert preferred([C3], source=C1, present=C1, number=5) == C3


def test_4_7_the_others_are_shared_by_many_connections() -> None:
    chosen = {preferred([C1, C2, C3], source=S1, present=S1, number=number) for number in range(10)}
    assert chosen == {C1, C2}


def test_f53_where_the_packet_came_from_is_preferred_and_then_what_is_used_already() -> None:
    for number in range(4):
        assert preferred([C1, C2, C3], source=C2, present=C1, number=number) == C2
        assert preferred([C1, C2, C3], source=S1, present=C2, number=number) == C2


@pytest.mark.parametrize(
    ("told", "present", "taken"),
    [
        (GLOBAL, OTHER_GLOBAL, True),
        (GLOBAL, PRIVATE, True),
        (PRIVATE, ("192.168.1.1", 1), True),
        (PRIVATE, GLOBAL, False),
        (("127.0.0.1", 53), GLOBAL, False),
        (("127.0.0.1", 53), PRIVATE, False),
        (("127.0.0.2", 53), ("127.0.0.1", 1), True),
        (PRIVATE, ("127.0.0.1", 1), True),
        (("169.254.1.1", 1), PRIVATE, False),
        (("169.254.1.1", 1), ("169.254.7.7", 1), True),
        (("224.0.0.1", 1), GLOBAL, False),
        (("239.1.2.3", 1), PRIVATE, False),
        (("255.255.255.255", 1), PRIVATE, False),
        (("240.0.0.1", 1), PRIVATE, False),
        (("0.0.0.0", 1), PRIVATE, False),
        (("0.1.2.3", 1), PRIVATE, False),
        (GLOBAL, "a name", False),
    ],
)
def test_f54_a_peer_does_not_send_us_where_it_is_not_itself(
    told: tuple[str, int], present: object, taken: bool
) -> None:
    assert bool(told_addresses(prefixes_of([told]), present)) == taken


def notice(world: Roving, *places: object) -> bytes:
    """A KEEP_ALIVE of the client's that tells addresses."""
    sink = SinkParameter(bytes(4), prefixes_of(places))
    return world.client._acknowledgement(Op.KEEP_ALIVE, sink, world.now)


def take(world: Roving, datagram: bytes, source: object) -> None:
    world.server.receive([datagram], source, world.now, False, S1)


def test_10_6_an_address_that_is_told_is_used_though_nothing_came_from_there() -> None:
    world = Roving(client=(C1, C2))
    take(world, notice(world, C2), C1)
    assert world.server.remote == C2
    world.server.send(b"there")
    world.run_for(5.0)
    assert drain(world.client) == [b"there"]
    assert world.server.statistics.address_changes == 1


def test_10_3_the_source_of_a_packet_that_tells_addresses_is_not_followed() -> None:
    world = Roving()
    take(world, notice(world, C1), C3)
    assert world.server.remote == C1
    take(world, notice(world, C1), C3)
    assert world.server.remote == C1, "nor where it tells nothing new"
    take(world, notice(world), C3)
    assert world.server.remote == C3, "zeros count as absent (B15)"


def test_10_6_only_the_newest_list_counts() -> None:
    world = Roving()
    old, new = notice(world, C2), notice(world, C3)
    take(world, new, C1)
    take(world, old, C1)
    assert world.server.remote == C3
    assert world.server.routes() == [Route(S1, C3)]


def test_10_6_forged_lists_count_nothing() -> None:
    world = Roving()
    take(world, notice(world, C2)[:-1] + b"?", C1)
    take(world, notice(world, C2)[:16] + bytes(80), C1)
    assert world.server.remote == C1


def test_f54_what_may_not_be_used_is_not_and_the_source_not_either() -> None:
    world = Roving()
    take(world, notice(world, ("127.0.0.1", 22)), C3)
    assert world.server.remote == C1
    assert world.server.paths()[1:] == []


def test_a_list_of_many_addresses_makes_no_more_routes_than_the_limit() -> None:
    world = Roving()
    own = [(f"198.51.100.{number}", 18003) for number in range(1, 20)]
    world.server.know_addresses(own, ())
    take(world, notice(world, C1, C2, C3, GLOBAL), C1)
    assert len(world.server.routes()) == len(world.server.paths()) == MAXIMUM_ROUTES
    assert [path.state for path in world.server.paths()] == [PathState.ACTIVE] + [PathState.STANDBY] * 15


def test_f51_a_list_that_is_news_is_acknowledged_and_that_once() -> None:
    world = Roving()
    datagrams = []
    for _ in range(3):
        take(world, notice(world, C1, C2), C1)
        datagrams.append(len(world.server.datagrams_to_send(world.now)))
        world.server.send(b"x")
        world.server.datagrams_to_send(world.now)
    assert datagrams == [1, 0, 0]


def test_paths_tell_round_trips_of_routes_that_were_used() -> None:
    world = Roving(client=(C1, C2), multihoming=True)
    world.client.send(b"x")
    world.run_for(1.0)
    present, other = world.client.paths()
    assert (present.local, present.remote) == (C1, S1)
    assert present.rtt == pytest.approx(0.02, rel=0.1)
    assert (other.local, other.rtt) == (C2, None)
    world.client.moved(C2, world.now)
    world.run_for(1.0)
    assert world.client.paths()[1].rtt == pytest.approx(0.02, rel=0.1)


def test_b18_a_path_is_named_by_both_hosts() -> None:
    assert path_key(("192.0.2.1", 1), ("198.51.100.1", 2)) == path_key(("192.0.2.1", 3), ("198.51.100.1", 4))
    assert path_key(("192.0.2.1", 1), ("198.51.100.1", 2)) != path_key(("192.0.2.1", 1), ("198.51.100.2", 2))
    assert path_key(("192.0.2.1", 1)) == "192.0.2.1"


def test_gao_notices_have_no_listener() -> None:
    """4.7: the host ID is 0 over IPv4."""
    world = Roving()
    sink = world.client._sink_from(None)
    assert (sink.host_id, GAO_07.codec.listener_of(sink)) == (bytes(4), bytes(4))
