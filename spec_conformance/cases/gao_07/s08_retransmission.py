"""Sections 8.5.1 and 8.5.4: how round trips are measured, and when packets are repeated."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07.s08_snacks import answering, keep_alive, slow_peer
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, Snack, later

REVISION = "gao-07"
FIRST = 0.8
"""Seconds of the round trip that the handshake shows."""
GRANULARITY = 0.1
"""The largest that 8.5.4 wants to see."""
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT)


@dataclass(slots=True)
class Estimator:
    """SRTT and RTTVAR by the formulas of 8.5.1, and the time-out of 8.5.4."""

    srtt: float
    rttvar: float

    @classmethod
    def of(cls, first: float) -> Estimator:
        return cls(first, first / 2)

    def sample(self, seconds: float) -> None:
        self.rttvar = 0.75 * self.rttvar + 0.25 * abs(self.srtt - seconds)
        self.srtt = 0.875 * self.srtt + 0.125 * seconds

    @property
    def rto(self) -> float:
        return max(1.0, self.srtt + max(0.01, 4 * self.rttvar))


async def connected(bench: Bench) -> Peer:
    """A connection whose round trip is next to nothing."""
    peer = await bench.peer()
    await peer.connect()
    return peer


async def measured(bench: Bench, *samples: float, told: float = 0.0) -> Peer:
    """The target has measured FIRST in the handshake, and then these; `told` of each as our own delay."""
    peer = await slow_peer(bench, FIRST)
    await peer.commit()
    await peer.reach(an(Op.ACK_FLUSH) & acknowledging(peer.sn))
    for seconds in samples:
        await peer.transaction(b"measure")
        await peer.reach(IN_STREAM & ending(True))
        await bench.sleep(seconds)
        await answer(peer, int(told * 1e6))
        await peer.drain(bench.blink)
    return peer


async def answer(peer: Peer, delay: int = 0, sample: Packet | None = None) -> None:
    """ACK_FLUSH for everything, with a delay sample of the newest packet, or of the one named."""
    number = (peer.expected - 1) & MASK if sample is None else sample.sn
    snack = Snack(expected=peer.expected, delay_sample=number, delay=delay)
    await peer.send(Op.ACK_FLUSH, extensions=(snack,))


async def repeat_after(bench: Bench, peer: Peer) -> float:
    """How long after an echo's first packet that is repeated for want of an answer."""
    return (await repeated(bench, peer))[0]


async def repeated(bench: Bench, peer: Peer, within: float = 30.0) -> tuple[float, Packet]:
    """As `repeat_after`, with the packet."""
    await peer.transaction(b"repeat me")
    first = await peer.reach(IN_STREAM)
    began = bench.elapsed
    deadline = began + within
    while (packet := await peer.next(max(deadline - bench.elapsed, 0.0))) is not None:
        if packet.sn == first.sn and packet.in_band:
            return bench.elapsed - began, packet
    raise Violation(f"a packet that nobody acknowledges was not repeated within {within:.0f} s", first)


def compare(found: float, wanted: float, *, strict: bool = True) -> None:
    """A time-out is as it should be, a fiftieth and a twentieth of a second aside."""
    if abs(found - wanted) > 0.02 * wanted + 0.05:
        text = f"the packet was repeated after {found:.2f} s"
        if not strict:
            raise Lenient(f"{text}; by the formulas after {wanted:.2f}")
        raise Violation(text, expected=f"{wanted:.2f} s", seen=f"{found:.2f} s")


# 8.5.1


@case(REVISION, "8.5.1/responder-first-rtt", "8.5.1/first-measurement", slow=True, quick=True)
async def responder_first(bench: Bench) -> None:
    """The handshake shows a round trip: the first time-out is three times that."""
    peer = await measured(bench)
    compare(await repeat_after(bench, peer), Estimator.of(FIRST).rto)


