"""The impairment proxy: what a direction decides, and real programs on both sides of it."""

from __future__ import annotations

from typing import cast

import pytest
import trio

from fsp_trio import FSPListener, FSPSession, open_fsp_endpoint
from spec_conformance.proxy import Direction, Impairments, Proxy, Rebinding

NOTHING = Impairments()


def passed(impairments: Impairments, count: int = 1000, seed: int = 1) -> tuple[Direction, list[tuple[float, bytes]]]:
    """So many datagrams, a millisecond apart."""
    direction = Direction(impairments, seed)
    found = []
    for turn in range(count):
        found += direction.pass_on(b"%06d" % turn, turn / 1000)
    return direction, found


def test_nothing_is_changed_without_impairments() -> None:
    direction, found = passed(NOTHING)
    assert found == [(turn / 1000, b"%06d" % turn) for turn in range(1000)]
    assert direction.tally.arrived == 1000


def test_loss_and_every_nth() -> None:
    direction, found = passed(Impairments(loss=0.2))
    assert 150 < direction.tally.lost < 250
    assert len(found) == 1000 - direction.tally.lost
    _, found = passed(Impairments(drop_nth=7))
    assert [octets for _, octets in found] == [b"%06d" % turn for turn in range(1000) if (turn + 1) % 7]


def test_corruption_alters_one_octet() -> None:
    direction, found = passed(Impairments(corrupt=0.5))
    altered = [octets for turn, (_, octets) in enumerate(found) if octets != b"%06d" % turn]
    assert len(altered) == direction.tally.corrupted > 400
    for turn, (_, octets) in enumerate(found):
        assert sum(a != b for a, b in zip(octets, b"%06d" % turn, strict=True)) <= 1


def test_duplicates_and_reordering() -> None:
    direction, found = passed(Impairments(duplicate=0.3))
    assert len(found) == 1000 + direction.tally.duplicated > 1200
    direction, found = passed(Impairments(reorder=0.1, reorder_delay=0.01))
    order = [octets for _, octets in sorted(found)]
    assert order != sorted(order)
    assert direction.tally.held_back > 50


def test_delay_jitter_and_bandwidth() -> None:
    _, found = passed(Impairments(delay=0.5, jitter=0.1))
    assert all(moment - turn / 1000 >= 0.5 for turn, (moment, _) in enumerate(found))
    assert found == sorted(found), "jitter alone does not reorder"
    _, found = passed(Impairments(bandwidth=600.0), 100)
    assert found[-1][0] == pytest.approx(1.0), "600 octets take a second"


def test_blackholes() -> None:
    direction, found = passed(Impairments(blackholes=((0.1, 0.3), (0.5, 0.6))))
    assert direction.tally.blackholed == 300
    assert not any(0.1 <= moment < 0.3 for moment, _ in found)


def test_a_seed_repeats_a_run() -> None:
    everything = Impairments(loss=0.1, corrupt=0.1, duplicate=0.1, reorder=0.1, delay=0.1, jitter=0.05)
    assert passed(everything, seed=5)[1] == passed(everything, seed=5)[1]
    assert passed(everything, seed=5)[1] != passed(everything, seed=6)[1]


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.5}, {"corrupt": -0.1}, {"delay": -1.0}, {"drop_nth": -1}, {"blackholes": ((3.0, 2.0),)}]
)
def test_impossible_wishes(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"probability|negative|ends after"):
        Impairments(**wrong)  # type: ignore[arg-type]


async def echo_once(listener: FSPListener) -> None:
    async with await listener.accept_session() as session:
        async for received in session:
            async with session.send_transaction() as answer:
                while octets := await received.receive_some():
                    await answer.send_all(octets)


@pytest.mark.realnet
async def test_a_session_survives_loss_and_rebinding() -> None:
    """Real sockets: the client's port changes three times behind the proxy while 200 KB go to the server and back."""
    data = bytes(range(256)) * 800
    poor = Impairments(loss=0.01, duplicate=0.05, delay=0.002, bandwidth=500_000.0)
    rebinding = Rebinding(every=0.08, times=3)
    async with (
        open_fsp_endpoint("127.0.0.1", 0) as server,
        open_fsp_endpoint("127.0.0.1", 0) as client,
        trio.open_nursery() as nursery,
    ):
        host, port = cast("tuple[str, int]", server.local_address)
        proxy = Proxy((host, port), towards_server=poor, towards_client=poor, rebinding=rebinding)
        address = await nursery.start(proxy.run, ("127.0.0.1", 0))
        nursery.start_soon(echo_once, server.listen())
        with trio.fail_after(60):
            async with await client.open_session_to(address) as session:
                nursery.start_soon(send, session, data)
                found = bytearray()
                async for received in session:
                    while octets := await received.receive_some():
                        found += octets
                    break
        assert found == data
        assert proxy.up.tally.lost + proxy.down.tally.lost > 0
        assert proxy.rebindings == 3
        nursery.cancel_scope.cancel()


async def send(session: FSPSession, data: bytes) -> None:
    async with session.send_transaction() as transaction:
        await transaction.send_all(data)
