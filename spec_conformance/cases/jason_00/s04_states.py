"""Section 4.6 to 4.13: what each connected state does with each packet, seen from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07.s05_states import (
    FLUSH,
    SNACK,
    Edge,
    closable_sends,
    committed_sends,
    committing2_goes_on,
    committing_goes_on,
    early_script,
    edge_script,
    held,
    in_state,
    peer_commit_flushes,
    reset_script,
    stale_flush,
)
from spec_conformance.expect import DATA, acknowledging, an, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, later

REVISION: Final = "jason-00"
RELEASE: Final = an(Op.RELEASE)
ENDED: Final = an(Op.PERSIST, Op.PURE_DATA) & ending(True)
SECTIONS: Final = {
    "active": "4.6",
    "committing": "4.7",
    "peer_commit": "4.8",
    "committing2": "4.9",
    "committed": "4.10",
    "closable": "4.11",
}
OPEN: Final = ("active", "committing", "committed")
COMPLETE: Final = ("peer_commit", "committing2", "closable")
"""States in which the peer's transaction, which is ours, has come to its end."""


def name(state: str, what: str) -> str:
    return f"{SECTIONS[state]}/{state.replace('_', '-')}-{what}"


def edges() -> list[Edge]:
    """What 4.6 to 4.11 draw for the stream of the peer."""
    found = []
    for state in OPEN:
        for op in (Op.PURE_DATA, Op.PERSIST):
            if state != "committing" or op is Op.PURE_DATA:
                found += [Edge(state, SECTIONS[state], op, ends, flush=ends) for ends in (False, True)]
    for state in COMPLETE:
        found += [Edge(state, SECTIONS[state], Op.PERSIST, ends, flush=ends) for ends in (False, True)]
    return found


for _edge in edges():
    case(REVISION, _edge.name, quick=_edge.state == "closable")(edge_script(_edge))
for _state in SECTIONS:
    case(REVISION, name(_state, "reset"))(reset_script(_state))
for _state in COMPLETE:
    case(REVISION, name(_state, "early-pure-data"))(early_script(_state))


def forced_end_script(state: str, op: Op) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        # a sender of ACK_FLUSH has all of the target's transaction: it acknowledges it, too
        expected = peer.expected if op is Op.ACK_FLUSH else held(peer, state)
        await peer.send(op, flags=FLAG_EOT, expected=expected)
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise=f"{op} with EoT did not end the transaction")

    script.__doc__ = f"{state.upper()}: {op} with EoT ends our transaction after the fact, and draws ACK_FLUSH."
    return script


for _state in OPEN:
    case(REVISION, name(_state, "forced-end"))(forced_end_script(_state, Op.KEEP_ALIVE))
    case(REVISION, f"{name(_state, 'forced-end')}:ack-flush")(forced_end_script(_state, Op.ACK_FLUSH))


async def settle(peer: Peer, state: str) -> None:
    """Let the target end and have acknowledged what it was sending in a state of COMPLETE."""
    if state == "peer_commit":
        peer.window = 64
        await peer.send(Op.KEEP_ALIVE)
        await peer.reach(ENDED)
    if not peer.complete:
        await peer.reach(ENDED)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain()


async def echo_comes_once(peer: Peer, data: bytes, *, otherwise: str) -> None:
    """A transaction more comes back as it was, and nothing before it."""
    await peer.transaction(data)
    answer = await peer.read_transaction()
    if answer != data:
        text = f"{otherwise}: {answer[:32]!r} came back"
        raise Violation(text, peer.received[-1], expected=repr(data), seen=repr(answer[:32]))


def forced_end_again_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        await peer.send(Op.KEEP_ALIVE, flags=FLAG_EOT, expected=held(peer, state))
        await peer.expect(
            FLUSH & acknowledging(peer.sn), otherwise="EoT out of band, told again, was not answered with ACK_FLUSH"
        )
        await settle(peer, state)
        await echo_comes_once(peer, b"one more", otherwise="the service saw an end that was none")

    script.__doc__ = f"{state.upper()}: KEEP_ALIVE with EoT draws ACK_FLUSH, and ends no second transaction."
    return script


