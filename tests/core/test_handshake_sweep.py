"""Every packet in every state of the handshake (6), wrong proofs included, against the second copy."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from fsp_trio.core.responder import ConnectionRequest, Responder
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import (
    FLAG_EOT,
    AckInitConnect,
    ConnectRequest,
    InitConnect,
    Normal,
    Op,
    Packet,
    Reset,
    SinkParameter,
)
from fsp_trio.wire.serial import add
from tests.reference.gao07_states import Outcome, Own, Reaction, State, successor
from tests.reference.gao07_states import Packet as Kind

from .pair import LISTENER, Side
from .situations import Situation, affirming_client, challenging_server, connecting_client, observable
from .wiretap import CODEC, NO_PREFIXES, NUMBERS

OFFERED = bytes.fromhex("0ff34ed0")
STRANGER = bytes.fromhex("57a49e40")
FIRST_OF_SERVER = 0x9000_0000
NORMAL_OPS = [
    Op.ACK_CONNECT_REQ,
    Op.NULCOMMIT,
    Op.KEEP_ALIVE,
    Op.PERSIST,
    Op.PURE_DATA,
    Op.ACK_FLUSH,
    Op.RELEASE,
    Op.MULTIPLY,
]


def flipped(octets: bytes) -> bytes:
    return bytes([octets[0] ^ 1]) + octets[1:]


def outcome(situation: Situation, at_once: list[Packet]) -> tuple[str, str]:
    """State and reaction by name."""
    return situation.subject.state.name, reaction_of(at_once).name


def reaction_of(said: list[Packet]) -> Reaction:
    match said:
        case []:
            return Reaction.NONE
        case [ConnectRequest()]:
            return Reaction.CONNECT_REQUEST
        case [Normal(op=Op.PERSIST, flags=flags)]:
            return Reaction.PERSIST_EOT if flags & FLAG_EOT else Reaction.PERSIST
        case [Normal(op=op)]:
            return Reaction[op.name]
        case _:
            raise AssertionError(said)


def check_untouched(situation: Situation, datagram: bytes) -> None:
    before = observable(situation.subject)
    assert situation.reactions_to(datagram) == ([], [])
    assert observable(situation.subject) == before


def check(situation: Situation, datagram: bytes, expected: Outcome) -> None:
    at_once, _ = situation.reactions_to(datagram)
    assert outcome(situation, at_once) == (expected.state.name, expected.reaction.name)


# 5.3


def challenge_for(situation: Situation) -> AckInitConnect:
    """A good answer to the client's INIT_CONNECT."""
    asked = situation.wiretap.init_connect
    assert asked is not None
    sink = SinkParameter(LISTENER, NO_PREFIXES)
    return AckInitConnect(bytes(4), b"a cookie", asked.init_check_code, sink)


def to_client(situation: Situation, packet: Packet, source: bytes = OFFERED) -> bytes:
    return source + situation.subject.local_ultid + CODEC.encode(packet)


def test_bootstrap_takes_the_challenge() -> None:
    situation = connecting_client()
    expected = successor(State.CONNECT_BOOTSTRAP, Kind.ACK_INIT_CONNECT)
    check(situation, to_client(situation, challenge_for(situation)), expected)
    assert situation.subject.remote_ultid == OFFERED


def test_bootstrap_refuses_another_check_code() -> None:
    situation = connecting_client()
    packet = challenge_for(situation)
    packet.init_check_code = flipped(packet.init_check_code)
    check_untouched(situation, to_client(situation, packet))


def test_bootstrap_refuses_another_destination() -> None:
    situation = connecting_client()
    check_untouched(situation, OFFERED + STRANGER + CODEC.encode(challenge_for(situation)))


def bare(op: Op, *, eot: bool) -> bytes:
    """A normal packet that nobody has sealed."""
    flags = FLAG_EOT if eot else 0
    payload = b"data" if op in {Op.PERSIST, Op.PURE_DATA} else b""
    return CODEC.head(NUMBERS[op], 24, flags, 64, 1, 1) + bytes(8) + payload


@pytest.mark.parametrize("eot", [False, True], ids=["open", "eot"])
@pytest.mark.parametrize("op", NORMAL_OPS, ids=lambda op: op.name)
def test_bootstrap_ignores_normal_packets(op: Op, eot: bool) -> None:
    situation = connecting_client()
    check_untouched(situation, OFFERED + situation.subject.local_ultid + bare(op, eot=eot))
    check_untouched(situation, LISTENER + situation.subject.local_ultid + bare(op, eot=eot))


