"""What the README shows is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fsp_trio.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "first_session.py"
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_is_the_file() -> None:
    [shown] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert shown == EXAMPLE.read_text(encoding="utf-8")


@pytest.mark.realnet
def test_the_example_runs() -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, timeout=60, check=True)
    assert b"HELLO, WORLD" in done.stdout
    assert done.stderr == b""


def test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    lines = re.findall(r"^fsp-trio (.*?)(?:  +#|$)", README, re.MULTILINE)
    assert lines
    for line in lines:
        command, *rest = line.split()
        assert main([command, "--help"]) == 0
        help_text = capsys.readouterr().out
        for option in (word for word in rest if word.startswith("--")):
            assert option in help_text
