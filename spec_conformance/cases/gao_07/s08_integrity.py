"""Section 8.1: what protects packets.

A target whose check codes are wrong gets nowhere with a right peer, so these cases read its first packets whatever
their codes are, and find out which mistake makes such a code.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b, blake2s, sha256
from itertools import permutations
from typing import Literal, TypeAlias

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastcrc import crc64

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, Want, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.keys import TAG, Aead, Crc64, Frame, Mac, Protection
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION = "gao-07"
CODES: dict[int, Op] = {7: Op.KEEP_ALIVE, 10: Op.ACK_FLUSH, 12: Op.MULTIPLY}
"""Operations of out-of-band packets (4.4.1)."""
ICC_AT = 16
FIXED = 24
IDS = 8
ENDS = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True)
FLUSH = an(Op.ACK_FLUSH)
Wrong: TypeAlias = Mapping[str, Protection]
"""Mistakes in words that follow "its check code is", and what each of them makes of a packet."""
Twist: TypeAlias = Callable[[Frame], Frame]


@dataclass(frozen=True, slots=True)
class Twisted:
    """A protection that is right but for what it takes a packet to be."""

    right: Protection
    twist: Twist
    mode: str = "twisted"

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        icc, body = self.right.seal(self.twist(frame))
        return icc, body if isinstance(self.right, Aead) else frame.body

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        return self.right.open(self.twist(frame), icc)


@dataclass(frozen=True, slots=True)
class Coded:
    """A check code that some function makes, over a payload in clear."""

    code: Callable[[Frame], bytes]
    mode: str = "coded"

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        return self.code(frame), frame.body

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        return frame.body if self.code(frame) == icc else None


def frame_of(datagram: bytes) -> tuple[Frame, bytes]:
    """A datagram cut up for its check, and its check code."""
    fixed, body = datagram[IDS : IDS + FIXED], datagram[IDS + FIXED :]
    mask = fixed[:4] if fixed[0] in CODES else bytes(4)
    return Frame(datagram[:IDS], fixed[:ICC_AT] + bytes(TAG), ICC_AT, b"", body, fixed[8:16], mask, 0), fixed[ICC_AT:]


def mistake(bench: Bench, packet: Packet, right: Protection, wrong: Wrong) -> str | None:
    """Which mistake has made the check code: None if it is right, nothing in words if it is another one."""
    frame, icc = frame_of(bench.octets_of(packet))
    if right.open(frame, icc) is not None:
        return None
    return next((words for words, protection in wrong.items() if protection.open(frame, icc) is not None), "")


def judge(bench: Bench, packet: Packet, right: Protection, wrong: Wrong) -> None:
    """Violation if one of these mistakes made the check code; one that is wrong otherwise belongs to other cases."""
    words = mistake(bench, packet, right, wrong)
    if words:
        raise Violation(f"the check code of {packet.name} is {words}", packet, seen=icc_of(bench, packet))
    if words == "":
        raise Inconclusive(f"the check code of {packet.name} is wrong in another way", packet)


def icc_of(bench: Bench, packet: Packet) -> str:
    return frame_of(bench.octets_of(packet))[1].hex()


def covered(bench: Bench, packet: Packet) -> None:
    """The check code of the packet is right."""
    if packet.authentic is not True:
        raise Violation(f"the check code of {packet.name} is wrong", packet, seen=icc_of(bench, packet))


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def swapped(frame: Frame) -> Frame:
    return replace(frame, ids=frame.ids[4:] + frame.ids[:4])


def no_pair(frame: Frame) -> Frame:
    return replace(frame, ids=bytes(IDS))


def header_only(frame: Frame) -> Frame:
    return replace(frame, body=b"")


def without_payload(frame: Frame) -> Frame:
    return replace(frame, body=frame.body[: int.from_bytes(frame.head[2:4], "big") - FIXED])


def without_extensions(frame: Frame) -> Frame:
    return replace(frame, body=frame.body[int.from_bytes(frame.head[2:4], "big") - FIXED :])


def parts_of_packet(right: Protection) -> dict[str, Protection]:
    """Check codes that do not cover the whole packet."""
    twists: dict[str, Twist] = {
        "that of the fixed header alone": header_only,
        "that of the packet without its payload": without_payload,
        "that of the packet without its extension headers": without_extensions,
    }
    return {words: Twisted(right, twist) for words, twist in twists.items()}


async def heard(peer: Peer, want: Want) -> Packet:
    """The next packet that is wanted, whatever its check code is."""
    seen = []
    while (packet := await peer.next()) is not None:
        if want(packet):
            return packet
        seen.append(peer.describe(packet))
    raise Inconclusive(f"on the way: no {want.words}: {', '.join(seen) or 'nothing'} came")


def repeats(peer: Peer) -> Want:
    """What has come already: the target may repeat it until it hears that it has arrived."""
    expected = peer.expected
    return Want("a repeat", lambda packet: packet.in_band and later(packet.sn, expected) < 0)


async def refuses(peer: Peer, wrong: Wrong, packet: Packet) -> None:
    """The packet is dropped with these check codes."""
    old = repeats(peer)
    for words, protection in wrong.items():
        await peer.send_octets(peer.wire.encode(packet, protection))
        await peer.quiet(but=old, otherwise=f"{packet.name} was taken although its check code is {words}")


async def takes(peer: Peer, packet: Packet) -> None:
    """The packet, which ends our transaction, is taken with the right check code, and comes back."""
    await peer.send(packet)
    peer.sn = (peer.sn + 1) & MASK
    answer = await peer.read_transaction()
    if answer != packet.payload:
        raise Violation(f"{answer[:32]!r} was delivered, not the payload of the right packet alone", peer.received[-1])


async def refuses_altered(peer: Peer, octets: bytes, *, first: int = IDS) -> None:
    """A copy of the datagram with one bit changed in any of its octets is dropped."""
    old = repeats(peer)
    for place in range(first, len(octets)):
        copy = bytearray(octets)
        copy[place] ^= 1 << place % 8
        await peer.send_octets(bytes(copy))
        await peer.quiet(peer.bench.blink, but=old, otherwise=f"a packet with its octet {place} altered was taken")
    await peer.quiet(but=old, otherwise="a packet with an altered octet was taken")


def question(peer: Peer, payload: bytes = b"is this packet right?") -> Packet:
    """A transaction of one packet, which does not take its number yet."""
    return peer.packet(Op.PERSIST, payload, flags=FLAG_EOT)


async def sane(bench: Bench) -> Peer:
    """A connection over which an echo has come, under the key if the service installs one."""
    peer = await bench.peer()
    if bench.service_name == "echo":
        await peer.connect()
        await peer.echo(b"sane")
    else:
        await peer.reach_keyed()
    return peer


async def waits_for_flush(bench: Bench) -> Peer:
    """The target echoes another transaction when ACK_FLUSH for the one before comes."""
    peer = await sane(bench)
    await peer.transaction(b"before")
    await peer.reach(ENDS & acknowledging(peer.sn))
    await peer.transaction(b"after")
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    return peer


async def takes_flush(peer: Peer, flush: Packet) -> None:
    await peer.send(flush)
    await peer.expect(DATA & carrying(b"after"), otherwise="after forged ACK_FLUSHes the right one is not taken")


# 8.1.1


async def requested(bench: Bench) -> tuple[Peer, Packet]:
    """The target's ACK_CONNECT_REQ, whatever its check code is."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    await peer.send(peer.request())
    answer = await heard(peer, an(Op.ACK_CONNECT_REQ))
    peer.accepted(answer)
    peer.established = True
    return peer, answer


