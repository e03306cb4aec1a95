"""Every value survives the wire, and whatever arrives is one value or none."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fsp_trio.wire.codec import NORMAL_HEADER
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import Extension, Normal, Op, Packet
from fsp_trio.wire.shapes import NORMAL

from .packet_values import CODEC, chains, normal_packets, packets


def decoded(octets: bytes) -> Packet | str:
    """The packet, or the reason why there is none."""
    try:
        return CODEC.decode(octets)
    except MalformedPacket as malformed:
        return malformed.reason


def decoded_in_steps(octets: bytes) -> Normal | str:
    """A packet with a normal header, read as one that arrives sealed: header first, chain later."""
    op_code, _, offset, flags_and_window, sn, expected = CODEC.unpack_head(octets, 0)
    flags, window = flags_and_window >> 24, flags_and_window & 0xFFFFFF
    try:
        CODEC.check_shape(op_code, offset, flags, len(octets) - offset)
        body = octets[NORMAL_HEADER:]
        extensions = CODEC.extensions(body[: offset - NORMAL_HEADER])
        CODEC.check_extensions(op_code, extensions)
    except MalformedPacket as malformed:
        return malformed.reason
    payload = body[offset - NORMAL_HEADER :]
    return Normal(CODEC.ops[op_code], flags, window, sn, expected, octets[16:24], extensions, payload)


def check(octets: bytes) -> None:
    packet = decoded(octets)
    if not isinstance(packet, str):
        assert CODEC.encode(packet) == octets
    if len(octets) >= NORMAL_HEADER and CODEC.ops.get(octets[0]) in NORMAL and octets[1] == 0:
        assert decoded_in_steps(octets) == packet


@settings(max_examples=400, deadline=None)
@given(packets)
def test_every_packet_survives(packet: Packet) -> None:
    assert CODEC.decode(CODEC.encode(packet)) == packet


@pytest.mark.parametrize("op", [op for op in Op if op in NORMAL])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_kind_of_normal_packet_survives(op: Op, data: st.DataObject) -> None:
    packet = data.draw(normal_packets(st.just(op)))
    octets = CODEC.encode(packet)
    assert octets[0] == CODEC.op_codes[op]
    assert CODEC.decode(octets) == packet


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"")
def test_random_octets(octets: bytes) -> None:
    check(octets)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 13),
    st.sampled_from([0, 0, 0, 1]),
    st.integers(0, 20),
    st.binary(min_size=20, max_size=160),
)
def test_random_fields_behind_a_plausible_signature(op_code: int, major: int, words: int, rest: bytes) -> None:
    check(bytes([op_code, major]) + (8 * words).to_bytes(2, "big") + rest)


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 12), st.integers(0, 255), chains(Op.KEEP_ALIVE), st.binary(max_size=8))
def test_plausible_chain_in_any_packet(op_code: int, flags: int, chain: tuple[Extension, ...], rest: bytes) -> None:
    octets = CODEC.encode(Normal(Op.KEEP_ALIVE, flags, 0, 0, 0, bytes(8), chain))
    check(bytes([op_code]) + octets[1:] + rest)


@settings(max_examples=600, deadline=None)
@given(packets, st.data())
def test_mutated_packets(packet: Packet, data: st.DataObject) -> None:
    octets = bytearray(CODEC.encode(packet))
    for _ in range(data.draw(st.integers(1, 3))):
        # most of the time where the structure is: signature, flags and the beginnings of extension headers
        place = data.draw(st.one_of(st.sampled_from([0, 1, 2, 3, 4]), st.integers(0, len(octets) - 1)))
        octets[place] = data.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 8, 17, 18, 24, 40])))
    check(bytes(octets))
    cut = data.draw(st.integers(0, len(octets)))
    check(bytes(octets[:cut]))
    check(bytes(octets) + data.draw(st.binary(max_size=20)))


@settings(deadline=None)
@given(st.binary(max_size=120))
def test_any_chain(chain: bytes) -> None:
    try:
        extensions = CODEC.extensions(chain)
    except MalformedPacket:
        return
    rewritten = CODEC.encode(Normal(Op.MULTIPLY, 0, 0, 0, 0, bytes(8), extensions))
    assert rewritten[NORMAL_HEADER:] == chain
