"""Sections 7.4.3 and 7.4.4: what is made of a SNACK, and when packets are repeated."""

from __future__ import annotations

import itertools

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07.s08_retransmission import compare, same_packet
from spec_conformance.cases.jason_00.s07_acknowledging import FIRST, IN_STREAM, PATIENCE, REVISION, SNACKS
from spec_conformance.cases.jason_00.s07_transfer import slow_closable
from spec_conformance.expect import DATA, carrying, ending, numbered
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, Snack, later

# 7.4.3


@case(REVISION, "7.4.3/both-carry-snack", "7.4.3/ack-flush-without-gaps")
async def snack_in_all(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH have a SNACK, over gaps, too; that of ACK_FLUSH has no pair, 32 octets in all."""
    peer = await bench.peer()
    await peer.connect()
    await peer.send(Op.PERSIST, b"open")
    await peer.drain()
    late = peer.packet(Op.PURE_DATA, b"late")
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
    await peer.drain()
    await peer.send(late)
    await peer.drain()
    await peer.acknowledge()
    await peer.send(Op.PURE_DATA, b"early", sn=(peer.sn + 1) & MASK)
    await peer.drain()
    kinds = set()
    for packet in filter(SNACKS, peer.received):
        kinds.add(packet.op)
        if packet.snack is None:
            raise Violation(f"{packet.name} has no SNACK", packet)
        length = len(bench.octets_of(packet)) - 8
        if packet.op is Op.ACK_FLUSH and (packet.snack.gaps or (packet.sink is None and length != 32)):
            raise Violation(f"ACK_FLUSH has gaps, or {length} octets", packet, expected="32", seen=str(length))
    if kinds != {Op.KEEP_ALIVE, Op.ACK_FLUSH}:
        raise Inconclusive("the target did not send both kinds")


@case(REVISION, "7.4.3/keep-alive-without-snack", slow=True, quick=True)
async def without_snack(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH that acknowledge an echo but have no SNACK: it is repeated, and the next one waits."""
    peer, first = await answering(bench, 1)
    end = peer.stream[-1].sn
    for op in (Op.KEEP_ALIVE, Op.ACK_FLUSH):
        await peer.send(op, extensions=())
    await peer.drain(bench.blink)
    await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT, expected=first)
    came = [packet for packet in await peer.drain(2.0) if packet.in_band]
    for packet in came:
        if later(packet.sn, end) > 0:
            raise Violation("an ACK_FLUSH without SNACK was taken: the next transaction has begun", packet)
    if first not in [packet.sn for packet in came]:
        raise Violation("a KEEP_ALIVE or ACK_FLUSH without SNACK was taken: nothing is repeated")
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"next"))


async def warm(peer: Peer, data: bytes) -> None:
    """An echo, acknowledged once per round trip: a careful sender learns that so much may be under way."""
    await peer.transaction(data)
    for _ in range(8):
        await peer.drain(FIRST)
        await peer.acknowledge()
        if peer.complete and len(peer.stream) > 1:
            break
    await peer.drain(peer.bench.blink)


async def answering(bench: Bench, packets: int = 6) -> tuple[Peer, int]:
    """The target has sent an echo of so many packets, and knows nothing of their fate; the number of the first."""
    peer = await slow_closable(bench, FIRST)
    data = bytes(1024 * (packets - 1) + 500)
    await warm(peer, data)
    start, first = len(peer.stream), peer.expected
    await peer.transaction(data)
    while len(peer.stream) == start or not peer.complete:
        await peer.reach(IN_STREAM)
    await peer.drain(bench.blink)
    if later(peer.expected, first) < packets:
        raise Inconclusive("the target packs its echo into fewer packets")
    return peer, first


def keep_alive(peer: Peer, expected: int, *gaps: tuple[int, int]) -> Packet:
    """A KEEP_ALIVE that tells of gaps, with the next serial."""
    packet = peer.packet(Op.KEEP_ALIVE, expected=expected, extensions=(Snack(gaps, serial=peer.serial),))
    peer.serial += 1
    return packet


def flush(peer: Peer, expected: int) -> Packet:
    """An ACK_FLUSH, with the next serial."""
    packet = peer.packet(Op.ACK_FLUSH, expected=expected)
    peer.serial += 1
    return packet


