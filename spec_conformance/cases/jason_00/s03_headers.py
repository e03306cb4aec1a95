"""Sections 3.2 and 3.3: datagrams, signatures, the stack of headers, and operation codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from spec_conformance.bench import Bench
from spec_conformance.case import Script, case
from spec_conformance.cases.gao_07 import s04_layouts, s04_malformed
from spec_conformance.cases.gao_07.s04_layouts import connected
from spec_conformance.cases.gao_07.s04_malformed import dropped, persist
from spec_conformance.cases.gao_07.s06_initiator import accepted, requested
from spec_conformance.cases.jason_00.s03_normal_header import IN_STREAM, fields
from spec_conformance.cases.jason_00.s07_retransmission import answering, judge
from spec_conformance.expect import DATA, Want, an, carrying
from spec_conformance.link import UDPLink
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Violation
from spec_conformance.wire.jason import FIXED, PEER_SUBNETS, REQUEST_FIXED, SELECTIVE_NACK, SIGNATURE
from spec_conformance.wire.packet import FLAG_EOT, MASK, Extension, Op, Packet, RawHeader, Sink, Snack

REVISION: Final = "jason-00"
RELEASED: Final = an(Op.RELEASE)
NONE: Final = bytes(8)
"""A prefix that says nothing."""
KINDS: Final = (
    Op.ACK_INIT_CONNECT,
    Op.ACK_CONNECT_REQ,
    Op.PERSIST,
    Op.PURE_DATA,
    Op.KEEP_ALIVE,
    Op.ACK_FLUSH,
    Op.RELEASE,
)
"""What a responder sends."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A header, as its signature describes it."""

    start: int
    end: int
    pointer: int
    major: int
    code: int


def stack(bench: Bench, packet: Packet) -> list[Signed]:
    """The headers of a packet, the topmost first and the fixed one last; Violation if they do not meet each other."""
    octets = fields(bench, packet)
    bottom = REQUEST_FIXED if packet.op is Op.CONNECT_REQUEST else FIXED
    top, major, code = SIGNATURE.unpack_from(octets, FIXED - SIGNATURE.size)
    found = []
    end = top
    while end > bottom:
        pointer, mark, kind = SIGNATURE.unpack_from(octets, end - SIGNATURE.size)
        if not bottom <= pointer <= end - SIGNATURE.size:
            text = f"{packet.name}: the extension header that ends at {end} points to {pointer}"
            raise Violation(text, packet, expected=f"{bottom} to {end - SIGNATURE.size}", seen=str(pointer))
        found.append(Signed(pointer, end, pointer, mark, kind))
        end = pointer
    if end != bottom:
        text = f"{packet.name}: the fixed header points to {end}"
        raise Violation(text, packet, expected=f"{bottom} or more", seen=str(end))
    return [*found, Signed(0, bottom, top, major, code)]


async def come(peer: Peer, want: Want | Op, within: float | None = None) -> Packet:
    """As `Peer.reach`, but what cannot be read is a Violation here, for layouts are what is asked."""
    want = an(want) if isinstance(want, Op) else want
    deadline = trio.current_time() + (peer.bench.patience if within is None else within)
    while (packet := await peer.next(max(deadline - trio.current_time(), 0.0))) is not None:
        if want(packet):
            return packet
    raise Inconclusive(f"on the way: no {want.words} came")


async def whole_echo(peer: Peer, known: int) -> None:
    """The target's transaction comes to its end, with more packets than those that are known."""
    while len(peer.stream) <= known or not peer.complete:
        await come(peer, IN_STREAM)


async def spoken(bench: Bench) -> Peer:
    """A conversation in which a responder sends all it can: ends with data and without, gaps, and none."""
    peer = await bench.peer()
    await peer.send(Op.INIT_CONNECT, destination=bench.service)
    peer.learn(await come(peer, Op.ACK_INIT_CONNECT))
    peer.start_checking()
    await peer.send(peer.request())
    peer.accepted(await come(peer, Op.ACK_CONNECT_REQ))
    peer.established = True
    await peer.transaction(bytes(3000))
    await whole_echo(peer, 1)
    await peer.send(Op.ACK_FLUSH)
    await peer.send(Op.PERSIST, b"open")
    await come(peer, DATA & carrying(b"open"))
    late = []
    for turn in range(2):
        late.append(peer.packet(Op.PURE_DATA, b"late"))
        peer.sn = (peer.sn + 1) & MASK
        await peer.send(Op.PURE_DATA, b"behind gap %d" % turn)
        await peer.drain()
    for packet in late:
        await peer.send(packet)
    await peer.drain()
    await peer.send(Op.KEEP_ALIVE)
    await peer.commit()
    await whole_echo(peer, 2)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.send(Op.RELEASE)
    await come(peer, RELEASED)
    if missing := set(KINDS) - {packet.op for packet in peer.received}:
        raise Inconclusive(f"the target did not send {', '.join(sorted(missing, key=str))}")
    return peer


