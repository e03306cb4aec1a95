"""What the user sees: a progress bar on a terminal, plain lines elsewhere; warnings and errors on stderr.

Whatever a peer or a file system named goes through `printable`, and rich is told to take nothing for markup.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final, Protocol

import trio
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from fsp_trio.cli.names import printable
from fsp_trio.cli.statistics import Summary, format_octets

__all__ = ["Advance", "Reporter"]

PLAIN_INTERVAL: Final = 2.0
"""Seconds between lines about the same transfer."""


def _writable(file: IO[str], text: str) -> str:
    """The text with escapes for what the file's encoding does not have."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _write_line(file: IO[str], line: str) -> None:
    # in one piece, since the other end may be writing to the same terminal
    file.write(_writable(file, line) + "\n")
    file.flush()


class Advance(Protocol):
    def __call__(self, octets: int) -> None: ...


class Reporter:
    """Where the commands send their words.

    With `as_json` stdout carries nothing but one JSON object per finished session, and the rest goes to stderr.
    """

    def __init__(self, *, as_json: bool = False, out: IO[str] | None = None, err: IO[str] | None = None) -> None:
        self._as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        for file in (self._out, self._err):
            # beside what goes through _writable: a bar puts a sign of its own in place of what it has no room for
            if isinstance(file, io.TextIOWrapper) and file.errors != "backslashreplace":
                file.reconfigure(errors="backslashreplace")
        self._console = Console(file=self._err if as_json else self._out, highlight=False, markup=False, emoji=False)
        self._progress: Progress | None = None
        self._transfers = 0

    def info(self, text: str) -> None:
        if self._progress is not None:
            self._console.print(_writable(self._console.file, printable(text)), soft_wrap=True)
        else:
            _write_line(self._console.file, printable(text))

    def warn(self, text: str) -> None:
        self._complain(f"fsp-trio: warning: {text}")

    def error(self, text: str) -> None:
        self._complain(f"fsp-trio: {text}")

    def _complain(self, line: str) -> None:
        with suppress(OSError):  # nobody reads stderr any more: there is nobody left to tell
            if self._progress is not None and self._err.isatty():  # the terminal where the bar moves out of the way
                self._progress.console.print(_writable(self._console.file, printable(line)), soft_wrap=True)
            else:
                _write_line(self._err, printable(line))

    def summary(self, summary: Summary) -> None:
        for line in summary.lines():
            self.info(line)
        if self._as_json:
            _write_line(self._out, json.dumps(summary.as_dict()))

    @contextmanager
    def transfer(self, label: str, size: int) -> Iterator[Advance]:
        """A transfer in progress; call what this gives with the number of octets as they come or go."""
        if self._console.is_terminal:
            with self._bar(_writable(self._console.file, printable(label)), size) as advance:
                yield advance
        else:
            yield self._lines(label, size)

    @contextmanager
    def _bar(self, label: str, size: int) -> Iterator[Advance]:
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
                refresh_per_second=5,
            )
            self._progress.start()
        progress = self._progress
        task = progress.add_task(label, total=size)
        self._transfers += 1
        try:
            yield lambda octets: progress.advance(task, octets)
        finally:
            progress.remove_task(task)
            self._transfers -= 1
            if not self._transfers:
                progress.stop()
                self._progress = None

    def _lines(self, label: str, size: int) -> Advance:
        done = 0
        due = trio.current_time() + PLAIN_INTERVAL

        def advance(octets: int) -> None:
            nonlocal done, due
            done += octets
            now = trio.current_time()
            if now >= due:
                due = now + PLAIN_INTERVAL
                self.info(f"{label}: {format_octets(done)} of {format_octets(size)} ({done * 100 // max(size, 1)} %)")

        return advance
