"""Section 7: when a key takes effect, and what it is made of."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.profile import Profile
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.keys import Aead, Mac
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, later

REVISION = "gao-07"
ENDS = an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT) & ending(True)


async def agreed(bench: Bench) -> tuple[Peer, Packet]:
    """Both have agreed and nobody has acknowledged the target's end yet; the packet that ended our transaction."""
    peer = await bench.peer()
    await peer.connect()
    last = (await peer.transaction(b"let us install the key"))[-1]
    await peer.reach(ENDS)
    return peer, last


async def agreed_and_installed(bench: Bench) -> Peer:
    """Our key is in place, and what the target sends under its own is acknowledged."""
    peer, _ = await agreed(bench)
    peer.install_agreed()
    await peer.send(Op.ACK_FLUSH)
    await peer.drain()
    await peer.acknowledge()
    return peer


async def keyed(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.reach_keyed()
    return peer


def aead(peer: Peer) -> Aead:
    """The key under which the peer sends now; the case is inconclusive if it is no AEAD key."""
    protection = peer.sending[-1].protection
    if not isinstance(protection, Aead):
        raise Inconclusive("the profile's key is not for AEAD")
    return protection


@case(REVISION, "7/one-key-both-ways", "7.3/later-numbers-new-key", service="keyed", needs=("aead",), quick=True)
async def both_ways(bench: Bench) -> None:
    """What comes after the target's end opens with the same key and salt that seal what it takes."""
    peer = await agreed_and_installed(bench)
    await peer.transaction(b"both ways")
    await peer.expect(DATA & carrying(b"both ways"), otherwise="what is sealed under the key is not understood")


@case(REVISION, "7.1/ready-right-after-eot", service="keyed", needs=("aead",))
async def right_after(bench: Bench) -> None:
    """A packet under the new key leaves together with the one that ends the agreement, and is taken once."""
    peer, _ = await agreed(bench)
    peer.install_agreed()
    await peer.send(Op.ACK_FLUSH)
    await peer.send(Op.PERSIST, b"at once", flags=FLAG_EOT)
    await peer.expect(an(Op.ACK_FLUSH, Op.PERSIST, Op.NULCOMMIT) & acknowledging(peer.sn))


@case(REVISION, "7.3/received-later-checked-new", service="keyed", needs=("aead",))
async def delivered_under_key(bench: Bench) -> None:
    """Three packets under the key come back as they were."""
    peer = await keyed(bench)
    data = bench.random.randbytes(2500)
    await peer.transaction(data)
    if await peer.read_transaction() != data:
        raise Violation("what was sent under the key was not delivered as it was", peer.received[-1])


@case(REVISION, "7.3/earlier-numbers-old-method", service="keyed", needs=("aead",), slow=True)
async def repeats_stay_old(bench: Bench) -> None:
    """The target's end of the agreement is not acknowledged: its repeats still have the old check code."""
    peer, _ = await agreed(bench)
    end = peer.stream[-1].sn
    peer.install_agreed()
    seen = 0
    for packet in await peer.drain(8.0):
        if packet.in_band and later(packet.sn, end) <= 0:
            seen += 1
            if packet.authentic is not True:
                raise Violation("a repeat from before the switch does not verify under the old method", packet)
    if not seen:
        raise Inconclusive("nothing from before the switch was repeated")


@case(
    REVISION,
    "7.3/old-method-after-switch",
    "7.3/crc64-refused-afterwards",
    service="keyed",
    needs=("aead",),
    quick=True,
)
async def crc_after_key(bench: Bench) -> None:
    """In-band and out-of-band packets under CRC64, after the key is in use, are dropped."""
    peer = await keyed(bench)
    crc = peer.sending[0].protection
    forged = peer.wire.encode(peer.packet(Op.PERSIST, b"forged", flags=FLAG_EOT), crc)
    await peer.send_octets(forged)
    for op in (Op.KEEP_ALIVE, Op.ACK_FLUSH):
        await peer.send_octets(peer.wire.encode(peer.packet(op, serial=peer.serial + 10), crc))
    await peer.send_octets(peer.wire.encode(peer.packet(Op.RELEASE), crc))
    await peer.send_octets(peer.wire.encode(peer.packet(Op.RESET, reason=1), crc))
    await peer.quiet(otherwise="a packet under CRC64 was answered although the key is in use")
    await peer.transaction(b"genuine")
    if await peer.read_transaction() != b"genuine":
        raise Violation("octets under CRC64 were delivered although the key is in use", peer.received[-1])


@case(REVISION, "7.3/new-key-before-switch", service="keyed", needs=("aead",))
async def key_too_early(bench: Bench) -> None:
    """A packet of the agreement itself that is sealed with the key is dropped; under CRC64 it counts."""
    peer = await bench.peer()
    await peer.connect()
    packet = peer.packet(Op.PERSIST, b"agreement", flags=FLAG_EOT)
    profile = bench.profile
    await peer.send_octets(peer.wire.encode(packet, peer.key(profile.key, "aead", profile.key_bits)))
    await peer.quiet(otherwise="a packet under a key that nobody has installed was answered")
    await peer.send(packet)
    peer.sn = (peer.sn + 1) & MASK
    await peer.expect(an(Op.ACK_FLUSH) & acknowledging(peer.sn))


@case(REVISION, "7.3/key-follows-carried-number", service="keyed", needs=("aead",))
async def follows_number(bench: Bench) -> None:
    """ACK_FLUSH and KEEP_ALIVE of the target open under the key that belongs to the number they carry."""
    peer = await keyed(bench)
    switch = peer.receiving[-1].first
    await peer.send(Op.PERSIST, b"open")
    await peer.drain()
    await peer.send(Op.PURE_DATA, b"closed", flags=FLAG_EOT)
    await peer.drain()
    found = [packet for packet in peer.received if packet.op in (Op.ACK_FLUSH, Op.KEEP_ALIVE)]
    for packet in found:
        if packet.authentic is not True:
            side = "new" if later(packet.sn, switch) >= 0 else "old"
            raise Violation(f"{packet.name} carries {packet.sn} and does not verify under the {side} method", packet)
    if not any(later(packet.sn, switch) >= 0 for packet in found):
        raise Violation("no acknowledgement carried a number under the new key", found[-1] if found else None)


@case(REVISION, "7.3/key-announced", service="keyed", needs=("aead",))
async def announced(bench: Bench) -> None:
    """The target, which has nothing to send after the agreement, sends a NULCOMMIT under the key."""
    peer, _ = await agreed(bench)
    end = peer.expected
    peer.install_agreed()
    await peer.send(Op.ACK_FLUSH)
    packet = await peer.expect(an(Op.NULCOMMIT), otherwise="no NULCOMMIT announced the key")
    if packet.sn != end:
        raise Violation("the NULCOMMIT that announces the key has not the next number", packet)


@case(REVISION, "7.3/crc64-may-only-acknowledge", service="keyed", needs=("aead",))
async def crc_in_between(bench: Bench) -> None:
    """Between installation and the first packet under the key, KEEP_ALIVE under CRC64 from elsewhere moves nothing."""
    peer, _ = await agreed(bench)
    stranger = await bench.peer()
    stranger.local, stranger.remote = peer.local, peer.remote
    crc = peer.sending[0].protection
    await stranger.send_octets(peer.wire.encode(peer.packet(Op.KEEP_ALIVE, serial=peer.serial + 5), crc))
    await bench.sleep(bench.silence)
    peer.install_agreed()
    await peer.send(Op.PERSIST, b"to the right address", flags=FLAG_EOT)
    await peer.expect(an(Op.ACK_FLUSH, Op.PERSIST, Op.NULCOMMIT) & acknowledging(peer.sn))
    await stranger.quiet(
        but=an(Op.NULCOMMIT, Op.PERSIST), otherwise="packets go to an address that CRC64 alone vouched for"
    )


@case(REVISION, "7.3/old-repeats-still-acknowledged", "7.3/late-flush-under-old-key", service="keyed", needs=("aead",))
async def old_repeat(bench: Bench) -> None:
    """Our end of the agreement comes once more, under the old method: so is the ACK_FLUSH for it."""
    peer, last = await agreed(bench)
    peer.install_agreed()
    await peer.drain()
    switch = peer.receiving[-1].first
    before = {packet.expected for packet in peer.received if packet.out_of_band}
    await peer.send(last)
    answer = await peer.expect(an(Op.ACK_FLUSH) & acknowledging(peer.sn))
    if later(answer.sn, switch) >= 0:
        raise Violation("ACK_FLUSH for a packet under the old method carries a number under the new key", answer)
    if answer.expected in before:
        raise Violation("ACK_FLUSH has a serial that was used before", answer)


def other_material(profile: Profile) -> dict[str, bytes]:
    """What an implementation might take for the material by mistake."""
    return {
        "without its last octet": profile.key[:-1],
        "with a zero octet more": profile.key + b"\0",
        "reversed": profile.key[::-1],
    }


@case(REVISION, "7.4/master-key-extracted", "7.4/any-material-length", service="keyed", needs=("aead",))
async def extracted(bench: Bench) -> None:
    """Keys made of slightly different material are refused; the key made of the material itself is right."""
    peer = await keyed(bench)
    right = aead(peer)
    packet = peer.packet(Op.PERSIST, b"which key", flags=FLAG_EOT)
    for words, material in other_material(bench.profile).items():
        wrong = Aead.of_material(material, bench.profile.key_bits)
        await peer.send_octets(peer.wire.encode(packet, wrong))
        await peer.quiet(otherwise=f"a packet under a key from the material {words} was taken")
    await peer.send_octets(peer.wire.encode(packet, right))
    peer.sn = (peer.sn + 1) & MASK
    await peer.expect(an(Op.ACK_FLUSH) & acknowledging(peer.sn))


@case(REVISION, "7.4/session-key-expanded", "7.4/info-string", service="keyed", needs=("aead",))
async def expanded(bench: Bench) -> None:
    """The key of the other length is no prefix of this one, and the key of another index is refused."""
    peer = await keyed(bench)
    profile = bench.profile
    packet = peer.packet(Op.PERSIST, b"which key", flags=FLAG_EOT)
    longer = Aead.of_material(profile.key, 256)
    cut = Aead(longer.key[: profile.key_bits // 8], longer.salt)
    wrong = [Aead.of_material(profile.key, profile.key_bits, batch=2)]
    wrong += [cut] if cut.key != aead(peer).key else [Aead.of_material(profile.key, 128)]
    for protection in wrong:
        await peer.send_octets(peer.wire.encode(packet, protection))
        await peer.quiet(otherwise="a packet under a key that was expanded in another way was taken")
    await peer.send(Op.PERSIST, b"which key", flags=FLAG_EOT)
    await peer.expect(DATA & carrying(b"which key"))


@case(REVISION, "7.4/salt-is-last-four", service="keyed", needs=("aead",))
async def salt(bench: Bench) -> None:
    """A packet under the right key and a salt of zeros, or one taken from the front, is dropped."""
    peer = await keyed(bench)
    right = aead(peer)
    packet = peer.packet(Op.PERSIST, b"salted", flags=FLAG_EOT)
    for octets in (bytes(4), right.key[:4], right.salt[::-1]):
        await peer.send_octets(peer.wire.encode(packet, replace(right, salt=octets)))
        await peer.quiet(otherwise="a packet under a wrong salt was taken")
    await peer.send(Op.PERSIST, b"salted", flags=FLAG_EOT)
    await peer.expect(DATA & carrying(b"salted"))


@case(REVISION, "7.5/batch-key-too-early", service="keyed", needs=("aead",))
async def next_batch(bench: Bench) -> None:
    """The key of the second batch opens nothing yet, and does not turn the target away from the first."""
    peer = await keyed(bench)
    profile = bench.profile
    second = Aead.of_material(profile.key, profile.key_bits, batch=2)
    packet = peer.packet(Op.PERSIST, b"second batch", flags=FLAG_EOT)
    for _ in range(3):
        await peer.send_octets(peer.wire.encode(packet, second))
    await peer.quiet(otherwise="a packet under the second batch's key was taken among the first numbers")
    await peer.transaction(b"first batch")
    if await peer.read_transaction() != b"first batch":
        raise Violation("after packets under the second batch's key the first is not understood any more")


@case(REVISION, "7.4/mac-master-key", service="mac", needs=("mac",))
async def mac_master_key(bench: Bench) -> None:
    """For authentication only: the key is the material hashed into 64 octets, neither the material nor 32 octets."""
    peer = await agreed_and_installed(bench)
    packet = peer.packet(Op.PERSIST, b"which key", flags=FLAG_EOT)
    material = bench.profile.key
    for wrong in (Mac(material[:64]), Mac(blake2b(material, digest_size=32).digest())):
        await peer.send_octets(peer.wire.encode(packet, wrong))
        await peer.quiet(otherwise="a packet under another key for authentication was taken")
    await peer.send(Op.PERSIST, b"which key", flags=FLAG_EOT)
    await peer.expect(DATA & carrying(b"which key"))