# 3.2


@case(REVISION, "3.2/packet-in-one-datagram")
async def one_each(bench: Bench) -> None:
    """Forty small packets at once: nothing that comes back has octets that are not its own, or ULTIDs twice."""
    peer = await connected(bench)
    data = bench.random.randbytes(1000)
    start = len(peer.stream)
    await peer.transaction(data, 25)
    while not peer.complete or len(peer.stream) == start:
        await peer.expect(IN_STREAM, otherwise="the echo of forty packets does not come whole")
    await peer.acknowledge()
    await peer.drain(bench.blink)
    await peer.send(Op.RELEASE)
    await peer.expect(RELEASED, otherwise="RELEASE does not come in a datagram of its own")
    for packet in peer.received:
        if peer.remote + peer.local in fields(bench, packet):
            raise Violation(f"a datagram has the ULTIDs twice, at first of a {packet.name}", packet)
        if not IN_STREAM(packet) and packet.payload:
            seen = f"{len(packet.payload)} octets"
            raise Violation(f"{packet.name} is not alone in its datagram", packet, expected="no octets", seen=seen)
    echoed = b"".join(packet.payload for packet in peer.stream[start:])
    if echoed != data:
        raise Violation(f"{len(data)} octets in forty packets came back as {len(echoed)}, or others", peer.stream[-1])


@case(REVISION, "3.2/ultid-pair-first", quick=True)
async def pair_first(bench: Bench) -> None:
    """All that is heard begins with the target's ULTID and ours; what was repeated of INIT_CONNECT lies at 16 to 23."""
    peer = await bench.peer()
    await peer.send(Op.INIT_CONNECT, destination=bench.service)
    await peer.drain()
    heard = [exchange.datagram for exchange in bench.exchanges if not exchange.sent]
    if not heard:
        raise Inconclusive("INIT_CONNECT was not answered")
    for octets in heard:
        if octets[4:8] != peer.local:
            raise Violation("octets 4 to 7 are not our ULTID", expected=peer.local.hex(), seen=octets[4:8].hex())
        if octets[16:24] != peer.check_code:
            text = "the fixed header does not begin at octet 8: the check code is not at 16 to 23"
            raise Violation(text, expected=peer.check_code.hex(), seen=octets[16:24].hex())
    await s04_layouts.ultids_first(bench)


case(REVISION, "3.2/short-datagram-dropped", quick=True)(s04_malformed.short)


def prefixes_told(peer: Peer) -> list[tuple[Packet, bytes]]:
    """Prefixes in Sink Parameters that the target has sent, those of zeros aside."""
    return [
        (packet, prefix)
        for packet in peer.received
        if packet.sink is not None
        for prefix in packet.sink.prefixes
        if prefix != NONE
    ]


def check_prefixes(peer: Peer) -> None:
    """Each is 2002, an address that a host can have, and a port; it is the port we hear if the address is, too."""
    told = prefixes_told(peer)
    heard = peer.link.remote if isinstance(peer.link, UDPLink) else None
    for packet, prefix in told:
        if prefix[:2] != b"\x20\x02":
            raise Violation("a prefix does not begin with 20 02", packet, expected="2002", seen=prefix[:2].hex())
        address, port = ".".join(map(str, prefix[2:6])), int.from_bytes(prefix[6:], "big")
        if not 0 < prefix[2] < 224:
            raise Violation("octets 2 to 5 of a prefix are no host's IPv4 address", packet, seen=address)
        if not port or (heard is not None and address == heard[0] and port != heard[1]):
            wanted = "a port" if heard is None else str(heard[1])
            text = "octets 6 and 7 of a prefix are not the UDP port of its sender"
            raise Violation(text, packet, expected=wanted, seen=str(port))
    if not told:
        raise Lenient("all prefixes are zeros, so none can be wrong")


@case(REVISION, "3.2/prefix-of-ipv4")
async def prefix_form(bench: Bench) -> None:
    """Non-zero prefixes in ACK_CONNECT_REQ, and in KEEP_ALIVEs: 2002, IPv4 address, port."""
    peer = await bench.peer()
    await peer.reach_active()
    await peer.send(Op.PURE_DATA, b"more")
    await peer.drain()
    check_prefixes(peer)


@case(REVISION, "3.2/prefix-of-ipv4:initiator", role="initiator")
async def prefix_form_of_client(bench: Bench) -> None:
    """Non-zero prefixes in a client's CONNECT_REQUEST."""
    peer, _ = await requested(bench)
    check_prefixes(peer)


