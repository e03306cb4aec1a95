"""CRC64 over whole packets (gao-07 8.1.1, G9)."""

from __future__ import annotations

import pytest
from fastcrc.crc64 import ecma_182
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.integrity import Crc64Protection, Protection

from .independent import crc64
from .known import KNOWN, unhex

INITIATOR = bytes.fromhex("a1a2a3a4")
RESPONDER = bytes.fromhex("b1b2b3b4")
CHECK_CODE = bytes.fromhex("1011121314151617")
COOKIE = bytes.fromhex("c0c1c2c3c4c5c6c7")
SALT = bytes.fromhex("5a17c0de")
TIME_DELTA = bytes.fromhex("0000012c")
TIMESTAMP = bytes.fromhex("0005ce7a1b2c3d4e")
HEAD = bytes.fromhex("0400001880000040fffffffe01020304")


def pair(initiator: bytes = INITIATOR, responder: bytes = RESPONDER) -> tuple[Protection, Protection]:
    fields = (CHECK_CODE, COOKIE, SALT, TIME_DELTA, TIMESTAMP)
    return (
        Crc64Protection(initiator, responder, *fields),
        Crc64Protection(responder, initiator, *fields),
    )


def expected_icc(source: bytes, destination: bytes, head: bytes, body: bytes) -> bytes:
    """The steps of 8.1.1 one by one, bit by bit."""
    value = int.from_bytes(source, "big") << 32 | int.from_bytes(destination, "big")
    value = crc64(CHECK_CODE, value)
    value = crc64(COOKIE, value)
    value = crc64(SALT + TIME_DELTA, value)
    value = crc64(TIMESTAMP, value)
    return crc64(head + value.to_bytes(8, "big") + body).to_bytes(8, "big")


def test_check_value() -> None:
    assert ecma_182(b"123456789") == 0x6C40DF5F0B497347


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.binary(max_size=100), st.booleans())
def test_agrees_with_the_slow_crc(head: bytes, body: bytes, out_of_band: bool) -> None:
    initiator, responder = pair()
    for sender, receiver, ids in (
        (initiator, responder, (INITIATOR, RESPONDER)),
        (responder, initiator, (RESPONDER, INITIATOR)),
    ):
        datagram = sender.seal(b"".join(ids), head, body, out_of_band)
        assert datagram == b"".join(ids) + head + expected_icc(*ids, head, body) + body
        assert receiver.open(datagram, out_of_band) == body


def test_whole_packet_by_hand() -> None:
    initiator, responder = pair()
    datagram = responder.seal(RESPONDER + INITIATOR, HEAD, b"welcome")
    assert datagram[:24] == RESPONDER + INITIATOR + HEAD
    assert datagram[24:32] == expected_icc(RESPONDER, INITIATOR, HEAD, b"welcome")
    assert datagram[32:] == b"welcome"
    assert initiator.open(datagram) == b"welcome"
    assert responder.open(datagram) is None  # the directions have different start values


@pytest.mark.parametrize("body", [b"", b"x", bytes(40)])
def test_every_flipped_bit_is_noticed(body: bytes) -> None:
    """From the fixed header on; the ULTIDs in front have no part in the sum."""
    initiator, responder = pair()
    datagram = initiator.seal(INITIATOR + RESPONDER, HEAD, body)
    for bit in range(64, 8 * len(datagram)):
        changed = bytearray(datagram)
        changed[bit // 8] ^= 0x80 >> bit % 8
        assert responder.open(bytes(changed)) is None, bit


@pytest.mark.parametrize("field", range(7))
def test_every_field_of_the_handshake_counts(field: int) -> None:
    fields = [RESPONDER, INITIATOR, CHECK_CODE, COOKIE, SALT, TIME_DELTA, TIMESTAMP]
    datagram = Crc64Protection(*fields).seal(RESPONDER + INITIATOR, HEAD, b"x")
    receiving = [INITIATOR, RESPONDER, *fields[2:]]
    assert Crc64Protection(*receiving).open(datagram) == b"x"
    receiving[field] = receiving[field][:-1] + b"\x99"
    assert Crc64Protection(*receiving).open(datagram) is None


def test_known_start_values() -> None:
    """ULTIDs and sums with their octets reversed, for the reference counts from the other end."""
    known = KNOWN["crc64_start"]
    fields = unhex(known["params"])
    check_code, cookie, salt, time_delta, timestamp = (
        fields[a:b] for a, b in ((0, 8), (8, 16), (16, 20), (20, 24), (24, 32))
    )
    initiator, responder = unhex(known["initiator"])[::-1], unhex(known["responder"])[::-1]
    # reversing the pair of ULTIDs as a whole exchanges their places
    protection = Crc64Protection(responder, initiator, check_code, cookie, salt, time_delta, timestamp)
    for known_name, ids, packet in (
        ("initiator_sends", responder + initiator, protection.seal(bytes(8), HEAD, b"abc")),
        ("initiator_receives", initiator + responder, b""),
    ):
        start = unhex(known[known_name])[::-1]
        assert crc64(fields, int.from_bytes(ids, "big")).to_bytes(8, "big") == start
        if packet:
            assert packet[24:32] == crc64(HEAD + start + b"abc").to_bytes(8, "big")
        else:
            received = crc64(HEAD + start + b"abc").to_bytes(8, "big")
            assert protection.open(bytes(8) + HEAD + received + b"abc") == b"abc"


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=200), st.booleans())
def test_opening_any_datagram(datagram: bytes, out_of_band: bool) -> None:
    initiator, _ = pair()
    right = expected_icc(RESPONDER, INITIATOR, datagram[8:24], datagram[32:])
    assert initiator.open(datagram, out_of_band) == (datagram[32:] if datagram[24:32] == right else None)
