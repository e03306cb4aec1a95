"""Following connections of gao-07 from their first packet on."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.capture import Datagram, DecodedPacket
from fsp_trio.capture.follow import segments
from fsp_trio.capture.packets import extension_as_dict
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.keylog import KeyLogEntry
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.packets import Op, Reset
from tests.core.pair import Pair, Side
from tests.core.talk import KEY, established, transfer

from .following import all_good, datagrams, entry, follow, follower, modes, of, said
from .writing import CLIENT, SERVER, Sent, recorded, sent

DATA = bytes(range(256)) * 20
ANSWER = b"an answer " * 300
LONG = Settings(timers=Timers.responsive())


def release(pair: Pair) -> None:
    now = pair.clock.now
    pair.client.shutdown(now)
    pair.server.shutdown(now)
    pair.run_for(5.0)


@cache
def plain() -> tuple[Sent, ...]:
    """A connection without a key: welcome, data both ways, RELEASE."""
    pair = established(LONG, welcome=b"welcome")
    transfer(pair, Side.CLIENT, DATA)
    transfer(pair, Side.SERVER, ANSWER)
    release(pair)
    return tuple(recorded(pair))


@cache
def keyed(mode: str = "gcm", bits: int = 256, rekey_after: int | None = None) -> tuple[tuple[Sent, ...], KeyLogEntry]:
    """One whose key comes after a first transaction."""
    settings = replace(LONG, rekey_after=rekey_after)
    pair = established(settings)
    transfer(pair, Side.CLIENT, b"in clear")
    for end in (pair.client, pair.server):
        end.install_key(KEY, mode="mac" if mode == "mac" else "aead", key_bits=bits)
    logged = entry(pair, KEY, mode=mode, bits=bits)
    transfer(pair, Side.CLIENT, DATA)
    transfer(pair, Side.SERVER, ANSWER)
    transfer(pair, Side.CLIENT, DATA)
    release(pair)
    return tuple(recorded(pair)), logged


def ends(packets: tuple[Sent, ...]) -> tuple[bytes, bytes]:
    """The client's and the server's ULTID."""
    request = next(packet.payload for packet in packets if packet.payload[8] == 3)
    return request[:4], request[4:8]


def test_crc64_needs_no_key() -> None:
    told = follow(plain())
    client, server = ends(plain())
    assert len(told) == len(plain())
    assert [packet.n for packet in told] == list(range(1, len(told) + 1))
    assert all_good(told)
    assert modes(told) == ["none", "crc64"]
    assert said(told, client) == DATA
    assert said(told, server) == b"welcome" + ANSWER
    assert {packet.opcode for packet in told} >= {"INIT_CONNECT", "ACK_CONNECT_REQ", "PERSIST", "PURE_DATA", "RELEASE"}


def test_the_fields_of_each_packet() -> None:
    told = follow(plain())
    for packet, wire in zip(told, plain(), strict=True):
        octets = wire.payload
        described = packet.as_dict()
        assert packet.time == wire.time
        assert described["time"] == pytest.approx(wire.time / 1e9, abs=1e-6)
        assert (described["src"], described["dst"]) == tuple(f"{h}:{p}" for h, p in (wire.source, wire.destination))
        assert described["src_ultid"] + described["dst_ultid"] == octets[:8].hex()
        assert described["opcode"] == GAO_07.codec.ops[octets[8]].name
        if packet.mode == "none":
            assert described["flags"] == []
            assert described["window"] is described["sn"] is described["expected_sn"] is None
            continue
        assert described["window"] == int.from_bytes(octets[13:16], "big")
        assert described["sn"] == int.from_bytes(octets[16:20], "big")
        number = "oob_serial" if described["opcode"] in ("KEEP_ALIVE", "ACK_FLUSH") else "expected_sn"
        assert described[number] == int.from_bytes(octets[20:24], "big")
        assert ("EOT" in described["flags"]) == bool(octets[12] & 0x80)
        assert octets.endswith(bytes.fromhex(described["payload"]))
        assert bool(described["extensions"]) == (octets[11] > 24)


def test_the_names_of_the_fields() -> None:
    common = ["n", "time", "src", "dst", "src_ultid", "dst_ultid", "opcode", "flags", "window", "sn"]
    rest = ["extensions", "icc_ok", "mode", "payload"]
    for packet in follow(plain()):
        number = "oob_serial" if packet.opcode in ("KEEP_ALIVE", "ACK_FLUSH") else "expected_sn"
        assert list(packet.as_dict()) == [*common, number, *rest]


def test_extension_headers() -> None:
    told = follow(plain())
    client, server = ends(plain())
    challenge = next(packet for packet in told if packet.opcode == "ACK_INIT_CONNECT")
    (sink,) = challenge.as_dict()["extensions"]
    assert sink == {"type": "PEER_SUBNETS", "host_id": "00004653", "prefixes": ["00" * 8] * 4, "mark": 0}
    flush = next(packet for packet in told if packet.opcode == "ACK_FLUSH" and packet.src_ultid == server)
    snack = extension_as_dict(flush.extensions[0])
    assert snack["type"] == "SELECTIVE_NACK"
    heard = max(p.sn for p in told[: told.index(flush)] if p.src_ultid == client and p.sn is not None)
    assert snack["expected_sn"] == heard + 1
    assert snack["gaps"] == []


def test_details_of_the_handshake() -> None:
    init, challenge, request, *_ = follow(plain())
    assert init.fields["salt"] == request.fields["salt"]
    assert challenge.fields["cookie"] == request.fields["cookie"]
    assert int(request.fields["initial_sn"]) == next(p.sn for p in follow(plain()) if p.opcode == "NULCOMMIT")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_one_packet_of_the_handshake_may_be_missing(missing: int) -> None:
    """CONNECT_REQUEST repeats what the CRC64 starts from; without it the other two have it all."""
    packets = [packet for n, packet in enumerate(plain()) if n != missing]
    assert all_good(follow(packets))


# keys


@pytest.mark.parametrize(("mode", "bits"), [("gcm", 256), ("gcm", 128), ("mac", 256)])
@pytest.mark.parametrize("surveying", [False, True])
def test_keys_by_number(mode: str, bits: int, surveying: bool) -> None:
    packets, logged = keyed(mode, bits)
    told = follow(packets, [logged], surveying=surveying)
    client, server = ends(packets)
    assert all_good(told)
    assert modes(told) == ["none", "crc64", mode]
    assert said(told, client) == b"in clear" + DATA * 2
    assert said(told, server) == ANSWER


def test_the_log_of_the_other_end_or_of_both() -> None:
    packets, logged = keyed()
    turned = replace(
        logged,
        ultid_a=logged.ultid_b,
        ultid_b=logged.ultid_a,
        first_sn_a=logged.first_sn_b,
        first_sn_b=logged.first_sn_a,
    )
    assert all_good(follow(packets, [turned]))
    assert all_good(follow(packets, [turned, logged, turned]))


@pytest.mark.parametrize("rekey_after", [1, 2, 7])
def test_rekeying(rekey_after: int) -> None:
    packets, logged = keyed("gcm", 128, rekey_after)
    told = follow(packets, [logged], rekey_threshold=rekey_after)
    assert all_good(told)
    assert len({packet.key for packet in told}) > 3
    assert said(told, ends(packets)[0]) == b"in clear" + DATA * 2


def test_the_wrong_threshold_is_noticed() -> None:
    packets, logged = keyed("gcm", 128, 2)
    told = follow(packets, [logged])
    assert False in [packet.icc_ok for packet in told]
    assert all(packet.payload is None for packet in told if packet.icc_ok is False)


def test_several_keys_one_after_the_other() -> None:
    pair = established(LONG)
    logged = []
    for number, (mode, bits) in enumerate([("gcm", 256), ("mac", 256), ("gcm", 128)]):
        ikm = KEY + bytes([number])
        for end in (pair.client, pair.server):
            end.install_key(ikm, mode="mac" if mode == "mac" else "aead", key_bits=bits)
        logged += [entry(pair, ikm, mode=mode, bits=bits), entry(pair, ikm, mode=mode, bits=bits, reverse=True)]
        transfer(pair, Side.CLIENT, DATA)
        transfer(pair, Side.SERVER, ANSWER)
    told = follow(recorded(pair), logged)
    assert all_good(told)
    assert said(told, of(pair, Side.CLIENT)) == DATA * 3
    assert {packet.key for packet in told} == {"", "crc64", "key 1", "key 2", "key 3"}


def test_a_capture_that_begins_late_needs_the_key_only() -> None:
    packets, logged = keyed()
    start = next(n for n, packet in enumerate(follow(packets, [logged])) if packet.mode == "gcm")
    assert all_good(follow(packets[start:], [logged]))
    told = follow(packets[3:], [logged])
    assert {packet.icc_ok for packet in told if packet.n <= start - 3} == {None}
    assert all(packet.icc_ok for packet in told if packet.mode == "gcm")


def test_without_the_key_nothing_is_known_of_the_rest() -> None:
    packets, logged = keyed()
    with_key = follow(packets, [logged])
    for surveying in (False, True):
        for known, unknown in zip(with_key, follow(packets, surveying=surveying), strict=True):
            if known.mode == "gcm":
                assert (unknown.icc_ok, unknown.mode, unknown.payload) == (None, None, None)
                assert (unknown.opcode, unknown.sn) == (known.opcode, known.sn)
            else:
                assert unknown.as_dict() == known.as_dict()


def test_another_key_is_bad() -> None:
    packets, logged = keyed()
    told = follow(packets, [replace(logged, ikm=b"another")])
    keyed_ones = [packet for packet in told if packet.mode == "gcm"]
    assert keyed_ones
    assert {packet.icc_ok for packet in keyed_ones} == {False}


def test_entries_that_cannot_be_used() -> None:
    packets, logged = keyed()
    foreign = replace(logged, revision="none-such")
    odd = replace(logged, bits=192)
    one = follower([foreign, odd, logged])
    told = [packet for datagram in datagrams(packets) for packet in one.take(datagram)]
    assert all_good(told)
    assert one.unusable == [foreign, odd]


# damage


def flipped(packet: Sent, position: int) -> Sent:
    octets = bytearray(packet.payload)
    octets[position] ^= 1
    return replace(packet, payload=bytes(octets))


@pytest.mark.parametrize("position", [12, 15, 22, 24, 31, -1])
def test_a_damaged_packet_under_crc64(position: int) -> None:
    packets = list(plain())
    damaged = next(n for n, packet in enumerate(packets) if packet.payload[8] == 9)
    packets[damaged] = flipped(packets[damaged], position)
    told = follow(packets, surveying=True)
    assert [n for n, packet in enumerate(told) if packet.icc_ok is False] == [damaged]
    assert told[damaged].mode == "crc64"
    assert told[damaged].payload == packets[damaged].payload[32:]
    assert all_good(told[:damaged] + told[damaged + 1 :])


def test_a_damaged_packet_under_a_key() -> None:
    packets, logged = keyed()
    damaged = next(n for n, packet in enumerate(follow(packets, [logged])) if packet.mode == "gcm")
    altered = [*packets[:damaged], flipped(packets[damaged], -1), *packets[damaged + 1 :]]
    told = follow(altered, [logged])
    assert [n for n, packet in enumerate(told) if packet.icc_ok is False] == [damaged]
    assert (told[damaged].mode, told[damaged].payload) == ("gcm", None)


def test_a_damaged_acceptance_is_bad_whatever_comes() -> None:
    told = follow([*plain()[:3], flipped(plain()[3], -1)])
    assert told[3].icc_ok is False


def test_a_damaged_last_packet_may_as_well_be_under_a_key() -> None:
    told = follow([*plain()[:8], flipped(plain()[8], -1)], surveying=True)
    assert told[8].icc_ok is None


def test_packets_that_the_capture_cut() -> None:
    one = follower()
    whole = list(datagrams(plain()))
    large = next(datagram for datagram in whole if len(datagram.payload) > 500)
    for datagram in whole[: large.n - 1]:
        one.take(datagram)
    (told,) = one.take(replace(large, payload=large.payload[:100], cut=True))
    assert told.icc_ok is None
    assert told.opcode in ("PERSIST", "PURE_DATA")
    assert told.notes == ["cut short in the capture"]


# moves, pieces, other traffic


def test_the_client_moves() -> None:
    """A session is not an address: only ULTIDs count."""
    packets, logged = keyed()
    middle = len(packets) // 2
    elsewhere = ("192.0.2.7", 5)
    moved = [
        replace(packet, source=elsewhere) if packet.source == CLIENT else replace(packet, destination=elsewhere)
        for packet in packets[middle:]
    ]
    told = follow([*packets[:middle], *moved], [logged])
    assert all_good(told)
    assert {told[0].source, told[-1].source, told[-1].destination} >= {"10.77.0.1:40000", "192.0.2.7:5"}


@pytest.mark.parametrize("key", [False, True])
def test_packets_in_one_piece(key: bool) -> None:
    packets, logged = keyed() if key else (plain(), None)
    joined: list[Sent] = []
    for packet in packets:
        last = joined[-1] if joined else None
        if last is not None and _fits(last, packet):
            joined[-1] = replace(last, payload=last.payload + packet.payload)
        else:
            joined.append(packet)
    assert len(joined) < len(packets)
    told = follow(joined, [logged] if logged is not None else [])
    assert all_good(told)
    assert [packet.payload for packet in told] == [
        packet.payload for packet in follow(packets, [logged] if logged else [])
    ]
    assert len({packet.n for packet in told}) == len(joined)


def _fits(last: Sent, packet: Sent) -> bool:
    """May follow in the same piece: of the same connection, no longer than the others, and only the last shorter."""
    ids = last.payload[:8]
    if last.payload[8] < 4 or packet.payload[:8] != ids or packet.source != last.source:
        return False
    size = last.payload.find(ids, 8) if last.payload.count(ids) > 1 else len(last.payload)
    return len(packet.payload) <= size and len(last.payload) % size == 0


def test_segments() -> None:
    one = b"abcdefgh" + bytes(40)
    assert segments(one * 3) == [one] * 3
    assert segments(one * 2 + one[:32]) == [one, one, one[:32]]
    assert segments(one * 2 + one[:31]) == []
    assert segments(one) == segments(b"") == segments(bytes(20)) == []
    assert segments(one + b"abcdefgx" + bytes(40)) == []


def test_other_protocols_are_left_out() -> None:
    one = follower()
    dns = Datagram(1, 0, "a", "b", (53, 999), bytes.fromhex("1a2b01000001000000000000") + bytes(40), False)
    assert one.take(dns) == []
    assert one.take(replace(dns, payload=b"short")) == []
    assert one.ignored == 2


def test_what_comes_to_the_well_known_port_is_told_in_any_case() -> None:
    one = follower()
    noise = Datagram(1, 0, "a", "b", (999, SERVER[1]), bytes.fromhex("ff" * 40), False)
    (told,) = one.take(noise)
    assert (told.opcode, told.icc_ok, told.mode) == (None, None, None)
    assert told.notes == ["unknown operation code 255"]
    (told,) = one.take(replace(noise, payload=b"short"))
    assert told.notes == ["shorter than any packet"]
    assert told.as_dict()["src_ultid"] == b"shor".hex()
    (told,) = one.take(replace(noise, payload=bytes(8) + b"\x01" + bytes(40)))
    assert (told.opcode, told.mode, told.notes) == ("INIT_CONNECT", "none", ["malformed"])


def test_packets_of_unknown_connections() -> None:
    (told, *_) = follow(plain()[8:])
    assert told.opcode is not None
    assert (told.icc_ok, told.mode, told.payload) == (None, None, None)
    assert told.notes == ["of no connection that is known"]


# RESET


def test_reset_of_a_connection() -> None:
    for key in (b"", KEY):
        pair = established(LONG, key=key)
        logged = [entry(pair, key)] if key else []
        transfer(pair, Side.CLIENT, DATA)
        pair.client.reset(7, pair.clock.now)
        pair.run_for(1.0)
        told = follow(recorded(pair), logged)
        assert all_good(told)
        reset = next(packet for packet in told if packet.opcode == "RESET")
        assert (reset.fields, reset.window, reset.flags) == ({"reason": "7"}, None, ())
        assert reset.sn is not None
        assert reset.expected_sn is not None


@pytest.mark.parametrize("number", [0, 2])
def test_reset_in_the_handshake(number: int) -> None:
    """It repeats the timestamp, and the check code or the cookie."""
    packets = list(plain()[: number + 1])
    octets = packets[number].payload
    timestamp, check_code = octets[16:24], octets[24:32]
    proof = check_code if number == 0 else octets[40:48]
    answer = octets[4:8] + octets[:4] + GAO_07.codec.encode(Reset(3, timestamp, proof))
    told = follow([*packets, replace(packets[number], payload=answer)])
    assert (told[-1].opcode, told[-1].mode, told[-1].icc_ok) == ("RESET", "none", None)
    assert (told[-1].fields, told[-1].sn) == ({"reason": "3"}, None)
    wrong = octets[4:8] + octets[:4] + GAO_07.codec.encode(Reset(3, timestamp, bytes(8)))
    told = follow([*packets, replace(packets[number], payload=wrong)])
    assert told[-1].icc_ok is not True
    assert told[-1].mode != "none"


# robustness


@cache
def _short() -> tuple[tuple[Sent, ...], KeyLogEntry]:
    packets, logged = keyed("gcm", 128, 2)
    return packets[:40], logged


@given(st.data())
def test_mutated_packets_never_raise(data: st.DataObject) -> None:
    packets, logged = _short()
    altered = []
    for packet in packets:
        octets = bytearray(packet.payload)
        if data.draw(st.booleans()):
            for position in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=3)):
                octets[position] = data.draw(st.integers(0, 255))
            octets = octets[: data.draw(st.integers(0, len(octets)))]
        altered.append(replace(packet, payload=bytes(octets)))
    threshold = data.draw(st.sampled_from([1, 2, 2**29]))
    for told in follow(data.draw(st.permutations(altered)), [logged], rekey_threshold=threshold, surveying=True):
        told.as_dict()


@given(st.lists(st.binary(min_size=0, max_size=120)))
def test_any_octets_never_raise(payloads: list[bytes]) -> None:
    packets = [Sent(0, CLIENT, SERVER, payload) for payload in payloads]
    for told in follow(packets, surveying=True):
        told.as_dict()


def test_far_numbers_cost_nothing() -> None:
    """With a small threshold a number far away would ask for a thousand million keys."""
    packets, logged = keyed("gcm", 128, 1)
    told = follow(packets, [logged], rekey_threshold=1)
    last = packets[-1].payload
    far = last[:16] + ((int.from_bytes(last[16:20], "big") + 2**30) & 0xFFFFFFFF).to_bytes(4, "big") + last[20:]
    assert all_good(told)
    told = follow([*packets, replace(packets[-1], payload=far)], [logged], rekey_threshold=1)
    assert told[-1].icc_ok is None


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fsp_trio.capture.follow.MOST_CONNECTIONS", 10)
    one = follower()
    template = plain()[:3]
    for number in range(100):
        ids = (number + 70_000).to_bytes(4, "big"), (number + 80_000).to_bytes(4, "big")
        for packet in template:
            there = packet.payload[:4] == template[0].payload[:4]
            octets = (ids[0] + ids[1] if there else ids[1] + ids[0]) + packet.payload[8:]
            for datagram in datagrams([replace(packet, payload=octets)]):
                one.take(datagram)
    assert len(one._connections) == 10
    assert len(one._invitations) == 10
    assert len(one._by_ultid) == 20


def test_flags_without_a_name() -> None:
    packets = list(plain())
    odd = packets[-1].payload[:12] + b"\x83" + packets[-1].payload[13:]
    told: DecodedPacket = follow([*packets, replace(packets[-1], payload=odd)])[-1]
    assert told.flags == ("EOT", "0x02", "0x01")
    assert Op.RELEASE.name == "RELEASE"
    assert sent([]) == []
