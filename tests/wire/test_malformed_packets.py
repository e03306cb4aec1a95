"""What is refused, and under which name (G2, G16, G17, G18, M2a, M4, M52)."""

from __future__ import annotations

import dataclasses

import pytest

from fsp_trio.wire.errors import MalformedPacket
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

REST = "80000040 00000001 00000002 0000000000000000"  # EoT, window, numbers, ICC
SINK = "11 00 2800 00000050" + 4 * " 0000000000000000"
SNACK = "12 00 1000 01000000 00000000 00000000"
GAP = "12 00 1800 01000000 00000000 00000000 01000000 01000000"
FIELDS = "00000000 0000000000000000 0000000000000000"
MORE_FIELDS = FIELDS + " 00000000 00000000 0000000000000000"

MALFORMED = [
    ("nothing", "", "truncated"),
    ("23 octets", "09 00 0018 80000040 00000001 00000002 00000000000000", "truncated"),
    ("major 1", f"09 01 0018 {REST}", "major-version"),
    ("op code 0", f"00 00 0018 {REST}", "op-code"),
    ("op code 13", f"0d 00 0018 {REST}", "op-code"),
    ("a Sink Parameter is no packet", f"11 00 0018 {REST}", "op-code"),
    ("Offset 0", f"09 00 0000 {REST}", "offset"),
    ("Offset inside the fixed header", f"09 00 0010 {REST}", "offset"),
    ("Offset not a multiple of 8", f"08 00 001c {REST} 00000000 00", "offset"),
    ("Offset behind the packet", f"08 00 0020 {REST} 00000000000000", "offset"),
    ("PURE_DATA with an extension header", f"09 00 0028 {REST} {SNACK}", "extension-forbidden"),
    ("NULCOMMIT with payload", f"06 00 0018 {REST} 00", "payload-forbidden"),
    ("NULCOMMIT without EoT", "06 00 0018 7f000040 00000001 00000002 0000000000000000", "eot-missing"),
    ("PERSIST without payload", f"08 00 0018 {REST}", "payload-missing"),
    ("PERSIST with extension headers alone", f"08 00 0040 {REST} {SINK}", "payload-missing"),
    ("RELEASE with payload", f"0b 00 0018 {REST} 00", "payload-forbidden"),
    ("KEEP_ALIVE with payload", f"07 00 0028 {REST} {SNACK} 00", "payload-forbidden"),
    ("ACK_FLUSH with payload", f"0a 00 0028 {REST} {SNACK} 00", "payload-forbidden"),
    ("KEEP_ALIVE without SNACK", f"07 00 0040 {REST} {SINK}", "snack"),
    ("KEEP_ALIVE without anything", f"07 00 0018 {REST}", "snack"),
    ("ACK_FLUSH without SNACK", f"0a 00 0018 {REST}", "snack"),
    ("ACK_FLUSH with a gap", f"0a 00 0030 {REST} {GAP}", "snack"),
    ("RESET with payload", f"05 00 0018 {REST} 00", "payload-forbidden"),
    ("RESET with an extension header", f"05 00 0028 {REST} {SNACK}", "extension-forbidden"),
    ("Length 0", f"0b 00 0020 {REST} 77 00 0000 00000000", "extension-length"),
    ("Length 4", f"0b 00 0020 {REST} 77 00 0400 00000000", "extension-length"),
    (
        "Length not a multiple of 8",
        f"0b 00 0028 {REST} 77 00 0c00 000000000000000000000000",
        "extension-length",
    ),
    (
        "uneven Lengths that fill the chain",
        f"0b 00 0030 {REST} 77 00 0c00 {'00' * 8} 78 00 0c00 {'00' * 8}",
        "extension-length",
    ),
    ("Length beyond Offset", f"0c 00 0020 {REST} 77 00 1000 00000000 0000000000000000", "extension-length"),
    ("big-endian Length", f"0b 00 0020 {REST} 77 00 0008 00000000", "extension-length"),
    ("Sink Parameter of 32", f"0b 00 0038 {REST} 11 00 2000 {'00' * 28}", "extension-length"),
    ("Sink Parameter of 48", f"0b 00 0048 {REST} 11 00 3000 {'00' * 44}", "extension-length"),
    ("SNACK of 8", f"0b 00 0020 {REST} 12 00 0800 00000000", "extension-length"),
    ("SNACK twice", f"07 00 0038 {REST} {SNACK} {SNACK}", "extension-repeated"),
    ("Sink Parameter twice", f"0b 00 0068 {REST} {SINK} {SINK}", "extension-repeated"),
    (
        "unknown type twice",
        f"0b 00 0028 {REST} 77 00 0800 00000000 77 01 0800 00000001",
        "extension-repeated",
    ),
    ("INIT_CONNECT with an extension header", f"01 00 0040 {FIELDS} {SINK}", "extension-forbidden"),
    ("INIT_CONNECT of 20", f"01 00 0018 {FIELDS[:-8]}", "truncated"),
    ("host name not UTF-8", f"01 00 0018 {FIELDS} ff", "host-name"),
    ("host name cut in a character", f"01 00 0018 {FIELDS} 62c3", "host-name"),
    ("host name of 256", f"01 00 0018 {FIELDS} {'61' * 256}", "host-name"),
    ("ACK_INIT_CONNECT without Sink Parameter", f"02 00 0018 {FIELDS}", "offset"),
    ("ACK_INIT_CONNECT with Offset 24", f"02 00 0018 {FIELDS} {SINK}", "offset"),
    ("ACK_INIT_CONNECT with payload", f"02 00 0040 {FIELDS} {SINK} 00", "payload-forbidden"),
    (
        "ACK_INIT_CONNECT with one more",
        f"02 00 0048 {FIELDS} {SINK} 77 00 0800 00000000",
        "extension-forbidden",
    ),
    ("ACK_INIT_CONNECT with another type", f"02 00 0040 {FIELDS} 77 00 2800 {'00' * 36}", "sink-parameter"),
    (
        "ACK_INIT_CONNECT with two others",
        f"02 00 0040 {FIELDS} {GAP} 77 00 1000 {'00' * 12}",
        "sink-parameter",
    ),
    ("CONNECT_REQUEST without Sink Parameter", f"03 00 0028 {MORE_FIELDS}", "offset"),
    ("CONNECT_REQUEST of 32", f"03 00 0050 {MORE_FIELDS[:-16]}", "offset"),
    (
        "CONNECT_REQUEST with another type",
        f"03 00 0050 {MORE_FIELDS} 77 00 2800 {'00' * 36}",
        "sink-parameter",
    ),
    ("CONNECT_REQUEST with Length 0", f"03 00 0050 {MORE_FIELDS} 11 00 0000 {'00' * 36}", "extension-length"),
    ("CONNECT_REQUEST from a bad host", f"03 00 0050 {MORE_FIELDS} {SINK} c0", "host-name"),
]


