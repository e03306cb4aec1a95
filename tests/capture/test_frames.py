"""From the link to UDP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.capture.files import Frame
from fsp_trio.capture.frames import Datagram, Fragment, datagram_of

from .writing import CLIENT, ETHERNET, LINKS, SERVER, Sent, ip

PACKET = Sent(5, CLIENT, SERVER, b"some payload")
EXPECTED = Datagram(3, 5, "10.77.0.1:40000", "10.77.0.2:18003", (40000, 18003), b"some payload", False)


def frame(link_type: int, data: bytes, n: int = 3) -> Frame:
    return Frame(n, 5, link_type, data, len(data))


def ethernet(packet: bytes, kind: bytes = b"\x08\x00") -> Frame:
    return frame(ETHERNET, bytes(12) + kind + packet)


@pytest.mark.parametrize("link", LINKS)
def test_links(link: str) -> None:
    link_type, wrap = LINKS[link]
    assert datagram_of(frame(link_type, wrap(ip(PACKET)))) == EXPECTED


def test_options_of_ip() -> None:
    assert datagram_of(ethernet(ip(PACKET, options=bytes(8)))) == EXPECTED


def test_no_length_where_it_would_not_fit() -> None:
    octets = bytearray(ip(PACKET))
    octets[2:4] = bytes(2)
    octets[24:26] = bytes(2)
    assert datagram_of(ethernet(bytes(octets))) == EXPECTED


@pytest.mark.parametrize(("fragment", "first"), [(0x2000, True), (0x2001, False), (0x0010, False)])
def test_fragments(fragment: int, first: bool) -> None:
    assert datagram_of(ethernet(ip(PACKET, fragment=fragment))) == Fragment(3, first)


def test_do_not_fragment_is_no_fragment() -> None:
    assert datagram_of(ethernet(ip(PACKET, fragment=0x4000))) == EXPECTED


def test_cut_short() -> None:
    found = datagram_of(ethernet(ip(PACKET)[:-4]))
    assert isinstance(found, Datagram)
    assert (found.payload, found.cut) == (b"some pay", True)


@pytest.mark.parametrize(
    "other",
    [
        ethernet(ip(PACKET), b"\x08\x06"),
        ethernet(ip(PACKET), b"\x86\xdd"),
        ethernet(ip(PACKET, protocol=6)),
        ethernet(b"\x60" + ip(PACKET)[1:]),
        ethernet(b"\x44" + ip(PACKET)[1:]),
        ethernet(ip(PACKET)[:27]),
        ethernet(ip(PACKET)[:2] + b"\x00\x10" + ip(PACKET)[4:]),
        ethernet(ip(PACKET)[:24] + b"\x00\x07" + ip(PACKET)[26:]),
        ethernet(b""),
        frame(ETHERNET, b""),
        frame(ETHERNET, bytes(12) + b"\x81\x00\x00"),
        frame(0, b"\x1e\x00\x00\x00" + ip(PACKET)),
        frame(0, b"\x02\x00"),
        frame(147, ip(PACKET)),
    ],
    ids=str,
)
def test_other_traffic(other: Frame) -> None:
    assert datagram_of(other) is None


@given(st.sampled_from(list(LINKS)), st.data())
def test_any_octets(link: str, data: st.DataObject) -> None:
    link_type, wrap = LINKS[link]
    octets = bytearray(wrap(ip(PACKET)))
    for position, octet in data.draw(st.dictionaries(st.integers(0, len(octets) - 1), st.integers(0, 255))).items():
        octets[position] = octet
    end = data.draw(st.integers(0, len(octets)))
    datagram_of(frame(link_type, bytes(octets[:end])))
