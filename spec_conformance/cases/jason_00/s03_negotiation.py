"""Sections 3.4 to 3.6: the packets of the handshake."""

from __future__ import annotations

import itertools
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07 import s04_layouts, s06_negotiation
from spec_conformance.cases.gao_07.s06_initiator import accepted
from spec_conformance.cases.gao_07.s06_negotiation import greeted
from spec_conformance.cases.jason_00.s03_headers import come
from spec_conformance.cases.jason_00.s03_normal_header import IN_STREAM, fields
from spec_conformance.expect import an
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.packet import Op, Packet, RawHeader

REVISION: Final = "jason-00"
SECOND: Final = 1_000_000
"""In microseconds, as all times."""
CLOCKS: Final = 900 * SECOND
"""How far two clocks that tell the time may be apart: less than the smallest step between time zones."""
RANGE: Final = 2**31
"""Of a time delta, either way."""
SINK_AT: Final = 40
REQUEST_LENGTH: Final = 88
REFUSAL: Final = an(Op.RESET)


def signed(delta: bytes) -> int:
    return int.from_bytes(delta, "big", signed=True)


def check_name(packet: Packet, octets: bytes) -> None:
    """What follows the headers of a client's packet is nothing, or a host name (A37)."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        text = f"what follows the headers of {packet.name} is no host name in UTF-8"
        raise Violation(text, packet, seen=octets[:40].hex()) from None


# 3.4


@case(REVISION, "3.4/init-connect-layout", role="initiator", quick=True)
async def init_layout(bench: Bench) -> None:
    """INIT_CONNECT: signature 00 18 00 01, then at most a name; check codes come from what lies at 0, 8 and 16."""
    peer = await bench.waiting_peer()
    peer.listener = bench.service
    peer.put_back([await come(peer, Op.INIT_CONNECT, bench.client_patience)])
    greeting = await peer.hear_greeting()
    octets = fields(bench, greeting)
    if octets[20:24].hex() != "00180001":
        text = "octets 20 to 23 of INIT_CONNECT are not its signature"
        raise Violation(text, greeting, expected="00180001", seen=octets[20:24].hex())
    check_name(greeting, octets[24:])
    check_clock(bench, greeting)
    await peer.send(peer.offer())
    text = "octets 8 to 15 of INIT_CONNECT are no check code: an ACK_INIT_CONNECT that repeats them was not taken"
    peer.put_back([await peer.expect(Op.CONNECT_REQUEST, otherwise=text)])
    await peer.hear_answer()
    await peer.send(peer.acceptance())
    accepted(peer)
    confirmation = await peer.next()
    while confirmation is not None and not IN_STREAM(confirmation):
        confirmation = await peer.next()
    if confirmation is None:
        raise Inconclusive("the client does not confirm the connection")
    if confirmation.authentic is not True:
        text = "the client's ICC is not of timestamp, check code and salt in octets 0 to 19 of its INIT_CONNECT"
        raise Violation(text, confirmation, seen=octets[:20].hex())


async def greetings(bench: Bench, count: int, *, pause: float = 0.0) -> list[Packet]:
    """INIT_CONNECTs of so many connections of one client."""
    found: list[Packet] = []
    for _ in range(3 * count):
        peer = await bench.waiting_peer()
        greeting = await peer.hear_greeting()
        await peer.close()
        peer.remote = b""
        if greeting.source not in [packet.source for packet in found]:  # else it is a repeat
            found.append(greeting)
        if len(found) == count:
            return found
        await bench.sleep(pause)
    raise Inconclusive("the client begins no further connection from an ULTID of its own")


def check_clock(bench: Bench, greeting: Packet) -> None:
    away = greeting.timestamp - bench.unix_microseconds()
    if abs(away) > CLOCKS:
        text = f"the timestamp of INIT_CONNECT is {away / SECOND:.0f} s off, if it is in microseconds"
        raise Violation(text, greeting, expected="microseconds since 1970, UTC", seen=str(greeting.timestamp))


@case(REVISION, "3.4/timestamp-microseconds-utc", role="initiator")
async def timestamps(bench: Bench) -> None:
    """Timestamps of two connections, one after the other: microseconds since 1970 by UTC, and the later one later."""
    first, second = await greetings(bench, 2, pause=0.5)
    for greeting in (first, second):
        check_clock(bench, greeting)
    if second.timestamp <= first.timestamp:
        seen = f"{first.timestamp}, {second.timestamp}"
        raise Violation("the timestamp of a later INIT_CONNECT is not later", second, seen=seen)


def check_unordered(values: list[bytes], what: str) -> None:
    """All are different, none is zeros, and they follow each other by no rule that is easily seen."""
    seen = ", ".join(value.hex() for value in values)
    if len(set(values)) < len(values):
        raise Violation(f"connections have the same {what}", seen=seen)
    for order in ("big", "little"):
        numbers = [int.from_bytes(value, "big" if order == "big" else "little") for value in values]
        steps = [b - a for a, b in itertools.pairwise(numbers)]
        if len(set(steps)) == 1 or all(abs(step) < 2**20 for step in steps):
            raise Violation(f"{what}s of connections are counted", expected="random ones", seen=seen)


@case(REVISION, "3.4/check-code-random", role="initiator")
async def check_codes(bench: Bench) -> None:
    """Init check codes of three connections: different, not zeros, not near each other."""
    codes = [packet.check_code for packet in await greetings(bench, 3)]
    if bytes(8) in codes:
        raise Violation("an init check code is all zeros")
    check_unordered(codes, "init check code")


@case(REVISION, "3.4/salt-random", role="initiator")
async def salts(bench: Bench) -> None:
    """Salts of five connections: different, and not counted."""
    check_unordered([packet.salt for packet in await greetings(bench, 5)], "salt")


@case(REVISION, "3.4/host-name-tolerated", quick=True)
async def named(bench: Bench) -> None:
    """INIT_CONNECTs with names of ASCII, of other letters, of 255 octets: each leads to a connection."""
    for name in ("responder.example.net", "пример.例え", "ä" + "a" * 249 + ".net"):
        peer = await bench.peer()
        await peer.send(Op.INIT_CONNECT, name.encode(), destination=bench.service)
        text = f"INIT_CONNECT with a host name of {len(name.encode())} octets was not answered"
        answer = await peer.expect(Op.ACK_INIT_CONNECT, otherwise=text)
        if answer.check_code != peer.check_code or answer.payload:
            raise Violation("INIT_CONNECT with a host name was answered as none without is", answer)
        peer.learn(answer)
        peer.start_checking()
        await peer.send(peer.request())
        text = "the cookie for an INIT_CONNECT with a host name is not good"
        peer.accepted(await peer.expect(Op.ACK_CONNECT_REQ, otherwise=text))
        peer.established = True
        await peer.transaction(b"named")
        if (echo := await peer.read_transaction()) != b"named":
            raise Violation("a host name reached the service", peer.stream[-1], expected="named", seen=repr(echo[:60]))


# 3.5


@case(REVISION, "3.5/ack-init-connect-layout", quick=True)
async def offer_layout(bench: Bench) -> None:
    """ACK_INIT_CONNECT: 24 octets, check code at 8, time delta at 16, 00 18 00 02 at 20, a cookie at 0 that is good."""
    peer = await bench.peer()
    await peer.send(Op.INIT_CONNECT, destination=bench.service)
    answer = await come(peer, Op.ACK_INIT_CONNECT)
    peer.learn(answer)
    octets = fields(bench, answer)
    if len(octets) != 24 or octets[20:24].hex() != "00180002":
        seen = f"{octets[20:24].hex()}, {len(octets)} octets"
        text = "ACK_INIT_CONNECT is not a fixed header with its signature"
        raise Violation(text, answer, expected="00180002, 24 octets", seen=seen)
    if octets[8:16] != peer.check_code:
        text = "octets 8 to 15 are not our init check code"
        raise Violation(text, answer, expected=peer.check_code.hex(), seen=octets[8:16].hex())
    if abs(signed(octets[16:20])) > CLOCKS:
        text = "octets 16 to 19 are no time delta for a timestamp of now"
        raise Violation(text, answer, expected="a few microseconds", seen=octets[16:20].hex())
    peer.cookie, peer.time_delta = octets[:8], octets[16:20]
    peer.start_checking()
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ, otherwise="octets 0 to 7 are no cookie that opens a connection")


case(REVISION, "3.5/cookie-reproducible")(s04_layouts.reproducible)
case(REVISION, "3.5/check-code-echoed")(s04_layouts.any_check_code)


async def delta_of(bench: Bench, timestamp: int) -> tuple[int, Packet]:
    """The time delta for a timestamp."""
    peer = await bench.peer()
    peer.timestamp = timestamp
    await peer.send(Op.INIT_CONNECT, destination=bench.service)
    away = (timestamp - bench.unix_microseconds()) / SECOND
    text = f"an INIT_CONNECT with a timestamp {away:.0f} s away was not answered"
    answer = await peer.expect(Op.ACK_INIT_CONNECT, otherwise=text)
    return signed(fields(bench, answer)[16:20]), answer


async def their_time(bench: Bench) -> int:
    """What the target's clock shows, for a time delta is the difference from it."""
    now = bench.unix_microseconds()
    delta, answer = await delta_of(bench, now)
    if abs(delta) > CLOCKS:
        text = f"for a timestamp of now the time delta is {delta / SECOND:.0f} s, if it is in microseconds"
        raise Violation(text, answer, expected="about 0", seen=str(delta))
    return now + delta


