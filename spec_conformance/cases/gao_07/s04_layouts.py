"""Sections 2 to 4, what the target sends: codes, layouts, numbers."""

from __future__ import annotations

import itertools
import struct

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Violation
from spec_conformance.wire.gao import OPS
from spec_conformance.wire.packet import FLAG_EOT, MASK, OUT_OF_BAND, Op, Packet, Sink, Snack, later

REVISION = "gao-07"
IDS = 8
CHECKED = an(Op.ACK_CONNECT_REQ, Op.NULCOMMIT, Op.PERSIST, Op.PURE_DATA, Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.RELEASE)
RESERVED = 0x07
HOUR = 3600 * 10**6


async def connected(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    return peer


async def conversation(bench: Bench) -> Peer:
    """One of everything that an echo service sends: data in several packets, both acknowledgements, an end."""
    peer = await connected(bench)
    await peer.echo(bytes(3000))
    await peer.send(Op.PERSIST, b"open")
    await peer.drain()
    await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
    await peer.drain()
    await peer.acknowledge()
    await peer.drain(bench.blink)
    return peer


def at(bench: Bench, packet: Packet, offset: int, length: int) -> int:
    """An integer of the packet's header in network order."""
    return int.from_bytes(bench.octets_of(packet)[IDS + offset : IDS + offset + length], "big")


def code_of(bench: Bench, packet: Packet) -> int:
    return at(bench, packet, 0, 1)


def must_have_code(bench: Bench, packet: Packet, op: Op) -> None:
    """The first octet is the code; the packet was recognized by what it does, or the suite could not tell at all."""
    if code_of(bench, packet) != OPS[op]:
        raise Violation(f"{op} has operation code {code_of(bench, packet)}", packet, expected=str(OPS[op]))


# 2, 3


@case(REVISION, "2/transaction-ends-with-eot")
async def messages(bench: Bench) -> None:
    """Two transactions in a row come back as two, each with its own octets."""
    peer = await connected(bench)
    await peer.transaction(b"one")
    await peer.transaction(b"two")
    first = await peer.expect(DATA)
    if b"two" in first.payload:
        raise Violation("two transactions were echoed as one", first)
    while not peer.complete:
        await peer.expect(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT))
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"two"))


@case(REVISION, "3.2/found-by-ultid")
async def by_ultid(bench: Bench) -> None:
    """Two connections from one address, and one of them from another: each gets its own echo."""
    first, second = await connected(bench), await bench.peer()
    second.link = first.link  # one address for both
    first_answer = b"of the first"
    await first.transaction(first_answer)
    await first.expect(DATA & carrying(first_answer))
    other = await connected(bench)
    await other.transaction(b"of the other")
    packet = await other.expect(DATA)
    if packet.payload != b"of the other":
        raise Violation("a connection got the echo of another", packet)


@case(REVISION, "3.2/ultid-not-used-twice")
async def different_ultids(bench: Bench) -> None:
    """Eight connections at the same time have eight ULTIDs at the target."""
    peers = [await connected(bench) for _ in range(8)]
    if len({peer.remote for peer in peers}) < len(peers):
        raise Violation("two connections have the same ULTID at the target")


@case(REVISION, "3.3/icc-on-every-packet", quick=True)
async def all_verify(bench: Bench) -> None:
    """The check code of everything that a conversation draws verifies."""
    peer = await conversation(bench)
    for packet in peer.received:
        if CHECKED(packet) and packet.authentic is not True:
            raise Violation(f"the check code of {packet.name} does not verify", packet)


# 4.1 to 4.4


@case(REVISION, "4.1/ultids-first")
async def ultids_first(bench: Bench) -> None:
    """Octets 0 to 3 are the target's ULTID, 4 to 7 ours."""
    peer = await conversation(bench)
    for packet in peer.received[1:]:
        octets = bench.octets_of(packet)
        if octets[:4] != peer.remote or octets[4:8] != peer.local:
            raise Violation("a datagram does not begin with both ULTIDs", packet)


@case(REVISION, "4.1/default-port")
async def same_port(bench: Bench) -> None:
    """Answers come from the port that was asked: nothing else is heard on the link."""
    peer = await bench.peer()
    await peer.send(Op.INIT_CONNECT, destination=bench.service)
    await peer.expect(Op.ACK_INIT_CONNECT, otherwise="no answer came from the port that was asked")


