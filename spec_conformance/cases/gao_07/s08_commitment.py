"""Section 8.4: how transactions end, and how that is acknowledged."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION = "gao-07"
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT)
FLUSH = an(Op.ACK_FLUSH)


async def connected(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    return peer


async def echoed(peer: Peer, data: bytes) -> None:
    """The target sends these octets back, as one transaction."""
    answer = await peer.read_transaction()
    if answer != data:
        raise Violation(f"the echo of {len(data)} octets is {len(answer)} octets, or others", peer.received[-1])


def flushes(packets: list[Packet], sn: int) -> list[Packet]:
    """Those that acknowledge the end of our transaction."""
    return [
        packet for packet in packets if packet.authentic and packet.op is Op.ACK_FLUSH and acknowledging(sn)(packet)
    ]


@case(REVISION, "8.4.1/eot-on-last-packet")
async def only_last(bench: Bench) -> None:
    """The echo of three packets has EoT on its last packet and on none before."""
    peer = await connected(bench)
    start = len(peer.stream)
    await peer.transaction(bytes(3000))
    await echoed(peer, bytes(3000))
    packets = peer.stream[start:]
    early = [packet for packet in packets[:-1] if packet.ends]
    if early:
        raise Violation("EoT before the last packet of the transaction", early[0])


@case(REVISION, "8.4.1/eot-on-pure-data", quick=True)
async def on_pure_data(bench: Bench) -> None:
    """PERSIST, then PURE_DATA with EoT: acknowledged, and echoed with the octets of both."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"first, ")
    await peer.send(Op.PURE_DATA, b"last", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn))
    await echoed(peer, b"first, last")


@case(REVISION, "8.4.1/eot-on-persist")
async def on_persist(bench: Bench) -> None:
    """A PERSIST with EoT is a transaction."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"alone", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn))
    await echoed(peer, b"alone")


@case(REVISION, "8.4.1/eot-on-nulcommit")
async def on_nulcommit(bench: Bench) -> None:
    """PERSIST, then NULCOMMIT: the transaction is what the PERSIST had."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"all there is")
    await peer.commit()
    await peer.expect(FLUSH & acknowledging(peer.sn))
    await echoed(peer, b"all there is")


@case(REVISION, "8.4.2/not-before-complete", "8.4.2/at-once-on-filled-gap", quick=True)
async def gap(bench: Bench) -> None:
    """EoT comes before an earlier packet: ACK_FLUSH comes when that has come, and at once then."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"one ")
    late = peer.packet(Op.PURE_DATA, b"two ")
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"three", flags=FLAG_EOT)
    early = flushes(await peer.drain(), peer.sn)
    if early:
        raise Violation("ACK_FLUSH although a packet is missing", early[0])
    began = bench.elapsed
    await peer.send(late)
    await peer.expect(FLUSH & acknowledging(peer.sn))
    at_once(bench, began)


def at_once(bench: Bench, began: float) -> None:
    """ACK_FLUSH came without waiting."""
    waited = bench.elapsed - began
    if waited > bench.silence:
        raise Violation(f"ACK_FLUSH came after {waited:.3f} s", expected="at once", seen=f"{waited:.3f} s")


@case(REVISION, "8.4.2/at-once-on-eot")
async def immediately(bench: Bench) -> None:
    """ACK_FLUSH follows EoT sooner than the round trip that the handshake has shown."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    await bench.sleep(0.8)  # the target takes that for the round trip (8.5.1)
    await peer.send(peer.request())
    peer.accepted(await peer.reach(Op.ACK_CONNECT_REQ))
    peer.established = True
    began = bench.elapsed
    await peer.commit()
    await peer.expect(FLUSH & acknowledging(peer.sn))
    at_once(bench, began)


@case(REVISION, "8.4.2/again-on-duplicate", "8.4.2/application-told-once")
async def duplicates(bench: Bench) -> None:
    """The packets of a transaction come three times: each time an ACK_FLUSH, one echo in all."""
    peer = await connected(bench)
    packets = await peer.transaction(bytes(1500))
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.drain()
    await peer.acknowledge()
    serials = {packet.expected for packet in peer.received if packet.op is Op.ACK_FLUSH}
    count = len(peer.stream)
    for _ in range(2):
        await peer.send(packets[-1])
        answer = await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="a repeated packet drew no ACK_FLUSH")
        if answer.expected in serials:
            raise Violation("an ACK_FLUSH has the serial of an earlier one", answer)
        serials.add(answer.expected)
        await peer.send(packets[0])
        await peer.drain()
    if len(peer.stream) > count:
        raise Violation("repeated packets were echoed again", peer.stream[-1])


@case(REVISION, "8.4.2/application-told-at-once")
async def told_at_once(bench: Bench) -> None:
    """The last gap is filled: the echo comes without anything more from us."""
    peer = await connected(bench)
    first = peer.packet(Op.PERSIST, b"first ")
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"second", flags=FLAG_EOT)
    await peer.drain()
    await peer.send(first)
    await peer.expect(DATA & carrying(b"first second") | DATA & carrying(b"first "))