async def confirmed(peer: Peer) -> None:
    """The connection goes on as it should, an echo included."""
    await peer.send(Op.NULCOMMIT)
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.echo(b"sane")


def settled(peer: Peer) -> Crc64:
    """What the handshake has made."""
    protection = peer.sending[0].protection
    assert isinstance(protection, Crc64)
    return protection


def crc(
    peer: Peer,
    function: Callable[[bytes, int], int] = crc64.ecma_182,
    *,
    parts: tuple[bytes, ...] | None = None,
    pair: Callable[[bytes], int] = lambda ids: int.from_bytes(ids, "big"),
    cover: Callable[[Frame, bytes], bytes] = lambda frame, first: frame.filled(first) + frame.body,
    begin: int | None = 0,
    write: Literal["big", "little"] = "big",
) -> Coded:
    """CRC64 as 8.1.1 has it, but for what is given; `begin` None: the second sum goes on from the first."""
    octets = b"".join(words_of(peer) if parts is None else parts)

    def code(frame: Frame) -> bytes:
        first = function(octets, pair(frame.ids))
        whole = cover(frame, first.to_bytes(TAG, write))
        return function(whole, first if begin is None else begin).to_bytes(TAG, write)

    return Coded(code)


def words_of(peer: Peer) -> tuple[bytes, ...]:
    """What the first sum takes, in order."""
    time = peer.timestamp.to_bytes(8, "big")
    return peer.check_code, peer.cookie, peer.salt + peer.time_delta, time


@case(REVISION, "8.1.1/crc64-from-ack-connect-req", quick=True)
async def from_the_first(bench: Bench) -> None:
    """The check code of ACK_CONNECT_REQ is that of the handshake just made."""
    peer, answer = await requested(bench)
    frame, icc = frame_of(bench.octets_of(answer))
    right, _ = settled(peer).seal(frame)
    if icc != right:
        raise Violation("ACK_CONNECT_REQ has a wrong check code", answer, expected=right.hex(), seen=icc.hex())


@case(REVISION, "8.1.1/crc64-until-key")
async def until_key(bench: Bench) -> None:
    """Data, acknowledgements, and what follows our RELEASE: all have CRC64 as no key is installed."""
    peer, answer = await requested(bench)
    if answer.authentic is not True:
        raise Inconclusive("the check code of ACK_CONNECT_REQ is wrong already", answer)
    await peer.send(Op.NULCOMMIT)
    await peer.drain()
    for _ in range(2):
        await peer.send(Op.PERSIST, bytes(1000))
        await peer.drain()
        await peer.send(Op.PURE_DATA, bytes(2000), flags=FLAG_EOT)
        await peer.drain()
        await peer.acknowledge()
        await peer.drain(bench.blink)
    await peer.send(Op.RELEASE)
    await peer.drain()
    for packet in peer.received:
        if packet.in_band or packet.out_of_band:
            covered(bench, packet)
    missing = {Op.PERSIST, Op.PURE_DATA, Op.KEEP_ALIVE, Op.ACK_FLUSH} - {packet.op for packet in peer.received}
    if missing:
        raise Inconclusive(f"the target sent no {', '.join(sorted(missing))}")