@case(REVISION, "4.3/fixed-header-of-24", "4.4.4/offset-without-extension")
async def offset_24(bench: Bench) -> None:
    """Packets without extension header say Offset 24, and their payload begins there."""
    peer = await conversation(bench)
    plain = [packet for packet in peer.received if CHECKED(packet) and not packet.extensions]
    for packet in plain:
        if packet.offset != 24:
            raise Violation(f"{packet.name} without extension has Offset {packet.offset}", packet, expected="24")
    data = b"".join(packet.payload for packet in peer.stream if packet.payload)
    if data != bytes(3000) + b"openclosed":
        raise Violation("payload does not begin where Offset says", plain[-1])


@case(REVISION, "4.3/network-byte-order")
async def network_order(bench: Bench) -> None:
    """Expected number and window of a packet, read most significant octet first, are what they must be."""
    peer = await bench.peer()
    peer.initial_sn = peer.sn = peer.acknowledged = 0x01020304
    answer = await peer.challenge()
    peer.established = True
    if at(bench, answer, 12, 4) != 0x01020304:
        found = bench.octets_of(answer)[IDS + 12 : IDS + 16].hex()
        raise Violation("the expected number is not in network order", answer, expected="01020304", seen=found)
    if not 4 <= at(bench, answer, 5, 3) < 2**20:
        raise Violation("the window is not in network order", answer)


@case(REVISION, "4.3/extensions-little-endian", "4.8/snack-layout")
async def little_endian(bench: Bench) -> None:
    """The SNACK of an ACK_FLUSH, octet by octet: code 18, length 16, expected number least significant octet first."""
    peer = await connected(bench)
    await peer.commit()
    packet = await peer.expect(an(Op.ACK_FLUSH))
    if packet.authentic is not True:
        raise Inconclusive("the ACK_FLUSH does not verify")
    octets = bench.octets_of(packet)[IDS + 24 :]
    if len(octets) < 16 or octets[0] != 18:
        raise Violation("ACK_FLUSH has no SELECTIVE_NACK at octet 24", packet, seen=octets[:4].hex())
    length, expected = struct.unpack_from("<HI", octets, 2)
    if length != 16:
        raise Violation(f"the SELECTIVE_NACK of ACK_FLUSH has length {length}", packet, expected="16")
    if expected != peer.sn:
        raise Violation("the expected number of SELECTIVE_NACK is not little-endian", packet, seen=octets[4:8].hex())


@case(REVISION, "4.3/extension-aligned", "4.4.4/offset-counts-extensions", "4.4.3/mark-sent-zero")
async def chains(bench: Bench) -> None:
    """Extension headers of all packets have lengths that are multiples of 8, add up to Offset, and Mark 0."""
    peer = await conversation(bench)
    seen = 0
    for packet in peer.received:
        start = 24
        octets = bench.octets_of(packet)[IDS:]
        if packet.op is Op.RESET or packet.offset is None:
            continue
        while start < packet.offset:
            _, mark, length = struct.unpack_from("<BBH", octets, start)
            if length < 8 or length % 8:
                raise Violation(f"{packet.name}: an extension header of length {length}", packet)
            if mark:
                raise Lenient(f"{packet.name}: an extension header with Mark {mark}")
            start += length
            seen += 1
        if start != packet.offset:
            raise Violation(f"{packet.name}: headers end at {start}, Offset is {packet.offset}", packet)
    if not seen:
        raise Inconclusive("no packet had an extension header")


@case(REVISION, "4.4.1/op-codes-of-handshake")
async def handshake_codes(bench: Bench) -> None:
    """What comes back in the handshake has codes 2 and 4."""
    peer = await bench.peer()
    must_have_code(bench, await peer.greet(), Op.ACK_INIT_CONNECT)
    peer.start_checking()
    await peer.send(peer.request())
    answer = await peer.next()
    if answer is None:
        raise Inconclusive("CONNECT_REQUEST was not answered")
    peer.established = True
    must_have_code(bench, answer, Op.ACK_CONNECT_REQ)


@case(REVISION, "4.4.1/op-codes-of-initiator", role="initiator")
async def initiator_codes(bench: Bench) -> None:
    """What a client sends in the handshake has codes 1 and 3."""
    peer = await bench.waiting_peer()
    must_have_code(bench, await peer.hear_greeting(), Op.INIT_CONNECT)
    await peer.send(peer.offer())
    answer = await peer.next()
    if answer is None:
        raise Inconclusive("ACK_INIT_CONNECT was not answered")
    must_have_code(bench, answer, Op.CONNECT_REQUEST)


