"""Section 12: time-outs, and the abrupt end."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import AN_ACKNOWLEDGEMENT, DATA, acknowledging, an
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Unsupported, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op

REVISION = "gao-07"
MINUTE = 60.0
COMMIT_LIMIT = 300.0
"""12.3"""
IDLE_LIMIT = 4 * 3600.0
"""12.5"""
HEARTBEAT = 600.0
"""10.1"""
RESET = an(Op.RESET)
HEARTBEATS = an(Op.KEEP_ALIVE, Op.ACK_FLUSH)


async def acknowledged(peer: Peer) -> bool:
    """A new packet of ours is acknowledged: the connection lives."""
    await peer.send(Op.PERSIST, b"are you there", flags=FLAG_EOT)
    for packet in await peer.drain():
        if packet.authentic and packet.op is not Op.RESET and acknowledging(peer.sn)(packet):
            return True
    return False


async def must_live(peer: Peer, why: str) -> None:
    if not await acknowledged(peer):
        raise Violation(f"the connection is dead: {why}", expected="an acknowledgement", seen="none")


async def must_be_dead(peer: Peer, why: str) -> None:
    if await acknowledged(peer):
        raise Violation(
            f"the connection lives: {why}", peer.received[-1], expected="silence or RESET", seen="an acknowledgement"
        )


@case(REVISION, "12.1/challenging-ends-after-sixty", slow=True)
async def challenging_ends(bench: Bench) -> None:
    """A confirmation that comes 70 seconds after ACK_CONNECT_REQ is not acknowledged."""
    peer = await bench.peer()
    await peer.challenge()
    await peer.drain(MINUTE + 10)
    await peer.commit()
    await peer.quiet(but=RESET, otherwise="a connection was confirmed 70 seconds after ACK_CONNECT_REQ")


@case(REVISION, "12.1/accepted-just-before-limit", slow=True)
async def challenging_lasts(bench: Bench) -> None:
    """A confirmation that comes 50 seconds after ACK_CONNECT_REQ counts."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await peer.quiet(MINUTE - 10)
    await peer.commit()
    await peer.expect(an(Op.ACK_FLUSH) & acknowledging(peer.sn))


@case(REVISION, "12.1/listener-never-expires", slow=True)
async def listener_stays(bench: Bench) -> None:
    """A connection can be made after five hours in which nobody came."""
    if not bench.target.virtual:
        raise Unsupported("five hours are too long for a run in real time")
    await bench.sleep(5 * 3600.0)
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True


@case(REVISION, "12.1/half-open-connections-recycled", slow=True, alone=True)
async def half_open(bench: Bench) -> None:
    """Requests until they are refused, none confirmed: 70 seconds later a new one is accepted."""
    for _ in range(400):
        peer = await bench.peer()
        await peer.greet()
        peer.start_checking()
        await peer.send(peer.request())
        answer = await peer.next()
        if answer is None or answer.op is not Op.ACK_CONNECT_REQ:
            break
    await bench.sleep(MINUTE + 10)
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ, otherwise="connections that were never confirmed still take all the room")
    peer.established = True


async def commits(bench: Bench, state: str) -> Peer:
    """The target waits for the acknowledgement of its commitment in that state."""
    peer = await bench.peer()
    await getattr(peer, f"reach_{state}")()
    return peer


@case(REVISION, "12.3/silence-in-committing", slow=True)
async def silent_committing(bench: Bench) -> None:
    """Five minutes of silence in COMMITTING: the target gives up, and says so with RESET if with anything."""
    peer = await commits(bench, "committing")
    await peer.drain(COMMIT_LIMIT + 20)
    await must_be_dead(peer, "nothing came for more than five minutes while it was COMMITTING")


@case(REVISION, "12.3/silence-in-committing2", slow=True)
async def silent_committing2(bench: Bench) -> None:
    """Five minutes of silence in COMMITTING2."""
    peer = await commits(bench, "committing2")
    await peer.drain(COMMIT_LIMIT + 20)
    await must_be_dead(peer, "nothing came for more than five minutes while it was COMMITTING2")


