"""The tables of the revisions are what the revisions say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tables_are_up_to_date() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_revisions.py"))
    assert make["PAGE"].read_text() == make["page"](), "run python docs/make_revisions.py"
