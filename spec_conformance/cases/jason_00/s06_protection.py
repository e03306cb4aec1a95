"""Sections 1 and 6.1: what is checked by CRC64, and from when on a key is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07 import s04_malformed, s07_keys
from spec_conformance.cases.gao_07.s07_keys import agreed
from spec_conformance.cases.gao_07.s08_integrity import (
    all_of_it,
    crc,
    other_polynomials,
    other_second_sums,
    other_starts,
    speaks,
    words_of,
)
from spec_conformance.cases.gao_07.s08_mistakes import (
    ENDS,
    IDS,
    Twisted,
    Wrong,
    aead_of,
    covered,
    judge,
    question,
    refuses,
    refuses_altered,
    requested,
    sane,
    settled,
    steady,
    takes,
    takes_flush,
    waits_for_flush,
    xor,
)
from spec_conformance.expect import acknowledging
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Violation
from spec_conformance.wire.jason import FLAG_HMAC
from spec_conformance.wire.keys import Frame, Mac, Protection
from spec_conformance.wire.packet import FLAG_EOT, MASK, OUT_OF_BAND, Op, Packet, later

REVISION: Final = "jason-00"
FIXED_END: Final = IDS + 24
ONE_BIT: Final = bytes([1]) + bytes(7)
Mistakes: TypeAlias = Callable[[Peer], Wrong]


async def begun(bench: Bench) -> Peer:
    """Nothing has gone either way under the newest check code: that of the handshake, or of the service's key."""
    if bench.service_name == "echo":
        peer, _ = await requested(bench)
        return peer
    peer = await bench.peer()
    await peer.connect()
    await peer.transaction(b"let us install the key")
    await peer.reach(ENDS & acknowledging(peer.sn))
    await peer.drain(bench.blink)
    peer.install_agreed()
    await peer.send(Op.ACK_FLUSH)
    await peer.drain()
    return peer


def checked(peer: Peer) -> list[Packet]:
    """What has come with numbers that belong to the newest check code, except for ACK_CONNECT_REQ (A7)."""
    first = peer.receiving[-1].first
    kinds = OUT_OF_BAND | {Op.PERSIST, Op.PURE_DATA, Op.RELEASE}
    return [packet for packet in peer.received if packet.op in kinds and later(packet.sn, first) >= 0]


def that_differ(peer: Peer, packet: Packet, wrong: Wrong) -> Wrong:
    """Mistakes that make a difference to this packet."""
    right = peer.encode(packet)
    return {words: each for words, each in wrong.items() if peer.wire.encode(packet, each) != right}


async def neither_way(bench: Bench, mistakes: Mistakes) -> None:
    """The target's check codes have none of these mistakes, and a packet with one of them is dropped."""
    peer = await begun(bench)
    right, wrong = peer.sending[-1].protection, mistakes(peer)
    await speaks(peer, right, wrong)
    for _ in range(2):
        for packet in checked(peer):
            judge(bench, packet, right, wrong)
        peer.sn = (peer.sn + 1) & MASK
        await peer.acknowledge()
        await peer.send(question(peer))
        await peer.drain()
    peer.sn = (peer.sn + 1) & MASK
    bodies = {packet.in_band for packet in checked(peer) if packet.payload or packet.extensions}
    if bodies != {True, False}:
        raise Inconclusive("the target sent no packet with payload, or none with extension headers")
    await peer.acknowledge()
    await steady(peer)
    packet = question(peer)
    await refuses(peer, that_differ(peer, packet, wrong), packet)
    await takes(peer, packet)


async def flush_refused(bench: Bench, mistakes: Mistakes) -> None:
    """ACK_FLUSH with these mistakes does not count, without them it does."""
    peer = await waits_for_flush(bench)
    flush = peer.packet(Op.ACK_FLUSH)
    await refuses(peer, that_differ(peer, flush, mistakes(peer)), flush)
    await takes_flush(peer, flush)


# 1.2

case(REVISION, "1.2/foreign-source-ultid-dropped", quick=True)(s04_malformed.wrong_source)


