"""The page of state diagrams is what the table draws."""

from __future__ import annotations

import runpy
from pathlib import Path

from fsp_trio.revisions import GAO_07

ROOT = Path(__file__).parents[2]


def test_states_page_is_up_to_date() -> None:
    draw = runpy.run_path(str(ROOT / "docs" / "draw_states.py"))
    assert draw["PAGE"].read_text() == draw["page"](GAO_07), "run python docs/draw_states.py"