@case(REVISION, "8.5.1/initiator-first-rtt", role="initiator", slow=True)
async def initiator_first(bench: Bench) -> None:
    """Both answers of the handshake come late: the first time-out is three times their mean."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    await bench.sleep(0.5)
    await peer.send(peer.offer())
    await peer.hear_answer()
    await bench.sleep(0.9)
    await peer.send(peer.acceptance())
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    first = await peer.reach(an(Op.NULCOMMIT, Op.PERSIST))
    began = bench.elapsed
    again = await peer.expect(an(first.op) if isinstance(first.op, Op) else IN_STREAM, 20.0)
    if again.sn != first.sn:
        raise Inconclusive("another packet came before the confirmation was repeated")
    compare(bench.elapsed - began, Estimator.of(0.7).rto)


@case(REVISION, "8.5.1/no-sample-from-repeats", "8.5.4/one-second-at-first", role="initiator", slow=True)
async def no_sample(bench: Bench) -> None:
    """Both steps of the handshake were repeated: the confirmation is repeated after one second."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    await peer.reach(Op.INIT_CONNECT, 40.0)
    await peer.send(peer.offer())
    await peer.hear_answer()
    await peer.reach(Op.CONNECT_REQUEST, 40.0)
    await peer.send(peer.acceptance())
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    first = await peer.reach(an(Op.NULCOMMIT, Op.PERSIST))
    began = bench.elapsed
    while (packet := await peer.next(30.0)) is not None:
        if packet.sn == first.sn and packet.in_band:
            compare(bench.elapsed - began, 1.0)
            return
    raise Violation("the confirmation was not repeated", first)


@case(REVISION, "8.5.1/later-measurements", "8.5.4/rto-formula", slow=True)
async def later_measurement(bench: Bench) -> None:
    """A second, much longer round trip: the deviation counts from the old mean, and before that changes."""
    peer = await measured(bench, 2.2)
    wanted = Estimator.of(FIRST)
    wanted.sample(2.2 + bench.latency)
    compare(await repeat_after(bench, peer), wanted.rto)


@case(REVISION, "8.5.1/weights-eighth-and-quarter", "8.5.1/measured-at-each-snack", slow=True)
async def weights(bench: Bench) -> None:
    """Three more round trips: each counts, an eighth in the mean and a quarter in the deviation."""
    peer = await measured(bench, 2.2, 2.2, 2.2)
    wanted = Estimator.of(FIRST)
    for _ in range(3):
        wanted.sample(2.2 + bench.latency)
    compare(await repeat_after(bench, peer), wanted.rto, strict=False)


@case(REVISION, "8.5.1/delay-is-subtracted", slow=True)
async def delay_subtracted(bench: Bench) -> None:
    """An answer comes after 2.2 s and tells of 1.4 s of our own: the round trip was 0.8 s."""
    peer = await measured(bench, 2.2, told=1.4)
    wanted = Estimator.of(FIRST)
    wanted.sample(0.8 + bench.latency)
    compare(await repeat_after(bench, peer), wanted.rto)


@case(REVISION, "8.5.1/sample-below-first-gap")
async def below_gap(bench: Bench) -> None:
    """A packet is missing: the SNACK names the one before it for its delay, not the ones behind it."""
    peer = await bench.peer()
    await peer.reach_active()
    last = await peer.send(Op.PURE_DATA, b"in order")
    await peer.drain()
    peer.sn = (peer.sn + 1) & MASK
    for _ in range(2):
        await peer.send(Op.PURE_DATA, b"behind the gap")
    told = [packet for packet in await peer.drain(1.5) if packet.snack is not None and packet.snack.gaps]
    if not told:
        raise Inconclusive("no SNACK tells of the gap")
    for packet in told:
        assert packet.snack is not None
        if packet.snack.delay_sample != last.sn:
            seen = str(packet.snack.delay_sample)
            raise Violation("the delay is of another packet", packet, expected=str(last.sn), seen=seen)


@case(REVISION, "8.5.1/no-sample-from-retransmission", slow=True)
async def not_from_repeats(bench: Bench) -> None:
    """An echo is acknowledged after it was repeated: the time-out stays what it was."""
    peer = await measured(bench)
    _, packet = await repeated(bench, peer)
    await peer.drain(1.5)
    await peer.send(keep_alive(peer, (packet.sn + 1) & MASK))
    await answer(peer, sample=packet)  # what ended the echo may have been sent once only
    await peer.drain(bench.blink)
    compare(await repeat_after(bench, peer), Estimator.of(FIRST).rto)


