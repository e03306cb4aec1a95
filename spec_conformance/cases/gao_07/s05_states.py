"""Section 5: what each state does with each packet, seen from outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Lenient, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, later

REVISION: Final = "gao-07"
FLUSH: Final = an(Op.ACK_FLUSH)
SNACK: Final = an(Op.KEEP_ALIVE)
ENDED: Final = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True)


@dataclass(frozen=True, slots=True)
class Edge:
    """In a state a packet comes; its acknowledgement is an ACK_FLUSH or, while the peer's transaction is open, not."""

    state: str
    section: str
    op: Op
    ends: bool
    flush: bool

    @property
    def name(self) -> str:
        words = {Op.PURE_DATA: "pure-data", Op.PERSIST: "persist", Op.NULCOMMIT: "nulcommit", Op.RELEASE: "release"}
        suffix = "-eot" if self.ends and self.op in (Op.PURE_DATA, Op.PERSIST) else ""
        return f"{self.section}/{self.state.replace('_', '-')}-{words[self.op]}{suffix}"


def edges() -> list[Edge]:
    """What 5.6 to 5.11 draw, for the states that an echo service shows."""
    found = []
    ends, open_ = True, False
    for state, section in (("active", "5.6"), ("committing", "5.7"), ("committed", "5.8")):
        found += [
            Edge(state, section, Op.NULCOMMIT, ends, flush=True),
            Edge(state, section, Op.PURE_DATA, ends, flush=True),
            Edge(state, section, Op.PURE_DATA, open_, flush=False),
        ]
        if state != "committing":
            found += [
                Edge(state, section, Op.PERSIST, ends, flush=True),
                Edge(state, section, Op.PERSIST, open_, flush=False),
            ]
    for state, section in (("peer_commit", "5.9"), ("committing2", "5.10"), ("closable", "5.11")):
        found += [
            Edge(state, section, Op.NULCOMMIT, ends, flush=True),
            Edge(state, section, Op.PERSIST, ends, flush=True),
            Edge(state, section, Op.PERSIST, open_, flush=False),
        ]
    for state, section in (("committing", "5.7"), ("committed", "5.8"), ("committing2", "5.10"), ("closable", "5.11")):
        found.append(Edge(state, section, Op.RELEASE, ends, flush=True))
    return found


async def in_state(bench: Bench, state: str) -> Peer:
    peer = await bench.peer()
    await getattr(peer, f"reach_{state}")()
    await peer.drain(bench.blink)
    return peer


def held(peer: Peer, state: str) -> int:
    """The expected number that leaves the target's transaction unacknowledged where it is, so that the state stays."""
    return (peer.expected - 1) & MASK if state.startswith("committing") else peer.expected


def edge_script(edge: Edge) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, edge.state)
        payload = b"next" if edge.op in (Op.PERSIST, Op.PURE_DATA) else b""
        await peer.send(edge.op, payload, flags=FLAG_EOT if edge.ends else 0, expected=held(peer, edge.state))
        want = FLUSH if edge.flush else SNACK
        packet = await peer.expect((FLUSH | SNACK) & acknowledging(peer.sn))
        if not want(packet):
            state = edge.state.upper()
            raise Violation(
                f"in {state} {edge.op}{' with EoT' if edge.ends else ''} drew {packet.name}",
                packet,
                expected=want.words,
                seen=packet.name,
            )

    script.__doc__ = f"{edge.state.upper()}: {edge.op}{' with EoT' if edge.ends else ''} is answered as it should be."
    return script


for _edge in edges():
    case(REVISION, _edge.name, quick=_edge.state == "closable")(edge_script(_edge))


def reset_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        await peer.send(Op.RESET, reason=1, expected=held(peer, state))
        await peer.drain(bench.blink)
        await peer.send(Op.PERSIST, b"too late", flags=FLAG_EOT)
        await peer.quiet(but=an(Op.RESET), otherwise=f"RESET did not end a connection in {state.upper()}")

    script.__doc__ = f"{state.upper()}: RESET ends the connection."
    return script


