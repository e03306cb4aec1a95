"""Packets drawn by hand after the figures of gao-07 section 4, octet by octet."""

from __future__ import annotations

import pytest

from fsp_trio.wire.packets import (
    AckInitConnect,
    ConnectRequest,
    InitConnect,
    Normal,
    Op,
    Packet,
    Reset,
    SinkParameter,
    Snack,
    UnknownExtension,
)

from .packet_values import CODEC

NO_PREFIX = bytes(8)
LISTENER = SinkParameter(bytes.fromhex("00000050"), (NO_PREFIX, NO_PREFIX, NO_PREFIX, NO_PREFIX))
# 6to4 prefix, 192.0.2.1, port 18003, all in network order (4.7, G3)
ADDRESSED = SinkParameter(
    bytes(4), (bytes.fromhex("2002c00002014653"), NO_PREFIX, NO_PREFIX, bytes.fromhex("20010db800000001")), 1
)
ICC = bytes.fromhex("e0e1e2e3e4e5e6e7")

PACKETS: dict[str, tuple[Packet, str]] = {
    "INIT_CONNECT": (  # 4.5.1
        InitConnect(bytes.fromhex("a1a2a3a4"), bytes.fromhex("0005ce7a1b2c3d4e"), bytes.fromhex("b1b2b3b4b5b6b7b8")),
        "01 00 0018  a1a2a3a4  0005ce7a1b2c3d4e  b1b2b3b4b5b6b7b8",
    ),
    "INIT_CONNECT with the responder's host name": (
        InitConnect(
            bytes.fromhex("a1a2a3a4"),
            bytes.fromhex("0005ce7a1b2c3d4e"),
            bytes.fromhex("b1b2b3b4b5b6b7b8"),
            "bücher.example".encode(),
        ),
        "01 00 0018  a1a2a3a4  0005ce7a1b2c3d4e  b1b2b3b4b5b6b7b8  62c3bc636865722e6578616d706c65",
    ),
    "ACK_INIT_CONNECT": (  # 4.5.2, 4.7; the Sink Parameter's Length is little-endian
        AckInitConnect(
            bytes.fromhex("0000012c"),
            bytes.fromhex("c1c2c3c4c5c6c7c8"),
            bytes.fromhex("b1b2b3b4b5b6b7b8"),
            LISTENER,
        ),
        "02 00 0040  0000012c  c1c2c3c4c5c6c7c8  b1b2b3b4b5b6b7b8"
        " 11 00 2800  00000050  0000000000000000 0000000000000000 0000000000000000 0000000000000000",
    ),
    "CONNECT_REQUEST": (  # 4.5.3
        ConnectRequest(
            bytes.fromhex("a1a2a3a4"),
            bytes.fromhex("0005ce7a1b2c3d4e"),
            bytes.fromhex("b1b2b3b4b5b6b7b8"),
            0x01020304,
            bytes.fromhex("0000012c"),
            bytes.fromhex("c1c2c3c4c5c6c7c8"),
            LISTENER,
            b"me",
        ),
        "03 00 0050  a1a2a3a4  0005ce7a1b2c3d4e  b1b2b3b4b5b6b7b8  01020304  0000012c  c1c2c3c4c5c6c7c8"
        " 11 00 2800  00000050  0000000000000000 0000000000000000 0000000000000000 0000000000000000  6d65",
    ),
    "ACK_CONNECT_REQ": (  # 4.6
        Normal(Op.ACK_CONNECT_REQ, 0x80, 0x000040, 0xFFFFFFFE, 0x01020304, ICC, (), b"welcome"),
        "04 00 0018  80 000040  fffffffe  01020304  e0e1e2e3e4e5e6e7  77656c636f6d65",
    ),
    "RESET in answer to INIT_CONNECT": (  # 4.9
        Reset(7, bytes.fromhex("0005ce7a1b2c3d4e"), bytes.fromhex("b1b2b3b4b5b6b7b8")),
        "05 00 0018  00000007  0005ce7a1b2c3d4e  b1b2b3b4b5b6b7b8",
    ),
    "RESET of an established connection": (  # sequence number 0x01020305, expected 0xfffffffe
        Reset(0x80000001, bytes.fromhex("01020305fffffffe"), ICC),
        "05 00 0018  80000001  01020305 fffffffe  e0e1e2e3e4e5e6e7",
    ),
    "NULCOMMIT": (
        Normal(Op.NULCOMMIT, 0x80, 4, 0x01020305, 0xFFFFFFFF, ICC),
        "06 00 0018  80 000004  01020305  ffffffff  e0e1e2e3e4e5e6e7",
    ),
    "NULCOMMIT with a Sink Parameter": (  # 10.6
        Normal(Op.NULCOMMIT, 0x80, 4, 0x01020305, 0xFFFFFFFF, ICC, (ADDRESSED,)),
        "06 00 0040  80 000004  01020305  ffffffff  e0e1e2e3e4e5e6e7"
        " 11 01 2800  00000000  2002c00002014653 0000000000000000 0000000000000000 20010db800000001",
    ),
    "KEEP_ALIVE": (  # 10.1: Sink Parameter and SNACK; 4.8: all of the SNACK is little-endian
        Normal(
            Op.KEEP_ALIVE,
            0x18,
            0x0FFFFF,
            0x01020306,
            9,
            ICC,
            (ADDRESSED, Snack(0xFFFFFFFD, 0xFFFFFFFC, 1_000_000, ((2, 3), (1, 0x01020304)))),
        ),
        "07 00 0060  18 0fffff  01020306  00000009  e0e1e2e3e4e5e6e7"
        " 11 01 2800  00000000  2002c00002014653 0000000000000000 0000000000000000 20010db800000001"
        " 12 00 2000  fdffffff  fcffffff  40420f00  02000000 03000000  01000000 04030201",
    ),
    "PERSIST": (
        Normal(Op.PERSIST, 0x20, 0x123456, 0x01020307, 0x7FFFFFFF, ICC, (), b"\x00"),
        "08 00 0018  20 123456  01020307  7fffffff  e0e1e2e3e4e5e6e7  00",
    ),
    "PURE_DATA": (
        Normal(Op.PURE_DATA, 0x40, 0, 0x01020308, 0x80000000, ICC, (), b"data"),
        "09 00 0018  40 000000  01020308  80000000  e0e1e2e3e4e5e6e7  64617461",
    ),
    "PURE_DATA without data": (  # M16
        Normal(Op.PURE_DATA, 0x00, 0, 0x01020308, 0x80000000, ICC),
        "09 00 0018  00 000000  01020308  80000000  e0e1e2e3e4e5e6e7",
    ),
    "ACK_FLUSH": (  # M4: a SNACK without gaps
        Normal(Op.ACK_FLUSH, 0, 64, 0x01020309, 2, ICC, (Snack(0x11223344, 0x11223343, 250),)),
        "0a 00 0028  00 000040  01020309  00000002  e0e1e2e3e4e5e6e7 12 00 1000  44332211  43332211  fa000000",
    ),
    "RELEASE": (
        Normal(Op.RELEASE, 0x80, 64, 0x0102030A, 0x11223344, ICC),
        "0b 00 0018  80 000040  0102030a  11223344  e0e1e2e3e4e5e6e7",
    ),
    "MULTIPLY": (  # 11.1, with an extension header that nobody knows
        Normal(
            Op.MULTIPLY,
            0x80,
            64,
            0x0102030B,
            3,
            ICC,
            (UnknownExtension(0x7F, 0x55, b"\x01\x02\x03\x04"),),
            b"\xff",
        ),
        "0c 00 0020  80 000040  0102030b  00000003  e0e1e2e3e4e5e6e7  7f 55 0800 01020304  ff",
    ),
}