@pytest.mark.parametrize(("octets", "reason"), [row[1:] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_malformed_packet(octets: str, reason: str) -> None:
    with pytest.raises(MalformedPacket) as caught:
        CODEC.decode(bytes.fromhex(octets))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "octets",
    [
        f"07 00 0028 {REST} {SNACK}",  # KEEP_ALIVE without addresses
        f"07 00 0050 {REST} {SNACK} {SINK}",  # any order (M2a)
        f"0a 00 0050 {REST} {SINK} {SNACK}",
        f"0a 00 0030 {REST} 77 00 0800 00000000 {SNACK}",  # an unknown type before it
        f"0b 00 0018 00{REST[2:]}",  # RELEASE without EoT is read as if it had it (M37)
        f"06 00 0018 ff{REST[2:]}",  # reserved flags (G6)
        f"04 00 0040 {REST} {SINK}",  # ACK_CONNECT_REQ without payload, with addresses (10.6)
        f"0c 00 0018 {REST}",  # MULTIPLY without payload
        f"01 00 0018 {FIELDS} {'61' * 255}",  # the longest host name
        f"01 00 0018 {FIELDS} 00",
    ],
)
def test_allowed_packet(octets: str) -> None:
    data = bytes.fromhex(octets)
    assert CODEC.encode(CODEC.decode(data)) == data


NORMAL = Normal(Op.MULTIPLY, 0, 0, 0, 0, bytes(8))
SINK_VALUE = SinkParameter(bytes(4), (bytes(8), bytes(8), bytes(8), bytes(8)))
INIT = InitConnect(bytes(4), bytes(8), bytes(8))
ACK_INIT = AckInitConnect(bytes(4), bytes(8), bytes(8), SINK_VALUE)
REQUEST = ConnectRequest(bytes(4), bytes(8), bytes(8), 0, bytes(4), bytes(8), SINK_VALUE)
UNKNOWN = UnknownExtension(99, 0, bytes(4))
UNEVEN = (UnknownExtension(99, 0, bytes(8)), UnknownExtension(98, 0, bytes(8)))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (dataclasses.replace(NORMAL, op=Op.RESET), "op-code"),
        (dataclasses.replace(NORMAL, op=Op.INIT_CONNECT), "op-code"),
        (dataclasses.replace(NORMAL, op=Op.NULCOMMIT), "eot-missing"),
        (dataclasses.replace(NORMAL, op=Op.PERSIST), "payload-missing"),
        (dataclasses.replace(NORMAL, op=Op.RELEASE, payload=b"x"), "payload-forbidden"),
        (dataclasses.replace(NORMAL, op=Op.KEEP_ALIVE), "snack"),
        (dataclasses.replace(NORMAL, op=Op.ACK_FLUSH, extensions=(Snack(0, 0, 0, ((1, 1),)),)), "snack"),
        (dataclasses.replace(NORMAL, op=Op.PURE_DATA, extensions=(SINK_VALUE,)), "extension-forbidden"),
        (dataclasses.replace(NORMAL, window=2**24), "field"),
        (dataclasses.replace(NORMAL, window=-1), "field"),
        (dataclasses.replace(NORMAL, flags=256), "field"),
        (dataclasses.replace(NORMAL, sn=2**32), "field"),
        (dataclasses.replace(NORMAL, expected=-1), "field"),
        (dataclasses.replace(NORMAL, icc=bytes(7)), "field"),
        (dataclasses.replace(NORMAL, extensions=(UNKNOWN, UNKNOWN)), "extension-repeated"),
        (dataclasses.replace(NORMAL, extensions=(UnknownExtension(99, 0, bytes(5)),)), "offset"),
        (dataclasses.replace(NORMAL, extensions=(UnknownExtension(99, 0, b""),)), "offset"),
        (dataclasses.replace(NORMAL, extensions=UNEVEN), "extension-length"),
        (dataclasses.replace(NORMAL, extensions=(UnknownExtension(17, 0, bytes(36)),)), "extension-unknown"),
        (dataclasses.replace(NORMAL, extensions=(UnknownExtension(18, 0, bytes(12)),)), "extension-unknown"),
        (dataclasses.replace(NORMAL, extensions=(Snack(0, 0, 0, ((1, 1),) * 8190),)), "field"),
        (dataclasses.replace(NORMAL, extensions=(UnknownExtension(99, 0, bytes(65508)),)), "field"),
        (dataclasses.replace(NORMAL, extensions=(dataclasses.replace(SINK_VALUE, mark=256),)), "field"),
        (dataclasses.replace(NORMAL, extensions=(dataclasses.replace(SINK_VALUE, host_id=b""),)), "field"),
        (dataclasses.replace(INIT, salt=bytes(5)), "field"),
        (dataclasses.replace(INIT, timestamp=bytes(7)), "field"),
        (dataclasses.replace(INIT, init_check_code=b""), "field"),
        (dataclasses.replace(INIT, host_name=b"\xff"), "host-name"),
        (dataclasses.replace(ACK_INIT, time_delta=bytes(3)), "field"),
        (dataclasses.replace(ACK_INIT, cookie=bytes(9)), "field"),
        (dataclasses.replace(ACK_INIT, init_check_code=bytes(9)), "field"),
        (dataclasses.replace(REQUEST, initial_sn=2**32), "field"),
        (dataclasses.replace(REQUEST, host_name=b"a" * 256), "host-name"),
        (dataclasses.replace(REQUEST, cookie=bytes(9)), "field"),
        (Reset(2**32, bytes(8), bytes(8)), "field"),
        (Reset(0, bytes(7), bytes(8)), "field"),
        (Reset(0, bytes(8), bytes(9)), "field"),
    ],
)
def test_value_without_octets(packet: Packet, reason: str) -> None:
    """struct alone would cut or pad what is too long or too short."""
    with pytest.raises(MalformedPacket) as caught:
        CODEC.encode(packet)
    assert caught.value.reason == reason


def test_prefix_of_another_length() -> None:
    with pytest.raises(MalformedPacket, match="field"):
        CODEC.sink_parameter(SinkParameter(bytes(4), (bytes(8), bytes(8), bytes(7), bytes(8))))


def test_longest_chain() -> None:
    """Offset has 16 bits and is a multiple of 8 (4.4.4)."""
    longest = dataclasses.replace(NORMAL, extensions=(UnknownExtension(99, 0, bytes(65528 - 24 - 4)),))
    assert CODEC.decode(CODEC.encode(longest)) == longest
