"""Pages that a program makes are as it would make them now."""

from __future__ import annotations

import runpy

import pytest

from .pages import ROOT


@pytest.mark.parametrize("program", ["make_conformance", "make_mutants", "make_reference", "make_revisions"])
def test_up_to_date(program: str) -> None:
    make = runpy.run_path(str(ROOT / "docs" / f"{program}.py"))
    assert make["PAGE"].read_text() == make["page"](), f"run python docs/{program}.py"
