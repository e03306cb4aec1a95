"""Sessions on hosts whose addresses change: what applications see, and what the endpoint does about it."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import (
    FSPBrokenError,
    FSPBusyError,
    FSPClosedError,
    FSPSession,
    PathState,
    Settings,
    State,
    open_fsp_endpoint,
)
from fsp_trio._groups import unwrapped
from fsp_trio._roaming import MAXIMUM_GATES, SOURCES_REMEMBERED
from fsp_trio.testing import SimulatedNetwork
from fsp_trio.testing._simulated_host import HostPort

from .hosts import CLIENT, ELSEWHERE, NUMBER, SECOND, SERVER, SERVER_ELSEWHERE, SERVICE, hosts, say
from .moves import agree

MULTIHOMED = Settings(multihoming=True)
ADVERTISING = Settings(multihoming=True, advertise=True)


@asynccontextmanager
async def alone() -> AsyncIterator[trio.Nursery]:
    """A nursery whose only exception comes out as itself."""
    with unwrapped():
        async with trio.open_nursery() as nursery:
            yield nursery


def states(session: FSPSession) -> dict[tuple[object, object], PathState]:
    return {(path.local, path.remote): path.state for path in session.paths}


# changes of the host's addresses


async def test_10_3_a_session_goes_on_from_the_new_address(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        world.client_host.remove(CLIENT)
        world.client_host.add(ELSEWHERE)
        await say(near, far)
        await say(far, near)
        assert far.remote_address == (ELSEWHERE, NUMBER)
        assert states(near) == {((ELSEWHERE, NUMBER), (SERVER, NUMBER)): PathState.ACTIVE}
        assert near.statistics().packets.moves == 1


async def test_10_2_a_peer_that_only_sends_hears_of_it_at_once(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        world.client_host.add(ELSEWHERE)
        world.client_host.remove(CLIENT)
        await trio.sleep(0.05)
        assert far.remote_address == (ELSEWHERE, NUMBER)
        assert near.statistics().packets.notices_sent == 1


async def test_all_sessions_of_an_endpoint_move_and_share_one_further_port(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        pairs = [await world.sessions() for _ in range(70)]
        world.client_host.add(ELSEWHERE)
        world.client_host.remove(CLIENT)
        await trio.sleep(0.1)
        assert {far.remote_address for _, far in pairs} == {(ELSEWHERE, NUMBER)}
        assert [gate.local for gate in world.client._roaming.gates] == [(ELSEWHERE, NUMBER)]
        for near, far in pairs[::10]:
            await say(near, far)


async def test_an_address_that_others_do_not_care_for_changes_nothing(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, _ = await world.sessions()
        await trio.sleep(1)
        before = near.statistics().packets.packets_sent
        world.client_host.add(SECOND)
        await trio.sleep(5)
        world.client_host.remove(SECOND)
        await trio.sleep(5)
        assert near.statistics().packets.packets_sent == before
        assert world.client._roaming.gates == []


async def test_10_3_the_system_prefers_another_address_now(autojump_clock: MockClock) -> None:
    """A cable beside the radio: both are up, and the route has changed."""
    async with hosts((CLIENT, SECOND)) as world:
        near, far = await world.sessions()
        world.client_host.prefer(SECOND)
        await trio.sleep(1)
        assert far.remote_address == (SECOND, NUMBER)
        world.client_host.prefer(CLIENT)
        await trio.sleep(1)
        assert far.remote_address == (CLIENT, NUMBER)
        assert near.statistics().packets.moves == 2


async def test_f80_a_link_without_carrier_is_left_though_the_system_would_use_it(autojump_clock: MockClock) -> None:
    """A system may keep the address and the routes of an interface whose cable was pulled."""
    async with hosts((CLIENT, SECOND)) as world:
        near, far = await world.sessions()
        for unplugged, there in ((CLIENT, SECOND), (SECOND, CLIENT), (CLIENT, SECOND)):
            world.client_host.unplug(unplugged)
            await trio.sleep(0.1)
            assert far.remote_address == (there, NUMBER)
            await say(near, far)
            world.client_host.plug(unplugged)
            await trio.sleep(1)
            assert far.remote_address == (CLIENT, NUMBER), "the system prefers it as soon as it is there again"
            await say(far, near)


async def test_f80_who_talks_to_its_own_host_needs_no_carrier(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        listener = world.client.listen(SERVICE)
        near = await world.client.open_session_to((CLIENT, NUMBER), service=SERVICE)
        await listener.accept_session()
        world.client_host.unplug(CLIENT)
        await trio.sleep(1)
        assert near.statistics().packets.moves == 0


async def test_f80_the_only_link_without_carrier_for_a_while(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        world.client_host.unplug(CLIENT)
        await trio.sleep(2)
        world.client_host.plug(CLIENT)
        with trio.fail_after(0.5):
            await say(far, near)
        assert near.statistics().packets.moves == 0
        assert near.statistics().packets.notices_sent >= 1


@pytest.mark.parametrize("moved", [False, True])
async def test_f81_nobody_is_reached_from_the_loopback(moved: bool, autojump_clock: MockClock) -> None:
    """It may be the only address that is left for a while; the session waits for another one, and goes on there."""
    async with hosts(("127.0.0.1", CLIENT)) as world:
        near, far = await world.sessions()
        here = CLIENT
        if moved:
            here = ELSEWHERE
            world.client_host.add(ELSEWHERE)
            world.client_host.remove(CLIENT)
            await trio.sleep(2)
        moves = near.statistics().packets.moves
        for _ in range(2):
            world.client_host.remove(here)
            await trio.sleep(2)
            world.client_host.add(here)
            with trio.fail_after(0.5):
                await say(far, near)
                await say(near, far)
        assert near.statistics().packets.moves == moves
        assert near.paths[0].local == far.remote_address == (here, NUMBER)
        if moved:
            assert near._gate is world.client._roaming.gates[0], "it has a port at its address again"


async def test_f82_ports_keep_to_their_addresses_when_links_change(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address may go over to another interface, as when a bridge is made."""
    chosen = []

    def choose(port: HostPort) -> None:
        chosen.append(port.local_address)
        raise OSError(errno.ENODEV, "it goes over to yet another one in this moment")

    monkeypatch.setattr(HostPort, "choose_interface", choose)
    async with hosts((CLIENT, SECOND), settings=MULTIHOMED, server_settings=Settings()) as world:
        near, far = await world.sessions()
        assert chosen == []
        world.client_host.prefer(CLIENT)
        await trio.sleep(1)
        assert chosen == [(CLIENT, NUMBER), (SECOND, NUMBER)]
        await say(near, far)


