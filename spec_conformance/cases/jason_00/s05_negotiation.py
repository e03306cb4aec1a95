"""Sections 4.1 to 4.5 and 5: how a connection comes to be, and what the states before it do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.cases.gao_07 import s05_states as later_states
from spec_conformance.cases.gao_07 import s06_initiator as later_client
from spec_conformance.cases.gao_07 import s06_negotiation as later_server
from spec_conformance.cases.gao_07.s05_states import FLUSH, SNACK, challenged
from spec_conformance.cases.gao_07.s06_initiator import REPEAT, accepted, requested
from spec_conformance.cases.gao_07.s06_negotiation import greeted
from spec_conformance.expect import acknowledging, an, ending
from spec_conformance.verdict import Inconclusive, Lenient, Unsupported, Violation
from spec_conformance.wire.packet import FLAG_EOT, MASK, Op, Sink

REVISION: Final = "jason-00"
PERSIST: Final = an(Op.PERSIST)
HOUR: Final = 3600.0
DAY: Final = 86_400 * 1_000_000
"""Microseconds."""


# what the later draft has as well; the scripts say what they do

SHARED: Final[tuple[tuple[Callable[[Bench], Awaitable[None]], str, bool], ...]] = (
    (later_server.nobody_listens, "4.1/nobody-listens-silence", False),
    (later_states.listening_stays, "4.2/listening-init-connect", False),
    (later_states.duplicate_request, "4.2/listening-duplicate-request", False),
    (later_states.listening_accepts, "4.2/listening-connect-request", False),
    (later_states.challenging_persist_eot, "4.4/challenging-persist-eot", False),
    (later_states.challenging_persist, "4.4/challenging-persist", False),
    (later_server.cookie_for_another, "5.1/cookie-covers-request", False),
    (later_server.late_request, "5.1/cookie-keeps-its-value", True),
    (later_server.stateless, "5.3/no-state-on-init-connect", False),
    (later_server.new_ultid, "5.3/ack-from-new-ultid", False),
    (later_server.source_address, "5.3/ack-to-source", False),
    (later_server.random_numbers, "5.5/responder-number-random", False),
    (later_server.counts_on, "5.5/numbers-start-at-ack", False),
    (later_server.expected_number, "5.5/expected-is-initial-number", False),
    (later_server.answered_once, "5.6/ack-init-connect-once", True),
    (later_server.accepted_once, "5.6/ack-connect-req-once", True),
)
SHARED_WITH_CLIENTS: Final[tuple[tuple[Callable[[Bench], Awaitable[None]], str, bool], ...]] = (
    (later_client.first_packet, "4.1/connect-sends-init-connect", False),
    (later_states.bootstrap, "4.3/bootstrap-ack", False),
    (later_states.bootstrap_reset, "4.3/bootstrap-reset", True),
    (later_states.bootstrap_ignores, "4.3/bootstrap-early-ack-connect-req", False),
    (later_client.second_offer, "4.5/affirming-repeated-ack-init", True),
    (later_client.obeys_reset, "4.5/affirming-reset", True),
    (later_client.forged_reset, "4.5/affirming-forged-reset", False),
    (later_client.offered_ultid, "5.3/new-ultid-accepted", False),
    (later_client.other_check_code, "5.4/echoed-check-code-verified", False),
    (later_client.request_names_listener, "5.4/listener-id-in-request", False),
    (later_client.request_without_data, "5.4/request-without-data", False),
    (later_client.wrong_expected, "5.5/wrong-expected-number", False),
    (later_client.gives_up, "5.4/give-up-after-60-seconds", True),
    (later_client.greeting_repeated, "5.6/init-connect-repeated", True),
)
for _script, _id, _slow in SHARED:
    case(REVISION, _id, slow=_slow, quick=_id.endswith("persist-eot"))(_script)
for _script, _id, _slow in SHARED_WITH_CLIENTS:
    case(REVISION, _id, role="initiator", slow=_slow, quick=_id.endswith("sends-init-connect"))(_script)

case(REVISION, "5.5/request-without-resources", alone=True)(later_server.rejection)
case(REVISION, "5.4/own-fields-repeated", "5.4/cookie-and-delta-echoed", role="initiator", quick=True)(
    later_client.values
)
case(REVISION, "5.4/initial-number-of-next-packet", role="initiator")(later_client.first_number)
case(REVISION, "5.6/connect-request-repeated", role="initiator", slow=True)(later_client.same_fields)


# 4.1, 4.2


@case(REVISION, "4.1/unknown-ultid-silence")
async def unknown_ultid(bench: Bench) -> None:
    """Packets of every kind to an ULTID that was never given out draw nothing."""
    peer = await bench.peer()
    await peer.connect()
    for op in (Op.PERSIST, Op.PURE_DATA, Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.RELEASE, Op.RESET):
        payload = b"x" if op in (Op.PERSIST, Op.PURE_DATA) else b""
        await peer.send(peer.packet(op, payload, destination=b"\x71\x02\x03\x04"))
        await peer.quiet(otherwise=f"{op} to an ULTID that no connection has was answered")


@case(REVISION, "4.2/listening-no-resources", alone=True)
async def no_resources(bench: Bench) -> None:
    """More connections wait to be confirmed than can: INIT_CONNECT draws RESET, silence, or a cookie that is good."""
    for _ in range(400):
        peer = await bench.peer()
        await peer.send(Op.INIT_CONNECT, destination=bench.service)
        answer = await peer.next(bench.silence)
        if answer is None:
            return
        if answer.op is Op.RESET:
            if (answer.timestamp, answer.check_code) != (peer.timestamp, peer.check_code):
                raise Violation("RESET does not repeat timestamp and check code of INIT_CONNECT", answer)
            return
        peer.learn(answer)
        peer.start_checking()
        await peer.send(peer.request())
        accepted_by = await peer.next()
        if accepted_by is None or accepted_by.op is Op.RESET:
            return
        peer.accepted(accepted_by)
        peer.established = True
    raise Inconclusive("400 connections can wait to be confirmed: there were resources all the time")


# 4.3


@case(REVISION, "4.3/bootstrap-forged-reset", role="initiator")
async def bootstrap_forged_reset(bench: Bench) -> None:
    """RESET with another timestamp, and with another check code, does not keep the client from going on."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    right = peer.check_code
    await peer.send(Op.RESET, reason=1, icc=right, timestamp=peer.timestamp ^ 1)
    await peer.send(Op.RESET, reason=1, icc=bytes([right[0] ^ 1]) + right[1:])
    await peer.drain(bench.blink)
    await peer.send(peer.offer())
    await peer.expect(Op.CONNECT_REQUEST, otherwise="a RESET with a wrong timestamp or check code ended the attempt")


