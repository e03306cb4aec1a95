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
    committing2_goes_on,
    committing_goes_on,
    early_script,
    edge_script,
    held,
    in_state,
    reset_script,
    stale_flush,
)
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Lenient, Unsupported, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

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
SOME_REPEATS: Final = 20.0
"""Seconds in which what is not acknowledged is repeated several times."""


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


async def comes_back(peer: Peer, data: bytes, *, ends: bool, otherwise: str) -> None:
    """The window opens, what comes is acknowledged: the echo has these octets, and then EoT if `ends`."""
    peer.window = 64
    for _ in range(4):
        await peer.acknowledge()
        await peer.drain()
        if data in b"".join(packet.payload for packet in peer.stream) and peer.complete is ends:
            return
    expected = f"an echo with {data!r} that {'ends' if ends else 'is open'}"
    raise Violation(otherwise, expected=expected, seen=", ".join(map(peer.describe, peer.stream[-3:])))


def delivered_script(edge: Edge) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        await edge_script(edge)(bench)
        text = f"{edge.op} was acknowledged, but not delivered as it was"
        await comes_back(bench.peers[-1], b"next", ends=edge.ends, otherwise=text)

    words = f"{edge.op} {'with' if edge.ends else 'without'} EoT"
    script.__doc__ = (
        f"{edge.state.upper()}: {words} draws {'ACK_FLUSH' if edge.flush else 'KEEP_ALIVE'}, and comes back."
    )
    return script


for _edge in edges():
    case(REVISION, _edge.name, quick=_edge.state == "closable")(delivered_script(_edge))
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
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise=f"{op} with EoT drew no ACK_FLUSH")
        await comes_back(peer, b"open", ends=True, otherwise=f"{op} with EoT did not end the transaction")

    script.__doc__ = f"{state.upper()}: {op} with EoT ends our transaction after the fact, and draws ACK_FLUSH."
    return script


for _state in OPEN:
    case(REVISION, name(_state, "forced-end"))(forced_end_script(_state, Op.KEEP_ALIVE))
    case(REVISION, f"{name(_state, 'forced-end')}:ack-flush")(forced_end_script(_state, Op.ACK_FLUSH))


async def transactions(peer: Peer) -> list[bytes]:
    """Acknowledge until nothing new comes; the target's transactions, which its ACK_CONNECT_REQ precedes."""
    peer.window = 64
    for _ in range(8):
        known = len(peer.stream)
        await peer.acknowledge()
        await peer.drain()
        if peer.complete and len(peer.stream) == known:
            break
    found = [b""]
    for packet in peer.stream[1:]:
        found[-1] += packet.payload
        if packet.ends:
            found.append(b"")
    return found[:-1] if peer.complete else found


async def comes_once(peer: Peer, echoed: list[bytes], *, otherwise: str) -> None:
    """The target's transactions are these, and one more when there is one more."""
    if (came := await transactions(peer)) != echoed:
        raise Violation(otherwise, expected=described(echoed), seen=described(came))
    await peer.transaction(b"one more")
    if (came := await transactions(peer)) != [*echoed, b"one more"]:
        raise Violation(otherwise, expected=described([*echoed, b"one more"]), seen=described(came))


def described(came: list[bytes]) -> str:
    return ", ".join(f"{len(octets)} octets {octets[:8]!r}" for octets in came) or "no transaction"


def forced_end_again_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        await peer.send(Op.KEEP_ALIVE, flags=FLAG_EOT, expected=held(peer, state))
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="EoT out of band, told again, drew no ACK_FLUSH")
        echoed = {"peer_commit": [bytes(3000)], "committing2": [b"closed"], "closable": []}[state]
        await comes_once(peer, echoed, otherwise="the service saw an end that was none")

    script.__doc__ = f"{state.upper()}: KEEP_ALIVE with EoT draws ACK_FLUSH, and ends no second transaction."
    return script


def repeated_eot_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        if state == "committing2":
            number = (peer.sn - 1) & MASK
            whole = peer.packet(Op.PERSIST, b"closed", flags=FLAG_EOT, sn=number, expected=held(peer, state))
        elif state == "closable":
            [whole] = await peer.transaction(b"whole")
            await peer.read_transaction()
            await peer.drain(bench.blink)
        else:
            whole = await peer.send(Op.PERSIST, b"whole", flags=FLAG_EOT)
            await peer.reach(FLUSH & acknowledging(peer.sn))
        await peer.drain(bench.blink)
        await peer.send(whole)
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="a repeated PERSIST with EoT drew no ACK_FLUSH")
        echoed = [bytes(3000), b"whole"] if state == "peer_commit" else [whole.payload]
        await comes_once(peer, echoed, otherwise="a repeated transaction was delivered again, or another was not")

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

