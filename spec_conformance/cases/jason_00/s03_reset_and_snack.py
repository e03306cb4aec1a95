"""Sections 3.9 to 3.11: ACK_CONNECT_REQ, RESET, and the SNACK header."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07 import s04_malformed
from spec_conformance.cases.gao_07.s04_layouts import IDS, connected, conversation, gaps_told
from spec_conformance.cases.gao_07.s06_initiator import accepted, requested
from spec_conformance.cases.gao_07.s06_negotiation import greeted, rejection
from spec_conformance.cases.gao_07.s12_timeouts import COMMIT_LIMIT, must_live
from spec_conformance.cases.jason_00.s03_normal_header import fields, repeats, snack_of, unknown
from spec_conformance.expect import DATA, acknowledging, an, carrying
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Violation
from spec_conformance.wire.jason import FLAG_HMAC
from spec_conformance.wire.packet import FLAG_EOT, MASK, OUT_OF_BAND, Op, Packet, Snack, later

REVISION: Final = "jason-00"
FLUSH: Final = an(Op.ACK_FLUSH)
SNACKS: Final = an(Op.KEEP_ALIVE, Op.ACK_FLUSH)
IN_STREAM: Final = an(Op.PERSIST, Op.PURE_DATA)
HALF: Final = 2**31
"""Nothing is later than something else by as much (3.8)."""


# 3.9


@case(REVISION, "3.9/ack-connect-req-layout", quick=True)
async def acceptance_layout(bench: Bench) -> None:
    """ACK_CONNECT_REQ: signature 00 48 00 04 at 20, Sink Parameters that end with 00 18 00 11 at 68, then payload."""
    peer = await greeted(bench)
    await peer.send(peer.request())
    answer = await peer.expect(Op.ACK_CONNECT_REQ)
    peer.accepted(answer)
    peer.established = True
    octets = fields(bench, answer)
    found = {octets[20:24].hex(" "): "00 48 00 04", octets[68:72].hex(" "): "00 18 00 11"}
    for seen, wanted in found.items():
        if seen != wanted:
            raise Violation("a signature of ACK_CONNECT_REQ is not as it must be", answer, expected=wanted, seen=seen)
    if octets[4:8] != peer.initial_sn.to_bytes(4, "big"):
        raise Violation("octets 4 to 7 are not our initial number", answer, seen=octets[4:8].hex())
    if octets[56:60] != bench.service:
        raise Violation("octets 56 to 59 are not the listener's ULTID", answer, seen=octets[56:60].hex())


@case(REVISION, "3.9/eot-flag-set")
async def acceptance_ends(bench: Bench) -> None:
    """Octet 16 of ACK_CONNECT_REQ has 80, and that of its repeat for a repeated request."""
    peer = await greeted(bench)
    for _ in range(2):
        await peer.send(peer.request())
        answer = await peer.expect(Op.ACK_CONNECT_REQ)
        await bench.sleep(1.0)  # a responder may answer repeats only so often
        if not fields(bench, answer)[16] & 0x80:
            raise Violation("ACK_CONNECT_REQ has no EoT flag", answer, expected="EoT", seen=f"{answer.flags:#04x}")


@case(REVISION, "3.9/missing-eot-assumed", role="initiator", quick=True)
async def eot_assumed(bench: Bench) -> None:
    """ACK_CONNECT_REQ without EoT: a packet that comes early draws ACK_FLUSH, as after an end."""
    peer, _ = await requested(bench)
    await peer.send(peer.acceptance(flags=0))
    accepted(peer)
    await peer.expect(IN_STREAM, otherwise="an ACK_CONNECT_REQ without EoT was not taken")
    await peer.drain(bench.blink)
    early = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"early", sn=early, expected=peer.target_initial_sn)
    answer = await peer.expect(SNACKS, otherwise="an early packet drew no SNACK")
    if answer.op is not Op.ACK_FLUSH:
        text = "an early packet drew KEEP_ALIVE: for the client the transaction of ACK_CONNECT_REQ is open"
        raise Violation(text, answer, expected="ACK_FLUSH", seen=answer.name)


@case(REVISION, "3.9/payload-delivered", role="initiator", quick=True)
async def payload_delivered(bench: Bench) -> None:
    """A client that awaits one transaction: ACK_CONNECT_REQ without payload lets it wait on, one with payload is it."""
    for payload in (b"", b"an answer before the question"):
        peer = await bench.waiting_peer()
        await peer.accept(payload)
        closes = False
        for _ in range(5):  # its question may have several parts
            await peer.acknowledge()
            closes = closes or any(packet.op is Op.RELEASE for packet in await peer.drain())
        if closes and not payload:
            raise Inconclusive("the client closes before it has got anything")
        if payload and not closes:
            raise Violation("the payload of ACK_CONNECT_REQ was not delivered: the client waits on", expected="RELEASE")
        await peer.close()  # a client that is alone waits for the end of this connection


# 3.10


def reset_layout(bench: Bench, packet: Packet) -> bytes:
    """The fixed header of a RESET, which is all of it."""
    octets = fields(bench, packet)
    if octets[20:24] != b"\x00\x18\x00\x05" or len(octets) != 24:
        seen = f"{len(octets)} octets, {octets[20:24].hex(' ')}"
        raise Violation("RESET is not as it must be", packet, expected="24 octets, 00 18 00 05", seen=seen)
    return octets


def of_request(bench: Bench, peer: Peer, packet: Packet, cookie: bytes) -> None:
    octets = reset_layout(bench, packet)
    wanted = peer.timestamp.to_bytes(8, "big") + cookie
    if octets[:16] != wanted:
        text = "RESET has not the timestamp and the cookie of the CONNECT_REQUEST"
        raise Violation(text, packet, expected=wanted.hex(), seen=octets[:16].hex())


@case(REVISION, "3.10/answer-to-connect-request", alone=True)
async def no_room(bench: Bench) -> None:
    """More connections than there is room for: RESET of 24 octets, the request's timestamp at 0, its cookie at 8."""
    await rejection(bench)
    peer = bench.peers[-1]
    of_request(bench, peer, peer.received[-1], peer.cookie)


