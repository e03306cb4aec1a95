"""The suite's own encoder, decoder and check codes against known answers, and against nothing of the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec_conformance.wire.gao import GaoWire
from spec_conformance.wire.jason import JasonWire
from spec_conformance.wire.keys import Aead, Crc64, Mac, Protection, hash_subkey
from spec_conformance.wire.packet import PRELIMINARY, Extension, Op, Packet, RawHeader, Sink, Snack, Unreadable, later
from spec_conformance.wire.reference import ReferenceWire

DATA = Path(__file__).parents[1] / "integrity" / "data"
JASON: dict[str, Any] = json.loads((DATA / "jason-00.json").read_text(encoding="utf-8"))
REFERENCE: dict[str, Any] = json.loads((DATA / "reference-2020.json").read_text(encoding="utf-8"))
WIRES = [GaoWire(), JasonWire(), ReferenceWire()]
octets = bytes.fromhex


def protection_of(entry: dict[str, Any]) -> Protection:
    mode = "crc64" if "still CRC64" in entry["name"] else entry["mode"]
    fields = JASON["ephemeral"]
    if mode == "crc64":
        return Crc64(
            octets(fields["initCheckCode"]),
            octets(fields["cookie"]),
            octets(fields["salt"]),
            octets(fields["timeDelta"]),
            int(fields["timeStamp"], 16),
            whole_packet=False,
        )
    key = octets(entry["key"])
    return Mac(key) if mode.startswith("blake2b") else Aead.of_key(key)


# under CRC64 a branch keeps the start value of its parent, whose ULTIDs are not in its packets
OF_ONE_CONNECTION = [each for each in JASON["icc"] if each["mode"] != "crc64" or "branch" not in each["name"]]


@pytest.mark.parametrize("entry", OF_ONE_CONNECTION, ids=lambda entry: f"{entry['mode']}-{entry['name']}")
def test_packets_of_jason_00(entry: dict[str, Any]) -> None:
    wire, protection = JasonWire(), protection_of(entry)
    datagram = octets(entry["udp_payload"])
    packet = wire.decode(datagram, protection)
    assert packet.authentic is True
    if "payload" in entry:
        assert packet.payload == octets(entry["payload"])
    altered = bytearray(datagram)
    altered[8 + 9] ^= 1  # the check code
    assert wire.decode(bytes(altered), protection).authentic is False


@pytest.mark.parametrize("entry", REFERENCE["installed"], ids=lambda entry: str(entry["run"]))
def test_key_installation(entry: dict[str, str]) -> None:
    """The author's derivations, which are those of gao-07 7.4."""
    material = octets(entry["ikm"])
    if "rawKey" in entry:
        assert Mac.of_material(material).key.hex() == entry["rawKey"]
        return
    key = Aead.of_material(material, 256 if len(material) > 16 else 128)
    assert (key.key + key.salt).hex() == entry["key_salt"]
    assert hash_subkey(key.key).hex() == entry["H"]


@pytest.mark.parametrize("entry", REFERENCE["rekeyed"], ids=lambda entry: f"{entry['run']}-{entry['info'][-8:]}")
def test_rekeying(entry: dict[str, str]) -> None:
    material = octets(next(each for each in REFERENCE["installed"] if each["run"] == entry["run"])["ikm"])
    batch = int(entry["info"][-8:], 16)
    key = Aead.of_material(material, 256 if len(material) > 16 else 128, batch)
    assert (key.key + key.salt).hex() == entry["key_salt"]


def recorded(run: str, modes: set[str]) -> list[bytes]:
    return [
        octets(each["udp_payload"]) for each in REFERENCE["packets"] if each["run"] == run and each["mode"] in modes
    ]


def reference_key(run: str, batch: int = 1) -> Aead:
    material = octets(next(each for each in REFERENCE["installed"] if each["run"] == run)["ikm"])
    return Aead.of_material(material, 256 if len(material) > 16 else 128, batch)


def test_packets_of_the_author_before_a_key() -> None:
    """Handshake, data, acknowledgements and RELEASE of a recording: read, verified, and written again as they were."""
    wire = ReferenceWire()
    first, second, request, *rest = recorded("t1", {"none", "crc64"})
    offer, asked = wire.decode(second), wire.decode(request)
    protection = Crc64(
        offer.check_code, offer.cookie, asked.salt, offer.time_delta, asked.timestamp, byte_order="little"
    )
    kinds = set()
    for datagram in (first, second, request, *rest):
        packet = wire.decode(datagram, protection)
        kinds.add(packet.op)
        assert wire.encode(packet, protection) == datagram
        if packet.op in PRELIMINARY:
            continue
        assert packet.authentic is True
        altered = bytearray(datagram)
        altered[8 + 5] ^= 1  # the window
        assert wire.decode(bytes(altered), protection).authentic is False
    assert kinds >= {Op.ACK_CONNECT_REQ, Op.NULCOMMIT, Op.PERSIST, Op.PURE_DATA, Op.ACK_FLUSH, Op.RELEASE}


@pytest.mark.parametrize("run", ["t2key", "t4key16"])
def test_packets_of_the_author_under_a_key(run: str) -> None:
    wire, key = ReferenceWire(), reference_key(run)
    found = [wire.decode(datagram, key) for datagram in recorded(run, {"gcm"})]
    assert found
    assert all(packet.authentic for packet in found)


numbers = st.integers(0, 2**32 - 1)
words = st.binary(min_size=4, max_size=4)
sinks = st.builds(Sink, words, st.tuples(*[st.binary(min_size=8, max_size=8)] * 4))
gaps = st.lists(st.tuples(numbers, numbers), max_size=4).map(tuple)


@given(st.sampled_from([Op.PERSIST, Op.KEEP_ALIVE, Op.RELEASE]), words, words, numbers, numbers, sinks, gaps, st.data())
def test_gao_packets_come_back(
    op: Op, source: bytes, destination: bytes, sn: int, expected: int, sink: Sink, found: Any, data: st.DataObject
) -> None:
    wire = GaoWire()
    each: list[Extension] = [sink, Snack(found, 7, 8, 9), RawHeader(99, bytes(12), 5)]
    headers = data.draw(st.permutations(each))
    key = Aead.of_material(b"material", 128)
    packet = Packet(
        op=op,
        source=source,
        destination=destination,
        flags=data.draw(st.integers(0, 255)),
        window=data.draw(st.integers(0, 2**24 - 1)),
        sn=sn,
        expected=expected,
        extensions=tuple(headers),
        payload=data.draw(st.binary(max_size=40)),
    )
    back = wire.decode(wire.encode(packet, key), key)
    assert back.authentic is True
    for name in ("op", "source", "destination", "flags", "window", "sn", "expected", "extensions", "payload"):
        assert getattr(back, name) == getattr(packet, name)


@given(st.sampled_from(WIRES), st.binary(max_size=120))
def test_any_octets_are_a_packet_or_unreadable(wire: GaoWire | JasonWire, datagram: bytes) -> None:
    try:
        wire.decode(datagram)
        wire.peek(datagram)
    except Unreadable:
        pass


def test_serial_arithmetic() -> None:
    assert later(1, 0) == 1
    assert later(0, 1) == -1
    assert later(0, 0xFFFFFFFF) == 1
    assert later(0x80000000, 0) == -0x80000000
