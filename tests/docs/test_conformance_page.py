"""The table of coverage is what catalogue and cases say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_coverage_is_up_to_date() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_conformance.py"))
    assert make["PAGE"].read_text() == make["page"](), "run python docs/make_conformance.py"