@case(REVISION, "1.2/foreign-source-ultid-dropped:aead", service="keyed", needs=("aead",))
async def stranger(bench: Bench) -> None:
    """Under the key, PERSIST, RELEASE and RESET from two other ULTIDs are dropped, whatever pair is sealed in."""
    peer = await sane(bench)
    packets = question(peer), peer.packet(Op.RELEASE), peer.packet(Op.RESET, reason=1)
    for packet in packets:
        for ultid in (bytes([peer.local[0] ^ 1]) + peer.local[1:], peer.remote):
            await peer.send_octets(ultid + peer.encode(packet)[4:])
            await peer.send_octets(peer.encode(replace(packet, source=ultid)))
            await peer.quiet(otherwise=f"{packet.name} from another source ULTID was answered")
    await takes(peer, packets[0])


# 1.3


@case(REVISION, "1.3/aead-by-default", service="keyed", needs=("aead",))
async def by_default(bench: Bench) -> None:
    """A packet that the key authenticates only is dropped; one that it seals is taken, and the echo is sealed."""
    peer = await begun(bench)
    right = aead_of(peer)
    alone = Mac(right.key)
    packet = question(peer)
    flagged = replace(packet, flags=packet.flags | FLAG_HMAC)
    await peer.send_octets(peer.wire.encode(flagged, alone))
    await peer.quiet(otherwise="the key is used for authentication only")
    await speaks(peer, right, {"that of authentication only": alone})
    for answer in checked(peer):
        judge(bench, answer, right, {"that of authentication only": alone})


# 1.4


@case(REVISION, "1.4/key-from-eot-on", service="keyed", needs=("aead",), quick=True)
async def from_eot_on(bench: Bench) -> None:
    """The echoes that follow the agreement, of several packets, are all under the key, the first one included."""
    peer = await begun(bench)
    right, old = peer.sending[-1].protection, settled(peer)
    await speaks(peer, right, {"still CRC64": old})
    peer.sn = (peer.sn + 1) & MASK
    await peer.acknowledge()
    await peer.transaction(bytes(2500))
    await peer.drain()
    found = [packet for packet in checked(peer) if packet.in_band]
    for packet in found:
        judge(bench, packet, right, {"still CRC64": old})
    if not {0, 1, 2} <= {(packet.sn - peer.receiving[-1].first) & MASK for packet in found}:
        raise Inconclusive("not all packets that follow the agreement came")


@case(REVISION, "1.4/old-key-before-eot", service="keyed", needs=("aead",))
async def old_repeat(bench: Bench) -> None:
    """Our end of the agreement comes once more, under CRC64, when the key is installed: it draws ACK_FLUSH."""
    peer, last = await agreed(bench)
    peer.install_agreed()
    await peer.drain()
    start = len(peer.received)
    await peer.send(last)
    await peer.drain(bench.patience)
    answers = [packet for packet in peer.received[start:] if packet.op in OUT_OF_BAND]
    for packet in answers:
        covered(bench, packet)
    if not any(map(acknowledging(peer.sn), answers)):
        raise Lenient("a repeat under the old check code is not acknowledged")
    await peer.send(Op.ACK_FLUSH)
    await peer.echo(b"under the key")


@case(REVISION, "1.4/old-icc-after-eot", service="keyed", needs=("aead",), quick=True)
async def crc_after_key(bench: Bench) -> None:
    """ACK_FLUSH, PERSIST, RELEASE and RESET with CRC64 are dropped when the key is in use."""
    await flush_refused(bench, lambda peer: {"still CRC64": settled(peer)})
    peer = await sane(bench)
    packet = question(peer)
    for each in (packet, peer.packet(Op.RELEASE), peer.packet(Op.RESET, reason=1)):
        await refuses(peer, {"still CRC64": settled(peer)}, each)
    await takes(peer, packet)


case(REVISION, "1.4/repeat-under-old-key", service="keyed", needs=("aead",), slow=True)(s07_keys.repeats_stay_old)


