"""Sections 6.2 and 6.3: AES-GCM, and authentication alone."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07 import s08_integrity, s08_sealing
from spec_conformance.cases.gao_07.s08_integrity import PAIRS, mac_of, other_hashes
from spec_conformance.cases.gao_07.s08_mistakes import (
    ENDS,
    IDS,
    Coded,
    Twist,
    Twisted,
    Wrong,
    aead_of,
    parts_of_packet,
    question,
    refuses_altered,
    repeats,
    sane,
    takes,
    takes_flush,
    waits_for_flush,
    xor,
)
from spec_conformance.cases.gao_07.s08_sealing import (
    blocked,
    one_packet_each,
    other_tags,
    refuses_mistakes,
    takes_window,
    vectors,
    without_mistakes,
)
from spec_conformance.cases.jason_00.s06_protection import FIXED_END, checked, flush_refused, neither_way
from spec_conformance.expect import acknowledging
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.jason import FLAG_HMAC
from spec_conformance.wire.keys import TAG, Aead, Mac, hash_subkey
from spec_conformance.wire.packet import FLAG_EOT, MASK, OUT_OF_BAND, Op, Packet, Sink, later

REVISION: Final = "jason-00"
COMMIT_LIMIT: Final = 300.0
"""11.3"""

# 6.2


def other_keys(material: bytes, bits: int) -> dict[str, bytes]:
    """What might be made of the key that was installed."""
    key = material[: bits // 8]
    found = {
        "from right to left": key[::-1],
        "hashed first": blake2b(key, digest_size=len(key)).digest(),
        "that was extracted and expanded": Aead.of_material(key, bits).key,
    }
    for size in {16, 24, 32} - {len(key)}:
        found[f"of {8 * size} bits"] = material[:size].ljust(size, b"\0")
    return found


@case(REVISION, "6.2/raw-key-used", service="keyed", needs=("aead",))
async def raw_key(bench: Bench) -> None:
    """Keys that were derived from the one installed, turned round, or of another size are used neither way."""
    profile = bench.profile
    keys = other_keys(profile.key, profile.key_bits)
    await neither_way(bench, lambda _: {f"made with a key {words}": Aead.of_key(key) for words, key in keys.items()})


def other_salts(peer: Peer) -> Wrong:
    right = aead_of(peer)
    subkey = hash_subkey(right.key)
    salts = {
        "of zeros": bytes(4),
        "that is the first word of the key": right.key[:4],
        "that is the last word of the key": right.key[-4:],
        "that is the first word of the hash sub-key": subkey[:4],
        "made of the last words of sub-key and key": xor(subkey[-4:], right.key[-4:]),
        "made of the first two words of the sub-key": xor(subkey[:4], subkey[4:8]),
        "that is read from right to left": right.salt[::-1],
    }
    return {f"made with a salt {words}": replace(right, salt=salt) for words, salt in salts.items()}


@case(REVISION, "6.2/salt-from-hash-subkey", service="keyed", needs=("aead",))
async def salt(bench: Bench) -> None:
    """Seven other salts are used neither way."""
    await neither_way(bench, other_salts)


def other_vectors(peer: Peer) -> Wrong:
    right = aead_of(peer)
    return {words: Twisted(right, twist) for words, twist in vectors(right).items()}


@case(REVISION, "6.2/iv-from-numbers", service="keyed", needs=("aead",))
async def vector(bench: Bench) -> None:
    """The IV is salt, number, expected number and nothing else, both ways."""
    await neither_way(bench, other_vectors)


SALTS: Final[dict[str, Twist]] = {
    "made with the unmixed salt": lambda frame: replace(frame, mask=bytes(4)),
    "made with the serial number from right to left": lambda frame: replace(frame, mask=frame.mask[::-1]),
    "made with the number for a second salt": lambda frame: replace(frame, mask=frame.head[:4]),
    "made with the expected number for a second salt": lambda frame: replace(frame, mask=frame.head[4:8]),
    "made with the header signature for a second salt": lambda frame: replace(frame, mask=frame.head[20:]),
}
"""Mistakes with the salt of packets out of band."""


@case(REVISION, "6.2/iv-out-of-band", service="keyed", needs=("aead",))
async def out_of_band_sent(bench: Bench) -> None:
    """KEEP_ALIVE and ACK_FLUSH of the target are sealed with the salt that their serial number is mixed into."""
    await without_mistakes(bench, SALTS)


@case(REVISION, "6.2/iv-out-of-band:refused", service="keyed", needs=("aead",))
async def out_of_band_refused(bench: Bench) -> None:
    """ACK_FLUSH, and KEEP_ALIVE that opens the window, do not count when another word is mixed into the salt."""
    await refuses_mistakes(bench, SALTS)


case(REVISION, "6.2/payload-encrypted", service="keyed", needs=("aead",), quick=True)(s08_sealing.sealed)


def other_data(peer: Peer) -> Wrong:
    """Mistakes with the additional data."""
    twists: dict[str, Twist] = {
        **PAIRS,
        "made with the whole fixed header for additional data": lambda frame: replace(frame, aad_from=0),
        "made without the ULTIDs": lambda frame: replace(frame, aad_from=16),
        "made with the ULTIDs alone": lambda frame: replace(frame, head=frame.head[:16]),
        "made without the header signature": lambda frame: replace(frame, head=frame.head[:20]),
    }
    return {words: Twisted(aead_of(peer), twist) for words, twist in twists.items()}


@case(REVISION, "6.2/aad-from-ultids", service="keyed", needs=("aead",))
async def additional_data(bench: Bench) -> None:
    """Sealed packets whose additional data have another pair, or begin or end elsewhere, are not sent nor taken."""
    await neither_way(bench, other_data)


EXTENSIONS: Final[dict[str, Twist]] = {
    "made without the extension headers": lambda frame: replace(frame, clear=b""),
    "made without the signature of the last extension header": lambda frame: replace(frame, clear=frame.clear[:-4]),
    "made with the extension headers in front": lambda frame: replace(
        frame, head=frame.head[:8] + frame.clear + frame.head[8:], icc_at=8 + len(frame.clear), clear=b""
    ),
}
"""Mistakes with extension headers in the additional data."""


@case(REVISION, "6.2/extension-headers-authenticated", service="keyed", needs=("aead",))
async def extensions_covered(bench: Bench) -> None:
    """SNACKs of the target can be read, and are in the additional data after the fixed header."""
    await without_mistakes(bench, EXTENSIONS)


@case(REVISION, "6.2/extension-headers-authenticated:refused", service="keyed", needs=("aead",))
async def extensions_must_be_covered(bench: Bench) -> None:
    """ACK_FLUSH, and KEEP_ALIVE that opens the window, do not count if their extension headers are not covered."""
    await refuses_mistakes(bench, EXTENSIONS)


@case(REVISION, "6.2/changed-extension-dropped", service="keyed", needs=("aead",))
async def changed_extension(bench: Bench) -> None:
    """Octet by octet, Sink Parameters and SNACK of a KEEP_ALIVE that opens the window are altered: it stays shut."""
    peer, opening = await blocked(bench)
    sink = Sink(prefixes=(peer.prefix(),) * 4, window=64, block_size=2)
    opening = replace(opening, extensions=(sink, *opening.extensions))
    await refuses_altered(peer, peer.encode(opening), first=FIXED_END)
    await takes_window(peer, opening)


@case(REVISION, "6.2/tag-of-64-bits", service="keyed", needs=("aead",))
async def tag(bench: Bench) -> None:
    """Other octets of the tag, or these in another order, are neither sent nor taken."""
    await neither_way(bench, lambda peer: other_tags(aead_of(peer)))


@case(REVISION, "6.2/no-payload-without-tag", service="keyed", needs=("aead",), quick=True)
async def altered(bench: Bench) -> None:
    """Octet by octet, fixed header, tag and payload of a sealed PERSIST are altered: nothing comes till it is right."""
    peer = await sane(bench)
    packet = question(peer)
    await refuses_altered(peer, peer.encode(packet), first=IDS)
    await takes(peer, packet)


@case(REVISION, "6.2/nonce-never-repeated", service="keyed", needs=("aead",), slow=True)
async def nonces(bench: Bench) -> None:
    """Echoes are not acknowledged while data comes and the window opens: no IV has two different packets."""
    peer, _ = await blocked(bench)
    old = repeats(peer)
    switch = peer.receiving[-1].first
    known = (peer.expected - 2) & MASK
    for _ in range(3):
        await peer.drain(4.0)
        await peer.send(Op.PERSIST, b"a number more", flags=FLAG_EOT, expected=known)
    await peer.drain(4.0)
    for window in (4, 16, 64):  # the target can go on, and takes what we have sent meanwhile
        await peer.send(Op.KEEP_ALIVE, expected=known, window=window)
        await peer.drain(8.0)
    one_packet_each(bench, peer)
    if sum(old(packet) for packet in peer.received if later(packet.sn, switch) >= 0) < 6:
        raise Inconclusive("the target did not repeat what was not acknowledged")


@case(REVISION, "6.2/reset-own-nonce", service="keyed", needs=("aead",), slow=True)
async def reset_nonce(bench: Bench) -> None:
    """An echo is never acknowledged: the RESET after five minutes has numbers of its own, and no other RESET comes."""
    peer = await sane(bench)
    await peer.transaction(b"for ever")
    await peer.reach(ENDS & acknowledging(peer.sn))
    await peer.drain(COMMIT_LIMIT + 30.0)
    await peer.send(Op.PERSIST, b"open", expected=(peer.expected - 2) & MASK)
    await peer.drain(30.0)
    resets = [packet for packet in peer.received if packet.op is Op.RESET]
    if not resets:
        raise Inconclusive("no RESET came after five minutes without an acknowledgement")
    reset = resets[0]
    if reset.authentic is not True:
        raise Inconclusive("the RESET does not verify under the key", reset)
    if len({bench.octets_of(packet) for packet in resets}) > 1:
        raise Violation("a second RESET was sealed", resets[-1])
    taken = {(packet.sn, packet.expected) for packet in peer.received if packet.in_band or packet.out_of_band}
    if (reset.sn, reset.expected) in taken:
        raise Violation("RESET has the numbers of a packet before it", reset, seen=f"{reset.sn}, {reset.expected}")


# 6.3


@case(REVISION, "6.3/hmac-flag-with-mac", service="mac", needs=("mac",), quick=True)
async def flagged(bench: Bench) -> None:
    """Echoes, SNACKs and what follows our RELEASE have the HMAC flag under a key for authentication only."""
    peer = await everything(bench)
    for packet in checked(peer):
        if not packet.flags & FLAG_HMAC:
            raise Violation(f"{packet.name} has not the HMAC flag, and the key is for authentication only", packet)


async def everything(bench: Bench) -> Peer:
    """The target has sent packets of many kinds under the key."""
    peer = await sane(bench)
    await peer.send(Op.PERSIST, bytes(500))
    await peer.drain()
    await peer.send(Op.PURE_DATA, bytes(1000), flags=FLAG_EOT)
    await peer.drain()
    await peer.acknowledge()
    await peer.drain(bench.blink)
    await peer.send(Op.RELEASE)
    await peer.drain()
    missing = {Op.PERSIST, Op.PURE_DATA, Op.KEEP_ALIVE, Op.ACK_FLUSH} - {packet.op for packet in checked(peer)}
    if missing:
        raise Inconclusive(f"the target sent no {', '.join(sorted(missing))} under the key")
    return peer


@case(REVISION, "6.3/hmac-flag-otherwise-clear", service="keyed", needs=("aead",))
async def not_flagged(bench: Bench) -> None:
    """No packet has the HMAC flag, neither before nor after a key for AES-GCM is installed."""
    peer = await everything(bench)
    for packet in peer.received:
        if (packet.in_band or packet.op in OUT_OF_BAND) and packet.flags & FLAG_HMAC:
            raise Violation(f"{packet.name} has the HMAC flag, and is not authenticated only", packet)


def plain(packet: Packet) -> Packet:
    return replace(packet, flags=packet.flags & ~FLAG_HMAC)


@case(REVISION, "6.3/mac-without-flag-dropped", service="mac", needs=("mac",))
async def without_flag(bench: Bench) -> None:
    """ACK_FLUSH and PERSIST with the right MAC but without the HMAC flag are dropped; with it they are taken."""
    peer = await waits_for_flush(bench)
    flush = peer.packet(Op.ACK_FLUSH)
    await peer.send(plain(flush))
    await peer.quiet(but=repeats(peer), otherwise="an ACK_FLUSH without the HMAC flag was taken")
    await takes_flush(peer, flush)
    other = await sane(bench)
    packet = question(other)
    await other.send_octets(other.encode(plain(packet)))
    await other.quiet(otherwise="a PERSIST without the HMAC flag was taken")
    await takes(other, packet)


def hashes_and_keys(peer: Peer) -> Wrong:
    right, profile = mac_of(peer), peer.bench.profile
    keys = other_keys(profile.key, profile.key_bits)
    return {
        **other_hashes(right),
        **{f"made with a key {words}": Mac(key) for words, key in keys.items()},
        "made with the key hashed into 64 octets": Mac.of_material(right.key),
    }


@case(REVISION, "6.3/mac-is-blake2b", service="mac", needs=("mac",))
async def which_hash(bench: Bench) -> None:
    """Longer digests that are cut, BLAKE2s, HMAC, and keys derived from the one installed are used neither way."""
    await neither_way(bench, hashes_and_keys)


def parts_and_pairs(peer: Peer) -> Wrong:
    right = mac_of(peer)
    return {
        **parts_of_packet(right),
        **{words: Twisted(right, twist) for words, twist in PAIRS.items()},
        "that of the packet without its fixed header": Coded(
            lambda frame: blake2b(frame.ids + frame.clear + frame.body, key=right.key, digest_size=TAG).digest()
        ),
    }


@case(REVISION, "6.3/mac-covers-packet", service="mac", needs=("mac",))
async def whole_packet(bench: Bench) -> None:
    """MACs of a part of the packet, or with another pair of ULTIDs in it, are used neither way."""
    await neither_way(bench, parts_and_pairs)
    await flush_refused(bench, parts_and_pairs)


case(REVISION, "6.3/mac-payload-in-clear", service="mac", needs=("mac",))(s08_integrity.keyed_hash)
case(REVISION, "6.3/mac-changed-packet-dropped", service="mac", needs=("mac",), quick=True)(s08_integrity.altered)