@case(REVISION, "12.3/any-packet-renews", slow=True)
async def renews(bench: Bench) -> None:
    """KEEP_ALIVEs four minutes apart, which do not cover the commitment, keep COMMITTING2 alive for twelve minutes."""
    peer = await commits(bench, "committing2")
    before = (peer.expected - 1) & MASK
    for _ in range(3):
        await peer.drain(COMMIT_LIMIT - 60)
        peer.expected = before
        await peer.send(Op.KEEP_ALIVE)
    await must_live(peer, "valid packets came four minutes apart")


@case(REVISION, "12.3/replays-do-not-renew", slow=True)
async def replays(bench: Bench) -> None:
    """Old packets sent again, and forged ones, every minute: COMMITTING2 ends as if nothing had come."""
    peer = await commits(bench, "committing2")
    old = peer.sent[-1]
    forged = peer.packet(Op.KEEP_ALIVE, icc=bytes(8), serial=peer.serial + 100)
    for _ in range(6):
        await peer.drain(MINUTE - 5)
        await peer.send_octets(old)
        await peer.send(forged)
    await must_be_dead(peer, "only replays and forgeries came for six minutes")


@case(
    REVISION,
    "12.4/release-for-one-minute",
    "5.13/pre-closed-time-out",
    service="closing",
    needs=("closing",),
    slow=True,
)
async def one_minute(bench: Bench) -> None:
    """RELEASE is not answered: a minute later it is repeated no more."""
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"and then close")
    await peer.expect(Op.RELEASE)
    await peer.drain(MINUTE + 5)
    await peer.quiet(2 * MINUTE, but=RESET, otherwise="RELEASE is repeated for longer than a minute")


@case(REVISION, "12.4/release-acknowledged-before", service="closing", needs=("closing",), slow=True)
async def late_flush(bench: Bench) -> None:
    """ACK_FLUSH comes 50 seconds after RELEASE: no repeat comes afterwards."""
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"and then close")
    await peer.expect(Op.RELEASE)
    came = await peer.drain(MINUTE - 10)
    if not any(packet.op is Op.RELEASE for packet in came):
        raise Inconclusive("RELEASE was not repeated within 50 seconds")
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.quiet(MINUTE, otherwise="RELEASE was repeated although it had been acknowledged")


async def idle(bench: Bench) -> Peer:
    """A connection in CLOSABLE, if hours can pass."""
    if not bench.target.virtual:
        raise Unsupported("hours are too long for a run in real time")
    peer = await bench.peer()
    await peer.connect()
    return peer


@case(REVISION, "12.5/closed-after-four-hours", "12.5/own-heartbeats-do-not-count", slow=True)
async def four_hours(bench: Bench) -> None:
    """Four hours without a packet of ours: the target is gone, its own heartbeats notwithstanding."""
    peer = await idle(bench)
    came = await peer.drain(IDLE_LIMIT - 60)
    if not any(packet.op in (Op.KEEP_ALIVE, Op.ACK_FLUSH) for packet in came):
        raise Inconclusive("the target sent no heartbeats")
    await peer.drain(240)
    await must_be_dead(peer, "nothing came for more than four hours")


@case(REVISION, "12.5/heartbeats-keep-connection", slow=True)
async def heartbeats(bench: Bench) -> None:
    """A KEEP_ALIVE of ours every ten minutes for five hours: the connection lives."""
    peer = await idle(bench)
    for _ in range(30):
        await peer.drain(HEARTBEAT)
        await peer.send(Op.KEEP_ALIVE)
    await must_live(peer, "KEEP_ALIVE came every ten minutes")


@case(REVISION, "12.5/forged-packets-keep-nothing", slow=True)
async def forged_heartbeats(bench: Bench) -> None:
    """KEEP_ALIVEs with a wrong check code for more than four hours: the connection is dead."""
    peer = await idle(bench)
    for turn in range(26):
        await peer.drain(HEARTBEAT)
        await peer.send(peer.packet(Op.KEEP_ALIVE, icc=bytes(8), serial=peer.serial + turn))
    await must_be_dead(peer, "only forged packets came for more than four hours")


