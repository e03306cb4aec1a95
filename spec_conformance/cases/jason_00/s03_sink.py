"""Section 3.7: Sink Parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07.s04_layouts import CHECKED
from spec_conformance.cases.gao_07.s04_malformed import dropped
from spec_conformance.cases.gao_07.s06_initiator import accepted, requested
from spec_conformance.cases.gao_07.s06_negotiation import greeted
from spec_conformance.cases.gao_07.s08_flow import narrow
from spec_conformance.cases.gao_07.s10_mobility import elsewhere
from spec_conformance.cases.jason_00.s03_headers import NONE, spoken
from spec_conformance.cases.jason_00.s03_negotiation import refused, right_one
from spec_conformance.cases.jason_00.s03_normal_header import FLUSH, IN_STREAM, SNACKS, fields
from spec_conformance.expect import DATA, acknowledging, carrying
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.jason import PEER_SUBNETS, SIGNATURE
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, RawHeader, Sink, later

REVISION: Final = "jason-00"
SECTOR: Final = 512
"""Octets in the unit of block sizes."""
SINK: Final = 48
"""Octets of Sink Parameters."""
UPPER: Final = 2**20
"""No window is as large."""
BURST: Final = 15
"""Packets at once; an odd number, lest a window that counts pairs look right."""
LAST_BLOCKS: Final = 300
"""Of a window that shuts: what is read by then has been read for long."""
LARGEST: Final = 1024
"""Octets of payload that surely fit into one datagram."""


def sink_of(packet: Packet) -> Sink:
    if packet.sink is None:
        raise Violation(f"{packet.name} has no Sink Parameters", packet)
    return packet.sink


async def answered(bench: Bench) -> tuple[Peer, Packet]:
    """A peer, and the ACK_CONNECT_REQ that it got."""
    peer = await greeted(bench)
    await peer.send(peer.request())
    answer = await peer.expect(Op.ACK_CONNECT_REQ)
    peer.accepted(answer)
    peer.established = True
    return peer, answer


# the layout


def check_layout(bench: Bench, packet: Packet, start: int, listener: bytes) -> bytes:
    """The 48 octets from `start` on are Sink Parameters, with plausible values in all places; gives them."""
    octets = fields(bench, packet)[start : start + SINK]
    wanted = start.to_bytes(2, "big") + bytes([0, PEER_SUBNETS])
    if octets[44:] != wanted:
        text = f"the Sink Parameters of {packet.name} do not end with their signature at {start + 44}"
        raise Violation(text, packet, expected=wanted.hex(), seen=octets[44:].hex())
    if octets[32:36] != listener:
        text = "octets 32 to 35 of the Sink Parameters are not the listener's ULTID"
        raise Violation(text, packet, expected=listener.hex(), seen=octets[32:36].hex())
    for place in range(0, 32, 8):
        prefix = octets[place : place + 8]
        if prefix != NONE and prefix[:2] != b"\x20\x02":
            text = f"octets {place} to {place + 7} of the Sink Parameters are no prefix"
            raise Violation(text, packet, expected="zeros, or 2002...", seen=prefix.hex())
    window = int.from_bytes(octets[40:43], "big")
    if not 4 <= window < UPPER:
        text = "octets 40 to 42 of the Sink Parameters are no window"
        raise Violation(text, packet, expected="4 to 2^20 - 1", seen=octets[40:43].hex())
    if not octets[43]:
        raise Violation("octet 43 of the Sink Parameters is no block size", packet, expected="not 0", seen="0")
    return octets


@case(REVISION, "3.7/sink-parameters-layout", "3.7/initial-window-told-twice", quick=True)
async def layout(bench: Bench) -> None:
    """ACK_CONNECT_REQ: each field of its Sink Parameters in its place, the window the same as in octets 17 to 19."""
    _, answer = await answered(bench)
    octets = check_layout(bench, answer, 24, bench.service)
    header = fields(bench, answer)[17:20]
    if octets[40:43] != header:
        text = "the windows in fixed header and Sink Parameters of ACK_CONNECT_REQ differ"
        raise Violation(text, answer, expected=header.hex(), seen=octets[40:43].hex())


@case(REVISION, "3.7/sink-parameters-layout:initiator", role="initiator")
async def layout_of_client(bench: Bench) -> None:
    """CONNECT_REQUEST: the same, and the window is that of the packet that confirms, nothing being in between."""
    peer, request = await requested(bench)
    octets = check_layout(bench, request, 40, peer.listener)
    await peer.send(peer.acceptance())
    accepted(peer)
    confirmation = await peer.reach(IN_STREAM)
    told = int.from_bytes(octets[40:43], "big")
    if not told - 1 <= confirmation.window <= told:  # what ACK_CONNECT_REQ may carry is one block
        text = "the window in the Sink Parameters of CONNECT_REQUEST is not that of the packet after it"
        raise Violation(text, request, expected=str(confirmation.window), seen=str(told))


def of_size(size: int) -> RawHeader:
    """The end of Sink Parameters, or all of them behind some zeros."""
    content = bytes(32 + 8) + b"\x00\x02\x00\x02"
    return RawHeader(PEER_SUBNETS, (bytes(SINK) + content)[-(size - SIGNATURE.size) :])


case(REVISION, "3.7/sink-parameters-wrong-size")(
    dropped(
        "a packet with Sink Parameters of 8, 40, 56 or 96 octets",
        *[
            lambda peer, size=size: peer.packet(Op.PERSIST, flags=FLAG_EOT, extensions=(of_size(size),))
            for size in (8, 40, 56, 88)
        ],
        lambda peer: peer.packet(Op.PERSIST, b"payload", flags=FLAG_EOT, extensions=(of_size(40),)),
    )
)


@case(REVISION, "3.7/sink-parameters-wrong-size:request")
async def wrong_sizes(bench: Bench) -> None:
    """CONNECT_REQUESTs with Sink Parameters of 8, 40, 56 and 88 octets: none is accepted, the right one is."""
    peer = await greeted(bench)
    for size in (8, 40, 56, 88):
        header = of_size(size)
        content = bytearray(header.content)
        if size >= 20:
            content[-12:-8] = bench.service
        request = peer.request(extensions=(replace(header, content=bytes(content)),))
        await refused(peer, peer.encode(request), f"with Sink Parameters of {size} octets")
    await right_one(peer)


# prefixes and host ID


def check_prefix(packet: Packet) -> None:
    if all(prefix == NONE for prefix in sink_of(packet).prefixes):
        text = f"all prefixes in the Sink Parameters of {packet.name} are zeros"
        raise Violation(text, packet, expected="one that is not", seen="four of zeros")


@case(REVISION, "3.7/one-prefix-not-zero")
async def one_prefix(bench: Bench) -> None:
    """The prefixes of ACK_CONNECT_REQ."""
    _, answer = await answered(bench)
    check_prefix(answer)


@case(REVISION, "3.7/one-prefix-not-zero:initiator", role="initiator")
async def one_prefix_of_client(bench: Bench) -> None:
    """The prefixes of CONNECT_REQUEST."""
    _, request = await requested(bench)
    check_prefix(request)


@case(REVISION, "3.7/zero-prefixes-tolerated", quick=True)
async def no_prefix(bench: Bench) -> None:
    """Sink Parameters with four prefixes of zeros in CONNECT_REQUEST, and in a KEEP_ALIVE: all comes to our address."""
    peer = await greeted(bench)
    sink = sink_of(peer.request())
    await peer.send(peer.request(extensions=(replace(sink, prefixes=(NONE,) * 4),)))
    text = "a CONNECT_REQUEST with prefixes of zeros was not answered at the address that it came from"
    peer.accepted(await peer.expect(Op.ACK_CONNECT_REQ, otherwise=text))
    peer.established = True
    await peer.commit()
    await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="what follows prefixes of zeros was not acknowledged")
    keep_alive = peer.packet(Op.KEEP_ALIVE)
    await peer.send(replace(keep_alive, extensions=(Sink(), *keep_alive.extensions)))
    peer.serial += 1
    await peer.drain(bench.blink)
    await peer.transaction(b"still here")
    text = "after a KEEP_ALIVE with prefixes of zeros no echo came to the address that it came from"
    await peer.expect(DATA & carrying(b"still here"), otherwise=text)


@case(REVISION, "3.7/zero-prefixes-tolerated:initiator", role="initiator")
async def no_prefix_told_to_client(bench: Bench) -> None:
    """ACK_CONNECT_REQ with four prefixes of zeros is confirmed."""
    peer, _ = await requested(bench)
    right = peer.acceptance()
    await peer.send(replace(right, extensions=(replace(sink_of(right), prefixes=(NONE,) * 4),)))
    accepted(peer)
    await peer.expect(IN_STREAM, otherwise="an ACK_CONNECT_REQ with prefixes of zeros was not confirmed")


@case(REVISION, "3.7/preferred-prefixes-first", needs=("mobility",))
async def preferred(bench: Bench) -> None:
    """Prefixes of two other ports, and ours for the last: the packets of an echo come at both of them, none at ours."""
    peer = await greeted(bench)
    others = [await elsewhere(peer) for _ in range(2)]
    sink = sink_of(peer.request())
    prefixes = (others[0].prefix(), others[1].prefix(), peer.prefix(), NONE)
    await peer.send(peer.request(extensions=(replace(sink, prefixes=prefixes),)))
    ends = [peer, *others]
    answer = None
    for end in ends:
        answer = answer or await end.next()
    if answer is None or answer.op is not Op.ACK_CONNECT_REQ:
        raise Inconclusive("CONNECT_REQUEST was not accepted, wherever the answer went")
    peer.accepted(answer)
    peer.established = True
    for other in others:
        other.sending, other.receiving, other.expected = peer.sending, peer.receiving, peer.expected
    await peer.transaction(bytes(8000))
    came = [len([packet for packet in await end.drain() if packet.in_band]) for end in ends]
    if came[0]:
        text = f"{came[0]} packets were sent to the last resort, {came[1]} and {came[2]} to what is preferred to it"
        raise Violation(text, expected="none", seen=str(came[0]))
    if not all(came[1:]):
        raise Violation("two preferred prefixes do not share the load", seen=f"{came[1]} and {came[2]} packets")


def check_host(peer: Peer) -> None:
    """Of all Sink Parameters that have been heard."""
    told = [packet for packet in peer.received if packet.sink is not None]
    if not told:
        raise Inconclusive("the target has sent no Sink Parameters")
    for packet in told:
        if (host := sink_of(packet).host) != bytes(4):
            text = f"the host ID in the Sink Parameters of {packet.name} is not 0 over IPv4"
            raise Violation(text, packet, expected="00000000", seen=host.hex())


@case(REVISION, "3.7/host-id-zero-over-ipv4")
async def host(bench: Bench) -> None:
    """The host ID of ACK_CONNECT_REQ, and of KEEP_ALIVEs that have one."""
    check_host(await spoken(bench))


@case(REVISION, "3.7/host-id-zero-over-ipv4:initiator", role="initiator")
async def host_of_client(bench: Bench) -> None:
    """The host ID of CONNECT_REQUEST."""
    peer, _ = await requested(bench)
    check_host(peer)


# windows


def edge_of(packet: Packet) -> int:
    assert packet.acknowledged is not None
    return (packet.acknowledged + packet.window) & MASK


@case(REVISION, "3.7/window-counts-free-blocks", slow=True)
async def lowered(bench: Bench) -> None:
    """The echo is held back, so nothing is read: each of the last blocks of the window lowers it by one."""
    peer = await narrow(bench, 1)
    known = peer.expected  # no more than one packet of the echo is ever admitted
    edge: int | None = None
    for turn in range(20_000):
        room = later(peer.right_edge, peer.sn)
        if edge is None and room < LAST_BLOCKS:
            await peer.drain()  # whatever is still to be read is read now
            if later(peer.right_edge, peer.sn) > room:
                continue
            edge = peer.right_edge
        if room <= 0:
            return
        for step in range(min(room, BURST)):
            await peer.send(Op.PURE_DATA if turn or step else Op.PERSIST, bytes(1000), expected=known)
        text = f"{room} free blocks were told of, and {min(room, BURST)} packets were not all taken into them"
        told = await peer.expect((SNACKS | IN_STREAM) & acknowledging(peer.sn), otherwise=text)
        if edge is not None and edge_of(told) != edge:
            text = f"{told.name} that expects {told.acknowledged} tells of {told.window} free blocks"
            right = later(edge, peer.sn)
            raise Violation(text, told, expected=str(right), seen=str(told.window))
    raise Inconclusive("the target's window does not shut, however much it cannot send back")


@case(REVISION, "3.7/window-counts-free-blocks:gap")
async def counted_from_expected(bench: Bench) -> None:
    """Three packets wait behind one that is missing: the window, counted from that one on, is what it was."""
    peer = await bench.peer()
    await peer.connect()
    missing, edge = peer.sn, peer.right_edge
    for turn in range(1, 4):
        await peer.send(Op.PURE_DATA, b"early", sn=(missing + turn) & MASK)
    told = await peer.expect(SNACKS, otherwise="packets behind a gap were not acknowledged")
    for packet in (told, *filter(SNACKS, await peer.drain())):
        if packet.acknowledged != missing:
            raise Inconclusive("the missing packet is not what is expected", packet)
        if edge_of(packet) != edge:
            text = "packets that wait behind a gap count in the window that begins with the gap"
            raise Violation(text, packet, expected=str(later(edge, missing)), seen=str(packet.window))


def check_windows(peer: Peer) -> None:
    """In fixed headers, and in Sink Parameters."""
    for packet in peer.received:
        told = [packet.window] if CHECKED(packet) else []
        told += [packet.sink.window] if packet.sink is not None else []
        for window in told:
            if window >= UPPER:
                text = f"{packet.name} tells of a window of {window} blocks"
                raise Violation(text, packet, expected="below 2^20", seen=str(window))


@case(REVISION, "3.7/window-at-most-20-bits")
async def small_windows(bench: Bench) -> None:
    """The windows of all packets of a conversation."""
    check_windows(await spoken(bench))


@case(REVISION, "3.7/window-at-most-20-bits:initiator", role="initiator")
async def small_windows_of_client(bench: Bench) -> None:
    """The windows of CONNECT_REQUEST and of what confirms."""
    peer, _ = await requested(bench)
    await peer.send(peer.acceptance())
    accepted(peer)
    await peer.reach(IN_STREAM)
    check_windows(peer)


# blocks


@case(REVISION, "3.7/block-size-told")
async def block_told(bench: Bench) -> None:
    """Payload that fills a block of the size told by ACK_CONNECT_REQ is taken, twice, and comes back."""
    peer, answer = await answered(bench)
    size = fields(bench, answer)[67] * SECTOR
    if not size:
        raise Violation("the block size in the Sink Parameters is 0", answer, expected="1 or more", seen="0")
    data = bench.random.randbytes(2 * min(size, LARGEST))
    await peer.transaction(data, min(size, LARGEST))
    text = f"payload of {min(size, LARGEST)} octets was not taken, though blocks of {size} are told"
    await peer.expect(SNACKS & acknowledging(peer.sn), otherwise=text)
    if await peer.read_transaction() != data:
        raise Violation(f"payload of {min(size, LARGEST)} octets did not come back", peer.stream[-1])


@case(REVISION, "3.7/block-size-told:initiator", role="initiator")
async def block_told_by_client(bench: Bench) -> None:
    """A PERSIST with payload that fills a block of the size told by CONNECT_REQUEST is taken."""
    peer, request = await requested(bench)
    size = fields(bench, request)[83] * SECTOR
    if not size:
        raise Violation("the block size in the Sink Parameters is 0", request, expected="1 or more", seen="0")
    await peer.send(peer.acceptance())
    accepted(peer)
    await peer.reach(IN_STREAM)
    await peer.send(Op.PERSIST, bytes(min(size, LARGEST)))
    text = f"payload of {min(size, LARGEST)} octets was not taken, though blocks of {size} are told"
    await peer.expect(SNACKS & acknowledging(peer.sn), otherwise=text)


@case(REVISION, "3.7/block-size-respected", quick=True)
async def small_blocks(bench: Bench) -> None:
    """CONNECT_REQUEST tells of blocks of 512 octets, and of 1,024: no packet of a long echo has more payload."""
    for sectors in (1, 2):
        peer = await greeted(bench)
        sink = sink_of(peer.request())
        await peer.send(peer.request(extensions=(replace(sink, block_size=sectors),)))
        peer.accepted(await peer.reach(Op.ACK_CONNECT_REQ))
        peer.established = True
        data = bytes(4000)
        await peer.transaction(data, LARGEST)
        while not peer.complete or len(peer.stream) < 2:
            packet = await peer.expect(IN_STREAM)
            if len(packet.payload) > sectors * SECTOR:
                text = f"{packet.name} has more payload than a block that was told"
                seen = str(len(packet.payload))
                raise Violation(text, packet, expected=f"{sectors * SECTOR} at most", seen=seen)
        if b"".join(packet.payload for packet in peer.stream) != data:
            raise Inconclusive("the echo is not what was sent")
        await peer.send(Op.ACK_FLUSH)
        await peer.drain(bench.blink)