# 4.4


@case(REVISION, "4.4/challenging-empty-persist-eot", quick=True)
async def confirmed_without_data(bench: Bench) -> None:
    """PERSIST with EoT and without payload draws ACK_FLUSH; the next transaction comes back."""
    peer = await challenged(bench)
    await peer.commit()
    packet = await peer.expect((FLUSH | SNACK) & acknowledging(peer.sn))
    if packet.op is not Op.ACK_FLUSH:
        raise Violation("a PERSIST with EoT and without payload drew no ACK_FLUSH", packet)
    await peer.echo(b"and then data")


@case(REVISION, "4.4/challenging-no-data-yet", slow=True)
async def nothing_before_confirmation(bench: Bench) -> None:
    """In 20 seconds before the first PERSIST no packet of the stream comes but ACK_CONNECT_REQ."""
    peer = await challenged(bench)
    for packet in await peer.drain(20.0):
        if packet.in_band and packet.op is not Op.ACK_CONNECT_REQ:
            raise Violation("the stream began before the connection was confirmed", packet)


@case(REVISION, "4.4/challenging-no-heartbeat")
async def no_heartbeat_before_confirmation(bench: Bench) -> None:
    """A packet that comes before the PERSIST which confirms draws no KEEP_ALIVE."""
    peer = await challenged(bench)
    await peer.send(Op.PURE_DATA, b"early", sn=(peer.sn + 1) & MASK)
    await peer.quiet(1.0, otherwise="something was sent in CHALLENGING, where there is no heartbeat yet")


@case(REVISION, "4.4/challenging-pure-data")
async def pure_data_confirms_nothing(bench: Bench) -> None:
    """PURE_DATA numbered after a PERSIST that is missing is not echoed; with the PERSIST both are."""
    peer = await challenged(bench)
    first = peer.packet(Op.PERSIST, b"first, ")
    peer.sn = (peer.sn + 1) & MASK
    await peer.send(Op.PURE_DATA, b"second", flags=FLAG_EOT)
    await peer.quiet(otherwise="PURE_DATA without the PERSIST before it was taken for a confirmation")
    await peer.send(first)
    await peer.expect(FLUSH & acknowledging(peer.sn), 20.0)
    if await peer.read_transaction() != b"first, second":
        raise Violation("what came before the confirmation was not put in order", peer.received[-1])


