"""Sections 8.2 and 8.3: how transactions begin, and how they go on."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet

REVISION = "gao-07"
FLUSH = an(Op.ACK_FLUSH)
IN_STREAM = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT)


async def connected(bench: Bench) -> Peer:
    """Two echoes have come already."""
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"sane")
    await peer.echo(b"still sane")
    return peer


async def challenged(bench: Bench) -> Peer:
    """The target waits for the confirmation of its ACK_CONNECT_REQ; confirmed with NULCOMMIT, another one echoes."""
    await connected(bench)
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    return peer


async def echoed(peer: Peer, data: bytes) -> None:
    """The target sends these octets back, as one transaction, and nothing of it comes again."""
    answer = await peer.read_transaction()
    if answer != data:
        raise Violation(
            f"the echo of {len(data)} octets is {len(answer)} octets, or others",
            peer.stream[-1],
            expected=repr(data[:32]),
            seen=repr(answer[:32]),
        )
    await peer.drain(peer.bench.blink)


# 8.2


async def answered(bench: Bench, payload: bytes, *, flags: int) -> Peer:
    """A client's greeting is complete and acknowledged; its ACK_CONNECT_REQ carried this."""
    peer = await bench.waiting_peer()
    await peer.hear_request()
    await peer.send(peer.acceptance(payload, flags=flags))
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    await greeted(peer)
    return peer


async def greeted(peer: Peer) -> Packet:
    """The first packet of a client's greeting, which has come whole; NULCOMMIT may have confirmed before it."""
    while True:
        if peer.complete:
            first = next((packet for packet in peer.stream if packet.payload), None)
            if first is not None:
                return first
            await peer.send(Op.ACK_FLUSH)
        await peer.reach(IN_STREAM)


@case(REVISION, "8.2/ack-connect-req-starts:open", role="initiator")
async def answer_begins(bench: Bench) -> None:
    """ACK_CONNECT_REQ has all octets of an answer, NULCOMMIT its end: the client has it then, and not before."""
    peer = await answered(bench, b"all of the answer", flags=0)
    await peer.send(Op.ACK_FLUSH)
    for packet in await peer.drain():
        if packet.op is Op.RELEASE:
            raise Violation("the client has done with an answer that has not ended", packet)
    await peer.commit()
    await peer.expect(Op.RELEASE, otherwise="the client got no answer: the octets of ACK_CONNECT_REQ are lost")


@case(REVISION, "8.2/ack-connect-req-ends", "8.2/ack-connect-req-starts", role="initiator", quick=True)
async def answer_ends(bench: Bench) -> None:
    """ACK_CONNECT_REQ has the whole answer, and EoT: the client needs no further packet of data to know its end."""
    peer = await answered(bench, b"the whole answer", flags=FLAG_EOT)
    await peer.send(Op.ACK_FLUSH)  # the client closes when its own greeting is acknowledged, too
    await peer.expect(Op.RELEASE, otherwise="ACK_CONNECT_REQ with EoT did not end the transaction for the client")


@case(REVISION, "8.2/nulcommit-starts-and-ends", quick=True)
async def empty_transaction(bench: Bench) -> None:
    """NULCOMMIT confirms: ACK_FLUSH for one number, no echo of any kind; the next transaction is the first that is."""
    other = await bench.peer()
    await other.challenge()
    other.established = True
    await other.echo(b"sane")  # confirmed with PERSIST
    peer = await bench.peer()
    answer = await peer.challenge()
    peer.established = True
    await peer.commit()
    flush = await peer.expect(FLUSH & acknowledging(peer.sn))
    if flush.acknowledged != peer.sn:
        raise Violation(
            "the NULCOMMIT that confirms does not count for one number",
            flush,
            expected=str(peer.sn),
            seen=str(flush.acknowledged),
        )
    for packet in await peer.drain():
        if packet.in_band and (packet.payload or answer.ends):
            raise Violation("the NULCOMMIT that confirms was delivered as a message and echoed", packet)
    await peer.transaction(b"the first message")
    await echoed(peer, b"the first message")


