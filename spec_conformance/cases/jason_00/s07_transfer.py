"""Sections 7.1 to 7.3, 7.5 and 7.6: transactions, their ends, and windows."""

from __future__ import annotations

import itertools

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07 import s08_commitment, s08_flow, s08_sending
from spec_conformance.cases.gao_07.s08_commitment import connected, echoed
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION = "jason-00"
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA)
FLUSH = an(Op.ACK_FLUSH)
ROUND_TRIP = 0.3
"""Seconds that the target takes for a round trip, since we keep it waiting in the handshake."""


async def slow(bench: Bench, seconds: float, *, window: int | None = None) -> Peer:
    """A connection, not yet confirmed, whose responder will see a round trip of so many seconds (7.4.1)."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await bench.sleep(max(seconds - bench.latency, 0.0))
    if window is not None:
        peer.window = window
    return peer


async def slow_closable(bench: Bench, seconds: float) -> Peer:
    """As `slow`, confirmed with an empty transaction."""
    peer = await slow(bench, seconds)
    await peer.commit()
    await peer.reach(FLUSH & acknowledging(peer.sn))
    return peer


# 7.1, 7.2


case(REVISION, "7.1/transaction-starts-with-persist", quick=True)(s08_sending.opens)
case(REVISION, "7.1/pure-data-start-accepted")(s08_sending.opened_by_pure_data)
case(REVISION, "7.2/pure-data-follows")(s08_sending.continues)


# 7.3


def beyond(packets: list[Packet], edge: int) -> list[Packet]:
    """In-band packets at or after the right edge."""
    return [packet for packet in packets if packet.in_band and later(packet.sn, edge) >= 0]


@case(REVISION, "7.3/initial-window-of-responder", role="initiator")
async def client_heeds(bench: Bench) -> None:
    """The fixed header of ACK_CONNECT_REQ admits one packet, its Sink Parameters 512: the second packet waits."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    await bench.sleep(0.4)
    await peer.send(peer.offer())
    request = await peer.hear_answer()
    await bench.sleep(0.4)
    await peer.send(peer.acceptance(window=1))
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    edge = (request.initial_sn + 1) & MASK
    await peer.reach(IN_STREAM)
    await bench.sleep(0.4)
    if over := beyond(await peer.drain(bench.blink), edge):
        raise Violation("more packets than the fixed header of ACK_CONNECT_REQ admits", over[0])
    if not peer.complete:
        await peer.send(Op.KEEP_ALIVE)
        await peer.expect(IN_STREAM, otherwise="the window was opened, and nothing came")
        return
    peer.window = 0  # the edge stays where it is
    await peer.send(Op.ACK_FLUSH)
    await peer.send(Op.PERSIST, b"answer", flags=FLAG_EOT)
    came = await peer.drain(0.6)  # less than four round trips, when a probe is due
    if over := beyond(came, edge):
        raise Violation("more packets than the fixed header of ACK_CONNECT_REQ admits", over[0])
    peer.window = 8
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(IN_STREAM | an(Op.RELEASE), otherwise="the window was opened, and the client did not go on")


async def fill(bench: Bench, peer: Peer, edge: int, what: str) -> None:
    """The target's packets come up to this right edge and not beyond, though nothing we say moves it."""
    for _ in range(5):
        if over := beyond(await peer.drain(ROUND_TRIP), edge):
            raise Violation(f"a packet beyond {what}", over[0], expected=f"below {edge}", seen=str(over[0].sn))
        if peer.expected == edge:
            return
        await peer.send(Op.KEEP_ALIVE, window=later(edge, peer.expected))
    text = f"{what} admits packets up to {edge}, they came up to {peer.expected}"
    raise Violation(text, expected=str(edge), seen=str(peer.expected))


@case(REVISION, "7.3/initial-window-of-initiator", quick=True)
async def server_heeds(bench: Bench) -> None:
    """CONNECT_REQUEST tells of 512 blocks, the first PERSIST of 4: of an echo of eight packets four come."""
    peer = await slow(bench, ROUND_TRIP, window=4)
    first = peer.expected
    await peer.send(Op.PERSIST, bytes(1000))
    for turn in range(7):
        await peer.send(Op.PURE_DATA, bytes(1000), flags=FLAG_EOT if turn == 6 else 0, expected=first)
    await fill(bench, peer, (first + 4) & MASK, "the window of the first PERSIST")


