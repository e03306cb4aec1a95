"""Sections 2 and 3.8: integers, ULTIDs, transactions, and the normal fixed header."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import Script, case
from spec_conformance.cases.gao_07 import s04_layouts, s04_malformed
from spec_conformance.cases.gao_07.s04_layouts import CHECKED, IDS, connected, conversation, gaps_told
from spec_conformance.cases.jason_00.s07_transfer import slow_closable
from spec_conformance.expect import DATA, Want, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.jason import FIXED, OPS, SELECTIVE_NACK
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION: Final = "jason-00"
FLUSH: Final = an(Op.ACK_FLUSH)
SNACKS: Final = an(Op.KEEP_ALIVE, Op.ACK_FLUSH)
IN_STREAM: Final = an(Op.PERSIST, Op.PURE_DATA)
ECN: Final = 0x10
RESERVED: Final = 0x0F
UNEVEN: Final = 0x01020304
"""A number that no other order of its octets means."""
REPEATS: Final = 10.0
"""Seconds in which what is not acknowledged is repeated."""


def repeats(peer: Peer) -> Want:
    """In-band packets with numbers that we have heard."""
    newest = (peer.expected - 1) & MASK
    return Want("repeats", lambda packet: packet.in_band and later(packet.sn, newest) <= 0)


def unknown(peer: Peer) -> int:
    """The expected number of an end that has nothing of the target's but ACK_CONNECT_REQ."""
    return (peer.target_initial_sn + 1) & MASK


def fields(bench: Bench, packet: Packet) -> bytes:
    """The octets of a packet from the beginning of its fixed header on."""
    return bench.octets_of(packet)[IDS:]


def snack_of(bench: Bench, packet: Packet) -> bytes:
    """The octets of a packet's SNACK header, found from the end backwards; Violation if there is none."""
    octets = fields(bench, packet)
    end = int.from_bytes(octets[20:22], "big")
    while end > FIXED:
        below, code = int.from_bytes(octets[end - 4 : end - 2], "big"), octets[end - 1]
        if code == SELECTIVE_NACK:
            return octets[below:end]
        end = below
    raise Violation(f"{packet.name} has no SNACK header", packet, seen=octets[FIXED:].hex())


# 2


@case(REVISION, "2/integers-big-endian", quick=True)
async def most_significant_first(bench: Bench) -> None:
    """Numbers, windows, and the pairs of a SNACK, read most significant octet first, are what they must be."""
    peer = await bench.peer()
    peer.initial_sn = peer.sn = peer.acknowledged = UNEVEN
    answer = await peer.challenge()
    peer.established = True
    octets = fields(bench, answer)
    if octets[4:8] != UNEVEN.to_bytes(4, "big"):
        raise Violation("the expected number is not big-endian", answer, expected="01020304", seen=octets[4:8].hex())
    windows = {"the fixed header": octets[17:20], "the Sink Parameters": octets[64:67]}
    for where, window in windows.items():
        if not 4 <= int.from_bytes(window, "big") < 2**20:
            text = f"the window in {where} of ACK_CONNECT_REQ is no big-endian number of blocks"
            raise Violation(text, answer, expected="4 to 2^20 - 1", seen=window.hex())
    _, told = await gaps_told(bench, {0, 1, 2}, 5)
    pair = snack_of(bench, told)[:8]
    if pair != bytes.fromhex("0000000300000002"):
        text = "three packets missing and two behind them are not told big-endian"
        raise Violation(text, told, expected="0000000300000002", seen=pair.hex())


@case(REVISION, "2/integers-big-endian:initiator", role="initiator")
async def time_first(bench: Bench) -> None:
    """The first octets of INIT_CONNECT are a time within a day of ours; the initial number is that of the PERSIST."""
    peer = await bench.waiting_peer()
    greeting = await peer.hear_greeting()
    octets = fields(bench, greeting)[:8]
    if abs(int.from_bytes(octets, "big") - bench.unix_microseconds()) > 86_400 * 10**6:
        raise Violation("the timestamp of INIT_CONNECT is not big-endian, or not now", greeting, seen=octets.hex())
    await peer.send(peer.offer())
    request = await peer.hear_answer()
    await peer.send(peer.acceptance())
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True
    confirmation = await peer.expect(IN_STREAM)
    wanted, found = fields(bench, request)[24:28], fields(bench, confirmation)[:4]
    if wanted != found:
        text = "the first packet has not the initial number that was requested, octet for octet"
        raise Violation(text, confirmation, expected=wanted.hex(), seen=found.hex())


