"""Section 6, the initiator's side: what a client does when it connects."""

from __future__ import annotations

from dataclasses import replace

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import an
from spec_conformance.peer import Peer
from spec_conformance.verdict import Lenient, Violation
from spec_conformance.wire.packet import MASK, Op, Packet, Sink

REVISION = "gao-07"
REPEAT = 15.0
"""Seconds after which a handshake packet is repeated (6.6)."""
GIVE_UP = 60.0
CONFIRMATION = an(Op.NULCOMMIT, Op.PERSIST)


async def requested(bench: Bench) -> tuple[Peer, Packet]:
    """A peer to which the client has sent its CONNECT_REQUEST."""
    peer = await bench.waiting_peer()
    return peer, await peer.hear_request()


def accepted(peer: Peer) -> None:
    """The client knows ACK_CONNECT_REQ."""
    peer.sn = (peer.initial_sn + 1) & MASK
    peer.established = True


@case(REVISION, "6.1/init-connect-comes-first", role="initiator", quick=True)
async def first_packet(bench: Bench) -> None:
    """The client's first packet is INIT_CONNECT, and it sends nothing else before it is answered."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    if peer.received[0].op is not Op.INIT_CONNECT:
        raise Violation("the first packet is not INIT_CONNECT", peer.received[0])
    await peer.quiet(but=an(Op.INIT_CONNECT))


@case(REVISION, "6.2/unknown-source-ultid-accepted", "6.3/sent-to-offered-ultid", role="initiator")
async def offered_ultid(bench: Bench) -> None:
    """The client takes the ULTID that ACK_INIT_CONNECT offers, and sends CONNECT_REQUEST there."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    peer.local = b"\x66\x55\x44\x33"
    await peer.send(peer.offer())
    await peer.expect(Op.CONNECT_REQUEST, otherwise="no CONNECT_REQUEST came to the ULTID that was offered")


async def refuses_offer(bench: Bench, wrong: str) -> None:
    """The client ignores one ACK_INIT_CONNECT, and takes the right one afterwards."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    right = peer.offer()
    local = peer.local
    match wrong:
        case "destination":
            changed = replace(right, destination=b"\x11\x22\x33\x44")
        case "check code":
            changed = replace(right, check_code=bytes([right.check_code[0] ^ 1]) + right.check_code[1:])
        case "own ULTID":
            changed = replace(right, source=peer.remote)
        case _:
            changed = replace(right, extensions=(Sink(b"\x00\x00\x00\x01"),))
    peer.local = changed.source
    await peer.send(changed)
    await peer.quiet(but=an(Op.INIT_CONNECT), otherwise=f"an ACK_INIT_CONNECT with a wrong {wrong} was taken")
    peer.local = local
    await peer.send(right)
    await peer.expect(
        Op.CONNECT_REQUEST, otherwise=f"the right ACK_INIT_CONNECT after one with a wrong {wrong} was not"
    )


@case(REVISION, "6.3/answer-to-other-ultid", role="initiator")
async def other_destination(bench: Bench) -> None:
    """ACK_INIT_CONNECT to another ULTID than the client's."""
    await refuses_offer(bench, "destination")


@case(REVISION, "6.3/wrong-check-code-ignored", role="initiator", quick=True)
async def other_check_code(bench: Bench) -> None:
    """ACK_INIT_CONNECT with one bit of the Init-Check-Code altered."""
    await refuses_offer(bench, "check code")


@case(REVISION, "6.3/own-ultid-offered", role="initiator")
async def own_ultid(bench: Bench) -> None:
    """ACK_INIT_CONNECT that offers the client its own ULTID."""
    await refuses_offer(bench, "own ULTID")


@case(REVISION, "6.3/other-listener-named", role="initiator")
async def other_listener(bench: Bench) -> None:
    """ACK_INIT_CONNECT whose Sink Parameter names another listener."""
    await refuses_offer(bench, "listener")


