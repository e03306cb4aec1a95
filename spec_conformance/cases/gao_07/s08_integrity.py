"""Sections 8.1.1 and 8.1.2: CRC64, and a keyed hash."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b, blake2s, sha256
from itertools import permutations
from typing import Literal

from fastcrc import crc64

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07.s08_mistakes import (
    FLUSH,
    REVISION,
    Coded,
    Twist,
    Twisted,
    Wrong,
    covered,
    installed,
    judge,
    neither_sent_nor_taken,
    no_pair,
    parts_of_packet,
    question,
    refuses,
    refuses_altered,
    requested,
    sane,
    settled,
    steady,
    swapped,
    takes,
    takes_flush,
    waits_for_flush,
    xor,
)
from spec_conformance.expect import acknowledging
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.keys import TAG, Frame, Mac, Protection
from spec_conformance.wire.packet import FLAG_EOT, Op, Packet

# 8.1.1


async def confirmed(peer: Peer) -> None:
    """The connection goes on as it should."""
    await peer.commit()
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await steady(peer)


def crc(
    peer: Peer,
    function: Callable[[bytes, int], int] = crc64.ecma_182,
    *,
    parts: tuple[bytes, ...] | None = None,
    pair: Callable[[bytes], int] = lambda ids: int.from_bytes(ids, "big"),
    cover: Callable[[Frame, bytes], bytes] | None = None,
    begin: int | None = 0,
    write: Literal["big", "little"] = "big",
) -> Coded:
    """CRC64 as the draft has it, but for what is given; `begin` None: the second sum goes on from the first."""
    octets = b"".join(words_of(peer) if parts is None else parts)
    covering = cover or (all_of_it if settled(peer).whole_packet else fixed_header)

    def code(frame: Frame) -> bytes:
        first = function(octets, pair(frame.ids))
        whole = covering(frame, first.to_bytes(TAG, write))
        return function(whole, first if begin is None else begin).to_bytes(TAG, write)

    return Coded(code)


def all_of_it(frame: Frame, first: bytes) -> bytes:
    return frame.filled(first) + frame.clear + frame.body


def fixed_header(frame: Frame, first: bytes) -> bytes:
    return frame.filled(first)


def words_of(peer: Peer) -> tuple[bytes, ...]:
    """What the first sum takes, in order."""
    time = peer.timestamp.to_bytes(8, "big")
    return peer.check_code, peer.cookie, peer.salt + peer.time_delta, time


@case(REVISION, "8.1.1/crc64-from-ack-connect-req", quick=True)
async def from_the_first(bench: Bench) -> None:
    """The check code of ACK_CONNECT_REQ is that of the handshake just made."""
    peer, answer = await requested(bench)
    frame, icc = bench.wire.cut(bench.octets_of(answer))
    right, _ = settled(peer).seal(frame)
    if icc != right:
        raise Violation("ACK_CONNECT_REQ has a wrong check code", answer, expected=right.hex(), seen=icc.hex())


@case(REVISION, "8.1.1/crc64-until-key")
async def until_key(bench: Bench) -> None:
    """Data, acknowledgements, and what follows our RELEASE: all have CRC64 as no key is installed."""
    peer, answer = await requested(bench)
    if answer.authentic is not True:
        raise Inconclusive("the check code of ACK_CONNECT_REQ is wrong already", answer)
    await peer.commit()
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


def other_polynomials(peer: Peer) -> Wrong:
    others = {
        "of CRC-64/XZ, which reflects": crc64.xz,
        "of CRC-64/WE, which inverts": crc64.we,
        "of CRC-64/GO-ISO, which reflects": crc64.go_iso,
        "of CRC-64/TMS570, which is ISO's": crc64.tms570_iso,
    }
    return {words: crc(peer, function) for words, function in others.items()}


@case(REVISION, "8.1.1/crc64-polynomial")
async def polynomial(bench: Bench) -> None:
    """ACK_CONNECT_REQ has no check code of another CRC of 64 bits."""
    peer, answer = await requested(bench)
    judge(bench, answer, settled(peer), other_polynomials(peer))


def crc_after_pair(peer: Peer) -> Coded:
    """The pair is summed as octets are, and not started from."""

    def code(frame: Frame) -> bytes:
        ids = frame.ids[:4], frame.ids[4:]
        return crc(peer, parts=(*ids, *words_of(peer)), pair=lambda ids: 0).code(frame)

    return Coded(code)


def other_starts(peer: Peer) -> Wrong:
    return {
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
        "one whose sum starts at 0 and takes the pair for data": crc_after_pair(peer),
    }


@case(REVISION, "8.1.1/start-value-is-pair")
async def start_value(bench: Bench) -> None:
    """The first sum of ACK_CONNECT_REQ starts neither with the ULTIDs in another order nor without them."""
    peer, answer = await requested(bench)
    judge(bench, answer, settled(peer), other_starts(peer))


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


def other_second_sums(peer: Peer) -> dict[str, Protection]:
    cover = all_of_it if settled(peer).whole_packet else fixed_header
    return {
        "one whose second sum goes on from the first": crc(peer, begin=None),
        "one whose second sum starts at -1": crc(peer, begin=2**64 - 1),
        "written from right to left": crc(peer, write="little"),
        "made with zeros in place of the first sum": crc(peer, cover=lambda frame, _: cover(frame, bytes(TAG))),
    }


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
    wrong |= other_second_sums(peer)
    judge(bench, answer, right, wrong)
    await peer.commit()
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


# 8.1.2


def mac_of(peer: Peer) -> Mac:
    protection = peer.sending[-1].protection
    assert isinstance(protection, Mac)
    return protection


def whole(frame: Frame) -> bytes:
    """What the keyed hash covers."""
    return frame.filled(frame.ids) + frame.clear + frame.body


@case(REVISION, "8.1.2/mac-after-installation", service="mac", needs=("mac",), quick=True)
async def keyed_hash(bench: Bench) -> None:
    """Packets after installation have no CRC64 but a keyed hash, and the payload can be read in them."""
    peer, answer = await installed(bench)
    judge(bench, answer, mac_of(peer), {"still CRC64": settled(peer)})
    await peer.drain()
    await peer.acknowledge()
    data = bench.random.randbytes(2500)
    start = len(peer.stream)
    await peer.echo(data)
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
        lambda frame: blake2b(frame.ids + frame.clear + frame.body, key=right.key, digest_size=TAG).digest()
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


def other_hashes(right: Mac) -> Wrong:
    short = right.key[:32]
    return {
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


@case(REVISION, "8.1.2/keyed-blake2b-of-eight", service="mac", needs=("mac",))
async def which_hash(bench: Bench) -> None:
    """The hash is no longer digest that was cut, no BLAKE2s, and no HMAC; nor is one of these taken."""
    peer, answer = await installed(bench)
    wrong = other_hashes(mac_of(peer))
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