case(REVISION, "2/ultid-unique")(s04_layouts.different_ultids)


def forced_end_elsewhere(op: Op) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await peer.reach_active()
        goes_on = an(Op.KEEP_ALIVE) | (DATA & ending(False))
        for step in (5, -2):  # one that has not come yet, and one before the last that has
            await peer.send(op, flags=FLAG_EOT, sn=(peer.sn + step) & MASK)
            number = "a packet that never came" if step > 0 else "the packet before the last"
            text = f"{op} with EoT and the number of {number} ended the transaction"
            await peer.quiet(but=goes_on, otherwise=text)
            await peer.send(Op.PURE_DATA, b"goes on %d" % step)
            packet = await peer.expect(DATA & carrying(b"goes on %d" % step), otherwise=text)
            if packet.op is not Op.PURE_DATA or packet.ends:
                raise Violation(text, packet, expected="PURE_DATA", seen=peer.describe(packet))
            await peer.send(Op.KEEP_ALIVE)
            await peer.drain(bench.blink)

    script.__doc__ = f"{op} with EoT, numbered ahead of and before the last packet: the transaction goes on."
    return script


case(REVISION, "2/forced-end-number")(forced_end_elsewhere(Op.KEEP_ALIVE))
case(REVISION, "2/forced-end-number:ack-flush")(forced_end_elsewhere(Op.ACK_FLUSH))


@case(REVISION, "2/ack-connect-req-is-transaction")
async def whole_transaction(bench: Bench) -> None:
    """No ACK_FLUSH for ACK_CONNECT_REQ: the echo of our first packet comes all the same, from a PERSIST on."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await peer.send(Op.PERSIST, b"first", flags=FLAG_EOT)
    packet = await peer.expect(DATA, otherwise="without ACK_FLUSH for ACK_CONNECT_REQ no data comes")
    if packet.op is not Op.PERSIST or packet.sn != (peer.target_initial_sn + 1) & MASK:
        text = "what follows ACK_CONNECT_REQ does not begin a transaction"
        raise Violation(text, packet, expected="PERSIST", seen=peer.describe(packet))


@case(REVISION, "2/wrong-icc-dropped", quick=True)
async def wrong_icc(bench: Bench) -> None:
    """Data and acknowledgements with the ICC of another connection, of zeros, of the packet before: all are nothing."""
    other = await connected(bench)
    peer = await bench.peer()
    await peer.reach_committing2()
    before = peer.stream[-1].icc
    text = "a packet with a wrong ICC was answered"
    forged = (peer.packet(Op.PERSIST, b"forged", flags=FLAG_EOT), peer.packet(Op.ACK_FLUSH), peer.packet(Op.KEEP_ALIVE))
    for packet in forged:
        await peer.send_octets(peer.wire.encode(packet, other.protection(other.sn)), packet)
    for icc in (bytes(8), before):
        for op in (Op.ACK_FLUSH, Op.KEEP_ALIVE):
            await peer.send(peer.packet(op, icc=icc))
        await peer.send(peer.packet(Op.PERSIST, b"forged", flags=FLAG_EOT, icc=icc))
    await peer.quiet(but=repeats(peer), otherwise=text)
    await peer.send(Op.PERSIST, b"right", flags=FLAG_EOT, expected=unknown(peer))
    await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="after wrong ones the right packet was not taken")
    await peer.quiet(but=SNACKS | repeats(peer), otherwise="an ACK_FLUSH with a wrong ICC was taken")
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"right"), otherwise="something else than the right packet was delivered")


# 3.8: fields and numbers


@case(REVISION, "3.8/normal-header-layout", quick=True)
async def layout(bench: Bench) -> None:
    """Every field of every packet of a conversation is where it must be, with a value that we can tell."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    place = len(peer.received)
    number, known = peer.target_initial_sn, peer.sn
    for payload, op, flags in ((b"one", Op.PERSIST, 0), (b"two", Op.PURE_DATA, FLAG_EOT)):
        await peer.send(op, payload, flags=flags)
        await peer.drain()
        for packet in peer.received[place:]:
            octets = fields(bench, packet)
            sn, expected = int.from_bytes(octets[:4], "big"), int.from_bytes(octets[4:8], "big")
            if packet.authentic is not True:
                raise Violation("octets 8 to 15 are not the ICC of the packet", packet, seen=octets[8:16].hex())
            if not 0 <= later(sn, number) <= 8:
                text = "octets 0 to 3 are no number near that of ACK_CONNECT_REQ"
                raise Violation(text, packet, expected=f"{number} or a few more", seen=str(sn))
            if not later(known, expected) <= 0 <= later(peer.sn, expected):
                seen = str(expected)
                raise Violation("octets 4 to 7 are not the expected number", packet, expected=str(peer.sn), seen=seen)
            if octets[16] & ~FLAG_EOT:
                raise Violation("octet 16 has other flags than EoT", packet, seen=f"{octets[16]:#04x}")
            if not 4 <= int.from_bytes(octets[17:20], "big") < 2**20:
                raise Violation("octets 17 to 19 are no window", packet, seen=octets[17:20].hex())
            if int.from_bytes(octets[20:22], "big") < FIXED or octets[22] or octets[23] not in OPS.values():
                raise Violation("octets 20 to 23 are not the signature", packet, seen=octets[20:24].hex())
        place, known = len(peer.received), peer.sn
    echoed = b"".join(packet.payload for packet in peer.stream)
    if echoed != b"onetwo":
        raise Violation("payload does not begin where the signature says", peer.received[-1], seen=repr(echoed))