def test_bootstrap_ignores_requests() -> None:
    situation = connecting_client()
    asked = situation.wiretap.init_connect
    assert asked is not None
    sink = SinkParameter(LISTENER, NO_PREFIXES)
    request = ConnectRequest(asked.salt, asked.timestamp, asked.init_check_code, 1, bytes(4), bytes(8), sink)
    check_untouched(situation, to_client(situation, asked))
    check_untouched(situation, to_client(situation, request))


@pytest.mark.parametrize("source", [LISTENER, OFFERED], ids=["listener", "offered"])
@pytest.mark.parametrize("damage", ["", "timestamp", "check-code"])
def test_bootstrap_reset(damage: str, source: bytes) -> None:
    """M35: timestamp and Init-Check-Code; from the listener, the only ULTID that the client has spoken to."""
    situation = connecting_client()
    asked = situation.wiretap.init_connect
    assert asked is not None
    first = flipped(asked.timestamp) if damage == "timestamp" else asked.timestamp
    proof = flipped(asked.init_check_code) if damage == "check-code" else asked.init_check_code
    datagram = to_client(situation, Reset(3, first, proof), source)
    if damage:
        check_untouched(situation, datagram)
        return
    check(situation, datagram, successor(State.CONNECT_BOOTSTRAP, Kind.RESET))
    assert situation.subject.failure is not None
    assert situation.subject.failure.reason == 3


# 5.4

OWN: dict[Own, Callable[[], Situation]] = {
    Own.EMPTY: affirming_client,
    Own.OPEN: lambda: affirming_client(payload=b"question"),
    Own.COMMITTING: lambda: affirming_client(payload=b"question", commit=True),
}


def acceptance(situation: Situation, *, eot: bool, expected: int | None = None, payload: bytes = b"") -> bytes:
    request = situation.wiretap.request
    assert request is not None
    return situation.wiretap.craft(
        Side.SERVER,
        Op.ACK_CONNECT_REQ,
        sn=FIRST_OF_SERVER,
        expected=request.initial_sn if expected is None else expected,
        flags=FLAG_EOT if eot else 0,
        payload=payload,
    )


@pytest.mark.parametrize("payload", [b"", b"welcome"], ids=["empty", "welcome"])
@pytest.mark.parametrize("eot", [False, True], ids=["open", "eot"])
@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
def test_affirming_takes_the_acceptance(own: Own, eot: bool, payload: bytes) -> None:
    situation = OWN[own]()
    expected = successor(State.CONNECT_AFFIRMING, Kind.ACK_CONNECT_REQ, eot=eot, own=own)
    check(situation, acceptance(situation, eot=eot, payload=payload), expected)
    assert situation.subject.read(100) == payload


@pytest.mark.parametrize("eot", [False, True], ids=["open", "eot"])
@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
@pytest.mark.parametrize("offset", [-1, 1])
def test_affirming_wants_its_own_number_back(own: Own, eot: bool, offset: int) -> None:
    """6.4: the expected number must equal the initial one that the request named."""
    situation = OWN[own]()
    request = situation.wiretap.request
    assert request is not None
    check_untouched(situation, acceptance(situation, eot=eot, expected=add(request.initial_sn, offset)))


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
@pytest.mark.parametrize("octet", [12, 16, 20, 24, 31, -1], ids=lambda octet: f"octet{octet}")
def test_affirming_refuses_a_damaged_acceptance(own: Own, octet: int) -> None:
    situation = OWN[own]()
    datagram = bytearray(acceptance(situation, eot=True, payload=b"welcome"))
    datagram[octet] ^= 4
    check_untouched(situation, bytes(datagram))