@case(REVISION, "4.4.1/op-codes-of-data")
async def data_codes(bench: Bench) -> None:
    """An echo in several packets: 8 first, 9 after it, 6 only where there is no payload."""
    peer = await connected(bench)
    start = len(peer.stream)
    await peer.transaction(bytes(3000))
    await peer.read_transaction()
    packets = peer.stream[start:]
    codes = [code_of(bench, packet) for packet in packets]
    wanted = [8] + [9 if packet.payload else 6 for packet in packets[1:]]
    if codes != wanted:
        raise Violation(f"the codes of an echo are {codes}", packets[0], expected=str(wanted), seen=str(codes))


@case(REVISION, "4.4.1/op-codes-out-of-band")
async def out_of_band_codes(bench: Bench) -> None:
    """An open transaction draws code 7, a complete one code 10."""
    peer = await connected(bench)
    peer_window = peer.window
    await peer.send(Op.PERSIST, b"open", window=peer_window)
    await peer.drain()
    await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
    await peer.drain()
    codes = [code_of(bench, packet) for packet in peer.received if packet.op in OUT_OF_BAND]
    if not {7, 10} <= set(codes):
        raise Violation(f"acknowledgements have the codes {sorted(set(codes))}", expected="7 and 10", seen=str(codes))


@case(REVISION, "4.4.1/op-code-of-release", service="closing", needs=("closing",))
async def release_code(bench: Bench) -> None:
    """The packet that ends the connection has code 11."""
    peer = await connected(bench)
    await peer.echo(b"and then close")
    must_have_code(bench, await peer.expect(Op.RELEASE), Op.RELEASE)


@case(REVISION, "4.4.1/op-code-of-reset", "4.9/reset-layout", "4.9/answers-normal-packet", slow=True)
async def reset_code(bench: Bench) -> None:
    """A connection that the target gives up: RESET has code 5, 24 octets, our expected number and a good check code."""
    peer = await bench.peer()
    await peer.reach_committing2()
    for packet in await peer.drain(320.0):
        if packet.op is Op.RESET:
            must_have_code(bench, packet, Op.RESET)
            if len(bench.octets_of(packet)) != IDS + 24:
                raise Violation("RESET has not 24 octets", packet)
            if packet.authentic is not True or packet.expected != peer.sn:
                raise Violation("RESET has not the numbers and check code of a normal packet", packet)
            return
    raise Lenient("the target gave its connection up in silence")


@case(REVISION, "4.4.1/codes-of-extensions", "4.7/sink-layout")
async def extension_codes(bench: Bench) -> None:
    """ACK_INIT_CONNECT has a header of code 17 and 40 octets at 24; acknowledgements one of code 18."""
    peer = await bench.peer()
    answer = await peer.greet()
    octets = bench.octets_of(answer)[IDS:]
    code, _, length = struct.unpack_from("<BBH", octets, 24)
    if (code, length) != (17, 40):
        raise Violation("no Sink Parameter at octet 24", answer, expected="17, 40", seen=f"{code}, {length}")
    peer.start_checking()
    await peer.send(peer.request())
    peer.accepted(await peer.reach(Op.ACK_CONNECT_REQ))
    peer.established = True
    await peer.commit()
    flush = await peer.expect(an(Op.ACK_FLUSH))
    if bench.octets_of(flush)[IDS + 24] != 18:
        raise Violation("no SELECTIVE_NACK at octet 24", flush)


@case(REVISION, "4.4.1/nulcommit-takes-number", "4.4.1/persist-takes-number")
async def numbers_taken(bench: Bench) -> None:
    """Our NULCOMMIT and our PERSIST count: each is acknowledged by the number after it."""
    peer = await connected(bench)
    for op, payload in ((Op.NULCOMMIT, b""), (Op.PERSIST, b"counts"), (Op.NULCOMMIT, b"")):
        await peer.send(op, payload, flags=FLAG_EOT)
        packet = await peer.expect(an(Op.ACK_FLUSH) & acknowledging(peer.sn))
        if packet.acknowledged != peer.sn:
            raise Violation(f"{op} is acknowledged by {packet.acknowledged}", packet, expected=str(peer.sn))


