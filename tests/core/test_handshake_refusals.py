"""What is not believed in the handshake, and RESET there (gao-07 5.3 to 5.5, 6.3, 6.4; M35, S7, F5)."""

from __future__ import annotations

import dataclasses

import pytest

from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.revisions import GAO_07
from fsp_trio.revisions.states import State
from fsp_trio.wire.packets import (
    FLAG_EOT,
    FLAG_MIND,
    AckInitConnect,
    InitConnect,
    Op,
    Reset,
    SinkParameter,
)
from fsp_trio.wire.serial import add

from .pair import LISTENER, Side
from .situations import affirming_client, challenging_server, connecting_client
from .talk import (
    drain,
    established,
    op_of,
    sent_by,
    state_of,
)
from .wiretap import CODEC, Wiretap

NO_PREFIXES = (bytes(8), bytes(8), bytes(8), bytes(8))

# what is not believed


def test_a_challenge_with_another_check_code_or_listener() -> None:
    """6.3: the initiator accepts its own check code only, from the listener that it asked."""
    situation = connecting_client()
    client, now = situation.subject, situation.pair.clock.now
    init = situation.wiretap.init_connect
    assert init is not None
    for check, host in ((bytes(8), LISTENER), (init.init_check_code, b"else")):
        packet = AckInitConnect(bytes(4), bytes(8), check, SinkParameter(host, NO_PREFIXES))
        client.receive([b"OFFR" + client.local_ultid + CODEC.encode(packet)], Side.SERVER, now)
    assert client.statistics.drops == {"check-code": 2}
    assert state_of(client) is State.CONNECT_BOOTSTRAP
    good = AckInitConnect(bytes(4), bytes(8), init.init_check_code, SinkParameter(LISTENER, NO_PREFIXES))
    datagram = b"OFFR" + client.local_ultid + CODEC.encode(good)
    client.receive([datagram, datagram], "elsewhere", now)
    assert state_of(client) is State.CONNECT_AFFIRMING
    assert client.statistics.drops["state"] == 1, "the second one says nothing new"
    assert client.remote == "elsewhere", "10.5: behind a NAT the answer may come from another address"


def acceptance(situation: object, **changes: object) -> bytes:
    """ACK_CONNECT_REQ as the server would send it, but for the changes."""
    wiretap: Wiretap = situation.wiretap  # type: ignore[attr-defined]
    fields: dict[str, object] = {
        "sn": 12345,
        "expected": wiretap.speakers[Side.CLIENT].next_sn,
        "flags": FLAG_EOT,
    }
    return wiretap.craft(Side.SERVER, Op.ACK_CONNECT_REQ, **fields | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expected": 1}, "acknowledgement"),
        ({"source": b"ELSE"}, "source-ultid"),
        ({"chain": bytes(8)}, "extension-length"),
    ],
)
def test_acceptances_that_are_none(changes: dict[str, object], reason: str) -> None:
    """6.4: it must expect the initial number that was asked for."""
    situation = affirming_client()
    client = situation.subject
    client.receive([acceptance(situation, **changes)], Side.SERVER, situation.pair.clock.now)
    assert client.statistics.drops == {reason: 1}
    assert state_of(client) is State.CONNECT_AFFIRMING


def test_an_acceptance_with_a_wrong_check_code_or_shape() -> None:
    situation = affirming_client()
    client, now = situation.subject, situation.pair.clock.now
    good = acceptance(situation)
    client.receive([good[:-1] + bytes([good[-1] ^ 1])], Side.SERVER, now)
    client.receive([good[:10] + b"\x00\x10" + good[12:]], Side.SERVER, now)
    client.receive([good[:10] + b"\x00\x28" + good[12:]], Side.SERVER, now)
    assert client.statistics.drops == {"icc": 1, "offset": 2}
    client.receive([good], Side.SERVER, now)
    assert state_of(client) is State.COMMITTING2


def test_an_acceptance_with_an_extension_header() -> None:
    """M2a: unknown ones are skipped."""
    situation = affirming_client()
    chain = bytes([99, 0, 8, 0]) + b"what"
    situation.subject.receive(
        [acceptance(situation, chain=chain, payload=b"hi")], Side.SERVER, situation.pair.clock.now
    )
    assert drain(situation.subject) == [b"hi"]


def test_b5_an_acceptance_without_eot() -> None:
    """5.4: the responder's transaction goes on; NULCOMMIT leads to COMMITTING, not to COMMITTING2."""
    situation = affirming_client()
    situation.subject.receive([acceptance(situation, flags=0, payload=b"hi")], Side.SERVER, situation.pair.clock.now)
    assert state_of(situation.subject) is State.COMMITTING
    assert situation.subject.read(10) == b"hi"
    assert not situation.subject.at_end


def test_f5_an_acceptance_with_a_feature_that_is_not_there() -> None:
    """F5: its payload would be delivered wrongly."""
    situation = affirming_client()
    client, now = situation.subject, situation.pair.clock.now
    client.revision = dataclasses.replace(GAO_07, minimal_delay_flag=0, unsupported_flags=FLAG_MIND)
    client.receive([acceptance(situation, flags=FLAG_EOT | FLAG_MIND, payload=b"hi")], Side.SERVER, now)
    assert client.failure is not None
    assert client.failure.kind is FailureKind.UNSUPPORTED
    assert not client.readable
    [datagram] = client.datagrams_to_send(now)
    reset = CODEC.decode(datagram[8:])
    assert isinstance(reset, Reset)
    assert reset.reason == ResetReason.UNSUPPORTED
    request = situation.wiretap.request
    assert request is not None
    assert (reset.first, reset.proof) == (request.timestamp, request.cookie), "M35"