@pytest.mark.parametrize("eot", [False, True], ids=["open", "eot"])
@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
@pytest.mark.parametrize("op", [op for op in NORMAL_OPS if op is not Op.ACK_CONNECT_REQ], ids=lambda op: op.name)
def test_affirming_ignores_other_normal_packets(op: Op, own: Own, eot: bool) -> None:
    situation = OWN[own]()
    request = situation.wiretap.request
    assert request is not None
    datagram = situation.wiretap.craft(
        Side.SERVER,
        op,
        sn=FIRST_OF_SERVER,
        expected=request.initial_sn,
        flags=FLAG_EOT if eot else 0,
        payload=b"data" if op in {Op.PERSIST, Op.PURE_DATA} else b"",
    )
    check_untouched(situation, datagram)


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.name)
def test_affirming_ignores_preliminary_packets(own: Own) -> None:
    situation = OWN[own]()
    wiretap = situation.wiretap
    for packet in (wiretap.init_connect, wiretap.challenge, wiretap.request):
        assert packet is not None
        check_untouched(situation, to_client(situation, packet, wiretap.speakers[Side.SERVER].ultid))


@pytest.mark.parametrize("damage", ["", "timestamp", "cookie", "check-code-form", "number-form"])
def test_affirming_reset(damage: str) -> None:
    """M35: timestamp and cookie, no other form."""
    situation = affirming_client()
    request = situation.wiretap.request
    assert request is not None
    server = situation.wiretap.speakers[Side.SERVER].ultid
    first = flipped(request.timestamp) if damage == "timestamp" else request.timestamp
    proof = {"cookie": flipped(request.cookie), "check-code-form": request.init_check_code}.get(damage, request.cookie)
    datagram = to_client(situation, Reset(2, first, proof), server)
    if damage == "number-form":
        datagram = situation.wiretap.craft_reset(Side.SERVER, sn=FIRST_OF_SERVER, expected=request.initial_sn)
    if damage:
        check_untouched(situation, datagram)
    else:
        check(situation, datagram, successor(State.CONNECT_AFFIRMING, Kind.RESET))
        assert situation.subject.failure is not None
        assert situation.subject.failure.reason == 2


def test_tombstone_of_an_affirming_client_answers_the_acceptance() -> None:
    """M35: the server would keep what it has made for a minute, if the first RESET was lost."""
    situation = affirming_client()
    situation.subject.reset(1, situation.pair.clock.now)
    situation.pair.run_for(2.0)
    situation.wiretap.follow()
    [reset] = situation.wiretap.resets
    situation.reactions_to(acceptance(situation, eot=True))
    assert situation.wiretap.resets == [reset, reset]


# 5.2: the half of a listener that remembers nothing


@dataclasses.dataclass(slots=True)
class Knock:
    responder: Responder
    now: float
    client: bytes
    init: InitConnect
    challenge: AckInitConnect
    offered: bytes
    request: ConnectRequest

    def ask(self, datagram: bytes, *, now: float | None = None) -> bytes | ConnectionRequest | None:
        try:
            return self.responder.receive_untrusted(datagram, "somewhere", now or self.now, 10**15, set())
        except MalformedPacket:
            return None


def knock() -> Knock:
    responder = Responder(GAO_07, Settings(), LISTENER)
    init = InitConnect(b"salt", (10**15).to_bytes(8, "big"), b"checkcod")
    client = STRANGER
    answer = responder.receive_untrusted(client + LISTENER + CODEC.encode(init), "somewhere", 1000.0, 10**15, set())
    assert isinstance(answer, bytes)
    challenge = CODEC.decode(answer[8:])
    assert isinstance(challenge, AckInitConnect)
    assert answer[4:8] == client
    offered = answer[:4]
    sink = SinkParameter(LISTENER, NO_PREFIXES)
    request = ConnectRequest(
        init.salt, init.timestamp, init.init_check_code, 77, challenge.time_delta, challenge.cookie, sink
    )
    return Knock(responder, 1000.0, client, init, challenge, offered, request)


def test_listening_answers_with_a_challenge() -> None:
    at = knock()
    assert successor(State.LISTENING, Kind.INIT_CONNECT).reaction is Reaction.ACK_INIT_CONNECT
    assert at.challenge.init_check_code == at.init.init_check_code
    assert at.challenge.sink is not None
    assert at.challenge.sink.host_id == LISTENER  # 6.2
    assert at.offered != LISTENER


def test_listening_takes_a_request_with_a_good_cookie() -> None:
    at = knock()
    answer = at.ask(at.client + at.offered + CODEC.encode(at.request))
    assert isinstance(answer, ConnectionRequest)
    assert (answer.initiator_ultid, answer.local_ultid) == (at.client, at.offered)