@case(REVISION, "4.4.1/nulcommit-gives-no-data")
async def no_data(bench: Bench) -> None:
    """NULCOMMIT with no transaction open: no octet is echoed for it."""
    peer = await connected(bench)
    await peer.commit()
    for packet in await peer.drain():
        if packet.payload:
            raise Violation("a NULCOMMIT was echoed with octets", packet)
    await peer.acknowledge()
    await peer.drain(bench.blink)
    await peer.transaction(b"data")
    await peer.expect(DATA & carrying(b"data"))


@case(REVISION, "4.4.1/persist-starts-transaction")
async def persist_first(bench: Bench) -> None:
    """Three echoes: each begins with PERSIST, and PERSIST is nowhere else."""
    peer = await connected(bench)
    for _ in range(3):
        start = len(peer.stream)
        await peer.echo(bytes(2500))
        kinds = [packet.op for packet in peer.stream[start:]]
        if kinds[0] is not Op.PERSIST or Op.PERSIST in kinds[1:]:
            raise Violation(f"a transaction has the packets {', '.join(map(str, kinds))}", peer.stream[start])


@case(REVISION, "4.4.1/release-takes-number")
async def release_number(bench: Bench) -> None:
    """RELEASE is acknowledged by the number after it."""
    peer = await connected(bench)
    release = await peer.send(Op.RELEASE)
    packet = await peer.expect(an(Op.ACK_FLUSH))
    if packet.acknowledged != (release.sn + 1) & MASK:
        raise Violation("RELEASE is not acknowledged by the number after it", packet)


@case(REVISION, "4.4.1/out-of-band-takes-no-number")
async def no_number(bench: Bench) -> None:
    """Ten KEEP_ALIVEs and ACK_FLUSHes of ours and the target's in between: in-band numbers go on without a gap."""
    peer = await connected(bench)
    for _ in range(3):
        for _ in range(3):
            await peer.send(Op.KEEP_ALIVE)
        await peer.echo(b"numbers")
    numbers = [packet.sn for packet in peer.stream]
    if any((b - a) & MASK != 1 for a, b in itertools.pairwise(numbers)):
        raise Violation(f"in-band numbers are {numbers}")


@case(REVISION, "4.4.2/major-is-zero")
async def major_zero(bench: Bench) -> None:
    """Octet 1 of every packet is 0."""
    peer = await conversation(bench)
    for packet in peer.received:
        if packet.major:
            raise Violation(f"{packet.name} has Major {packet.major}", packet, expected="0")


# 4.5


@case(REVISION, "4.5.1/init-connect-layout", "4.5.1/timestamp-is-now", role="initiator")
async def init_layout(bench: Bench) -> None:
    """INIT_CONNECT is 24 octets and a name; its Timestamp lies within an hour of now."""
    peer = await bench.waiting_peer()
    packet = await peer.hear_greeting()
    if packet.offset != 24:
        raise Violation(f"INIT_CONNECT has Offset {packet.offset}", packet, expected="24")
    distance = packet.timestamp - bench.unix_microseconds()
    if abs(distance) > HOUR:
        raise Violation(
            f"the Timestamp is {distance / 1e6:.0f} seconds off", packet, expected="microseconds since 1970"
        )


@case(REVISION, "4.5.1/check-code-random", role="initiator")
async def init_random(bench: Bench) -> None:
    """Two clients have different Init-Check-Codes and Salts, none of them zeros."""
    found = []
    for _ in range(2):
        peer = await bench.waiting_peer()
        packet = await peer.hear_greeting()
        found.append((packet.check_code, packet.salt))
        await peer.close()
        peer.remote = b""
    (code, salt), (other_code, other_salt) = found
    if code == other_code or bytes(8) in (code, other_code):
        raise Violation("Init-Check-Codes can be guessed", seen=f"{code.hex()}, {other_code.hex()}")
    if salt == other_salt:
        raise Violation("Salts are equal", seen=salt.hex())


@case(REVISION, "4.5.1/any-timestamp-accepted")
async def any_timestamp(bench: Bench) -> None:
    """INIT_CONNECT from 1970, from the end of time and from now is answered."""
    for timestamp in (0, 2**64 - 1, 2**63, bench.unix_microseconds()):
        peer = await bench.peer()
        peer.timestamp = timestamp
        await peer.send(Op.INIT_CONNECT, destination=bench.service)
        await peer.expect(Op.ACK_INIT_CONNECT, otherwise=f"INIT_CONNECT with Timestamp {timestamp} was not answered")


