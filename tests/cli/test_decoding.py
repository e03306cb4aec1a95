"""`fsp-trio decode`: captures in all link types, damaged ones, JSON and the form for people."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fsp_trio.cli import decoding, main
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.keylog import KeyLogEntry
from tests.capture.following import entry
from tests.capture.writing import ETHERNET, LINKS, Sent, framed, ip, pcap, pcapng, recorded
from tests.core.pair import Side
from tests.core.talk import KEY, established, transfer

DATA = b"Everything that can be said, can be said in clear. " * 40
FIELDS = ["n", "time", "src", "dst", "src_ultid", "dst_ultid", "opcode", "flags", "window", "sn"]
REST = ["extensions", "icc_ok", "mode", "payload"]


@cache
def session(rekey_after: int | None = None) -> tuple[tuple[Sent, ...], KeyLogEntry]:
    pair = established(Settings(timers=Timers.responsive(), rekey_after=rekey_after), welcome=b"welcome")
    transfer(pair, Side.CLIENT, DATA)
    for end in (pair.client, pair.server):
        end.install_key(KEY)
    logged = entry(pair, KEY)
    transfer(pair, Side.SERVER, DATA)
    transfer(pair, Side.CLIENT, DATA)
    return tuple(recorded(pair)), logged


def capture(path: Path, octets: bytes | None = None) -> Path:
    path.write_bytes(pcap(*framed(session()[0])) if octets is None else octets)
    return path


@pytest.fixture
def key_log(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# of a test\n{session()[1].line()}\n")
    return path


def rows(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    assert main(["decode", "--json", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()], captured.err


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("format_", [pcap, pcapng])
def test_all_links(tmp_path: Path, key_log: Path, capsys: pytest.CaptureFixture[str], link: str, format_: Any) -> None:
    file = capture(tmp_path / "capture", format_(*framed(session()[0], link)))
    told, err = rows(capsys, file, "--keylog", key_log)
    assert err == f"{len(told)} packets; gao-07, by the handshakes\n"
    assert len(told) == len(session()[0])
    for row, packet in zip(told, session()[0], strict=True):
        assert list(row) in ([*FIELDS, "expected_sn", *REST], [*FIELDS, "oob_serial", *REST])
        assert row["icc_ok"] is (None if row["mode"] == "none" else True)
        assert row["time"] == pytest.approx(packet.time / 1e9, abs=1e-6)
        assert row["src"] == f"{packet.source[0]}:{packet.source[1]}"
        assert row["dst"] == f"{packet.destination[0]}:{packet.destination[1]}"
    assert [row["n"] for row in told] == list(range(1, len(told) + 1))
    spoken = b"".join(bytes.fromhex(row["payload"]) for row in told if row["opcode"] in ("PERSIST", "PURE_DATA"))
    assert spoken.count(DATA) == 3


def test_without_the_key_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, _ = rows(capsys, capture(tmp_path / "capture"))
    unknown = [row for row in told if row["mode"] is None]
    assert unknown
    assert {(row["icc_ok"], row["payload"]) for row in unknown} == {(None, None)}
    assert {row["icc_ok"] for row in told if row["mode"] == "crc64"} == {True}


def test_damage_is_told_from_an_unknown_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Later packets under CRC64 show that this one was too: the capture is read twice, unless it comes from a pipe."""
    octets = bytearray(pcap(*framed(session()[0])))
    octets[octets.index(DATA[:100])] ^= 1
    told, _ = rows(capsys, capture(tmp_path / "capture", bytes(octets)))
    assert [row["opcode"] for row in told if row["icc_ok"] is False] == ["PERSIST"]


def test_stdin(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    octets = bytearray(pcap(*framed(session()[0])))
    octets[octets.index(DATA[:100])] ^= 1
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(octets))))
    told, _ = rows(capsys, "-")
    assert len(told) == len(session()[0])
    assert False not in [row["icc_ok"] for row in told]


