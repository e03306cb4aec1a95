"""Sections 13 and 14: numbers of services, floods, replays."""

from __future__ import annotations

import itertools
from dataclasses import replace

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Unsupported, Violation
from spec_conformance.wire.packet import MASK, Op, Packet

REVISION = "gao-07"


async def connected(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    return peer


@case(REVISION, "13.1/port-extended-to-ultid")
async def port_to_ultid(bench: Bench) -> None:
    """The service is reached at the ULTID made of two zero octets and its number; not with its octets elsewhere."""
    number = bench.profile.services["echo"]
    if number > 0xFFFF:
        raise Unsupported("the echo service has no port number but a larger ULTID")
    peer = await bench.peer()
    await peer.greet()
    stranger = await bench.peer()
    for ultid in (number.to_bytes(4, "little"), number.to_bytes(2, "big") + bytes(2)):
        await stranger.send(Op.INIT_CONNECT, destination=ultid)
        await stranger.quiet(otherwise=f"somebody answers at the ULTID {ultid.hex()}")


FLOOD = 20_000


async def flood(bench: Bench, peer: Peer, packets: list[Packet]) -> None:
    """Send so many, reading what comes back now and then."""
    for turn, packet in enumerate(packets):
        await peer.link.send(peer.wire.encode(packet))  # not into the record
        if turn % 500 == 499:
            await peer.drain(bench.blink)


@case(REVISION, "14.1/init-connect-flood", slow=True, alone=True)
async def init_flood(bench: Bench) -> None:
    """20,000 INIT_CONNECTs from as many ULTIDs; then somebody connects."""
    peer = await bench.peer()
    octets = bench.random.randbytes
    request = peer.packet(Op.INIT_CONNECT, destination=bench.service)
    packets = [replace(request, source=b"\x7d" + octets(3), check_code=octets(8)) for _ in range(FLOOD)]
    await flood(bench, peer, packets)
    honest = await bench.peer()
    await honest.connect()
    if await honest.echo(b"honest") != b"honest":
        raise Violation("after a flood of INIT_CONNECT the echo is wrong")


@case(REVISION, "14.1/bad-cookie-flood", slow=True, alone=True)
async def cookie_flood(bench: Bench) -> None:
    """20,000 CONNECT_REQUESTs with invented cookies; then somebody connects."""
    peer = await bench.peer()
    await peer.greet()
    octets = bench.random.randbytes
    request = peer.request()
    packets = [replace(request, source=b"\x7d" + octets(3), cookie=octets(8)) for _ in range(FLOOD)]
    await flood(bench, peer, packets)
    honest = await bench.peer()
    await honest.connect()
    if await honest.echo(b"honest") != b"honest":
        raise Violation("after a flood of CONNECT_REQUEST the echo is wrong")


@case(REVISION, "14.2/in-band-replay")
async def in_band_replay(bench: Bench) -> None:
    """All in-band packets of three transactions are sent again, in several orders: nothing is echoed twice."""
    peer = await connected(bench)
    recorded = []
    for turn in range(3):
        recorded += await peer.transaction(b"recorded %d" % turn)
        await peer.read_transaction()
        await peer.drain(bench.blink)
    count = len(peer.stream)
    for packet in (*recorded, *recorded[::-1]):
        await peer.send(packet)
        await peer.drain(bench.blink)
    if len(peer.stream) > count:
        raise Violation("a recorded packet was delivered again", peer.stream[-1])


@case(REVISION, "14.2/out-of-band-replay")
async def out_of_band_replay(bench: Bench) -> None:
    """A recorded ACK_FLUSH with an old serial, its numbers made new, does not end the target's next transaction."""
    peer = await connected(bench)
    await peer.echo(b"first")
    old = peer.serial - 1
    await peer.transaction(b"second")
    await peer.reach(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True))
    for serial in (old, old - 1, 0):
        await peer.send(Op.ACK_FLUSH, serial=serial)
    await peer.drain(bench.blink)
    await peer.transaction(b"third")
    for packet in await peer.drain():
        if packet.payload == b"third":
            raise Violation("an ACK_FLUSH with a serial that had been used ended the transaction", packet)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"third"))


@case(REVISION, "14.6/ultids-random")
async def ultids(bench: Bench) -> None:
    """Twelve connections: ULTIDs that are offered are above the port numbers, and follow no step."""
    offered = []
    for _ in range(12):
        peer = await bench.peer()
        answer = await peer.greet()
        offered.append(int.from_bytes(answer.source, "big"))
    if min(offered) <= 0xFFFF:
        raise Violation(f"the ULTID {min(offered):#x} lies among the port numbers")
    steps = {(b - a) & MASK for a, b in itertools.pairwise(offered)}
    if len(set(offered)) < len(offered) or len(steps) < 6:
        raise Violation(f"ULTIDs can be guessed: {[hex(each) for each in offered]}")
