"""Sections 8.5.2 and 8.5.3: when a SNACK is sent, and what is made of one."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import AN_ACKNOWLEDGEMENT, DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, Sink, Snack, later

REVISION = "gao-07"
ROUND_TRIP = 0.4
"""Seconds that the target takes for its first round trip, since we keep it waiting in the handshake."""
SECOND = 1.0
"""The least retransmission time-out (8.5.4)."""
SNACKS = an(Op.KEEP_ALIVE, Op.ACK_FLUSH)
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT)


async def slow_peer(bench: Bench, seconds: float = ROUND_TRIP) -> Peer:
    """A connection, not yet confirmed, whose responder has seen a round trip of so many seconds (8.5.1)."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    await bench.sleep(seconds)
    await peer.send(peer.request())
    peer.accepted(await peer.reach(Op.ACK_CONNECT_REQ))
    peer.established = True
    return peer


def slack(seconds: float) -> float:
    return 1.3 * seconds + 0.1


@case(REVISION, "8.5.2/within-one-rtt")
async def within_a_round_trip(bench: Bench) -> None:
    """The SNACK for a packet of an open transaction comes within the round trip that the handshake has shown."""
    peer = await slow_peer(bench)
    peer.window = 0
    began = bench.elapsed
    await peer.send(Op.PERSIST, b"open")
    await peer.expect(AN_ACKNOWLEDGEMENT & acknowledging(peer.sn))
    waited = bench.elapsed - began
    if waited > slack(ROUND_TRIP):
        raise Violation(f"the SNACK came after {waited:.2f} s", expected=f"{ROUND_TRIP} s", seen=f"{waited:.2f} s")


@case(REVISION, "8.5.2/not-put-off")
async def steady_flow(bench: Bench) -> None:
    """A packet every 50 ms for a second: the first SNACK comes within a round trip of the first packet."""
    peer = await slow_peer(bench)
    peer.window = 0
    began = bench.elapsed
    op = Op.PERSIST
    came: list[float] = []
    for _ in range(20):
        await peer.send(op, b"flow")
        op = Op.PURE_DATA
        if any(SNACKS(packet) for packet in await peer.drain(0.05)):
            came.append(bench.elapsed - began)
    if not came or came[0] > slack(ROUND_TRIP):
        seen = f"{came[0]:.2f} s" if came else "none in a second"
        raise Violation(f"under a steady flow the first SNACK: {seen}", expected=f"{ROUND_TRIP} s", seen=seen)


@case(REVISION, "8.5.2/keep-alive-while-open", "8.5.2/ack-flush-when-complete")
async def which_of_both(bench: Bench) -> None:
    """Every SNACK of an open transaction is in a KEEP_ALIVE, every SNACK of a complete one in an ACK_FLUSH."""
    peer = await bench.peer()
    await peer.connect()
    for _ in range(3):
        await peer.send(Op.PERSIST, b"open")
        for packet in await peer.drain():
            if packet.op is Op.ACK_FLUSH:
                raise Violation("ACK_FLUSH while the transaction is open", packet)
        await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
        complete = peer.sn
        for packet in await peer.drain():
            if packet.op is Op.KEEP_ALIVE and acknowledging(complete)(packet):
                raise Violation("KEEP_ALIVE although the transaction is complete", packet)
        await peer.acknowledge()
        await peer.drain(bench.blink)


@case(REVISION, "8.5.2/out-of-band-unanswered", quick=True)
async def no_answer(bench: Bench) -> None:
    """KEEP_ALIVEs and ACK_FLUSHes of ours, five of each, draw nothing."""
    peer = await bench.peer()
    await peer.connect()
    await peer.drain(2 * bench.silence)
    for _ in range(5):
        await peer.send(Op.KEEP_ALIVE)
        await peer.send(Op.ACK_FLUSH)
    await peer.quiet(4 * bench.silence, otherwise="an acknowledgement was acknowledged")


@case(REVISION, "8.5.2/duplicate-draws-snack")
async def duplicate(bench: Bench) -> None:
    """A packet of an open transaction comes again, when all is quiet: a SNACK comes within a round trip."""
    peer = await slow_peer(bench)
    peer.window = 0
    packet = await peer.send(Op.PERSIST, b"open")
    await peer.reach(AN_ACKNOWLEDGEMENT & acknowledging(peer.sn))
    await peer.drain(2 * ROUND_TRIP)
    began = bench.elapsed
    await peer.send(packet)
    await peer.expect(an(Op.KEEP_ALIVE) & acknowledging(peer.sn), otherwise="a repeated packet drew no SNACK")
    if bench.elapsed - began > slack(ROUND_TRIP):
        raise Violation(f"the SNACK for a repeated packet came after {bench.elapsed - began:.2f} s")


