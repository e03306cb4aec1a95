"""The UDP port over the loopback interface, in what all platforms have in common."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
import trio
import trio.testing

from fsp_trio.ports import Batch, Port, UDPPort, open_udp_port
from fsp_trio.ports import _offload as offload
from fsp_trio.ports.udp import RECEIVE_CALLS, RECEIVE_OCTETS, errno_name

pytestmark = pytest.mark.realnet


def bound_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.fixture(params=["platform", "switched-off", "plain"])
async def ports(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[UDPPort, UDPPort]]:
    """Two ports that know each other, with all the platform has and with less."""
    if request.param == "plain":
        first, second = (UDPPort(bound_socket(), features=offload.PLAIN) for _ in range(2))
    else:
        if request.param == "switched-off":
            monkeypatch.setenv("FSP_TRIO_NO_OFFLOAD", "1")
        first, second = [await open_udp_port("127.0.0.1", 0) for _ in range(2)]
    if request.param != "platform":
        assert not first.statistics.segmentation_offload
        assert not first.statistics.receive_offload
    yield first, second
    first.close()
    second.close()


async def send_all(port: Port, remote: object, datagrams: Sequence[bytes]) -> None:
    taken = 0
    while taken < len(datagrams):
        await port.wait_writable()
        taken += port.send(remote, datagrams[taken:])


async def receive(port: Port, number: int) -> list[Batch]:
    batches: list[Batch] = []
    with trio.fail_after(5):
        while sum(len(batch.datagrams) for batch in batches) < number:
            await port.wait_readable()
            batches += port.receive()
    return batches


def datagrams_of(batches: list[Batch]) -> list[bytes]:
    return [datagram for batch in batches for datagram in batch.datagrams]


MIXTURES = {
    "one": [1056],
    "equal": [1056] * 30,
    "more than one call": [1056] * 130,
    "shorter last": [1056] * 5 + [40],
    "longer last": [1056] * 5 + [1057],
    "mixed": [24, 1056, 1056, 24, 24, 30, 1056, 500, 1400, 1400, 10],
    "small": [8] * 150,
    "large": [30_000, 30_000, 60_000, 65_400],
    "with empty ones": [0, 100, 100, 0, 0, 100],
}


@pytest.mark.parametrize("lengths", MIXTURES.values(), ids=MIXTURES.keys())
async def test_datagrams_arrive_as_they_were_sent(ports: tuple[UDPPort, UDPPort], lengths: list[int]) -> None:
    first, second = ports
    sent = [bytes([index % 256]) * length for index, length in enumerate(lengths)]
    await send_all(first, second.local_address, sent)
    batches = await receive(second, len(sent))
    assert datagrams_of(batches) == sent
    assert all(type(datagram) is bytes for datagram in datagrams_of(batches))
    assert {batch.source for batch in batches} == {first.local_address}
    assert not any(batch.congested for batch in batches)
    assert first.statistics.datagrams_sent == second.statistics.datagrams_received == len(sent)
    assert first.statistics.octets_sent == second.statistics.octets_received == sum(lengths)
    assert first.statistics.send_errors == {}
    assert second.statistics.receive_errors == {}
    assert second.receive() == []


async def test_neighbours_of_one_source_share_a_batch(ports: tuple[UDPPort, UDPPort]) -> None:
    first, second = ports
    first.send(second.local_address, [b"a"])
    first.send(second.local_address, [b"bb"])
    second.send(second.local_address, [b"c"])
    first.send(second.local_address, [b"d"])
    await trio.sleep(0.01)
    assert await receive(second, 4) == [
        Batch(first.local_address, [b"a", b"bb"], False),
        Batch(second.local_address, [b"c"], False),
        Batch(first.local_address, [b"d"], False),
    ]


async def test_one_receive_does_a_bounded_amount_of_work() -> None:
    first, second = (UDPPort(bound_socket(), features=offload.PLAIN) for _ in range(2))
    for _ in range(RECEIVE_CALLS + 10):
        first.send(second.local_address, [b"small"])
    assert len(datagrams_of(second.receive())) == RECEIVE_CALLS
    assert len(datagrams_of(second.receive())) == 10
    size = RECEIVE_OCTETS // 16
    for _ in range(20):
        first.send(second.local_address, [bytes(size)])
    assert len(datagrams_of(second.receive())) == 16
    assert len(datagrams_of(second.receive())) == 4
    first.close()
    second.close()


async def test_an_interruption_wakes_those_who_wait(ports: tuple[UDPPort, UDPPort]) -> None:
    first, second = ports
    first.interrupt()  # nobody waits
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.wait_readable)
        await trio.testing.wait_all_tasks_blocked()
        first.interrupt()
    assert first.receive() == []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.wait_readable)
        await trio.testing.wait_all_tasks_blocked()
        second.send(first.local_address, [b"afterwards"])
    assert datagrams_of(first.receive()) == [b"afterwards"]
    await first.wait_writable()
    first.close()
    first.interrupt()


async def test_closing_wakes_those_who_wait(ports: tuple[UDPPort, UDPPort]) -> None:
    first, second = ports

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await first.wait_readable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        first.close()
    first.close()
    for wait_for in (first.wait_readable, first.wait_writable):
        with pytest.raises(trio.ClosedResourceError):
            await wait_for()
    with pytest.raises(trio.ClosedResourceError):
        first.receive()
    with pytest.raises(trio.ClosedResourceError):
        first.send(second.local_address, [b"x"])


async def test_a_datagram_that_cannot_be_sent_counts_as_taken(ports: tuple[UDPPort, UDPPort]) -> None:
    first, second = ports
    assert first.send(second.local_address, [bytes(70_000), b"x"]) == 2
    assert await receive(second, 1) == [Batch(first.local_address, [b"x"], False)]
    assert sum(first.statistics.send_errors.values()) == 1
    assert first.statistics.datagrams_sent == 1


async def test_opening_a_port_in_use_fails_and_leaves_nothing_open() -> None:
    port = await open_udp_port("127.0.0.1", 0)
    address = port.local_address
    assert isinstance(address, tuple)
    with pytest.raises(OSError, match=r".") as caught:
        await open_udp_port("127.0.0.1", address[1])
    assert caught.value.errno == errno.EADDRINUSE
    port.close()
    again = await open_udp_port("127.0.0.1", address[1])
    assert again.local_address == address
    again.close()


async def test_buffers_are_asked_for_and_what_was_granted_is_reported() -> None:
    sock = bound_socket()
    port = UDPPort(sock, send_buffer=100_000, receive_buffer=50_000)
    assert port.statistics.send_buffer == sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 100_000
    assert port.statistics.receive_buffer == sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 50_000
    port.close()


def test_names_of_errors() -> None:
    assert errno_name(OSError(errno.ENETUNREACH, "")) == "ENETUNREACH"
    assert errno_name(OSError(99_999, "")) == "99999"
    assert errno_name(OSError("without a number")) == "OSError"
