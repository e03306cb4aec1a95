"""Sections 8.6 and 8.7: windows, and congestion."""

from __future__ import annotations

import itertools

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import AN_ACKNOWLEDGEMENT, acknowledging, an
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION = "gao-07"
FLAG_ECE = 0x10
FLAG_SRR = 0x08
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT)


async def narrow(bench: Bench, window: int) -> Peer:
    """A connection on which we admit so many packets."""
    peer = await bench.peer()
    peer.window = window
    await peer.connect()
    return peer


def beyond(peer: Peer, packets: list[Packet], edge: int) -> list[Packet]:
    """New packets at or after the right edge."""
    return [packet for packet in packets if packet.in_band and later(packet.sn, edge) >= 0]


@case(REVISION, "8.6/initiator-heeds-first-window", role="initiator")
async def client_heeds(bench: Bench) -> None:
    """ACK_CONNECT_REQ admits one packet: the client sends its confirmation and nothing more until the window grows."""
    peer = await bench.waiting_peer()
    await peer.hear_request()
    await peer.send(peer.acceptance(window=1))
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    confirmation = await peer.expect(an(Op.NULCOMMIT, Op.PERSIST))
    over = beyond(peer, await peer.drain(), (confirmation.sn + 1) & MASK)
    if over:
        raise Violation("more packets than ACK_CONNECT_REQ admits", over[0])


@case(REVISION, "8.6/responder-heeds-first-window", "8.6/never-beyond-window", quick=True)
async def server_heeds(bench: Bench) -> None:
    """We admit three packets in the confirmation: of a long echo three come, then three more with the next window."""
    peer = await narrow(bench, 3)
    edge = (peer.expected + 3) & MASK
    await peer.transaction(bytes(8000))
    came = await peer.drain()
    if over := beyond(peer, came, edge):
        raise Violation("a packet beyond the window", over[0], expected=f"below {edge}", seen=str(over[0].sn))
    if later(peer.expected, edge) < 0:
        raise Inconclusive("the echo did not fill the window")
    await peer.send(Op.KEEP_ALIVE)
    await peer.expect(IN_STREAM)
    if over := beyond(peer, [*peer.received[-1:], *await peer.drain()], (edge + 3) & MASK):
        raise Violation("a packet beyond the window", over[0])


@case(REVISION, "8.6/initial-window-at-least-four", "8.6/window-upper-bound")
async def first_window(bench: Bench) -> None:
    """ACK_CONNECT_REQ advertises at least 4 blocks, and no packet more than 2^20 - 1."""
    peer = await bench.peer()
    answer = await peer.challenge()
    peer.established = True
    if answer.window < 4:
        raise Violation(f"ACK_CONNECT_REQ advertises {answer.window} blocks", answer, expected="4 or more")
    await peer.commit()
    await peer.echo(b"window")
    for packet in peer.received:
        if packet.authentic and packet.op is not Op.RESET and packet.window > 2**20 - 1:
            raise Violation(f"{packet.name} advertises {packet.window} blocks", packet, expected="below 2^20")


@case(REVISION, "8.6/initial-window-at-least-four:initiator", role="initiator")
async def client_window(bench: Bench) -> None:
    """The packet that confirms advertises at least 4 blocks."""
    peer = await bench.waiting_peer()
    packet = await peer.accept()
    if packet.window < 4:
        raise Violation(f"{packet.name} advertises {packet.window} blocks", packet, expected="4 or more")


async def stuffed(bench: Bench, octets: int = 1000) -> Peer:
    """We admit one packet of the echo, and send until the target's window is shut: its application cannot read."""
    peer = await narrow(bench, 1)
    op = Op.PERSIST
    for _ in range(20_000):
        while later(peer.right_edge, peer.sn) > 0:
            await peer.send(op, bytes(octets))
            op = Op.PURE_DATA
            if later(peer.sn, peer.acknowledged) >= 64:
                break
        packet = await peer.next(bench.patience)
        if packet is None:
            break
    if later(peer.right_edge, peer.sn) > 0:
        raise Inconclusive("the target's window does not shut, however much it cannot send back")
    await peer.drain()
    return peer


