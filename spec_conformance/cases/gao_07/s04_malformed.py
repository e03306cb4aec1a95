"""Section 4, what the target is sent: malformed packets are dropped, harmless oddities are not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, acknowledging, an, carrying
from spec_conformance.peer import Peer
from spec_conformance.verdict import Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, RawHeader, Sink, Snack

REVISION = "gao-07"
UNKNOWN = 99
"""A type of extension header that the draft does not have."""
FLUSH = an(Op.ACK_FLUSH)

Maker = Callable[[Peer], Packet]


async def connected(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    return peer


async def still_well(peer: Peer, what: str) -> None:
    """The connection goes on with the number that the wrong packet had."""
    await peer.transaction(b"still well")
    await peer.expect(DATA & carrying(b"still well"), otherwise=f"after {what} the connection does not go on")


def dropped(what: str, *makers: Maker) -> Callable[[Bench], Awaitable[None]]:
    """A script: each packet is sealed rightly, draws nothing, and takes no number."""

    async def script(bench: Bench) -> None:
        peer = await connected(bench)
        for make in makers:
            await peer.send(make(peer))
        await peer.quiet(otherwise=f"{what} was answered")
        await still_well(peer, what)

    script.__doc__ = f"{what[0].upper()}{what[1:]}, sealed rightly, draws nothing, and the connection goes on."
    return script


def taken(what: str, make: Maker, *, number: bool = True) -> Callable[[Bench], Awaitable[None]]:
    """A script: the packet is processed as if nothing were odd about it."""

    async def script(bench: Bench) -> None:
        peer = await connected(bench)
        await peer.send(make(peer))
        peer.sn = (peer.sn + number) & MASK
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise=f"{what} was not accepted")

    script.__doc__ = f"{what[0].upper()}{what[1:]} is accepted."
    return script


def persist(peer: Peer, **fields: object) -> Packet:
    return peer.packet(Op.PERSIST, b"payload", **{"flags": FLAG_EOT, **fields})


def extended(peer: Peer, *headers: RawHeader | Sink | Snack) -> Packet:
    return peer.packet(Op.NULCOMMIT, extensions=headers)


def header(length: int | None, content: bytes = bytes(12), code: int = UNKNOWN) -> RawHeader:
    return RawHeader(code, content, length=length)


for _id, _script in {
    "4.4.1/unknown-op-code": dropped(
        "a packet with an unknown operation code",
        *[lambda peer, code=code: peer.packet(code, b"x") for code in (0, 13, 16, 17, 18, 127, 255)],
    ),
    "4.4.1/nulcommit-with-payload": dropped("a NULCOMMIT with payload", lambda peer: peer.packet(Op.NULCOMMIT, b"x")),
    "4.4.1/nulcommit-without-eot": dropped("a NULCOMMIT without EoT", lambda peer: peer.packet(Op.NULCOMMIT, flags=0)),
    "4.4.1/persist-without-payload": dropped(
        "a PERSIST without payload",
        lambda peer: peer.packet(Op.PERSIST, flags=FLAG_EOT),
        lambda peer: peer.packet(Op.PERSIST),
    ),
    "4.4.1/pure-data-with-extension": dropped(
        "a PURE_DATA with an extension header",
        lambda peer: peer.packet(Op.PURE_DATA, b"x", flags=FLAG_EOT, extensions=(Sink(),)),
        lambda peer: peer.packet(Op.PURE_DATA, b"x", flags=FLAG_EOT, extensions=(header(None),)),
    ),
    "4.4.1/release-with-payload": dropped("a RELEASE with payload", lambda peer: peer.packet(Op.RELEASE, b"x")),
    "4.4.2/other-major-dropped": dropped(
        "a packet with another Major",
        *[lambda peer, major=major: persist(peer, major=major) for major in (1, 2, 128, 255)],
        lambda peer: peer.packet(Op.KEEP_ALIVE, major=1, serial=peer.serial + 1),
    ),
    "4.4.4/offset-inside-fixed-header": dropped(
        "a packet whose Offset lies in the fixed header",
        *[lambda peer, offset=offset: persist(peer, offset=offset) for offset in (0, 1, 8, 23)],
    ),
    "4.4.4/offset-beyond-packet": dropped(
        "a packet whose Offset lies beyond its end",
        *[lambda peer, offset=offset: persist(peer, offset=offset) for offset in (32, 40, 0xFFFF)],
    ),
    "4.4.4/offset-not-aligned": dropped(
        "a packet whose Offset is in the middle of something",
        *[
            lambda peer, offset=offset: peer.packet(Op.PERSIST, bytes(64), flags=FLAG_EOT, offset=offset)
            for offset in (25, 28, 31)
        ],
    ),
    "4.4.5/length-below-eight": dropped(
        "an extension header of length 0, 1, 4 or 7",
        *[lambda peer, length=length: extended(peer, header(length)) for length in (0, 1, 4, 7)],
    ),
    "4.4.5/length-not-multiple": dropped(
        "an extension header of length 9, 12 or 15",
        *[lambda peer, length=length: extended(peer, header(length)) for length in (9, 12, 15)],
        lambda peer: extended(peer, header(12, bytes(8)), header(12, bytes(8), UNKNOWN + 1)),
    ),
    "4.4.5/length-overruns": dropped(
        "an extension header that reaches beyond Offset",
        *[lambda peer, length=length: extended(peer, header(length)) for length in (24, 32, 0xFFF8)],
    ),
    "4.4.5/repeated-extension-void": dropped(
        "a packet with two extension headers of one type",
        lambda peer: extended(peer, Sink(), Sink()),
    ),
    "4.4.5/sink-of-wrong-size": dropped(
        "a Sink Parameter of 8, 32 or 48 octets",
        *[lambda peer, size=size: extended(peer, RawHeader(17, bytes(size - 4))) for size in (8, 32, 48)],
    ),
    "4.6/expected-beyond-sent": dropped(
        "a packet that acknowledges what was not sent",
        *[
            lambda peer, step=step: persist(peer, expected=(peer.expected + step) & MASK)
            for step in (1, 1000, 2**31 - 1)
        ],
    ),
}.items():
    case(REVISION, _id)(_script)

for _id, _script in {
    "4.4.1/nulcommit-with-extension": taken(
        "a NULCOMMIT with an unknown extension header", lambda peer: extended(peer, header(None))
    ),
    "4.4.3/mark-ignored": taken(
        "an extension header with Mark 255",
        lambda peer: extended(peer, RawHeader(17, bytes(36), mark=255)),
    ),
    "4.4.5/unknown-extension-skipped": taken(
        "a PERSIST with an unknown extension header",
        lambda peer: persist(peer, extensions=(header(None, bytes(20)),)),
    ),
    "4.6/reserved-flags-ignored": taken(
        "a packet with the reserved flags set", lambda peer: persist(peer, flags=FLAG_EOT | 0x07)
    ),
    "4.6/older-expected-still-delivers": taken(
        "a packet with an old expected number",
        lambda peer: persist(peer, expected=(peer.expected - 1) & MASK),
    ),
}.items():
    case(REVISION, _id)(_script)


@case(REVISION, "4.4.5/unknown-extension-skipped:payload")
async def skipped(bench: Bench) -> None:
    """Behind an unknown extension header of 24 octets the payload is found where it begins."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"behind it", flags=FLAG_EOT, extensions=(header(None, bytes(20)),))
    await peer.expect(DATA & carrying(b"behind it"))


