from __future__ import annotations

from pathlib import Path

import pytest

import fsp_trio
from fsp_trio.cli import main
from fsp_trio.cli.connection import parse_target
from fsp_trio.cli.exits import Exit
from tests.cli.tools import write_key


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("host", ("host", 18003)),
        ("host.example:5", ("host.example", 5)),
        ("192.0.2.1", ("192.0.2.1", 18003)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
    ],
)
def test_target(target: str, address: tuple[str, int]) -> None:
    assert parse_target(target, 18003) == address


@pytest.mark.parametrize(
    "target", ["", ":5", "host:", "host:0", "host:65536", "host:x", "host:-1", "host:٣", "::1", "[::1]:5", "a b"]
)
def test_no_target(target: str) -> None:
    with pytest.raises(ValueError, match=r"IPv6|names no host|not a number"):
        parse_target(target, 18003)


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], ["receive"], ["send"], ["echo"], ["ping"]):
        assert main([*command, "--help"]) == Exit.OK
        captured = capsys.readouterr()
        assert "Exit codes:" in captured.out
        for code in Exit:
            assert f"\n    {code.value:<5}" in captured.out
        assert captured.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == Exit.OK
    assert fsp_trio.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], Exit.USAGE),
        (["nonsense"], Exit.USAGE),
        (["send", "--insecure"], Exit.USAGE),
        (["send", "--insecure", "/nonexistent", "host"], Exit.USAGE),
        (["receive", "--insecure"], Exit.USAGE),
        (["receive", "--insecure", "--out", "/nonexistent"], Exit.USAGE),
        (["ping", "--insecure", "--port", "x", "host"], Exit.USAGE),
        (["ping", "--insecure", "--port", "99999", "host"], Exit.USAGE),
        (["ping", "--insecure", "host:99999"], Exit.USAGE),
        (["ping", "--insecure", "[::1]:5"], Exit.USAGE),
        (["ping", "--timers", "hasty", "host"], Exit.USAGE),
        (["ping", "--timeout", "0.2", "127.0.0.1:9"], Exit.UNREACHABLE),
        (["ping", "--identity", "/nonexistent", "host"], Exit.KEY),
        (["ping", "--insecure", "--strict", "host"], Exit.USAGE),
        (["echo", "--authorized", "/nonexistent"], Exit.KEY),
        (["keygen", "/proc/key"], Exit.KEY),
        (["echo"], Exit.KEY),
        (["ping", "--psk", "/nonexistent", "host"], Exit.KEY),
        (["ping", "--psk", "/dev/null", "--insecure", "host"], Exit.USAGE),
        (["ping", "--insecure", "--timeout", "nan", "host"], Exit.USAGE),
        (["ping", "--insecure", "--interval", "inf", "host"], Exit.USAGE),
        (["ping", "--insecure", "--timeout", "0.2", "127.0.0.1:9"], Exit.UNREACHABLE),
        (["ping", "--insecure", "a..b"], Exit.UNREACHABLE),
        (["ping", "--insecure", "--bind", "a..b", "127.0.0.1:9"], Exit.FAILED),
        (["ping", "--insecure", "--bind", "192.0.2.77", "127.0.0.1:9"], Exit.FAILED),
    ],
)
def test_errors_are_one_line(arguments: list[str], code: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "warning:" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("fsp-trio: ")
    assert "Traceback" not in captured.err


def test_short_key_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "--psk", str(write_key(tmp_path / "psk", b"short")), "host"]) == Exit.KEY
    assert "5 octets" in capsys.readouterr().err