async def check_delta(bench: Bench, ago: int) -> None:
    there = await their_time(bench)
    before = bench.elapsed
    delta, answer = await delta_of(bench, there - ago * SECOND)
    slack = (bench.elapsed - before) * SECOND + SECOND
    if abs(delta - ago * SECOND) > slack:
        when = f"{ago} s ago" if ago > 0 else f"{-ago} s ahead"
        text = f"the time delta for a timestamp of {when} is another"
        raise Violation(text, answer, expected=f"about {ago * SECOND:,}", seen=f"{delta:,}")


@case(REVISION, "3.5/time-delta-microseconds", quick=True)
async def past(bench: Bench) -> None:
    """Timestamps of 10 and of 2,000 seconds ago give 10,000,000 and 2,000,000,000."""
    for ago in (10, 2000):
        await check_delta(bench, ago)


@case(REVISION, "3.5/time-delta-signed")
async def ahead(bench: Bench) -> None:
    """Timestamps 10 and 2,000 seconds ahead give -10,000,000 and -2,000,000,000, in two's complement."""
    for ago in (-10, -2000):
        await check_delta(bench, ago)


@case(REVISION, "3.5/time-delta-out-of-range")
async def out_of_range(bench: Bench) -> None:
    """Timestamps 2,160 s, a day, and more than any clock away, both ways: silence, or RESET; 2,130 s are no trouble."""
    there = await their_time(bench)
    far = [step * SECOND for step in (2160, 4300, 86_400)]  # 4,300 s are nearly once around
    for timestamp in (*[there - step for step in far], *[there + step for step in far], 0, 2**63, 2**64 - 1):
        peer = await bench.peer()
        peer.timestamp = timestamp
        await peer.send(Op.INIT_CONNECT, destination=bench.service)
        away = (timestamp - there) / SECOND
        await peer.quiet(but=REFUSAL, otherwise=f"an INIT_CONNECT with a timestamp {away:,.0f} s away was answered")
    for ago in (2130, -2130):
        await check_delta(bench, ago)