@case(REVISION, "6.3/accepted-answer-draws-request", role="initiator")
async def at_once(bench: Bench) -> None:
    """CONNECT_REQUEST follows ACK_INIT_CONNECT without delay."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    offered_at = bench.elapsed
    await peer.send(peer.offer())
    await peer.expect(Op.CONNECT_REQUEST)
    if bench.elapsed - offered_at > bench.patience / 2:
        raise Violation(f"CONNECT_REQUEST came {bench.elapsed - offered_at:.2f} s after ACK_INIT_CONNECT")


@case(REVISION, "6.3/second-answer-ignored", role="initiator", slow=True)
async def second_offer(bench: Bench) -> None:
    """A second ACK_INIT_CONNECT with another cookie: repeats of CONNECT_REQUEST keep the first one."""
    peer, request = await requested(bench)
    await peer.send(peer.offer(cookie=bytes(8)))
    again = await peer.expect(Op.CONNECT_REQUEST, 1.6 * REPEAT)
    if again.cookie != request.cookie:
        raise Violation("a second ACK_INIT_CONNECT changed the cookie of CONNECT_REQUEST", again)


@case(
    REVISION,
    "6.3/own-values-repeated",
    "6.3/offered-values-reflected",
    role="initiator",
    quick=True,
)
async def values(bench: Bench) -> None:
    """CONNECT_REQUEST repeats Salt, Timestamp, Init-Check-Code, and reflects Cookie and Time Delta."""
    peer = await bench.waiting_peer()
    greeting = await peer.hear_greeting()
    delta = b"\x81\x02\x03\x84"
    await peer.send(peer.offer(time_delta=delta))
    request = await peer.expect(Op.CONNECT_REQUEST)
    wanted = {
        "Salt": (greeting.salt, request.salt),
        "Timestamp": (greeting.timestamp, request.timestamp),
        "Init-Check-Code": (greeting.check_code, request.check_code),
        "Cookie": (peer.cookie, request.cookie),
        "Time Delta": (delta, request.time_delta),
    }
    for name, (right, found) in wanted.items():
        if right != found:
            raise Violation(f"CONNECT_REQUEST has another {name}", request, expected=str(right), seen=str(found))


@case(REVISION, "6.3/request-names-listener", role="initiator")
async def request_names_listener(bench: Bench) -> None:
    """The Sink Parameter of CONNECT_REQUEST names the listener that was asked."""
    peer, request = await requested(bench)
    if request.sink is None:
        raise Violation("CONNECT_REQUEST has no Sink Parameter", request)
    if request.sink.listener_or_host != peer.listener:
        raise Violation("the Sink Parameter of CONNECT_REQUEST names another listener", request)


@case(REVISION, "6.3/request-from-answered-address", role="initiator")
async def request_address(bench: Bench) -> None:
    """CONNECT_REQUEST comes from the address to which ACK_INIT_CONNECT went: nothing else is heard there."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()  # from here on only that address is heard
    await peer.send(peer.offer())
    await peer.expect(Op.CONNECT_REQUEST, otherwise="no CONNECT_REQUEST came from the address that was answered")


@case(REVISION, "6.3/initial-number-is-next", "6.5/confirmation-sent", role="initiator", quick=True)
async def first_number(bench: Bench) -> None:
    """The confirmation has the number that CONNECT_REQUEST stated, and acknowledges ACK_CONNECT_REQ."""
    peer, request = await requested(bench)
    await peer.send(peer.acceptance())
    accepted(peer)
    confirmation = await peer.expect(CONFIRMATION)
    if confirmation.sn != request.initial_sn:
        raise Violation(
            "the first packet has another number than the Initial SN",
            confirmation,
            expected=str(request.initial_sn),
            seen=str(confirmation.sn),
        )
    if confirmation.expected != peer.sn:
        raise Violation("the confirmation does not acknowledge ACK_CONNECT_REQ", confirmation)


@case(REVISION, "6.3/request-without-data", role="initiator")
async def request_without_data(bench: Bench) -> None:
    """What follows the Sink Parameter of CONNECT_REQUEST is nothing, or a host name."""
    _, request = await requested(bench)
    if len(request.payload) > 255:
        raise Violation(f"CONNECT_REQUEST carries {len(request.payload)} octets", request)
    try:
        request.payload.decode()
    except UnicodeDecodeError:
        raise Violation("what CONNECT_REQUEST carries is no host name in UTF-8", request) from None


@case(REVISION, "6.4/wrong-expected-number", role="initiator")
async def wrong_expected(bench: Bench) -> None:
    """ACK_CONNECT_REQ that expects another number confirms nothing; the right one does."""
    peer, request = await requested(bench)
    for step in (1, -1, 0x8000_0000):
        await peer.send(peer.acceptance(expected=(request.initial_sn + step) & MASK))
    await peer.quiet(but=an(Op.CONNECT_REQUEST), otherwise="an ACK_CONNECT_REQ that expects another number was taken")
    await peer.send(peer.acceptance())
    accepted(peer)
    await peer.expect(CONFIRMATION)


@case(REVISION, "6.4/forged-ack-connect-req", role="initiator")
async def forged_acceptance(bench: Bench) -> None:
    """ACK_CONNECT_REQ with an altered check code, and with an altered payload."""
    peer, _ = await requested(bench)
    right = peer.encode(peer.acceptance(b"welcome"))
    for place in (16 + 8, 31, len(right) - 1):
        wrong = bytearray(right)
        wrong[place] ^= 0x10
        await peer.send_octets(bytes(wrong))
    await peer.quiet(but=an(Op.CONNECT_REQUEST), otherwise="a forged ACK_CONNECT_REQ was taken")
    await peer.send_octets(right)
    accepted(peer)
    await peer.expect(CONFIRMATION)