@case(REVISION, "8.2/persist-opens-transaction")
async def opens(bench: Bench) -> None:
    """After the handshake, a short echo, a long one, and one that ended without data: PERSIST each time."""
    peer = await connected(bench)
    before = "the handshake"
    for words, pieces in (
        ("an echo of one packet", [b"short"]),
        ("an echo of three packets", [bytes(1000), bytes(1000), bytes(1000)]),
        ("an echo that ended without data", [b"cut", b""]),
        ("", [b"last"]),
    ):
        start = len(peer.stream)
        for turn, piece in enumerate(pieces):
            op = (Op.PURE_DATA if turn else Op.PERSIST) if piece else peer.wire.nothing_to_send
            await peer.send(op, piece, flags=FLAG_EOT if turn == len(pieces) - 1 else 0)
            if pieces[-1] == b"":
                await peer.drain()  # what there is goes back before the end comes
        await echoed(peer, b"".join(pieces))
        first = peer.stream[start]
        if first.op is not Op.PERSIST:
            raise Violation(
                f"the transaction that follows {before} begins with {first.name}",
                first,
                expected="PERSIST",
                seen=first.name,
            )
        before = words


@case(REVISION, "8.2/either-end-may-start")
async def either_end(bench: Bench) -> None:
    """PERSIST after our NULCOMMIT, after the target's echo, and after our NULCOMMIT again: each is delivered."""
    peer = await bench.peer()
    await peer.connect()
    for turn in range(3):
        data = b"transaction %d" % turn
        await peer.send(Op.PERSIST, data, flags=FLAG_EOT)
        await peer.expect(FLUSH & acknowledging(peer.sn))
        await echoed(peer, data)
        if turn == 1:
            await peer.commit()
            await peer.reach(FLUSH & acknowledging(peer.sn))
            await peer.drain()
            await peer.acknowledge()


@case(REVISION, "8.2/either-end-may-start:responder", role="initiator")
async def responder_starts(bench: Bench) -> None:
    """The client, whose own transaction was the last, gets a PERSIST: it is acknowledged and delivered."""
    peer = await answered(bench, b"", flags=FLAG_EOT)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.send(Op.PERSIST, b"the responder's turn", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn))
    await peer.expect(Op.RELEASE, otherwise="the client got no answer: the responder's PERSIST was not delivered")


@case(REVISION, "8.2/pure-data-opens-accepted")
async def opened_by_pure_data(bench: Bench) -> None:
    """Transactions of one and of two packets that begin with PURE_DATA come back."""
    peer = await connected(bench)
    await peer.send(Op.PURE_DATA, b"alone", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="PURE_DATA that opens and ends was not acknowledged")
    await echoed(peer, b"alone")
    await peer.send(Op.PURE_DATA, b"first, ")
    await peer.send(Op.PURE_DATA, b"last", flags=FLAG_EOT)
    await echoed(peer, b"first, last")


@case(REVISION, "8.2/first-persist-confirms", quick=True)
async def persist_confirms(bench: Bench) -> None:
    """PERSIST in place of NULCOMMIT: its payload is delivered, and PURE_DATA is accepted after it."""
    peer = await challenged(bench)
    await peer.send(Op.PERSIST, b"confirmed, ")
    await peer.send(Op.PURE_DATA, b"and ")
    await peer.send(Op.PURE_DATA, b"more", flags=FLAG_EOT)
    await echoed(peer, b"confirmed, and more")
    await peer.transaction(b"next")
    await echoed(peer, b"next")


@case(REVISION, "8.2/first-persist-confirms:lasting", slow=True)
async def persist_lasts(bench: Bench) -> None:
    """A connection that PERSIST alone has confirmed is still there when an unconfirmed one would be given up."""
    peer = await challenged(bench)
    await peer.transaction(b"confirmed")
    await echoed(peer, b"confirmed")
    for packet in await peer.drain(90.0):
        if packet.op is Op.RESET:
            raise Violation("a connection that was confirmed with PERSIST was given up", packet)
    await peer.transaction(b"still there")
    await echoed(peer, b"still there")


@case(REVISION, "8.2/initiator-persist-acknowledges", role="initiator")
async def acknowledges_at_wrap(bench: Bench) -> None:
    """ACK_CONNECT_REQ with payload has the last number there is: the client's first PERSIST expects 0."""
    peer = await bench.waiting_peer()
    await peer.hear_request()
    peer.initial_sn = MASK
    await peer.send(peer.acceptance(b"welcome"))
    peer.sending[0].first = MASK
    peer.sn = 0
    peer.established = True
    packet = await greeted(peer)
    if packet.op is not Op.PERSIST:
        raise Violation(f"the first data come in {packet.name}", packet, expected="PERSIST", seen=packet.name)
    if packet.expected != 0:
        raise Violation(
            "the first PERSIST does not acknowledge ACK_CONNECT_REQ", packet, expected="0", seen=str(packet.expected)
        )


# 8.3