def test_a_repeated_acceptance_changes_nothing() -> None:
    pair = established()
    [acceptance_flight] = sent_by(pair, Side.SERVER, Op.ACK_CONNECT_REQ)
    before = list(pair.client.states_passed)
    pair.client.receive([acceptance_flight.datagram], Side.SERVER, pair.clock.now)
    assert pair.client.statistics.duplicates == 1
    assert pair.client.states_passed == before


def test_handshake_packets_elsewhere_are_dropped() -> None:
    pair = established()
    for flight in [f for f in pair.record if op_of(f) in (Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST)]:
        for end in (pair.client, pair.server):
            before = sum(end.statistics.drops.values())
            end.receive([flight.datagram], "there", pair.clock.now)
            assert sum(end.statistics.drops.values()) == before + 1
            assert state_of(end) is State.CLOSABLE


def test_an_initiator_takes_nothing_else() -> None:
    situation = connecting_client()
    client, now = situation.subject, situation.pair.clock.now
    malformed = b"OFFR" + client.local_ultid + bytes([2, 0, 0, 64]) + bytes(60)
    normal = b"OFFR" + client.local_ultid + CODEC.head(9, 24, 0, 0, 0, 0) + bytes(8)
    init = b"OFFR" + client.local_ultid + CODEC.encode(InitConnect(bytes(4), bytes(8), bytes(8)))
    client.receive([malformed, normal, init], Side.SERVER, now)
    client.receive([acceptance(affirming_client())], Side.SERVER, now)
    assert sum(client.statistics.drops.values()) == 4
    assert state_of(client) is State.CONNECT_BOOTSTRAP


# RESET in the handshake (M35)


def test_m35_reset_in_bootstrap() -> None:
    """M35: none is sent, one is accepted on timestamp and check code."""
    for timestamp_good, check_good in ((True, True), (False, True), (True, False)):
        situation = connecting_client()
        client, init = situation.subject, situation.wiretap.init_connect
        assert init is not None
        reset = Reset(
            2, init.timestamp if timestamp_good else bytes(8), init.init_check_code if check_good else bytes(8)
        )
        client.receive([b"OFFR" + client.local_ultid + CODEC.encode(reset)], Side.SERVER, 1000.0)
        if timestamp_good and check_good:
            assert client.failure is not None
            assert (client.failure.kind, client.failure.reason) == (FailureKind.REFUSED, 2)
        else:
            assert client.failure is None
            assert client.statistics.drops == {"reset": 1}
    situation = connecting_client()
    situation.subject.receive(
        [b"OFFR" + situation.subject.local_ultid + b"\x05\x00\x00\x20" + bytes(28)], Side.SERVER, 1000.0
    )
    assert sum(situation.subject.statistics.drops.values()) == 1
    situation.subject.reset(1, 1000.0)
    assert situation.subject.datagrams_to_send(1000.0) == []
    assert situation.subject.is_over


@pytest.mark.parametrize(
    ("timestamp", "cookie", "source", "accepted"),
    [
        (True, True, True, True),
        (False, True, True, False),
        (True, False, True, False),
        (True, True, False, False),
    ],
)
def test_m35_reset_in_affirming(timestamp: bool, cookie: bool, source: bool, accepted: bool) -> None:
    """M35: on timestamp and cookie, from the ULTID that was offered."""
    situation = affirming_client()
    client, request = situation.subject, situation.wiretap.request
    assert request is not None
    reset = Reset(3, request.timestamp if timestamp else bytes(8), request.cookie if cookie else bytes(8))
    ids = (client.remote_ultid if source else b"ELSE") + client.local_ultid
    client.receive([ids + CODEC.encode(reset)], Side.SERVER, situation.pair.clock.now)
    assert (client.failure is not None) == accepted


def test_m35_reset_by_the_initiator_in_affirming_ends_challenging() -> None:
    situation = challenging_server()
    pair = situation.pair
    assert state_of(pair.client) is State.CONNECT_AFFIRMING
    pair.client.reset(ResetReason.APPLICATION, pair.clock.now)
    pair.run_for(0.1)
    assert pair.server.failure is not None
    assert pair.server.failure.kind is FailureKind.REFUSED
    assert pair.server.failure.reason == ResetReason.APPLICATION


def test_m35_challenging_accepts_both_forms() -> None:
    situation = challenging_server()
    wiretap, server = situation.wiretap, situation.subject
    datagram = wiretap.craft_reset(
        Side.CLIENT, sn=wiretap.speakers[Side.CLIENT].next_sn, expected=server.sent.next_sn, reason=9
    )
    server.receive([datagram[:10] + b"\x00\x20" + datagram[12:]], Side.CLIENT, situation.pair.clock.now)
    assert state_of(server) is State.CHALLENGING
    server.receive([datagram], Side.CLIENT, situation.pair.clock.now)
    assert server.failure is not None
    assert (server.failure.kind, server.failure.reason) == (FailureKind.RESET_BY_PEER, 9)


def test_a_request_with_a_repeated_cookie_after_a_probe_does_not_crash() -> None:
    """An initiator may acknowledge ACK_CONNECT_REQ beyond the window and then ask for it again."""
    situation = challenging_server()
    wiretap, server, now = situation.wiretap, situation.subject, situation.pair.clock.now
    request = wiretap.request
    assert request is not None
    probe = wiretap.craft(
        Side.CLIENT,
        Op.PURE_DATA,
        sn=add(wiretap.speakers[Side.CLIENT].next_sn, server.settings.receive_window),
        expected=server.sent.next_sn,
        payload=b"x",
    )
    again = server.remote_ultid + server.local_ultid + CODEC.encode(request)
    server.receive([probe, again, again], Side.CLIENT, now)
    assert state_of(server) is State.CHALLENGING
    assert server.datagrams_to_send(now), "the same answer again"