# 3.3: the signature, and the stack


@case(REVISION, "3.3/signature-fields", quick=True)
async def signatures(bench: Bench) -> None:
    """Octets 20 to 23 of what a responder sends: pointer, 0, code; the same at the end of extension headers."""
    peer = await spoken(bench)
    codes: dict[Op | int, int] = dict(zip(KINDS, (2, 4, 6, 9, 7, 10, 11), strict=True))
    for packet in peer.received:
        octets = fields(bench, packet)
        top = len(octets) - len(packet.payload) if IN_STREAM(packet) else len(octets)
        wanted = top.to_bytes(2, "big") + bytes([0, codes[packet.op]])
        if octets[20:24] != wanted:
            text = f"octets 20 to 23 of {packet.name}, whose headers are {top} octets, are no signature of it"
            raise Violation(text, packet, expected=wanted.hex(), seen=octets[20:24].hex())
        if top > FIXED and (packet.sink is None or packet.snack is None):
            wanted = bytes([0, FIXED, 0, PEER_SUBNETS if packet.sink is not None else SELECTIVE_NACK])
            if octets[top - 4 : top] != wanted:
                text = f"the extension header of {packet.name} does not end with its signature"
                raise Violation(text, packet, expected=wanted.hex(), seen=octets[top - 4 : top].hex())


@case(REVISION, "3.3/pointer-of-fixed-header", "3.3/extension-tail-aligned")
async def stacks(bench: Bench) -> None:
    """From the fixed header's pointer down all headers meet, and end at multiples of 8; payload is behind them."""
    peer = await spoken(bench)
    for packet in peer.received:
        length = len(fields(bench, packet)) - len(packet.payload)
        headers = stack(bench, packet)
        if headers[-1].pointer != length:
            text = f"the stack pointer of {packet.name} is {headers[-1].pointer}, its headers end at {length}"
            raise Violation(text, packet, expected=str(length), seen=str(headers[-1].pointer))
        for header in headers[:-1]:
            if header.end % 8:
                text = f"an extension header of {packet.name} ends at {header.end}"
                raise Violation(text, packet, expected="a multiple of 8", seen=str(header.end))
            size = header.end - header.start
            if (header.code == PEER_SUBNETS and size != 48) or (header.code == SELECTIVE_NACK and size % 8):
                raise Violation(f"an extension header {header.code} of {size} octets", packet, seen=str(size))
        if not IN_STREAM(packet) and packet.payload:
            text = f"{packet.name}: {len(packet.payload)} octets behind the headers that its pointer tells of"
            raise Violation(text, packet, expected=str(length + len(packet.payload)), seen=str(length))
    echoed = b"".join(packet.payload for packet in peer.stream)
    wanted = bytes(3000) + b"openlatebehind gap 0latebehind gap 1"
    if echoed != wanted:
        raise Violation("payload does not begin where the stack pointers say", peer.stream[-1], seen=repr(echoed[-60:]))


@case(REVISION, "3.3/major-zero-sent")
async def major_zero(bench: Bench) -> None:
    """The major version in every header of everything, extension headers too, is 0."""
    peer = await spoken(bench)
    check_major(peer)


@case(REVISION, "3.3/major-zero-sent:initiator", role="initiator")
async def major_zero_of_client(bench: Bench) -> None:
    """The same of what a client sends in the handshake, and after it."""
    peer, _ = await requested(bench)
    await peer.send(peer.acceptance())
    accepted(peer)
    await peer.reach(IN_STREAM)
    check_major(peer)


def check_major(peer: Peer) -> None:
    for packet in peer.received:
        for header in stack(peer.bench, packet):
            if header.major:
                text = f"{packet.name}: a header with code {header.code} has major version {header.major}"
                raise Violation(text, packet, expected="0", seen=str(header.major))


def understood(orders: str) -> Script:
    async def script(bench: Bench) -> None:
        def both(peer: Peer, expected: int, *gaps: tuple[int, int]) -> Packet:
            snack, sink = Snack(gaps, serial=peer.serial), Sink()
            headers: tuple[Extension, ...] = (sink, snack) if orders == "SNACK" else (snack, sink)
            return peer.packet(Op.KEEP_ALIVE, expected=expected, extensions=headers)

        await believed(bench, both, f"with {orders} as the topmost header")

    script.__doc__ = f"KEEP_ALIVE with Sink Parameters and SNACK, {orders} topmost: what it tells of rests."
    return script


async def believed(bench: Bench, make: Callable[..., Packet], what: str) -> None:
    """Of six packets of an echo a KEEP_ALIVE acknowledges the first and reports the third: the others come again."""
    peer, first = await answering(bench, 6)
    await peer.send(make(peer, (first + 1) & MASK, (1, 1)))
    peer.serial += 1
    await judge(peer, first, there={0, 2}, why=f"a KEEP_ALIVE {what} tells of packets 0 and 2")