@case(REVISION, "3.10/answer-to-connect-request:cookie")
async def invented_cookie(bench: Bench) -> None:
    """CONNECT_REQUEST with an invented cookie: RESET of 24 octets, if any, its timestamp at 0, that cookie at 8."""
    peer = await greeted(bench)
    cookie = bench.random.randbytes(8)
    await peer.send(peer.request(cookie=cookie))
    for packet in await peer.quiet(but=an(Op.RESET), otherwise="CONNECT_REQUEST with an invented cookie was answered"):
        of_request(bench, peer, packet, cookie)


@case(REVISION, "3.10/answer-to-init-connect")
async def refused_greeting(bench: Bench) -> None:
    """INIT_CONNECT where nobody listens, and one from 1970: any RESET has its timestamp at 0 and check code at 8."""
    for ultid, timestamp in ((b"\x70\x01\x02\x03", bench.unix_microseconds()), (bench.service, 0)):
        peer = await bench.peer()
        peer.timestamp = timestamp
        await peer.send(Op.INIT_CONNECT, destination=ultid)
        for packet in await peer.drain():
            if packet.op is not Op.RESET:
                continue
            octets = reset_layout(bench, packet)
            wanted = timestamp.to_bytes(8, "big") + peer.check_code
            if octets[:16] != wanted:
                text = "RESET has not the timestamp and the check code of the INIT_CONNECT"
                raise Violation(text, packet, expected=wanted.hex(), seen=octets[:16].hex())


@case(REVISION, "3.10/reset-of-connection", "3.10/reset-layout", slow=True)
async def reset_of_connection(bench: Bench) -> None:
    """An echo is not acknowledged until it is given up: RESET has a number after it, what it expects, and an ICC."""
    peer = await bench.peer()
    await peer.reach_committing2()
    end = peer.stream[-1].sn
    for packet in await peer.drain(COMMIT_LIMIT + 20):
        if packet.op is not Op.RESET:
            continue
        octets = reset_layout(bench, packet)
        sn, expected = int.from_bytes(octets[:4], "big"), int.from_bytes(octets[4:8], "big")
        if not 0 <= later(sn, end) <= peer.window:
            text = "octets 0 to 3 of RESET are no number in our window"
            raise Violation(text, packet, expected=str((end + 1) & MASK), seen=str(sn))
        if expected != peer.sn:
            text = "octets 4 to 7 of RESET are not the number that the target expects"
            raise Violation(text, packet, expected=str(peer.sn), seen=str(expected))
        if packet.authentic is not True:
            text = "octets 8 to 15 of RESET are not the ICC of its header, reason included"
            raise Violation(text, packet, seen=octets[8:16].hex())
        if int.from_bytes(octets[16:20], "little") < int.from_bytes(octets[16:20], "big"):
            raise Lenient(f"the reason, {octets[16:20].hex()}, looks as if it were little-endian")
        return
    raise Lenient("the target gave its connection up in silence")


