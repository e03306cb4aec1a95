"""Section 9: the graceful end."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import AN_ACKNOWLEDGEMENT, Want, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION = "gao-07"
RELEASED = an(Op.ACK_FLUSH)
RTO = 1.0
"""The least retransmission time-out (8.5.4)."""


async def closable(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    return peer


async def released(bench: Bench) -> tuple[Peer, Packet]:
    """The target has echoed one transaction and sent RELEASE."""
    peer = await closable(bench)
    await peer.echo(b"and then close")
    release = await peer.expect(Op.RELEASE, otherwise="the service that closes first sent no RELEASE")
    return peer, release


def covering(release: Packet) -> int:
    """The number that an acknowledgement of everything up to RELEASE expects."""
    return (release.sn + 1) & MASK


@case(REVISION, "9/release-ends-own-transaction")
async def release_ends(bench: Bench) -> None:
    """Data without EoT, then RELEASE: it is answered with ACK_FLUSH, as if the data had been committed."""
    peer = await closable(bench)
    await peer.send(Op.PERSIST, b"not committed by itself")
    await peer.send(Op.RELEASE)
    await peer.expect(RELEASED & acknowledging(peer.sn))


@case(
    REVISION,
    "9.1/release-from-closable",
    "9.1/release-has-eot",
    "5.11/closable-shutdown",
    service="closing",
    needs=("closing",),
    quick=True,
)
async def target_releases(bench: Bench) -> None:
    """The target's application closes: RELEASE with the next number, EoT, and neither header nor payload."""
    peer, release = await released(bench)
    number = (peer.stream[-2].sn + 1) & MASK
    if release.sn != number:
        raise Violation("RELEASE has not the next number", release, expected=str(number), seen=str(release.sn))
    if not release.ends:
        raise Violation("RELEASE has no EoT", release)
    if release.payload or release.extensions:
        raise Violation("RELEASE carries more than its fixed header", release)


@case(REVISION, "9.1/release-from-committing2", service="closing", needs=("closing",))
async def not_before_flush(bench: Bench) -> None:
    """The target's application closes while its echo is not acknowledged: RELEASE waits for our ACK_FLUSH."""
    peer = await closable(bench)
    await peer.transaction(b"and then close")
    await peer.reach(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True))
    for packet in await peer.drain():
        if packet.op is Op.RELEASE:
            raise Violation("RELEASE was sent before the transaction was acknowledged", packet)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(Op.RELEASE)


@case(REVISION, "9.1/release-from-peer-commit", service="closing", needs=("closing",), slow=True)
async def leftovers_first(bench: Bench) -> None:
    """The target closes while a shut window holds back its echo: all of it comes, acknowledged, before RELEASE."""
    peer = await bench.peer()
    peer.window = 1
    await peer.connect()
    data = bench.random.randbytes(3000)
    await peer.transaction(data)
    await peer.drain()
    peer.window = 64
    start = len(peer.stream)
    await peer.send(Op.KEEP_ALIVE)
    while not peer.complete:
        await peer.expect(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT), 70.0)
        if any(packet.op is Op.RELEASE for packet in peer.stream[start:]):
            raise Violation("RELEASE came before the rest of the transaction", peer.stream[-1])
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(Op.RELEASE, 70.0)
    octets = b"".join(packet.payload for packet in peer.stream[1:])
    if octets != data:
        raise Violation(f"{len(octets)} of {len(data)} octets came before RELEASE", peer.received[-1])


@case(REVISION, "9.1/not-while-peer-open", service="closing", needs=("closing",))
async def not_while_open(bench: Bench) -> None:
    """The target's application has closed, but our next transaction is open: RELEASE waits for its end."""
    peer = await closable(bench)
    await peer.transaction(b"and then close")
    await peer.reach(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True))
    await peer.send(Op.PERSIST, b"still open")
    await peer.send(Op.KEEP_ALIVE)
    came = await peer.drain(2 * bench.silence)
    for packet in came:
        if packet.op is Op.RELEASE:
            raise Violation("RELEASE was sent while the peer's transaction was open", packet)
        if packet.op is Op.RESET:
            return  # nobody reads what is still coming, and the target says so


