"""Helpers of the tests of the command line."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsp_trio.cli.connection import Common
from fsp_trio.cli.keys import SharedKey
from fsp_trio.cli.reporting import Reporter

KEY = bytes(range(32))
LOOPBACK = "127.0.0.1"


class Paper(Reporter):
    """A reporter whose words can be read."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.out_paper, self.err_paper = io.StringIO(), io.StringIO()
        super().__init__(as_json=as_json, out=self.out_paper, err=self.err_paper)

    @property
    def out(self) -> list[str]:
        return self.out_paper.getvalue().splitlines()

    @property
    def err(self) -> list[str]:
        return self.err_paper.getvalue().splitlines()


def common(key: bytes | None = KEY, *, timeout: float = 20.0) -> Common:
    return Common(
        key=None if key is None else SharedKey(key), bind=LOOPBACK, port=0, timers="responsive", timeout=timeout
    )


@contextmanager
def terminal_reporter() -> Iterator[tuple[Reporter, io.StringIO]]:
    """A reporter that takes its stdout for a terminal."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    yield Reporter(out=out, err=out), out


def write_key(path: Path, content: bytes = KEY) -> Path:
    path.touch(0o600)
    path.write_bytes(content)
    return path
