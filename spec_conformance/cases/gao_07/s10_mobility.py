"""Section 10: heartbeats, and peers that move."""

from __future__ import annotations

from dataclasses import replace

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import AN_ACKNOWLEDGEMENT, DATA, acknowledging, an, carrying
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Unsupported, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Sink, Snack, later

REVISION = "gao-07"
HEARTBEAT = 600.0
HEARTBEATS = an(Op.KEEP_ALIVE, Op.ACK_FLUSH)


async def connected(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    return peer


async def elsewhere(peer: Peer) -> Peer:
    """Another address of the same end: what is sent from there counts the numbers of `peer`."""
    other = await peer.bench.peer()
    other.local, other.remote = peer.local, peer.remote
    other.sending, other.receiving = peer.sending, peer.receiving
    other.sn, other.expected, other.serial, other.window = peer.sn, peer.expected, peer.serial, peer.window
    return other


@case(REVISION, "10.1/heartbeat-in-connected-states", slow=True)
async def beats_when_open(bench: Bench) -> None:
    """An hour in COMMITTED, where our transaction is open: heartbeats come."""
    if not bench.target.virtual:
        raise Unsupported("an hour is too long for a run in real time")
    peer = await bench.peer()
    await peer.connect()
    peer.window = 512
    await peer.send(Op.PERSIST, b"open")
    await peer.reach(DATA)
    await peer.acknowledge()
    came = [packet for packet in await peer.drain(3700.0) if packet.op is Op.KEEP_ALIVE]
    if not 4 <= len(came) <= 9:
        raise Violation(f"{len(came)} heartbeats in an hour", expected="about 6", seen=str(len(came)))


@case(REVISION, "10.1/period-of-600-seconds", "10.1/heartbeat-without-payload", slow=True)
async def period(bench: Bench) -> None:
    """An hour in CLOSABLE: heartbeats come 600 seconds apart, with a SNACK and without payload."""
    if not bench.target.virtual:
        raise Unsupported("an hour is too long for a run in real time")
    peer = await connected(bench)
    await peer.drain(1.0)
    last: float | None = None
    deadline = bench.elapsed + 3 * HEARTBEAT + 60.0
    count = 0
    while (packet := await peer.next(max(deadline - bench.elapsed, 0.0))) is not None:
        if not HEARTBEATS(packet):
            raise Violation("an idle end sends something else than heartbeats", packet)
        if packet.payload or packet.snack is None:
            raise Violation("a heartbeat has payload, or no SNACK", packet)
        if last is not None and not 0.9 * HEARTBEAT <= bench.elapsed - last <= 1.1 * HEARTBEAT:
            raise Violation(f"heartbeats are {bench.elapsed - last:.0f} seconds apart", packet, expected="600")
        last = bench.elapsed
        count += 1
    if count < 3:
        raise Violation(f"{count} heartbeats in half an hour", expected="3", seen=str(count))


@case(REVISION, "10.1/sink-parameter-optional", "10.6/sink-parameter-in-packets")
async def any_order(bench: Bench) -> None:
    """KEEP_ALIVE with the Sink Parameter before the SNACK, behind it, and without: each acknowledges as the others."""
    for order in ("before", "behind", "without"):
        peer = await bench.peer()
        await peer.reach_active()
        await peer.send(Op.PURE_DATA, b"more", expected=(peer.expected - 1) & MASK)
        await peer.reach(DATA & carrying(b"more"))
        snack = Snack(expected=peer.expected, delay_sample=(peer.expected - 1) & MASK)
        headers = {"before": (Sink(), snack), "behind": (snack, Sink()), "without": (snack,)}[order]
        await peer.send(Op.KEEP_ALIVE, extensions=headers)
        await peer.drain(bench.blink)
        wrong = f"a KEEP_ALIVE with the Sink Parameter {order} the SNACK was not understood"
        await peer.quiet(3.0, but=AN_ACKNOWLEDGEMENT, otherwise=wrong)


@case(REVISION, "10.6/sink-parameter-in-packets:nulcommit")
async def sink_in_nulcommit(bench: Bench) -> None:
    """NULCOMMIT with a Sink Parameter confirms the connection."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await peer.commit(extensions=(Sink(),))
    await peer.expect(an(Op.ACK_FLUSH) & acknowledging(peer.sn))


@case(REVISION, "10.1/keep-alive-number", "10.1/keep-alive-serial")
async def keep_alive_numbers(bench: Bench) -> None:
    """KEEP_ALIVEs carry the number of the newest in-band packet, and serials that follow each other."""
    peer = await connected(bench)
    serials = [packet.expected for packet in peer.received if packet.out_of_band]
    op = Op.PERSIST
    for turn in range(3):
        await peer.send(op, b"turn %d" % turn)
        op = Op.PURE_DATA
        found = [packet for packet in await peer.drain() if packet.op is Op.KEEP_ALIVE]
        if not found:
            raise Inconclusive("no KEEP_ALIVE acknowledges data of an open transaction")
        newest = (peer.expected - 1) & MASK
        if found[-1].sn != newest:
            raise Violation("KEEP_ALIVE has another number", found[-1], expected=str(newest), seen=str(found[-1].sn))
        serials += [packet.expected for packet in found]
    if serials != list(range(serials[0], serials[0] + len(serials))):
        raise Violation(f"serials are {serials}", expected="one after the other", seen=str(serials))


@case(REVISION, "10.1/unprocessed-before-confirmation")
async def keep_alive_confirms_nothing(bench: Bench) -> None:
    """KEEP_ALIVE in place of the confirmation draws nothing; NULCOMMIT does."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await peer.send(Op.KEEP_ALIVE)
    await peer.quiet(otherwise="a KEEP_ALIVE before the confirmation was answered")
    await peer.commit()
    await peer.expect(an(Op.ACK_FLUSH))


@case(REVISION, "10.1/unprocessed-after-shutdown")
async def keep_alive_after_release(bench: Bench) -> None:
    """KEEP_ALIVE after RELEASE is not answered."""
    peer = await connected(bench)
    await peer.send(Op.RELEASE)
    await peer.reach(an(Op.ACK_FLUSH) & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    await peer.send(Op.KEEP_ALIVE)
    await peer.quiet(otherwise="a KEEP_ALIVE after RELEASE was answered")


@case(REVISION, "10.1/no-heartbeat-after-release", slow=True)
async def no_beats(bench: Bench) -> None:
    """Half an hour after RELEASE nothing has come."""
    if not bench.target.virtual:
        raise Unsupported("half an hour is too long for a run in real time")
    peer = await connected(bench)
    await peer.send(Op.RELEASE)
    await peer.reach(an(Op.ACK_FLUSH) & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    await peer.quiet(3 * HEARTBEAT, otherwise="an end that was released sends heartbeats")


@case(REVISION, "10.2/notice-brings-repeats", slow=True)
async def notice_with_gaps(bench: Bench) -> None:
    """KEEP_ALIVE with Sink Parameter and SNACK reports a gap: what is missing is repeated, what is reported is not."""
    peer = await connected(bench)
    known, before = peer.expected, len(peer.stream)
    await peer.transaction(bytes(2500))
    while len(peer.stream) == before or not peer.complete:
        await peer.reach(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT))
    snack = Snack(((1, later(peer.expected, known) - 1),), expected=known, delay_sample=(known - 1) & MASK)
    await peer.send(Op.KEEP_ALIVE, extensions=(Sink(), snack))
    again = {packet.sn for packet in await peer.drain(3.0) if packet.in_band}
    if known not in again:
        raise Violation("the packet in the gap was not repeated", expected=str(known), seen=str(sorted(again)))
    if (known + 1) & MASK in again:
        raise Violation("a packet that was reported as received was repeated")


async def follows(bench: Bench, peer: Peer, other: Peer, what: str) -> None:
    """The echo of a new transaction comes to the other address."""
    other.sn, other.expected, other.serial = peer.sn, peer.expected, peer.serial + 50
    await other.transaction(b"to the new address")
    await other.expect(DATA & carrying(b"to the new address"), otherwise=f"{what}: the answer did not come there")


async def stays(bench: Bench, peer: Peer, other: Peer, what: str) -> None:
    """The target's next packets go to the address that it knew."""
    await peer.transaction(b"to the old address")
    await peer.expect(DATA & carrying(b"to the old address"), otherwise=f"{what}: the target followed")
    await other.quiet(otherwise=f"{what}: something was sent there")


@case(
    REVISION, "10.3/newer-packet-followed", "10.5/port-change-followed", "10.6/addresses-not-discriminated", quick=True
)
async def newer(bench: Bench) -> None:
    """A new packet comes from another port: it is delivered, and the answer goes there."""
    peer = await connected(bench)
    other = await elsewhere(peer)
    await follows(bench, peer, other, "a packet with a newer number came from another port")


@case(REVISION, "10.3/newer-serial-followed")
async def newer_serial(bench: Bench) -> None:
    """A KEEP_ALIVE with a newer serial comes from another port: what the target sends next goes there."""
    peer = await bench.peer()
    peer.window = 1
    await peer.connect()
    await peer.transaction(bytes(3000))
    await peer.drain()
    other = await elsewhere(peer)
    other.window = 64
    await other.send(Op.KEEP_ALIVE)
    await other.expect(DATA, otherwise="an out-of-band packet with a newer serial was not followed")


@case(REVISION, "10.3/older-packet-not-followed")
async def older(bench: Bench) -> None:
    """A packet that was late, with an older number, comes from another port: it counts, but is not followed."""
    peer = await connected(bench)
    late = peer.packet(Op.PERSIST, b"late ")
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"in time", flags=FLAG_EOT)
    await peer.drain()
    other = await elsewhere(peer)
    await other.send(late)
    await peer.expect(DATA, otherwise="an older packet from another address was followed")
    await other.quiet(otherwise="an older packet from another address was answered there")


@case(REVISION, "10.3/replayed-packet-not-followed", quick=True)
async def replayed(bench: Bench) -> None:
    """Recorded packets, the newest among them, come from another port: the target stays."""
    peer = await connected(bench)
    await peer.echo(b"recorded")
    recorded = peer.sent[-3:]
    other = await elsewhere(peer)
    for datagram in recorded:
        await other.send_octets(datagram)
    await bench.sleep(bench.silence)
    await peer.drain(bench.blink)
    await stays(bench, peer, other, "recorded packets came from another address")


@case(REVISION, "10.3/forged-packet-not-followed", quick=True)
async def forged(bench: Bench) -> None:
    """Packets with a wrong check code and the newest numbers come from another port: the target stays."""
    peer = await connected(bench)
    other = await elsewhere(peer)
    await other.send(Op.PERSIST, b"forged", flags=FLAG_EOT, icc=bytes(8), sn=peer.sn)
    await other.send(Op.KEEP_ALIVE, icc=bytes(8), serial=peer.serial + 5)
    await bench.sleep(bench.blink)
    await stays(bench, peer, other, "forged packets came from another address")


@case(REVISION, "10.3/crc64-moves-nothing", service="keyed", needs=("aead",))
async def crc_moves_nothing(bench: Bench) -> None:
    """A session under a key: packets under CRC64 with the newest numbers come from another port."""
    peer = await bench.peer()
    await peer.reach_keyed()
    other = await elsewhere(peer)
    crc = peer.sending[0].protection
    for packet in (
        peer.packet(Op.PERSIST, b"forged", flags=FLAG_EOT),
        peer.packet(Op.KEEP_ALIVE, serial=peer.serial + 5),
    ):
        await other.send_octets(peer.wire.encode(packet, crc))
    await bench.sleep(bench.blink)
    await stays(bench, peer, other, "packets under CRC64 came from another address")


@case(REVISION, "10.3/zero-prefixes-count-absent")
async def zero_prefixes(bench: Bench) -> None:
    """A KEEP_ALIVE whose Sink Parameter has only zero prefixes is followed like one without."""
    peer = await bench.peer()
    peer.window = 1
    await peer.connect()
    await peer.transaction(bytes(3000))
    await peer.drain()
    other = await elsewhere(peer)
    other.window = 64
    keep_alive = other.packet(Op.KEEP_ALIVE)
    await other.send(replace(keep_alive, extensions=(Sink(prefixes=(bytes(8),) * 4), *keep_alive.extensions[-1:])))
    await other.expect(DATA, otherwise="a Sink Parameter of zeros kept the target from following")
