"""Section 9: heartbeats, and peers that move."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import Script, case
from spec_conformance.cases.gao_07 import s10_mobility
from spec_conformance.cases.gao_07.s10_mobility import elsewhere
from spec_conformance.cases.jason_00.s07_retransmission import answering, repeats, time_of, warm
from spec_conformance.cases.jason_00.s07_transfer import slow, slow_closable
from spec_conformance.expect import AN_ACKNOWLEDGEMENT, DATA, acknowledging, an, carrying, ending, numbered
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Unsupported, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, later

REVISION = "jason-00"
HEARTBEAT = 600.0
ROUND_TRIP = 0.3
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA)
KEEP_ALIVE = an(Op.KEEP_ALIVE)


def need_hours(bench: Bench) -> None:
    if not bench.target.virtual:
        raise Unsupported("an hour is too long for a run in real time")


# 9.1


def beats(state: str) -> Script:
    async def script(bench: Bench) -> None:
        need_hours(bench)
        peer = await bench.peer()
        if state == "committed":  # there is nothing to echo yet
            await peer.challenge()
            peer.established = True
            await peer.send(Op.PERSIST)
            await peer.reach(AN_ACKNOWLEDGEMENT & acknowledging(peer.sn))
        else:
            await getattr(peer, f"reach_{state}")()
        await peer.drain(1.0)
        last = bench.elapsed
        known = (peer.target_initial_sn + 1) & MASK if state == "committing" else peer.expected
        for _ in range(12):
            for packet in await peer.drain(HEARTBEAT / 4):
                if KEEP_ALIVE(packet):
                    last = time_of(bench, packet)
            if bench.elapsed - last > 1.1 * HEARTBEAT:
                text = f"{state.upper()}: {bench.elapsed - last:.0f} s without a KEEP_ALIVE"
                raise Violation(text, expected="600 s at most", seen=f"{bench.elapsed - last:.0f} s")
            if state == "committing":  # else it would be given up after five minutes
                await peer.send(Op.KEEP_ALIVE, expected=known)

    script.__doc__ = f"Half an hour in {state.upper()}: no more than 600 seconds pass without a KEEP_ALIVE."
    return script


for _state, _name in (("active", ""), ("committing", ":committing"), ("committed", ":committed")):
    case(REVISION, f"9.1/heartbeat-sent{_name}", slow=True)(beats(_state))


@case(REVISION, "9.1/heartbeat-without-payload")
async def no_payload(bench: Bench) -> None:
    """KEEP_ALIVEs for data in order, and over a gap: the stack pointer is the length, without the ULTIDs."""
    peer = await bench.peer()
    await peer.reach_active()
    await peer.send(Op.PURE_DATA, b"in order")
    await peer.drain()
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"behind a gap")
    await peer.drain()
    found = [packet for packet in peer.received if KEEP_ALIVE(packet)]
    if not found:
        raise Inconclusive("no KEEP_ALIVE came")
    for packet in found:
        length = len(bench.octets_of(packet)) - 8
        if packet.payload or packet.offset != length:
            text = "a KEEP_ALIVE has payload"
            raise Violation(text, packet, expected=f"stack pointer {length}", seen=str(packet.offset))


@case(REVISION, "9.1/keep-alive-with-payload", quick=True)
async def smuggled(bench: Bench) -> None:
    """KEEP_ALIVE with payload within a transaction, of the next number and of the last: the echo has none of it."""
    peer = await bench.peer()
    await peer.connect()
    await peer.send(Op.PERSIST, b"one ")
    await peer.reach(DATA & carrying(b"one "))
    await peer.send(Op.KEEP_ALIVE, b"smuggled")
    await peer.send(Op.KEEP_ALIVE, b"smuggled", sn=peer.sn)
    await peer.send(Op.PURE_DATA, b"two", flags=FLAG_EOT)
    answer = await peer.read_transaction()
    if answer != b"one two":
        raise Violation("payload of a KEEP_ALIVE was delivered", expected="one two", seen=repr(answer[:40]))


def processed(state: str) -> Script:
    async def script(bench: Bench) -> None:
        if state == "peer_commit":
            peer = await slow(bench, ROUND_TRIP, window=3)
            await peer.commit()
            await peer.reach(an(Op.ACK_FLUSH))
            await warm(peer, bytes(2500))
            first = peer.expected
            await peer.transaction(bytes(5000))
            await peer.drain(bench.blink)
            if later(peer.expected, first) != 3 or peer.complete:
                raise Inconclusive("the echo did not begin, or the window is no limit to it")
        else:
            peer, first = await answering(bench, 4)
        if state == "committing":
            await peer.send(Op.PERSIST, b"open", expected=first)
            await peer.drain(bench.blink)
        await peer.send(Op.KEEP_ALIVE, expected=(first + 2) & MASK)
        peer.window = 0
        came = await repeats(peer, first)
        if came & {0, 1}:
            text = f"{state.upper()}: packets {sorted(came & {0, 1})} were repeated, which a KEEP_ALIVE acknowledges"
            raise Violation(text, expected="2 and later ones", seen=str(sorted(came)))
        if 2 not in came:
            raise Inconclusive("the packet that is not acknowledged was not repeated")

    script.__doc__ = f"KEEP_ALIVE acknowledges two packets of an echo in {state.upper()}: others are repeated."
    return script


for _state, _name in (("committing2", ""), ("committing", ":committing"), ("peer_commit", ":peer-commit")):
    case(REVISION, f"9.1/heartbeat-processed{_name}", slow=True)(processed(_state))


@case(REVISION, "9.1/heartbeat-processed:active", slow=True)
async def processed_in_active(bench: Bench) -> None:
    """KEEP_ALIVE acknowledges the first of two packets in ACTIVE: the second alone is repeated."""
    peer = await slow_closable(bench, ROUND_TRIP)
    first = peer.expected
    for turn, piece in enumerate((b"one", b"two")):
        await peer.send(Op.PURE_DATA if turn else Op.PERSIST, piece, expected=first)
        await peer.reach(DATA & carrying(piece) & ending(False))
    await peer.drain(bench.blink)
    await peer.send(Op.KEEP_ALIVE, expected=(first + 1) & MASK)
    came = await repeats(peer, first)
    if 0 in came:
        raise Violation("ACTIVE: a packet was repeated that a KEEP_ALIVE acknowledges", seen=str(sorted(came)))
    if 1 not in came:
        raise Inconclusive("the packet that is not acknowledged was not repeated")


@case(REVISION, "9.1/requests-are-no-heartbeat", role="initiator", slow=True)
async def requests_only(bench: Bench) -> None:
    """Neither INIT_CONNECT nor CONNECT_REQUEST is answered at first: each is repeated, and nothing else comes."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    came = await peer.quiet(20.0, but=an(Op.INIT_CONNECT))
    if not came:
        raise Inconclusive("INIT_CONNECT was not repeated within 20 s")
    await peer.send(peer.offer())
    await peer.reach(Op.CONNECT_REQUEST)
    came = await peer.quiet(20.0, but=an(Op.CONNECT_REQUEST))
    if not came:
        raise Inconclusive("CONNECT_REQUEST was not repeated within 20 s")