@case(REVISION, "8.6/current-window-told", slow=True)
async def window_shrinks(bench: Bench) -> None:
    """The echo is held back, so nothing is read: windows shrink to nothing, and grow when the echo may go on."""
    peer = await stuffed(bench)
    shut = [packet.window for packet in peer.received if packet.out_of_band]
    if shut[-1] >= max(shut):
        raise Violation(f"the window is {shut[-1]} while nothing is read", peer.received[-1])
    peer.window = 512
    for _ in range(200):
        await peer.acknowledge()
        came = await peer.drain(bench.blink)
        if any(packet.out_of_band and packet.window > shut[-1] for packet in came):
            return
    raise Violation("the window does not grow although the application reads again")


@case(REVISION, "8.6/opening-announced", slow=True)
async def opening(bench: Bench) -> None:
    """The shut window opens: an out-of-band packet says so, without a packet of ours that would draw it."""
    peer = await stuffed(bench)
    edge = peer.right_edge
    peer.window = 512
    for _ in range(200):
        await peer.acknowledge()  # out of band: it is not answered, but lets the echo go on
        for packet in await peer.drain(bench.blink):
            if packet.out_of_band and later(peer.right_edge, edge) > 0:
                return
    raise Violation("the window opened, and nobody was told")


@case(REVISION, "8.6/probe-answered-without-room", slow=True)
async def probe_without_room(bench: Bench) -> None:
    """A packet at the right edge of a shut window draws a SNACK that shows what is expected, and is not taken."""
    peer = await stuffed(bench)
    edge = peer.right_edge
    await peer.send(Op.PURE_DATA, b"probe", sn=edge)
    answer = await peer.expect(AN_ACKNOWLEDGEMENT, otherwise="a probe of the shut window was not answered")
    if answer.acknowledged is not None and later(answer.acknowledged, edge) > 0:
        raise Violation("the probe was taken although there is no room", answer)


@case(REVISION, "8.6/edge-never-moves-back")
async def edge_stays(bench: Bench) -> None:
    """A smaller window, in a later and in an older packet: the target still sends as much as the larger one admits."""
    peer = await narrow(bench, 6)
    await peer.send(Op.PERSIST, bytes(1000), window=2)
    for _ in range(5):
        await peer.send(Op.PURE_DATA, bytes(1000), window=2)
    await peer.send(Op.PURE_DATA, bytes(1000), window=2, flags=FLAG_EOT)
    await peer.drain()
    came = len(peer.stream) - 1
    if came < 6:
        raise Violation(f"{came} packets came of 6 that had been admitted", expected="6", seen=str(came))


@case(REVISION, "8.6/tiny-window-accepted")
async def tiny(bench: Bench) -> None:
    """Windows of 1, 2 and 3 blocks: an echo of ten packets comes through each of them."""
    for window in (1, 2, 3):
        peer = await narrow(bench, window)
        data = bench.random.randbytes(6000)
        start = len(peer.stream)
        await peer.transaction(data)
        for _ in range(40):
            await peer.drain(bench.blink)
            if peer.complete:
                break
            await peer.acknowledge()
        found = b"".join(packet.payload for packet in peer.stream[start:])
        if found != data:
            raise Violation(f"through a window of {window} blocks came {len(found)} of {len(data)} octets")


async def probes_of(peer: Peer, edge: int, seconds: float) -> list[float]:
    """When probes of a shut window came in so many seconds; they have the number of its right edge, and none other."""
    times = []
    deadline = peer.bench.elapsed + seconds
    while (packet := await peer.next(max(deadline - peer.bench.elapsed, 0.0))) is not None:
        if packet.in_band:
            if packet.sn != edge:
                raise Violation("another packet than the one just beyond the window", packet)
            times.append(peer.bench.elapsed)
    return times


