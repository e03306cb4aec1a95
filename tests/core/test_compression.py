"""The octets of compressed transactions (gao-07 8.8, M44): known answers, every size, and what is none."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import lz4.block
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.core.compression import BLOCK, LARGEST_BLOCK, CompressionError, Compressor, Decompressor

KNOWN = json.loads((Path(__file__).parent / "data" / "lz4.json").read_text())
SIZES = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 10_000_000]


def pack(data: bytes, step: int = 65_536) -> bytes:
    compressor = Compressor()
    return b"".join(compressor.feed(data[at : at + step]) for at in range(0, len(data), step)) + compressor.finish()


def unpack(stream: bytes, step: int = 2**20) -> tuple[bytes, bool]:
    """What the stream stands for, read `step` octets at a time, and whether it may end where it does."""
    decompressor = Decompressor()
    position = 0

    def read(most: int) -> bytes:
        nonlocal position
        part = stream[position : position + min(most, step)]
        position += len(part)
        return part

    found: list[bytes] = []
    while True:
        decompressor.draw(read)
        assert decompressor.held <= LARGEST_BLOCK + BLOCK
        if not decompressor.pending:
            return b"".join(found), decompressor.complete
        found.append(decompressor.take(70_000))


def text(size: int) -> bytes:
    return (b"the quick brown fox jumps over the lazy dog " * (size // 44 + 1))[:size]


def test_known_answer() -> None:
    """A transaction of the author's program, octet for octet, both ways."""
    plain = bytes((KNOWN["text"].encode()[i % 44] + (i // 997) % 3) & 255 for i in range(KNOWN["plain_len"]))
    stream = bytes.fromhex(KNOWN["stream_hex"])
    assert unpack(stream) == (plain, True)
    assert pack(plain) == stream


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["text", "noise"])
def test_sizes(size: int, kind: str) -> None:
    data = text(size) if kind == "text" else random.Random(size).randbytes(size)
    stream = pack(data)
    assert unpack(stream) == (data, True)
    assert len(stream) <= size + (size // BLOCK + 1) * (4 + 16) + size // 255


def test_blocks_are_131072_octets_and_refer_to_those_before() -> None:
    """8.8: another decoder, which knows only the layout."""
    noise = random.Random(1).randbytes(50_000)
    data = noise * 7  # further back than 64 KiB nothing is found, but so near it is
    stream = pack(data)
    found = b""
    sizes: list[tuple[int, int]] = []
    position = 0
    while position < len(stream):
        length = int.from_bytes(stream[position : position + 4], "little")
        block = stream[position + 4 : position + 4 + length]
        plain = lz4.block.decompress(block, uncompressed_size=BLOCK, dict=found[-65_536:])
        sizes.append((len(plain), length))
        found += plain
        position += 4 + length
    assert found == data
    assert [size for size, _ in sizes] == [BLOCK, BLOCK, 350_000 - 2 * BLOCK]
    assert sizes[1][1] < 1000


def test_nothing_comes_before_a_block_is_full() -> None:
    compressor = Compressor()
    assert compressor.feed(bytes(BLOCK - 1)) == b""
    assert compressor.held == BLOCK - 1
    assert compressor.feed(b"x") != b""
    assert compressor.held == 0
    assert compressor.finish() == b""


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.one_of(st.binary(max_size=300), st.integers(0, 90_000).map(text)), max_size=12),
    step=st.integers(1, 200_000),
)
def test_any_pieces(parts: list[bytes], step: int) -> None:
    compressor = Compressor()
    stream = b"".join(map(compressor.feed, parts)) + compressor.finish()
    assert unpack(stream, step) == (b"".join(parts), True)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_noticed_or_gives_other_octets(data: st.DataObject) -> None:
    """Never another exception, never more than a block at a time."""
    stream = bytearray(pack(text(150_000)))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(stream)))
    with suppress(CompressionError):
        unpack(bytes(stream[:cut]))


@pytest.mark.parametrize("length", [0, LARGEST_BLOCK + 1, 2**31, 2**32 - 1])
def test_lengths_that_no_block_has(length: int) -> None:
    with pytest.raises(CompressionError, match="a block of"):
        unpack(length.to_bytes(4, "little") + bytes(1000))


def test_a_block_of_more_than_131072_octets() -> None:
    """A bomb: 255 times as many octets as there are on the wire."""
    for size in (BLOCK + 1, 10_000_000):
        block = lz4.block.compress(bytes(size), store_size=False)
        stream = len(block).to_bytes(4, "little") + block
        with pytest.raises(CompressionError):
            unpack(stream)


def test_a_stream_that_is_cut_off() -> None:
    stream = pack(text(1000))
    for end in (1, 3, 4, 5, len(stream) - 1):
        assert unpack(stream[:end]) == (b"", False)
