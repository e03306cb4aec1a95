"""The stateless half of a listener (gao-07 6.2 to 6.4; B1 to B3, M49, M51)."""

from __future__ import annotations

import dataclasses
import gc
import random
import sys
import tracemalloc
from collections.abc import Container
from contextlib import suppress

import pytest

from fsp_trio.core.responder import (
    COOKIE_LIFE,
    LARGEST_WELL_KNOWN_ULTID,
    ULTID_ATTEMPTS,
    ConnectionRequest,
    Responder,
    listener_of_untrusted,
)
from fsp_trio.core.settings import Settings
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import AckInitConnect, ConnectRequest, InitConnect, Reset, SinkParameter

LISTENER = b"\x00\x00\x00\x50"
INITIATOR = b"INIT"
SOURCE = ("192.0.2.1", 4000)
EPOCH = 1_700_000_000_000_000
NO_PREFIXES = (bytes(8), bytes(8), bytes(8), bytes(8))
CODEC = GAO_07.codec


def responder(seed: int = 1) -> Responder:
    return Responder(GAO_07, Settings(), LISTENER, random=random.Random(seed).randbytes)


def init_connect(salt: bytes = b"salt", check: bytes = b"checkcod", at: float = 0.0) -> InitConnect:
    return InitConnect(salt, (EPOCH + round(at * 1e6)).to_bytes(8, "big"), check)


class Exchange:
    """INIT_CONNECT and its answer, and what a CONNECT_REQUEST made of them brings."""

    def __init__(self, listener: Responder, now: float = 1000.0, in_use: Container[bytes] = ()) -> None:
        self.listener = listener
        self.init = init_connect(at=now)
        answer = listener.receive_untrusted(
            INITIATOR + LISTENER + CODEC.encode(self.init), SOURCE, now, EPOCH + round(now * 1e6) + 30_000, in_use
        )
        assert isinstance(answer, bytes)
        self.offered, self.destination = answer[:4], answer[4:8]
        challenge = CODEC.decode(answer[8:])
        assert isinstance(challenge, AckInitConnect)
        self.challenge = challenge

    def request(self, **changes: object) -> ConnectRequest:
        request = ConnectRequest(
            salt=self.init.salt,
            timestamp=self.init.timestamp,
            init_check_code=self.init.init_check_code,
            initial_sn=77,
            time_delta=self.challenge.time_delta,
            cookie=self.challenge.cookie,
            sink=SinkParameter(LISTENER, NO_PREFIXES),
        )
        return dataclasses.replace(request, **changes)  # type: ignore[arg-type]

    def ask(
        self,
        request: ConnectRequest,
        now: float = 1000.1,
        source_ultid: bytes = INITIATOR,
        destination: bytes | None = None,
        listener: Responder | None = None,
    ) -> bytes | ConnectionRequest | None:
        datagram = source_ultid + (destination or self.offered) + CODEC.encode(request)
        clock = EPOCH + round(now * 1e6)
        return (listener or self.listener).receive_untrusted(datagram, SOURCE, now, clock, ())


def test_answer_to_init_connect() -> None:
    """6.2: from a new ULTID, to the initiator, with its check code and the listener in the Sink Parameter."""
    exchange = Exchange(responder())
    assert exchange.destination == INITIATOR
    assert exchange.offered != LISTENER
    assert exchange.challenge.init_check_code == exchange.init.init_check_code
    assert exchange.challenge.sink == SinkParameter(LISTENER, NO_PREFIXES)
    assert int.from_bytes(exchange.challenge.time_delta, "big") == 30_000


def test_b1_the_offer_is_computed() -> None:
    """B1, 6.2: the same request is offered the same ULTID; no memory is needed for that."""
    listener = responder()
    first, second = Exchange(listener), Exchange(listener)
    assert (first.offered, first.challenge) == (second.offered, second.challenge)
    assert Exchange(responder(2)).offered != first.offered, "another secret, another offer"


def test_m49_offers_are_above_the_well_known_ones_and_free() -> None:
    """M49: above 65535 read big-endian, and not in use."""
    first = Exchange(responder()).offered
    assert int.from_bytes(first, "big") > LARGEST_WELL_KNOWN_ULTID
    second = Exchange(responder(), in_use={first}).offered
    assert second != first