@case(REVISION, "8.6/shut-window-probed", slow=True)
async def probes(bench: Bench) -> None:
    """No window at all: the packet just beyond it comes once per time-out, at growing intervals, and no other."""
    peer = await narrow(bench, 0)
    edge = peer.expected
    await peer.transaction(bytes(3000))
    times = await probes_of(peer, edge, 20.0)
    if len(times) < 3:
        raise Violation(f"{len(times)} probes of the shut window in 20 s", expected="3 or more", seen=str(len(times)))
    gaps = [b - a for a, b in itertools.pairwise(times)]
    if min(gaps) < 0.9:
        raise Violation(f"probes came after {gaps}", expected="a second or more apart")
    if gaps[-1] < 1.5 * gaps[0]:
        raise Violation(f"probes came after {gaps}", expected="growing intervals")


@case(REVISION, "8.6/beyond-window-dropped", quick=True)
async def far_beyond(bench: Bench) -> None:
    """Packets far beyond the window are not taken, nor told of as received; one within it is, afterwards."""
    peer = await bench.peer()
    await peer.reach_active()
    for step in (0, 1, 1000, 2**20, 2**31 - 3000):
        await peer.send(Op.PURE_DATA, b"far", flags=FLAG_EOT, sn=(peer.right_edge + 1 + step) & MASK)
    await peer.send(Op.PURE_DATA, b"near")
    for packet in await peer.drain():
        if packet.payload == b"far":
            raise Violation("a packet beyond the window was delivered", packet)
        if packet.snack is not None and packet.snack.gaps:
            raise Violation("a packet beyond the window was told of as received", packet)
    if not acknowledging(peer.sn)(peer.received[-1]):
        raise Violation("a packet within the window was not taken", peer.received[-1])


# 8.7


async def round_trips(peer: Peer, count: int, *, flags: int = 0) -> list[int]:
    """Acknowledge what has come, so often, half a second apart; how many new packets each drew."""
    found = []
    for _ in range(count):
        before = peer.expected
        await peer.send(Op.KEEP_ALIVE, flags=flags)
        await peer.drain(0.5)
        found.append((peer.expected - before) & MASK)
    return found


async def long_echo(bench: Bench, beside: Peer | None = None) -> Peer:
    """A connection on which the target has sent its first flight of a long echo; the window is no limit."""
    peer = await bench.peer(beside)
    peer.window = 4096
    await peer.connect()
    known = peer.expected  # nothing of the echo is acknowledged before its first flight is out
    op = Op.PERSIST
    for _ in range(2500):
        if later(peer.right_edge, peer.sn) <= 0 or later(peer.sn, peer.acknowledged) >= 128:
            packet = await peer.next(bench.patience)
            if packet is None:
                break
            continue
        await peer.send(op, bytes(1000), expected=known)
        op = Op.PURE_DATA
    await peer.drain(0.5)
    return peer


@case(REVISION, "8.7/congestion-managed", slow=True)
async def managed(bench: Bench) -> None:
    """The first flight of a long echo is limited; more comes per round trip as it is acknowledged."""
    peer = await long_echo(bench)
    first = len(peer.stream) - 1
    if first > 100:
        raise Violation(
            f"{first} packets were sent before any was acknowledged", expected="a limited flight", seen=str(first)
        )
    rounds = await round_trips(peer, 4)
    if max(rounds) <= first:
        raise Violation(f"flights do not grow as they are acknowledged: {first}, then {rounds}")


@case(REVISION, "8.7/prefix-keyed-state", slow=True)
async def shared_state(bench: Bench) -> None:
    """One connection's flight is lost again and again: a second one from the same address begins with less."""
    fresh = await long_echo(bench)
    before = len(fresh.stream) - 1
    await fresh.drain(8.0)  # nothing of it is acknowledged: time-outs
    second = await long_echo(bench, fresh)
    after = len(second.stream) - 1
    if after >= before:
        raise Violation(
            f"a connection beside one whose packets are lost sent {after} packets at first, as {before} before"
        )