@case(REVISION, "7.3/window-at-least-four")
async def first_window(bench: Bench) -> None:
    """ACK_CONNECT_REQ tells of 4 blocks at least, in its fixed header and in its Sink Parameters."""
    peer = await bench.peer()
    answer = await peer.challenge()
    peer.established = True
    told = {"the fixed header": answer.window}
    if answer.sink is not None:
        told["the Sink Parameters"] = answer.sink.window
    for where, window in told.items():
        if window < 4:
            raise Violation(f"{where} of ACK_CONNECT_REQ: {window} blocks", answer, expected="4", seen=str(window))


case(REVISION, "7.3/window-at-least-four:initiator", role="initiator")(s08_flow.client_window)
case(REVISION, "7.3/window-in-every-packet", slow=True)(s08_flow.window_shrinks)


@case(REVISION, "7.3/limit-of-sending", quick=True)
async def limit(bench: Bench) -> None:
    """Windows of 4, and then of 2 more: of a long echo so many packets come each time, and no others."""
    peer = await narrow(bench, 4)
    edge = (peer.expected + 4) & MASK
    await peer.transaction(bytes(9000))
    await fill(bench, peer, edge, "the first window")
    await peer.send(Op.KEEP_ALIVE, window=2)
    await fill(bench, peer, (edge + 2) & MASK, "the second window")


async def narrow(bench: Bench, window: int) -> Peer:
    """A connection on which we admit so many packets, from the beginning."""
    peer = await bench.peer()
    peer.window = window
    await peer.challenge()
    peer.established = True
    await bench.sleep(ROUND_TRIP)
    await peer.commit()
    await peer.reach(FLUSH & acknowledging(peer.sn))
    return peer


case(REVISION, "7.3/beyond-window-dropped", quick=True)(s08_flow.far_beyond)


@case(REVISION, "7.3/shut-window-stops", slow=True)
async def probes(bench: Bench) -> None:
    """No window at all: the packet at the right edge comes once in a time-out, ever less often, and no other."""
    peer = await slow(bench, 0.3, window=0)
    await peer.commit()
    await peer.reach(FLUSH & acknowledging(peer.sn))
    edge = peer.expected
    await peer.transaction(bytes(3000))
    times = [bench.elapsed, *await s08_flow.probes_of(peer, edge, 40.0)]
    gaps = [round(b - a, 2) for a, b in itertools.pairwise(times)]
    if len(gaps) < 3:
        raise Violation(f"{len(gaps)} probes of the shut window in 40 s", expected="3 or more", seen=str(len(gaps)))
    if min(gaps) < 0.9:
        raise Violation(f"probes came after {gaps} s", expected="four round trips of 0.3 s", seen=str(min(gaps)))
    if any(b < 1.3 * a for a, b in itertools.pairwise(gaps[1:4])):
        raise Violation(f"probes came after {gaps} s", expected="growing intervals", seen=str(gaps))


case(REVISION, "7.3/probe-answered", slow=True)(s08_flow.probe_without_room)
case(REVISION, "7.3/opening-announced", slow=True)(s08_flow.opening)


@case(REVISION, "7.3/right-edge-stays")
async def edge_stays(bench: Bench) -> None:
    """6 blocks are admitted, all packets after that admit fewer: 6 packets of an echo come nevertheless."""
    peer = await narrow(bench, 6)
    edge = (peer.expected + 6) & MASK
    for turn in range(8):
        op = Op.PURE_DATA if turn else Op.PERSIST
        await peer.send(op, bytes(1000), flags=FLAG_EOT if turn == 7 else 0, window=2)
    for _ in range(6):
        await peer.drain(ROUND_TRIP)
        if later(peer.expected, edge) >= 0:
            return
        await peer.send(Op.KEEP_ALIVE, window=0)
    came = 6 - later(edge, peer.expected)
    raise Violation(f"{came} packets came of 6 that had been admitted", expected="6", seen=str(came))


# 7.5

case(REVISION, "7.5/eot-on-last-packet")(s08_commitment.only_last)


