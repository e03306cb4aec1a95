"""The codecs of reference-2020 and jason-00: every value survives, and whatever arrives is one value or none."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.revisions import JASON_00, REFERENCE_2020, Revision
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import (
    FLAG_EOT,
    NO_PREFIXES,
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

LISTENER = bytes.fromhex("00004653")
OTHERS = [REFERENCE_2020, JASON_00]
words = st.integers(0, 2**32 - 1)
gaps = st.lists(st.tuples(words, words), max_size=5).map(tuple)


def handshake(revision: Revision) -> list[Packet]:
    codec = revision.codec
    sink = codec.handshake_sink(LISTENER, 100, 512)
    return [
        InitConnect(b"salt", b"timestam", b"checkcod", b"a.name"),
        AckInitConnect(b"delt", b"a cookie", b"checkcod", codec.challenge_sink(LISTENER)),
        ConnectRequest(b"salt", b"timestam", b"checkcod", 0x01020304, b"delt", b"a cookie", sink, b"b.name"),
        Reset(7, b"timestam", b"a cookie"),
    ]


def normal(revision: Revision) -> list[Packet]:
    codec = revision.codec
    snack = Snack(5, 4, 9, ((1, 2),)) if revision is REFERENCE_2020 else Snack(0, None, 0, ((1, 2),), serial=9)
    flush = Snack(5, 4, 9) if revision is REFERENCE_2020 else Snack(0, None, 0, serial=9)
    unknown = UnknownExtension(200, 3, b"four")
    sink = codec.handshake_sink(LISTENER, 100, 512)
    return [
        Normal(Op.PERSIST, FLAG_EOT, 100, 1, 2, b"the code", (), b"payload"),
        Normal(Op.PERSIST, 0, 100, 1, 2, b"the code", (unknown,), b"payload"),
        Normal(Op.PURE_DATA, 0, 100, 1, 2, b"the code", (), b"payload"),
        Normal(Op.RELEASE, FLAG_EOT, 100, 1, 2, b"the code"),
        Normal(Op.KEEP_ALIVE, 0, 100, 1, 2, b"the code", (sink, snack)),
        Normal(Op.ACK_FLUSH, 0, 100, 1, 2, b"the code", (flush,)),
        Normal(Op.MULTIPLY, 0, 100, 1, 2, b"the code", (), b"payload"),
    ]


PACKETS = [(revision, packet) for revision in OTHERS for packet in handshake(revision) + normal(revision)]


def name_of(value: object) -> str:
    if isinstance(value, Revision):
        return value.name
    return value.op.name if isinstance(value, Normal) else type(value).__name__


@pytest.mark.parametrize(("revision", "packet"), PACKETS, ids=name_of)
def test_values_survive(revision: Revision, packet: Packet) -> None:
    assert revision.codec.decode(revision.codec.encode(packet)) == packet


@pytest.mark.parametrize("revision", OTHERS, ids=name_of)
@given(data=st.data())
@settings(max_examples=400)
def test_any_octets(revision: Revision, data: st.DataObject) -> None:
    """Octets at random, and packets of which some octets were changed, cut off or added."""
    codec = revision.codec
    if data.draw(st.booleans()):
        octets = data.draw(st.binary(max_size=150))
    else:
        changed = bytearray(codec.encode(data.draw(st.sampled_from(handshake(revision) + normal(revision)))))
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        octets = bytes(changed[: data.draw(st.integers(0, len(changed)))]) + data.draw(st.binary(max_size=16))
    with contextlib.suppress(MalformedPacket):
        assert codec.encode(codec.decode(octets)) == octets
    datagram = bytes(ULTID_PAIR) + octets
    if len(octets) >= NORMAL_HEADER:
        with contextlib.suppress(MalformedPacket):
            assert 0 <= codec.serial(datagram) < 2**32


@pytest.mark.parametrize("revision", OTHERS, ids=name_of)
@given(expected=words, serial=words, window=st.integers(0, 2**24 - 1), sn=words, told=gaps, named=st.booleans())
def test_acknowledgements_survive(
    revision: Revision, expected: int, serial: int, window: int, sn: int, told: tuple[tuple[int, int], ...], named: bool
) -> None:
    codec = revision.codec
    sink = SinkParameter(bytes(4), NO_PREFIXES) if named else None
    sample = None if revision is JASON_00 else 3
    snack = Snack(expected, sample, 5 if sample else 0, told)
    head, body = codec.acknowledgement(Op.KEEP_ALIVE, 0, window, sn, snack, serial, sink)
    icc = 16 if revision is REFERENCE_2020 else 8
    packet = codec.decode(head[:icc] + b"the code" + head[icc:] + body)
    assert isinstance(packet, Normal)
    assert (packet.op, packet.window, packet.sn) == (Op.KEEP_ALIVE, window, sn)
    assert codec.serial(bytes(8) + codec.encode(packet)) == serial
    found = codec.acknowledged_by(packet.extensions, packet.expected)
    assert (found.expected_sn, found.gaps) == (expected, told)


def test_what_jason_does_not_have() -> None:
    """3.3: no NULCOMMIT; 3.5: no Sink Parameters in ACK_INIT_CONNECT; 3.3: PURE_DATA is never empty."""
    codec = JASON_00.codec
    sink = codec.handshake_sink(LISTENER, 4, 512)
    for packet in (
        Normal(Op.NULCOMMIT, FLAG_EOT, 4, 1, 2, bytes(8)),
        AckInitConnect(bytes(4), bytes(8), bytes(8), sink),
        Normal(Op.PURE_DATA, 0, 4, 1, 2, bytes(8)),
    ):
        with pytest.raises(MalformedPacket):
            codec.encode(packet)


def test_the_pointer_of_the_request() -> None:
    """A5: below the Sink Parameters of CONNECT_REQUEST are its 40 octets, not 24."""
    codec = JASON_00.codec
    octets = codec.encode(handshake(JASON_00)[2])
    assert octets[84:88] == bytes.fromhex("00280011")
    with pytest.raises(MalformedPacket):
        codec.decode(octets[:84] + bytes.fromhex("00180011") + octets[88:])


def test_the_largest_window_that_jason_tells() -> None:
    """3.7, A24: 20 bits."""
    sink = JASON_00.codec.handshake_sink(LISTENER, 2**24, 1025)
    assert (sink.window, sink.block_size) == (2**20 - 1, 3)


@pytest.mark.parametrize("revision", OTHERS, ids=name_of)
def test_reasons_of_resets(revision: Revision) -> None:
    codec = revision.codec
    refusal = bytes(8) + codec.encode(Reset(7, b"timestam", b"a cookie"))
    assert codec.refusal_reason(refusal) == 7
    head = codec.reset_head(9, 100, 1, 2)
    icc = 16 if revision is REFERENCE_2020 else 8
    established = bytes(8) + head[:icc] + b"the code" + head[icc:]
    assert codec.reset_reason(established) == (0 if revision is REFERENCE_2020 else 9)
    with pytest.raises(MalformedPacket):
        codec.reset_reason(established + b"x")


def changed(packet: Packet, **fields: object) -> Packet:
    return dataclasses.replace(packet, **fields)  # type: ignore[arg-type]


JASON_NORMAL = Normal(Op.PERSIST, 0, 100, 1, 2, b"the code", (), b"payload")
JASON_SINK = JASON_00.codec.handshake_sink(LISTENER, 4, 512)
UNWRITABLE = [
    changed(JASON_NORMAL, window=2**24),
    changed(JASON_NORMAL, sn=2**32),
    changed(JASON_NORMAL, extensions=(changed(JASON_SINK, window=2**24),)),  # type: ignore[arg-type]
    changed(JASON_NORMAL, extensions=(JASON_SINK, JASON_SINK)),
    changed(JASON_NORMAL, extensions=(UnknownExtension(17, 0, b"four"),)),
    changed(JASON_NORMAL, extensions=(UnknownExtension(18, 0, b"four"),)),
]


@pytest.mark.parametrize("packet", UNWRITABLE)
def test_what_jason_cannot_say(packet: Packet) -> None:
    """Fields that do not fit, headers that come twice, and what would be read as something else."""
    with pytest.raises(MalformedPacket):
        JASON_00.codec.encode(packet)


def test_an_acknowledgement_needs_its_snack() -> None:
    for revision in OTHERS:
        with pytest.raises(MalformedPacket):
            revision.codec.acknowledged_by((revision.codec.handshake_sink(LISTENER, 4, 512),), 1)


def test_the_sink_of_a_request_is_nothing_else() -> None:
    octets = JASON_00.codec.encode(handshake(JASON_00)[2])
    with pytest.raises(MalformedPacket, match="sink-parameter"):
        JASON_00.codec.decode(octets[:87] + bytes([200]) + octets[88:])


def test_reference_has_a_sink_in_its_challenge() -> None:
    with pytest.raises(MalformedPacket, match="sink-parameter"):
        REFERENCE_2020.codec.encode(AckInitConnect(bytes(4), bytes(8), bytes(8), None))