@case(REVISION, "8.5.1/absurd-delay-harmless", slow=True)
async def absurd_delay(bench: Bench) -> None:
    """A SNACK tells of a delay of more than an hour: no repeat comes sooner than a second, and the echo goes on."""
    peer = await connected(bench)
    await peer.transaction(b"measure")
    await peer.reach(IN_STREAM & ending(True))
    await answer(peer, 0xFFFFFFFF)
    await peer.drain(bench.blink)
    waited = await repeat_after(bench, peer)
    if waited < 0.95:
        raise Violation(f"after an absurd delay a packet was repeated after {waited:.2f} s", expected="1 s or more")
    await answer(peer)
    await peer.drain(bench.blink)
    await peer.transaction(b"goes on")
    await peer.expect(DATA & carrying(b"goes on"))


# 8.5.4


@case(REVISION, "8.5.4/granularity-bound", slow=True)
async def granularity(bench: Bench) -> None:
    """Sixteen round trips of two seconds: the deviation is gone, and the repeat comes when it was computed for."""
    peer = await measured(bench, *[2.0] * 16)
    wanted = Estimator.of(FIRST)
    for _ in range(16):
        wanted.sample(2.0 + bench.latency)
    found = await repeat_after(bench, peer)
    if found > wanted.rto + GRANULARITY + 0.02 * wanted.rto:
        raise Lenient(f"repeated after {found:.2f} s, {found - wanted.rto:.2f} later than computed")
    if found < 0.95 * wanted.srtt:
        raise Violation(f"repeated after {found:.2f} s", expected=f"{wanted.rto:.2f} s", seen=f"{found:.2f} s")


@case(REVISION, "8.5.4/one-second-floor", slow=True, quick=True)
async def floor(bench: Bench) -> None:
    """Five round trips of next to nothing: no repeat comes sooner than a second."""
    peer = await connected(bench)
    for _ in range(5):
        await peer.echo(b"quick")
    found = await repeat_after(bench, peer)
    if found < 0.95:
        raise Lenient(f"a packet was repeated after {found:.3f} s")


@case(REVISION, "8.5.4/never-within-rto", slow=True)
async def never_sooner(bench: Bench) -> None:
    """Ten SNACKs in half a second report the same loss: the packet comes again after a time-out, and once in each."""
    peer, first = await answering(bench)
    began = bench.elapsed
    times = []
    for _ in range(10):
        await peer.send(keep_alive(peer, first, (1, 5)))
        times += [bench.elapsed for packet in await peer.drain(0.05) if packet.in_band and packet.sn == first]
    while (packet := await peer.next(max(began + 8.0 - bench.elapsed, 0.0))) is not None:
        if packet.in_band and packet.sn == first:
            times.append(bench.elapsed)
    if not times:
        raise Violation("the packet that was reported missing was not repeated")
    gaps = [b - a for a, b in itertools.pairwise([began - 0.1, *times])]
    if min(gaps) < 0.9:
        raise Violation(f"repeats came after {[round(gap, 2) for gap in gaps]} s", expected="1 s or more")


@case(REVISION, "8.5.4/timer-started-by-sending", slow=True)
async def first_timer(bench: Bench) -> None:
    """Further packets leave while the first waits: it is repeated one time-out after it left, not after the last."""
    peer = await connected(bench)
    known = peer.expected
    await peer.send(Op.PERSIST, b"first")
    first = await peer.reach(DATA & carrying(b"first"))
    began = bench.elapsed
    await bench.sleep(0.6)
    await peer.send(Op.PURE_DATA, b"second", expected=known)
    await peer.reach(DATA & carrying(b"second"))
    while (packet := await peer.next(5.0)) is not None:
        if packet.sn == first.sn and packet.in_band:
            compare(bench.elapsed - began, 1.0)
            return
    raise Violation("the first packet was not repeated", first)


@case(REVISION, "8.5.4/timer-off-when-acknowledged", slow=True)
async def timer_off(bench: Bench) -> None:
    """Everything is acknowledged: nothing comes for ten seconds."""
    peer = await connected(bench)
    await peer.echo(bytes(3000))
    await peer.drain(bench.blink)
    await peer.quiet(10.0, otherwise="a packet that had been acknowledged was repeated")


