"""`fsp-trio decode`: what the packets of a capture say."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO, Final

import click
from rich.console import Console
from rich.text import Text

from fsp_trio.capture import (
    DEFAULT_REKEY_THRESHOLD,
    DIALECTS,
    CaptureError,
    DecodedPacket,
    Dialect,
    Evidence,
    Follower,
    Fragment,
    datagram_of,
    read_frames,
)
from fsp_trio.capture.packets import extension_as_dict
from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.names import printable
from fsp_trio.cli.reporting import Reporter
from fsp_trio.keylog import KeyLogEntry, KeyLogError, parse_key_log

__all__ = ["decode"]

AUTO: Final = "auto"
DEFAULT_REVISION: Final = "gao-07"
STDIN: Final = Path("-")
OCTETS_IN_A_ROW: Final = 16
_INDENT: Final = " " * 8
_EXIT_CODES: Final = """\
\b
Exit codes:
  0    everything was read
  1    the capture is truncated, broken or no capture; what could be read was printed
  2    wrong usage
  4    the key log cannot be read
  130  interrupted
"""


@click.command(epilog=_EXIT_CODES)
@click.argument(
    "capture", metavar="CAPTURE", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option(
    "--revision",
    type=click.Choice([AUTO, *DIALECTS]),
    default=AUTO,
    show_default=True,
    help="Revision of the protocol; auto takes each connection for what its handshake shows.",
)
@click.option(
    "--keylog",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Key log, as sessions write it where FSPKEYLOGFILE is set.",
)
@click.option(
    "--rekey-threshold",
    type=click.IntRange(1, 2**31),
    default=DEFAULT_REKEY_THRESHOLD,
    show_default=True,
    metavar="N",
    help="Packets in one direction after which a key is followed by the next one.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each packet, on stdout.")
def decode(capture: Path, revision: str, keylog: Path | None, rekey_threshold: int, as_json: bool) -> None:
    """Print what the packets of a capture say: pcap or pcapng, - for stdin.

    Packets of the handshake and those under CRC64 need no key; the others need the key log.
    """
    reporter = Reporter(as_json=as_json)
    entries = _read_key_log(keylog)
    dialects = _dialects(revision, entries)
    survey = None if capture == STDIN else lambda: _survey(capture, dialects, entries, rekey_threshold)
    follower = Follower(dialects, entries, rekey_threshold=rekey_threshold, survey=survey)
    for entry in follower.unusable:
        reporter.warn(f"the key log has a key of {entry.revision}, which is left out")
    show = _JSONLines(sys.stdout) if as_json else _Pages(sys.stdout)
    count = 0
    fragments = 0
    with _opened(capture) as file:
        for packets in _decoded(file, follower):
            fragments += packets is None
            for packet in packets or ():
                count += 1
                show(packet)
    reporter.info(_summary(count, fragments, follower, revision))


def _dialects(revision: str, entries: Sequence[KeyLogEntry]) -> list[Dialect]:
    """Those to be tried, the likeliest first."""
    if revision != AUTO:
        return [DIALECTS[revision]]
    logged = [entry.revision for entry in entries if entry.revision in DIALECTS]
    names = dict.fromkeys([*logged, DEFAULT_REVISION, *DIALECTS])
    return [DIALECTS[name] for name in names]


def _opened(capture: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if capture == STDIN else capture.open("rb")


def _decoded(file: BinaryIO, follower: Follower) -> Iterator[list[DecodedPacket] | None]:
    """What each frame has: packets, or None for a fragment.  CommandError where the capture ends badly."""
    try:
        for frame in read_frames(file):
            datagram = datagram_of(frame)
            if isinstance(datagram, Fragment):
                yield None
            elif datagram is not None:
                yield follower.take(datagram)
    except CaptureError as error:
        raise CommandError(str(error)) from None


def _survey(
    capture: Path, dialects: Sequence[Dialect], entries: Sequence[KeyLogEntry], rekey_threshold: int
) -> Evidence:
    """Read the capture once more, in advance."""
    follower = Follower(dialects, entries, rekey_threshold=rekey_threshold)
    try:
        with capture.open("rb") as file:
            for _ in _decoded(file, follower):
                pass
    except (CommandError, OSError):
        pass  # told when the other reading comes to it
    return follower.evidence


def _read_key_log(path: Path | None) -> list[KeyLogEntry]:
    if path is None:
        return []
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return list(parse_key_log(file))
    except KeyLogError as error:
        raise CommandError(f"{path}, {error}", Exit.KEY) from None
    except OSError as error:
        raise CommandError(f"cannot read the key log {path}: {error.strerror}", Exit.KEY) from None


def _summary(count: int, fragments: int, follower: Follower, revision: str) -> str:
    parts = [f"{count} packets" if count != 1 else "1 packet"]
    if revision != AUTO:
        parts.append(revision)
    elif follower.revisions:
        parts.append(f"{' and '.join(follower.revisions)}, by the handshakes")
    else:
        parts.append(f"taken for {follower.likeliest}, since there is no handshake that would tell")
    if fragments:
        parts.append(f"{fragments} IP fragments not put together")
    if follower.ignored:
        parts.append(f"{follower.ignored} datagrams of other protocols left out")
    return "; ".join(parts)


class _JSONLines:
    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def __call__(self, packet: DecodedPacket) -> None:
        self._out.write(json.dumps(packet.as_dict()) + "\n")


class _Pages:
    """For people: a few lines for each packet, in colour on a terminal."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        console = Console(file=out, highlight=False, markup=False, emoji=False)
        self._write: Callable[[str, str], None] = self._plain
        if console.is_terminal:
            self._write = lambda line, style: console.print(Text(line, style), soft_wrap=True)

    def _plain(self, line: str, style: str) -> None:
        self._out.write(line + "\n")

    def __call__(self, packet: DecodedPacket) -> None:
        self._write(f"{packet.n:>6}  {_moment(packet.time)}  {packet.source} > {packet.destination}", "dim")
        style = {True: "green", False: "bold red", None: "yellow"}[packet.icc_ok]
        self._write(_INDENT + _headline(packet), "default" if packet.mode == "none" else style)
        for line in _details(packet):
            self._write(_INDENT + printable(line), "default")
        for note in packet.notes:
            self._write(f"{_INDENT}({printable(note)})", "yellow")


