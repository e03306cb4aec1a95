"""reference-2020: every recorded packet and derivation of the author's program, made and opened again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fsp_trio.integrity import Protection
from fsp_trio.integrity.reference import REFERENCE, LittleEndianCrc64, ReferenceSchedule, RepeatingAead
from fsp_trio.integrity.schedule import hash_subkey, mac_schedule
from fsp_trio.revisions import REFERENCE_2020
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR

KNOWN: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "reference-2020.json").read_text(encoding="utf-8"))
PACKETS: list[dict[str, Any]] = KNOWN["packets"]
PROTECTED = [packet for packet in PACKETS if packet["mode"] != "none"]
CODEC = REFERENCE_2020.codec


def name_of(packet: dict[str, Any]) -> str:
    return f"{packet['run']}-{packet['n']}-{packet['mode']}"


def crc64_of(packet: dict[str, Any], *, sender: bool) -> LittleEndianCrc64:
    """From the fields of the run's handshake, for one end of it; a branch has those of its parent."""
    found = next(entry for entry in KNOWN["ephemeral"] if entry["run"] == packet["run"])
    ids = bytes.fromhex(packet["udp_payload"])[:ULTID_PAIR]
    params = bytes.fromhex(found["params"])
    near, far = (ids[:4], ids[4:]) if sender else (ids[4:], ids[:4])
    return LittleEndianCrc64(near, far, params[:8], params[8:16], params[16:20], params[20:24], params[24:32])


def protection_of(packet: dict[str, Any], *, sender: bool) -> Protection:
    match packet["mode"]:
        case "gcm":
            mixed = int.from_bytes(bytes.fromhex(packet["nonce"])[:4], "big") ^ int(packet["salt_xor"], 16)
            return RepeatingAead(bytes.fromhex(packet["key"]), mixed.to_bytes(4, "big"))
        case "blake2b":
            found = next(entry for entry in KNOWN["installed"] if entry["run"] == packet["run"])
            return REFERENCE.mac(bytes.fromhex(found["ikm"]))
        case _:
            return crc64_of(packet, sender=sender)


def out_of_band(packet: dict[str, Any]) -> bool:
    return bool(int(packet.get("salt_xor") or "0", 16))


def test_all_of_them_are_here() -> None:
    assert len(PACKETS) == 273
    assert {packet["mode"] for packet in PACKETS} == {"none", "crc64", "crc64prev", "blake2b", "gcm"}


@pytest.mark.parametrize("packet", PACKETS, ids=name_of)
def test_packet(packet: dict[str, Any]) -> None:
    datagram = bytes.fromhex(packet["udp_payload"])
    if packet["mode"] == "none":
        octets = datagram[ULTID_PAIR:]
        assert CODEC.encode(CODEC.decode(octets)) == octets
        return
    plaintext = bytes.fromhex(packet["plaintext"])
    ids, head = datagram[:ULTID_PAIR], datagram[ULTID_PAIR : ULTID_PAIR + 16]
    aside = out_of_band(packet)
    assert protection_of(packet, sender=True).seal(ids, head, plaintext, aside) == datagram
    assert protection_of(packet, sender=False).open(datagram, aside) == plaintext
    plain = datagram[ULTID_PAIR : ULTID_PAIR + NORMAL_HEADER] + plaintext
    if CODEC.ops[plain[0]].name != "RESET":
        assert CODEC.encode(CODEC.decode(plain)) == plain


@pytest.mark.parametrize("packet", PROTECTED, ids=name_of)
def test_any_altered_octet_is_noticed(packet: dict[str, Any]) -> None:
    """In CRC64 mode the ULTIDs of a packet have no part in its check code but through those of the connection."""
    datagram = bytes.fromhex(packet["udp_payload"])
    receiver = protection_of(packet, sender=False)
    aside = out_of_band(packet)
    first = ULTID_PAIR if packet["mode"].startswith("crc64") else 0
    for position in range(first, len(datagram)):
        altered = datagram[:position] + bytes([datagram[position] ^ 0x21]) + datagram[position + 1 :]
        assert receiver.open(altered, aside) is None, position


@pytest.mark.parametrize("entry", KNOWN["ephemeral"], ids=lambda entry: f"{entry['run']}-{entry['fidPair']}")
def test_start_values(entry: dict[str, str]) -> None:
    """What goes into the place of the check code before the sum is made, in both directions."""
    ids, params = bytes.fromhex(entry["fidPair"]), bytes.fromhex(entry["params"])
    protection = LittleEndianCrc64(
        ids[:4], ids[4:], params[:8], params[8:16], params[16:20], params[20:24], params[24:32]
    )
    assert protection._sent.hex() == entry["crcS0"]
    assert protection._received.hex() == entry["crcR1"]


@pytest.mark.parametrize("entry", KNOWN["installed"], ids=lambda entry: str(entry["run"]))
def test_installed_keys(entry: dict[str, str]) -> None:
    ikm = bytes.fromhex(entry["ikm"])
    if "rawKey" in entry:
        assert mac_schedule(ikm).hex() == entry["rawKey"]
        return
    schedule = ReferenceSchedule(ikm, 256 if len(ikm) > 16 else 128)
    first = schedule.batch(1)
    assert schedule.master_key.hex() == entry["masterKey"]
    assert (first.key + first.salt).hex() == entry["key_salt"]
    assert hash_subkey(first.key).hex() == entry["H"]


@pytest.mark.parametrize("entry", KNOWN["rekeyed"], ids=lambda entry: f"{entry['run']}-{entry['info'][-8:]}")
def test_keys_that_follow(entry: dict[str, str]) -> None:
    found = next(each for each in KNOWN["installed"] if each["run"] == entry["run"])
    ikm = bytes.fromhex(found["ikm"])
    batch = ReferenceSchedule(ikm, 256 if len(ikm) > 16 else 128).batch(int(entry["info"][-8:], 16))
    assert (batch.key + batch.salt).hex() == entry["key_salt"]


@pytest.mark.parametrize(("size", "bits"), [(16, 256), (17, 128), (32, 128), (1, 256)])
def test_the_size_of_the_material_decides(size: int, bits: int) -> None:
    with pytest.raises(ValueError, match="octets of key material"):
        REFERENCE.aead(bytes(size), bits)


def test_nonces_repeat() -> None:
    """Why this revision is for interoperation only: two packets, one nonce, and the key stream falls out."""
    protection = REFERENCE.aead(bytes(range(32)), 256).batch(1)
    secret, known = b"attack at dawn!!", b"the weather is so"[:16]
    heads = [CODEC.head(CODEC.op_codes[op], 24, 0, 128, sn, 7) for sn, op in enumerate([*CODEC.op_codes][8:9] * 2)]
    ids = bytes(8)
    first, second = (protection.seal(ids, head, body)[32:] for head, body in zip(heads, (secret, known), strict=True))
    assert bytes(a ^ b ^ c for a, b, c in zip(first, second, known, strict=True)) == secret
