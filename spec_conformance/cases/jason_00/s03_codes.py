"""Section 3.3: operation codes, and what packets of each kind may have."""

from __future__ import annotations

from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import Script, case
from spec_conformance.cases.gao_07.s04_layouts import connected
from spec_conformance.cases.gao_07.s04_malformed import still_well
from spec_conformance.cases.gao_07.s06_initiator import accepted, requested
from spec_conformance.cases.jason_00.s03_headers import RELEASED, believed, come, spoken, stack
from spec_conformance.cases.jason_00.s03_normal_header import FLUSH, IN_STREAM, fields
from spec_conformance.expect import DATA, acknowledging, an, carrying, ending
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Violation
from spec_conformance.wire.jason import FIXED, PEER_SUBNETS, SELECTIVE_NACK
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Packet, Sink, Snack, later

REVISION: Final = "jason-00"
MIND: Final = 0x40

# 3.3: codes


def must_have_code(bench: Bench, packet: Packet, code: int, what: str) -> None:
    found = fields(bench, packet)[23]
    if found != code:
        raise Violation(f"{what} has operation code {found}", packet, expected=str(code), seen=str(found))


async def first(peer: Peer, otherwise: str) -> Packet:
    """The next packet, whatever it is: its code is what is asked."""
    packet = await peer.next()
    if packet is None:
        raise Inconclusive(otherwise)
    return packet


@case(REVISION, "3.3/codes-of-negotiation", quick=True)
async def negotiation_codes(bench: Bench) -> None:
    """1 draws 2, 3 draws 4, and after 5 nothing is there any more."""
    peer = await bench.peer()
    await peer.send(Op.INIT_CONNECT, destination=bench.service)
    answer = await first(peer, "INIT_CONNECT was not answered")
    must_have_code(bench, answer, 2, "what answers INIT_CONNECT")
    peer.learn(answer)
    peer.start_checking()
    await peer.send(peer.request())
    answer = await first(peer, "CONNECT_REQUEST was not answered")
    must_have_code(bench, answer, 4, "what answers CONNECT_REQUEST")
    peer.accepted(answer)
    peer.established = True
    await peer.commit()
    await peer.reach(FLUSH & acknowledging(peer.sn))
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    await peer.send(Op.PERSIST, b"gone?", flags=FLAG_EOT)
    await peer.quiet(but=an(Op.RESET), otherwise="operation code 5 did not end the connection")


@case(REVISION, "3.3/codes-of-negotiation:initiator", role="initiator")
async def client_codes(bench: Bench) -> None:
    """A client begins with 1, and goes on with 3."""
    peer = await bench.waiting_peer()
    peer.listener = bench.service
    greeting = await peer.next(bench.client_patience)
    if greeting is None:
        raise Inconclusive("no client came")
    must_have_code(bench, greeting, 1, "a client's first packet")
    peer.put_back([greeting])
    await peer.hear_greeting()
    await peer.send(peer.offer())
    must_have_code(bench, await first(peer, "ACK_INIT_CONNECT was not answered"), 3, "what answers ACK_INIT_CONNECT")


