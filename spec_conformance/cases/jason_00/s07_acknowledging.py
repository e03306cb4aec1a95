"""Sections 7.4.1 and 7.4.2: how round trips are measured, and when a SNACK is sent."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import Script, case
from spec_conformance.cases.gao_07.s08_retransmission import compare, repeat_after
from spec_conformance.cases.jason_00.s07_transfer import slow, slow_closable
from spec_conformance.expect import AN_ACKNOWLEDGEMENT, DATA, Want, acknowledging, an, carrying, ending, numbered
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import MASK, Op, Packet

REVISION = "jason-00"
FIRST = 0.3
"""Seconds of the round trip that the handshake shows."""
PATIENCE = 4.0
"""Round trips after which a packet that is negatively acknowledged is repeated (7.4.4)."""
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA)
SNACKS = an(Op.KEEP_ALIVE, Op.ACK_FLUSH)


def slack(seconds: float) -> float:
    return 1.2 * seconds + 0.05


async def snack_within(bench: Bench, peer: Peer, seconds: float, want: Want = AN_ACKNOWLEDGEMENT) -> Packet:
    """A SNACK for all that we have sent comes within so many seconds from now."""
    began = bench.elapsed
    found = await peer.expect(want & acknowledging(peer.sn))
    waited = bench.elapsed - began
    if waited > slack(seconds):
        text = f"the SNACK came after {waited:.2f} s"
        raise Violation(text, found, expected=f"within {seconds:.2f} s", seen=f"{waited:.2f} s")
    return found


# 7.4.1


async def fresh_client(bench: Bench) -> Peer:
    """A client's greeting, not one that it has sent before: repeats give no sample (A30)."""
    for _ in range(3):
        peer = await bench.waiting_peer()
        greeting = await peer.hear_greeting()
        if abs(bench.unix_microseconds() - greeting.timestamp) < 2e6:
            return peer
        await peer.close()
    raise Inconclusive("the client's INIT_CONNECT is one of long ago, or its clock is wrong")


@case(REVISION, "7.4.1/initial-rtt-of-initiator", role="initiator", slow=True, quick=True)
async def initiator_first(bench: Bench) -> None:
    """Answers after 100 and 300 ms: a SNACK within 200 ms, the client's first packet again after four times that."""
    peer = await fresh_client(bench)
    await bench.sleep(0.1)
    await peer.send(peer.offer())
    await peer.hear_answer()
    await bench.sleep(0.3)
    await peer.send(peer.acceptance())
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    first = await peer.reach(IN_STREAM)
    began = bench.elapsed
    known = first.sn  # nothing is acknowledged
    await peer.send(Op.PERSIST, b"open", expected=known)
    await snack_within(bench, peer, 0.2)
    await peer.expect(numbered(first.sn), 5.0)
    compare(bench.elapsed - began, PATIENCE * (0.2 + bench.latency))


@case(REVISION, "7.4.1/initial-rtt-of-responder", slow=True, quick=True)
async def responder_first(bench: Bench) -> None:
    """The first PERSIST comes 400 ms after ACK_CONNECT_REQ: the SNACK for it within that time, repeats after 1.6 s."""
    peer = await slow(bench, 0.4, window=0)
    await peer.send(Op.PERSIST, b"open")
    await snack_within(bench, peer, 0.4)
    other = await slow_closable(bench, 0.4)
    compare(await repeat_after(bench, other), PATIENCE * 0.4)


async def measured(bench: Bench, first: float, *samples: float) -> Peer:
    """The target has measured these round trips, the first one in the handshake."""
    peer = await slow_closable(bench, first)
    for seconds in samples:
        await peer.transaction(b"measure")
        await peer.reach(IN_STREAM & ending(True))
        await bench.sleep(seconds - bench.latency)
        await peer.send(Op.ACK_FLUSH)
        await peer.drain(bench.blink)
    return peer


@case(REVISION, "7.4.1/rtt-halved-mean", slow=True, quick=True)
async def halved(bench: Bench) -> None:
    """200 ms, and an echo acknowledged after 400: 300 ms; a second one: 350 ms.  Repeats come after four times that."""
    for samples, wanted in (((0.4,), 0.3), ((0.4, 0.4), 0.35)):
        peer = await measured(bench, 0.2, *samples)
        compare(await repeat_after(bench, peer), PATIENCE * wanted)