async def aborted(bench: Bench) -> Peer:
    """The target's connection ends abruptly after five minutes in COMMITTING2; its RESET has come."""
    peer = await commits(bench, "committing2")
    came = await peer.drain(COMMIT_LIMIT + 20)
    if not any(packet.op is Op.RESET for packet in came):
        raise Lenient("the target gave its connection up in silence")
    return peer


@case(REVISION, "12.7/reset-on-abort", "12.7/reset-number-unused", slow=True)
async def own_reset(bench: Bench) -> None:
    """The target's RESET verifies, has a reason, and a number that none of its packets had."""
    peer = await aborted(bench)
    reset = next(packet for packet in peer.received if packet.op is Op.RESET)
    if reset.authentic is not True:
        raise Violation("the RESET of an established connection does not verify", reset)
    used = {packet.sn for packet in peer.received if packet.in_band}
    if reset.sn in used:
        raise Violation(f"RESET has the number {reset.sn}, which a packet had before", reset)
    if reset.expected != peer.sn:
        raise Violation("RESET expects another number", reset, expected=str(peer.sn), seen=str(reset.expected))


@case(REVISION, "12.7/nothing-after-reset", slow=True)
async def same_reset(bench: Bench) -> None:
    """Packets after the target's RESET draw the same octets again, or nothing."""
    peer = await aborted(bench)
    first = next(each.datagram for each in bench.exchanges if not each.sent and each.words.startswith("RESET"))
    mark = len(bench.exchanges)
    for _ in range(3):
        await peer.send(Op.PERSIST, b"anybody", flags=FLAG_EOT)
        await peer.drain(2.0)
    for each in bench.exchanges[mark:]:
        if not each.sent and each.datagram != first:
            raise Violation("after its RESET the target sent something else")


@case(REVISION, "12.7/reset-ends-connection", quick=True)
async def obeys(bench: Bench) -> None:
    """After a legitimate RESET nothing is acknowledged and nothing more is sent."""
    peer = await bench.peer()
    await peer.reach_active()
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    await peer.send(Op.PURE_DATA, b"too late", flags=FLAG_EOT)
    await peer.quiet(but=RESET, otherwise="a connection that was reset goes on")


@case(REVISION, "12.7/forged-reset-ignored", quick=True)
async def forged(bench: Bench) -> None:
    """RESET with a wrong check code: the echo goes on."""
    peer = await bench.peer()
    await peer.connect()
    await peer.send(Op.RESET, reason=1, icc=bench.random.randbytes(8))
    await peer.quiet()
    await must_live(peer, "a RESET came whose check code is wrong")


@case(REVISION, "12.7/reset-outside-window")
async def outside(bench: Bench) -> None:
    """RESETs that verify but whose numbers lie far outside of the window: the echo goes on."""
    peer = await bench.peer()
    await peer.connect()
    for number in ((peer.right_edge + 2) & MASK, (peer.sn - 5) & MASK, (peer.sn + 2**31) & MASK):
        await peer.send(Op.RESET, reason=1, sn=number)
    await peer.quiet()
    await must_live(peer, "a RESET came whose number lies outside of the window")


@case(REVISION, "12.7/no-reset-for-reset")
async def no_answer(bench: Bench) -> None:
    """RESET is not answered: on a connection, after its end, and to an ULTID that nobody has."""
    peer = await bench.peer()
    await peer.connect()
    reset = await peer.send(Op.RESET, reason=1)
    await peer.quiet(otherwise="a RESET was answered")
    await peer.send(reset)
    await peer.quiet(otherwise="a RESET on a connection that had been reset was answered")
    stranger = await bench.peer()
    stranger.remote = b"\x70\x70\x70\x70"
    await stranger.send(Op.RESET, reason=1)
    await stranger.quiet(otherwise="a RESET for nobody was answered")


@case(REVISION, "12.7/reset-ends-connection:silent-sender")
async def stops_sending(bench: Bench) -> None:
    """The target has data to send, held back by a shut window, when RESET comes: it sends no more of it."""
    peer = await bench.peer()
    await peer.reach_peer_commit()
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    peer.window = 64
    await peer.send(Op.KEEP_ALIVE)
    for packet in await peer.drain():
        if DATA(packet) or AN_ACKNOWLEDGEMENT(packet):
            raise Violation("data or acknowledgements came after RESET", packet)