async def backed_off(peer: Peer, sn: int) -> None:
    """Wait for the third repeat of a packet, and four round trips more: it is old, but not due for some seconds."""
    for _ in range(3):
        await peer.reach(numbered(sn), 30.0)
    await peer.drain(5 * ROUND_TRIP)


@case(REVISION, "9.1/eot-repeated-before-heartbeat", slow=True)
async def end_first(bench: Bench) -> None:
    """COMMITTING, the end of the echo not acknowledged, a heartbeat due for new data: that end comes before it."""
    peer = await slow_closable(bench, ROUND_TRIP)
    await peer.transaction(b"closed")
    await peer.reach(IN_STREAM & ending(True))
    end = peer.stream[-1].sn
    await peer.drain(bench.blink)
    await peer.send(Op.PERSIST, b"open", expected=end)
    await peer.reach(AN_ACKNOWLEDGEMENT & acknowledging(peer.sn))
    await backed_off(peer, end)
    await peer.send(Op.PURE_DATA, b"more", expected=end)
    for packet in await peer.drain(2 * ROUND_TRIP):
        if packet.in_band and packet.sn == end:
            return
        if KEEP_ALIVE(packet):
            text = "the heartbeat was sent before the packet with EoT was repeated"
            raise Violation(text, packet, expected="the packet with EoT", seen="KEEP_ALIVE")
    raise Violation("neither the packet with EoT nor a KEEP_ALIVE came within two round trips")


