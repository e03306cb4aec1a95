"""Section 6, the responder's side: what a target does for whoever connects to it."""

from __future__ import annotations

import itertools
from dataclasses import replace

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import an, carrying
from spec_conformance.peer import Peer
from spec_conformance.verdict import Inconclusive, Lenient, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, later

REVISION = "gao-07"
OLD_COOKIE = 58.0
"""Seconds after which a cookie is sent back: an initiator gives up after 60."""


async def greeted(bench: Bench) -> Peer:
    """A peer that has an ACK_INIT_CONNECT."""
    peer = await bench.peer()
    await peer.greet()
    peer.start_checking()
    return peer


@case(REVISION, "6/order-of-exchanges", quick=True)
async def whole_handshake(bench: Bench) -> None:
    """The whole handshake, and an echo over the connection that it makes."""
    peer = await bench.peer()
    await peer.connect()
    await peer.transaction(b"after the handshake")
    answer = await peer.read_transaction()
    if answer != b"after the handshake":
        raise Violation(f"the echo was {answer!r}", peer.received[-1])


@case(REVISION, "6.1/host-name-tolerated")
async def host_name(bench: Bench) -> None:
    """INIT_CONNECT with a host name of 255 octets is answered."""
    peer = await bench.peer()
    name = "ä" + "a" * 249 + ".net"
    await peer.send(Op.INIT_CONNECT, name.encode()[:255], destination=bench.service)
    await peer.expect(Op.ACK_INIT_CONNECT)


@case(REVISION, "6.1/broken-host-name-dropped")
async def broken_host_name(bench: Bench) -> None:
    """INIT_CONNECT with a name that is not UTF-8 is not answered."""
    peer = await bench.peer()
    for name in (b"\xff\xfe.net", b"host\xc3", b"\xed\xa0\x80"):
        await peer.send(Op.INIT_CONNECT, name, destination=bench.service)
        await peer.quiet(otherwise=f"INIT_CONNECT with the host name {name!r} was answered")
    await peer.greet()


@case(REVISION, "6.1/long-host-name-dropped")
async def long_host_name(bench: Bench) -> None:
    """INIT_CONNECT with a name of 256 octets, and of 1,400, is not answered."""
    peer = await bench.peer()
    for length in (256, 1400):
        await peer.send(Op.INIT_CONNECT, b"a" * length, destination=bench.service)
        await peer.quiet(otherwise=f"INIT_CONNECT with a host name of {length} octets was answered")
    await peer.greet()


@case(REVISION, "6.2/answers-with-cookie", "6.4/valid-cookie-accepted", quick=True)
async def cookie_comes_back(bench: Bench) -> None:
    """One ACK_INIT_CONNECT, whose cookie opens the connection, from the ULTID that was offered."""
    peer = await bench.peer()
    await peer.send(Op.INIT_CONNECT, destination=bench.service)
    answer = await peer.expect(Op.ACK_INIT_CONNECT)
    if answer.check_code != peer.check_code:
        raise Violation("ACK_INIT_CONNECT has another Init-Check-Code", answer)
    await peer.quiet(otherwise="INIT_CONNECT was answered twice")
    peer.learn(answer)
    peer.start_checking()
    await peer.send(peer.request())
    accepted = await peer.expect(Op.ACK_CONNECT_REQ)
    if accepted.source != answer.source:
        raise Violation(
            "ACK_CONNECT_REQ does not come from the ULTID that was offered",
            accepted,
            expected=answer.source.hex(),
            seen=accepted.source.hex(),
        )


@case(REVISION, "6.2/answers-from-new-ultid")
async def new_ultid(bench: Bench) -> None:
    """Two initiators are offered ULTIDs that are neither the listener's nor equal."""
    offered = []
    for _ in range(2):
        peer = await bench.peer()
        answer = await peer.greet()
        if answer.source == bench.service:
            raise Violation("ACK_INIT_CONNECT comes from the listener's own ULTID", answer)
        if answer.source in offered:
            raise Violation("two initiators were offered one ULTID", answer)
        offered.append(answer.source)


