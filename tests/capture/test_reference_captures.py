"""Captures of the author's own program: every code good, every payload right.

What is expected was written down by another program, which had the keys from the author's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fsp_trio.cli import main

DATA = Path(__file__).parent / "data"
EXPECTED: dict[str, list[dict[str, Any]]] = json.loads((DATA / "expected.json").read_text())
FLAGS = {None: [], "00": [], "80": ["EOT"]}
OUT_OF_BAND = frozenset({"ACK_FLUSH", "KEEP_ALIVE", "MULTIPLY"})
EXTENDED = frozenset({"ACK_FLUSH", "KEEP_ALIVE"})


def decode(capsys: pytest.CaptureFixture[str], run: str, *arguments: str) -> list[dict[str, Any]]:
    assert main(["decode", "--json", str(DATA / f"{run}.pcap"), *arguments]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def key_log(run: str) -> list[str]:
    path = DATA / f"{run}.keylog"
    return ["--keylog", str(path)] if path.exists() else []


@pytest.mark.parametrize("run", EXPECTED)
@pytest.mark.parametrize("revision", ["auto", "reference-2020"])
def test_every_packet(capsys: pytest.CaptureFixture[str], run: str, revision: str) -> None:
    told = decode(capsys, run, *key_log(run), "--revision", revision)
    assert len(told) == len(EXPECTED[run])
    for row, expected in zip(told, EXPECTED[run], strict=True):
        number = "oob_serial" if expected["what"] in OUT_OF_BAND else "expected_sn"
        assert row["n"] == expected["n"]
        assert row["opcode"] == expected["what"]
        assert (row["src_ultid"], row["dst_ultid"]) == (expected["source"], expected["destination"])
        assert row["icc_ok"] is (None if expected["mode"] == "none" else True)
        assert (row["sn"], row[number], row["window"]) == (expected["number"], expected["expected"], expected["window"])
        assert row["flags"] == FLAGS[expected["flags"]]
        if run != "t5mulgcm" or row["mode"] != "crc64":
            assert row["mode"] == {"gcm": "gcm", "mac": "mac"}.get(expected["mode"], expected["mode"])
        if expected["mode"] != "none" and expected["what"] in EXTENDED:
            assert row["payload"] == ""
            assert encoded(row["extensions"]) == expected["plaintext"]
        elif expected["mode"] != "none":
            assert row["payload"] == expected["plaintext"]
            assert row["extensions"] == []


def encoded(extensions: list[dict[str, Any]]) -> str:
    """The octets of Sink Parameters and SNACK, from what was told of them: little-endian."""
    octets = b""
    for extension in extensions:
        if extension["type"] == "PEER_SUBNETS":
            content = bytes.fromhex(extension["host_id"] + "".join(extension["prefixes"]))
            code = 16
        else:
            numbers = [extension[name] for name in ("expected_sn", "delay_sample_sn", "delay")]
            numbers += [number for gap in extension["gaps"] for number in gap]
            content = b"".join(number.to_bytes(4, "little") for number in numbers)
            code = 17
        octets += bytes([code, extension["mark"]]) + (4 + len(content)).to_bytes(2, "little") + content
    return octets.hex()


@pytest.mark.parametrize("run", EXPECTED)
def test_without_keys(capsys: pytest.CaptureFixture[str], run: str) -> None:
    for row, expected in zip(decode(capsys, run), EXPECTED[run], strict=True):
        known = {"none": (None, "none"), "crc64": (True, "crc64")}.get(expected["mode"], (None, None))
        assert (row["icc_ok"], row["mode"]) == known


@pytest.mark.parametrize("run", EXPECTED)
def test_any_altered_packet_is_noticed(capsys: pytest.CaptureFixture[str], run: str, tmp_path: Path) -> None:
    """The last octet of each packet is altered, one after the other."""
    octets = (DATA / f"{run}.pcap").read_bytes()
    position = 24
    for number, expected in enumerate(EXPECTED[run]):
        position += 16 + int.from_bytes(octets[position + 8 : position + 12], "little")
        if expected["mode"] == "none":
            continue
        altered = octets[: position - 1] + bytes([octets[position - 1] ^ 1]) + octets[position:]
        (tmp_path / "altered.pcap").write_bytes(altered)
        assert main(["decode", "--json", str(tmp_path / "altered.pcap"), *key_log(run)]) == 0
        told = [json.loads(line)["icc_ok"] for line in capsys.readouterr().out.splitlines()]
        assert told[number] is (False if run != "t1" or followed(EXPECTED[run], number) else None)
        branch = expected["what"] == "MULTIPLY"  # without it nothing is known of the branch
        assert all(told[n] for n in range(3, len(told)) if n != number and not (branch and n > number))


def followed(packets: list[dict[str, Any]], number: int) -> bool:
    """The same end sent another packet with this number or a later one: there was no key yet."""
    this = packets[number]
    return any(
        packet["source"] == this["source"] and packet["number"] >= this["number"]
        for n, packet in enumerate(packets[3:], 3)
        if n != number
    )