@case(REVISION, "7.5/end-without-data")
async def end_alone(bench: Bench) -> None:
    """The end comes after all octets have been echoed: PERSIST with EoT and without payload ends the echo."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"these octets first")
    await peer.drain()
    await peer.acknowledge()
    await peer.send(Op.PURE_DATA, b", these then")
    await peer.drain()
    await peer.acknowledge()
    await peer.commit()
    await echoed(peer, b"these octets first, these then")
    last = peer.stream[-1]
    if last.payload:
        raise Inconclusive("the target kept octets back until the end came")
    if last.op is not Op.PERSIST:
        raise Violation(f"{last.name} ends a transaction without data", last, expected="PERSIST", seen=last.name)


@case(REVISION, "7.5/eot-of-ack-flush")
async def flush_with_end(bench: Bench) -> None:
    """ACK_FLUSH with EoT in COMMITTING: the echo before is done with, and the open transaction has ended."""
    peer = await bench.peer()
    await peer.reach_committing()
    known = len(peer.stream)
    await peer.send(Op.ACK_FLUSH, flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="EoT of an ACK_FLUSH was not acknowledged")
    await peer.expect(DATA & carrying(b"open"), otherwise="an ACK_FLUSH with EoT did not acknowledge")
    while not peer.complete:
        await peer.expect(IN_STREAM & ending(True), otherwise="EoT of an ACK_FLUSH did not end the transaction")
    await peer.send(Op.ACK_FLUSH)
    found = b"".join(packet.payload for packet in peer.stream[known:])
    if found != b"open":
        raise Violation("the echo is not what was sent", peer.stream[-1], expected="open", seen=repr(found))


# 7.6


@case(REVISION, "7.6/ack-flush-layout")
async def layout(bench: Bench) -> None:
    """ACK_FLUSH for an echo of three packets: a SNACK and nothing else, the number after that with EoT expected."""
    peer = await connected(bench)
    sent = await peer.transaction(bytes(2500))
    wanted = (sent[-1].sn + 1) & MASK
    answer = await peer.expect(FLUSH & acknowledging(wanted))
    if answer.expected != wanted:
        text = "ACK_FLUSH does not expect the number after that of the packet with EoT"
        raise Violation(text, answer, expected=str(wanted), seen=str(answer.expected))
    if answer.snack is None or len(answer.extensions) != 1 or answer.payload:
        raise Violation("ACK_FLUSH is not a fixed header and a SNACK", answer)


@case(REVISION, "7.6/ack-flush-at-once", quick=True)
async def immediately(bench: Bench) -> None:
    """A round trip of 0.8 seconds, a packet, a second one with EoT: ACK_FLUSH comes sooner than that."""
    peer = await slow(bench, 0.8)
    await peer.send(Op.PERSIST, b"one ")
    await peer.send(Op.PURE_DATA, b"two", flags=FLAG_EOT)
    began = bench.elapsed
    await peer.expect(FLUSH & acknowledging(peer.sn))
    waited = bench.elapsed - began
    if waited > bench.silence:
        raise Violation(f"ACK_FLUSH came after {waited:.3f} s", expected="at once", seen=f"{waited:.3f} s")


case(REVISION, "7.6/no-ack-flush-over-gap", quick=True)(s08_commitment.gap)


@case(REVISION, "7.6/lost-ack-flush-repeated")
async def repeated_end(bench: Bench) -> None:
    """PURE_DATA with EoT comes twice more: ACK_FLUSH with a new serial each time, and one echo in all."""
    peer = await connected(bench)
    packets = await peer.transaction(bytes(1500))
    answer = await peer.reach(FLUSH & acknowledging(peer.sn))
    await echoed(peer, bytes(1500))
    count = len(peer.stream)
    serials = [serial_of(answer)]
    for _ in range(2):
        await peer.send(packets[-1])
        again = await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="a repeated packet drew no ACK_FLUSH")
        if later(serial_of(again), serials[-1]) <= 0:
            text = "a repeated ACK_FLUSH has no new serial"
            raise Violation(text, again, expected=f"above {serials[-1]}", seen=str(serial_of(again)))
        serials.append(serial_of(again))
        await peer.drain()
    if len(peer.stream) > count:
        raise Violation("repeated packets were echoed again", peer.stream[-1])


def serial_of(packet: Packet) -> int:
    """Of the SNACK header."""
    if packet.snack is None or packet.snack.serial is None:
        raise Violation(f"{packet.name} has no serial number", packet)
    return packet.snack.serial
