"""The page of limits tells the truth, and every limit has a test; those that have none elsewhere."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from fsp_trio import FSPConnectError, ResetReason, Settings, open_fsp_endpoint
from fsp_trio.cli import connection, echoing
from fsp_trio.cli.app import main
from fsp_trio.core.link import LAST_SERIAL
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.packets import Op
from tests.cli.tools import Paper, common
from tests.core.talk import established

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| what")
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_page_is_right(row: list[str]) -> None:
    _, limit, where, test = row
    module: Any = importlib.import_module(f"fsp_trio.{where.strip('`')}")
    named = re.match(r"`(?:(Settings)\.)?(\w+)`(?: = ([\d.,]*\d))?", limit)
    if named is not None and named[3] is not None:
        holder = Settings() if named[1] else module
        assert getattr(holder, named[2]) == float(named[3].replace(",", ""))
    path, _, function = test.strip("`").partition("::")
    text = (ROOT / "tests" / path).read_text(encoding="utf-8")
    assert f"def {function}(" in text or not function


def test_the_reset_leaves_with_the_batch_that_met_the_limit() -> None:
    """N4: nobody may ask for another batch of a connection that is over."""
    pair = established()
    pair.client._serial = LAST_SERIAL
    pair.client._ack_now = True
    batch = pair.client.datagrams_to_send(pair.clock.now)
    assert [each[8] for each in batch] == [GAO_07.codec.op_codes[Op.RESET]]


@pytest.mark.realnet
async def test_the_commands_serve_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAXIMUM_SESSIONS", 3)
    async with (
        connection.listening(common(), Paper()) as listener,
        open_fsp_endpoint("127.0.0.1", 0) as endpoint,
    ):
        there = listener.endpoint.local_address
        sessions = []
        for _ in range(3):
            sessions.append(await endpoint.open_session_to(there))
            await listener.accept_session()
        with pytest.raises(FSPConnectError) as caught:
            await endpoint.open_session_to(there)
        assert caught.value.reason == ResetReason.REJECTED


def test_the_largest_ping(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ping", "--insecure", "--size", str(echoing.LARGEST_PING + 1), "127.0.0.1"]) == 2
    assert str(echoing.LARGEST_PING) in capsys.readouterr().err