def test_rekeying(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets, logged = session(2)
    file = capture(tmp_path / "capture", pcapng(*framed(packets)))
    (tmp_path / "keys").write_text(logged.line())
    told, _ = rows(capsys, file, "--keylog", tmp_path / "keys", "--rekey-threshold", 2)
    assert {row["icc_ok"] for row in told} == {None, True}
    assert {row["mode"] for row in told if row["icc_ok"] is None} == {"none"}
    told, _ = rows(capsys, file, "--keylog", tmp_path / "keys")
    assert False in {row["icc_ok"] for row in told}


def test_the_form_for_people(tmp_path: Path, key_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = capture(tmp_path / "capture")
    assert main(["decode", str(file), "--keylog", str(key_log)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert lines[0].startswith("     1  2023-11-14 22:30:00.000000  10.77.0.1:40000 > 10.77.0.2:18003")
    assert lines[1].endswith("  INIT_CONNECT")
    assert lines[2].startswith("        salt ")
    assert "ACK_CONNECT_REQ  EOT  sn " in captured.out
    assert "ICC good (crc64)" in captured.out
    assert "ICC good (gcm, key 1)" in captured.out
    assert "SELECTIVE_NACK  expected_sn " in captured.out
    assert "45 76 65 72 79 74 68 69 6e 67 20 74 68 61 74 20  Everything that " in captured.out
    assert lines[-1] == f"{len(session()[0])} packets; gao-07, by the handshakes"


def test_what_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", str(capture(tmp_path / "capture"))]) == 0
    assert "ICC not checked" in capsys.readouterr().out
    octets = bytearray(pcap(*framed(session()[0])))
    octets[octets.index(DATA[:100])] ^= 1
    assert main(["decode", str(capture(tmp_path / "capture", bytes(octets)))]) == 0
    assert "ICC BAD (crc64)" in capsys.readouterr().out


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paper = io.StringIO()

    class Terminal(Console):
        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "file": paper, "force_terminal": True, "color_system": "standard"})

    monkeypatch.setattr(decoding, "Console", Terminal)
    assert main(["decode", str(capture(tmp_path / "capture"))]) == 0
    assert "\x1b[32m" in paper.getvalue()


def test_a_year_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, frames = framed(session()[0][:1])
    file = capture(tmp_path / "capture", pcapng(ETHERNET, [(2**63, frames[0][1])]))
    assert main(["decode", str(file)]) == 0
    far = pcapng(ETHERNET, [(1000 * (2**64 - 1), frames[0][1])])
    assert main(["decode", str(capture(file, far))]) == 0
    assert "18446744073709.551615" in capsys.readouterr().out
    told, _ = rows(capsys, file)
    assert told[0]["time"] == pytest.approx(18446744073709.55)


# what is left out


def test_fragments_and_other_protocols_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link_type, frames = framed(session()[0])
    time, first = frames[0]
    fragment = first[:14] + ip(session()[0][0], fragment=0x2000)
    dns = first[:14] + ip(Sent(0, ("10.0.0.1", 5), ("10.0.0.2", 53), bytes(60)))
    octets = pcap(link_type, [(time, b"arp"), (time, fragment), (time, dns), *frames])
    told, err = rows(capsys, capture(tmp_path / "capture", octets))
    assert [row["n"] for row in told] == [n + 4 for n in range(len(frames))]
    assert "; 1 IP fragments not put together; 1 datagrams of other protocols left out" in err


def test_no_packets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, err = rows(capsys, capture(tmp_path / "capture", pcap(ETHERNET, [])))
    assert told == []
    assert err == "0 packets; taken for gao-07, since there is no handshake that would tell\n"


def test_a_revision_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, err = rows(capsys, capture(tmp_path / "capture"), "--revision", "gao-07")
    assert err == f"{len(session()[0])} packets; gao-07\n"


# what goes wrong


@pytest.mark.parametrize("format_", [pcap, pcapng])
@pytest.mark.parametrize("missing", [1, 5, 30])
def test_truncated(tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: Any, missing: int) -> None:
    octets = format_(*framed(session()[0]))[:-missing]
    told, err = rows(capsys, capture(tmp_path / "capture", octets), code=1)
    assert len(told) == len(session()[0]) - 1
    assert err.startswith("fsp-trio: the capture is truncated: it ends at octet ")
    assert err.count("\n") == 1


def test_broken_in_the_middle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link_type, frames = framed(session()[0])
    octets = pcap(link_type, frames[:5]) + b"\xff" * 100
    told, err = rows(capsys, capture(tmp_path / "capture", octets), code=1)
    assert len(told) == 5
    assert err.startswith("fsp-trio: the capture is broken at octet ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"no capture"])
def test_no_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    told, err = rows(capsys, capture(tmp_path / "capture", content), code=1)
    assert told == []
    assert err in ("fsp-trio: the capture is empty\n", "fsp-trio: neither a pcap nor a pcapng file\n")


def test_a_line_of_the_key_log(tmp_path: Path, key_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key_log.write_text(f"# first\n{session()[1].line()}\nFSP_KEY and no more\n")
    _, err = rows(capsys, capture(tmp_path / "capture"), "--keylog", key_log, code=4)
    assert err == f"fsp-trio: {key_log}, line 3: 3 fields after FSP_KEY instead of 8\n"
    key_log.write_bytes(b"\xff\xfe\n")
    _, err = rows(capsys, capture(tmp_path / "capture"), "--keylog", key_log, code=4)
    assert err == f"fsp-trio: {key_log}, line 1: does not begin with FSP_KEY\n"


def test_a_key_of_another_revision(tmp_path: Path, key_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key_log.write_text(session()[1].line().replace("gao-07", "gao-99"))
    _, err = rows(capsys, capture(tmp_path / "capture"), "--keylog", key_log)
    assert err.startswith("fsp-trio: warning: the key log has a key of gao-99, which is left out\n")


@pytest.mark.parametrize(
    "arguments", [["/no/such/capture"], [], ["--rekey-threshold", "0", "/dev/null"], ["--revision", "x", "/dev/null"]]
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["decode", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@given(st.data())
@settings(max_examples=30)
def test_mutated_captures_never_raise(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    packets, logged = session()
    write = data.draw(st.sampled_from([pcap, pcapng]))
    octets = bytearray(write(*framed(packets[:30], data.draw(st.sampled_from(list(LINKS))))))
    for position in data.draw(st.lists(st.integers(0, len(octets) - 1), max_size=30)):
        octets[position] = data.draw(st.integers(0, 255))
    directory = tmp_path_factory.mktemp("mutated")
    (directory / "keys").write_text(logged.line())
    (directory / "capture").write_bytes(octets[: data.draw(st.integers(0, len(octets)))])
    arguments = ["decode", str(directory / "capture"), "--keylog", str(directory / "keys")]
    complaints = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(complaints):
        assert main([*arguments, *(["--json"] if data.draw(st.booleans()) else [])]) in (0, 1)
    assert "unexpected" not in complaints.getvalue()