case(REVISION, "3.3/stack-of-two-extensions", slow=True, quick=True)(understood("SNACK"))
case(REVISION, "3.3/stack-of-two-extensions:sink-topmost", slow=True)(understood("Sink Parameters"))


def stacked(peer: Peer, header: RawHeader, payload: bytes = b"") -> Packet:
    return peer.packet(Op.PERSIST, payload, flags=FLAG_EOT, extensions=(header,))


def other_pointer(offset: int, op: Op = Op.PERSIST) -> Callable[[Peer], Packet]:
    return lambda peer: persist(peer, offset=offset) if op is Op.PERSIST else peer.packet(op, offset=offset)


def of_size(size: int, code: int = SELECTIVE_NACK, payload: bytes = b"") -> Callable[[Peer], Packet]:
    """PERSIST with an extension header of so many octets."""
    return lambda peer: stacked(peer, RawHeader(code, bytes(size - SIGNATURE.size)), payload)


def pointing(pointer: int, code: int) -> Callable[[Peer], Packet]:
    """PERSIST with an extension header in octets 24 to 39, whose signature is at 36."""
    return lambda peer: stacked(peer, RawHeader(code, bytes(12), length=pointer))


def other_major(op: Op, major: int) -> Callable[[Peer], Packet]:
    payload = b"payload" if op in (Op.PERSIST, Op.PURE_DATA) else b""
    reason = {"reason": 1} if op is Op.RESET else {"flags": FLAG_EOT if payload else 0}
    return lambda peer: peer.packet(op, payload, major=major, **reason)


for _id, _script in {
    "3.3/pointer-past-end-dropped": dropped(
        "a packet whose stack pointer lies beyond its end",
        *[other_pointer(offset) for offset in (32, 40, 72, 0x1800, 0xFFF8, 0xFFFF)],
        *[other_pointer(offset, Op.RELEASE) for offset in (25, 32, 0x1800)],
        *[lambda peer, offset=offset: peer.packet(Op.PERSIST, flags=FLAG_EOT, offset=offset) for offset in (25, 32)],
        lambda peer: peer.packet(Op.PERSIST, flags=FLAG_EOT, extensions=(Snack(serial=1000),), offset=40),
    ),
    "3.3/pointer-below-header-dropped": dropped(
        "a packet whose stack pointer lies in its fixed header",
        *[other_pointer(offset) for offset in (0, 1, 8, 16, 20, 23)],
        *[other_pointer(offset, Op.RELEASE) for offset in (0, 16, 23)],
    ),
    "3.3/pointer-upwards-dropped": dropped(
        "an extension header that does not point below its signature",
        *[pointing(pointer, code) for pointer in (36, 37, 40, 48, 0xFFFF) for code in (PEER_SUBNETS, SELECTIVE_NACK)],
    ),
    "3.3/pointer-unaligned-dropped": dropped(
        "an extension header that does not end at a multiple of 8",
        *[of_size(size) for size in (4, 9, 12, 20)],
        *[of_size(size, payload=b"payload") for size in (12, 15)],
        *[of_size(size, PEER_SUBNETS) for size in (44, 52)],
    ),
    "3.3/major-not-zero-dropped": dropped(
        "a packet with another major version",
        *[other_major(Op.PERSIST, major) for major in (1, 2, 128, 255)],
        *[other_major(op, 1) for op in (Op.PURE_DATA, Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.RELEASE, Op.RESET)],
    ),
    "3.3/unknown-code-dropped": dropped(
        "a packet with an operation code that the table does not have",
        *[lambda peer, code=code: peer.packet(code, b"x") for code in (0, 8, 13, 14, 15, 16, 19, 20, 127, 255)],
        *[lambda peer, code=code: peer.packet(code, flags=FLAG_EOT) for code in (8, 13)],
    ),
}.items():
    case(REVISION, _id, quick="major" in _id)(_script)


@case(REVISION, "3.3/major-not-zero-dropped:handshake")
async def other_major_first(bench: Bench) -> None:
    """INIT_CONNECT, and CONNECT_REQUEST, with major version 1: nothing answers them, the right ones are answered."""
    peer = await bench.peer()
    await peer.send(Op.INIT_CONNECT, destination=bench.service, major=1)
    await peer.quiet(otherwise="an INIT_CONNECT with major version 1 was answered")
    await peer.greet()
    peer.start_checking()
    await peer.send(peer.request(major=1))
    await peer.quiet(otherwise="a CONNECT_REQUEST with major version 1 was answered")
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ)