@case(REVISION, "4.1/short-datagram")
async def short(bench: Bench) -> None:
    """Datagrams of 0 to 31 octets, to a connection's ULTID and to the listener's, draw nothing."""
    peer = await connected(bench)
    whole = peer.encode(persist(peer))
    for length in range(32):
        await peer.send_octets(whole[:length])
    listener = peer.encode(peer.packet(Op.INIT_CONNECT, destination=bench.service))
    for length in range(32):
        await peer.send_octets(listener[:length])
    await peer.quiet(otherwise="a datagram that is too short was answered")
    await still_well(peer, "datagrams that are too short")


@case(REVISION, "4.5.3/request-without-sink-dropped")
async def without_sink(bench: Bench) -> None:
    """CONNECT_REQUEST without Sink Parameter, with another header in its place, and with two: none is accepted."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    sink = Sink(bench.service)
    for headers in ((), (RawHeader(UNKNOWN, bytes(36)),), (sink, sink)):
        await peer.send(peer.request(extensions=headers))
        await peer.quiet(otherwise=f"a CONNECT_REQUEST with {len(headers)} wrong headers was answered")
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "4.5.3/request-cut-short")
async def cut_short(bench: Bench) -> None:
    """CONNECT_REQUEST that ends in its fixed part or in its Sink Parameter draws nothing."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    whole = peer.encode(peer.request())
    for length in (33, 40, 47, 48, 60, 87):
        await peer.send_octets(whole[:length])
    await peer.quiet(otherwise="a CONNECT_REQUEST that was cut short was answered")
    await peer.send_octets(whole)
    await peer.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "4.6/out-of-band-number-too-far")
async def too_far(bench: Bench) -> None:
    """ACK_FLUSH whose number lies beyond the window does not end the target's commitment."""
    peer = await bench.peer()
    await peer.reach_committing2()
    far = (peer.right_edge + 1000) & MASK
    await peer.send(Op.ACK_FLUSH, sn=far)
    await peer.drain(bench.blink)
    await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT)
    for packet in await peer.drain():
        if packet.payload == b"next":
            raise Violation("an ACK_FLUSH with a number beyond the window was believed", packet)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"next"))


@case(REVISION, "4.7/unknown-listener-named")
async def unknown_listener(bench: Bench) -> None:
    """CONNECT_REQUEST whose Sink Parameter names an ULTID where nobody listens is not accepted."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    await peer.send(peer.request(extensions=(Sink(b"\x00\x00\x00\x07"),)))
    await peer.quiet(but=an(Op.RESET), otherwise="a CONNECT_REQUEST for a listener that does not exist was accepted")


@case(REVISION, "4.9/any-reason-accepted")
async def any_reason(bench: Bench) -> None:
    """RESET with reason 0, with one nobody knows, and with the largest: the connection is over."""
    for reason in (0, 4711, 2**32 - 1):
        peer = await connected(bench)
        await peer.send(Op.RESET, reason=reason)
        await peer.drain(bench.blink)
        await peer.send(Op.PERSIST, b"too late", flags=FLAG_EOT)
        await peer.quiet(but=an(Op.RESET), otherwise=f"a RESET with reason {reason} was not obeyed")


@case(REVISION, "4.1/wrong-source-ultid")
async def wrong_source(bench: Bench) -> None:
    """A packet from another source ULTID: with the check code of the right one, and with its own."""
    peer = await connected(bench)
    right = peer.encode(persist(peer))
    for ultid in (b"\x7f\x00\x00\x01", bytes(4), peer.remote):
        await peer.send_octets(ultid + right[4:])
        await peer.send(persist(peer, source=ultid))
    await peer.quiet(otherwise="a packet from another source ULTID was answered")
    await still_well(peer, "packets from another source ULTID")
