"""Several UDP ports of one endpoint, each at a local address of its own; the addresses of this host."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import AsyncIterator
from types import SimpleNamespace

import psutil
import pytest
import trio

from fsp_trio.ports import Batch, RovingPort, UDPPort, _host, _offload, open_udp_port, udp
from fsp_trio.ports._host import HostWatch, addresses_up, source_of_route

pytestmark = pytest.mark.realnet

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have only one loopback address")


@pytest.fixture
async def wildcard() -> AsyncIterator[UDPPort]:
    port = await open_udp_port("0.0.0.0", 0)
    yield port
    port.close()


async def arrivals(port: UDPPort) -> list[Batch]:
    with trio.fail_after(5):
        await port.wait_readable()
    return port.receive()


def number_of(port: UDPPort) -> int:
    return port.local_address[1]  # type: ignore[index, no-any-return]


def test_it_is_a_roving_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert isinstance(UDPPort(sock), RovingPort)


async def test_bound_or_not(wildcard: UDPPort) -> None:
    bound = await open_udp_port("127.0.0.1", 0)
    assert bound.bound_address == bound.local_address
    assert wildcard.bound_address is None
    assert wildcard.local_address_towards(("127.0.0.1", 9)) == ("127.0.0.1", number_of(wildcard))
    assert bound.source_towards(("127.0.0.1", 9)) == bound.local_address
    bound.close()


@linux
async def test_a_sibling_gets_what_comes_to_its_address_and_says_so(wildcard: UDPPort) -> None:
    sibling = wildcard.sibling("127.0.0.2")
    number = number_of(wildcard)
    assert sibling.local_address == ("127.0.0.2", number)
    other = await open_udp_port("127.0.0.1", 0)
    other.send(("127.0.0.2", number), [b"to the second"])
    other.send(("127.0.0.1", number), [b"to the first"])
    assert await arrivals(sibling) == [Batch(other.local_address, [b"to the second"], False, ("127.0.0.2", number))]
    assert await arrivals(wildcard) == [Batch(other.local_address, [b"to the first"], False, None)]
    sibling.send(other.local_address, [b"from the second"])
    assert await arrivals(other) == [Batch(("127.0.0.2", number), [b"from the second"], False)]
    sibling.close()
    other.send(("127.0.0.2", number), [b"now the wildcard has it again"])
    assert (await arrivals(wildcard))[0].datagrams == [b"now the wildcard has it again"]
    other.close()


@linux
async def test_a_sibling_has_the_offload_of_its_port(wildcard: UDPPort) -> None:
    sibling = wildcard.sibling(("127.0.0.2", 1))
    assert sibling.statistics.segmentation_offload == wildcard.statistics.segmentation_offload
    assert sibling.statistics.receive_offload == wildcard.statistics.receive_offload
    other = await open_udp_port("127.0.0.1", 0)
    datagrams = [bytes([number]) * 1000 for number in range(100)]
    assert sibling.send(other.local_address, datagrams) == 100
    received: list[bytes] = []
    while len(received) < 100:
        received += [each for batch in await arrivals(other) for each in batch.datagrams]
    assert received == datagrams
    if sibling.statistics.segmentation_offload:
        assert sibling.statistics.send_calls == 2
    sibling.close()
    other.close()


@linux
async def test_nobody_else_gets_the_port_number(wildcard: UDPPort) -> None:
    sibling = wildcard.sibling("127.0.0.2")
    for host in ("127.0.0.2", "127.0.0.3", "0.0.0.0"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                stranger.bind((host, number_of(wildcard)))
    sibling.close()


@linux
async def test_where_the_number_is_taken_another_one_does() -> None:
    bound = await open_udp_port("127.0.0.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.2", number_of(bound)))
        sibling = bound.sibling("127.0.0.2")
        assert sibling.local_address[0] == "127.0.0.2"  # type: ignore[index]
        assert number_of(sibling) != number_of(bound)
        sibling.close()
    bound.close()


async def test_an_address_of_others_is_refused(wildcard: UDPPort) -> None:
    with pytest.raises(OSError, match="address") as raised:
        wildcard.sibling("192.0.2.123")
    assert raised.value.errno == errno.EADDRNOTAVAIL


async def test_the_addresses_of_this_host(wildcard: UDPPort) -> None:
    assert "127.0.0.1" in addresses_up()
    assert wildcard.addresses() == tuple((host, number_of(wildcard)) for host in addresses_up())
    assert source_of_route("127.0.0.1", 9) == "127.0.0.1"
    assert source_of_route("255.255.255.255", 9) is None


@linux
def test_an_address_may_have_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells the label, "eth0:1", instead of the name of the interface."""
    address = SimpleNamespace(family=socket.AF_INET, address="192.0.2.1")
    up = {"eth0": SimpleNamespace(isup=True), "eth1": SimpleNamespace(isup=False)}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0:1": [address]})
    monkeypatch.setattr(psutil, "net_if_stats", lambda: up)
    assert addresses_up() == {"192.0.2.1": "eth0"}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth1:1": [address]})
    assert addresses_up() == {}