@case(REVISION, "9.1/release-without-eot-accepted")
async def without_eot(bench: Bench) -> None:
    """RELEASE without EoT is answered as one with it."""
    peer = await closable(bench)
    await peer.send(Op.RELEASE, flags=0)
    await peer.expect(RELEASED & acknowledging(peer.sn))


@case(REVISION, "9.1/no-data-after-release", service="closing", needs=("closing",))
async def nothing_new(bench: Bench) -> None:
    """After its RELEASE the target sends no packet with a later number, although data comes."""
    peer, release = await released(bench)
    await peer.send(Op.PERSIST, b"late data", flags=FLAG_EOT, expected=release.sn)
    for packet in await peer.drain():
        if packet.in_band and later(packet.sn, release.sn) > 0:
            raise Violation("a new packet was sent after RELEASE", packet)


@case(REVISION, "9.2/buffered-until-complete", "9.2/buffered-payload-delivered", quick=True)
async def early_release(bench: Bench) -> None:
    """RELEASE overtakes data: no ACK_FLUSH before the data is there, and all of it is echoed or acknowledged then."""
    peer = await bench.peer()
    await peer.reach_committed()
    late = peer.packet(Op.PURE_DATA, b"late")
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.RELEASE)
    for packet in await peer.drain():
        if packet.op is Op.ACK_FLUSH:
            raise Violation("ACK_FLUSH answers RELEASE although a packet before it is missing", packet)
    await peer.send(late)
    await peer.expect(RELEASED & acknowledging(peer.sn))


@case(REVISION, "9.2/immediate-in-closable", "9.2/answered-by-ack-flush", quick=True)
async def answered(bench: Bench) -> None:
    """RELEASE in CLOSABLE is answered at once, with an ACK_FLUSH that expects the number after it."""
    peer = await closable(bench)
    await peer.send(Op.RELEASE)
    answer = await peer.expect(RELEASED)
    if answer.acknowledged != peer.sn:
        raise Violation(
            "ACK_FLUSH does not acknowledge RELEASE", answer, expected=str(peer.sn), seen=str(answer.acknowledged)
        )
    if answer.snack is not None and answer.snack.gaps:
        raise Violation("the ACK_FLUSH for RELEASE tells of gaps", answer)


@case(REVISION, "9.2/immediate-in-closable:committing2")
async def answered_in_committing2(bench: Bench) -> None:
    """RELEASE in COMMITTING2 is answered at once, too."""
    peer = await bench.peer()
    await peer.reach_committing2()
    await peer.send(Op.RELEASE)
    await peer.expect(RELEASED & acknowledging(peer.sn))


@case(REVISION, "9.2/accepted-in-peer-commit")
async def crossing_data(bench: Bench) -> None:
    """RELEASE that crosses the target's data, in PEER_COMMIT, is answered with ACK_FLUSH."""
    peer = await bench.peer()
    await peer.reach_peer_commit()
    await peer.send(Op.RELEASE, expected=(peer.target_initial_sn + 1) & MASK)
    await peer.expect(RELEASED & acknowledging(peer.sn))


@case(REVISION, "9.2/accepted-in-peer-commit:active")
async def crossing_data_in_active(bench: Bench) -> None:
    """RELEASE that crosses the target's data, in ACTIVE, is answered with ACK_FLUSH."""
    peer = await bench.peer()
    await peer.reach_active()
    await peer.send(Op.RELEASE)
    await peer.expect(RELEASED & acknowledging(peer.sn))


@case(REVISION, "9.2/forged-release-ignored")
async def forged_release(bench: Bench) -> None:
    """RELEASE with a wrong check code is not answered, and the echo goes on."""
    peer = await closable(bench)
    await peer.send(Op.RELEASE, sn=peer.sn, icc=bytes(8))
    await peer.quiet(otherwise="a RELEASE with a wrong check code was answered")
    await peer.transaction(b"still there")
    if await peer.read_transaction() != b"still there":
        raise Violation("the echo is not what was sent", peer.received[-1])


async def silent_afterwards(bench: Bench, peer: Peer, allowed: Want | None = None) -> None:
    await peer.quiet(6 * RTO, but=allowed, otherwise="RELEASE is repeated although the end is settled")