# 3.6


@case(REVISION, "3.6/connect-request-layout", role="initiator", quick=True)
async def request_layout(bench: Bench) -> None:
    """CONNECT_REQUEST, octet by octet: what INIT_CONNECT had, 00 58 00 03, our time delta and cookie, then the sink."""
    peer = await bench.waiting_peer()
    greeting = fields(bench, await peer.hear_greeting())
    delta = b"\x81\x02\x03\x84"
    await peer.send(peer.offer(time_delta=delta))
    request = await peer.expect(Op.CONNECT_REQUEST)
    octets = fields(bench, request)
    wanted = {
        (0, 20): greeting[:20],
        (20, 24): bytes.fromhex("00580003"),
        (28, 32): delta,
        (32, 40): peer.cookie,
        (72, 76): peer.listener,
        (86, 88): bytes.fromhex("0011"),
    }
    for (start, end), right in wanted.items():
        if octets[start:end] != right:
            text = f"octets {start} to {end - 1} of CONNECT_REQUEST are not as they must be"
            raise Violation(text, request, expected=right.hex(), seen=octets[start:end].hex())
    check_name(request, octets[REQUEST_LENGTH:])
    peer.expected = int.from_bytes(octets[24:28], "big")
    peer.time_delta = delta
    peer.start_checking()
    await peer.send(peer.acceptance())
    accepted(peer)
    confirmation = await peer.reach(IN_STREAM)
    if confirmation.sn.to_bytes(4, "big") != octets[24:28]:
        text = "octets 24 to 27 of CONNECT_REQUEST are not the number of the packet after it"
        raise Violation(text, request, expected=confirmation.sn.to_bytes(4, "big").hex(), seen=octets[24:28].hex())


