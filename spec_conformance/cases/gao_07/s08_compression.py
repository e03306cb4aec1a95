"""Section 8.8: transactions that are compressed on the wire."""

from __future__ import annotations

from itertools import cycle

from lz4.block import LZ4BlockError, compress, decompress

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import an
from spec_conformance.peer import Peer
from spec_conformance.verdict import Violation
from spec_conformance.wire.packet import FLAG_CPR, FLAG_EOT, Op, Packet

REVISION = "gao-07"
BLOCK = 131_072
HISTORY = 65_536
LONGEST = 131_602
NEEDS = ("compression",)
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT)
EVERY = 16
"""Packets of an answer that are acknowledged together."""


def blocks_of(data: bytes) -> list[bytes]:
    """LZ4 blocks of 131,072 octets, each of which may refer to the 65,536 octets before it."""
    found = []
    for at in range(0, len(data), BLOCK):
        before = {"dict": data[max(at - HISTORY, 0) : at]} if at else {}
        found.append(compress(data[at : at + BLOCK], store_size=False, **before))
    return found


def stream_of(data: bytes) -> bytes:
    return b"".join(len(block).to_bytes(4, "little") + block for block in blocks_of(data))


def plain_blocks(stream: bytes, packet: Packet) -> list[bytes]:
    """What the target's blocks decompress to; Violation if they are none."""
    found: list[bytes] = []
    at = 0
    while at < len(stream):
        length = int.from_bytes(stream[at : at + 4], "little")
        block = stream[at + 4 : at + 4 + length]
        if not 0 < length <= LONGEST or len(block) < length:
            raise Violation(f"a block of {length} octets, where {len(stream) - at - 4} follow", packet)
        before = b"".join(found)[-HISTORY:]
        try:
            found.append(decompress(block, uncompressed_size=BLOCK, **({"dict": before} if before else {})))
        except LZ4BlockError:
            raise Violation(f"block {len(found) + 1} is no LZ4", packet) from None
        at += 4 + length
    return found


async def say(
    peer: Peer,
    stream: bytes,
    *,
    first: int = FLAG_CPR,
    later: int = FLAG_CPR,
    sizes: tuple[int, ...] = (),
    pause: float = 0.0,
    ends: bool = True,
) -> None:
    """Octets as one transaction, in packets of these sizes, over and over; with these flags beside EoT.

    `pause` is the time between packets, `ends` tells whether the last one ends the transaction.
    """
    turns = cycle(sizes or (peer.wire.full_block,))
    at = 0
    while at < len(stream):
        size = next(turns)
        last = at + size >= len(stream)
        flags = (later if at else first) | (FLAG_EOT if last and ends else 0)
        await peer.send(Op.PURE_DATA if at else Op.PERSIST, stream[at : at + size], flags=flags)
        await peer.bench.sleep(pause)
        at += size


async def hear(peer: Peer) -> tuple[bytes, Packet]:
    """The target's answer, however long, and its first packet."""
    start = peer._answer_from
    while len(peer.stream) <= start or not peer.complete:
        await peer.expect(IN_STREAM)
        if len(peer.stream) % EVERY == 0:
            await peer.acknowledge()
    peer._answer_from = len(peer.stream)
    await peer.send(Op.ACK_FLUSH)
    packets = peer.stream[start:]
    return b"".join(packet.payload for packet in packets), packets[0]


async def echoed(peer: Peer, data: bytes) -> None:
    answer, first = await hear(peer)
    if answer != data:
        raise Violation(f"the echo of {len(data)} octets is {len(answer)} octets, or others", first)
    await peer.drain(peer.bench.blink)


async def packed_echo(peer: Peer, data: bytes) -> list[bytes]:
    """The blocks of the target's compressed answer, which must stand for these octets."""
    answer, first = await hear(peer)
    if not first.flags & FLAG_CPR:
        raise Violation("the first packet of a compressed transaction has no CPR", first)
    blocks = plain_blocks(answer, first)
    if b"".join(blocks) != data:
        raise Violation("what the blocks decompress to is not what was sent", first)
    await peer.drain(peer.bench.blink)
    return blocks


async def connected(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"sane") if bench.service_name == "echo" else None
    return peer