@case(REVISION, "8.5.4/first-outstanding-on-expiry", "8.5.4/one-repeat-per-interval", slow=True)
async def first_of_all(bench: Bench) -> None:
    """Of six packets without an answer the first comes again first, and does come."""
    peer, first = await answering(bench)
    again = await peer.expect(IN_STREAM, 10.0, otherwise="nothing was repeated")
    if again.sn != first:
        raise Violation("another packet than the first was repeated first", again, expected=str(first))


@case(REVISION, "8.5.4/half-rate-throttle", slow=True)
async def half_rate(bench: Bench) -> None:
    """Eight packets left at once and all but the last are missing: no more than four come again at one instant."""
    peer, first = await answering(bench, 8)
    await peer.send(keep_alive(peer, first, (7, 1)))
    moments = []
    deadline = bench.elapsed + 6.0
    while (packet := await peer.next(max(deadline - bench.elapsed, 0.0))) is not None:
        if packet.in_band:
            moments.append(bench.elapsed)
    if len(moments) < 7:
        raise Violation(f"{len(moments)} of 7 missing packets were repeated", expected="7", seen=str(len(moments)))
    burst = max(sum(0 <= other - moment < 0.005 for other in moments) for moment in moments)
    if burst > 5:
        raise Violation(f"{burst} packets were repeated at one instant", expected="half of 8", seen=str(burst))


@case(REVISION, "8.5.4/repeats-under-congestion-control", slow=True)
async def not_all_at_once(bench: Bench) -> None:
    """One large packet of ours draws a flight of eight, and nobody answers: at most two come again."""
    peer = await connected(bench)
    await peer.transaction(bytes(7600), 7600)
    await peer.reach(DATA)
    await peer.drain(0.5)
    if later(peer.expected, peer.target_initial_sn) < 5:
        raise Inconclusive("the target answers a large packet with few")
    await peer.expect(IN_STREAM, 10.0)
    more = [packet for packet in await peer.drain(0.5) if packet.in_band]
    if len(more) > 1:
        raise Violation(f"{len(more) + 1} packets of a lost flight were repeated without an answer", more[-1])


@case(REVISION, "8.5.4/backoff-doubled", slow=True)
async def backoff(bench: Bench) -> None:
    """Nobody answers: the first packet comes again after 1, 2, 4 and 8 seconds."""
    peer = await connected(bench)
    await peer.transaction(b"hello?")
    first = await peer.reach(IN_STREAM)
    times = [bench.elapsed]
    deadline = bench.elapsed + 17.0
    while (packet := await peer.next(max(deadline - bench.elapsed, 0.0))) is not None:
        if packet.sn == first.sn and packet.in_band:
            times.append(bench.elapsed)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    if len(gaps) < 3:
        raise Violation(f"{len(gaps)} repeats in 17 s", first, expected="4", seen=str(len(gaps)))
    ratios = [b / a for a, b in itertools.pairwise(gaps)]
    if not all(1.7 < ratio < 2.3 for ratio in ratios):
        raise Lenient(f"repeats came after {[round(gap, 2) for gap in gaps]} s: the time-out is not doubled")


@case(REVISION, "8.5.4/repeat-keeps-number", slow=True)
async def same_packet(bench: Bench) -> None:
    """Repeats have the number, kind, EoT and payload of the first transmission, whatever was acknowledged meanwhile."""
    peer, _ = await answering(bench, 3)
    first: dict[int, Packet] = {packet.sn: packet for packet in peer.stream}
    seen = 0
    for _ in range(4):
        for packet in await peer.drain(4.0):
            if packet.in_band:
                seen += 1
                original = first[packet.sn]
                same = (packet.op, packet.ends, packet.payload) == (original.op, original.ends, original.payload)
                if not same:
                    raise Violation("a repeat differs from the first transmission", packet)
        known = (peer.stream[0].sn + 1) & MASK
        await peer.send(Op.PERSIST, b"moves the expected number", flags=FLAG_EOT, expected=known)
    if not seen:
        raise Violation("nothing was repeated")