@case(REVISION, "3.6/sink-parameters-pointer-40", role="initiator")
async def pointer_40(bench: Bench) -> None:
    """Octets 84 and 85 of CONNECT_REQUEST are 00 28."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    await peer.send(peer.offer())
    request = await peer.expect(Op.CONNECT_REQUEST)
    pointer = fields(bench, request)[84:86]
    if pointer.hex() != "0028":
        text = "the Sink Parameters of CONNECT_REQUEST have another stack pointer"
        raise Violation(text, request, expected="0028", seen=pointer.hex())


async def refused(peer: Peer, octets: bytes, what: str) -> None:
    await peer.send_octets(octets)
    await peer.quiet(but=REFUSAL, otherwise=f"a CONNECT_REQUEST {what} was accepted")


async def right_one(peer: Peer) -> None:
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ, otherwise="after wrong ones the right CONNECT_REQUEST was not accepted")


@case(REVISION, "3.6/request-without-sink-parameters")
async def without_sink(bench: Bench) -> None:
    """CONNECT_REQUESTs of 40 octets, of 40 with a name, cut in the Sink Parameters, with another header: none opens."""
    peer = await greeted(bench)
    whole = peer.encode(peer.request())
    for offset in (SINK_AT, REQUEST_LENGTH):
        bare = peer.encode(peer.request(extensions=(), offset=offset))
        await refused(peer, bare, f"of 40 octets with stack pointer {offset}")
    await refused(peer, peer.encode(peer.request(extensions=(), payload=b"n" * 48)), "with a name in place of a sink")
    await refused(peer, whole[: 8 + 64], "that ends within its Sink Parameters")
    other = peer.encode(peer.request(extensions=(RawHeader(18, bytes(44)),)))
    await refused(peer, other, "with a SNACK in place of Sink Parameters")
    await right_one(peer)


@case(REVISION, "3.6/sink-pointer-not-40")
async def other_pointers(bench: Bench) -> None:
    """Sink Parameters that point to 0, 24, 32, 39, 41, 48, 84, 88 and 10240 (40 with its octets swapped)."""
    peer = await greeted(bench)
    whole = peer.encode(peer.request())
    place = 8 + REQUEST_LENGTH - 4
    for pointer in (0, 24, 32, 39, 41, 48, 84, 88, 0x2800):
        wrong = whole[:place] + pointer.to_bytes(2, "big") + whole[place + 2 :]
        await refused(peer, wrong, f"whose Sink Parameters have stack pointer {pointer}")
    await right_one(peer)


case(REVISION, "3.6/request-with-host-name", quick=True)(s06_negotiation.initiator_name)