@case(REVISION, "4.5.2/ack-init-connect-layout", quick=True)
async def ack_init_layout(bench: Bench) -> None:
    """ACK_INIT_CONNECT has 64 octets: check code at 16, Sink Parameter at 24, Offset 64."""
    peer = await bench.peer()
    answer = await peer.greet()
    octets = bench.octets_of(answer)[IDS:]
    if answer.offset != 64 or len(octets) != 64:
        seen = f"{answer.offset} of {len(octets)}"
        raise Violation(f"ACK_INIT_CONNECT has Offset {seen} octets", answer, expected="64 of 64", seen=seen)
    if octets[16:24] != peer.check_code:
        raise Violation("the Init-Check-Code is not at octet 16", answer)


@case(REVISION, "4.5.2/check-code-repeated")
async def any_check_code(bench: Bench) -> None:
    """Init-Check-Codes of zeros, of ones, and with one bit set come back as they are."""
    for code in (bytes(8), b"\xff" * 8, b"\x80" + bytes(7), bytes(7) + b"\x01"):
        peer = await bench.peer()
        peer.check_code = code
        answer = await peer.greet()
        if answer.check_code != code:
            raise Violation(
                "another Init-Check-Code came back", answer, expected=code.hex(), seen=answer.check_code.hex()
            )


@case(REVISION, "4.5.2/cookie-reproducible")
async def reproducible(bench: Bench) -> None:
    """Fifty others are answered in between: the first cookie still opens the connection."""
    first = await bench.peer()
    await first.greet()
    first.start_checking()
    for _ in range(50):
        other = await bench.peer()
        await other.greet()
    await first.send(first.request())
    await first.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "4.5.2/cookies-differ")
async def cookies(bench: Bench) -> None:
    """Eight initiators get eight cookies."""
    found = set()
    for _ in range(8):
        peer = await bench.peer()
        found.add((await peer.greet()).cookie)
    if len(found) < 8:
        raise Violation("two initiators got the same cookie")