@case(REVISION, "8.7/ece-reduces-rate", slow=True)
async def reduces(bench: Bench) -> None:
    """ECE in an acknowledgement: fewer packets come in the round trip afterwards than would have."""
    peer = await long_echo(bench)
    grown = await round_trips(peer, 3)
    marked = await round_trips(peer, 2, flags=FLAG_ECE)
    if marked[-1] >= grown[-1]:
        raise Violation(f"flights of {grown} packets, with ECE {marked}", expected="fewer", seen=str(marked[-1]))


@case(REVISION, "8.7/one-reduction-until-srr", slow=True)
async def reduces_once(bench: Bench) -> None:
    """ECE goes on for several packets of one round trip: one reduction, not one each; SRR tells of it."""
    peer = await long_echo(bench)
    grown = await round_trips(peer, 3)
    for _ in range(6):
        await peer.send(Op.KEEP_ALIVE, flags=FLAG_ECE)
    came = await peer.drain(0.5)
    if not any(packet.flags & FLAG_SRR for packet in came):
        raise Violation("no packet after ECE has SRR", came[-1] if came else None)
    after = await round_trips(peer, 1)
    if after[0] * 4 < grown[-1]:
        raise Violation(f"six packets with ECE in one round trip: flights of {grown}, then {after}")


@case(REVISION, "8.7/reduces-again-after-srr", slow=True)
async def reduces_again(bench: Bench) -> None:
    """ECE, SRR acknowledged, ECE again: the flight shrinks twice."""
    peer = await long_echo(bench)
    await round_trips(peer, 4)
    once = (await round_trips(peer, 3, flags=0))[-1]
    await round_trips(peer, 1, flags=FLAG_ECE)
    first = (await round_trips(peer, 1))[-1]
    await round_trips(peer, 1, flags=FLAG_ECE)
    second = (await round_trips(peer, 1))[-1]
    if not second < once:
        raise Violation(f"flights of {once} packets, {first} after ECE, {second} after ECE and SRR and ECE again")


@case(REVISION, "8.7/forged-ece-ignored", slow=True)
async def forged_ece(bench: Bench) -> None:
    """ECE in packets that do not verify, and in copies: no packet gets SRR, and flights go on growing."""
    peer = await long_echo(bench)
    await round_trips(peer, 2)
    for turn in range(5):
        await peer.send(peer.packet(Op.KEEP_ALIVE, flags=FLAG_ECE, icc=bytes(8), serial=peer.serial + turn))
    far = (peer.right_edge + 2**20) & MASK
    await peer.send(Op.PURE_DATA, b"far", sn=far, flags=FLAG_ECE)
    await round_trips(peer, 2)
    marked = [
        packet for packet in peer.received if packet.authentic and packet.op is not Op.RESET and packet.flags & FLAG_SRR
    ]
    if marked:
        raise Violation("forged ECE was believed: a packet has SRR", marked[0])


@case(REVISION, "8.6/window-upper-bound:edge")
async def whole_window(bench: Bench) -> None:
    """As many packets as the target admits, sent at once with the first one missing, are all kept."""
    peer = await bench.peer()
    await peer.connect()
    first = peer.packet(Op.PERSIST, b"0")
    peer.sn = (peer.sn + 1) & MASK
    count = min(later(peer.right_edge, peer.sn), 256)
    for _ in range(count - 1):
        await peer.send(Op.PURE_DATA, b".")
    await peer.send(Op.PURE_DATA, b"!", flags=FLAG_EOT)
    await peer.drain()
    await peer.send(first)
    await peer.expect(
        an(Op.ACK_FLUSH) & acknowledging(peer.sn), otherwise=f"not all of {count} admitted packets were kept"
    )