@case(REVISION, "4.4/challenging-reset")
async def challenging_reset(bench: Bench) -> None:
    """RESET in the words of the handshake ends it: PERSIST draws nothing afterwards."""
    peer = await bench.peer()
    await peer.challenge()
    checks = list(peer.sending)
    peer.sending.clear()
    await peer.send(Op.RESET, reason=1, icc=peer.cookie)
    await peer.drain(bench.blink)
    peer.sending += checks
    await peer.commit()
    await peer.quiet(but=an(Op.RESET), otherwise="a connection was confirmed after RESET")


@case(REVISION, "4.4/challenging-forged-reset")
async def challenging_forged_reset(bench: Bench) -> None:
    """RESETs with a wrong cookie, a wrong timestamp, a wrong ICC: PERSIST still confirms."""
    peer = await bench.peer()
    await peer.challenge()
    checks = list(peer.sending)
    peer.sending.clear()
    await peer.send(Op.RESET, reason=1, icc=bytes(8))
    await peer.send(Op.RESET, reason=1, icc=peer.cookie, timestamp=peer.timestamp ^ 1)
    peer.sending += checks
    await peer.send(Op.RESET, reason=1, sn=peer.sn, expected=peer.expected, icc=b"\x01" * 8)
    await peer.drain(bench.blink)
    peer.established = True
    await peer.commit()
    await peer.expect(FLUSH, otherwise="a RESET that is not legitimate ended the connection")


# 4.5


@case(REVISION, "4.5/affirming-ack-own-eot", "5.4/first-packet-persist", role="initiator", quick=True)
async def confirmation(bench: Bench) -> None:
    """ACK_CONNECT_REQ draws PERSIST, and the client's transaction, which it has ended, comes to its EoT."""
    peer, _ = await requested(bench)
    await peer.send(peer.acceptance())
    accepted(peer)
    packet = await peer.expect(an(Op.PERSIST, Op.PURE_DATA))
    if packet.op is not Op.PERSIST:
        raise Violation("the first packet of the initiator is no PERSIST", packet, expected="PERSIST", seen=packet.name)
    if not packet.ends:
        await peer.expect(ending(True), otherwise="the client's transaction has no end")


@case(REVISION, "4.5/affirming-persist-without-data", "4.5/affirming-ack", role="initiator")
async def confirms_at_once(bench: Bench) -> None:
    """Whatever the application does, PERSIST comes at once; without EoT the rest of its transaction follows."""
    peer, _ = await requested(bench)
    began = bench.elapsed
    await peer.send(peer.acceptance())
    accepted(peer)
    packet = await peer.expect(PERSIST)
    if bench.elapsed - began > bench.patience / 2:
        raise Violation(f"PERSIST came {bench.elapsed - began:.1f} s after ACK_CONNECT_REQ", packet)
    if not packet.ends:
        await peer.send(Op.KEEP_ALIVE)
        await peer.expect(an(Op.PERSIST, Op.PURE_DATA) & ending(True), otherwise="the client's data does not go on")


@case(REVISION, "4.5/affirming-no-data-yet", role="initiator", slow=True)
async def client_waits(bench: Bench) -> None:
    """Before ACK_CONNECT_REQ the client sends nothing but CONNECT_REQUEST."""
    peer, _ = await requested(bench)
    await peer.quiet(20.0, but=an(Op.CONNECT_REQUEST), otherwise="the client's stream began before ACK_CONNECT_REQ")


# 5.1


@case(REVISION, "5.1/cookie-depends-on-salt")
async def other_salt(bench: Bench) -> None:
    """CONNECT_REQUEST with another salt than the cookie was made for, then with the right one."""
    peer = await greeted(bench)
    await peer.send(peer.request(salt=bytes([peer.salt[0] ^ 1]) + peer.salt[1:]))
    await peer.quiet(but=an(Op.RESET), otherwise="a cookie was taken with another salt")
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "5.1/cookie-depends-on-ultid")
async def other_ultid(bench: Bench) -> None:
    """Two initiators: one's cookie at the ULTID that was offered to the other opens nothing."""
    peer, other = await greeted(bench), await greeted(bench)
    await peer.send(peer.request(destination=other.remote))
    await peer.quiet(but=an(Op.RESET), otherwise="a cookie was taken at an ULTID that it was not made for")
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "5.1/cookie-independent-of-address")
async def other_address(bench: Bench) -> None:
    """INIT_CONNECT from one address, CONNECT_REQUEST from another."""
    first, second = await greeted(bench), await bench.peer()
    for name in ("local", "remote", "salt", "check_code", "timestamp", "time_delta", "cookie"):
        setattr(second, name, getattr(first, name))
    second.start_checking()
    await second.send(second.request())
    answer = await second.expect(Op.ACK_CONNECT_REQ, otherwise="a good cookie was not taken from another address")
    second.accepted(answer)
    second.established = True