@case(REVISION, "4.5.3/connect-request-layout", role="initiator", quick=True)
async def request_layout(bench: Bench) -> None:
    """CONNECT_REQUEST has Offset 80, a Sink Parameter at 40, the cookie at 32 and the time delta at 28."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    await peer.send(peer.offer(time_delta=b"\x01\x02\x03\x04"))
    request = await peer.expect(Op.CONNECT_REQUEST)
    octets = bench.octets_of(request)[IDS:]
    if request.offset != 80:
        raise Violation(f"CONNECT_REQUEST has Offset {request.offset}", request, expected="80")
    if octets[32:40] != peer.cookie or octets[28:32] != b"\x01\x02\x03\x04":
        raise Violation("the Cookie is not at octet 32, or Time Delta not at 28", request)
    if octets[40] != 17:
        raise Violation("no Sink Parameter at octet 40", request)


# 4.6


@case(REVISION, "4.6/reserved-flags-sent-zero")
async def reserved(bench: Bench) -> None:
    """The three lowest flags of all packets are 0."""
    peer = await conversation(bench)
    for packet in peer.received:
        if CHECKED(packet) and packet.flags & RESERVED:
            raise Violation(f"{packet.name} has reserved flags set", packet, seen=f"{packet.flags:#04x}")


@case(REVISION, "4.6/window-counts-free-blocks")
async def right_edge(bench: Bench) -> None:
    """Expected number plus window of all packets, in the order they come, never moves back."""
    peer = await bench.peer()
    peer.window = 2
    await peer.connect()
    for _ in range(6):
        await peer.send(Op.PERSIST, bytes(900))
        await peer.drain(bench.blink)
    edge: int | None = None
    for packet in peer.received:
        if not CHECKED(packet) or packet.acknowledged is None or packet.authentic is not True:
            continue
        now = (packet.acknowledged + packet.window) & MASK
        if edge is not None and later(now, edge) < 0:
            raise Violation("the right edge moved back", packet, expected=str(edge), seen=str(now))
        edge = now


@case(REVISION, "4.6/numbers-in-order", "4.6/expected-never-decreases")
async def order(bench: Bench) -> None:
    """The numbers of new packets rise by one, and the numbers they expect never fall."""
    peer = await conversation(bench)
    numbers = [packet.sn for packet in peer.stream]
    if any((b - a) & MASK != 1 for a, b in itertools.pairwise(numbers)):
        raise Violation(f"in-band numbers are {numbers}")
    expected = [packet.expected for packet in peer.received if packet.in_band]
    for before, after in itertools.pairwise(expected):
        if later(after, before) < 0:
            raise Violation(f"an expected number fell from {before} to {after}")


@case(REVISION, "4.6/number-wraps", quick=True)
async def wraps(bench: Bench) -> None:
    """Our numbers wrap in the middle of a transaction, and the echo is whole."""
    peer = await bench.peer()
    peer.initial_sn = peer.sn = peer.acknowledged = 0xFFFFFFFC
    peer.right_edge = peer.initial_sn
    await peer.connect()
    data = bench.random.randbytes(8000)
    await peer.transaction(data)
    if await peer.read_transaction() != data:
        raise Violation("the echo is not what was sent when numbers wrapped", peer.received[-1])
    await peer.send(Op.RELEASE)
    await peer.expect(an(Op.ACK_FLUSH) & acknowledging(peer.sn))


@case(REVISION, "4.6/out-of-band-number-in-window")
async def in_window(bench: Bench) -> None:
    """The numbers of acknowledgements lie between the one before what we expect and the edge of our window."""
    peer = await conversation(bench)
    for packet in peer.received:
        if packet.out_of_band and packet.authentic:
            first = (peer.target_initial_sn - 1) & MASK
            edge = (peer.expected + peer.window) & MASK
            if later(packet.sn, first) < 0 or later(packet.sn, edge) >= 0:
                raise Violation(f"{packet.name} has a number out of the window", packet)


@case(REVISION, "4.6/expected-is-cumulative")
async def cumulative(bench: Bench) -> None:
    """A packet of ours is missing: in-band packets of the target go on expecting it, whatever came after it."""
    peer = await bench.peer()
    await peer.reach_active()
    missing = peer.sn
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"after the gap")
    for packet in await peer.drain(1.5):
        if packet.authentic and packet.acknowledged is not None and packet.acknowledged != missing:
            raise Violation("something else than the missing packet is expected", packet, expected=str(missing))
    await peer.send(Op.PURE_DATA, b"fills", sn=missing)
    await peer.expect(DATA & acknowledging((missing + 2) & MASK))


@case(REVISION, "4.6/serial-separate", "4.6/serial-not-reused")
async def serials(bench: Bench) -> None:
    """Serials of both acknowledgements together: small, all different, though sequence numbers are large."""
    peer = await conversation(bench)
    found = [packet.expected for packet in peer.received if packet.out_of_band and packet.authentic]
    if len(set(found)) < len(found):
        raise Violation(f"a serial was used twice: {found}")
    if max(found) - min(found) >= 2 * len(found):
        raise Violation(f"serials are not counted one by one: {found}")


@case(REVISION, "4.6/no-same-pair", slow=True)
async def no_pair_twice(bench: Bench) -> None:
    """Repeats included, packets with the same number and the same expected or serial number are the same octets."""
    peer = await bench.peer()
    await peer.reach_committing2()
    await peer.drain(8.0)
    await peer.send(Op.PERSIST, b"moves the expected number", expected=(peer.expected - 1) & MASK)
    await peer.drain(8.0)
    seen: dict[tuple[int, int, bool], bytes] = {}
    for packet in peer.received:
        if not CHECKED(packet):
            continue
        octets = bench.octets_of(packet)
        first = seen.setdefault((packet.sn, packet.expected, packet.out_of_band), octets)
        if first != octets:
            raise Violation("two different packets have the same pair of numbers", packet)


# 4.7, 4.8


@case(REVISION, "4.7/listener-in-handshake")
async def listener_found(bench: Bench) -> None:
    """CONNECT_REQUEST that names the listener is accepted there: its service answers."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    await peer.send(peer.request())
    peer.accepted(await peer.expect(Op.ACK_CONNECT_REQ))
    peer.established = True
    await peer.transaction(b"which service")
    await peer.expect(DATA & carrying(b"which service"))


