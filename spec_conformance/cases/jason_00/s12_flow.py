"""Sections 12 and 13: numbers of services, paths, floods, replays, masquerade."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07 import s14_security
from spec_conformance.verdict import Violation
from spec_conformance.wire.keys import Aead
from spec_conformance.wire.packet import FLAG_EOT, Op

REVISION = "jason-00"

case(REVISION, "12.1/ultid-from-port", quick=True)(s14_security.port_to_ultid)


@case(REVISION, "12.3/first-packet-sets-path")
async def answers_return(bench: Bench) -> None:
    """Two initiators at ports of their own, step by step in turns: each gets its own answers, and no other ones."""
    peers = [await bench.peer() for _ in range(2)]
    for peer in peers:
        await peer.send(Op.INIT_CONNECT, destination=bench.service)
    for peer in peers:
        answer = await peer.expect(Op.ACK_INIT_CONNECT, otherwise="no answer comes to where INIT_CONNECT came from")
        if answer.check_code != peer.check_code:
            raise Violation("ACK_INIT_CONNECT went to another initiator", answer)
        peer.learn(answer)
        peer.start_checking()
    for peer in peers[::-1]:
        await peer.send(peer.request())
    for peer in peers:
        request = "no answer comes to where CONNECT_REQUEST came from"
        peer.accepted(await peer.expect(Op.ACK_CONNECT_REQ, otherwise=request))
        peer.established = True
    for number, peer in enumerate(peers):
        await peer.transaction(b"path %d" % number)
    for number, peer in enumerate(peers):
        answer_octets = await peer.read_transaction()
        if answer_octets != b"path %d" % number:
            raise Violation("the echo went along another path", seen=repr(answer_octets))


case(REVISION, "13.1/flood-of-false-cookies", slow=True)(s14_security.cookie_flood)
case(REVISION, "13.2/in-band-replay", quick=True)(s14_security.in_band_replay)
case(REVISION, "13.2/out-of-band-replay", quick=True)(s14_security.out_of_band_replay)


@case(REVISION, "13.4/wrong-key-refused", service="keyed", needs=("aead", "keyed"), quick=True)
async def wrong_key(bench: Bench) -> None:
    """Packets of five kinds with the right numbers, sealed under a key that differs in one bit: they change nothing."""
    peer = await bench.peer()
    await peer.reach_keyed()
    await peer.drain(4 * bench.silence)
    profile = bench.profile
    key = bytearray(profile.key[: profile.key_bits // 8])
    key[-1] ^= 1
    wrong = Aead.of_key(bytes(key))
    kinds = (
        peer.packet(Op.PERSIST, b"forged", flags=FLAG_EOT),
        peer.packet(Op.KEEP_ALIVE),
        peer.packet(Op.ACK_FLUSH),
        peer.packet(Op.RELEASE),
        peer.packet(Op.RESET, reason=1),
    )
    for packet in kinds:
        await peer.send_octets(peer.wire.encode(packet, wrong), packet)
    await peer.quiet(4 * bench.silence, otherwise="a packet under another key was answered")
    await peer.transaction(b"genuine")
    answer = await peer.read_transaction()
    if answer != b"genuine":
        raise Violation("packets under another key changed the echo", expected="genuine", seen=repr(answer))