@case(REVISION, "3.10/reset-bad-icc-ignored", quick=True)
async def forged_resets(bench: Bench) -> None:
    """RESETs with an invented ICC, with another reason than was sealed, and in the words of the handshake."""
    peer = await connected(bench)
    sealed = peer.encode(peer.packet(Op.RESET, reason=1))
    altered = bytearray(sealed)
    altered[IDS + 19] ^= 2
    peer_words = peer.timestamp.to_bytes(8, "big") + peer.cookie
    handshake = sealed[:IDS] + peer_words + sealed[IDS + 16 :]
    await peer.send(peer.packet(Op.RESET, reason=1, icc=bench.random.randbytes(8)))
    for octets in (bytes(altered), handshake):
        await peer.send_octets(octets)
    await peer.quiet(otherwise="a RESET with a wrong ICC was answered")
    await must_live(peer, "a RESET came whose ICC is wrong")


@case(REVISION, "3.10/reset-outside-window-ignored", quick=True)
async def stray_resets(bench: Bench) -> None:
    """RESETs that verify, with numbers before and beyond the window: the connection goes on."""
    peer = await connected(bench)
    await peer.echo(b"numbers")
    for step in (-2, -1000, later(peer.right_edge, peer.sn) + 100, HALF - 1):
        await peer.send(Op.RESET, reason=1, sn=(peer.sn + step) & MASK)
        await peer.quiet(otherwise="a RESET with a number outside of the window was answered")
        await must_live(peer, f"a RESET came whose number is the left edge and {step}")
        while not peer.complete:
            await peer.reach(IN_STREAM)
        await peer.acknowledge()
        await peer.drain(bench.blink)


case(REVISION, "3.10/any-reason-taken")(s04_malformed.any_reason)


@case(REVISION, "3.10/any-reason-taken:mac", service="mac", needs=("mac",))
async def any_reason_under_mac(bench: Bench) -> None:
    """RESET under a MAC, whose flag stands in the first octet of the reason: the connection is over."""
    for reason in (0, 4711, 2**32 - 1):
        peer = await bench.peer()
        await peer.reach_keyed()
        await peer.send(Op.RESET, reason=reason | FLAG_HMAC << 24)  # A50
        await peer.drain(bench.blink)
        await peer.send(Op.PERSIST, b"too late", flags=FLAG_EOT | FLAG_HMAC)
        await peer.quiet(but=an(Op.RESET), otherwise=f"a RESET with reason {reason} under a MAC was not obeyed")


# 3.11


@case(REVISION, "3.11/snack-layout", quick=True)
async def snack_layout(bench: Bench) -> None:
    """Two gaps: the SNACK header is two pairs, a serial number and a signature, 24 octets."""
    _, packet = await gaps_told(bench, {0, 3}, 6)
    octets = snack_of(bench, packet)
    wanted = bytes.fromhex("00000001 00000002 00000001 00000002")
    if len(octets) != 24 or octets[:16] != wanted or octets[22:24] != b"\x00\x12":
        expected = f"{wanted.hex()} serial pointer 0012"
        raise Violation("a SNACK with two gaps is not as it must be", packet, expected=expected, seen=octets.hex())


@case(REVISION, "3.11/snack-without-gaps")
async def without_gaps(bench: Bench) -> None:
    """In order, and after a gap was filled: every SNACK header of KEEP_ALIVE and ACK_FLUSH has 8 octets."""
    peer = await conversation(bench)
    missing = peer.packet(Op.PERSIST, b"late")
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"early")
    await peer.drain()
    count = len(peer.received)
    await peer.send(missing)
    await peer.expect(an(Op.KEEP_ALIVE) & acknowledging(peer.sn), otherwise="a gap was filled, and no KEEP_ALIVE came")
    told = [packet for packet in peer.received if acknowledging(missing.sn)(packet) and SNACKS(packet)]
    plain = [packet for packet in peer.received[:count] if SNACKS(packet) and packet.acknowledged != missing.sn]
    plain += [packet for packet in told if packet.acknowledged == peer.sn]
    if {packet.op for packet in plain} != {Op.KEEP_ALIVE, Op.ACK_FLUSH}:
        raise Inconclusive("the target did not send both kinds")
    for packet in plain:
        octets = snack_of(bench, packet)
        if len(octets) != 8:
            text = f"the SNACK of a {packet.name} has pairs where nothing is missing"
            raise Violation(text, packet, expected="8 octets", seen=octets.hex())