for _state, _section in (
    ("active", "5.6"),
    ("committing", "5.7"),
    ("committed", "5.8"),
    ("peer_commit", "5.9"),
    ("committing2", "5.10"),
    ("closable", "5.11"),
):
    case(REVISION, f"{_section}/{_state.replace('_', '-')}-reset")(reset_script(_state))


def early_script(state: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await in_state(bench, state)
        first = peer.packet(Op.PERSIST, b"first", expected=held(peer, state))
        peer.sn = (peer.sn + 1) & MASK
        await peer.send(Op.PURE_DATA, b"second", flags=FLAG_EOT, expected=held(peer, state))
        for packet in await peer.drain():
            if packet.acknowledged is not None and later(packet.acknowledged, first.sn) > 0:
                raise Violation("a packet that is missing was acknowledged", packet)
        await peer.send(first)
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="PURE_DATA that came before its PERSIST was lost")

    script.__doc__ = f"{state.upper()}: PURE_DATA overtakes the PERSIST of its transaction, and is kept."
    return script


for _state, _section in (("peer_commit", "5.9"), ("committing2", "5.10"), ("closable", "5.11")):
    case(REVISION, f"{_section}/{_state.replace('_', '-')}-early-pure-data")(early_script(_state))


# 5.2


@case(REVISION, "5.2/listening-init-connect")
async def listening_stays(bench: Bench) -> None:
    """INIT_CONNECT is answered, and after it another's is."""
    for _ in range(2):
        peer = await bench.peer()
        await peer.send(Op.INIT_CONNECT, destination=bench.service)
        await peer.expect(Op.ACK_INIT_CONNECT)


@case(REVISION, "5.2/listening-connect-request")
async def listening_accepts(bench: Bench) -> None:
    """Two connections are accepted one after the other, both of them wait for their confirmation."""
    peers = [await bench.peer() for _ in range(2)]
    for peer in peers:
        await peer.greet()
        peer.start_checking()
        await peer.send(peer.request())
        peer.accepted(await peer.expect(Op.ACK_CONNECT_REQ))
        peer.established = True
    for peer in peers:
        await peer.commit()
        await peer.expect(FLUSH & acknowledging(peer.sn))


@case(REVISION, "5.2/listening-duplicate-request", quick=True)
async def duplicate_request(bench: Bench) -> None:
    """CONNECT_REQUEST comes again: ACK_CONNECT_REQ with the same number comes again."""
    peer = await bench.peer()
    first = await peer.challenge()
    peer.established = True
    await bench.sleep(1.0)  # a responder may answer repeats only so often
    await peer.send(peer.request())
    again = await peer.expect(Op.ACK_CONNECT_REQ, otherwise="a repeated CONNECT_REQUEST was not answered")
    if again.sn != first.sn:
        raise Violation(
            "a repeated CONNECT_REQUEST drew another number", again, expected=str(first.sn), seen=str(again.sn)
        )


@case(REVISION, "5.2/listening-other-packets")
async def listening_ignores(bench: Bench) -> None:
    """Everything else that comes to the listener's ULTID draws nothing."""
    peer = await bench.peer()
    await peer.connect()
    for op in (Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT, Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.RELEASE, Op.RESET):
        payload = b"x" if op in (Op.PERSIST, Op.PURE_DATA) else b""
        await peer.send(peer.packet(op, payload, destination=bench.service))
        await peer.quiet(otherwise=f"{op} to a listener was answered")


# 5.3, 5.4


@case(REVISION, "5.3/bootstrap-ack-init-connect", role="initiator")
async def bootstrap(bench: Bench) -> None:
    """ACK_INIT_CONNECT draws one CONNECT_REQUEST."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    await peer.send(peer.offer())
    await peer.expect(Op.CONNECT_REQUEST)
    await peer.quiet(otherwise="more than one CONNECT_REQUEST")


@case(REVISION, "5.3/bootstrap-other-packets", role="initiator")
async def bootstrap_ignores(bench: Bench) -> None:
    """ACK_CONNECT_REQ and data that nobody has asked for draw nothing; ACK_INIT_CONNECT still does."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    peer.start_checking()
    await peer.send(peer.acceptance(expected=7))
    await peer.send(peer.packet(Op.PERSIST, b"too early", flags=FLAG_EOT, sn=peer.initial_sn))
    await peer.quiet(but=an(Op.INIT_CONNECT), otherwise="a packet out of place was answered")
    await peer.send(peer.offer())
    await peer.expect(Op.CONNECT_REQUEST)