@case(REVISION, "4.7/host-id-zero", "4.7/prefix-zero-or-real")
async def sinks_of_keep_alive(bench: Bench) -> None:
    """Sink Parameters in KEEP_ALIVEs: host ID 0, prefixes of zeros or 2002, address and port."""
    peer = await bench.peer()
    await peer.reach_committed()
    await peer.send(Op.PURE_DATA, b"more")
    await peer.drain()
    found = [packet for packet in peer.received if packet.op is Op.KEEP_ALIVE and packet.sink is not None]
    if not found:
        raise Lenient("no KEEP_ALIVE has a Sink Parameter")
    for packet in found:
        sink = packet.sink
        assert isinstance(sink, Sink)
        if sink.listener_or_host != bytes(4):
            raise Violation("the Host ID is not 0 over IPv4", packet, seen=sink.listener_or_host.hex())
        for prefix in sink.prefixes:
            if prefix != bytes(8) and prefix[:2] != b"\x20\x02":
                raise Violation("a prefix is neither zeros nor begins with 2002", packet, seen=prefix.hex())


@case(REVISION, "4.8/delay-sample-number", "4.8/delay-in-microseconds")
async def delay(bench: Bench) -> None:
    """The delay of a delayed SNACK is the time since the newest packet in order came, named by its number."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    await bench.sleep(0.6)  # the target takes that for the round trip, and delays SNACKs by so much
    await peer.send(peer.request())
    peer.accepted(await peer.reach(Op.ACK_CONNECT_REQ))
    peer.established = True
    peer.window = 0
    sent_at = bench.elapsed
    packet = await peer.send(Op.PERSIST, b"when did this come")
    answer = await peer.expect(an(Op.KEEP_ALIVE))
    waited = bench.elapsed - sent_at
    snack = answer.snack
    if snack is None:
        raise Violation("KEEP_ALIVE has no SNACK", answer)
    if snack.delay_sample != packet.sn:
        raise Violation("the delay is not of the last packet in order", answer, expected=str(packet.sn))
    if not waited - 0.2 <= snack.delay / 1e6 <= waited + 0.001:
        seen = f"{snack.delay} microseconds"
        raise Violation(f"the SNACK came after {waited:.3f} s and tells {seen}", answer, seen=seen)


async def gaps_told(bench: Bench, lost: set[int], count: int) -> tuple[Snack, Packet]:
    """Of so many packets some are not sent; the SNACK that tells of it."""
    peer = await bench.peer()
    await peer.reach_active()
    await peer.send(Op.PURE_DATA, b"in order")
    await peer.drain()
    for turn in range(count):
        if turn in lost:
            peer.sn = (peer.sn + 1) & MASK
        else:
            await peer.send(Op.PURE_DATA, b"packet %d" % turn)
    told: Packet | None = None
    for packet in await peer.drain(1.5):
        if packet.op is Op.KEEP_ALIVE and packet.snack is not None and packet.snack.gaps:
            told = packet
    if told is None or told.snack is None:
        raise Violation("no SNACK tells of a gap")
    return told.snack, told


@case(REVISION, "4.8/gap-described")
async def one_gap(bench: Bench) -> None:
    """Three packets are lost, two come after them: width 3, length 2."""
    snack, packet = await gaps_told(bench, {0, 1, 2}, 5)
    if snack.gaps != ((3, 2),):
        raise Violation("a gap is described wrongly", packet, expected="[(3, 2)]", seen=str(list(snack.gaps)))


@case(REVISION, "4.8/several-gaps")
async def three_gaps(bench: Bench) -> None:
    """Three gaps are told in order."""
    snack, packet = await gaps_told(bench, {0, 2, 3, 5}, 8)
    wanted = ((1, 1), (2, 1), (1, 2))
    if snack.gaps != wanted:
        raise Violation("gaps are described wrongly", packet, expected=str(list(wanted)), seen=str(list(snack.gaps)))


@case(REVISION, "4.8/no-gap-empty-list")
async def no_gap(bench: Bench) -> None:
    """Nothing is missing: no SNACK has an entry."""
    peer = await conversation(bench)
    for packet in peer.received:
        if packet.snack is not None and packet.snack.gaps:
            raise Violation("a SNACK tells of gaps where none are", packet, seen=str(list(packet.snack.gaps)))
    if not any(packet.snack is not None for packet in peer.received):
        raise Inconclusive("no packet has a SNACK")


@case(REVISION, "4.4.1/op-codes-of-data:end")
async def commit_code(bench: Bench) -> None:
    """What ends an echo has EoT: code 6 without payload, 8 or 9 with it."""
    peer = await connected(bench)
    await peer.transaction(b"end")
    packet = await peer.expect(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True))
    code = code_of(bench, packet)
    if (code == 6) != (not packet.payload):
        raise Violation(f"a packet with code {code} has {len(packet.payload)} octets of payload", packet)
