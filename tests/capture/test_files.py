"""Reading pcap and pcapng, whole and damaged."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.capture.files import LARGEST_RECORD, CaptureError, Frame, read_frames

from .writing import block, enhanced, interface, option, pcap, pcapng, section

FRAMES = [
    (1_700_000_000_123_456_000, b"first frame"),
    (1_700_000_001_000_001_000, b""),
    (1_700_000_002 * 10**9, b"third"),
]


def read(octets: bytes) -> tuple[list[Frame], str]:
    """The frames, and what was wrong, if anything."""
    frames: list[Frame] = []
    try:
        frames.extend(read_frames(io.BytesIO(octets)))  # extend keeps what came before an error
    except CaptureError as error:
        return frames, str(error)
    return frames, ""


def contents(frames: list[Frame]) -> list[tuple[int, bytes]]:
    return [(frame.time, frame.data) for frame in frames]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [False, True])
def test_pcap(order: str, nano: bool) -> None:
    frames, wrong = read(pcap(113, FRAMES, order=order, nano=nano))
    assert not wrong
    assert contents(frames) == FRAMES
    assert [frame.n for frame in frames] == [1, 2, 3]
    assert {frame.link_type for frame in frames} == {113}


def test_pcap_in_nanoseconds() -> None:
    frames, _ = read(pcap(1, [(1_700_000_000_000_000_007, b"x")], nano=True))
    assert frames[0].time == 1_700_000_000_000_000_007


def test_link_type_beside_the_length_of_a_check_sequence() -> None:
    frames, _ = read(pcap(0x24000001, FRAMES))
    assert frames[0].link_type == 1


def test_frames_cut_short() -> None:
    frames, wrong = read(pcap(1, FRAMES, snap=5))
    assert not wrong
    assert [(frame.data, frame.original_length) for frame in frames] == [(b"first", 11), (b"", 0), (b"third", 5)]


@pytest.mark.parametrize("order", "<>")
def test_pcapng(order: str) -> None:
    frames, wrong = read(pcapng(276, FRAMES, order=order))
    assert not wrong
    assert contents(frames) == FRAMES
    assert [frame.n for frame in frames] == [1, 2, 3]
    assert {frame.link_type for frame in frames} == {276}


def test_interfaces_of_several_kinds_and_clocks() -> None:
    order = ">"
    nano = option(order, 2, b"eth0") + option(order, 9, b"\x09") + option(order, 0, b"")
    binary = option(order, 9, b"\x8a") + option(order, 14, struct.pack(">q", 1_000))
    octets = (
        section(order)
        + interface(order, 1, nano)
        + interface(order, 101, binary)
        + enhanced(order, 1, 1536, b"half a second after 1001")
        + enhanced(order, 0, 7, b"seven nanoseconds")
    )
    frames, wrong = read(octets)
    assert not wrong
    assert [(frame.link_type, frame.time) for frame in frames] == [(101, 1001_500_000_000), (1, 7)]


def test_what_follows_the_end_of_the_options_is_not_read() -> None:
    options = option("<", 0, b"") + option("<", 9, b"\x09")
    frames, _ = read(section() + interface("<", 1, options) + enhanced("<", 0, 1, b"x"))
    assert frames[0].time == 1000


def test_other_kinds_of_packets_and_blocks() -> None:
    obsolete = block("<", 2, struct.pack("<HHIIII", 0, 3, 0, 5, 2, 9) + b"ab")
    simple = block("<", 3, struct.pack("<I", 3) + b"abc")
    unknown = block("<", 0x80000001, b"whatever")
    frames, wrong = read(section() + interface("<", 1) + unknown + obsolete + simple)
    assert not wrong
    assert [(f.n, f.time, f.data, f.original_length) for f in frames] == [(1, 5000, b"ab", 9), (2, 0, b"abc", 3)]


def test_simple_packets_are_cut_to_the_snap_length() -> None:
    simple = block("<", 3, struct.pack("<I", 7) + b"abcd")
    frames, wrong = read(section() + interface("<", 1, snap=4) + simple)
    assert not wrong
    assert [(f.data, f.original_length) for f in frames] == [(b"abcd", 7)]


def test_sections_of_both_orders() -> None:
    frames, wrong = read(pcapng(1, FRAMES, order="<") + pcapng(101, FRAMES, order=">"))
    assert not wrong
    assert contents(frames) == FRAMES * 2
    assert [frame.n for frame in frames] == [1, 2, 3, 4, 5, 6]
    assert [frame.link_type for frame in frames] == [1] * 3 + [101] * 3


class Trickle(io.BytesIO):
    """Gives an octet at a time, as a pipe may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(1, size or 0))