case(REVISION, "4.7/committing-no-further-data")(committing_goes_on)
case(REVISION, "4.7/committing-no-further-data:committing2")(committing2_goes_on)
case(REVISION, "4.7/committing-partial-ack-flush")(stale_flush)


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
async def no_heartbeat(bench: Bench) -> None:
    """EoT leads from ACTIVE to PEER_COMMIT, a shut window keeps it there: half an hour without KEEP_ALIVE."""
    if not bench.target.virtual:
        raise Unsupported("half an hour is too long for a run in real time")
    peer = await bench.peer()
    peer.window = 1
    await peer.connect()
    await peer.send(Op.PERSIST, b"open, ")
    packet = await peer.reach(DATA & ending(False))
    await peer.send(Op.PURE_DATA, b"ended", flags=FLAG_EOT, expected=packet.sn)
    await peer.reach(FLUSH & acknowledging(peer.sn))
    peer.window = 0  # the right edge stays where it is
    await peer.send(Op.KEEP_ALIVE)
    for packet in await peer.drain(1800.0):
        if packet.op is Op.KEEP_ALIVE:
            raise Violation("a heartbeat came in PEER_COMMIT", packet)
    await comes_back(peer, b"open, ended", ends=True, otherwise="after half an hour the echo does not go on")


@case(REVISION, "4.10/committed-pure-data-eot:heartbeats", slow=True)
async def no_heartbeat_any_more(bench: Bench) -> None:
    """Heartbeats come in COMMITTED; PURE_DATA with EoT leads to CLOSABLE, and they come no more."""
    if not bench.target.virtual:
        raise Unsupported("half an hour is too long for a run in real time")
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await peer.send(Op.PERSIST)  # without payload, so that there is nothing to echo
    await peer.reach(SNACK & acknowledging(peer.sn))
    await peer.reach(SNACK, 700.0)
    await peer.send(Op.PURE_DATA, b"ended", flags=FLAG_EOT)
    await comes_back(peer, b"ended", ends=True, otherwise="the transaction does not come back")
    await peer.send(Op.ACK_FLUSH)
    await peer.drain()
    await peer.quiet(1800.0, otherwise="something came in CLOSABLE, where there is no heartbeat")


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
    await peer.drain(bench.blink)  # a repeat may have crossed it
    again = await peer.expect(ENDED, 10.0, otherwise="EoT was not repeated after an ACK_FLUSH that does not cover it")
    if again.sn != last:
        raise Violation("another number came while EoT was not acknowledged", again, seen=str(again.sn))


@case(REVISION, "4.9/committing2-ack-flush", slow=True)
async def flushed(bench: Bench) -> None:
    """ACK_FLUSH acknowledges everything: neither a repeat of EoT comes nor anything else."""
    peer = await in_state(bench, "committing2")
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.quiet(SOME_REPEATS, otherwise="something came after everything had been acknowledged with ACK_FLUSH")


@case(REVISION, "4.7/committing-ack-flush")
async def next_begins(bench: Bench) -> None:
    """ACK_FLUSH acknowledges everything: the echo of our open transaction comes, from a PERSIST on."""
    peer = await in_state(bench, "committing")
    await peer.send(Op.ACK_FLUSH)
    await begins(peer, b"open", ends=False)


async def begins(peer: Peer, data: bytes, *, ends: bool) -> Packet:
    """The target's new transaction begins with PERSIST and this payload; EoT is there, or follows, if `ends`.

    It may have come already, to probe a window that was shut (7.3).
    """
    packet = next(filter(carrying(data), peer.stream), None) or await peer.expect(DATA)
    if packet.op is not Op.PERSIST or packet.payload != data:
        seen = f"{peer.describe(packet)} {packet.payload[:16]!r}"
        raise Violation(
            "a new transaction does not begin with its PERSIST", packet, expected=f"PERSIST {data!r}", seen=seen
        )
    if ends and not peer.complete:
        await peer.expect(ENDED, otherwise="the transaction was complete, and has no EoT")
    if not ends and packet.ends:
        raise Violation("a transaction that is open has EoT", packet, expected="no EoT", seen="EoT")
    return packet


async def repeated(peer: Peer, packet: Packet) -> None:
    """All but this is acknowledged: it comes again, and no later number does."""
    newest = (peer.expected - 1) & MASK
    await peer.send(Op.KEEP_ALIVE, expected=packet.sn)
    seen = []
    for again in await peer.drain(SOME_REPEATS):
        if again.in_band and later(again.sn, newest) > 0:
            raise Violation(
                "a packet with a new number came", again, expected=f"{newest} at the most", seen=str(again.sn)
            )
        seen.append(again.sn if again.in_band else None)
    if packet.sn not in seen:
        raise Violation(f"{packet.name} was not repeated", packet, expected=f"number {packet.sn} again")


