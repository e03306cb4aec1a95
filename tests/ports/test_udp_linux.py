"""The UDP port where Linux has more to offer, and where it refuses what it seemed to offer."""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio

from fsp_trio.ports import UDPPort
from fsp_trio.ports import _offload as offload
from fsp_trio.ports.udp import REFUSALS_BEFORE_GIVING_UP

pytestmark = pytest.mark.realnet

ALL = offload.Features(True, True, True, True, True)
DATAGRAMS = [bytes([index]) * 1056 for index in range(10)]


class FaultySocket(socket.socket):
    """A socket whose calls fail in the order given; 0 lets one through. Options may be refused for good."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.faults: dict[str, deque[int]] = {}
        self.refused_options: set[int] = set()
        self.largest_buffer = 1 << 30
        self.arrival_flags = 0
        self.bind(("127.0.0.1", 0))

    def fail(self, call: str, *numbers: int) -> None:
        self.faults.setdefault(call, deque()).extend(numbers)

    def _fault(self, call: str) -> None:
        faults = self.faults.get(call)
        if faults:
            number = faults.popleft()
            if number:
                raise OSError(number, "by order of the test")

    def sendmsg(self, *args: Any) -> int:
        self._fault("sendmsg")
        return super().sendmsg(*args)

    def sendto(self, *args: Any) -> int:
        self._fault("sendto")
        return super().sendto(*args)

    def recvmsg(self, *args: Any) -> Any:
        self._fault("recvmsg")
        data, control, flags, source = super().recvmsg(*args)
        return data, control, flags | self.arrival_flags, source

    def recvmsg_into(self, *args: Any) -> Any:
        self._fault("recvmsg_into")
        octets, control, flags, source = super().recvmsg_into(*args)
        return octets, control, flags | self.arrival_flags, source

    def setsockopt(self, *args: Any) -> None:
        if args[1] in self.refused_options:
            raise OSError(errno.ENOPROTOOPT, "by order of the test")
        if args[1] in (socket.SO_SNDBUF, socket.SO_RCVBUF) and args[2] > self.largest_buffer:
            raise OSError(errno.ENOBUFS, "by order of the test")
        super().setsockopt(*args)

    def getsockopt(self, *args: Any) -> Any:
        if args[1] in self.refused_options:
            raise OSError(errno.ENOPROTOOPT, "by order of the test")
        return super().getsockopt(*args)


@pytest.fixture
def sock() -> Iterator[FaultySocket]:
    with FaultySocket() as sock:
        yield sock


@pytest.fixture
async def peer() -> AsyncIterator[UDPPort]:
    """Where the datagrams shall arrive."""
    port = UDPPort(FaultySocket(), features=ALL)
    yield port
    port.close()


def segmenting(port: UDPPort) -> bool:
    return port.statistics.segmentation_offload


def omitting(port: UDPPort) -> bool:
    return port.statistics.checksum_omitted


async def arrived(port: UDPPort) -> list[bytes]:
    """All that has arrived, after a moment for the loopback interface."""
    found: list[bytes] = []
    with trio.move_on_after(0.05):
        while True:
            await port.wait_readable()
            found += [datagram for batch in port.receive() for datagram in batch.datagrams]
    return found


async def test_one_call_carries_many_datagrams(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=ALL)
    many = [bytes([index]) * 1056 for index in range(122)]
    assert port.send(peer.local_address, many) == 122
    assert await arrived(peer) == many
    assert port.statistics.send_calls == 2
    assert port.statistics.segmentation_offload
    assert peer.statistics.receive_offload
    assert peer.statistics.receive_calls <= 3
    port.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP])
async def test_a_device_without_offload_switches_it_off(sock: FaultySocket, peer: UDPPort, number: int) -> None:
    port = UDPPort(sock, features=ALL)
    assert not omitting(port)
    sock.fail("sendmsg", 0, number)
    many = DATAGRAMS * 13
    assert port.send(peer.local_address, many) == 130
    assert await arrived(peer) == many
    assert not segmenting(port)
    assert port.statistics.segmentation_refusals == 1
    assert port.statistics.datagrams_sent == 130
    assert port.statistics.send_calls == 2 + 130 - 61
    # With the offload gone there is nothing left that speaks against the draft's default. (G19)
    assert omitting(port)
    port.close()


async def test_repeated_refusals_switch_it_off(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=ALL)
    refusals = [errno.EINVAL] * (REFUSALS_BEFORE_GIVING_UP - 1)
    sock.fail("sendmsg", *refusals, 0, *refusals)
    for _ in range(2 * REFUSALS_BEFORE_GIVING_UP - 1):
        assert port.send(peer.local_address, DATAGRAMS[:2]) == 2
    assert segmenting(port)
    sock.fail("sendmsg", *refusals, errno.EINVAL)
    for _ in range(REFUSALS_BEFORE_GIVING_UP):
        assert port.send(peer.local_address, DATAGRAMS[:2]) == 2
    assert not segmenting(port)
    assert len(await arrived(peer)) == 2 * (3 * REFUSALS_BEFORE_GIVING_UP - 1)
    port.close()


async def test_a_path_with_a_small_mtu_does_not(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=ALL)
    sock.fail("sendmsg", *[errno.EMSGSIZE] * (2 * REFUSALS_BEFORE_GIVING_UP))
    for _ in range(2 * REFUSALS_BEFORE_GIVING_UP):
        assert port.send(peer.local_address, DATAGRAMS[:2]) == 2
    assert port.statistics.segmentation_offload
    assert port.statistics.segmentation_refusals == 2 * REFUSALS_BEFORE_GIVING_UP
    assert len(await arrived(peer)) == 4 * REFUSALS_BEFORE_GIVING_UP
    port.close()


async def test_an_impossible_address_does_not(sock: FaultySocket) -> None:
    port = UDPPort(sock, features=ALL)
    for _ in range(2 * REFUSALS_BEFORE_GIVING_UP):
        assert port.send(("127.0.0.1", 0), DATAGRAMS[:2]) == 2
    assert port.statistics.segmentation_offload
    assert port.statistics.datagrams_sent == 0
    assert port.statistics.send_errors == {"EINVAL": 4 * REFUSALS_BEFORE_GIVING_UP}
    port.close()


async def test_without_the_option_there_is_no_offload(sock: FaultySocket, peer: UDPPort) -> None:
    sock.refused_options = {offload.UDP_SEGMENT, offload.UDP_GRO, offload.IP_RECVTOS, offload.SO_RXQ_OVFL}
    port = UDPPort(sock, features=ALL)
    assert not port.statistics.segmentation_offload
    assert not port.statistics.receive_offload
    assert not port.statistics.congestion_notification
    assert port.statistics.checksum_omitted
    assert port.send(peer.local_address, DATAGRAMS) == len(DATAGRAMS)
    assert await arrived(peer) == DATAGRAMS
    assert peer.send(port.local_address, DATAGRAMS) == len(DATAGRAMS)
    assert await arrived(port) == DATAGRAMS
    port.close()


async def test_offload_without_its_neighbours(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=offload.Features(True, True, False, False, False))
    peer.send(port.local_address, [b"single"])
    peer.send(port.local_address, DATAGRAMS)
    assert await arrived(port) == [b"single", *DATAGRAMS]
    assert port.statistics.receive_offload
    port.close()


async def test_a_full_buffer_takes_fewer(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=ALL)
    sock.fail("sendmsg", 0, errno.EAGAIN)
    assert port.send(peer.local_address, DATAGRAMS * 13) == 61
    sock.fail("sendmsg", errno.EMSGSIZE)
    sock.fail("sendto", 0, 0, errno.EAGAIN)
    assert port.send(peer.local_address, DATAGRAMS) == 2
    sock.fail("sendto", 0, 0, errno.EAGAIN)
    assert port.send(peer.local_address, [b"short", b"longer", b"longest"]) == 2
    assert port.statistics.send_errors == {}
    assert port.statistics.datagrams_sent == len(await arrived(peer)) == 65
    port.close()


async def test_a_full_buffer_without_offload(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=offload.PLAIN)
    sock.fail("sendto", 0, 0, 0, errno.EAGAIN)
    assert port.send(peer.local_address, DATAGRAMS) == 3
    assert port.statistics.datagrams_sent == 3
    assert port.statistics.octets_sent == 3 * 1056
    port.close()


@pytest.mark.parametrize("features", [ALL, offload.PLAIN], ids=["offload", "plain"])
@pytest.mark.parametrize("name", ["ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "EPERM", "ENOBUFS"])
async def test_errors_are_counted_and_not_raised(
    sock: FaultySocket, peer: UDPPort, name: str, features: offload.Features
) -> None:
    port = UDPPort(sock, features=features)
    number = getattr(errno, name)
    sock.fail("sendmsg", number)
    sock.fail("sendto", *[number] * len(DATAGRAMS))
    assert port.send(peer.local_address, DATAGRAMS) == len(DATAGRAMS)
    assert port.statistics.send_errors == {name: len(DATAGRAMS)}
    assert port.statistics.datagrams_sent == port.statistics.octets_sent == 0
    assert await arrived(peer) == []
    port.close()


@pytest.mark.parametrize("coalescing", [True, False])
async def test_errors_of_receiving_are_counted_and_not_raised(
    sock: FaultySocket, peer: UDPPort, coalescing: bool
) -> None:
    port = UDPPort(sock, features=offload.Features(False, coalescing, False, True, False))
    sock.fail("recvmsg_into" if coalescing else "recvmsg", errno.ECONNREFUSED, 0, errno.EHOSTUNREACH)
    peer.send(port.local_address, [b"a", b"bcd"])
    assert await arrived(port) == [b"a", b"bcd"]
    assert port.statistics.receive_errors == {"ECONNREFUSED": 1, "EHOSTUNREACH": 1}
    port.close()


@pytest.mark.parametrize("coalescing", [True, False])
@pytest.mark.parametrize("flag", [socket.MSG_TRUNC, socket.MSG_CTRUNC])
async def test_what_was_cut_short_is_dropped(sock: FaultySocket, peer: UDPPort, flag: int, coalescing: bool) -> None:
    port = UDPPort(sock, features=offload.Features(False, coalescing, False, True, False))
    peer.send(port.local_address, [b"a"])
    sock.arrival_flags = flag
    assert await arrived(port) == []
    sock.arrival_flags = 0
    peer.send(port.local_address, [b"b"])
    assert await arrived(port) == [b"b"]
    assert port.statistics.receive_errors == {"truncated": 1}
    assert port.statistics.datagrams_received == 1
    port.close()


@pytest.mark.parametrize("features", [ALL, offload.Features(False, False, True, True, False)])
async def test_marks_of_congestion(sock: FaultySocket, features: offload.Features) -> None:
    port = UDPPort(sock, features=features)
    with FaultySocket() as other:
        other.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        port.send(other.getsockname(), [b"x"])
        _, control, _, _ = other.recvmsg(100, 100)
        assert control == [(socket.IPPROTO_IP, socket.IP_TOS, bytes([offload.ECT_0]))]
        for mark, congested in ((0, False), (1, False), (2, False), (3, True), (0xB8 | 3, True)):
            other.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, mark)
            other.sendto(b"x", port.local_address)
            with trio.fail_after(1):
                await port.wait_readable()
            assert [batch.congested for batch in port.receive()] == [congested]
    assert port.statistics.congestion_marks == 2
    port.close()


def omits(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(offload.SOL_SOCKET, offload.SO_NO_CHECK))


@pytest.mark.parametrize(
    ("udp_checksum", "segmentation", "omitted"),
    [
        (None, True, False),
        (None, False, True),
        (True, True, False),
        (True, False, False),
        (False, True, True),
        (False, False, True),
    ],
)
async def test_the_udp_checksum(
    sock: FaultySocket, peer: UDPPort, udp_checksum: bool | None, segmentation: bool, omitted: bool
) -> None:
    features = offload.Features(segmentation, True, True, True, True)
    port = UDPPort(sock, features=features, udp_checksum=udp_checksum)
    assert port.statistics.checksum_omitted == omitted
    assert port.statistics.segmentation_offload == (segmentation and not omitted)
    for preliminary in (True, False, True, True, False, False):
        assert port.send(peer.local_address, DATAGRAMS, preliminary=preliminary) == len(DATAGRAMS)
        assert omits(sock) == (omitted and not preliminary)
        assert await arrived(peer) == DATAGRAMS
    port.close()


async def test_where_the_checksum_cannot_be_omitted(sock: FaultySocket, peer: UDPPort) -> None:
    sock.refused_options = {offload.SO_NO_CHECK}
    port = UDPPort(sock, features=ALL, udp_checksum=False)
    assert not port.statistics.checksum_omitted
    assert port.send(peer.local_address, DATAGRAMS) == len(DATAGRAMS)
    assert await arrived(peer) == DATAGRAMS
    port.close()


async def test_where_the_checksum_can_be_omitted_no_longer(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=ALL, udp_checksum=False)
    assert omitting(port)
    sock.refused_options = {offload.SO_NO_CHECK}
    assert port.send(peer.local_address, DATAGRAMS) == len(DATAGRAMS)
    assert not omitting(port)
    assert await arrived(peer) == DATAGRAMS
    port.close()


async def test_drops_by_the_system_are_counted(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=ALL, receive_buffer=8_192)
    for _ in range(50):
        peer.send(port.local_address, [bytes(2_000)])
    received = len(await arrived(port))
    peer.send(port.local_address, [b"the count comes with the next one"])
    received += len(await arrived(port))
    assert 1 < received < 51
    assert port.statistics.kernel_drops == 51 - received
    port.close()


async def test_a_system_that_refuses_large_buffers(sock: FaultySocket) -> None:
    sock.largest_buffer = 100_000
    port = UDPPort(sock, send_buffer=1 << 20, receive_buffer=4 << 20)
    assert port.statistics.send_buffer >= 1 << 16
    assert port.statistics.receive_buffer >= 1 << 16
    port.close()


async def test_a_system_that_refuses_any_buffer(sock: FaultySocket) -> None:
    sock.largest_buffer = 0
    default = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    port = UDPPort(sock, send_buffer=1 << 20, receive_buffer=1)
    assert port.statistics.send_buffer == default
    port.close()


async def test_control_messages_nobody_asked_for_are_passed_over(sock: FaultySocket, peer: UDPPort) -> None:
    port = UDPPort(sock, features=ALL)
    sock.setsockopt(socket.SOL_SOCKET, 29, 1)  # SO_TIMESTAMP
    sock.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    peer.send(port.local_address, DATAGRAMS)
    assert await arrived(port) == DATAGRAMS
    assert port.statistics.kernel_drops == 0
    port.close()


def test_the_control_message_of_a_segmented_send() -> None:
    assert offload.segment_control(1056) == [(17, 103, struct.pack("=H", 1056))]