@case(REVISION, "8.1.1/crc64-polynomial")
async def polynomial(bench: Bench) -> None:
    """ACK_CONNECT_REQ has no check code of another CRC of 64 bits."""
    peer, answer = await requested(bench)
    others = {
        "of CRC-64/XZ, which reflects": crc64.xz,
        "of CRC-64/WE, which inverts": crc64.we,
        "of CRC-64/GO-ISO, which reflects": crc64.go_iso,
        "of CRC-64/TMS570, which is ISO's": crc64.tms570_iso,
    }
    judge(bench, answer, settled(peer), {words: crc(peer, function) for words, function in others.items()})


@case(REVISION, "8.1.1/start-value-is-pair")
async def start_value(bench: Bench) -> None:
    """The first sum of ACK_CONNECT_REQ starts neither with the ULTIDs in another order nor without them."""
    peer, answer = await requested(bench)
    wrong = {
        "one whose sum starts with the receiver's ULTID": crc(
            peer, pair=lambda ids: int.from_bytes(ids[4:] + ids[:4], "big")
        ),
        "one whose sum starts with the pair read from the right": crc(
            peer, pair=lambda ids: int.from_bytes(ids, "little")
        ),
        "one whose sum starts with both ULTIDs read from the right": crc(
            peer, pair=lambda ids: int.from_bytes(ids[3::-1] + ids[:3:-1], "big")
        ),
        "one whose sum starts at 0": crc(peer, pair=lambda ids: 0),
        "one whose sum starts at 0 and takes the pair for data": crc(
            peer, parts=(answer.source, answer.destination, *words_of(peer)), pair=lambda ids: 0
        ),
    }
    judge(bench, answer, settled(peer), wrong)


@case(REVISION, "8.1.1/pair-in-wrong-order", quick=True)
async def wrong_order(bench: Bench) -> None:
    """A PERSIST whose sum starts with the target's ULTID is dropped, the right one is taken."""
    peer = await sane(bench)
    packet = question(peer)
    await refuses(peer, {"that of the other direction": Twisted(settled(peer), swapped)}, packet)
    await takes(peer, packet)


@case(REVISION, "8.1.1/offered-ultid-in-pair")
async def offered(bench: Bench) -> None:
    """The listener's ULTID makes no check code of the target's, and none that it takes."""
    peer, answer = await requested(bench)
    right = settled(peer)
    theirs = Twisted(right, lambda frame: replace(frame, ids=bench.service + frame.ids[4:]))
    judge(bench, answer, right, {"made with the ULTID of the listener": theirs})
    await confirmed(peer)
    ours = Twisted(right, lambda frame: replace(frame, ids=frame.ids[:4] + bench.service))
    packet = question(peer)
    await refuses(peer, {"made with the ULTID of the listener": ours}, packet)
    await takes(peer, packet)


@case(REVISION, "8.1.1/accumulation-order")
async def order_of_words(bench: Bench) -> None:
    """The words of the handshake were not summed in another order, nor one of them with its octets reversed."""
    peer, answer = await requested(bench)
    names = "Init-Check-Code", "Cookie", "Salt and Time Delta", "Timestamp"
    right = words_of(peer)
    mixed = peer.time_delta + peer.salt
    wrong: dict[str, Protection] = {}
    for turn in permutations(range(4)):
        order = ", ".join(names[index] for index in turn)
        parts = tuple(right[index] for index in turn)
        if parts != right:
            wrong[f"made in the order {order}"] = crc(peer, parts=parts)
        parts = tuple(mixed if index == 2 else right[index] for index in turn)
        wrong[f"made in the order {order}, Time Delta on the left"] = crc(peer, parts=parts)
    for place, name in enumerate(names):
        parts = (*right[:place], right[place][::-1], *right[place + 1 :])
        wrong[f"made with {name} from right to left"] = crc(peer, parts=parts)
        wrong[f"made without {name}"] = crc(peer, parts=(*right[:place], *right[place + 1 :]))
    judge(bench, answer, settled(peer), wrong)


@case(REVISION, "8.1.1/other-handshake-values")
async def other_values(bench: Bench) -> None:
    """Check codes of another connection, and with one value of the handshake altered, are refused."""
    peer = await sane(bench)
    other = await sane(bench)
    right = settled(peer)
    flipped = bytes([1]) + bytes(7)
    wrong = {
        "made with the values of another connection": settled(other),
        "made with another Cookie": replace(right, cookie=xor(right.cookie, flipped)),
        "made with another Init-Check-Code": replace(right, check_code=xor(right.check_code, flipped)),
        "made with another Salt": replace(right, salt=xor(right.salt, flipped[:4])),
        "made with another Time Delta": replace(right, time_delta=xor(right.time_delta, flipped[:4])),
        "made with another Timestamp": replace(right, timestamp=right.timestamp ^ 1),
    }
    packet = question(peer)
    await refuses(peer, wrong, packet)
    await takes(peer, packet)


async def speaks(peer: Peer, right: Protection, wrong: Wrong) -> list[Packet]:
    """What a packet with payload draws; if the right one draws nothing, the target may take one that is wrong."""
    packet = question(peer)
    for words, protection in {"": right, **wrong}.items():
        await peer.send_octets(peer.wire.encode(packet, protection))
        found = await peer.drain()
        if found and words:
            raise Violation(f"the right packet was dropped, and taken when its check code was {words}", found[0])
        if found:
            return found
    raise Inconclusive("no packet with payload was answered, whatever it covered")