@case(REVISION, "4.10/committed-more-data")
async def committed_sends(bench: Bench) -> None:
    """The window opens while our transaction is open: the echo begins with PERSIST without EoT."""
    peer = await in_state(bench, "committed")
    peer.window = 64
    await peer.send(Op.KEEP_ALIVE)
    await begins(peer, b"open", ends=False)


@case(REVISION, "4.10/committed-commit", slow=True)
async def committed_commits(bench: Bench) -> None:
    """A whole echo has waited for the window, our next transaction is open: PERSIST to EoT, repeated, then nothing."""
    peer = await bench.peer()
    peer.window = 0
    await peer.connect()
    await peer.transaction(b"whole")
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.send(Op.PERSIST, b"open")
    await peer.reach(SNACK & acknowledging(peer.sn))
    peer.window = 64
    await peer.send(Op.KEEP_ALIVE)
    await begins(peer, b"whole", ends=True)
    await repeated(peer, peer.stream[-1])


@case(REVISION, "4.11/closable-commit", slow=True)
async def closable_commits(bench: Bench) -> None:
    """A whole transaction comes back, from PERSIST to EoT, and is repeated while it is not acknowledged."""
    peer = await in_state(bench, "closable")
    await peer.transaction(b"whole")
    await begins(peer, b"whole", ends=True)
    await repeated(peer, peer.stream[-1])


@case(REVISION, "4.11/closable-more-data", slow=True)
async def closable_sends(bench: Bench) -> None:
    """One packet of a longer echo may go out: PERSIST without EoT, repeated while it is not acknowledged."""
    peer = await bench.peer()
    peer.window = 0
    await peer.connect()
    first = peer.expected
    await peer.transaction(bytes(3000))
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    peer.window = 1
    await peer.send(Op.KEEP_ALIVE, expected=first)  # it may have come already, to probe the window (7.3)
    packet = await peer.expect(DATA)
    if packet.op is not Op.PERSIST or packet.ends:
        raise Violation("an open transaction does not begin with PERSIST", packet, seen=peer.describe(packet))
    await repeated(peer, packet)


@case(REVISION, "4.8/peer-commit-commit", slow=True)
async def peer_commit_commits(bench: Bench) -> None:
    """The window opens: the rest of the echo comes, to an EoT that is repeated while it is not acknowledged."""
    peer = await in_state(bench, "peer_commit")
    peer.window = 64
    await peer.send(Op.KEEP_ALIVE)
    await repeated(peer, await peer.expect(ENDED))


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
    """The service has closed: the target, whose first RELEASE is there, is in PRE_CLOSED."""
    peer = await bench.peer()
    await peer.connect()
    await peer.transaction(b"and then close")
    await peer.read_transaction()
    await peer.reach(RELEASE)
    return peer


@case(REVISION, "4.11/closable-shutdown", service="closing", needs=("closing",))
async def closable_releases(bench: Bench) -> None:
    """The service closes when both transactions are complete: RELEASE comes, with the next number."""
    peer = await bench.peer()
    await peer.connect()
    await peer.transaction(b"and then close")
    await peer.read_transaction()
    packet = await peer.expect(RELEASE, otherwise="the service closed, and no RELEASE came")
    number = (next(each for each in reversed(peer.stream) if each.op is not Op.RELEASE).sn + 1) & MASK
    if packet.sn != number:
        raise Violation("RELEASE has not the next number", packet, expected=str(number), seen=str(packet.sn))


@case(REVISION, "4.12/pre-closed-release", service="closing", needs=("closing",), slow=True)
async def release_answered(bench: Bench) -> None:
    """Our RELEASE answers the target's, which has been repeated just before: there is silence."""
    peer = await released(bench)
    await peer.drain(1.0)  # the repeats become rarer, or do not
    await peer.reach(RELEASE, SOME_REPEATS)
    await peer.send(Op.RELEASE)
    came = await peer.quiet(SOME_REPEATS, but=RELEASE, otherwise="something came after both had sent RELEASE")
    if len(came) > 1:
        raise Violation(f"RELEASE came {len(came)} times after ours", came[1], expected="silence", seen="RELEASE")
    if came:  # as 4.12 draws it, though both have sent one
        raise Lenient("our RELEASE, which answers the target's, was answered with one more", came[0])


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
