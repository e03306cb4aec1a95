"""The key log: writing it under all circumstances, and reading it."""

from __future__ import annotations

import contextlib
import logging
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio import keylog
from fsp_trio.keylog import FSPKEYLOGFILE, KeyLogEntry, KeyLogError, log_key, parse_key_log

IKM = bytes(range(32))
LINE = f"FSP_KEY gao-07 c11e4701 a1b2c3d4 17 4294967295 gcm 256 {IKM.hex()}\n"
ENTRY = KeyLogEntry("gao-07", bytes.fromhex("c11e4701"), bytes.fromhex("a1b2c3d4"), 17, 2**32 - 1, "gcm", 256, IKM)


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keylog, "_writers", [])
    monkeypatch.delenv(FSPKEYLOGFILE, raising=False)


def write(mode: str = "gcm", bits: int = 256, first: int = 17) -> None:
    log_key("gao-07", ENTRY.ultid_a, ENTRY.ultid_b, first, 2**32 - 1, mode, bits, IKM)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys"
    monkeypatch.setenv(FSPKEYLOGFILE, str(path))
    return path


def test_a_line_for_each_key(path: Path) -> None:
    write()
    write("aead", 128, first=18)
    write("mac", 0, first=19)
    lines = path.read_text().splitlines(keepends=True)
    assert lines[0] == LINE
    assert [line.split()[4:8] for line in lines] == [
        ["17", "4294967295", "gcm", "256"],
        ["18", "4294967295", "gcm", "128"],
        ["19", "4294967295", "mac", "256"],
    ]


def test_only_its_owner_may_read_it(path: Path) -> None:
    write()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_are_appended(path: Path) -> None:
    path.write_text("# here already\n")
    write()
    assert path.read_text() == "# here already\n" + LINE


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_without_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    if value is not None:
        monkeypatch.setenv(FSPKEYLOGFILE, value)
    write()
    assert list(tmp_path.iterdir()) == []


def test_the_variable_is_read_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write()
    monkeypatch.setenv(FSPKEYLOGFILE, str(path) + "2")
    write()
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("place", ["missing/keys", ".", "nul\0l"])
def test_a_failure_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    monkeypatch.setattr(keylog, "_writers", [keylog._Writer(str(tmp_path / place))])
    with caplog.at_level(logging.WARNING):
        write()
        write()
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("cannot write the key log ")


def test_nonsense_is_told_not_raised(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write("rot13")
    assert len(caplog.records) == 1
    assert not path.exists()


def test_a_handler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("no")

    handler = Failing()
    logging.getLogger("fsp_trio.keylog").addHandler(handler)
    monkeypatch.setattr(keylog, "_writers", [keylog._Writer(str(tmp_path))])
    try:
        write()
    finally:
        logging.getLogger("fsp_trio.keylog").removeHandler(handler)


def test_reading() -> None:
    assert list(
        parse_key_log(["# a comment\n", "\n", LINE, LINE.upper().replace("GAO", "gao").replace("GCM", "gcm")])
    ) == [
        ENTRY,
        ENTRY,
    ]
    assert ENTRY.line() + "\n" == LINE


@pytest.mark.parametrize("bits", [0, 128, 256, 512])
def test_bits_of_a_mac_do_not_matter(bits: int) -> None:
    (entry,) = parse_key_log([LINE.replace("gcm 256", f"mac {bits}")])
    assert (entry.mode, entry.bits) == ("mac", bits)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("CLIENT_RANDOM 1 2", "does not begin with FSP_KEY"),
        ("FSP_KEY gao-07", "1 fields after FSP_KEY instead of 8"),
        (LINE.strip() + " more", "9 fields after FSP_KEY instead of 8"),
        (LINE.replace("c11e4701", "c11e47"), "ultid_a is not 4 octets in hexadecimal"),
        (LINE.replace("a1b2c3d4", "a1b2c3dx"), "ultid_b is not 4 octets in hexadecimal"),
        (LINE.replace(" 17 ", " -17 "), "first_sn_a is not a decimal number up to 4294967295"),
        (LINE.replace("4294967295", "4294967296"), "first_sn_b is not a decimal number up to 4294967295"),
        (LINE.replace("4294967295", "9" * 5000), "first_sn_b is not a decimal number up to 4294967295"),
        (LINE.replace("gcm", "aes"), "the mode is neither gcm nor mac"),
        (LINE.replace("256", "257"), "a key has 128, 192 or 256 bits"),
        (LINE.replace(IKM.hex(), "0"), "ikm is not octets in hexadecimal"),
        ("x" * 70_000, "too long"),
    ],
)
def test_errors_have_line_numbers(line: str, why: str) -> None:
    with pytest.raises(KeyLogError) as caught:
        list(parse_key_log(["# first\n", LINE, line]))
    assert str(caught.value) == f"line 3: {why}"
    assert caught.value.line == 3


@given(st.lists(st.text() | st.text(alphabet="FSP_KEY 0123456789abcdefgm-\n")))
def test_any_text(lines: list[str]) -> None:
    with contextlib.suppress(KeyLogError):
        list(parse_key_log(lines))