@case(REVISION, "8.1.1/second-sum-whole-packet")
async def whole_packet(bench: Bench) -> None:
    """Packets with payload, with extension headers and with neither: the sum is made over all of each, from 0 on."""
    peer, answer = await requested(bench)
    right = settled(peer)
    wrong: dict[str, Protection] = parts_of_packet(right)
    wrong["one whose second sum goes on from the first"] = crc(peer, begin=None)
    wrong["one whose second sum starts at -1"] = crc(peer, begin=2**64 - 1)
    wrong["written from right to left"] = crc(peer, write="little")
    wrong["made with zeros in place of the first sum"] = crc(
        peer, cover=lambda frame, first: frame.filled(bytes(TAG)) + frame.body
    )
    judge(bench, answer, right, wrong)
    await peer.send(Op.NULCOMMIT)
    found = await peer.drain() + await speaks(peer, right, wrong)
    for packet in found:
        judge(bench, packet, right, wrong)
    bodies = {packet.in_band for packet in found if packet.payload or packet.extensions}
    if bodies != {True, False}:
        raise Inconclusive("the target sent no packet with payload, or none with extension headers")


@case(REVISION, "8.1.1/udp-ultids-left-out")
async def ultids_left_out(bench: Bench) -> None:
    """A sum over the ULTIDs of the datagram, too, is in none of the target's packets, nor in one that it takes."""
    peer, answer = await requested(bench)
    wrong = {
        "summed with the ULTIDs in front": crc(
            peer, cover=lambda frame, first: frame.ids + frame.filled(first) + frame.body
        )
    }
    judge(bench, answer, settled(peer), wrong)
    await confirmed(peer)
    packet = question(peer)
    await refuses(peer, wrong, packet)
    await takes(peer, packet)


async def altered(bench: Bench) -> None:
    """Octet by octet, PERSIST and ACK_FLUSH with its SNACK are altered: nothing happens till they are right."""
    peer = await waits_for_flush(bench)
    flush = peer.packet(Op.ACK_FLUSH)
    await refuses_altered(peer, peer.encode(flush))
    await takes_flush(peer, flush)
    other = await sane(bench)
    packet = question(other)
    await refuses_altered(other, other.encode(packet))
    await takes(other, packet)


case(REVISION, "8.1.1/altered-octet-dropped", quick=True)(altered)
case(REVISION, "8.1.2/mac-altered-octet-dropped", service="mac", needs=("mac",), quick=True)(altered)


# 8.1.2, 8.1.3: under a key