class Everything:
    def __contains__(self, ultid: object) -> bool:
        return True


class SomeWellKnown(Responder):
    """As if the hash gave a well-known ULTID the first time."""

    attempts = 0

    def _hash(self, *parts: bytes, size: int) -> bytes:
        if size == 4:
            self.attempts += 1
            return (LARGEST_WELL_KNOWN_ULTID + (self.attempts > 1)).to_bytes(4, "big")
        return super()._hash(*parts, size=size)


def test_m49_a_well_known_ultid_is_never_offered() -> None:
    listener = SomeWellKnown(GAO_07, Settings(), LISTENER)
    assert Exchange(listener).offered == (LARGEST_WELL_KNOWN_ULTID + 1).to_bytes(4, "big")
    assert listener.attempts == 2


def test_no_free_ultid_is_answered_by_silence() -> None:
    """B2: and after a bounded number of attempts."""
    assert ULTID_ATTEMPTS == 8
    datagram = INITIATOR + LISTENER + CODEC.encode(init_connect())
    assert responder().receive_untrusted(datagram, SOURCE, 0.0, EPOCH, Everything()) is None


def test_good_cookie() -> None:
    exchange = Exchange(responder())
    request = exchange.request()
    found = exchange.ask(request)
    assert isinstance(found, ConnectionRequest)
    assert found.rtt == pytest.approx(0.07)
    assert found == ConnectionRequest(INITIATOR, exchange.offered, LISTENER, SOURCE, request, found.rtt, found.arrived)


def test_m14_round_trip_from_timestamp_and_time_delta() -> None:
    """M14: the responder remembers nothing, and yet knows when it sent its challenge."""
    exchange = Exchange(responder(), now=500.0)
    found = exchange.ask(exchange.request(), now=502.53)
    assert isinstance(found, ConnectionRequest)
    assert found.rtt == pytest.approx(2.5)


@pytest.mark.parametrize("age", [0.0, 45.0, 89.9, 90.0])
def test_m51_a_cookie_lives_90_seconds(age: float) -> None:
    for began in (0.0, 13.0, COOKIE_LIFE - 0.01, 12_345.6):
        exchange = Exchange(responder(), now=began)
        assert isinstance(exchange.ask(exchange.request(), now=began + age), ConnectionRequest)


def test_m51_a_cookie_dies_after_180_seconds() -> None:
    for began in (0.0, 13.0, COOKIE_LIFE - 0.01, 12_345.6):
        exchange = Exchange(responder(), now=began)
        assert exchange.ask(exchange.request(), now=began + 180.0) is None


@pytest.mark.parametrize("field", ["salt", "timestamp", "init_check_code", "time_delta", "cookie"])
def test_b3_the_cookie_covers_every_field(field: str) -> None:
    """B3, M51: each bit of what 4.5.2 lists; a cookie that does not fit is discarded in silence."""
    exchange = Exchange(responder())
    octets = getattr(exchange.request(), field)
    for bit in range(len(octets) * 8):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        assert exchange.ask(exchange.request(**{field: bytes(changed)})) is None


def test_b3_the_cookie_covers_the_ultids() -> None:
    exchange = Exchange(responder())
    assert exchange.ask(exchange.request(), source_ultid=b"INIU") is None
    assert exchange.ask(exchange.request(), destination=b"\xff" + exchange.offered[1:]) is None
    assert exchange.ask(exchange.request(sink=SinkParameter(b"\x00\x00\x00\x51", NO_PREFIXES))) is None


def test_m51_the_cookie_covers_the_listener() -> None:
    """Two listeners with one secret do not take each other's cookies."""
    exchange = Exchange(responder())
    other = Responder(GAO_07, Settings(), b"\x00\x00\x00\x51", random=random.Random(1).randbytes)
    sink = SinkParameter(b"\x00\x00\x00\x51", NO_PREFIXES)
    assert exchange.ask(exchange.request(sink=sink), listener=other) is None
    assert exchange.ask(exchange.request(), listener=responder(1)) is not None
    assert exchange.ask(exchange.request(), listener=responder(2)) is None, "another secret"