@case(
    REVISION,
    "9.3/ack-flush-finalizes",
    "5.13/pre-closed-ack-flush",
    "5.14/closed-silent",
    service="closing",
    needs=("closing",),
    slow=True,
)
async def finalizes(bench: Bench) -> None:
    """ACK_FLUSH that covers RELEASE: no repeat comes."""
    peer, _ = await released(bench)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await silent_afterwards(bench, peer)


@case(REVISION, "9.3/earlier-flush-does-not", "9.4/release-repeated", service="closing", needs=("closing",), slow=True)
async def does_not_finalize(bench: Bench) -> None:
    """ACK_FLUSH that covers all but RELEASE: RELEASE is repeated with the same number, until it is covered."""
    peer, release = await released(bench)
    peer.expected = release.sn
    await peer.send(Op.ACK_FLUSH)
    again = await peer.expect(
        Op.RELEASE, 10.0, otherwise="an ACK_FLUSH that does not cover RELEASE ended the connection"
    )
    if again.sn != release.sn:
        raise Violation("RELEASE was repeated under another number", again)
    peer.expected = covering(release)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await silent_afterwards(bench, peer)


@case(
    REVISION,
    "9.3/crossing-release-finalizes",
    "5.13/pre-closed-release",
    service="closing",
    needs=("closing",),
    slow=True,
)
async def crossing_release(bench: Bench) -> None:
    """Our RELEASE crosses the target's: it is answered with ACK_FLUSH, and the target's is not repeated."""
    peer, _ = await released(bench)
    await peer.send(Op.RELEASE)
    await peer.expect(RELEASED & acknowledging(peer.sn))
    await silent_afterwards(bench, peer)


@case(REVISION, "9.3/shutdown-in-shut-requested", slow=True)
async def no_release_back(bench: Bench) -> None:
    """The echo service closes when the peer has released: no RELEASE comes back."""
    peer = await closable(bench)
    await peer.send(Op.RELEASE)
    await peer.expect(RELEASED & acknowledging(peer.sn))
    await peer.quiet(6 * RTO, otherwise="something came after the ACK_FLUSH for RELEASE")


@case(REVISION, "9.3/closed-answers-release", slow=True)
async def closed_answers(bench: Bench) -> None:
    """A repeated RELEASE is answered again: after a second, and after 100."""
    peer = await closable(bench)
    release = await peer.send(Op.RELEASE)
    await peer.expect(RELEASED & acknowledging(peer.sn))
    for pause in (1.0, 99.0):
        await bench.sleep(pause)
        await peer.send(release)
        await peer.expect(RELEASED & acknowledging(peer.sn), otherwise="a repeated RELEASE was not answered again")


@case(REVISION, "9.3/peer-data-in-pre-closed", service="closing", needs=("closing",))
async def data_in_pre_closed(bench: Bench) -> None:
    """Data that was under way when the target released is acknowledged, or refused with RESET; never ignored."""
    peer, release = await released(bench)
    await peer.send(Op.PERSIST, b"under way", flags=FLAG_EOT, expected=release.sn)
    await peer.expect((AN_ACKNOWLEDGEMENT & acknowledging(peer.sn)) | an(Op.RESET))


@case(REVISION, "9.4/normal-retransmission-rule", service="closing", needs=("closing",), slow=True)
async def not_too_soon(bench: Bench) -> None:
    """The first repeat of RELEASE comes no sooner than the least time-out, and it does come."""
    peer, release = await released(bench)
    began = bench.elapsed
    again = await peer.expect(Op.RELEASE, 20.0)
    waited = bench.elapsed - began
    if waited < 0.9 * RTO:
        raise Violation(
            f"RELEASE was repeated after {waited:.2f} s", again, expected=f"{RTO} s or more", seen=f"{waited:.2f} s"
        )
    if again.sn != release.sn:
        raise Violation("RELEASE was repeated under another number", again)


@case(REVISION, "9.2/buffered-payload-delivered:echo")
async def delivered_before(bench: Bench) -> None:
    """What was sent before RELEASE reaches the service: its echo begins before the session ends."""
    peer = await closable(bench)
    await peer.send(Op.PERSIST, b"delivered", flags=FLAG_EOT)
    await peer.expect(carrying(b"delivered"))
    await peer.send(Op.RELEASE)
    answer = await peer.expect(RELEASED & acknowledging(peer.sn))
    if not answer.authentic:
        raise Inconclusive("the answer does not verify")