async def repeats(peer: Peer, first: int, seconds: float = 2 * PATIENCE * FIRST) -> set[int]:
    """In-band packets that come within two time-outs, all of them repeats, counted from the first."""
    return {later(packet.sn, first) for packet in await peer.drain(seconds) if packet.in_band}


def told(peer: Peer, first: int, total: int, there: set[int]) -> Packet:
    """A KEEP_ALIVE that reports which of the packets are there, those behind the last of them aside."""
    numbers = [number in there for number in range(total)]
    runs = [(present, len(list(run))) for present, run in itertools.groupby(numbers)]
    start = runs.pop(0)[1] if runs[0][0] else 0
    widths = [length for _, length in runs]
    return keep_alive(peer, (first + start) & MASK, *zip(widths[::2], widths[1::2], strict=False))


async def judge(peer: Peer, first: int, *, there: set[int], why: str) -> None:
    """All packets but these are repeated, if need be one by one as the repeats before are acknowledged."""
    total = later(peer.expected, first)
    missing = set(range(total)) - there
    came: set[int] = set()
    for _ in range(5):
        came |= await repeats(peer, first)
        if came & there:
            text = f"{why}: packets {sorted(came & there)} were repeated"
            raise Violation(text, expected=f"none of {sorted(there)}", seen=str(sorted(came)))
        if missing <= came:
            return
        await peer.send(told(peer, first, total, there | came))
    text = f"{why}: packets {sorted(missing - came)} were not repeated"
    raise Violation(text, expected=str(sorted(missing)), seen=str(sorted(came)))


@case(REVISION, "7.4.3/older-snack-ignored", slow=True)
async def older_number(bench: Bench) -> None:
    """Four packets are reported as received; an earlier ACK_FLUSH that denies all comes afterwards: they rest."""
    peer, first = await answering(bench)
    late = flush(peer, first)
    await peer.send(Op.PERSIST, b"open", expected=first)
    await peer.send(keep_alive(peer, first, (1, 4)))
    await peer.send(late)
    await judge(peer, first, there={1, 2, 3, 4}, why="an ACK_FLUSH with an earlier number came late")


@case(REVISION, "7.4.3/older-snack-ignored:received", slow=True)
async def older_receipts(bench: Bench) -> None:
    """One packet is reported as received; an earlier KEEP_ALIVE, come late, reports more: that does not count."""
    peer, first = await answering(bench)
    late = keep_alive(peer, first, (1, 4))
    await peer.send(Op.PERSIST, b"open", expected=first)
    await peer.send(keep_alive(peer, first, (1, 1)))
    await peer.send(late)
    await judge(peer, first, there={1}, why="a KEEP_ALIVE with an earlier number came late")


@case(REVISION, "7.4.3/serial-decides-equal-numbers", slow=True)
async def older_serial(bench: Bench) -> None:
    """As before, with equal numbers: the KEEP_ALIVE with the earlier serial, come late, does not count."""
    peer, first = await answering(bench)
    late = keep_alive(peer, first, (1, 4))
    await peer.send(keep_alive(peer, first, (1, 1)))
    await peer.send(late)
    await judge(peer, first, there={1}, why="a KEEP_ALIVE with an earlier serial came late")


@case(REVISION, "7.4.3/ack-flush-nacks-rest", slow=True)
async def flush_denies(bench: Bench) -> None:
    """An ACK_FLUSH expects the third packet of six: this one and all behind it are repeated, the first two are not."""
    peer, first = await answering(bench)
    await peer.send(flush(peer, (first + 2) & MASK))
    await judge(peer, first, there={0, 1}, why="an ACK_FLUSH expects the third packet")


@case(
    REVISION,
    "7.4.3/first-gap-nacked",
    "7.4.3/later-gaps-nacked",
    "7.4.3/received-not-repeated",
    "7.4.3/tail-nacked",
    slow=True,
    quick=True,
)
async def gaps_and_runs(bench: Bench) -> None:
    """Of eight packets two are missing, one there, two missing, two there, and the last is not told of."""
    peer, first = await answering(bench, 8)
    await peer.send(keep_alive(peer, first, (2, 1), (2, 2)))
    await judge(peer, first, there={2, 5, 6}, why="a KEEP_ALIVE with the pairs (2, 1) and (2, 2)")


# 7.4.4