@case(REVISION, "5.3/bootstrap-reset", role="initiator", slow=True)
async def bootstrap_reset(bench: Bench) -> None:
    """RESET with Timestamp and Init-Check-Code: INIT_CONNECT comes no more."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    await peer.send(Op.RESET, reason=1, icc=peer.check_code)
    await peer.drain(bench.blink)
    await peer.quiet(40.0, otherwise="the client goes on after a RESET that answers its INIT_CONNECT")


@case(REVISION, "5.4/affirming-eot-no-payload", role="initiator", quick=True)
async def affirming(bench: Bench) -> None:
    """ACK_CONNECT_REQ with EoT and a welcome is confirmed and acknowledged; the next transaction is, too."""
    peer = await bench.waiting_peer()
    packet = await peer.accept(b"welcome")
    if packet.expected != peer.sn:
        raise Violation("the confirmation does not acknowledge the welcome", packet)
    await peer.send(Op.PERSIST, b"more", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="the responder's next transaction is not acknowledged")


@case(REVISION, "5.4/affirming-not-eot", role="initiator")
async def affirming_open(bench: Bench) -> None:
    """ACK_CONNECT_REQ without EoT is confirmed; PURE_DATA with EoT then completes the transaction."""
    peer = await bench.waiting_peer()
    await peer.hear_request()
    await peer.send(peer.acceptance(b"begun, ", flags=0))
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    await peer.expect(an(Op.NULCOMMIT, Op.PERSIST))
    await peer.send(Op.PURE_DATA, b"ended", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn))


@case(REVISION, "5.4/affirming-duplicate", role="initiator")
async def affirming_duplicate(bench: Bench) -> None:
    """ACK_CONNECT_REQ comes again after the confirmation: at most an acknowledgement or the confirmation again."""
    peer = await bench.waiting_peer()
    await peer.hear_request()
    acceptance = peer.acceptance(b"welcome")
    await peer.send(acceptance)
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    await peer.expect(an(Op.NULCOMMIT, Op.PERSIST))
    await peer.drain()
    before = peer.expected
    await peer.send(acceptance)
    for packet in await peer.drain():
        if packet.acknowledged is not None and later(packet.acknowledged, peer.sn) > 0:
            raise Violation("a repeated ACK_CONNECT_REQ was counted twice", packet)
        if packet.op is Op.RESET:
            raise Violation("a repeated ACK_CONNECT_REQ ended the connection", packet)
    if later(peer.expected, before) > 1:
        raise Lenient("new packets came after a repeated ACK_CONNECT_REQ")


@case(REVISION, "5.4/affirming-reset", role="initiator")
async def affirming_reset(bench: Bench) -> None:
    """RESET with Timestamp and Cookie, then ACK_CONNECT_REQ: it is not confirmed."""
    peer = await bench.waiting_peer()
    await peer.hear_request()
    acceptance = peer.encode(peer.acceptance())
    peer.sending.clear()
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    await peer.send_octets(acceptance)
    await peer.quiet(but=an(Op.RESET), otherwise="a connection was confirmed after RESET had refused it")


# 5.5


async def challenged(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    return peer


@case(REVISION, "5.5/challenging-nulcommit")
async def challenging_nulcommit(bench: Bench) -> None:
    """NULCOMMIT draws ACK_FLUSH."""
    peer = await challenged(bench)
    await peer.send(Op.NULCOMMIT)
    packet = await peer.expect((FLUSH | SNACK) & acknowledging(peer.sn))
    if packet.op is not Op.ACK_FLUSH:
        raise Violation("NULCOMMIT in CHALLENGING drew no ACK_FLUSH", packet)


@case(REVISION, "5.5/challenging-persist-eot")
async def challenging_persist_eot(bench: Bench) -> None:
    """PERSIST with EoT draws ACK_FLUSH, and its payload comes back."""
    peer = await challenged(bench)
    await peer.send(Op.PERSIST, b"at once", flags=FLAG_EOT)
    packet = await peer.expect((FLUSH | SNACK) & acknowledging(peer.sn))
    if packet.op is not Op.ACK_FLUSH:
        raise Violation("PERSIST with EoT in CHALLENGING drew no ACK_FLUSH", packet)
    if await peer.read_transaction() != b"at once":
        raise Violation("the payload of the PERSIST that confirmed was not delivered", peer.received[-1])


@case(REVISION, "5.5/challenging-persist")
async def challenging_persist(bench: Bench) -> None:
    """PERSIST without EoT draws KEEP_ALIVE, and no ACK_FLUSH before the transaction ends."""
    peer = await challenged(bench)
    peer.window = 0
    await peer.send(Op.PERSIST, b"begun, ")
    packet = await peer.expect((FLUSH | SNACK) & acknowledging(peer.sn))
    if packet.op is not Op.KEEP_ALIVE:
        raise Violation("an open transaction was answered with ACK_FLUSH", packet)
    await peer.send(Op.PURE_DATA, b"ended", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn))


@case(REVISION, "5.5/challenging-reset")
async def challenging_reset(bench: Bench) -> None:
    """RESET in the words of the handshake ends it: CONNECT_REQUEST's Timestamp and Cookie."""
    peer = await bench.peer()
    await peer.challenge()
    checks = list(peer.sending)
    peer.sending.clear()
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    peer.sending += checks
    await peer.commit()
    await peer.quiet(but=an(Op.RESET), otherwise="a connection was confirmed after RESET")