def repeated_eot_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        if state == "committing2":
            await settle(peer, state)
            whole = await peer.send(Op.PERSIST, b"whole", flags=FLAG_EOT)
            await peer.reach(ENDED)
        else:
            whole = await peer.send(Op.PERSIST, b"whole", flags=FLAG_EOT)
            await peer.reach(FLUSH & acknowledging(peer.sn))
        await peer.drain()
        await peer.send(whole)
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="a repeated PERSIST with EoT drew no ACK_FLUSH")
        await settle(peer, state)
        if state != "peer_commit":
            await echo_comes_once(peer, b"one more", otherwise="a repeated transaction was delivered again")
            return
        if peer.stream[-1].payload != b"whole":
            raise Violation("the repeated transaction did not come back as it was", peer.received[-1])
        await peer.send(Op.ACK_FLUSH)
        await peer.quiet(but=FLUSH | SNACK, otherwise="a repeated transaction was delivered again")

    script.__doc__ = f"{state.upper()}: PERSIST with EoT comes again; ACK_FLUSH does, its payload does not."
    return script


def release_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        await peer.send(Op.RELEASE)
        await peer.expect(RELEASE & acknowledging(peer.sn), otherwise=f"RELEASE in {state.upper()} was not answered")
        await peer.quiet(otherwise="something came after the RELEASE that ended the connection")

    script.__doc__ = f"{state.upper()}: RELEASE is answered with one RELEASE, and then there is silence."
    return script


for _state in COMPLETE:
    case(REVISION, name(_state, "forced-end-again"))(forced_end_again_script(_state))
    case(REVISION, name(_state, "repeated-eot"))(repeated_eot_script(_state))
    case(REVISION, name(_state, "release"))(release_script(_state))


# the same as in the later draft

case(REVISION, "4.7/committing-ack-flush", "4.7/committing-no-further-data")(committing_goes_on)
case(REVISION, "4.9/committing2-ack-flush")(committing2_goes_on)
case(REVISION, "4.7/committing-partial-ack-flush")(stale_flush)
case(REVISION, "4.10/committed-more-data")(committed_sends)
case(REVISION, "4.8/peer-commit-commit", slow=True)(peer_commit_flushes)
case(REVISION, "4.11/closable-more-data")(closable_sends)


# of one state


@case(REVISION, "4.6/active-more-data")
async def active_goes_on(bench: Bench) -> None:
    """More of our transaction comes back as PURE_DATA without EoT."""
    peer = await in_state(bench, "active")
    for piece in (b"more", b"and more"):
        await peer.send(Op.PURE_DATA, piece)
        packet = await peer.expect(DATA)
        if packet.op is not Op.PURE_DATA or packet.ends:
            seen = peer.describe(packet)
            raise Violation("an open transaction did not go on with PURE_DATA", packet, expected="PURE_DATA", seen=seen)


@case(REVISION, "4.6/active-commit")
async def active_commits(bench: Bench) -> None:
    """Our transaction ends, so the echo's does: EoT comes, and after it no new number before ACK_FLUSH."""
    peer = await in_state(bench, "active")
    await peer.send(Op.PURE_DATA, b"end", flags=FLAG_EOT)
    packet = await peer.expect(ENDED)
    await peer.transaction(b"next")
    for later_packet in await peer.drain():
        if later_packet.in_band and later(later_packet.sn, packet.sn) > 0:
            raise Violation("a packet with a new number came while EoT was not acknowledged", later_packet)


@case(REVISION, "4.6/active-heartbeat-stops", slow=True)
async def no_heartbeat_without_gaps(bench: Bench) -> None:
    """PEER_COMMIT: in half an hour no KEEP_ALIVE comes."""
    peer = await in_state(bench, "peer_commit")
    for packet in await peer.drain(1800.0):
        if packet.op is Op.KEEP_ALIVE:
            raise Violation("a heartbeat came in PEER_COMMIT", packet)


@case(REVISION, "4.6/active-release-ignored")
async def release_out_of_place(bench: Bench) -> None:
    """RELEASE while our own transaction is open draws no RELEASE; the transaction goes on, and comes back."""
    peer = await in_state(bench, "active")
    number = peer.sn
    await peer.send(peer.packet(Op.RELEASE))
    await peer.quiet(but=FLUSH | SNACK | DATA, otherwise="RELEASE was answered while a transaction was open")
    await peer.send(Op.PURE_DATA, b"perhaps, ")  # with the same number: a target may have used it up
    await peer.send(Op.PURE_DATA, b"goes on")
    await peer.expect((FLUSH | SNACK) & acknowledging((number + 2) & MASK))
    await peer.expect(DATA, otherwise="after a RELEASE out of place the echo does not go on")


@case(REVISION, "4.9/committing2-partial-ack-flush", slow=True)
async def partial_flush(bench: Bench) -> None:
    """ACK_FLUSH that does not cover the packet with EoT: that is repeated."""
    peer = await in_state(bench, "committing2")
    last = peer.stream[-1].sn
    await peer.send(Op.ACK_FLUSH, expected=last)
    again = await peer.expect(ENDED, 10.0, otherwise="EoT was not repeated after an ACK_FLUSH that does not cover it")
    if again.sn != last:
        raise Violation("another number came while EoT was not acknowledged", again, seen=str(again.sn))