@linux
async def test_a_sibling_leaves_by_the_interface_that_has_its_address_now(
    wildcard: UDPPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address may go over from one to another, as when a bridge is made."""
    found = {"127.0.0.2": "lo"}
    chosen = []

    def enable(sock: socket.socket, level: int, option: int, value: int) -> bool:
        if option == _offload.IP_UNICAST_IF:
            chosen.append(socket.ntohl(value))
        return True

    sibling = wildcard.sibling("127.0.0.2")
    monkeypatch.setattr(udp, "addresses_up", lambda: dict(found))
    monkeypatch.setattr(udp, "_enable", enable)
    monkeypatch.setattr(socket, "if_nametoindex", lambda name: {"lo": 1, "br0": 7}[name])
    sibling.choose_interface()
    found["127.0.0.2"] = "br0"
    sibling.choose_interface()
    del found["127.0.0.2"]
    sibling.choose_interface()
    sibling.close()
    found["127.0.0.2"] = "lo"
    sibling.choose_interface()
    assert chosen == [1, 7]


async def test_waiting_for_changes_ends_with_the_port() -> None:
    port = await open_udp_port("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await port.wait_addresses()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        port.close()
    with pytest.raises(trio.ClosedResourceError):
        await port.wait_addresses()


async def test_waiting_for_changes_can_be_cancelled_and_repeated(wildcard: UDPPort) -> None:
    for _ in range(2):
        with trio.move_on_after(0.01) as scope:
            await wildcard.wait_addresses()
        assert scope.cancelled_caught


async def test_where_the_system_does_not_tell_somebody_looks(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    found = {"127.0.0.1": "lo"}
    monkeypatch.setattr(_host, "_open_bell", lambda: None)
    monkeypatch.setattr(_host, "addresses_up", lambda: dict(found))
    watch = HostWatch()
    async with trio.open_nursery() as nursery:

        async def change() -> None:
            await trio.sleep(11)
            found["192.0.2.1"] = "eth0"

        nursery.start_soon(change)
        start = trio.current_time()
        await watch.changed()
        assert trio.current_time() - start == pytest.approx(12)
    watch.close()


@linux
async def test_a_bell_that_overflowed_rings_too() -> None:
    watch = HostWatch()
    bell = watch._socket
    if bell is None:
        pytest.skip("no netlink here")
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    class Overflowed:
        def __init__(self) -> None:
            self.calls = 0

        def fileno(self) -> int:
            return near.fileno()

        def recv(self, size: int) -> bytes:
            self.calls += 1
            if self.calls == 1:
                raise OSError(errno.ENOBUFS, "overflow")
            raise BlockingIOError

    overflowed = Overflowed()
    watch._socket = overflowed  # type: ignore[assignment]
    far.send(b"x")
    with trio.fail_after(5):
        await watch.changed()
    assert overflowed.calls == 2
    bell.close()
    near.close()
    far.close()


def test_a_system_that_refuses_the_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> socket.socket:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", refuse)
        assert _host._open_bell() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert _host._open_bell() is None