@case(REVISION, "8.5.3/both-carry-snack", "8.5.3/ack-flush-without-gaps")
async def snack_in_all(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH have a SNACK; that of ACK_FLUSH has no gap, 40 octets in all."""
    peer = await bench.peer()
    await peer.connect()
    await peer.send(Op.PERSIST, b"open")
    await peer.drain()
    await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
    await peer.drain()
    kinds = set()
    for packet in peer.received:
        if not SNACKS(packet):
            continue
        kinds.add(packet.op)
        if packet.snack is None:
            raise Violation(f"{packet.name} has no SNACK", packet)
        if packet.op is Op.ACK_FLUSH and (packet.snack.gaps or len(bench.octets_of(packet)) != 8 + 40):
            raise Violation("ACK_FLUSH has gaps, or not 40 octets", packet)
    if kinds != {Op.KEEP_ALIVE, Op.ACK_FLUSH}:
        raise Inconclusive("the target did not send both kinds")


# what a sender makes of them


async def answering(bench: Bench, packets: int = 6) -> tuple[Peer, int]:
    """The target has sent an echo of so many packets, and knows nothing of their fate; the number of the first."""
    peer = await bench.peer()
    await peer.connect()
    first = peer.expected
    data = bytes(1024 * (packets - 1) + 500)
    await peer.transaction(data)
    got = 0
    while got < len(data):
        packet = await peer.next()
        if packet is None:
            raise Inconclusive(f"{got} of {len(data)} octets of the echo came")
        got += len(packet.payload)
    await peer.drain(bench.blink)
    if later(peer.expected, first) < packets:
        raise Inconclusive("the target packs its echo into fewer packets")
    return peer, first


def keep_alive(peer: Peer, expected: int, *gaps: tuple[int, int]) -> Packet:
    """A KEEP_ALIVE that tells of gaps."""
    snack = Snack(gaps, expected=expected, delay_sample=(expected - 1) & MASK)
    packet = peer.packet(Op.KEEP_ALIVE, extensions=(Sink(), snack))
    peer.serial += 1
    return packet


async def repeats(peer: Peer, seconds: float = 4.0) -> list[int]:
    """Numbers of in-band packets that come within some seconds, all of them repeats."""
    return [packet.sn for packet in await peer.drain(seconds) if packet.in_band]


@case(REVISION, "8.5.3/gaps-repeated", "8.5.3/received-runs-not-repeated", "8.5.3/tail-repeated", slow=True, quick=True)
async def gaps_and_runs(bench: Bench) -> None:
    """Of six packets the first, the fourth and what is behind the fifth are missing: those come again, no others."""
    peer, first = await answering(bench)
    await peer.send(keep_alive(peer, first, (1, 2), (1, 1)))
    came = {later(sn, first) for sn in await repeats(peer)}
    if came & {1, 2, 4}:
        raise Violation(f"packets that were reported as received were repeated: {sorted(came)}", seen=str(sorted(came)))
    if not {0, 3, 5} <= came:
        raise Violation(f"packets that were reported missing were not repeated: {sorted(came)}", seen=str(sorted(came)))


@case(REVISION, "8.5.3/ack-flush-with-gaps")
async def flush_with_gaps(bench: Bench) -> None:
    """An ACK_FLUSH that expects everything and yet lists a gap does not let the next transaction begin."""
    peer = await bench.peer()
    await peer.reach_committing2()
    end = peer.stream[-1].sn
    snack = Snack(((1, 1),), expected=peer.expected, delay_sample=end)
    await peer.send(Op.ACK_FLUSH, extensions=(snack,))
    await peer.drain(bench.blink)
    await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT, expected=end)
    for packet in await peer.drain():
        if packet.in_band and later(packet.sn, end) > 0:
            raise Violation("an ACK_FLUSH with a gap ended the commitment", packet)


@case(REVISION, "8.5.3/older-snack-ignored", slow=True)
async def older_snack(bench: Bench) -> None:
    """A SNACK with an older serial reports as received what is not: all of it is repeated nevertheless."""
    peer, first = await answering(bench)
    late = keep_alive(peer, first, (1, 4))
    await peer.send(keep_alive(peer, first, (1, 1)))
    await peer.send(late)
    came = {later(sn, first) for sn in await repeats(peer)}
    if not {0, 2, 3, 4} <= came:
        raise Violation("an older SNACK was believed", seen=str(sorted(came)), expected="0, 2, 3, 4, 5")


@case(REVISION, "8.5.3/ack-flush-denies-rest", slow=True)
async def flush_denies(bench: Bench) -> None:
    """An ACK_FLUSH expects the third packet: this one and all behind it are repeated, the first two are not."""
    peer, first = await answering(bench)
    snack = Snack(expected=(first + 2) & MASK, delay_sample=(first + 1) & MASK)
    await peer.send(Op.ACK_FLUSH, extensions=(snack,))
    came = {later(sn, first) for sn in await repeats(peer)}
    if came & {0, 1} or not {2, 3, 4, 5} <= came:
        raise Violation(
            f"after ACK_FLUSH these were repeated: {sorted(came)}", expected="2, 3, 4, 5", seen=str(sorted(came))
        )


async def void(bench: Bench, gaps: tuple[tuple[int, int], ...], what: str) -> None:
    """A SNACK with such an entry counts for nothing: all packets are repeated."""
    peer, first = await answering(bench)
    await peer.send(keep_alive(peer, first, *gaps))
    came = {later(sn, first) for sn in await repeats(peer)}
    if not {0, 1, 2, 3, 4, 5} <= came:
        raise Violation(f"a SNACK with {what} was believed", expected="all six repeated", seen=str(sorted(came)))


@case(REVISION, "8.5.3/overrunning-entry-void", slow=True)
async def overrunning(bench: Bench) -> None:
    """An entry reaches beyond the last packet sent."""
    await void(bench, ((1, 2), (1, 500)), "an entry beyond what was sent")


@case(REVISION, "8.5.3/empty-entry-void", slow=True)
async def empty_entry(bench: Bench) -> None:
    """A gap has no width."""
    await void(bench, ((0, 3),), "a gap of no width")


@case(REVISION, "8.5.3/empty-entry-void:length", slow=True)
async def empty_run(bench: Bench) -> None:
    """A run has no length."""
    await void(bench, ((1, 0), (1, 2)), "a run of no length")


@case(REVISION, "8.5.3/expected-beyond-sent", slow=True)
async def beyond_sent(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH acknowledge what was not sent: the echo is repeated as if they had not come."""
    peer, first = await answering(bench)
    beyond = (peer.expected + 3) & MASK
    await peer.send(keep_alive(peer, beyond))
    await peer.send(Op.ACK_FLUSH, extensions=(Snack(expected=beyond, delay_sample=(beyond - 1) & MASK),))
    if first not in await repeats(peer):
        raise Violation("a SNACK that acknowledges what was not sent was believed")


@case(REVISION, "8.5.3/reported-run-kept", slow=True)
async def run_kept(bench: Bench) -> None:
    """Three packets behind a gap are told of as received; the gap is filled: all is delivered without their repeat."""
    peer = await bench.peer()
    await peer.reach_active()
    missing = peer.packet(Op.PURE_DATA, b"0")
    peer.sn = (peer.sn + 1) & MASK
    for text in (b"1", b"2", b"3"):
        await peer.send(Op.PURE_DATA, text)
    told = [packet for packet in await peer.drain(1.5) if packet.snack is not None and packet.snack.gaps]
    if not told:
        raise Inconclusive("no SNACK tells of the gap")
    await bench.sleep(5.0)
    await peer.send(missing)
    await peer.expect(AN_ACKNOWLEDGEMENT & acknowledging(peer.sn), otherwise="a run that was told of was thrown away")
    found = b"".join(packet.payload for packet in peer.stream)
    if not found.endswith(b"0123"):
        raise Violation("what was kept was not delivered in order", seen=repr(found[-8:]))


@case(REVISION, "8.5.3/ack-flush-denies-rest:end", slow=True)
async def flush_repeats_end(bench: Bench) -> None:
    """An ACK_FLUSH that expects the packet with EoT: that packet comes again, and after the right one no more."""
    peer = await bench.peer()
    await peer.reach_committing2()
    end = peer.stream[-1]
    right = peer.expected
    peer.expected = end.sn
    await peer.send(Op.ACK_FLUSH)
    peer.expected = right
    await peer.expect(IN_STREAM & ending(True), 10.0)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.transaction(b"next")
    await peer.expect(DATA & carrying(b"next"))