@case(REVISION, "1.4/out-of-band-by-number", service="keyed", needs=("aead",))
async def follows_number(bench: Bench) -> None:
    """SNACKs that come before the first packet under the key have a lower number and CRC64, later ones the key."""
    peer = await begun(bench)
    new, old, switch = peer.sending[-1].protection, settled(peer), peer.receiving[-1].first
    start = len(peer.received)
    await peer.send(Op.PERSIST)
    await peer.drain()
    await peer.send(Op.PURE_DATA, b"something to echo")
    await peer.drain()
    await peer.acknowledge()
    await peer.send(Op.PURE_DATA, b", and the end", flags=FLAG_EOT)
    await peer.drain()
    newest = peer.stream[0].sn
    for packet in peer.received:
        if packet.in_band:
            newest = packet.sn if later(packet.sn, newest) > 0 else newest
            continue
        if packet.op not in OUT_OF_BAND:
            continue
        if later(packet.sn, newest) > 0:
            raise Violation(f"{packet.name} carries {packet.sn}, and no packet with that number has come yet", packet)
        under_key = later(packet.sn, switch) >= 0
        right, wrong = (new, {"still CRC64": old}) if under_key else (old, {"made with the key already": new})
        judge(bench, packet, right, wrong)
    sides = {later(packet.sn, switch) >= 0 for packet in peer.received[start:] if packet.op in OUT_OF_BAND}
    if sides != {True, False}:
        raise Inconclusive("the target did not send SNACKs both before and after its first packet under the key")


# 6.1


@case(REVISION, "6.1/crc64-before-key", quick=True)
async def before_key(bench: Bench) -> None:
    """Data, SNACKs and what follows our RELEASE have CRC64 and no HMAC flag, as no key is installed."""
    peer = await begun(bench)
    await peer.commit()
    await peer.drain()
    for _ in range(2):
        await peer.send(Op.PERSIST, bytes(1000))
        await peer.drain()
        await peer.send(Op.PURE_DATA, bytes(1000), flags=FLAG_EOT)
        await peer.drain()
        await peer.acknowledge()
        await peer.drain(bench.blink)
    await peer.send(Op.RELEASE)
    await peer.drain()
    for packet in checked(peer):
        covered(bench, packet)
        if packet.flags & FLAG_HMAC:
            raise Violation("a packet under CRC64 has the HMAC flag", packet)
    missing = {Op.PERSIST, Op.PURE_DATA, Op.KEEP_ALIVE, Op.ACK_FLUSH} - {packet.op for packet in peer.received}
    if missing:
        raise Inconclusive(f"the target sent no {', '.join(sorted(missing))}")


@case(REVISION, "6.1/crc64-polynomial")
async def polynomial(bench: Bench) -> None:
    """The right CRC of 64 bits is understood and sent, four others are neither."""
    await neither_way(bench, other_polynomials)


@case(REVISION, "6.1/start-from-ultids")
async def start_value(bench: Bench) -> None:
    """Sums start neither from the ULTIDs in another order, nor from the listener's, nor without them; none is taken."""

    def wrong(peer: Peer) -> Wrong:
        def listeners(frame: Frame) -> Frame:
            return replace(frame, ids=frame.ids.replace(peer.remote, bench.service))

        return {**other_starts(peer), "made with the ULTID of the listener": Twisted(settled(peer), listeners)}

    await neither_way(bench, wrong)


def code_and_cookie(peer: Peer) -> Wrong:
    code, cookie, *rest = words_of(peer)
    right = settled(peer)
    parts = {
        "made with the cookie before the check code": (cookie, code, *rest),
        "made without the check code": (cookie, *rest),
        "made without the cookie": (code, *rest),
        "made with the check code from right to left": (code[::-1], cookie, *rest),
        "made with the cookie from right to left": (code, cookie[::-1], *rest),
    }
    return {
        **{words: crc(peer, parts=each) for words, each in parts.items()},
        "made with another check code": replace(right, check_code=xor(right.check_code, ONE_BIT)),
        "made with another cookie": replace(right, cookie=xor(right.cookie, ONE_BIT)),
    }