def unconfirming(op: Op) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer = await challenged(bench)
        await peer.send(peer.packet(op))
        await peer.quiet(otherwise=f"{op} before the confirmation was answered")
        await peer.commit()
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise=f"after {op} the connection cannot be confirmed")

    script.__doc__ = f"{op} in place of the confirmation draws nothing; NULCOMMIT confirms."
    return script


case(REVISION, "5.5/challenging-release")(unconfirming(Op.RELEASE))
case(REVISION, "5.5/challenging-ack-flush")(unconfirming(Op.ACK_FLUSH))


# what only the application, or several packets, show


@case(REVISION, "5.6/active-ack-flush")
async def active_ack_flush(bench: Bench) -> None:
    """ACK_FLUSH while the target's transaction is open: its transaction goes on with the numbers it had."""
    peer = await in_state(bench, "active")
    number = peer.expected
    await peer.send(Op.ACK_FLUSH)
    await peer.send(Op.PURE_DATA, b"goes on")
    packet = await peer.expect(DATA & carrying(b"goes on"))
    if packet.sn != number:
        raise Violation("after an ACK_FLUSH out of place the numbers do not go on", packet)
    if packet.op is not Op.PURE_DATA:
        raise Violation(f"the transaction went on with {packet.name}", packet, expected="PURE_DATA", seen=packet.name)


@case(REVISION, "5.6/active-flush")
async def active_flush(bench: Bench) -> None:
    """Our transaction ends, so the echo's does: EoT comes, and is repeated until ACK_FLUSH."""
    peer = await in_state(bench, "active")
    await peer.send(Op.PURE_DATA, b"end", flags=FLAG_EOT)
    await peer.expect(ENDED)


async def next_transaction(bench: Bench, state: str) -> None:
    """The target, whose commitment was not acknowledged, begins its next transaction when ACK_FLUSH has come."""
    peer = await in_state(bench, state)
    if state == "committing2":
        await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT, expected=held(peer, state))
    else:
        await peer.send(Op.PURE_DATA, b"next", flags=FLAG_EOT, expected=held(peer, state))
    end = peer.stream[-1].sn
    for packet in await peer.drain():
        if packet.in_band and later(packet.sn, end) > 0:
            raise Violation("further data before the commitment was acknowledged", packet)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA, otherwise="after ACK_FLUSH the next transaction did not begin")


@case(REVISION, "5.7/committing-ack-flush", "5.7/no-data-while-committing")
async def committing_goes_on(bench: Bench) -> None:
    """COMMITTING: nothing new before ACK_FLUSH, the next transaction after it."""
    await next_transaction(bench, "committing")