@case(REVISION, "8.3/pure-data-continues")
async def continues(bench: Bench) -> None:
    """What is echoed piece by piece, each piece acknowledged before the next, goes on with PURE_DATA up to EoT."""
    peer = await connected(bench)
    start = len(peer.stream)
    pieces = [b"piece by piece ", b"with time between, ", bytes(2500), b"to the end"]
    for turn, piece in enumerate(pieces):
        op = Op.PURE_DATA if turn else Op.PERSIST
        await peer.send(op, piece, flags=FLAG_EOT if turn == len(pieces) - 1 else 0)
        await peer.drain()
        if turn < len(pieces) - 1:
            await peer.acknowledge()
    await echoed(peer, b"".join(pieces))
    packets = peer.stream[start:]
    later_ones = [packet for packet in packets[1:] if packet.payload]
    if len(later_ones) < 2:
        raise Inconclusive("the echo came in fewer than three packets with payload")
    for packet in later_ones:
        if packet.op is not Op.PURE_DATA:
            raise Violation(f"a transaction goes on with {packet.name}", packet, expected="PURE_DATA", seen=packet.name)
    early = [packet for packet in packets[:-1] if packet.ends]
    if early:
        raise Violation("a transaction goes on after EoT", early[0])


@case(REVISION, "8.3/delivered-in-order", quick=True)
async def in_order(bench: Bench) -> None:
    """Forty packets of different lengths come in any order and up to three times: the stream is as it was sent."""
    peer = await bench.peer()
    await peer.connect()
    made: list[Packet] = []
    data = b""
    for turn in range(40):
        piece = bench.random.randbytes(bench.random.randint(1, 200))
        data += piece
        flags = FLAG_EOT if turn == 39 else 0
        made.append(peer.packet(Op.PURE_DATA if turn else Op.PERSIST, piece, flags=flags))
        peer.sn = (peer.sn + 1) & MASK
    start = len(peer.stream)
    order = [packet for packet in made for _ in range(bench.random.randint(1, 3))]
    bench.random.shuffle(order)
    for packet in order:
        await peer.send_octets(peer.encode(packet), packet)
        await bench.sleep(bench.blink / 20)
    while not (peer.complete and len(peer.stream) > start):
        await peer.expect(IN_STREAM, otherwise="packets that came out of order were not echoed whole")
    echo = b"".join(packet.payload for packet in peer.stream[start:])
    if echo != data:
        place = next(
            (at for at, (a, b) in enumerate(zip(echo, data, strict=False)) if a != b), min(len(echo), len(data))
        )
        raise Violation(
            f"{len(data)} octets were delivered as {len(echo)}, which differ from octet {place} on", peer.stream[-1]
        )


@case(REVISION, "8.3/never-sent-empty")
async def never_empty(bench: Bench) -> None:
    """The end comes after all octets have been echoed: the target sends NULCOMMIT, and no PURE_DATA is empty."""
    peer = await connected(bench)
    start = len(peer.stream)
    await peer.send(Op.PERSIST, b"these octets first")
    await peer.drain()
    await peer.acknowledge()
    await peer.send(Op.PURE_DATA, b", these then")
    await peer.drain()
    await peer.acknowledge()
    await peer.commit()
    await echoed(peer, b"these octets first, these then")
    for packet in peer.received:
        if packet.op is Op.PURE_DATA and not packet.payload:
            raise Violation("PURE_DATA without payload", packet, expected="NULCOMMIT", seen="an empty PURE_DATA")
    if peer.stream[-1].payload:
        raise Inconclusive("the target kept octets back until the end came")
    if peer.stream[-1].op is not Op.NULCOMMIT:
        name = peer.stream[-1].name
        raise Violation(f"{name} ends a transaction without data", peer.stream[-1], expected="NULCOMMIT", seen=name)
    if len(peer.stream) - start < 3:
        raise Inconclusive("the echo came in fewer than three packets")


@case(REVISION, "8.3/empty-pure-data-accepted")
async def empty_accepted(bench: Bench) -> None:
    """PURE_DATA without payload between two with payload: its number is acknowledged, and the stream goes on."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"before, ")
    await peer.expect(DATA & carrying(b"before, ") & ending(False))
    await peer.send(Op.PURE_DATA)
    await peer.expect(
        an(Op.KEEP_ALIVE, Op.PURE_DATA) & acknowledging(peer.sn), otherwise="an empty PURE_DATA was not acknowledged"
    )
    await peer.send(Op.PURE_DATA, b"after", flags=FLAG_EOT)
    await echoed(peer, b"before, after")