def test_the_initial_number_and_the_host_name_are_not_covered() -> None:
    """M53: they come with the request for the first time, and the UDP checksum guards them."""
    exchange = Exchange(responder())
    assert isinstance(exchange.ask(exchange.request(initial_sn=78, host_name=b"example")), ConnectionRequest)


def test_init_connect_for_another_listener() -> None:
    datagram = INITIATOR + b"\x00\x00\x00\x51" + CODEC.encode(init_connect())
    assert responder().receive_untrusted(datagram, SOURCE, 0.0, EPOCH, ()) is None


@pytest.mark.parametrize(
    "packet",
    [Reset(1, bytes(8), bytes(8)), AckInitConnect(bytes(4), bytes(8), bytes(8), SinkParameter(LISTENER, NO_PREFIXES))],
)
def test_other_packets_are_none_of_its_business(packet: Reset | AckInitConnect) -> None:
    with pytest.raises(MalformedPacket):
        responder().receive_untrusted(INITIATOR + LISTENER + CODEC.encode(packet), SOURCE, 0.0, EPOCH, ())


def test_garbage() -> None:
    listener, rng = responder(), random.Random(7)
    for _ in range(2000):
        datagram = INITIATOR + LISTENER + bytes([rng.randint(0, 13), 0]) + rng.randbytes(rng.randint(22, 120))
        with suppress(MalformedPacket):
            assert listener.receive_untrusted(datagram, SOURCE, 0.0, EPOCH, ()) is None or datagram[8] == 1


def test_b2_refusal() -> None:
    """B2, 6.4: RESET with timestamp and cookie answers only a request whose cookie was good."""
    exchange = Exchange(responder())
    request = exchange.request()
    found = exchange.ask(request)
    assert isinstance(found, ConnectionRequest)
    refusal = exchange.listener.refuse(found, 2)
    assert refusal[:8] == exchange.offered + INITIATOR
    assert CODEC.decode(refusal[8:]) == Reset(2, request.timestamp, request.cookie)


def test_b1_hundred_thousand_init_connects_leave_nothing_behind() -> None:
    """B1: no state before a valid cookie; counted by the interpreter, and by its allocator."""
    listener = responder()
    packets = [
        INITIATOR + LISTENER + CODEC.encode(init_connect(i.to_bytes(4, "big"), (i * 7919).to_bytes(8, "big")))
        for i in range(1000)
    ]

    def flood() -> None:
        for i in range(50):
            for packet in packets:
                source_ultid = ((i << 12) + 70_000).to_bytes(4, "big")
                answer = listener.receive_untrusted(source_ultid + packet[4:], (str(i), i), 1000.0 + i, EPOCH, ())
                assert isinstance(answer, bytes)

    flood()  # what is made once, is made
    gc.collect()
    objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
    flood()
    gc.collect()
    assert len(gc.get_objects()) - objects <= 2
    assert sys.getallocatedblocks() - blocks < 100
    assert {name: getattr(listener, name) for name in Responder.__slots__}.keys() == {
        "_revision",
        "_secret",
        "listener_ultid",
    }, "there is no place where it could keep something"
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for packet in packets:
            listener.receive_untrusted(packet, SOURCE, 1000.0, EPOCH, ())
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 2_000
    finally:
        tracemalloc.stop()


def test_whom_a_datagram_is_for() -> None:
    """6.2, 6.3: INIT_CONNECT names the listener as its destination, CONNECT_REQUEST in its Sink Parameter."""
    exchange = Exchange(responder())
    init = INITIATOR + LISTENER + CODEC.encode(exchange.init)
    request = INITIATOR + exchange.offered + CODEC.encode(exchange.request())
    assert listener_of_untrusted(GAO_07, init) == LISTENER
    assert listener_of_untrusted(GAO_07, request) == LISTENER
    with pytest.raises(MalformedPacket):
        listener_of_untrusted(GAO_07, request[:40])
    assert listener_of_untrusted(GAO_07, bytes(8) + CODEC.encode(Reset(1, bytes(8), bytes(8)))) is None
    assert listener_of_untrusted(GAO_07, bytes(8) + b"\xff" * 24) is None