@case(REVISION, "3.3/codes-of-connection", quick=True)
async def connection_codes(bench: Bench) -> None:
    """Known by what they do: 6 begins an echo, 9 goes on, 7 and 10 acknowledge, 11 releases; 17 and 18 extend."""
    peer = await bench.peer()
    answer = await peer.challenge()
    peer.established = True
    if fields(bench, answer)[71] != PEER_SUBNETS:
        raise Violation("the Sink Parameters of ACK_CONNECT_REQ have another code", answer, expected="17")
    await peer.send(Op.PERSIST, b"begins")
    begun = await peer.drain()
    await peer.send(Op.KEEP_ALIVE)
    await peer.send(Op.PURE_DATA, b"goes on")
    begun += await peer.drain()
    await peer.send(Op.KEEP_ALIVE)
    await peer.send(Op.PURE_DATA, b"ends", flags=FLAG_EOT)
    ended = await peer.drain()
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.send(Op.RELEASE)
    released = await peer.drain()
    data = {packet.payload: packet for packet in (*begun, *ended) if packet.payload}
    if not {b"begins", b"goes on"} <= set(data):
        raise Inconclusive("the echo did not come as it was sent", data.get(b"begins"))
    must_have_code(bench, data[b"begins"], 6, "what begins an echo")
    must_have_code(bench, data[b"goes on"], 9, "what continues an echo")
    told = {code: [packet for packet in came if tells(bench, packet)] for code, came in ((7, begun), (10, ended))}
    for code, packets in told.items():
        if not packets:
            raise Inconclusive("what was sent was not acknowledged out of band")
        when = "an open transaction" if code == 7 else "a complete transaction"
        must_have_code(bench, packets[-1], code, f"what acknowledges {when}")
        if fields(bench, packets[-1])[-1] != SELECTIVE_NACK:
            raise Violation(f"the SNACK of {packets[-1].name} has another code", packets[-1], expected="18")
    if not released:
        raise Inconclusive("RELEASE was not answered")
    must_have_code(bench, released[-1], 11, "what answers RELEASE")


def tells(bench: Bench, packet: Packet) -> bool:
    """Nothing but headers, more than the fixed one: an acknowledgement, whatever its code."""
    return not packet.payload and len(fields(bench, packet)) > FIXED


# 3.3: what the kinds may have, and which take numbers


@case(REVISION, "3.3/persist-options-or-payload")
async def either(bench: Bench) -> None:
    """Every PERSIST of a conversation, at the beginning of echoes and without octets at an end: never both."""
    check_persists(await spoken(bench))


@case(REVISION, "3.3/persist-options-or-payload:initiator", role="initiator")
async def either_of_client(bench: Bench) -> None:
    """The same of the PERSISTs with which a client confirms and sends its greeting."""
    peer, _ = await requested(bench)
    await peer.send(peer.acceptance())
    accepted(peer)
    await peer.reach(an(Op.PERSIST))
    await peer.send(Op.KEEP_ALIVE)
    await peer.drain()
    check_persists(peer)


def check_persists(peer: Peer) -> None:
    for packet in peer.received:
        if packet.op is Op.PERSIST and packet.payload and len(stack(peer.bench, packet)) > 1:
            seen = f"{len(packet.extensions)} extension headers, {len(packet.payload)} octets"
            raise Violation("a PERSIST has extension headers and payload", packet, expected="one of them", seen=seen)


@case(REVISION, "3.3/persist-both-accepted")
async def both_accepted(bench: Bench) -> None:
    """PERSIST with Sink Parameters, and with a SNACK, and payload behind: the payload is echoed, and nothing else."""
    peer = await connected(bench)
    for header in (Sink(), Snack(serial=1000)):
        data = b"behind " + type(header).__name__.encode()
        start = len(peer.stream)
        await peer.send(Op.PERSIST, data, flags=FLAG_EOT, extensions=(header,))
        await peer.expect(DATA, otherwise=f"a PERSIST with a header {type(header).__name__} and payload was not taken")
        while not peer.complete:
            await peer.expect(IN_STREAM)
        found = b"".join(packet.payload for packet in peer.stream[start:])
        if found != data:
            raise Violation("the payload of a PERSIST with a header is another", peer.stream[-1], seen=repr(found[:60]))
        await peer.acknowledge()
        await peer.drain(bench.blink)