def one_packet_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        if state == "closable":
            await peer.connect()
            await peer.transaction(b"whole")
        else:
            await peer.reach_committed()
            peer.window = 64
            await peer.send(Op.PURE_DATA, b" and whole", flags=FLAG_EOT)
        packets = [await peer.expect(DATA)]
        while not packets[-1].ends:
            packets.append(await peer.expect(an(Op.PERSIST, Op.PURE_DATA)))
        if packets[0].op is not Op.PERSIST:
            raise Violation(f"a new transaction began with {packets[0].name}", packets[0], expected="PERSIST")
        if len(packets) == 1:
            again = await peer.expect(ENDED, 10.0, otherwise="the packet with EoT was not repeated")
            if again.sn != packets[0].sn:
                raise Violation("another number came while EoT was not acknowledged", again)

    script.__doc__ = f"{state.upper()}: a whole transaction comes back, from PERSIST to EoT, which is repeated."
    return script


case(REVISION, "4.11/closable-commit", slow=True)(one_packet_script("closable"))
case(REVISION, "4.10/committed-commit", slow=True)(one_packet_script("committed"))


@case(REVISION, "4.8/peer-commit-more-data")
async def peer_commit_goes_on(bench: Bench) -> None:
    """The window grows by one: the next packet of the open transaction comes, as PURE_DATA without EoT."""
    peer = await in_state(bench, "peer_commit")
    await peer.send(Op.KEEP_ALIVE)
    packet = await peer.expect(DATA)
    if packet.op is not Op.PURE_DATA or packet.ends:
        raise Violation("an open transaction did not go on with PURE_DATA", packet, seen=peer.describe(packet))


# 4.11 to 4.13: the service closes, or we do


async def released(bench: Bench) -> Peer:
    """The service has closed: the target is in PRE_CLOSED."""
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"and then close")
    await peer.reach(RELEASE)
    return peer


@case(REVISION, "4.11/closable-shutdown", service="closing", needs=("closing",))
async def closable_releases(bench: Bench) -> None:
    """The service closes when both transactions are complete: RELEASE comes, with the next number."""
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"and then close")
    packet = await peer.expect(RELEASE, otherwise="the service closed, and no RELEASE came")
    number = (next(each for each in reversed(peer.stream) if each.op is not Op.RELEASE).sn + 1) & MASK
    if packet.sn != number:
        raise Violation("RELEASE has not the next number", packet, expected=str(number), seen=str(packet.sn))


@case(REVISION, "4.12/pre-closed-release", service="closing", needs=("closing",))
async def release_answered(bench: Bench) -> None:
    """Our RELEASE answers the target's: there is silence."""
    peer = await released(bench)
    await peer.send(Op.RELEASE)
    await peer.drain(bench.blink)
    await peer.quiet(5.0, otherwise="something came after both had sent RELEASE")


@case(REVISION, "4.12/pre-closed-repeats-release", service="closing", needs=("closing",), slow=True)
async def release_repeated(bench: Bench) -> None:
    """Nothing answers RELEASE: it comes again, with the same number."""
    peer = await released(bench)
    first = peer.received[-1]
    again = await peer.expect(RELEASE, 20.0, otherwise="RELEASE was not repeated")
    if again.sn != first.sn:
        raise Violation("RELEASE was repeated with another number", again, expected=str(first.sn), seen=str(again.sn))


@case(REVISION, "4.13/closed-repeated-release")
async def release_answered_again(bench: Bench) -> None:
    """Our RELEASE comes again, as if the answer had been lost: the answer comes again, with its number."""
    peer = await in_state(bench, "closable")
    release = await peer.send(Op.RELEASE)
    first = await peer.reach(RELEASE)
    await bench.sleep(1.0)
    await peer.send(release)
    again = await peer.expect(RELEASE, otherwise="a repeated RELEASE was not answered")
    if again.sn != first.sn:
        raise Violation("the answer to RELEASE came with another number", again)


@case(REVISION, "4.13/closed-other-packets-ignored")
async def nothing_after_release(bench: Bench) -> None:
    """After RELEASE both ways data, KEEP_ALIVE, ACK_FLUSH and RESET draw nothing."""
    peer = await in_state(bench, "closable")
    await peer.send(Op.RELEASE)
    await peer.reach(RELEASE)
    for op in (Op.PERSIST, Op.PURE_DATA, Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.RESET):
        await peer.send(op, b"late" if op in (Op.PERSIST, Op.PURE_DATA) else b"")
        await peer.quiet(otherwise=f"{op} after RELEASE was answered")