@case(REVISION, "7.4.1/rtt-of-acknowledged-packets", slow=True)
async def mean_of_packets(bench: Bench) -> None:
    """One KEEP_ALIVE acknowledges packets sent 0.7 and 0.1 s ago: a sample of 0.4 s, so that 0.3 become 0.35."""
    peer = await slow_closable(bench, FIRST)
    known = peer.expected
    await peer.send(Op.PERSIST, b"first", expected=known)
    await peer.reach(DATA & carrying(b"first") & ending(False))
    await bench.sleep(0.6)
    await peer.send(Op.PURE_DATA, b"second", expected=known)
    await peer.reach(DATA & carrying(b"second") & ending(False))
    await bench.sleep(0.1 - bench.latency)
    await peer.send(Op.KEEP_ALIVE)
    await peer.drain(bench.blink)
    known = peer.expected
    await peer.send(Op.PURE_DATA, b"third", expected=known)
    third = await peer.reach(DATA & carrying(b"third"))
    began = bench.elapsed
    await peer.expect(numbered(third.sn), 10.0)
    compare(bench.elapsed - began, PATIENCE * 0.35)


@case(REVISION, "7.4.1/no-sample-of-repeats", slow=True)
async def not_of_repeats(bench: Bench) -> None:
    """A packet of an echo is acknowledged just after it came again: the next one is repeated as late as before."""
    peer = await slow_closable(bench, FIRST)
    known = peer.expected
    await peer.send(Op.PERSIST, b"late", expected=known)
    late = await peer.reach(DATA & carrying(b"late") & ending(False))
    await peer.reach(numbered(late.sn), 20.0)
    await peer.send(Op.KEEP_ALIVE)
    await peer.drain(bench.blink)
    known = peer.expected
    await peer.send(Op.PURE_DATA, b"next", expected=known)
    packet = await peer.reach(DATA & carrying(b"next"))
    began = bench.elapsed
    await peer.expect(numbered(packet.sn), 20.0)
    compare(bench.elapsed - began, PATIENCE * FIRST)


# 7.4.2


def keep_alives(state: str) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await getattr(peer, f"reach_{state}")()
        await peer.drain(bench.blink)
        mark = len(peer.received)
        known = (peer.expected - 1) & MASK if state == "committing" else peer.expected
        await peer.send(Op.PURE_DATA, b"more", expected=known)
        await snack_within(bench, peer, bench.silence, an(Op.KEEP_ALIVE))
        await peer.drain()
        for packet in peer.received[mark:]:
            if packet.op is Op.ACK_FLUSH:
                raise Violation(f"an ACK_FLUSH in {state.upper()}", packet, expected="KEEP_ALIVE", seen="ACK_FLUSH")

    script.__doc__ = f"PURE_DATA in {state.upper()}: a KEEP_ALIVE soon acknowledges it, and no ACK_FLUSH comes."
    return script


def ack_flushes(state: str) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await getattr(peer, f"reach_{state}")()
        await peer.drain()
        wanted = peer.sn
        known = peer.expected if state == "closable" else (peer.target_initial_sn + 1) & MASK
        await peer.send(Op.PURE_DATA, b"early", sn=(peer.sn + 1) & MASK, expected=known)
        answer = await peer.expect(SNACKS, otherwise=f"an early packet in {state.upper()} drew no SNACK")
        if answer.op is not Op.ACK_FLUSH or answer.acknowledged != wanted:
            text = f"the SNACK for an early packet in {state.upper()} is not an ACK_FLUSH for what there is"
            raise Violation(text, answer, expected=f"ACK_FLUSH {wanted}", seen=f"{answer.name} {answer.acknowledged}")

    script.__doc__ = f"A packet ahead of the next in {state.upper()} draws ACK_FLUSH, and no KEEP_ALIVE."
    return script


for _state, _name in (("committed", ""), ("active", ":active"), ("committing", ":committing")):
    case(REVISION, f"7.4.2/snack-within-round-trip{_name}", "7.4.2/keep-alive-in-other-states")(keep_alives(_state))
for _state, _name in (("closable", ""), ("peer_commit", ":peer-commit"), ("committing2", ":committing2")):
    case(REVISION, f"7.4.2/ack-flush-in-its-states{_name}")(ack_flushes(_state))


@case(REVISION, "7.4.2/snack-not-postponed")
async def steady_flow(bench: Bench) -> None:
    """A packet every 50 ms for a second: the first SNACK comes within a round trip, 400 ms, of the first packet."""
    peer = await slow(bench, 0.4, window=0)
    began = bench.elapsed
    came: list[float] = []
    for turn in range(20):
        await peer.send(Op.PURE_DATA if turn else Op.PERSIST, b"flow")
        if any(SNACKS(packet) for packet in await peer.drain(0.05)):
            came.append(bench.elapsed - began)
    if not came or came[0] > slack(0.4) + 0.05:
        seen = f"{came[0]:.2f} s" if came else "none in a second"
        raise Violation(f"under a steady flow the first SNACK: {seen}", expected="0.40 s", seen=seen)