@case(REVISION, "9.1/persist-in-place-of-heartbeat", slow=True)
async def persist_instead(bench: Bench) -> None:
    """ACTIVE, the PERSIST of the echo not acknowledged, a heartbeat due for new data: PERSIST comes, no KEEP_ALIVE."""
    peer = await slow(bench, ROUND_TRIP)
    await peer.commit()
    await peer.reach(an(Op.ACK_FLUSH))
    known = peer.expected
    await peer.send(Op.PERSIST, b"open", expected=known)
    first = await peer.reach(an(Op.PERSIST) & carrying(b"open"))
    await backed_off(peer, first.sn)
    await peer.send(Op.PURE_DATA, b"more", expected=known)
    came = await peer.drain(2 * ROUND_TRIP)
    for packet in came:
        if KEEP_ALIVE(packet):
            text = "KEEP_ALIVE in place of a repeated PERSIST"
            raise Violation(text, packet, expected="PERSIST", seen="KEEP_ALIVE")
    if first.sn not in [packet.sn for packet in came if packet.in_band]:
        raise Violation("the PERSIST was not repeated when a heartbeat was due", expected=str(first.sn))


def silent(state: str) -> Script:
    async def script(bench: Bench) -> None:
        need_hours(bench)
        peer = await bench.peer()
        await peer.reach_closable()
        await peer.echo(b"closable")
        if state == "closed":
            await peer.send(Op.RELEASE)
            await peer.reach(Op.RELEASE)
        await peer.drain(1.0)
        await peer.quiet(3 * HEARTBEAT, otherwise=f"a heartbeat, or something else, in {state.upper()}")

    script.__doc__ = f"Half an hour in {state.upper()}: nothing comes."
    return script


case(REVISION, "9.1/no-heartbeat-when-closable", slow=True)(silent("closable"))
case(REVISION, "9.1/no-heartbeat-when-closable:closed", slow=True)(silent("closed"))


# 9.2

case(REVISION, "9.2/newest-packet-moves-peer", quick=True)(s10_mobility.newer)


@case(REVISION, "9.2/any-source-address-taken")
async def scattered(bench: Bench) -> None:
    """One transaction, each of its packets from another port, the last ones first: all of it is delivered."""
    peer = await bench.peer()
    await peer.connect()
    pieces = [b"one ", b"two ", b"three ", b"four"]
    packets = []
    for turn, piece in enumerate(pieces):
        flags = FLAG_EOT if turn == 3 else 0
        packets.append(peer.packet(Op.PURE_DATA if turn else Op.PERSIST, piece, flags=flags))
        peer.sn = (peer.sn + 1) & MASK
    others = [await elsewhere(peer) for _ in packets]
    for packet, other in zip(packets[::-1], others, strict=True):
        await other.send_octets(other.encode(packet), packet)
    await bench.sleep(bench.silence)
    known = peer.expected
    await peer.send(Op.KEEP_ALIVE)  # what waits for an acknowledgement may come again, whatever it is
    data: dict[int, bytes] = {}
    for end in (peer, *others):
        for packet in await end.drain(bench.silence):
            if packet.in_band and packet.authentic:
                data[later(packet.sn, known)] = packet.payload
    found = b"".join(data[number] for number in sorted(data))
    if found != b"".join(pieces):
        text = "packets from four ports were not delivered as one transaction"
        raise Violation(text, expected=repr(b"".join(pieces)), seen=repr(found))


case(REVISION, "9.2/older-packet-moves-nothing", quick=True)(s10_mobility.replayed)
case(REVISION, "9.2/older-packet-moves-nothing:late")(s10_mobility.older)
case(REVISION, "9.2/forged-packet-moves-nothing", quick=True)(s10_mobility.forged)
