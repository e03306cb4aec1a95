"""Every example runs, says what the pages say that it says, and is on some page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .pages import EXAMPLES, PAGES, ROOT, code_blocks

TIMEOUT = 60.0
SAYS = {
    "first_session": "b'HELLO, WORLD'\n",
    "keyed": "before: crc64\nafter: aead\nb'secret'\n",
    "moving": (
        "('203.0.113.5', 18003) to ('198.51.100.1', 18003) active 0 ms\n"
        "('192.0.2.1', 18003) to ('198.51.100.1', 18003) standby 0 ms\n"
        "the server sends to ('203.0.113.5', 18003)\n"
        "('192.0.2.1', 18003) to ('198.51.100.1', 18003) active 0 ms\n"
        "('203.0.113.5', 18003) to ('198.51.100.1', 18003) failed unknown\n"
    ),
    "own_agreement": "aead b'NOW UNDER A KEY'\n",
    "public_keys": "b'hello, stranger'\nb'hello, 03a107bf'\n",
    "serving": "b'there and back'\n",
    "shutting_down": "bob reads b'the last words'\nconfirmed: True True\nbob hears: RESET_BY_PEER 4711\n",
    "streams": "1000 lines\n",
    "time_outs": "unknown: 0.5 seconds were not enough\n",
    "transactions": "b'15'\nb'300000'\ncommitted: 2\n",
    "virtual_clock": "all there, in seconds of virtual time: True\n",
}
VARIES = {
    "compressed": "on the wire: True",
    "minimal_delay": "frame 50 of 50",
    "tuning": "4194304 octets sent",
    "branches": "/big 1000000 octets\n",
}
PATHS = sorted(EXAMPLES.glob("*.py"))


@pytest.mark.realnet
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_example_runs(path: Path) -> None:
    command = [sys.executable, "-W", "error", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, cwd=ROOT, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    if path.stem in VARIES:
        assert VARIES[path.stem] in run.stdout
    else:
        assert run.stdout == SAYS[path.stem]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_example_is_on_a_page(path: Path) -> None:
    assert any(path.name in before for page in PAGES for before, _, _ in code_blocks(page))