@pytest.mark.parametrize(
    "field",
    ["salt", "timestamp", "init_check_code", "time_delta", "cookie", "listener", "source", "destination"],
)
def test_listening_is_silent_about_a_bad_cookie(field: str) -> None:
    """6.4, B3, M51: the cookie covers each of these."""
    at = knock()
    client, offered, request = at.client, at.offered, at.request
    if field == "source":
        client = flipped(client)
    elif field == "destination":
        offered = flipped(offered)
    elif field == "listener":
        request.sink.host_id = flipped(LISTENER)
    else:
        setattr(request, field, flipped(getattr(request, field)))
    assert at.ask(client + offered + CODEC.encode(request)) is None


@pytest.mark.parametrize(("age", "good"), [(0.0, True), (89.9, True), (200.0, False)])
def test_listening_knows_how_old_a_cookie_is(age: float, good: bool) -> None:
    """M51: good for 90 s at least."""
    at = knock()
    answer = at.ask(at.client + at.offered + CODEC.encode(at.request), now=at.now + age)
    assert isinstance(answer, ConnectionRequest) == good


@pytest.mark.parametrize("destination", ["listener", "offered"])
@pytest.mark.parametrize("op", NORMAL_OPS, ids=lambda op: op.name)
def test_listening_is_silent_about_normal_packets(op: Op, destination: str) -> None:
    at = knock()
    ultid = LISTENER if destination == "listener" else at.offered
    assert at.ask(at.client + ultid + bare(op, eot=True)) is None


def test_listening_is_silent_about_the_rest() -> None:
    at = knock()
    reset = Reset(1, at.request.timestamp, at.request.cookie)
    for packet in (at.challenge, reset):
        assert at.ask(at.client + LISTENER + CODEC.encode(packet)) is None
        assert at.ask(at.client + at.offered + CODEC.encode(packet)) is None
    assert at.ask(at.client + flipped(LISTENER) + CODEC.encode(at.init)) is None


# 5.5


@pytest.mark.parametrize("welcome", [b"", b"welcome"], ids=["empty", "welcome"])
def test_challenging_repeats_itself_to_the_same_request(welcome: bytes) -> None:
    """B4: the same octets, each time it is asked."""
    situation = challenging_server(welcome)
    request = situation.wiretap.request
    assert request is not None
    datagram = situation.wiretap.speakers[Side.CLIENT].ultid + situation.subject.local_ultid + CODEC.encode(request)
    expected = successor(State.CHALLENGING, Kind.CONNECT_REQUEST)
    for _ in range(2):
        check(situation, datagram, expected)
    answers = {flight.datagram for flight in situation.pair.record if flight.datagram[8] == NUMBERS[Op.ACK_CONNECT_REQ]}
    assert len(answers) == 1


@pytest.mark.parametrize("field", ["initial_sn", "cookie", "source"])
def test_challenging_ignores_another_request(field: str) -> None:
    """M51, M53"""
    situation = challenging_server()
    request = situation.wiretap.request
    assert request is not None
    client = situation.wiretap.speakers[Side.CLIENT].ultid
    if field == "initial_sn":
        request = dataclasses.replace(request, initial_sn=add(request.initial_sn, 1))
    elif field == "cookie":
        request = dataclasses.replace(request, cookie=flipped(request.cookie))
    else:
        client = flipped(client)
    check_untouched(situation, client + situation.subject.local_ultid + CODEC.encode(request))


@pytest.mark.parametrize("form", ["numbers", "cookie"])
@pytest.mark.parametrize("damage", ["", "first", "proof"])
def test_challenging_reset(form: str, damage: str) -> None:
    """M35: both forms."""
    situation = challenging_server()
    wiretap = situation.wiretap
    request = wiretap.request
    assert request is not None
    datagram = wiretap.craft_reset(
        Side.CLIENT, sn=request.initial_sn, expected=wiretap.speakers[Side.SERVER].next_sn, reason=2
    )
    if form == "cookie":
        datagram = datagram[:8] + CODEC.encode(Reset(2, request.timestamp, request.cookie))
    position = {"first": 16, "proof": 24}.get(damage)
    if position is None:
        check(situation, datagram, successor(State.CHALLENGING, Kind.RESET))
    else:
        check_untouched(situation, datagram[:position] + flipped(datagram[position:]))