@pytest.mark.parametrize("octets", [pcap(1, FRAMES), pcapng(1, FRAMES)], ids=["pcap", "pcapng"])
def test_a_source_that_gives_little(octets: bytes) -> None:
    assert contents(list(read_frames(Trickle(octets)))) == FRAMES


# damage


@pytest.mark.parametrize("octets", [pcap(1, FRAMES), pcapng(1, FRAMES)], ids=["pcap", "pcapng"])
def test_truncated_anywhere(octets: bytes) -> None:
    ends = set()
    for length in range(len(octets)):
        frames, wrong = read(octets[:length])
        assert contents(frames) == FRAMES[: len(frames)]
        if not wrong:
            ends.add(len(frames))
        elif length == 0:
            assert wrong == "the capture is empty"
        elif length >= 4:
            assert wrong.startswith(f"the capture is truncated: it ends at octet {length}, within ")
        assert "\n" not in wrong
    assert ends == {0, 1, 2}  # between two records nothing tells that more should follow


@pytest.mark.parametrize(
    "octets", [b"not a capture at all", b"\xa1", bytes(100), b"\x0a\x0d\x0d\x0b" + bytes(40)], ids=repr
)
def test_no_capture(octets: bytes) -> None:
    assert read(octets) == ([], "neither a pcap nor a pcapng file")


def test_a_record_of_absurd_length() -> None:
    octets = pcap(1, FRAMES[:1]) + struct.pack("<IIII", 1, 1, LARGEST_RECORD + 1, 5) + bytes(100)
    frames, wrong = read(octets)
    assert contents(frames) == FRAMES[:1]
    assert (
        wrong == f"the capture is broken at octet {24 + 16 + 11 + 16}: record 2 would have {LARGEST_RECORD + 1} octets"
    )


START = section() + interface("<", 1)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (struct.pack("<II", 6, 8) + bytes(40), "a block of 8 octets"),
        (struct.pack("<II", 6, 33) + bytes(40), "a block of 33 octets"),
        (struct.pack("<II", 6, LARGEST_RECORD + 4) + bytes(40), f"a block of {LARGEST_RECORD + 4} octets"),
        (enhanced("<", 0, 0, b"abcd")[:-4] + bytes(4), "the two lengths of a block differ"),
        (enhanced("<", 1, 0, b"abcd"), "packet 1 is of an interface that was not described"),
        (block("<", 6, bytes(16)), "packet 1 is too short"),
        (block("<", 6, struct.pack("<IIIII", 0, 0, 0, 9, 9) + bytes(8)), "packet 1 is longer than its block"),
        (block("<", 1, bytes(4)), "the description of an interface is too short"),
        (struct.pack("<IIII", 0x0A0D0D0A, 28, 1, 1), "a section without the magic number of its order of octets"),
    ],
)
def test_broken_blocks(damage: bytes, why: str) -> None:
    frames, wrong = read(START + damage)
    assert frames == []
    assert wrong.startswith("the capture is broken at octet ")
    assert wrong.endswith(f": {why}")


@given(st.sampled_from([pcap(1, FRAMES), pcapng(1, FRAMES), START]), st.data())
def test_any_octets_raise_nothing_else(octets: bytes, data: st.DataObject) -> None:
    mutated = bytearray(octets)
    for position, octet in data.draw(st.dictionaries(st.integers(4, len(octets) - 1), st.integers(0, 255))).items():
        mutated[position] = octet
    read(bytes(mutated) + data.draw(st.binary()))