@case(REVISION, "3.8/numbers-wrap", quick=True)
async def wraps(bench: Bench) -> None:
    """Our numbers wrap in a transaction, 0 comes before FFFFFFFF: told as a gap, delivered in order, acknowledged."""
    peer = await bench.peer()
    peer.initial_sn = peer.sn = peer.acknowledged = peer.right_edge = 0xFFFFFFFD
    await peer.connect()
    await peer.send(Op.PERSIST, b"FFFFFFFE ")
    peer.sn = 0
    await peer.send(Op.PURE_DATA, b"0 ")
    told = await peer.expect(an(Op.KEEP_ALIVE), otherwise="a packet numbered 0 after FFFFFFFE draws no KEEP_ALIVE")
    while told.snack is None or not told.snack.gaps:
        told = await peer.expect(an(Op.KEEP_ALIVE), otherwise="0 is not told of as later than the missing FFFFFFFF")
    if told.acknowledged != MASK or told.snack.gaps != ((1, 1),):
        seen = f"{told.acknowledged:08X} {list(told.snack.gaps)}"
        raise Violation("the gap before 0 is told wrongly", told, expected="FFFFFFFF [(1, 1)]", seen=seen)
    await peer.send(Op.PURE_DATA, b"FFFFFFFF ", sn=MASK)
    await peer.send(Op.PURE_DATA, b"1", flags=FLAG_EOT)
    await peer.expect(FLUSH & acknowledging(2), otherwise="what was sent across the wrap is not acknowledged")
    while not peer.complete or len(peer.stream) < 2:
        await peer.expect(IN_STREAM)
    found = b"".join(packet.payload for packet in peer.stream)
    if found != b"FFFFFFFE FFFFFFFF 0 1":
        raise Violation("data was not delivered in the order of its numbers", peer.stream[-1], seen=repr(found))
    numbers = [packet.sn for packet in peer.stream]
    if any((b - a) & MASK != 1 for a, b in itertools.pairwise(numbers)):
        raise Violation(f"the target's in-band numbers are {numbers}", seen=str(numbers))


@case(REVISION, "3.8/out-of-band-number")
async def last_number(bench: Bench) -> None:
    """Acknowledgements have the newest number: none of an echo's three packets is acknowledged, all of them, some."""
    peer = await connected(bench)
    first = peer.expected
    sent = await peer.transaction(bytes(3000))
    while not peer.complete or peer.expected == first:
        await peer.reach(IN_STREAM)
    await peer.drain(bench.blink)
    known = (first, (first + 1) & MASK, peer.expected)
    for expected in known:
        await told_number(peer, peer.packet(Op.PURE_DATA, bytes(1000), flags=FLAG_EOT, sn=sent[-1].sn), expected)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    open_packet = await peer.send(Op.PERSIST, b"open")
    await peer.reach(DATA & carrying(b"open"))
    await peer.drain(bench.blink)
    await told_number(peer, open_packet, peer.expected, Op.KEEP_ALIVE)


