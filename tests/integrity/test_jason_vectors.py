"""jason-00: known answers that follow the draft with decisions A15 to A19, made and opened again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fsp_trio.integrity import Protection
from fsp_trio.integrity.jason import JASON, FlaggedMac, HeaderCrc64, HeaderInClearAead
from fsp_trio.revisions import JASON_00
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.packets import FLAG_EOT, Op, Snack

KNOWN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "jason-00.json").read_text(encoding="utf-8"))
CODEC = JASON_00.codec
OUT_OF_BAND = {Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.MULTIPLY}
INITIATOR, RESPONDER = bytes.fromhex("11121314"), bytes.fromhex("a1a2a3a4")


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def op_of(datagram: bytes) -> Op:
    return CODEC.ops[CODEC.unpack_head(datagram, ULTID_PAIR)[0]]


def head_and_body(datagram: bytes) -> tuple[bytes, bytes]:
    return datagram[8:16] + datagram[24:32], datagram[32:]


def crc64(near: bytes, far: bytes, fields: dict[str, str]) -> HeaderCrc64:
    names = ("check_code", "cookie", "salt", "time_delta", "timestamp")
    return HeaderCrc64(near, far, *(octets(fields[name]) for name in names))


EPHEMERAL = {
    "check_code": KNOWN["ephemeral"]["initCheckCode"],
    "cookie": KNOWN["ephemeral"]["cookie"],
    "salt": KNOWN["ephemeral"]["salt"],
    "time_delta": KNOWN["ephemeral"]["timeDelta"],
    "timestamp": KNOWN["ephemeral"]["timeStamp"],
}


def protections(entry: dict[str, Any], fields: dict[str, str], ends: tuple[bytes, bytes]) -> tuple[Protection, ...]:
    """The sender's and the receiver's; branches have the CRC64 of their parent."""
    mode = "crc64" if "still CRC64" in entry["name"] else entry["mode"]
    if mode == "crc64":
        from_responder = octets(entry["udp_payload"])[4:8] == ends[0] or "responder's branch" in entry["name"]
        near, far = reversed(ends) if from_responder else ends
        return crc64(near, far, fields), crc64(far, near, fields)
    if mode.startswith("blake2b"):
        return (JASON.mac(octets(entry["key"])),) * 2
    return (HeaderInClearAead(octets(entry["key"])),) * 2


ICC = KNOWN["icc"]
PACKETS = [entry for entry in KNOWN["packet"] if entry.get("mode")]
PLAIN = [entry for entry in KNOWN["packet"] if not entry.get("mode")]
CONNECT = KNOWN["connect"]
CASES = [(entry, EPHEMERAL, (INITIATOR, RESPONDER)) for entry in ICC] + [
    (entry, CONNECT, (octets(CONNECT["initiator"]), octets(CONNECT["responder"]))) for entry in PACKETS
]
IDS = [f"{entry.get('mode')}-{entry['name']}" for entry, *_ in CASES]


def test_all_of_them_are_here() -> None:
    assert len(ICC) == 39
    assert len(PACKETS) + len(PLAIN) == 31


def test_start_values() -> None:
    protection = crc64(INITIATOR, RESPONDER, EPHEMERAL)
    assert (protection._sent.hex(), protection._received.hex()) == (
        KNOWN["ephemeral"]["I_send"],
        KNOWN["ephemeral"]["I_recv"],
    )
    protection = crc64(octets(CONNECT["initiator"]), octets(CONNECT["responder"]), CONNECT)
    assert (protection._sent.hex(), protection._received.hex()) == (CONNECT["I_send"], CONNECT["I_recv"])


@pytest.mark.parametrize(("entry", "fields", "ends"), CASES, ids=IDS)
def test_packet(entry: dict[str, Any], fields: dict[str, str], ends: tuple[bytes, bytes]) -> None:
    datagram = octets(entry["udp_payload"])
    sender, receiver = protections(entry, fields, ends)
    aside = op_of(datagram) in OUT_OF_BAND
    body = receiver.open(datagram, aside)
    assert body is not None
    if "payload" in entry:
        assert body.endswith(octets(entry["payload"]))
    head, _ = head_and_body(datagram)
    assert sender.seal(datagram[:8], head, body, aside) == datagram
    if op_of(datagram) is not Op.RESET:
        plain = datagram[ULTID_PAIR : ULTID_PAIR + NORMAL_HEADER] + body
        assert CODEC.encode(CODEC.decode(plain)) == plain


@pytest.mark.parametrize(("entry", "fields", "ends"), CASES, ids=IDS)
def test_any_altered_octet_is_noticed(entry: dict[str, Any], fields: dict[str, str], ends: tuple[bytes, bytes]) -> None:
    """CRC64 covers the fixed header only (6.1): what comes after it may be altered unnoticed."""
    datagram = octets(entry["udp_payload"])
    _, receiver = protections(entry, fields, ends)
    aside = op_of(datagram) in OUT_OF_BAND
    bare = isinstance(receiver, HeaderCrc64)
    for position in range(ULTID_PAIR if bare else 0, len(datagram)):
        if aside and position in (22, 23, 31) and not bare:
            continue  # where these point elsewhere there is no serial to be found: the codec drops it before
        altered = datagram[:position] + bytes([datagram[position] ^ 0x21]) + datagram[position + 1 :]
        unnoticed = bare and position >= ULTID_PAIR + NORMAL_HEADER
        assert (opened(receiver, altered, aside) is not None) == unnoticed, position


def opened(receiver: Protection, datagram: bytes, aside: bool) -> bytes | None:
    try:
        return receiver.open(datagram, aside)
    except ValueError:  # MalformedPacket: the codec would have dropped it
        return None


@pytest.mark.parametrize("entry", PLAIN, ids=lambda entry: str(entry["name"]))
def test_packets_of_the_handshake(entry: dict[str, Any]) -> None:
    plain = octets(entry["udp_payload"])[ULTID_PAIR:]
    packet = CODEC.decode(plain)
    assert CODEC.encode(packet) == plain
    assert CODEC.ops[CODEC.unpack_head(plain, 0)[0]].name == entry["op"]


@pytest.mark.parametrize("entry", KNOWN["install"], ids=lambda entry: str(entry["mode"]))
def test_installed_keys(entry: dict[str, Any]) -> None:
    key = octets(entry["key"])
    if entry["mode"].startswith("blake2b"):
        assert isinstance(JASON.mac(key), FlaggedMac)
        return
    protection = JASON.aead(key, 8 * len(key)).batch(1)
    assert isinstance(protection, HeaderInClearAead)
    assert protection.salt == octets(entry["salt"])  # A18


def test_snack() -> None:
    """3.11: the octets of the known answer, on top of a Sink Parameter."""
    sink = CODEC.handshake_sink(bytes(4), 4, 512)
    _, body = CODEC.acknowledgement(Op.KEEP_ALIVE, 0, 4, 1, Snack(102, None, 0, ((2, 2), (1, 1))), 3, sink)
    assert body[48:].hex() == KNOWN["snack"]
    assert CODEC.acknowledged_by(CODEC.extensions(body), 102).gaps == ((2, 2), (1, 1))


def test_a_mac_needs_its_flag() -> None:
    """3.8: without HMAC the code would be one of AEAD."""
    mac = JASON.mac(b"k" * 16)
    datagram = mac.seal(bytes(8), CODEC.head(6, 24, FLAG_EOT, 4, 1, 2), b"payload")
    assert datagram[24] == FLAG_EOT | 0x20
    assert mac.open(datagram) == b"payload"
    assert mac.open(datagram[:24] + bytes([FLAG_EOT]) + datagram[25:]) is None


@pytest.mark.parametrize(("size", "bits"), [(16, 256), (32, 128), (15, 120), (64, 512), (0, 0)])
def test_material_is_the_key(size: int, bits: int) -> None:
    with pytest.raises(ValueError, match="key material"):
        JASON.aead(bytes(size), bits)


@pytest.mark.parametrize("size", [0, 65])
def test_mac_keys_that_blake2b_does_not_take(size: int) -> None:
    with pytest.raises(ValueError, match="a MAC key"):
        JASON.mac(bytes(size))


def test_keys_are_not_changed() -> None:
    with pytest.raises(ValueError, match="no batch 2"):
        JASON.aead(bytes(16), 128).batch(2)