@case(REVISION, "6.2/listener-in-sink-parameter")
async def listener_named(bench: Bench) -> None:
    """ACK_INIT_CONNECT has a Sink Parameter with the listener's ULTID."""
    peer = await bench.peer()
    answer = await peer.greet()
    if answer.sink is None:
        raise Violation("ACK_INIT_CONNECT has no Sink Parameter", answer)
    if answer.sink.listener_or_host != bench.service:
        raise Violation(
            "the Sink Parameter of ACK_INIT_CONNECT names another listener",
            answer,
            expected=bench.service.hex(),
            seen=answer.sink.listener_or_host.hex(),
        )


@case(REVISION, "6.2/answers-to-source-address")
async def source_address(bench: Bench) -> None:
    """Two addresses use one ULTID: each gets the answer to what it has sent itself, and nothing else."""
    first, second = await bench.peer(), await bench.peer()
    second.local = first.local
    await second.send(Op.INIT_CONNECT, destination=bench.service)
    answer = await second.expect(Op.ACK_INIT_CONNECT)
    if answer.check_code != second.check_code:
        raise Violation("the answer has another's Init-Check-Code", answer)
    await first.quiet(otherwise="an INIT_CONNECT was answered at another address than it came from")
    await first.greet()


@case(REVISION, "6.2/stateless-on-init-connect")
async def stateless(bench: Bench) -> None:
    """Each of many INIT_CONNECTs is answered, none leaves anything, and a connection can be made."""
    peer = await bench.peer()
    for _ in range(20):
        peer.check_code = bench.random.randbytes(8)
        answer = await peer.greet()
        if answer.check_code != peer.check_code:
            raise Violation("an INIT_CONNECT was answered with the Init-Check-Code of an earlier one", answer)
    await peer.quiet(otherwise="the responder speaks by itself after INIT_CONNECT")
    other = await bench.peer()
    await other.connect()


@case(REVISION, "6.2/silence-when-refusing")
async def nobody_listens(bench: Bench) -> None:
    """INIT_CONNECT to an ULTID where nobody listens draws nothing, not even RESET."""
    peer = await bench.peer()
    for ultid in (b"\x00\x00\x00\x01", b"\x70\x01\x02\x03", bytes(4), b"\xff\xff\xff\xff"):
        await peer.send(Op.INIT_CONNECT, destination=ultid)
        await peer.quiet(otherwise=f"INIT_CONNECT to {ultid.hex()}, where nobody listens, was answered")
    await peer.greet()


@case(REVISION, "6.3/initiator-name-tolerated")
async def initiator_name(bench: Bench) -> None:
    """CONNECT_REQUEST with a host name is accepted, and the echo does not contain the name."""
    peer = await greeted(bench)
    await peer.send(peer.request(payload=b"initiator.example.net"))
    peer.accepted(await peer.expect(Op.ACK_CONNECT_REQ))
    peer.established = True
    await peer.transaction(b"data")
    answer = await peer.read_transaction()
    if answer != b"data":
        raise Violation(f"the echo of 4 octets was {answer!r}: a host name is no data", peer.received[-1])


@case(REVISION, "6.4/altered-cookie-unanswered", quick=True)
async def altered_cookie(bench: Bench) -> None:
    """CONNECT_REQUEST with a cookie that is altered in any one bit position of its octets draws nothing."""
    peer = await greeted(bench)
    right = peer.cookie
    for place in range(8):
        wrong = bytearray(right)
        wrong[place] ^= 1 << bench.random.randrange(8)
        await peer.send(peer.request(cookie=bytes(wrong)))
    await peer.send(peer.request(cookie=bytes(8)))
    await peer.quiet(otherwise="a CONNECT_REQUEST with a cookie that the responder has not made was answered")
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "6.4/cookie-binds-request")
async def cookie_for_another(bench: Bench) -> None:
    """The right cookie with another salt, time, check code, time delta or source ULTID draws nothing."""
    peer = await greeted(bench)
    request = peer.request()
    local = peer.local
    changes = {
        "Salt": replace(request, salt=bytes([request.salt[0] ^ 1]) + request.salt[1:]),
        "Timestamp": replace(request, timestamp=request.timestamp ^ 1),
        "Init-Check-Code": replace(request, check_code=bytes([request.check_code[0] ^ 1]) + request.check_code[1:]),
        "Time Delta": replace(request, time_delta=request.time_delta[:3] + bytes([request.time_delta[3] ^ 1])),
        "source ULTID": replace(request, source=b"\x7e" + local[1:]),
    }
    for name, changed in changes.items():
        peer.local = changed.source
        await peer.send(changed)
        await peer.quiet(otherwise=f"a CONNECT_REQUEST with another {name} than the cookie was made for was answered")
    peer.local = local
    await peer.send(request)
    await peer.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "6.4/late-request-accepted", slow=True)