@case(REVISION, "6.4/initiator-obeys-reset", role="initiator", slow=True)
async def obeys_reset(bench: Bench) -> None:
    """RESET that reflects Timestamp and Cookie: no further CONNECT_REQUEST comes."""
    peer, _ = await requested(bench)
    peer.sending.clear()
    await peer.send(Op.RESET, reason=1)
    await peer.drain(bench.blink)
    await peer.quiet(2.5 * REPEAT, otherwise="the client goes on after a RESET that answers its CONNECT_REQUEST")


@case(REVISION, "6.4/forged-reset-ignored", role="initiator")
async def forged_reset(bench: Bench) -> None:
    """RESET with another Cookie, or another Timestamp, does not keep the client from going on."""
    peer, _ = await requested(bench)
    checks = list(peer.sending)
    peer.sending.clear()
    await peer.send(Op.RESET, reason=1, cookie=bytes(8))
    await peer.send(Op.RESET, reason=1, timestamp=peer.timestamp ^ 1)
    await peer.quiet(but=an(Op.CONNECT_REQUEST))
    peer.sending += checks
    await peer.send(peer.acceptance())
    accepted(peer)
    await peer.expect(CONFIRMATION, otherwise="a RESET with a wrong Cookie or Timestamp ended the attempt")


@case(REVISION, "6.5/nulcommit-without-data", "6.5/persist-with-data", role="initiator")
async def kind_of_confirmation(bench: Bench) -> None:
    """NULCOMMIT confirms without payload, PERSIST with some."""
    peer, _ = await requested(bench)
    await peer.send(peer.acceptance())
    accepted(peer)
    packet = await peer.expect(CONFIRMATION)
    if packet.op is Op.NULCOMMIT and packet.payload:
        raise Violation("a NULCOMMIT carries payload", packet)
    if packet.op is Op.NULCOMMIT and not packet.ends:
        raise Violation("a NULCOMMIT has no EoT", packet)
    if packet.op is Op.PERSIST and not packet.payload:
        raise Violation("a PERSIST carries no payload", packet)


@case(REVISION, "6.6/init-connect-repeated", role="initiator", slow=True)
async def greeting_repeated(bench: Bench) -> None:
    """INIT_CONNECT comes again after about 15 seconds."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    began = bench.elapsed
    await peer.expect(Op.INIT_CONNECT, 2.2 * REPEAT, otherwise="INIT_CONNECT was not repeated")
    waited = bench.elapsed - began
    if waited < 0.9 * REPEAT:
        raise Lenient(f"INIT_CONNECT was repeated after {waited:.1f} seconds")


@case(REVISION, "6.6/connect-request-repeated", role="initiator", slow=True)
async def request_repeated(bench: Bench) -> None:
    """CONNECT_REQUEST comes again after about 15 seconds."""
    peer, _ = await requested(bench)
    began = bench.elapsed
    await peer.expect(Op.CONNECT_REQUEST, 2.2 * REPEAT, otherwise="CONNECT_REQUEST was not repeated")
    waited = bench.elapsed - began
    if waited < 0.9 * REPEAT:
        raise Lenient(f"CONNECT_REQUEST was repeated after {waited:.1f} seconds")


@case(REVISION, "6.6/repeats-until-answered", role="initiator", slow=True)
async def same_fields(bench: Bench) -> None:
    """Repeats of CONNECT_REQUEST have all fields of the first, and an answer to the last repeat is taken."""
    peer, request = await requested(bench)
    for _ in range(2):
        again = await peer.expect(Op.CONNECT_REQUEST, 2.2 * REPEAT)
        if replace(again, authentic=None) != replace(request, authentic=None):
            raise Violation("a repeated CONNECT_REQUEST has other fields", again)
    await peer.send(peer.acceptance())
    accepted(peer)
    await peer.expect(CONFIRMATION)


@case(REVISION, "6.6/gives-up-after-sixty", "6.6/too-late-not-confirmed", role="initiator", slow=True)
async def gives_up(bench: Bench) -> None:
    """A minute after the first INIT_CONNECT nothing comes any more, and ACK_CONNECT_REQ is not confirmed."""
    peer, _ = await requested(bench)
    await peer.drain(GIVE_UP + 1.0)
    await peer.quiet(3 * REPEAT, otherwise="the client goes on more than a minute after its first INIT_CONNECT")
    await peer.send(peer.acceptance())
    await peer.quiet(but=an(Op.RESET), otherwise="a client that has given up confirms a connection")