def _headline(packet: DecodedPacket) -> str:
    words = [f"{packet.src_ultid.hex()} > {packet.dst_ultid.hex()}", packet.opcode or "?", *packet.flags]
    for name, value in (
        ("sn", packet.sn),
        ("expected", packet.expected_sn),
        ("serial", packet.oob_serial),
        ("window", packet.window),
    ):
        if value is not None:
            words.append(f"{name} {value}")
    if packet.mode != "none":
        words.append(_check(packet))
    return "  ".join(words)


def _check(packet: DecodedPacket) -> str:
    if packet.icc_ok:
        return f"ICC good ({packet.mode}{f', {packet.key}' if packet.key != packet.mode else ''})"
    said = "ICC not checked" if packet.icc_ok is None else "ICC BAD"
    return f"{said} ({packet.mode})" if packet.mode else said


def _details(packet: DecodedPacket) -> Iterator[str]:
    if packet.fields:
        yield "  ".join(f"{name} {value}" for name, value in packet.fields.items())
    for extension in packet.extensions:
        described = extension_as_dict(extension)
        yield f"{described.pop('type')}  " + "  ".join(f"{name} {_short(value)}" for name, value in described.items())
    payload = packet.payload or b""
    if payload:
        yield f"{len(payload)} octets"
    for start in range(0, len(payload), OCTETS_IN_A_ROW):
        row = payload[start : start + OCTETS_IN_A_ROW]
        text = "".join(chr(octet) if 32 <= octet < 127 else "." for octet in row)
        yield f"  {start:04x}  {row.hex(' '):<{3 * OCTETS_IN_A_ROW}} {text}"


def _short(value: object) -> str:
    if isinstance(value, list):
        return "[" + " ".join(map(_short, value)) + "]"
    return str(value)


def _moment(time: int) -> str:
    seconds, rest = divmod(time, 1_000_000_000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest // 1000:06}"
    except (OverflowError, ValueError, OSError):  # no such year
        return f"{seconds}.{rest // 1000:06}"