async def test_a_host_without_any_address_for_a_while(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        world.client_host.remove(CLIENT)
        await trio.sleep(20)
        transaction = far.send_transaction()
        await transaction.send_all(b"to nowhere, for now")
        transaction.end()
        await trio.sleep(100)
        world.client_host.add(CLIENT)
        with trio.fail_after(2.5):
            assert [part async for part in await near.receive_transaction()] == [b"to nowhere, for now"]
        assert near.statistics().packets.moves == 0
        assert near.statistics().packets.notices_sent >= 1


async def test_the_address_goes_that_a_session_had_moved_to(autojump_clock: MockClock) -> None:
    """Its port is closed while its reader may be waiting there."""
    async with hosts() as world:
        near, far = await world.sessions()
        stream, other = near.stream(), far.stream()

        async def echo() -> None:
            async for part in other:
                await other.send_all(part)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo)
            old = CLIENT
            for number in range(5):
                new = f"192.0.2.{100 + number}"
                world.client_host.add(new)
                world.client_host.remove(old)
                old = new
                for _ in range(3):
                    await stream.send_all(b"%d" % number)
                    assert await stream.receive_some() == b"%d" % number
            await stream.send_eof()
        assert [gate.local for gate in world.client._roaming.gates] == [(old, NUMBER)]


async def test_a_reader_waits_for_the_port_that_is_closed(autojump_clock: MockClock) -> None:
    async with hosts() as world, trio.open_nursery() as nursery:
        near, far = await world.sessions()
        a, b = near.stream(), far.stream()

        async def echo() -> None:
            async for part in b:
                await b.send_all(part)

        async def ask(text: bytes) -> None:
            await a.send_all(text)
            assert await a.receive_some() == text
            await trio.sleep(1)

        nursery.start_soon(echo)
        world.server_host.add(SERVER_ELSEWHERE)
        world.server_host.remove(SERVER)
        await trio.sleep(1)
        for text in (b"1", b"2", b"3"):
            await ask(text)
        (gate,) = world.server._roaming.gates
        assert far._leads is gate.watch
        world.server_host.add(SERVER)
        world.server_host.remove(SERVER_ELSEWHERE)
        await trio.sleep(1)
        assert gate.retired
        assert far._leads is not gate.watch
        for text in (b"4", b"5", b"6"):
            await ask(text)
        assert far._leads is world.server._roaming.gates[0].watch
        await a.send_eof()