@case(REVISION, "5.10/committing2-ack-flush", "5.10/no-data-while-committing2")
async def committing2_goes_on(bench: Bench) -> None:
    """COMMITTING2: nothing new before ACK_FLUSH, the next transaction after it."""
    await next_transaction(bench, "committing2")


@case(REVISION, "5.7/committing-stale-flush")
async def stale_flush(bench: Bench) -> None:
    """ACK_FLUSH that covers all but the packet with EoT: nothing new is sent."""
    peer = await in_state(bench, "committing")
    end = peer.stream[-1].sn
    right = peer.expected
    peer.expected = end
    await peer.send(Op.ACK_FLUSH)
    peer.expected = right
    await peer.send(Op.PURE_DATA, b"next", flags=FLAG_EOT, expected=end)
    for packet in await peer.drain():
        if packet.in_band and later(packet.sn, end) > 0:
            raise Violation("an ACK_FLUSH that does not cover EoT ended the commitment", packet)


@case(REVISION, "5.8/committed-send")
async def committed_sends(bench: Bench) -> None:
    """The window opens: the echo begins with PERSIST."""
    peer = await in_state(bench, "committed")
    peer.window = 64
    await peer.send(Op.KEEP_ALIVE)
    packet = await peer.expect(DATA)
    if packet.op is not Op.PERSIST:
        raise Violation(f"a new transaction began with {packet.name}", packet, expected="PERSIST", seen=packet.name)


@case(REVISION, "5.9/peer-commit-flush", slow=True)
async def peer_commit_flushes(bench: Bench) -> None:
    """The window opens: the rest of the echo comes, EoT at its end."""
    peer = await in_state(bench, "peer_commit")
    peer.window = 64
    await peer.send(Op.KEEP_ALIVE)
    await peer.expect(ENDED)


@case(REVISION, "5.11/closable-send")
async def closable_sends(bench: Bench) -> None:
    """The echo of a new transaction begins with PERSIST."""
    peer = await in_state(bench, "closable")
    await peer.transaction(b"begin")
    packet = await peer.expect(DATA)
    if packet.op is not Op.PERSIST:
        raise Violation(f"a new transaction began with {packet.name}", packet, expected="PERSIST", seen=packet.name)


async def released(bench: Bench) -> Peer:
    """The service has closed first: PRE_CLOSED."""
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"and then close")
    await peer.reach(Op.RELEASE)
    return peer


@case(REVISION, "5.12/shut-requested-release")
async def release_again(bench: Bench) -> None:
    """RELEASE comes twice: ACK_FLUSH comes twice, with new serials."""
    peer = await in_state(bench, "closable")
    release = await peer.send(Op.RELEASE)
    first = await peer.expect(FLUSH & acknowledging(peer.sn))
    await peer.send(release)
    second = await peer.expect(FLUSH & acknowledging(peer.sn))
    if first.expected == second.expected:
        raise Violation("two ACK_FLUSHes have one serial", second)


@case(REVISION, "5.12/shut-requested-data", "5.14/closed-no-new-data")
async def data_after_release(bench: Bench) -> None:
    """Data with the number after RELEASE is not acknowledged and not echoed."""
    peer = await in_state(bench, "closable")
    await peer.send(Op.RELEASE)
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.send(Op.PERSIST, b"too late", flags=FLAG_EOT)
    for packet in await peer.drain():
        if DATA(packet) or (packet.acknowledged is not None and later(packet.acknowledged, peer.sn) >= 0):
            raise Violation("data after RELEASE was taken", packet)


@case(REVISION, "5.12/shut-requested-reset")
async def reset_after_release(bench: Bench) -> None:
    """RESET after RELEASE draws nothing."""
    peer = await in_state(bench, "closable")
    await peer.send(Op.RELEASE)
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.send(Op.RESET, reason=1)
    await peer.quiet(otherwise="RESET after RELEASE was answered")


@case(REVISION, "5.13/pre-closed-reset", service="closing", needs=("closing",), slow=True)
async def pre_closed_reset(bench: Bench) -> None:
    """RESET comes: RELEASE is repeated no more."""
    peer = await released(bench)
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    await peer.quiet(10.0, otherwise="RELEASE was repeated after RESET")