def salt_and_delta(peer: Peer) -> Wrong:
    code, cookie, both, time = words_of(peer)
    salt, delta, right = peer.salt, peer.time_delta, settled(peer)
    parts = {
        "made with the time delta before the salt": (code, cookie, delta, salt, time),
        "made with salt and time delta before the check code": (both, code, cookie, time),
        "made with both as one number from right to left": (code, cookie, both[::-1], time),
        "made with the salt from right to left": (code, cookie, salt[::-1], delta, time),
        "made with the time delta from right to left": (code, cookie, salt, delta[::-1], time),
        "made without the salt": (code, cookie, delta, time),
        "made without the time delta": (code, cookie, salt, time),
    }
    return {
        **{words: crc(peer, parts=each) for words, each in parts.items()},
        "made with another salt": replace(right, salt=xor(right.salt, ONE_BIT[:4])),
        "made with another time delta": replace(right, time_delta=xor(right.time_delta, ONE_BIT[:4])),
    }


def time_last(peer: Peer) -> Wrong:
    code, cookie, both, time = words_of(peer)
    answer = next(packet for packet in peer.received if packet.op is Op.ACK_CONNECT_REQ)
    parts = {
        "made with the timestamp in front": (time, code, cookie, both),
        "made with the timestamp before the salt": (code, cookie, time, both),
        "made with the timestamp from right to left": (code, cookie, both, time[::-1]),
        "made with the time of ACK_CONNECT_REQ": (code, cookie, both, answer.icc or b""),
        "made without the timestamp": (code, cookie, both),
    }
    return {
        **{words: crc(peer, parts=each) for words, each in parts.items()},
        "made with another timestamp": replace(settled(peer), timestamp=peer.timestamp ^ 1),
    }


@case(REVISION, "6.1/check-code-then-cookie")
async def first_words(bench: Bench) -> None:
    """Check codes made with check code and cookie in another order, altered, or without one, are not sent nor taken."""
    await neither_way(bench, code_and_cookie)


@case(REVISION, "6.1/salt-then-time-delta")
async def middle_words(bench: Bench) -> None:
    """Check codes made with salt and time delta in another order, altered, or without one, are not sent nor taken."""
    await neither_way(bench, salt_and_delta)


@case(REVISION, "6.1/timestamp-last")
async def last_words(bench: Bench) -> None:
    """Check codes made with the timestamp elsewhere, with another one, or without it are not sent nor taken."""
    await neither_way(bench, time_last)


def covering_more(peer: Peer) -> dict[str, Protection]:
    return {
        "that of the whole packet": crc(peer, cover=all_of_it),
        "that of all headers": crc(peer, cover=lambda frame, first: frame.filled(first) + frame.clear),
        "that of the fixed header and the payload": crc(
            peer, cover=lambda frame, first: frame.filled(first) + frame.body
        ),
        "summed with the ULTIDs in front": crc(peer, cover=lambda frame, first: frame.ids + frame.filled(first)),
    }


@case(REVISION, "6.1/crc64-of-header")
async def header_alone(bench: Bench) -> None:
    """Data and SNACKs: the second sum is of the fixed header alone and from 0 on, both ways."""
    await neither_way(bench, lambda peer: {**covering_more(peer), **other_second_sums(peer)})
    await flush_refused(bench, covering_more)


@case(REVISION, "6.1/changed-header-dropped", quick=True)
async def altered_header(bench: Bench) -> None:
    """Octet by octet, the fixed headers of PERSIST and ACK_FLUSH are altered: nothing happens till they are right."""
    peer = await waits_for_flush(bench)
    flush = peer.packet(Op.ACK_FLUSH)
    await refuses_altered(peer, peer.encode(flush), end=FIXED_END)
    await takes_flush(peer, flush)
    other = await sane(bench)
    packet = question(other)
    await refuses_altered(other, other.encode(packet), end=FIXED_END)
    await takes(other, packet)