async def late_request(bench: Bench) -> None:
    """A cookie that comes back after nearly a minute opens the connection."""
    peer = await greeted(bench)
    await bench.sleep(OLD_COOKIE)
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ, otherwise=f"a cookie was refused after {OLD_COOKIE:.0f} seconds")


@case(REVISION, "6.4/initial-number-random")
async def random_numbers(bench: Bench) -> None:
    """Initial numbers of five connections are neither equal nor evenly spaced."""
    numbers = []
    for _ in range(5):
        peer = await bench.peer()
        numbers.append((await peer.challenge()).sn)
        peer.established = True
    if len(set(numbers)) < len(numbers):
        raise Violation(f"connections began with the same number: {numbers}")
    steps = {(b - a) & MASK for a, b in itertools.pairwise(numbers)}
    if len(steps) == 1 or all(step < 100_000 for step in steps):
        raise Lenient(f"the initial numbers can be guessed: {numbers}")


@case(REVISION, "6.4/counts-from-ack-connect-req")
async def counts_on(bench: Bench) -> None:
    """The first packet of the echo has the number after that of ACK_CONNECT_REQ."""
    peer = await bench.peer()
    await peer.connect()
    first = (peer.target_initial_sn + 1) & MASK
    await peer.transaction(b"count")
    packet = await peer.expect(an(Op.PERSIST, Op.PURE_DATA, Op.NULCOMMIT))
    if packet.sn != first:
        raise Violation("numbers do not go on from ACK_CONNECT_REQ", packet, expected=str(first), seen=str(packet.sn))


@case(REVISION, "6.4/expected-is-initial-number")
async def expected_number(bench: Bench) -> None:
    """ACK_CONNECT_REQ expects the Initial SN of the request, at the edges of the number space too."""
    for initial in (0, 1, MASK, 0x80000000, bench.random.getrandbits(32)):
        peer = await bench.peer()
        peer.initial_sn = peer.sn = peer.acknowledged = initial
        answer = await peer.challenge()
        peer.established = True
        if answer.expected != initial:
            raise Violation(
                "ACK_CONNECT_REQ expects another number", answer, expected=str(initial), seen=str(answer.expected)
            )


@case(REVISION, "6.4/other-initial-number-dropped")
async def other_number(bench: Bench) -> None:
    """A repeated CONNECT_REQUEST with another Initial SN is not answered, and does not move the connection."""
    peer = await bench.peer()
    answer = await peer.challenge()
    peer.established = True
    await bench.sleep(2 * bench.silence)  # a responder may answer repeats only so often
    await peer.send(peer.request(initial_sn=(peer.initial_sn + 7) & MASK))
    for packet in await peer.drain():
        if packet.op is Op.ACK_CONNECT_REQ and packet.expected != answer.expected:
            raise Violation("a repeated CONNECT_REQUEST has moved the Initial SN", packet)
        raise Violation(f"a CONNECT_REQUEST with another Initial SN drew {peer.describe(packet)}", packet)
    await peer.commit()
    await peer.expect(Op.ACK_FLUSH)


@case(REVISION, "6.5/reset-instead-of-confirmation")
async def reset_confirms_nothing(bench: Bench) -> None:
    """RESET in place of the confirmation ends the connection: a NULCOMMIT afterwards is not acknowledged."""
    peer = await bench.peer()
    await peer.challenge()
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    await peer.commit()
    await peer.quiet(
        but=an(Op.RESET), otherwise="a connection that was reset in place of its confirmation was confirmed"
    )