@case(REVISION, "5.1/cookie-not-stored", alone=True)
async def many_greetings(bench: Bench) -> None:
    """2,000 INIT_CONNECTs of different ULTIDs, none followed up; the next initiator is served."""
    peer = await bench.peer()
    local = peer.local
    for _ in range(2000):
        peer.local = b"\x7e" + bench.random.randbytes(3)
        await peer.send(Op.INIT_CONNECT, destination=bench.service)
        await peer.next(bench.blink)
    peer.local = local
    other = await bench.peer()
    await other.connect()


@case(REVISION, "5.1/cookie-cannot-be-guessed", quick=True)
async def guessed_cookie(bench: Bench) -> None:
    """CONNECT_REQUEST with a random cookie, and with another initiator's: RESET at the most."""
    peer, other = await greeted(bench), await greeted(bench)
    for cookie in (bench.random.randbytes(8), other.cookie):
        await peer.send(peer.request(cookie=cookie))
        await peer.quiet(but=an(Op.RESET), otherwise="a CONNECT_REQUEST with a guessed cookie was answered")
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ)


@case(REVISION, "5.5/invalid-cookie-reset")
async def refused_cookie(bench: Bench) -> None:
    """CONNECT_REQUEST with an altered cookie draws RESET with its timestamp and that cookie."""
    peer = await greeted(bench)
    cookie = bytes([peer.cookie[0] ^ 1]) + peer.cookie[1:]
    await peer.send(peer.request(cookie=cookie))
    for packet in await peer.drain():
        if packet.op is not Op.RESET or (packet.timestamp, packet.cookie) != (peer.timestamp, cookie):
            raise Violation("a request with an invalid cookie drew something else than its RESET", packet)
        return
    raise Lenient("a CONNECT_REQUEST with an invalid cookie draws nothing, not RESET")


@case(REVISION, "5.1/cookie-grows-old", slow=True)
async def old_cookie(bench: Bench) -> None:
    """A cookie comes back after an hour."""
    if not bench.target.virtual:
        raise Unsupported("an hour is too long for a run in real time")
    peer = await greeted(bench)
    await bench.sleep(HOUR)
    await peer.send(peer.request())
    await peer.quiet(but=an(Op.RESET), otherwise="a cookie was taken an hour after it was given")


# 5.2, 5.3


@case(REVISION, "5.2/init-connect-to-listener", role="initiator")
async def greets_the_listener(bench: Bench) -> None:
    """Two clients: both ask the service's ULTID, from ULTIDs of their own."""
    first, second = await bench.waiting_peer(), await bench.waiting_peer()
    sources = []
    for peer in (first, second):
        greeting = await peer.hear_greeting()
        if greeting.destination != bench.service:
            raise Violation("INIT_CONNECT does not go to the ULTID of the service", greeting)
        sources.append(greeting.source)
        await peer.close()  # else a client that is alone would ask again
    if sources[0] == sources[1]:
        raise Violation("two connections have one ULTID")


@case(REVISION, "5.3/refusal-from-listening-ultid")
async def refusal(bench: Bench) -> None:
    """INIT_CONNECT that cannot be served: a RESET, if one comes, is from the ULTID that was asked."""
    peer = await bench.peer()
    for ultid in (b"\x00\x00\x00\x01", b"\x70\x01\x02\x03"):
        await peer.send(Op.INIT_CONNECT, destination=ultid)
        for packet in await peer.drain():
            if packet.op is not Op.RESET or packet.source != ultid:
                raise Violation("INIT_CONNECT was refused otherwise than by RESET of the ULTID asked", packet)


# 5.4


@case(REVISION, "5.4/request-to-offered-ultid", role="initiator")
async def two_offers(bench: Bench) -> None:
    """CONNECT_REQUEST, and its repeat, go to the ULTID that ACK_INIT_CONNECT came from."""
    peer = await bench.waiting_peer()
    await peer.hear_greeting()
    peer.local = b"\x66\x55\x44\x33"
    await peer.send(peer.offer())
    request = await peer.expect(Op.CONNECT_REQUEST)
    if request.destination != peer.local:
        raise Violation("CONNECT_REQUEST went to another ULTID than the one offered", request)


