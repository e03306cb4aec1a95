from __future__ import annotations

import io
import json

import pytest
import trio
from trio.testing import MockClock

from fsp_trio.cli.reporting import Reporter
from fsp_trio.cli.statistics import (
    MOST_STATES,
    FileResult,
    Summary,
    format_address,
    format_octets,
    format_seconds,
    format_states,
)
from tests.cli.tools import Paper, terminal_reporter

SUMMARY = Summary(
    peer="192.0.2.1:18003",
    protection="aead",
    octets=3 * 2**20,
    seconds=1.5,
    packets_sent=10,
    packets_received=20,
    retransmissions=3,
    duplicates=4,
    dropped=5,
    srtt=0.025,
    states=["CLOSABLE", "CLOSABLE", "CLOSED"],
    files=[FileResult("a", 3 * 2**20, "ab")],
)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (0, "0 octets"),
        (1023, "1023 octets"),
        (1024, "1.0 KiB"),
        (64 * 2**20, "64.0 MiB"),
        (2**30 - 1, "1.0 GiB"),
        (2**80, "1048576.0 EiB"),
    ],
)
def test_octets(octets: int, text: str) -> None:
    assert format_octets(octets) == text


def test_small_formats() -> None:
    assert format_seconds(0.0123) == "12.30 ms"
    assert format_seconds(12.3) == "12.30 s"
    assert format_address(("192.0.2.1", 5)) == "192.0.2.1:5"
    assert format_address("elsewhere") == "elsewhere"
    assert format_states(["A", "A", "B", "A"]) == "A > B > A"
    many = format_states([str(number) for number in range(100)])
    assert many.count(" > ") == MOST_STATES
    assert "(60 more)" in many


def test_summary_in_lines_and_as_json() -> None:
    plain = Paper()
    plain.summary(SUMMARY)
    assert plain.out == [
        "3.0 MiB in 1.50 s, rate 2.0 MiB/s, protection aead",
        "packets: 10 sent, 20 received, 3 retransmissions, 4 duplicates, 5 dropped; round trip 25.00 ms",
        "states: CLOSABLE > CLOSED",
    ]
    assert plain.err == []
    machine = Paper(as_json=True)
    machine.summary(SUMMARY)
    [line] = machine.out
    assert json.loads(line)["rate"] == 2 * 2**20
    assert machine.err == plain.out


def test_words_of_others_cannot_command_the_terminal() -> None:
    paper = Paper()
    paper.error("evil\x1b]0;title\x07\nline")
    paper.info("[red]not markup[/red] \x9b31m")
    assert paper.err == ["fsp-trio: evil\ufffd]0;title\ufffd\ufffdline"]
    assert paper.out == ["[red]not markup[/red] \ufffd31m"]


async def test_plain_lines_come_now_and_then(autojump_clock: MockClock) -> None:
    paper = Paper()
    with paper.transfer("file", 1000) as advance:
        for _ in range(10):
            await trio.sleep(1)
            advance(100)
    assert paper.out[0] == "file: 200 octets of 1000 octets (20 %)"
    assert len(paper.out) == 5


async def test_bars_on_a_terminal() -> None:
    with terminal_reporter() as (reporter, out):
        with reporter.transfer("[first]", 1000) as first, reporter.transfer("second", 2000) as second:
            first(500)
            second(2000)
            reporter.info("meanwhile")
            reporter.error("trouble")
        reporter.info("afterwards")
        reporter.error("more trouble")
    text = out.getvalue()
    assert "[first]" in text
    assert "meanwhile" in text
    assert "fsp-trio: trouble" in text
    assert text.endswith("afterwards\nfsp-trio: more trouble\n")


class Ascii(io.TextIOWrapper):
    """A terminal that takes nothing but ASCII."""

    def __init__(self) -> None:
        self.octets = io.BytesIO()
        super().__init__(self.octets, encoding="ascii", write_through=True)

    def isatty(self) -> bool:
        return True


async def test_a_terminal_of_few_columns_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign for what the bar has no room for is not lost on it, nor does it end anything."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    paper = Ascii()
    reporter = Reporter(out=paper, err=paper)
    with reporter.transfer("漢字" * 50, 1000) as advance:
        advance(500)
        reporter.info("ü")
        reporter.error("ü")
    said = paper.octets.getvalue().decode("ascii")
    assert "\\u6f22" in said
    assert "\\u2026" in said
    assert said.count("\\xfc") == 2


def test_nobody_reads_complaints() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    reporter = Reporter(err=Closed())
    reporter.warn("of something")
    reporter.error("of something else")