@case(REVISION, "8.4.2/outside-window-unanswered")
async def outside(bench: Bench) -> None:
    """EoT on a packet beyond the window: no ACK_FLUSH for it, and the transaction goes on."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"open")
    await peer.drain()
    beyond = (peer.right_edge + 100) & MASK
    await peer.send(Op.PURE_DATA, b"beyond", flags=FLAG_EOT, sn=beyond)
    for packet in await peer.drain():
        if packet.op is Op.ACK_FLUSH:
            raise Violation("ACK_FLUSH for a packet beyond the window", packet)
    await peer.send(Op.PURE_DATA, b" and closed", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn))


@case(REVISION, "8.4.2/forged-duplicate-unanswered")
async def forged(bench: Bench) -> None:
    """A copy of the packet with EoT whose check code is altered draws nothing."""
    peer = await connected(bench)
    await peer.transaction(b"transaction")
    octets = bytearray(peer.sent[-1])
    await peer.read_transaction()
    await peer.drain()
    octets[24] ^= 1
    await peer.send_octets(bytes(octets))
    await peer.quiet(otherwise="a forged copy was acknowledged")


@case(REVISION, "8.4.2/number-is-last-sent")
async def number(bench: Bench) -> None:
    """ACK_FLUSHes after one, two and three packets of the target's carry the number of the newest of them."""
    peer = await connected(bench)
    for turn in range(3):
        await peer.echo(b"turn %d" % turn)
        newest = peer.stream[-1].sn
        last = await peer.commit()
        answer = await peer.expect(FLUSH & acknowledging(peer.sn))
        if later(answer.sn, newest) < 0:
            raise Violation(
                "ACK_FLUSH has not the number of the last in-band packet",
                answer,
                expected=str(newest),
                seen=str(answer.sn),
            )
        await peer.drain(bench.blink)
        await peer.acknowledge()
        await peer.send(last)
        again = await peer.expect(FLUSH & acknowledging(peer.sn))
        if again.sn != peer.stream[-1].sn:
            raise Violation("ACK_FLUSH has not the number of the last in-band packet", again)


@case(REVISION, "8.4.2/serial-grows-by-one", quick=True)
async def serials(bench: Bench) -> None:
    """Serials of KEEP_ALIVE and ACK_FLUSH, in the order sent, have no gap and begin again never."""
    peer = await connected(bench)
    for turn in range(3):
        await peer.send(Op.PERSIST, b"open")
        await peer.drain()
        await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
        await peer.drain()
        await peer.acknowledge()
        if turn == 1:
            await peer.send_octets(peer.sent[-2])
    await peer.drain()
    found = sorted(packet.expected for packet in peer.received if packet.out_of_band and packet.authentic)
    wanted = list(range(found[0], found[0] + len(found)))
    if found != wanted:
        raise Violation(f"serials are {found}", expected="one after the other", seen=str(found))


@case(REVISION, "8.4.2/names-everything-received")
async def names_all(bench: Bench) -> None:
    """The SNACK of ACK_FLUSH expects the number after the packet with EoT."""
    peer = await connected(bench)
    await peer.transaction(bytes(2500))
    answer = await peer.expect(FLUSH)
    if answer.snack is None:
        raise Violation("ACK_FLUSH has no SNACK", answer)
    if answer.snack.expected != peer.sn:
        raise Violation(
            "ACK_FLUSH does not acknowledge everything",
            answer,
            expected=str(peer.sn),
            seen=str(answer.snack.expected),
        )


async def waiting_target(bench: Bench) -> Peer:
    """The target has sent the echo of one transaction with EoT, which is not yet acknowledged by ACK_FLUSH."""
    peer = await bench.peer()
    await peer.reach_committing2()
    return peer


@case(REVISION, "8.4.3/next-transaction-after-ack-flush", "8.4.3/keep-alive-does-not-finalize", quick=True)
async def waits_for_flush(bench: Bench) -> None:
    """In-band packets and KEEP_ALIVE acknowledge EoT: the next echo comes only after ACK_FLUSH."""
    peer = await waiting_target(bench)
    end = peer.stream[-1].sn
    await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT)
    await peer.send(Op.KEEP_ALIVE)
    for packet in await peer.drain():
        if packet.in_band and later(packet.sn, end) > 0:
            raise Violation("the next transaction was begun before ACK_FLUSH", packet)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"next"))


@case(REVISION, "8.4.3/eot-repeated-until-flush", slow=True)
async def repeated(bench: Bench) -> None:
    """EoT is acknowledged by KEEP_ALIVE only: the packet is repeated; after ACK_FLUSH it is not."""
    peer = await waiting_target(bench)
    end = peer.stream[-1].sn
    await peer.send(Op.KEEP_ALIVE)
    await peer.drain(bench.blink)
    again = await peer.expect(IN_STREAM & ending(True), 10.0, otherwise="the packet with EoT was not repeated")
    if again.sn != end:
        raise Violation("another packet than the one with EoT was repeated", again)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.quiet(10.0, otherwise="the packet with EoT was repeated after ACK_FLUSH")


@case(REVISION, "8.4.4/survives-commit-time-out", slow=True)
async def survives(bench: Bench) -> None:
    """No acknowledgement for 40 seconds: no RESET; ACK_FLUSH then completes the transaction, and the next comes."""
    peer = await waiting_target(bench)
    for packet in await peer.drain(40.0):
        if packet.op is Op.RESET:
            raise Violation("RESET after less than 40 seconds without an acknowledgement", packet)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.transaction(b"next")
    packet = await peer.expect(
        DATA & carrying(b"next"), otherwise="after 40 seconds without an acknowledgement the connection is dead"
    )
    if packet.sn != (peer.stream[-2].sn + 1) & MASK:
        raise Inconclusive("the next transaction does not follow the one before")