@case(REVISION, "5.4/wrong-listener-id-refused")
async def wrong_listener(bench: Bench) -> None:
    """Sink Parameters that name an ULTID where nobody listens, with an otherwise good request."""
    peer = await greeted(bench)
    sink = peer.request().sink
    assert sink is not None
    await peer.send(peer.request(extensions=(replace(sink, listener_or_host=b"\x00\x00\x00\x01"),)))
    await peer.quiet(but=an(Op.RESET), otherwise="a request that names no listener was accepted")
    await peer.send(peer.request())
    await peer.expect(Op.ACK_CONNECT_REQ)


# 5.5


@case(REVISION, "5.5/answer-from-offered-ultid")
async def answer_ultids(bench: Bench) -> None:
    """ACK_CONNECT_REQ comes from the offered ULTID, to ours."""
    peer = await greeted(bench)
    await peer.send(peer.request())
    answer = await peer.expect(Op.ACK_CONNECT_REQ)
    peer.accepted(answer)
    peer.established = True
    if (answer.source, answer.destination) != (peer.remote, peer.local):
        raise Violation("ACK_CONNECT_REQ has other ULTIDs than the request", answer)


@case(REVISION, "5.5/listener-id-in-answer")
async def listener_in_answer(bench: Bench) -> None:
    """The Sink Parameters of ACK_CONNECT_REQ name the service."""
    peer = await bench.peer()
    answer = await peer.challenge()
    peer.established = True
    if answer.sink is None:
        raise Violation("ACK_CONNECT_REQ has no Sink Parameters", answer)
    if answer.sink.listener_or_host != bench.service:
        raise Violation("the Sink Parameters of ACK_CONNECT_REQ name another listener", answer)


def wrong_answer(change: str) -> Callable[[Bench], Awaitable[None]]:
    async def script(bench: Bench) -> None:
        peer, _ = await requested(bench)
        right = peer.acceptance()
        if change == "listener":
            sink = right.sink
            assert isinstance(sink, Sink)
            wrong = replace(right, extensions=(replace(sink, listener_or_host=b"\x00\x00\x00\x01"),))
        else:
            wrong = replace(right, source=b"\x65" + right.source[1:])
        await peer.send(wrong)
        await peer.quiet(
            but=an(Op.CONNECT_REQUEST), otherwise=f"an ACK_CONNECT_REQ with another {change} was confirmed"
        )
        await peer.send(right)
        accepted(peer)
        await peer.expect(PERSIST)

    script.__doc__ = f"ACK_CONNECT_REQ with another {change} draws no PERSIST; the right one does."
    return script


case(REVISION, "5.5/wrong-listener-in-answer", role="initiator")(wrong_answer("listener"))
case(REVISION, "5.5/wrong-ultids-in-answer", role="initiator")(wrong_answer("source ULTID"))


@case(REVISION, "5.5/timestamp-in-place-of-icc")
async def time_in_answer(bench: Bench) -> None:
    """Octets 8 to 15 of ACK_CONNECT_REQ are a time within a day of ours, in microseconds, and it goes on."""
    times = []
    for _ in range(2):
        peer = await bench.peer()
        answer = await peer.challenge()
        peer.established = True
        octets = bench.octets_of(answer)[16:24]
        moment = int.from_bytes(octets, "big")
        if abs(moment - bench.unix_microseconds()) > DAY:
            raise Violation("there is no time where ACK_CONNECT_REQ has one", answer, seen=octets.hex())
        times.append(moment)
        await bench.sleep(0.2)
    if times[1] <= times[0]:
        raise Violation(f"the time of ACK_CONNECT_REQ does not go on: {times[0]}, then {times[1]}")


@case(REVISION, "5.5/no-icc-asked-for", role="initiator")
async def any_time(bench: Bench) -> None:
    """ACK_CONNECT_REQ with zeros in place of the time is confirmed."""
    peer, _ = await requested(bench)
    await peer.send(peer.acceptance(icc=bytes(8)))
    accepted(peer)
    await peer.expect(PERSIST, otherwise="an ACK_CONNECT_REQ was refused for the octets where the time is")


# 5.6


@case(REVISION, "5.6/init-connect-repeat-identical", role="initiator", slow=True)
async def same_greeting(bench: Bench) -> None:
    """The repeated INIT_CONNECT has the octets of the first, and an offer that answers it is taken."""
    peer = await bench.waiting_peer()
    first = bench.octets_of(await peer.hear_greeting())
    again = await peer.expect(Op.INIT_CONNECT, 2.2 * REPEAT)
    if bench.octets_of(again) != first:
        raise Violation("a repeated INIT_CONNECT has other octets", again, expected=first.hex())
    await peer.send(peer.offer())
    await peer.expect(Op.CONNECT_REQUEST)
