"""What the cases of section 8.1, and of jason-00 6, have in common: check codes wrong in a way that can be told.

A target whose check codes are wrong gets nowhere with a right peer, so these cases read its first packets whatever
their codes are, and find out which mistake makes such a code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from spec_conformance.bench import Bench
from spec_conformance.expect import DATA, Want, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.keys import Aead, Crc64, Frame, Protection
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
        twisted = self.twist(frame)
        icc, rest = self.right.seal(twisted)
        return icc, self._sent(frame, twisted, rest)

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        twisted = self.twist(frame)
        rest = self.right.open(twisted, icc)
        return None if rest is None else self._sent(frame, twisted, rest)

    def _sent(self, frame: Frame, twisted: Frame, rest: bytes) -> bytes:
        """All that follows the fixed header, though the check may have left something out."""
        if not isinstance(self.right, Aead):
            return frame.clear + frame.body
        whole = len(rest) == len(frame.clear + frame.body)
        return rest if whole else frame.clear + rest[len(twisted.clear) :]


@dataclass(frozen=True, slots=True)
class Coded:
    """A check code that some function makes, over a payload in clear."""

    code: Callable[[Frame], bytes]
    mode: str = "coded"

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        return self.code(frame), frame.clear + frame.body

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        return frame.clear + frame.body if self.code(frame) == icc else None


def mistake(bench: Bench, packet: Packet, right: Protection, wrong: Wrong) -> str | None:
    """Which mistake has made the check code: None if it is right, nothing in words if it is another one."""
    frame, icc = bench.wire.cut(bench.octets_of(packet))
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
    return bench.wire.cut(bench.octets_of(packet))[1].hex()


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


def parted(frame: Frame) -> tuple[bytes, bytes]:
    """Extension headers and payload."""
    if frame.icc_at != ICC_AT:  # jason-00, where they are kept apart
        return frame.clear, frame.body
    size = int.from_bytes(frame.head[2:4], "big") - FIXED
    return frame.body[:size], frame.body[size:]


def header_only(frame: Frame) -> Frame:
    return replace(frame, clear=b"", body=b"")


def without_payload(frame: Frame) -> Frame:
    return replace(frame, clear=b"", body=parted(frame)[0])


def without_extensions(frame: Frame) -> Frame:
    return replace(frame, clear=b"", body=parted(frame)[1])


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


async def refuses_altered(peer: Peer, octets: bytes, *, first: int = IDS, end: int | None = None) -> None:
    """A copy of the datagram with one bit changed in any of its octets is dropped."""
    old = repeats(peer)
    for place in range(first, len(octets) if end is None else end):
        copy = bytearray(octets)
        copy[place] ^= 1 << place % 8
        await peer.send_octets(bytes(copy))
        await peer.quiet(peer.bench.blink, but=old, otherwise=f"a packet with its octet {place} altered was taken")
    await peer.quiet(but=old, otherwise="a packet with an altered octet was taken")


def question(peer: Peer, payload: bytes = b"is this packet right?") -> Packet:
    """A transaction of one packet, which does not take its number yet."""
    return peer.packet(Op.PERSIST, payload, flags=FLAG_EOT)


async def steady(peer: Peer) -> None:
    """Two echoes come: the second one shows that the first was acknowledged with success."""
    await peer.echo(b"sane")
    await peer.echo(b"still sane")


async def sane(bench: Bench) -> Peer:
    """A connection over which echoes come, under the key if the service installs one."""
    peer = await bench.peer()
    await (peer.connect() if bench.service_name == "echo" else peer.reach_keyed())
    await steady(peer)
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


def settled(peer: Peer) -> Crc64:
    """What the handshake has made."""
    protection = peer.sending[0].protection
    assert isinstance(protection, Crc64)
    return protection


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
    peer.sn = (peer.sn + 1) & MASK
    return peer, await heard(peer, under_key)


async def neither_sent_nor_taken(bench: Bench, peer: Peer, answer: Packet, wrong: Wrong) -> None:
    """The answer was made with none of these mistakes, and a packet that is made so is dropped."""
    judge(bench, answer, peer.receiving[-1].protection, wrong)
    await peer.drain()
    await peer.acknowledge()
    await steady(peer)
    packet = question(peer)
    await refuses(peer, wrong, packet)
    await takes(peer, packet)


def aead_of(peer: Peer) -> Aead:
    protection = peer.sending[-1].protection
    assert isinstance(protection, Aead)
    return protection