async def test_a_sender_waits_for_the_port_that_is_closed(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        world.client_host.add(ELSEWHERE)
        world.client_host.remove(CLIENT)
        await trio.sleep(1)
        gate = world.client._roaming.gates[0]
        gate.port.clogged = True  # type: ignore[attr-defined]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, near, far, bytes(100_000))
            await trio.sleep(1)
            world.client_host.add(CLIENT)
            world.client_host.remove(ELSEWHERE)


async def test_both_ends_move_one_after_the_other(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        world.client_host.add(ELSEWHERE)
        world.client_host.remove(CLIENT)
        await trio.sleep(1)
        world.server_host.add(SERVER_ELSEWHERE)
        world.server_host.remove(SERVER)
        await trio.sleep(1)
        await say(near, far)
        assert (near.remote_address, far.remote_address) == ((SERVER_ELSEWHERE, NUMBER), (ELSEWHERE, NUMBER))
        await say(*await world.sessions(SERVER_ELSEWHERE))  # and others can still come


async def test_a_plain_port_will_do(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork() as network, open_fsp_endpoint(transport=network.port("a")) as endpoint:
        listener = endpoint.listen(SERVICE)
        session = await endpoint.open_session_to("a", service=SERVICE)
        await listener.accept_session()
        assert [(path.local, path.remote) for path in session.paths] == [("a", "a")]
        with pytest.raises(OSError, match="no further"):
            await session.migrate("b")


# migrate


async def test_migrate_goes_over_and_back(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        near, far = await world.sessions()
        await near.migrate(SECOND)
        assert near.paths[0].local == (SECOND, NUMBER)
        assert far.remote_address == (SECOND, NUMBER)
        await say(near, far)
        await near.migrate((CLIENT, NUMBER))
        await say(far, near)
        assert far.remote_address == (CLIENT, NUMBER)
        moves = near.statistics().packets.moves
        await near.migrate(CLIENT)
        assert near.statistics().packets.moves == moves


async def test_migrate_in_the_middle_of_a_transfer_loses_nothing_and_stops_nothing(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        near, far = await world.sessions()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, near, far, bytes(3_000_000))
            nursery.start_soon(say, far, near, bytes(3_000_000))
            for address in (SECOND, CLIENT, SECOND):
                await trio.sleep(0.2)
                await near.migrate(address)
        assert near.paths[0].local == (SECOND, NUMBER)
        assert near.statistics().packets.retransmissions + far.statistics().packets.retransmissions < 20


async def test_a_session_that_was_told_where_to_be_stays_there(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        near, far = await world.sessions()
        await near.migrate(SECOND)
        world.client_host.add(ELSEWHERE)
        world.client_host.prefer(ELSEWHERE)
        await trio.sleep(1)
        assert far.remote_address == (SECOND, NUMBER)
        world.client_host.remove(ELSEWHERE)
        world.client_host.remove(SECOND)
        await trio.sleep(1)
        assert far.remote_address == (CLIENT, NUMBER), "but for the address that is gone"


async def test_migrate_to_an_address_that_is_not_here(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        with pytest.raises(OSError, match="does not have") as raised:
            await near.migrate(SECOND)
        assert raised.value.errno == errno.EADDRNOTAVAIL
        await say(near, far)


async def test_migrate_where_nothing_comes_back_waits_and_can_be_cancelled(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        near, far = await world.sessions()
        world.network.partition((SECOND, NUMBER))
        with trio.move_on_after(30) as scope:
            await near.migrate(SECOND)
        assert scope.cancelled_caught
        world.network.heal()
        before = near.statistics().packets.notices_sent
        await say(near, far)
        await trio.sleep(100)
        assert near.statistics().packets.notices_sent == before
        assert states(near) == {((CLIENT, NUMBER), (SERVER, NUMBER)): PathState.ACTIVE}


async def test_migrate_to_an_address_that_is_lost_meanwhile(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        near, far = await world.sessions()
        world.network.partition((SECOND, NUMBER))
        with pytest.raises(OSError, match="lost"):  # noqa: PT012
            async with alone() as nursery:
                nursery.start_soon(near.migrate, SECOND)
                await trio.sleep(1)
                world.client_host.remove(SECOND)
        await say(near, far)


async def test_two_migrations_at_once(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND, ELSEWHERE)) as world:
        near, _ = await world.sessions()
        world.network.partition((SECOND, NUMBER))

        async def be_outrun() -> None:
            with pytest.raises(FSPBusyError):
                await near.migrate(SECOND)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_outrun)
            await trio.sleep(1)
            await near.migrate(ELSEWHERE)
        assert near.paths[0].local == (ELSEWHERE, NUMBER)


async def test_migrate_of_sessions_that_end(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        world.network.partition((SECOND, NUMBER))
        near, far = await world.sessions()
        with pytest.raises(FSPClosedError):  # noqa: PT012
            async with alone() as nursery:
                nursery.start_soon(near.migrate, SECOND)
                await trio.sleep(1)
                near.reset()
        with pytest.raises(FSPClosedError):
            await near.migrate(SECOND)
        near, far = await world.sessions()
        with pytest.raises(FSPBrokenError):  # noqa: PT012
            async with alone() as nursery:
                nursery.start_soon(near.migrate, SECOND)
                await trio.sleep(1)
                far.reset()
        with pytest.raises(FSPBrokenError):
            await near.migrate(SECOND)


async def test_migrate_is_a_checkpoint(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND)) as world:
        near, _ = await world.sessions()
        await near.migrate(SECOND)
        with trio.testing.assert_checkpoints():
            await near.migrate(SECOND)
        with trio.CancelScope() as scope:
            scope.cancel()
            await near.migrate(CLIENT)
        assert scope.cancelled_caught
        assert near.paths[0].local == (SECOND, NUMBER)


async def test_there_is_a_limit_to_the_ports_of_an_endpoint(autojump_clock: MockClock) -> None:
    addresses = tuple(f"192.0.2.{number}" for number in range(1, MAXIMUM_GATES + 3))
    async with hosts(addresses) as world:
        near, _ = await world.sessions()
        for address in addresses[1 : MAXIMUM_GATES + 1]:
            await near.migrate(address)
        with pytest.raises(OSError, match="no further"):
            await near.migrate(addresses[-1])
        assert len(world.client._roaming.gates) == MAXIMUM_GATES


async def test_sources_are_remembered_up_to_a_limit(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        roaming = world.client._roaming
        for number in range(SOURCES_REMEMBERED + 10):
            assert roaming._source_towards((f"peer {number}", 1)) == (CLIENT, NUMBER)
        assert len(roaming._sources) == 10


async def test_a_branch_begins_where_its_parent_is(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND), (SERVER, SERVER_ELSEWHERE), settings=ADVERTISING) as world:
        near, far = await world.sessions()
        await agree(near, far, bytes(32))
        await near.migrate(SECOND)
        await say(near, far)
        branch = await near.multiply()
        assert branch.paths[0].local == (SECOND, NUMBER)
        other = await far.accept_branch()
        assert other.remote_address == (SECOND, NUMBER)
        assert {path.local for path in branch.paths} == {(CLIENT, NUMBER), (SECOND, NUMBER)}
        assert {path.remote for path in branch.paths} == {(SERVER, NUMBER), (SERVER_ELSEWHERE, NUMBER)}
        await say(branch, other)
        world.client_host.remove(SECOND)
        await trio.sleep(1)
        assert other.remote_address == far.remote_address == (CLIENT, NUMBER)
        await say(other, branch)


# several addresses


async def test_f55_a_server_with_two_addresses_answers_from_the_one_that_was_asked(autojump_clock: MockClock) -> None:
    """Else the client's NAT would not let the answer in."""
    async with hosts(server=(SERVER, SECOND), server_settings=MULTIHOMED) as world:
        world.network.nat("192.0.2.200", CLIENT)
        near, far = await world.sessions(SECOND)
        await say(near, far)
        await say(far, near)
        assert near.remote_address == far.paths[0].local == (SECOND, NUMBER)
        world.network.partition((SECOND, NUMBER))
        far.reset()
        await trio.sleep(1)
        assert world.network.statistics.drops.pop("partition") == 1
        world.network.heal()
        near.send_transaction().end()
        await trio.sleep(1)
        assert near.state is State.NON_EXISTENT, "the RESET was repeated, from the same address"
        assert world.network.statistics.drops == {}
        assert {record.source[0] for record in world.network.record} == {"192.0.2.200", SECOND}  # type: ignore[index]


async def test_f56_a_dead_uplink_is_left(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND), settings=MULTIHOMED, server_settings=Settings()) as world:
        near, far = await world.sessions()
        world.network.partition((CLIENT, NUMBER))
        start = trio.current_time()
        await say(near, far)
        assert trio.current_time() - start < 6.0
        assert states(near) == {
            ((SECOND, NUMBER), (SERVER, NUMBER)): PathState.ACTIVE,
            ((CLIENT, NUMBER), (SERVER, NUMBER)): PathState.FAILED,
        }


async def test_f56_the_peers_dead_uplink_too(autojump_clock: MockClock) -> None:
    async with hosts(server=(SERVER, SECOND), server_settings=ADVERTISING) as world:
        near, far = await world.sessions()
        await trio.sleep(1)
        assert {path.remote for path in near.paths} == {(SERVER, NUMBER), (SECOND, NUMBER)}
        world.network.partition((SERVER, NUMBER))
        await say(near, far)
        assert near.remote_address == (SECOND, NUMBER)


async def test_10_6_an_address_that_comes_later_is_announced(autojump_clock: MockClock) -> None:
    async with hosts(server_settings=ADVERTISING) as world:
        near, far = await world.sessions()
        await trio.sleep(1)
        assert {path.remote for path in near.paths} == {(SERVER, NUMBER)}
        world.server_host.add(SECOND)
        await trio.sleep(1)
        assert {path.remote for path in near.paths} == {(SERVER, NUMBER), (SECOND, NUMBER)}
        world.server_host.remove(SERVER)
        await trio.sleep(1)
        assert {path.remote for path in near.paths} == {(SECOND, NUMBER)}
        await say(near, far)


async def test_4_7_nothing_is_told_unless_it_shall_be(autojump_clock: MockClock) -> None:
    async with hosts(server=(SERVER, SECOND), server_settings=MULTIHOMED) as world:
        near, far = await world.sessions()
        await say(near, far, bytes(100_000))
        assert {path.remote for path in near.paths} == {(SERVER, NUMBER)}


async def test_external_addresses_are_told_until_a_local_one_changes(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        outside = [(SERVER, NUMBER), ("198.51.100.200", 4711)]
        world.server.advertise(outside)
        await trio.sleep(0.1)
        assert [path.remote for path in near.paths] == outside
        world.server_host.add(SERVER_ELSEWHERE)
        world.server_host.remove(SERVER)
        await trio.sleep(1)
        assert near.remote_address == (SERVER_ELSEWHERE, NUMBER)
        await say(near, far)


async def test_multihoming_needs_all_addresses() -> None:
    with pytest.raises(ValueError, match="bound to one address"):
        async with open_fsp_endpoint("127.0.0.1", 0, settings=MULTIHOMED):
            pass
    async with SimulatedNetwork() as network:
        with pytest.raises(ValueError, match="bound to one address"):
            async with open_fsp_endpoint(transport=network.port("a"), settings=MULTIHOMED):
                pass


async def test_statistics_are_of_all_ports_together(autojump_clock: MockClock) -> None:
    async with hosts() as world:
        near, far = await world.sessions()
        await trio.sleep(1)
        for old, new in ((CLIENT, ELSEWHERE), (ELSEWHERE, SECOND), (SECOND, CLIENT)):
            world.client_host.add(new)
            world.client_host.remove(old)
            await trio.sleep(1)
            await say(near, far, bytes(10_000))
        near.reset()
        far.reset()
        await trio.sleep(1)
        client, server = world.client.statistics().port, world.server.statistics().port
        assert client.datagrams_sent == server.datagrams_received
        assert client.datagrams_received == server.datagrams_sent
        assert client.octets_sent == server.octets_received


async def test_nothing_is_left_when_the_endpoint_closes(autojump_clock: MockClock) -> None:
    async with hosts((CLIENT, SECOND), settings=MULTIHOMED) as world:
        await world.sessions()
        assert len(world.client._roaming.gates) == 2
    assert world.client._roaming.gates == []
    world.client_host.port()  # can be opened again
