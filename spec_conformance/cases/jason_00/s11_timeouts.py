"""Section 11: time-outs, and the abrupt end."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import Script, case
from spec_conformance.cases.gao_07 import s12_timeouts
from spec_conformance.cases.gao_07.s12_timeouts import must_be_dead, must_live
from spec_conformance.cases.jason_00.s07_transfer import slow_closable
from spec_conformance.expect import an, carrying
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Unsupported, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet

REVISION = "jason-00"
MINUTE = 60.0
COMMIT_LIMIT = 5 * MINUTE
"""11.3"""
HOUR = 3600.0
IDLE_LIMIT = 4 * HOUR
"""11.5"""
RESET = an(Op.RESET)


# 11.1


@case(REVISION, "11.1/bootstrap-time-out", role="initiator", slow=True)
async def bootstrap(bench: Bench) -> None:
    """INIT_CONNECT is not answered: after a minute it comes no more, and an answer then draws nothing."""
    peer = await bench.waiting_peer()
    greeting = await peer.hear_greeting()
    began = bench.elapsed
    came = await peer.drain(MINUTE + 5)
    same = [packet for packet in came if packet.source == greeting.source]
    if not same:
        raise Inconclusive("INIT_CONNECT was not repeated")
    for packet in await peer.drain(MINUTE):
        if packet.op is Op.INIT_CONNECT and packet.source == greeting.source:
            text = f"INIT_CONNECT comes {bench.elapsed - began:.0f} s after the first one"
            raise Violation(text, packet, expected="none after 60 s")
    await peer.send(peer.offer())
    for packet in await peer.drain():
        if packet.op is Op.CONNECT_REQUEST and packet.source == greeting.source:
            raise Violation("an answer that came two minutes late was taken", packet)


case(REVISION, "11.1/challenging-time-out", slow=True)(s12_timeouts.challenging_ends)
case(REVISION, "11.1/challenging-time-out:just-before", slow=True)(s12_timeouts.challenging_lasts)
case(REVISION, "11.1/listening-without-time-out", slow=True)(s12_timeouts.listener_stays)


# 11.3

case(REVISION, "11.3/committing-time-out", slow=True)(s12_timeouts.silent_committing)
case(REVISION, "11.3/committing2-time-out", slow=True)(s12_timeouts.silent_committing2)


def lasts(state: str) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await getattr(peer, f"reach_{state}")()
        await peer.drain(COMMIT_LIMIT - MINUTE)
        await must_live(peer, f"four minutes of silence are allowed in {state.upper()}")

    script.__doc__ = f"Four minutes of silence in {state.upper()}: the connection lives."
    return script


case(REVISION, "11.3/committing-time-out:just-before", slow=True)(lasts("committing"))
case(REVISION, "11.3/committing2-time-out:just-before", slow=True)(lasts("committing2"))


@case(REVISION, "11.3/commit-timer-restarts", slow=True)
async def renews(bench: Bench) -> None:
    """KEEP_ALIVEs four minutes apart, which do not cover the echo's end, keep COMMITTING alive for twelve minutes."""
    peer = await bench.peer()
    await peer.reach_committing()
    before = (peer.target_initial_sn + 1) & MASK
    for _ in range(3):
        await peer.drain(COMMIT_LIMIT - MINUTE)
        await peer.send(Op.KEEP_ALIVE, expected=before)
    peer.expected = before
    await must_live(peer, "valid packets came four minutes apart")


# 11.4


@case(REVISION, "11.4/pre-closed-time-out", service="closing", needs=("closing",), slow=True)
async def one_minute(bench: Bench) -> None:
    """RELEASE is not answered: it is repeated for a minute at most, and a RELEASE of ours then draws nothing."""
    peer = await slow_closable(bench, 0.2)
    await peer.transaction(b"and then close")
    await peer.read_transaction()
    await peer.reach(Op.RELEASE)
    came = await peer.drain(MINUTE + 5)
    if not any(packet.op is Op.RELEASE for packet in came):
        raise Violation("RELEASE was not repeated within a minute", expected="repeats", seen="none")
    await peer.quiet(2 * MINUTE, but=RESET, otherwise="RELEASE is repeated for longer than a minute")
    await peer.send(Op.RELEASE)
    await peer.quiet(but=RESET, otherwise="a connection that was given up answers RELEASE")


# 11.5


async def idle(bench: Bench) -> Peer:
    """A connection in CLOSABLE, if hours can pass."""
    if not bench.target.virtual:
        raise Unsupported("hours are too long for a run in real time")
    peer = await bench.peer()
    await peer.connect()
    return peer


@case(REVISION, "11.5/idle-time-out", slow=True)
async def four_hours(bench: Bench) -> None:
    """Four hours without a packet of ours: the target is gone."""
    peer = await idle(bench)
    await peer.drain(IDLE_LIMIT + 3 * MINUTE)
    await must_be_dead(peer, "nothing came for more than four hours")


@case(REVISION, "11.5/idle-timer-restarts", slow=True)
async def renewed(bench: Bench) -> None:
    """A packet of ours after three hours, another after two more: it is answered."""
    peer = await idle(bench)
    await peer.drain(3 * HOUR)
    await peer.send(Op.KEEP_ALIVE)
    await peer.drain(2 * HOUR)
    await must_live(peer, "a packet came two hours ago")


@case(REVISION, "11.5/forged-packets-no-life", slow=True)
async def forged(bench: Bench) -> None:
    """Packets of several kinds with a wrong check code, two an hour for more than four hours: the target is gone."""
    peer = await idle(bench)
    for turn in range(9):
        await peer.drain(IDLE_LIMIT / 8)
        await peer.send(peer.packet(Op.KEEP_ALIVE, icc=bytes(8), serial=peer.serial + turn))
        await peer.send(peer.packet(Op.PERSIST, b"forged", flags=FLAG_EOT, icc=bytes(8)))
    await must_be_dead(peer, "only forged packets came for more than four hours")


# 11.7


async def aborted(bench: Bench, peer: Peer, seconds: float) -> Packet:
    """The target's RESET, after silence."""
    for packet in await peer.drain(seconds):
        if packet.op is Op.RESET:
            return packet
    raise Violation(f"no RESET came after {seconds:.0f} s of silence", expected="RESET", seen="none")


@case(REVISION, "11.7/abort-sends-reset", slow=True, quick=True)
async def own_reset(bench: Bench) -> None:
    """Four hours of silence: the target's RESET verifies, and expects our next number."""
    peer = await idle(bench)
    reset = await aborted(bench, peer, IDLE_LIMIT + MINUTE)
    if reset.authentic is not True:
        raise Violation("the RESET of an established connection does not verify", reset)
    if reset.expected != peer.sn:
        raise Violation("RESET expects another number", reset, expected=str(peer.sn), seen=str(reset.expected))


@case(REVISION, "11.7/nothing-left-after-abort", slow=True)
async def nothing_left(bench: Bench) -> None:
    """Five minutes in COMMITTING, RESET comes: after it no repeat and no heartbeat, and data is not echoed."""
    peer = await bench.peer()
    await peer.reach_committing()
    await aborted(bench, peer, COMMIT_LIMIT + 20)
    await peer.quiet(15 * MINUTE, but=RESET, otherwise="an end that has sent RESET sends something else")
    await peer.send(Op.ACK_FLUSH)
    await peer.send(Op.PURE_DATA, b" and closed", flags=FLAG_EOT)
    for packet in await peer.drain():
        if packet.op is not Op.RESET or carrying(b"open")(packet):
            raise Violation("an end that has sent RESET takes data", packet)
