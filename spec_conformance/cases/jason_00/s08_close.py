"""Section 8: the graceful close."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import Script, case
from spec_conformance.cases.gao_07 import s09_shutdown
from spec_conformance.cases.jason_00.s07_transfer import slow_closable
from spec_conformance.expect import acknowledging, an, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION = "jason-00"
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA)
RELEASED = an(Op.RELEASE)
ROUND_TRIP = 0.2
LONG = 20.0
"""Seconds in which several repeats would have come."""


async def released(bench: Bench) -> tuple[Peer, Packet]:
    """The target has echoed one transaction and sent RELEASE."""
    peer = await slow_closable(bench, ROUND_TRIP)
    await peer.transaction(b"and then close")
    await peer.read_transaction()
    release = await peer.reach(Op.RELEASE)
    return peer, release


@case(REVISION, "8/data-after-release-lost", service="closing", needs=("closing",), slow=True)
async def lost(bench: Bench) -> None:
    """A transaction crosses the target's RELEASE: nothing acknowledges it, and nothing new comes."""
    peer, release = await released(bench)
    known = peer.sn
    await peer.send(Op.PERSIST, b"crossing", expected=release.sn)
    await peer.send(Op.PURE_DATA, b" the RELEASE", flags=FLAG_EOT, expected=release.sn)
    came = await peer.drain(LONG)
    for packet in came:
        if packet.in_band and later(packet.sn, release.sn) > 0:
            raise Violation("a new packet was sent after RELEASE", packet)
        if packet.out_of_band and later(packet.acknowledged or known, known) > 0:
            raise Violation(f"{packet.name} acknowledges data that crossed RELEASE", packet)
    if not came:
        raise Inconclusive("RELEASE was not repeated, so that nothing tells what was taken")
    if later(peer.acknowledged, known) > 0:
        raise Lenient("the number that a repeated RELEASE expects covers data that crossed it, and is lost")


# 8.1

case(REVISION, "8.1/release-from-closable-only", service="closing", needs=("closing",), slow=True)(
    s09_shutdown.leftovers_first
)
case(REVISION, "8.1/release-from-closable-only:committing2", service="closing", needs=("closing",), quick=True)(
    s09_shutdown.not_before_flush
)


@case(REVISION, "8.1/release-waits-for-peer", service="closing", needs=("closing",), slow=True)
async def waits(bench: Bench) -> None:
    """The target closes while our next transaction is open: RELEASE comes after its EoT, unless RESET has come."""
    peer = await slow_closable(bench, ROUND_TRIP)
    await peer.transaction(b"and then close")
    await peer.reach(IN_STREAM & ending(True))
    await peer.send(Op.PERSIST, b"still open")
    await peer.send(Op.KEEP_ALIVE)
    for packet in await peer.drain(LONG):
        if packet.op is Op.RELEASE:
            raise Violation("RELEASE was sent while the peer's transaction was open", packet)
        if packet.op is Op.RESET:
            return  # nobody reads what is still coming, and the target says so
    await peer.send(Op.PURE_DATA, b" and closed", flags=FLAG_EOT)
    await peer.drain(bench.blink)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(RELEASED | an(Op.RESET), otherwise="both transactions have ended, and RELEASE does not come")


# 8.2


async def one_release(bench: Bench, peer: Peer, *, quiet: float) -> Packet:
    """RELEASE answers ours, once."""
    answer = await peer.expect(RELEASED & acknowledging(peer.sn), otherwise="RELEASE was not answered with RELEASE")
    await peer.quiet(quiet, otherwise="something was sent after the RELEASE that answers ours")
    return answer


def answered(state: str) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await getattr(peer, f"reach_{state}")()
        known = (peer.target_initial_sn + 1) & MASK
        await peer.send(Op.RELEASE, expected=known if state == "committing" else peer.expected)
        await one_release(bench, peer, quiet=4.0)
        await peer.send(Op.PERSIST, b"closed?", flags=FLAG_EOT)
        await peer.quiet(but=an(Op.RESET), otherwise="data was answered after both RELEASEs")

    script.__doc__ = f"RELEASE in {state.upper()} is answered with one RELEASE; data after it with nothing."
    return script


for _state in ("committing", "committed"):
    case(REVISION, f"8.2/release-in-{_state}", slow=True, quick=True)(answered(_state))


@case(REVISION, "8.2/release-over-gap", quick=True)
async def early_release(bench: Bench) -> None:
    """RELEASE overtakes data: no RELEASE comes before the data is there, one that covers both comes then."""
    peer = await bench.peer()
    await peer.reach_closable()
    late = peer.packet(Op.PERSIST, b"late", flags=FLAG_EOT)
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.RELEASE)
    for packet in await peer.drain():
        if packet.op is Op.RELEASE or later(packet.acknowledged or late.sn, late.sn) > 0:
            raise Violation("RELEASE was taken although a packet before it is missing", packet)
    await peer.send(late)
    await peer.expect(RELEASED & acknowledging(peer.sn))


case(REVISION, "8.2/forged-release-dropped", quick=True)(s09_shutdown.forged_release)


# 8.3


@case(REVISION, "8.3/answer-ends-repeats", service="closing", needs=("closing",), slow=True, quick=True)
async def ends_repeats(bench: Bench) -> None:
    """The target's RELEASE is answered with ours: it is repeated no more, and nothing else comes."""
    peer, release = await released(bench)
    again = await peer.reach(RELEASED)
    if again.sn != release.sn:
        raise Violation("RELEASE was repeated under another number", again, expected=str(release.sn))
    await peer.send(Op.RELEASE)
    await peer.drain(bench.blink)
    await peer.quiet(LONG, otherwise="RELEASE is repeated although ours has come")


def no_more(state: str) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await getattr(peer, f"reach_{state}")()
        known = (peer.target_initial_sn + 1) & MASK
        await peer.send(Op.RELEASE, expected=known)
        await one_release(bench, peer, quiet=700.0 if bench.target.virtual else LONG)

    script.__doc__ = f"RELEASE in {state.upper()} is answered with one RELEASE, and then nothing comes any more."
    return script


for _state, _name in (("closable", ""), ("peer_commit", ":peer-commit"), ("committing2", ":committing2")):
    case(REVISION, f"8.3/no-release-after-answer{_name}", slow=True)(no_more(_state))