@case(REVISION, "7.4.4/no-repeat-before-four-rtt", slow=True, quick=True)
async def not_too_soon(bench: Bench) -> None:
    """ACK_FLUSHes that deny two packets, ten a second: the first repeat comes four round trips after the packet."""
    peer, first = await answering(bench, 2)
    began = sent_at(bench, peer, first)
    wanted = PATIENCE * FIRST
    while bench.elapsed < began + 2 * wanted:
        await peer.send(flush(peer, first))
        for packet in await peer.drain(0.1):
            if not packet.in_band:
                continue
            waited = time_of(bench, packet) - began
            if waited < 0.9 * wanted:
                text = f"a packet was repeated after {waited:.2f} s"
                raise Violation(text, packet, expected=f"{wanted:.2f} s", seen=f"{waited:.2f} s")
            return
    raise Violation("what is denied again and again was not repeated", expected=f"{wanted:.2f} s")


def time_of(bench: Bench, packet: Packet) -> float:
    """When a packet came."""
    place = bench.place_of(packet)
    assert place is not None
    return bench.exchanges[place].time


def sent_at(bench: Bench, peer: Peer, sn: int) -> float:
    """When the first packet of that number came."""
    return next(time_of(bench, packet) for packet in peer.received if packet.in_band and packet.sn == sn)


@case(REVISION, "7.4.4/repeat-after-four-rtt", slow=True)
async def at_once(bench: Bench) -> None:
    """Long after the first repeat, and before the next is due, a KEEP_ALIVE denies the packet: it comes at once."""
    peer, first = await answering(bench, 2)
    await bench.sleep(FIRST - bench.blink)
    await peer.send(keep_alive(peer, first, (1, later(peer.expected, first) - 1)))  # the round trip stays what it is
    await peer.reach(numbered(first), 2 * PATIENCE * FIRST)
    await peer.drain(bench.blink)
    quiet = 1.25 * PATIENCE * FIRST
    began = bench.elapsed
    while (packet := await peer.next(max(began + quiet - bench.elapsed, 0.0))) is not None:
        if numbered(first)(packet):
            return  # the KEEP_ALIVE before still denies it, and it is four round trips old again
    await peer.send(keep_alive(peer, first, (1, later(peer.expected, first) - 1)))
    began = bench.elapsed
    await peer.expect(numbered(first), 10.0)
    waited = bench.elapsed - began
    if waited > bench.silence:
        text = f"a packet sent more than four round trips ago was repeated {waited:.2f} s after it was denied"
        raise Violation(text, expected="at once", seen=f"{waited:.2f} s")


case(REVISION, "7.4.4/repeat-same-number-and-data", slow=True)(same_packet)


@case(REVISION, "7.4.4/repeats-become-rarer", slow=True)
async def rarer(bench: Bench) -> None:
    """Nobody answers: the packet comes again after four round trips, and then each time after twice as long."""
    peer, first = await answering(bench, 1)
    times = [sent_at(bench, peer, first)]
    deadline = bench.elapsed + 20.0
    while (packet := await peer.next(max(deadline - bench.elapsed, 0.0))) is not None:
        if packet.in_band and packet.sn == first:
            times.append(bench.elapsed)
    gaps = [round(b - a, 2) for a, b in itertools.pairwise(times)]
    if len(gaps) < 4:
        raise Violation(f"{len(gaps)} repeats in 20 s: {gaps}", expected="4", seen=str(len(gaps)))
    compare(gaps[0], PATIENCE * FIRST)
    if not all(1.7 < b / a < 2.3 for a, b in itertools.pairwise(gaps[:4])):
        raise Violation(f"repeats came after {gaps} s", expected="twice as long each time", seen=str(gaps))


@case(REVISION, "7.4.4/repeats-become-rarer:floor")
async def floor(bench: Bench) -> None:
    """A connection with next to no round trip: no packet comes again within 10 ms."""
    peer = await bench.peer()
    await peer.connect()
    for turn in range(4):
        await peer.transaction(b"turn %d" % turn)
        await peer.reach(IN_STREAM & ending(True))
        await peer.drain(0.1)
        await peer.acknowledge()
        await peer.drain(bench.blink)
    seen: dict[int, float] = {}
    for packet in peer.received:
        if not packet.in_band:
            continue
        at = time_of(bench, packet)
        if at - seen.get(packet.sn, -1.0) < 0.008:
            raise Violation("a packet was repeated within 10 ms", packet, expected="10 ms or more")
        seen[packet.sn] = at