@case(REVISION, "3.11/gap-entry-contents")
async def one_gap(bench: Bench) -> None:
    """Three packets are missing, two have come after them: expected is the first of the three, the pair is (3, 2)."""
    snack, packet = await gaps_told(bench, {0, 1, 2}, 5)
    peer = bench.peers[-1]
    wanted = (peer.sn - 5) & MASK
    if packet.expected != wanted:
        text = "a gap does not begin at the expected number"
        raise Violation(text, packet, expected=str(wanted), seen=str(packet.expected))
    if snack.gaps != ((3, 2),):
        raise Violation("a gap is described wrongly", packet, expected="[(3, 2)]", seen=str(list(snack.gaps)))


@case(REVISION, "3.11/one-entry-per-gap")
async def three_gaps(bench: Bench) -> None:
    """Of packets 0 to 6 there are 1, 3 and 6: three pairs, in the order of the numbers."""
    snack, packet = await gaps_told(bench, {0, 2, 4, 5}, 7)
    wanted = ((1, 1), (1, 1), (2, 1))
    if snack.gaps != wanted:
        raise Violation("gaps are described wrongly", packet, expected=str(list(wanted)), seen=str(list(snack.gaps)))


@case(REVISION, "3.11/serial-goes-up", quick=True)
async def serials(bench: Bench) -> None:
    """KEEP_ALIVEs and ACK_FLUSHes together, some with one sequence number: each serial is one more than the last."""
    peer = await conversation(bench)
    last = await peer.send(Op.PERSIST, b"again and again")
    for _ in range(3):
        await peer.drain()
        await peer.send(last)
    await peer.drain()
    found = [packet for packet in peer.received if packet.op in OUT_OF_BAND and packet.authentic]
    if len({packet.sn for packet in found}) == len(found):
        raise Inconclusive("no two acknowledgements have one sequence number")
    for before, packet in itertools.pairwise(found):
        first, second = serial(before), serial(packet)
        if second != (first + 1) & MASK:
            text = f"after the serial {first} comes {second}"
            raise Violation(text, packet, expected=str((first + 1) & MASK), seen=str(second))


def serial(packet: Packet) -> int:
    if packet.snack is None or packet.snack.serial is None:
        raise Violation(f"{packet.name} has no SNACK", packet)
    return packet.snack.serial


@case(REVISION, "3.11/forged-serial-not-kept", quick=True)
async def forged_serial(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH with very high serials and wrong ICCs: the right ACK_FLUSH after them still counts."""
    peer = await bench.peer()
    await peer.reach_committing2()
    for op in (Op.KEEP_ALIVE, Op.ACK_FLUSH):
        for step in (1000, HALF - 1000, HALF - 1):
            await peer.send(op, serial=(peer.serial + step) & MASK, icc=bench.random.randbytes(8))
    await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT, expected=unknown(peer))
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    await peer.send(Op.ACK_FLUSH)
    await peer.expect(DATA & carrying(b"next"), otherwise="a forged serial keeps the target from taking right ones")


@case(REVISION, "3.11/ranges-beyond-sent-harmless", slow=True, quick=True)
async def ranges_beyond(bench: Bench) -> None:
    """SNACKs with gaps and runs far beyond the last packet: no new number comes, and the connection goes on."""
    peer = await bench.peer()
    await peer.reach_committing2()
    wide = ((1, 500), (500, 1), (MASK, MASK), (1, MASK), (HALF, 1))
    for gaps in (*[(pair,) for pair in wide], wide, ((1, 1),) * 100):
        packet = peer.packet(Op.KEEP_ALIVE, expected=unknown(peer))
        await peer.send(replace(packet, extensions=(Snack(gaps, serial=peer.serial),)))
        peer.serial += 1
        text = f"a SNACK with {gaps[0]} drew something else than repeats"
        await peer.quiet(1.0, but=repeats(peer), otherwise=text)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await still_well(peer)


async def still_well(peer: Peer) -> None:
    await peer.transaction(b"still well")
    await peer.expect(DATA & carrying(b"still well"), otherwise="after SNACKs beyond what was sent nothing is echoed")