async def told_number(peer: Peer, again: Packet, expected: int, op: Op = Op.ACK_FLUSH) -> None:
    """A packet that comes again draws an acknowledgement, numbered as the newest packet that we have."""
    await peer.drain(peer.bench.blink)
    newest = (peer.expected - 1) & MASK
    await peer.send(peer.packet(again.op, again.payload, flags=again.flags, sn=again.sn, expected=expected))
    packet = await peer.expect(an(op), otherwise=f"a packet that came again drew no {op}")
    if packet.sn != newest:
        text = f"{packet.name} has another number than the last in-band packet"
        raise Violation(text, packet, expected=str(newest), seen=str(packet.sn))


def counts_for_nothing(*numbers: Callable[[Peer], int]) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await peer.reach_committing2()
        for number in numbers:
            await peer.send(Op.KEEP_ALIVE, sn=number(peer) & MASK)
            await peer.send(Op.ACK_FLUSH, sn=number(peer) & MASK)
        await peer.drain(bench.blink)
        text = "a KEEP_ALIVE or ACK_FLUSH with a number outside of the window was believed: "
        await peer.expect(repeats(peer), REPEATS, otherwise=text + "nothing is repeated")
        await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT, expected=unknown(peer))
        await peer.reach(FLUSH & acknowledging(peer.sn))
        await peer.quiet(but=SNACKS | repeats(peer), otherwise=text + "the next echo has begun")
        await peer.send(Op.ACK_FLUSH)
        await peer.expect(DATA & carrying(b"next"))

    script.__doc__ = "KEEP_ALIVE and ACK_FLUSH with numbers far outside of the window: repeats come, no next echo does."
    return script


case(REVISION, "3.8/out-of-band-outside-window", slow=True)(
    counts_for_nothing(
        lambda peer: peer.right_edge + 1000, lambda peer: peer.sn + 2**31 - 1, lambda peer: peer.sn - 2**21
    )
)


# 3.8: expected numbers


@case(REVISION, "3.8/expected-is-first-missing", quick=True)
async def first_missing(bench: Bench) -> None:
    """Two packets come behind one that is missing: acknowledgements, and new data of an echo, expect that one."""
    peer = await bench.peer()
    await peer.reach_peer_commit()
    missing = peer.sn
    await peer.send(Op.PURE_DATA, b"later", sn=(missing + 1) & MASK)
    await peer.send(Op.PURE_DATA, b"still later", sn=(missing + 2) & MASK)
    came = [await peer.expect(SNACKS)]
    came += filter(SNACKS, await peer.drain())
    newest = (peer.expected - 1) & MASK
    peer.window = 64
    await peer.send(Op.KEEP_ALIVE)
    new = [packet for packet in await peer.drain() if packet.in_band and later(packet.sn, newest) > 0]
    if not new:
        raise Inconclusive("the window was opened, and the echo did not go on")
    came += new
    for packet in came:
        if packet.acknowledged != missing:
            text = f"{packet.name} expects another number than the missing one"
            raise Violation(text, packet, expected=str(missing), seen=str(packet.acknowledged))


case(REVISION, "3.8/expected-is-first-missing:out-of-band")(s04_layouts.cumulative)


def acknowledging_script(op: Op) -> Script:
    async def script(bench: Bench) -> None:
        peer = await slow_closable(bench, 0.2)
        known = peer.expected
        await peer.send(Op.PERSIST, b"first", expected=known)
        first = await peer.reach(DATA & carrying(b"first") & ending(False))
        await peer.send(Op.PURE_DATA, b"second", expected=known)
        second = await peer.reach(DATA & carrying(b"second") & ending(False))
        if op is Op.KEEP_ALIVE:
            await peer.send(op, expected=second.sn)
        else:
            await peer.send(op, b"third", expected=second.sn)
        await peer.drain(bench.blink)
        repeated = {packet.sn for packet in await peer.drain(REPEATS) if packet.in_band}
        if first.sn in repeated:
            raise Violation(f"what the expected number of a {op} acknowledges came again", first)
        if second.sn not in repeated:
            raise Violation(f"what the expected number of a {op} does not acknowledge never came again", second)

    script.__doc__ = f"The expected number of a {op} acknowledges one of two packets: the other alone comes again."
    return script