@case(REVISION, "3.3/persist-takes-number")
async def number_taken(bench: Bench) -> None:
    """The target ends an echo with a PERSIST without octets: its next packet has the number after it."""
    peer = await connected(bench)
    await peer.send(Op.PERSIST, b"octets")
    await peer.reach(DATA & carrying(b"octets"))
    await peer.drain()
    await peer.send(Op.KEEP_ALIVE)
    await peer.commit()
    end = await peer.reach(IN_STREAM & ending(True))
    if end.payload or end.op is not Op.PERSIST:
        raise Inconclusive("the echo does not end with an empty PERSIST", end)
    await peer.send(Op.ACK_FLUSH)
    await peer.drain(bench.blink)
    await peer.send(Op.PERSIST, b"next", flags=FLAG_EOT)
    packet = await peer.expect(DATA & carrying(b"next"))
    wanted = (end.sn + 1) & MASK
    if packet.sn != wanted:
        text = "after a PERSIST without payload numbers do not go on with the next one"
        raise Violation(text, packet, expected=str(wanted), seen=str(packet.sn))


@case(REVISION, "3.3/persist-takes-number:received")
async def number_counted(bench: Bench) -> None:
    """PERSISTs of ours without octets, with EoT, without, and with octets: each is counted, the last is echoed."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    for payload, flags in ((b"", FLAG_EOT), (b"", 0), (b"octets", FLAG_EOT)):
        await peer.send(Op.PURE_DATA if payload else Op.PERSIST, payload, flags=flags)
        want = FLUSH if flags else an(Op.KEEP_ALIVE)
        packet = await peer.expect(want, otherwise=f"PERSIST {peer.sn - 1} was not acknowledged")
        if packet.acknowledged != peer.sn:
            text = f"{packet.name} does not expect the number after that of the packet"
            raise Violation(text, packet, expected=str(peer.sn), seen=str(packet.acknowledged))
    await peer.expect(DATA & carrying(b"octets"))


@case(REVISION, "3.3/out-of-band-takes-no-number")
async def no_number(bench: Bench) -> None:
    """KEEP_ALIVEs and ACK_FLUSHes of both ends between data: the next data always has the next number."""
    peer = await connected(bench)
    newest = peer.target_initial_sn
    between: set[Op | int] = set()
    for turn in range(6):
        data, ends = b"turn %d" % turn, turn % 2
        await peer.send(Op.PURE_DATA if ends else Op.PERSIST, data, flags=FLAG_EOT * ends)
        for packet in await peer.drain():
            between |= {packet.op} if packet.out_of_band else set()
            if not packet.in_band or later(packet.sn, newest) <= 0:
                continue
            if packet.sn != (newest + 1) & MASK:
                text = f"{packet.name} has not the number after that of the in-band packet before"
                raise Violation(text, packet, expected=str((newest + 1) & MASK), seen=str(packet.sn))
            newest = packet.sn
        if data not in [packet.payload for packet in peer.stream[-2:]]:
            raise Violation("data after out-of-band packets was not taken: they have taken its number", seen=repr(data))
        for _ in range(3):
            await peer.send(Op.KEEP_ALIVE)
        await peer.acknowledge()
    if between < {Op.KEEP_ALIVE, Op.ACK_FLUSH}:
        raise Inconclusive("the target did not send both kinds")


@case(REVISION, "3.3/mind-on-keep-alive-ignored", slow=True)
async def mind(bench: Bench) -> None:
    """KEEP_ALIVE with MIND acknowledges and tells of a gap: what it reports rests, what is missing comes again."""

    def with_mind(peer: Peer, expected: int, *gaps: tuple[int, int]) -> Packet:
        snack = Snack(gaps, serial=peer.serial)
        return peer.packet(Op.KEEP_ALIVE, expected=expected, flags=MIND, extensions=(snack,))

    await believed(bench, with_mind, "with MIND")


@case(REVISION, "3.3/pure-data-has-payload", "3.3/pure-data-without-options")
async def pure_data(bench: Bench) -> None:
    """Every PURE_DATA of a conversation, gaps and an end without octets included: pointer 24, and octets behind it."""
    peer = await spoken(bench)
    for packet in peer.received:
        if packet.op is not Op.PURE_DATA:
            continue
        if not packet.payload:
            raise Violation("a PURE_DATA without payload", packet, expected="one octet or more", seen="none")
        if packet.offset != FIXED:
            raise Violation("a PURE_DATA with extension headers", packet, expected="24", seen=str(packet.offset))


def check_release(bench: Bench, packet: Packet) -> None:
    octets = fields(bench, packet)
    if len(octets) != FIXED or octets[20:22] != bytes([0, FIXED]):
        seen = f"{len(octets)} octets, pointer {octets[20:22].hex()}"
        raise Violation("RELEASE is not the fixed header alone", packet, expected="24 octets, pointer 0018", seen=seen)


@case(REVISION, "3.3/release-without-payload")
async def bare_release(bench: Bench) -> None:
    """The RELEASE that answers ours."""
    peer = await connected(bench)
    await peer.echo(b"before the end")
    await peer.send(Op.RELEASE)
    check_release(bench, await come(peer, RELEASED))


@case(REVISION, "3.3/release-without-payload:first", service="closing", needs=("closing",))
async def bare_release_first(bench: Bench) -> None:
    """The RELEASE of a target that closes first."""
    peer = await connected(bench)
    await peer.echo(b"and then close")
    check_release(bench, await come(peer, RELEASED))


def smuggled(state: str, flags: int) -> Script:
    async def script(bench: Bench) -> None:
        peer = await bench.peer()
        await getattr(peer, f"reach_{state}")()
        release = peer.packet(Op.RELEASE, b"smuggled", flags=flags)
        await peer.send(release)
        came = await peer.drain()
        for packet in came:
            if b"smuggled" in packet.payload:
                raise Violation("payload of a RELEASE was delivered, for it is echoed", packet)
        if any(RELEASED(packet) for packet in came):
            return
        if state == "closable":
            await still_well(peer, "a RELEASE with payload")
            return
        await peer.send(Op.PURE_DATA, b"instead")
        wrong = "after a RELEASE with payload its number is not free, and no RELEASE answers it"
        await peer.expect(DATA & carrying(b"instead"), otherwise=wrong)

    words = " and EoT" if flags else ""
    script.__doc__ = f"RELEASE with payload{words} in {state.upper()}: no echo; RELEASE, or all goes on."
    return script


case(REVISION, "3.3/release-with-payload-refused")(smuggled("closable", 0))
case(REVISION, "3.3/release-with-payload-refused:eot")(smuggled("closable", FLAG_EOT))
case(REVISION, "3.3/release-with-payload-refused:active")(smuggled("active", 0))


@case(REVISION, "3.3/release-takes-number", service="closing", needs=("closing",))
async def release_number(bench: Bench) -> None:
    """The target's RELEASE has the number after that of its last packet."""
    peer = await connected(bench)
    await peer.echo(b"and then close")
    last = peer.stream[-1].sn if peer.stream[-1].op is not Op.RELEASE else peer.stream[-2].sn
    release = next(filter(RELEASED, peer.received), None) or await peer.reach(RELEASED)
    wanted = (last + 1) & MASK
    if release.sn != wanted:
        raise Violation("RELEASE has another number", release, expected=str(wanted), seen=str(release.sn))


@case(REVISION, "3.3/release-takes-number:received")
async def release_counted(bench: Bench) -> None:
    """Our RELEASE is acknowledged by the number after it; one numbered as the packet before it is none."""
    peer = await connected(bench)
    await peer.echo(b"before the end")
    await peer.send(Op.RELEASE, sn=(peer.sn - 1) & MASK)
    for packet in await peer.drain():
        if RELEASED(packet):
            raise Violation("a RELEASE with the number of the packet before it was taken", packet)
    release = await peer.send(Op.RELEASE)
    wanted = (release.sn + 1) & MASK
    answer = await peer.expect(RELEASED)
    if answer.expected != wanted:
        text = "RELEASE is not acknowledged as one more than its number"
        raise Violation(text, answer, expected=str(wanted), seen=str(answer.expected))