@pytest.mark.parametrize("name", PACKETS)
def test_packet_as_drawn(name: str) -> None:
    packet, drawn = PACKETS[name]
    assert CODEC.encode(packet).hex() == drawn.replace(" ", "")
    assert CODEC.decode(bytes.fromhex(drawn)) == packet


def test_every_kind_of_packet_is_drawn() -> None:
    drawn = {CODEC.ops[bytes.fromhex(octets)[0]] for _, octets in PACKETS.values()}
    assert drawn == set(Op)


def test_parts_make_the_same_packet() -> None:
    """What seals packets without making values of them writes the same octets."""
    sink = SinkParameter(b"\x01\x02\x03\x04", (NO_PREFIX, NO_PREFIX, NO_PREFIX, b"12345678"))
    snack = Snack(1, 2, 3, ((4, 5),))
    whole = CODEC.encode(Normal(Op.KEEP_ALIVE, 0x10, 77, 100, 5, ICC, (sink, snack)))
    chain = CODEC.sink_parameter(sink) + CODEC.snack(snack)
    head = CODEC.head(CODEC.op_codes[Op.KEEP_ALIVE], 24 + len(chain), 0x10, 77, 100, 5)
    assert head + ICC + chain == whole
    assert CODEC.extensions(chain) == (sink, snack)
    assert CODEC.unpack_head(bytes(8) + whole, 8) == (7, 0, 88, 0x10 << 24 | 77, 100, 5)
