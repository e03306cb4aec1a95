"""BLAKE2b over whole packets (gao-07 8.1.2, 7.4, G8)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.integrity import MacProtection, Protection, mac_schedule

from .independent import blake2b
from .known import KNOWN, unhex

IDS = bytes.fromhex("a1a2a3a4b1b2b3b4")
HEAD = bytes.fromhex("0900001840000040010203080000abcd")
IKM = b"correct horse battery staple"


@pytest.mark.parametrize("case", KNOWN["mac"])
def test_known_keys(case: dict[str, Any]) -> None:
    assert mac_schedule(unhex(case["ikm"])).hex() == case["key"]


@pytest.mark.parametrize("case", KNOWN["mac_packets"])
def test_known_packets(case: dict[str, Any]) -> None:
    """Packets of the reference; its op codes differ, and the MAC does not care."""
    protection = MacProtection(unhex(case["ikm"]))
    ids, head, body = unhex(case["ids"]), unhex(case["head"]), unhex(case["body"])
    datagram = protection.seal(ids, head, body)
    assert datagram == ids + head + unhex(case["icc"]) + body
    assert protection.open(datagram) == body


def test_key_of_any_length() -> None:
    for length in (1, 63, 64, 65, 127, 128, 129, 300):
        ikm = bytes(range(256))[:length] if length <= 256 else bytes(length)
        assert mac_schedule(ikm) == blake2b(ikm, 64)


def test_no_key_material() -> None:
    with pytest.raises(ValueError, match="no key material"):
        MacProtection(b"")


@settings(max_examples=60, deadline=None)
@given(
    st.binary(min_size=1, max_size=80),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=300),
    st.booleans(),
)
def test_agrees_with_the_slow_hash(ikm: bytes, ids: bytes, head: bytes, body: bytes, out_of_band: bool) -> None:
    protection: Protection = MacProtection(ikm)
    icc = blake2b(head + ids + body, 8, key=blake2b(ikm, 64))
    datagram = protection.seal(ids, head, body, out_of_band)
    assert datagram == ids + head + icc + body
    assert protection.open(datagram, out_of_band) == body


def test_icc_is_no_cut_of_a_longer_hash() -> None:
    datagram = MacProtection(IKM).seal(IDS, HEAD, b"body")
    assert datagram[24:32] != blake2b(HEAD + IDS + b"body", 64, key=mac_schedule(IKM))[:8]


@pytest.mark.parametrize("body", [b"", b"x", bytes(40)])
def test_every_flipped_bit_is_noticed(body: bytes) -> None:
    protection = MacProtection(IKM)
    datagram = protection.seal(IDS, HEAD, body)
    for bit in range(8 * len(datagram)):
        forged = bytearray(datagram)
        forged[bit // 8] ^= 0x80 >> bit % 8
        assert protection.open(bytes(forged)) is None, bit


def test_shortened_lengthened_and_reflected() -> None:
    protection = MacProtection(IKM)
    datagram = protection.seal(IDS, HEAD, b"0123456789")
    assert protection.open(datagram) == b"0123456789"
    assert protection.open(datagram[:-1]) is None
    assert protection.open(datagram + b"\0") is None
    assert protection.open(datagram[4:8] + datagram[:4] + datagram[8:]) is None
    assert MacProtection(IKM + b"\0").open(datagram) is None


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=200), st.booleans())
def test_opening_any_datagram(datagram: bytes, out_of_band: bool) -> None:
    assert MacProtection(IKM).open(datagram, out_of_band) is None