@case(REVISION, "6.5/illegitimate-reset-ignored")
async def forged_resets(bench: Bench) -> None:
    """RESETs with a wrong check code, or numbers out of the window, do not keep the confirmation from counting."""
    peer = await bench.peer()
    await peer.challenge()
    await peer.send(Op.RESET, reason=1, icc=bytes(8))
    far = (peer.sn + 2**24) & MASK
    await peer.send(Op.RESET, reason=1, sn=far)
    await peer.send(Op.RESET, reason=1, sn=(peer.sn - 2**24) & MASK)
    await peer.quiet(otherwise="a RESET that is not legitimate was answered")
    peer.established = True
    await peer.commit()
    await peer.expect(Op.ACK_FLUSH, otherwise="a RESET that is not legitimate ended the connection")


@case(REVISION, "6.5/pure-data-does-not-confirm")
async def pure_data_first(bench: Bench) -> None:
    """PURE_DATA before the confirmation is not acknowledged; NULCOMMIT confirms as if it had not come."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await peer.send(Op.PURE_DATA, b"too early", sn=peer.sn, flags=FLAG_EOT)
    came = await peer.quiet(but=an(Op.KEEP_ALIVE))
    if any(packet.acknowledged is not None and later(packet.acknowledged, peer.sn) > 0 for packet in came):
        raise Violation("PURE_DATA was taken for a confirmation", came[0])
    await peer.transaction(b"confirms")
    answer = await peer.read_transaction()
    if answer != b"confirms":
        raise Violation(f"the echo is {answer!r}: PURE_DATA before the confirmation was delivered", peer.received[-1])


@case(REVISION, "6.5/confirmation-must-acknowledge")
async def must_acknowledge(bench: Bench) -> None:
    """NULCOMMIT that does not acknowledge ACK_CONNECT_REQ confirms nothing; the right one does."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    for expected in (peer.target_initial_sn, (peer.target_initial_sn - 1) & MASK, (peer.expected + 1) & MASK):
        await peer.commit(sn=peer.sn, expected=expected)
        await peer.quiet(
            otherwise=f"NULCOMMIT that expects {expected} confirmed ACK_CONNECT_REQ {peer.target_initial_sn}"
        )
    await peer.commit()
    await peer.expect(Op.ACK_FLUSH)


@case(REVISION, "6.6/ack-init-connect-sent-once", slow=True)
async def answered_once(bench: Bench) -> None:
    """No further ACK_INIT_CONNECT within 40 seconds, though no CONNECT_REQUEST comes."""
    peer = await greeted(bench)
    await peer.quiet(40.0, otherwise="ACK_INIT_CONNECT was repeated")


@case(REVISION, "6.6/ack-connect-req-not-repeated", slow=True)
async def accepted_once(bench: Bench) -> None:
    """No further ACK_CONNECT_REQ within 40 seconds, though nothing confirms it."""
    peer = await bench.peer()
    await peer.challenge()
    await peer.quiet(40.0, but=an(Op.RESET), otherwise="ACK_CONNECT_REQ was repeated without being asked for")


@case(REVISION, "6.4/rejection-is-reset", "4.9/answers-connect-request", alone=True)
async def rejection(bench: Bench) -> None:
    """More connections than can wait to be confirmed: those that are refused hear RESET with their cookie."""
    for number in range(400):
        peer = await bench.peer()
        await peer.greet()
        peer.start_checking()
        await peer.send(peer.request())
        answer = await peer.next()
        if answer is None:
            raise Lenient(f"request {number + 1} was refused in silence")
        if answer.op is Op.RESET:
            if (answer.timestamp, answer.cookie) != (peer.timestamp, peer.cookie):
                raise Violation("RESET does not repeat Timestamp and Cookie of the request", answer)
            return
        if answer.op is not Op.ACK_CONNECT_REQ:
            raise Violation(f"a CONNECT_REQUEST was answered with {peer.describe(answer)}", answer)
        peer.accepted(answer)
        peer.established = True
    raise Inconclusive("400 connections can wait to be confirmed: none was refused")


@case(REVISION, "6.3/initial-number-is-next:responder")
async def first_number(bench: Bench) -> None:
    """The responder takes the first packet under the Initial SN that was requested, and none before it."""
    peer = await bench.peer()
    await peer.challenge()
    peer.established = True
    await peer.send(Op.PERSIST, b"one too early", sn=(peer.sn - 1) & MASK, flags=FLAG_EOT)
    await peer.quiet(but=an(Op.KEEP_ALIVE), otherwise="a packet before the Initial SN was taken")
    await peer.transaction(b"the first")
    await peer.expect(carrying(b"the first"))