def some_text(size: int) -> bytes:
    return (b"what is written twice need not be sent twice; " * (size // 46 + 1))[:size]


# receiving


@case(REVISION, "8.8/first-packet-decides", "4.6/cpr-of-first-packet", needs=NEEDS, quick=True)
async def first_packet_decides(bench: Bench) -> None:
    """With CPR on its first packet alone a transaction is decompressed; without it is delivered as it is."""
    peer = await connected(bench)
    data = some_text(500) + bench.random.randbytes(3000)
    await say(peer, stream_of(data), later=0)
    await echoed(peer, data)
    await say(peer, stream_of(data), first=0, later=0)
    await echoed(peer, stream_of(data))


@case(REVISION, "8.8/late-flag-ignored", needs=NEEDS)
async def late_flag(bench: Bench) -> None:
    """CPR on all packets of a transaction but the first changes nothing."""
    peer = await connected(bench)
    data = stream_of(bench.random.randbytes(3000))
    await say(peer, data, first=0)
    await echoed(peer, data)


@case(REVISION, "8.8/earlier-blocks-as-history", service="compressed", needs=NEEDS)
async def history(bench: Bench) -> None:
    """The second block can only be read with the end of the first."""
    peer = await connected(bench)
    data = (bench.random.randbytes(4000) * 50)[: BLOCK + 20_000]
    first, second = blocks_of(data)
    if len(second) > 1000 or len(first) < 4000:
        raise AssertionError("the second block does not need the first")
    await say(peer, stream_of(data))
    await packed_echo(peer, data)


@case(REVISION, "8.8/blocks-cross-packets", needs=NEEDS)
async def cut_anywhere(bench: Bench) -> None:
    """Packets of 1, 2, 3 and more octets, a little apart, which cut lengths and blocks."""
    peer = await connected(bench)
    data = bench.random.randbytes(150)
    await say(peer, stream_of(data), sizes=(1, 2, 3, 7, 20), pause=peer.bench.blink)
    await echoed(peer, data)


@case(REVISION, "8.8/transactions-independent", service="compressed", needs=NEEDS)
async def independent(bench: Bench) -> None:
    """Two transactions of the same octets: each begins anew, in both directions."""
    peer = await connected(bench)
    data = bench.random.randbytes(2000)
    for _ in range(2):
        await say(peer, stream_of(data))
        await packed_echo(peer, data)


async def refused(bench: Bench, stream: bytes, words: str, *, ends: bool = True) -> None:
    """RESET, and nothing of the transaction comes back."""
    peer = await connected(bench)
    await say(peer, stream, ends=ends)
    await peer.expect(Op.RESET, otherwise=f"no RESET after {words}")
    data = [packet for packet in peer.received if packet.payload and packet.op in (Op.PERSIST, Op.PURE_DATA)]
    if len(data) > 1:  # the echo that went before
        raise Violation(f"octets were delivered of {words}", data[-1])


@case(REVISION, "8.8/block-too-long", needs=NEEDS)
async def too_long(bench: Bench) -> None:
    """A length of 131,603 octets, and the beginning of the block."""
    stream = (LONGEST + 1).to_bytes(4, "little") + bench.random.randbytes(500)
    await refused(bench, stream, "a block that is too long", ends=False)


@case(REVISION, "8.8/inflated-output-refused", needs=NEEDS)
async def inflated(bench: Bench) -> None:
    """A block of less than a kilobyte that stands for 131,073 octets."""
    block = compress(bytes(BLOCK + 1), store_size=False)
    await refused(bench, len(block).to_bytes(4, "little") + block, "a block that is too large when decompressed")


@case(REVISION, "8.8/block-cut-by-eot", needs=NEEDS)
async def cut_off(bench: Bench) -> None:
    """The transaction ends three octets before its only block does."""
    await refused(bench, stream_of(some_text(1000))[:-3], "a block that is cut off")


@case(REVISION, "8.8/block-cut-by-eot:length", needs=NEEDS)
async def length_cut_off(bench: Bench) -> None:
    """The transaction ends within the length of a second block."""
    await refused(bench, stream_of(bench.random.randbytes(10))[:3], "a length that is cut off")


# sending


@case(REVISION, "8.8/lz4-blocks", "8.8/length-prefix", service="compressed", needs=NEEDS, quick=True)
async def lz4_blocks(bench: Bench) -> None:
    """What the target compresses is LZ4 behind its length, and shorter."""
    peer = await connected(bench)
    data = some_text(3000)
    await say(peer, data, first=0, later=0)
    await packed_echo(peer, data)
    if (size := sum(len(packet.payload) for packet in peer.stream)) > 1000:
        raise Violation(f"3,000 octets of repeated text became {size}", peer.stream[-1])


@case(REVISION, "8.8/blocks-of-128-kib", service="compressed", needs=NEEDS)
async def blocks_of_128_kib(bench: Bench) -> None:
    """262,154 octets come back in blocks of 131,072, 131,072 and 10."""
    peer = await connected(bench)
    data = some_text(2 * BLOCK + 10)
    await say(peer, stream_of(data))
    sizes = [len(block) for block in await packed_echo(peer, data)]
    if sizes != [BLOCK, BLOCK, 10]:
        raise Violation(f"blocks of {sizes} octets", peer.stream[-1], expected=str([BLOCK, BLOCK, 10]), seen=str(sizes))