async def installed(bench: Bench) -> tuple[Peer, Packet]:
    """The target's first in-band packet after the key was installed, whatever its check code is."""
    peer = await bench.peer()
    await peer.connect()
    await peer.transaction(b"let us install the key")
    await peer.reach(ENDS & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    peer.install_agreed()
    first = peer.receiving[-1].first
    await peer.send(Op.ACK_FLUSH)
    under_key = Want("packet under the key", lambda packet: packet.in_band and later(packet.sn, first) >= 0)
    for packet in await peer.drain():
        if under_key(packet):
            return peer, packet
    await peer.send(question(peer))
    return peer, await heard(peer, under_key)


async def neither_sent_nor_taken(bench: Bench, peer: Peer, answer: Packet, wrong: Wrong) -> None:
    """The answer was made with none of these mistakes, and a packet that is made so is dropped."""
    judge(bench, answer, peer.receiving[-1].protection, wrong)
    await peer.drain()
    await peer.acknowledge()
    await peer.echo(b"sane")
    packet = question(peer)
    await refuses(peer, wrong, packet)
    await takes(peer, packet)


def mac_of(peer: Peer) -> Mac:
    protection = peer.sending[-1].protection
    assert isinstance(protection, Mac)
    return protection


def aead_of(peer: Peer) -> Aead:
    protection = peer.sending[-1].protection
    assert isinstance(protection, Aead)
    return protection


def whole(frame: Frame) -> bytes:
    """What the keyed hash covers."""
    return frame.filled(frame.ids) + frame.body


@case(REVISION, "8.1.2/mac-after-installation", service="mac", needs=("mac",), quick=True)
async def keyed_hash(bench: Bench) -> None:
    """Packets after installation have no CRC64 but a keyed hash, and the payload can be read in them."""
    peer, answer = await installed(bench)
    judge(bench, answer, mac_of(peer), {"still CRC64": settled(peer)})
    await peer.drain()
    await peer.acknowledge()
    data = bench.random.randbytes(2500)
    start = len(peer.stream)
    await peer.transaction(data)
    if await peer.read_transaction() != data:
        raise Violation("what was sent under the keyed hash did not come back as it was", peer.received[-1])
    for packet in peer.stream[start:]:
        covered(bench, packet)
        if packet.payload and packet.payload not in data:
            raise Violation("a packet that is authenticated only has not its payload in clear", packet)


@case(REVISION, "8.1.2/method-not-from-flags", service="mac", needs=("mac",))
async def no_flag(bench: Bench) -> None:
    """With each of the reserved flags set, the keyed hash is taken and CRC64 is not."""
    peer = await sane(bench)
    for flag in (1, 2, 4, 7):
        packet = replace(question(peer), flags=FLAG_EOT | flag)
        await refuses(peer, {"CRC64": settled(peer)}, packet)
        await takes(peer, packet)
        await peer.drain(bench.blink)


@case(REVISION, "8.1.2/mac-covers-whole-packet", service="mac", needs=("mac",))
async def mac_whole_packet(bench: Bench) -> None:
    """The hashes of a packet with payload and of one with a SNACK are over all of it, and so are those it takes."""
    peer, answer = await installed(bench)
    right = mac_of(peer)
    wrong = parts_of_packet(right)
    wrong["that of the packet without its fixed header"] = Coded(
        lambda frame: blake2b(frame.ids + frame.body, key=right.key, digest_size=TAG).digest()
    )
    judge(bench, answer, right, wrong)
    await peer.drain()
    await peer.acknowledge()
    found = await speaks(peer, right, wrong)
    for packet in found:
        judge(bench, packet, right, wrong)
    bodies = {packet.in_band for packet in found if packet.payload or packet.extensions}
    if bodies != {True, False}:
        raise Inconclusive("the target sent no packet with payload, or none with extension headers")


@case(REVISION, "8.1.2/keyed-blake2b-of-eight", service="mac", needs=("mac",))
async def which_hash(bench: Bench) -> None:
    """The hash is no longer digest that was cut, no BLAKE2s, and no HMAC; nor is one of these taken."""
    peer, answer = await installed(bench)
    right = mac_of(peer)
    short = right.key[:32]
    wrong = {
        "the front of BLAKE2b-512": Coded(lambda frame: blake2b(whole(frame), key=right.key).digest()[:TAG]),
        "the front of BLAKE2b-256": Coded(
            lambda frame: blake2b(whole(frame), key=right.key, digest_size=32).digest()[:TAG]
        ),
        "the end of BLAKE2b-512": Coded(lambda frame: blake2b(whole(frame), key=right.key).digest()[-TAG:]),
        "BLAKE2s of eight octets": Coded(lambda frame: blake2s(whole(frame), key=short, digest_size=TAG).digest()),
        "the front of BLAKE2s-256": Coded(lambda frame: blake2s(whole(frame), key=short).digest()[:TAG]),
        "the front of HMAC-SHA-256": Coded(lambda frame: hmac.digest(right.key, whole(frame), sha256)[:TAG]),
        "BLAKE2b without a key": Coded(lambda frame: blake2b(whole(frame), digest_size=TAG).digest()),
    }
    await neither_sent_nor_taken(bench, peer, answer, wrong)


PAIRS: dict[str, Twist] = {
    "made with the receiver's ULTID on the left": swapped,
    "made with zeros in place of the ULTIDs": no_pair,
    "made with the sender's ULTID twice": lambda frame: replace(frame, ids=frame.ids[:4] * 2),
    "made with both ULTIDs from right to left": lambda frame: replace(frame, ids=frame.ids[3::-1] + frame.ids[:3:-1]),
}
"""Mistakes with what the ICC field holds while the check code is made."""


async def pair_in_field(bench: Bench) -> None:
    """The target's first packet under the key was made with its own ULTID on the left, ours on the right."""
    peer, answer = await installed(bench)
    right = peer.receiving[-1].protection
    judge(bench, answer, right, {words: Twisted(right, twist) for words, twist in PAIRS.items()})


case(REVISION, "8.1.2/mac-pair-in-icc-field", service="mac", needs=("mac",))(pair_in_field)
case(REVISION, "8.1.3/ultids-in-aad", service="keyed", needs=("aead",))(pair_in_field)


async def pair_swapped(bench: Bench) -> None:
    """A packet made with the target's ULTID on the left is dropped, the right one is taken."""
    peer = await sane(bench)
    packet = question(peer)
    await refuses(peer, {words: Twisted(peer.sending[-1].protection, twist) for words, twist in PAIRS.items()}, packet)
    await takes(peer, packet)


case(REVISION, "8.1.2/mac-pair-swapped", service="mac", needs=("mac",))(pair_swapped)
case(REVISION, "8.1.3/aad-pair-swapped", service="keyed", needs=("aead",))(pair_swapped)


# 8.1.3


@case(REVISION, "8.1.3/gcm-aes-alone", service="keyed", needs=("aead",), quick=True)
async def sealed(bench: Bench) -> None:
    """All packets of an echo after installation open with AES-GCM, and the payload cannot be read in them."""
    peer, answer = await installed(bench)
    judge(bench, answer, aead_of(peer), {"still CRC64": settled(peer)})
    await peer.drain()
    await peer.acknowledge()
    data = bytes(3000)
    start = len(peer.stream)
    await peer.transaction(data)
    if await peer.read_transaction() != data:
        raise Violation("what was sent sealed did not come back as it was", peer.received[-1])
    for packet in peer.stream[start:]:
        covered(bench, packet)
        if packet.payload and packet.payload[:16] in bench.octets_of(packet):
            raise Violation("a sealed packet has its payload in clear", packet)


@case(REVISION, "8.1.3/both-key-lengths", service="keyed", needs=("aead",))
async def key_length(bench: Bench) -> None:
    """The key has the length that the profile says: one of the other length opens nothing either way."""
    peer, answer = await installed(bench)
    profile = bench.profile
    other = Aead.of_material(profile.key, 384 - profile.key_bits)
    wrong = {f"made with a key of {384 - profile.key_bits} bits": other}
    await neither_sent_nor_taken(bench, peer, answer, wrong)


def vectors(right: Aead) -> dict[str, Twist]:
    """Mistakes with the initialization vector."""

    def back(frame: Frame) -> Frame:
        return replace(frame, mask=xor(right.salt, frame.iv[:4]), iv=frame.iv[4:] + right.salt)

    return {
        "made with the expected number in front of the number": lambda frame: replace(
            frame, iv=frame.iv[4:] + frame.iv[:4]
        ),
        "made with both numbers from right to left": lambda frame: replace(frame, iv=frame.iv[3::-1] + frame.iv[:3:-1]),
        "made with the salt at the end of the IV": back,
        "made with the salt from right to left": lambda frame: replace(frame, mask=xor(right.salt, right.salt[::-1])),
        "made without the salt": lambda frame: replace(frame, mask=right.salt),
        "made without the number": lambda frame: replace(frame, iv=bytes(4) + frame.iv[4:]),
        "made without the expected number": lambda frame: replace(frame, iv=frame.iv[:4] + bytes(4)),
    }


@case(REVISION, "8.1.3/iv-layout", service="keyed", needs=("aead",))
async def vector(bench: Bench) -> None:
    """The IV is salt, number, expected number and nothing else, both ways."""
    peer, answer = await installed(bench)
    right = aead_of(peer)
    wrong = {words: Twisted(right, twist) for words, twist in vectors(right).items()}
    await neither_sent_nor_taken(bench, peer, answer, wrong)


def extensions_clear(frame: Frame) -> Frame:
    size = int.from_bytes(frame.head[2:4], "big") - FIXED
    return replace(frame, clear=frame.body[:size], body=frame.body[size:])


@case(REVISION, "8.1.3/encrypted-after-fixed-header", service="keyed", needs=("aead",))
async def what_is_encrypted(bench: Bench) -> None:
    """The fixed header can be read; the SNACK of an acknowledgement cannot, and opens together with the rest."""
    peer, _ = await installed(bench)
    await peer.drain()
    await peer.acknowledge()
    packet = question(peer)
    await peer.send(packet)
    found = await peer.drain()
    if not any(packet.out_of_band for packet in found):
        raise Inconclusive("the target sent no packet with an extension header")
    right = aead_of(peer)
    for packet in found:
        frame, _ = frame_of(bench.octets_of(packet))
        judge(bench, packet, right, {"that of extension headers in clear": Twisted(right, extensions_clear)})
        if packet.out_of_band and frame.body[:4] == bytes((18, 0, 16, 0)):
            raise Violation("the SNACK of a sealed packet is in clear", packet)


@dataclass(frozen=True, slots=True)
class OtherTag:
    """AES-GCM, but for the octets of the tag that are taken."""

    right: Aead
    cut: Callable[[bytes], bytes]
    mode: str = "aead"

    def _sealed(self, frame: Frame, plain: bytes) -> bytes:
        return AESGCM(self.right.key).encrypt(self.right.nonce(frame), plain, frame.filled(frame.ids))

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        octets = self._sealed(frame, frame.body)
        return self.cut(octets[-16:]), octets[:-16]

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        plain = self._sealed(frame, frame.body)[:-16]  # the key stream once more
        return plain if self.cut(self._sealed(frame, plain)[-16:]) == icc else None


@case(REVISION, "8.1.3/tag-of-64-bits", service="keyed", needs=("aead",))
async def tag(bench: Bench) -> None:
    """The check code is the front of the tag: its end, or octets from right to left, are neither sent nor taken."""
    peer, answer = await installed(bench)
    right = aead_of(peer)
    wrong = {
        "the end of the tag": OtherTag(right, lambda octets: octets[TAG:]),
        "the front of the tag from right to left": OtherTag(right, lambda octets: octets[TAG - 1 :: -1]),
        "both halves of the tag in one": OtherTag(right, lambda octets: xor(octets[:TAG], octets[TAG:])),
    }
    await neither_sent_nor_taken(bench, peer, answer, wrong)


@case(REVISION, "8.1.3/length-unchanged", service="keyed", needs=("aead",))
async def length(bench: Bench) -> None:
    """Datagrams of echoes of 1 to 1,000 octets are longer than their headers by just these octets."""
    peer, answer = await installed(bench)
    size = len(bench.octets_of(answer)) - IDS - FIXED
    if answer.op is Op.NULCOMMIT and size:
        raise Violation(f"a sealed packet without payload has {size} octets after its fixed header", answer)
    await peer.drain()
    await peer.acknowledge()
    for size in (1, 15, 16, 17, 1000):
        before = len(peer.received)
        await peer.send(question(peer, bytes(size)))
        peer.sn = (peer.sn + 1) & MASK
        await peer.drain()
        await peer.acknowledge()
        found = [packet for packet in peer.received[before:] if packet.in_band]
        after = sum(len(bench.octets_of(packet)) - IDS - FIXED for packet in found)
        if found and after != size:
            raise Violation(f"{size} octets became {after} when they were sealed", found[0])
        if not found:
            raise Inconclusive(f"{size} octets were not echoed")


@case(REVISION, "8.1.3/forged-tag-not-delivered", service="keyed", needs=("aead",), quick=True)
async def forged(bench: Bench) -> None:
    """One octet after the other of the tag and of the ciphertext is altered: nothing comes, until they are right."""
    peer = await sane(bench)
    packet = question(peer)
    await refuses_altered(peer, peer.encode(packet), first=IDS + ICC_AT)
    await takes(peer, packet)


async def blocked(bench: Bench) -> tuple[Peer, Packet]:
    """The target has more to send than the window lets it; and what opens the window."""
    peer = await bench.peer()
    peer.window = 2  # from the beginning, for a right edge never moves back
    await peer.reach_keyed()
    await peer.transaction(bytes(9000))
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    if peer.complete:
        raise Inconclusive("the echo of 9,000 octets came in two packets")
    return peer, peer.packet(Op.KEEP_ALIVE, window=64)


async def takes_window(peer: Peer, opening: Packet) -> None:
    """The window of the right packet lets the target go on."""
    old = repeats(peer)
    await peer.send(opening)
    new = Want("data beyond the old window", lambda packet: DATA(packet) and not old(packet))
    await peer.expect(new, otherwise="after forged packets the right one does not open the window")


@case(REVISION, "8.1.3/altered-header-fails", service="keyed", needs=("aead",))
async def altered_header(bench: Bench) -> None:
    """EoT, window, number and expected number are altered in sealed packets: none of them counts."""
    peer, opening = await blocked(bench)
    shut = bytearray(peer.encode(replace(opening, window=0)))
    shut[IDS + 7] = 64
    await peer.send_octets(bytes(shut))
    await peer.quiet(but=repeats(peer), otherwise="a window that was altered on the way was taken over")
    await takes_window(peer, opening)
    other = await sane(bench)
    packet = other.packet(Op.PERSIST, b"not the end, ")
    octets = other.encode(packet)
    changes = (4, FLAG_EOT), (4, 0x10), (5, 1), (7, 1), (8, 0x80), (11, 1), (11, 3), (12, 1), (15, 1), (15, 3)
    for place, bit in changes:
        copy = bytearray(octets)
        copy[IDS + place] ^= bit
        await other.send_octets(bytes(copy))
        await other.quiet(bench.blink, otherwise=f"a sealed packet with octet {place} of its header altered was taken")
    await other.quiet(otherwise="a sealed packet with an altered header was taken")
    await other.send(packet)
    other.sn = (other.sn + 1) & MASK
    await other.send(Op.PURE_DATA, b"the end", flags=FLAG_EOT)
    if await other.read_transaction() != b"not the end, the end":
        raise Violation("after packets with altered headers the right ones were not delivered", other.received[-1])


@case(REVISION, "8.1.3/nonce-never-reused", service="keyed", needs=("aead",), slow=True)
async def nonces(bench: Bench) -> None:
    """Echoes are not acknowledged while the number that they acknowledge grows: no IV has two different packets."""
    peer, opening = await blocked(bench)
    old = repeats(peer)
    switch = peer.receiving[-1].first
    for _ in range(3):
        await peer.drain(4.0)
        await peer.send(Op.PERSIST, b"a number more", flags=FLAG_EOT, expected=(peer.expected - 2) & MASK)
    await peer.drain(4.0)
    await peer.send(replace(opening, window=4, expected=peer.serial))
    peer.serial += 1
    await peer.drain(8.0)
    seen: dict[tuple[bytes, bytes], bytes] = {}
    repeated = 0
    for packet in peer.received:
        if not (packet.in_band or packet.out_of_band or packet.op is Op.RESET) or later(packet.sn, switch) < 0:
            continue
        octets = bench.octets_of(packet)
        frame, _ = frame_of(octets)
        first = seen.setdefault((frame.mask, frame.iv), octets)
        if first != octets:
            raise Violation("two different packets were sealed with one IV", packet, seen=frame.iv.hex())
        repeated += old(packet)
    if repeated < 3:
        raise Inconclusive("the target did not repeat what was not acknowledged")


# 8.1.4


@case(REVISION, "8.1.4/serial-in-expected-field")
async def serial(bench: Bench) -> None:
    """Octets 12 to 15 of KEEP_ALIVE and ACK_FLUSH are a serial number, which their check code covers."""
    peer, _ = await requested(bench)
    await peer.send(Op.NULCOMMIT)
    await peer.drain()
    await peer.send(Op.PERSIST, b"open")
    found = [packet for packet in peer.received + await peer.drain() if packet.out_of_band]
    if {packet.op for packet in found} != {Op.KEEP_ALIVE, Op.ACK_FLUSH}:
        raise Inconclusive("the target did not send both KEEP_ALIVE and ACK_FLUSH")
    right = settled(peer)
    for packet in found:
        wrong = {
            f"made with {words} in place of the serial number": Twisted(right, numbered(number))
            for words, number in (("our next number", peer.sn), ("our first number", peer.initial_sn + 1), ("0", 0))
        }
        judge(bench, packet, right, wrong)
        if packet.expected in (peer.sn, peer.sn - 1 & MASK, peer.initial_sn, 0):
            raise Violation(f"{packet.name} has {packet.expected} where its serial number should be", packet)


def numbered(number: int) -> Twist:
    """Another number in the last word before the check code."""
    octets = (number & MASK).to_bytes(4, "big")
    return lambda frame: replace(frame, head=frame.head[:12] + octets + frame.head[16:], iv=frame.iv[:4] + octets)


async def altered_serial(bench: Bench) -> None:
    """ACK_FLUSH with its serial number altered on the way does not count, and keeps the right one from nothing."""
    peer = await waits_for_flush(bench)
    flush = peer.packet(Op.ACK_FLUSH)
    octets = peer.encode(flush)
    old = repeats(peer)
    for step in (1, 2, 0x100, 0x1_0000, 0x4000_0000):
        forged_serial = (flush.expected + step & MASK).to_bytes(4, "big")
        await peer.send_octets(octets[: IDS + 12] + forged_serial + octets[IDS + ICC_AT :])
        await peer.quiet(but=old, otherwise=f"ACK_FLUSH was taken with its serial number altered by {step}")
    await takes_flush(peer, flush)


case(REVISION, "8.1.4/altered-serial-fails", quick=True)(altered_serial)
case(REVISION, "8.1.4/altered-serial-fails:mac", service="mac", needs=("mac",))(altered_serial)
case(REVISION, "8.1.4/altered-serial-fails:aead", service="keyed", needs=("aead",))(altered_serial)


SALTS: dict[str, Twist] = {
    "made with the unmixed salt": lambda frame: replace(frame, mask=bytes(4)),
    "made with the first word from right to left": lambda frame: replace(frame, mask=frame.mask[::-1]),
    "made with the operation code alone for a second salt": lambda frame: replace(
        frame, mask=frame.mask[:1] + bytes(3)
    ),
    "made with the second word for a second salt": lambda frame: replace(frame, mask=frame.head[4:8]),
}
"""Mistakes with the second salt."""


@case(REVISION, "8.1.4/second-salt-mixed-in", service="keyed", needs=("aead",))
async def second_salt(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH under the key open with the salt that their own first word is mixed into."""
    peer, _ = await installed(bench)
    first = peer.receiving[-1].first
    await peer.drain()
    await peer.acknowledge()
    await peer.send(Op.PERSIST, b"open")
    await peer.drain()
    await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
    await peer.drain()
    found = [packet for packet in peer.received if packet.out_of_band and later(packet.sn, first) >= 0]
    right = aead_of(peer)
    for packet in found:
        judge(bench, packet, right, {words: Twisted(right, twist) for words, twist in SALTS.items()})
    if {packet.op for packet in found} != {Op.KEEP_ALIVE, Op.ACK_FLUSH}:
        raise Inconclusive("the target did not send both KEEP_ALIVE and ACK_FLUSH under the key")


@case(REVISION, "8.1.4/unmixed-salt-refused", service="keyed", needs=("aead",))
async def unmixed(bench: Bench) -> None:
    """ACK_FLUSH, and KEEP_ALIVE that opens the window, do not count when they are sealed with another second salt."""
    peer = await waits_for_flush(bench)
    wrong = {words: Twisted(aead_of(peer), twist) for words, twist in SALTS.items()}
    flush = peer.packet(Op.ACK_FLUSH)
    await refuses(peer, wrong, flush)
    await takes_flush(peer, flush)
    other, opening = await blocked(bench)
    wrong = {words: Twisted(aead_of(other), twist) for words, twist in SALTS.items()}
    await refuses(other, wrong, opening)
    await takes_window(other, opening)


@case(REVISION, "8.1.4/original-salt-restored", service="keyed", needs=("aead",))
async def restored(bench: Bench) -> None:
    """In-band packets right after out-of-band ones have the salt of the key again, both ways."""
    peer = await sane(bench)
    first = peer.receiving[-1].first
    for _ in range(2):
        await peer.send(Op.KEEP_ALIVE)
        packet = question(peer)
        await takes(peer, packet)
        await peer.drain(bench.blink)
    right = aead_of(peer)
    after = 0
    for before, packet in zip(peer.received, peer.received[1:], strict=False):
        if before.out_of_band and packet.in_band and later(before.sn, first) >= 0:
            after += 1
            judge(bench, packet, right, {"made with the second salt of the one before": Twisted(right, salted(before))})
    if not after:
        raise Inconclusive("the target sent no in-band packet right after an out-of-band one")


def salted(before: Packet) -> Twist:
    """The second salt of an out-of-band packet, which has the operation and the offset in its first word."""
    code = next(code for code, op in CODES.items() if op is before.op)
    word = bytes((code, before.major)) + (before.offset or FIXED).to_bytes(2, "big")
    return lambda frame: replace(frame, mask=word)


@case(REVISION, "8.1.4/second-salt-of-multiply", service="keyed", needs=("aead", "multiply"))
async def multiply(bench: Bench) -> None:
    """MULTIPLY with another second salt draws nothing, with the right one it makes a branch that answers."""
    peer = await sane(bench)
    parent = peer.local
    peer.local = b"\x7e" + bench.random.randbytes(3)
    packet = peer.packet(Op.MULTIPLY, b"branch", flags=FLAG_EOT)
    await refuses(peer, {words: Twisted(aead_of(peer), twist) for words, twist in SALTS.items()}, packet)
    await peer.send(packet)
    answer = await peer.next()  # under the key of the branch, whatever that is
    peer.local = parent
    if answer is None or not answer.in_band:
        raise Violation("MULTIPLY with the right second salt was not answered from a branch", answer)