case(REVISION, "3.8/expected-acknowledges", slow=True, quick=True)(acknowledging_script(Op.PURE_DATA))
case(REVISION, "3.8/expected-acknowledges:keep-alive", slow=True)(acknowledging_script(Op.KEEP_ALIVE))


def beyond(peer: Peer, op: Op, step: int) -> Packet:
    payload, flags = (b"payload", FLAG_EOT) if op is Op.PERSIST else (b"", 0)
    return peer.packet(op, payload, flags=flags, expected=(peer.expected + step) & MASK)


case(REVISION, "3.8/expected-beyond-sent")(
    s04_malformed.dropped(
        "a packet that acknowledges what was not sent",
        *[lambda peer, step=step: beyond(peer, Op.PERSIST, step) for step in (1, 1000, 2**31 - 1)],
        lambda peer: beyond(peer, Op.RELEASE, 1),
    )
)


@case(REVISION, "3.8/expected-beyond-sent:ack-flush")
async def flush_beyond(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH acknowledge what was not sent: the next echo does not begin."""
    peer = await bench.peer()
    await peer.reach_committing2()
    for step in (1, 1000):
        await peer.send(Op.KEEP_ALIVE, expected=(peer.expected + step) & MASK)
        await peer.send(Op.ACK_FLUSH, expected=(peer.expected + step) & MASK)
    await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT, expected=unknown(peer))
    await peer.reach(FLUSH & acknowledging(peer.sn))
    text = "an ACK_FLUSH that acknowledges what was not sent ended the commitment"
    await peer.quiet(but=SNACKS | repeats(peer), otherwise=text)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"next"))


# 3.8: flags


@case(REVISION, "3.8/eot-flag-bit")
async def eot_bit(bench: Bench) -> None:
    """The flags of an echo are 0, and 80 at its end; of ours 01 ends nothing, 80 does."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"one ", flags=0x01)
    await peer.quiet(but=an(Op.KEEP_ALIVE) | (DATA & ending(False)), otherwise="flags of 01 ended a transaction")
    await peer.send(Op.KEEP_ALIVE)
    await peer.send(Op.PURE_DATA, b"two", flags=0x80)
    await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="flags of 80 did not end a transaction")
    while not peer.complete or len(peer.stream) < 2:
        await peer.expect(IN_STREAM, otherwise="the echo has no end with flags of 80")
    found = [fields(bench, packet)[16] for packet in peer.stream[1:]]
    wanted = [0] * (len(found) - 1) + [0x80]
    if found != wanted:
        raise Violation("an echo has other flags than EoT at its end", peer.stream[-1], seen=bytes(found).hex(" "))


@case(REVISION, "3.8/reserved-flags-zero")
async def reserved_zero(bench: Bench) -> None:
    """The four lowest flags of all packets of a conversation are 0, those of ACK_CONNECT_REQ, too."""
    peer = await conversation(bench)
    for packet in filter(CHECKED, peer.received):
        if flags := fields(bench, packet)[16] & RESERVED:
            raise Violation(f"{packet.name} has reserved flags set", packet, expected="0", seen=f"{flags:#04x}")


@case(REVISION, "3.8/reserved-flags-ignored")
async def reserved_ignored(bench: Bench) -> None:
    """Each reserved flag, and ECN, on data and on ACK_FLUSH: an echo comes each time, and the next one after it."""
    peer = await connected(bench)
    for flag in (0x01, 0x02, 0x04, 0x08, ECN, RESERVED | ECN):
        data = b"with flag %d" % flag
        await peer.send(Op.PERSIST, data, flags=FLAG_EOT | flag)
        await peer.expect(
            DATA & carrying(data),
            otherwise=f"with flag {flag:#04x} a packet, or the ACK_FLUSH before it, was not taken",
        )
        while not peer.complete:
            await peer.expect(IN_STREAM)
        await peer.send(Op.ACK_FLUSH, flags=flag)
        await peer.drain(bench.blink)
    await peer.transaction(b"at last")
    await peer.expect(DATA & carrying(b"at last"), otherwise="an ACK_FLUSH with reserved flags was not taken")
