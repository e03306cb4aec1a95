"""Sections 8.1.3 and 8.1.4: AES-GCM, and packets out of band."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07.s08_mistakes import (
    CODES,
    FIXED,
    FLUSH,
    ICC_AT,
    IDS,
    REVISION,
    Twist,
    Twisted,
    Wrong,
    aead_of,
    covered,
    installed,
    judge,
    neither_sent_nor_taken,
    question,
    refuses,
    refuses_altered,
    repeats,
    requested,
    sane,
    settled,
    takes,
    takes_flush,
    waits_for_flush,
    xor,
)
from spec_conformance.expect import DATA, Want, acknowledging
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.keys import TAG, Aead, Frame
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

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
    await peer.echo(data)
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
        frame, _ = bench.wire.cut(bench.octets_of(packet))
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
        aad = frame.filled(frame.ids)[frame.aad_from :] + frame.clear
        return AESGCM(self.right.key).encrypt(self.right.nonce(frame), plain, aad)

    def seal(self, frame: Frame) -> tuple[bytes, bytes]:
        octets = self._sealed(frame, frame.body)
        return self.cut(octets[-16:]), frame.clear + octets[:-16]

    def open(self, frame: Frame, icc: bytes) -> bytes | None:
        plain = self._sealed(frame, frame.body)[:-16]  # the key stream once more
        return frame.clear + plain if self.cut(self._sealed(frame, plain)[-16:]) == icc else None


def other_tags(right: Aead) -> Wrong:
    return {
        "the end of the tag": OtherTag(right, lambda octets: octets[TAG:]),
        "the front of the tag from right to left": OtherTag(right, lambda octets: octets[TAG - 1 :: -1]),
        "both halves of the tag in one": OtherTag(right, lambda octets: xor(octets[:TAG], octets[TAG:])),
    }


@case(REVISION, "8.1.3/tag-of-64-bits", service="keyed", needs=("aead",))
async def tag(bench: Bench) -> None:
    """The check code is the front of the tag: its end, or octets from right to left, are neither sent nor taken."""
    peer, answer = await installed(bench)
    wrong = other_tags(aead_of(peer))
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
    one_packet_each(bench, peer)
    if sum(old(packet) for packet in peer.received if later(packet.sn, switch) >= 0) < 3:
        raise Inconclusive("the target did not repeat what was not acknowledged")


def one_packet_each(bench: Bench, peer: Peer) -> None:
    """No two different packets that the target has sent under its key have one IV."""
    switch = peer.receiving[-1].first
    seen: dict[tuple[bytes, bytes], bytes] = {}
    for packet in peer.received:
        if not (packet.in_band or packet.out_of_band or packet.op is Op.RESET) or later(packet.sn, switch) < 0:
            continue
        octets = bench.octets_of(packet)
        frame, _ = bench.wire.cut(octets)
        first = seen.setdefault((frame.mask, frame.iv), octets)
        if first != octets:
            raise Violation("two different packets were sealed with one IV", packet, seen=frame.iv.hex())


# 8.1.4


@case(REVISION, "8.1.4/serial-in-expected-field")
async def serial(bench: Bench) -> None:
    """Octets 12 to 15 of KEEP_ALIVE and ACK_FLUSH are a serial number, which their check code covers."""
    peer, _ = await requested(bench)
    await peer.commit()
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


async def without_mistakes(bench: Bench, twists: Mapping[str, Twist]) -> None:
    """KEEP_ALIVE and ACK_FLUSH of the target are sealed with none of these mistakes."""
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
        judge(bench, packet, right, {words: Twisted(right, twist) for words, twist in twists.items()})
    if {packet.op for packet in found} != {Op.KEEP_ALIVE, Op.ACK_FLUSH}:
        raise Inconclusive("the target did not send both KEEP_ALIVE and ACK_FLUSH under the key")


@case(REVISION, "8.1.4/second-salt-mixed-in", service="keyed", needs=("aead",))
async def second_salt(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH under the key open with the salt that their own first word is mixed into."""
    await without_mistakes(bench, SALTS)


async def refuses_mistakes(bench: Bench, twists: Mapping[str, Twist]) -> None:
    """ACK_FLUSH, and KEEP_ALIVE that opens the window, do not count when they are sealed with these mistakes."""
    peer = await waits_for_flush(bench)
    wrong = {words: Twisted(aead_of(peer), twist) for words, twist in twists.items()}
    flush = peer.packet(Op.ACK_FLUSH)
    await refuses(peer, wrong, flush)
    await takes_flush(peer, flush)
    other, opening = await blocked(bench)
    wrong = {words: Twisted(aead_of(other), twist) for words, twist in twists.items()}
    await refuses(other, wrong, opening)
    await takes_window(other, opening)


@case(REVISION, "8.1.4/unmixed-salt-refused", service="keyed", needs=("aead",))
async def unmixed(bench: Bench) -> None:
    """ACK_FLUSH, and KEEP_ALIVE that opens the window, do not count when they are sealed with another second salt."""
    await refuses_mistakes(bench, SALTS)


@case(REVISION, "8.1.4/original-salt-restored", service="keyed", needs=("aead",))
async def restored(bench: Bench) -> None:
    """In-band packets right after out-of-band ones have the salt of the key again, both ways."""
    peer, _ = await installed(bench)
    first = peer.receiving[-1].first
    await peer.drain()
    await peer.acknowledge()
    await peer.send(question(peer))
    peer.sn = (peer.sn + 1) & MASK
    await peer.drain()
    right = aead_of(peer)
    after = 0
    for before, packet in zip(peer.received, peer.received[1:], strict=False):
        if before.out_of_band and packet.in_band and later(packet.sn, first) >= 0:
            after += later(before.sn, first) >= 0
            judge(bench, packet, right, {"made with the second salt of the one before": Twisted(right, salted(before))})
    if not after:
        raise Inconclusive("the target sent no in-band packet right after an out-of-band one")
    await peer.acknowledge()
    await peer.drain(bench.blink)
    for _ in range(2):
        await peer.send(Op.KEEP_ALIVE)
        await peer.send(question(peer))
        peer.sn = (peer.sn + 1) & MASK
        await peer.expect(FLUSH & acknowledging(peer.sn), otherwise="PERSIST right after KEEP_ALIVE was dropped")
        await peer.drain()
        await peer.acknowledge()


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
