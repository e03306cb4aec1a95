"""The judge is judged: each mutant of the library is caught by the case that names its rule."""

from __future__ import annotations

from collections import Counter

import pytest
from trio.testing import MockClock

from spec_conformance.case import all_cases
from spec_conformance.runner import Run
from spec_conformance.targets.library import library_target, profile
from spec_conformance.verdict import Verdict

from .mutants import MUTANTS, Mutant

TESTED = ("gao-07", "jason-00")


def test_there_are_many_in_all_chapters() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names)
    chapters = {revision: Counter(each.chapter for each in MUTANTS if each.revision == revision) for revision in TESTED}
    assert chapters["gao-07"].total() >= 60
    assert set(chapters["gao-07"]) >= {"4", "5", "6", "7", "8", "9", "10", "12", "14"}
    assert chapters["jason-00"].total() >= 40
    assert set(chapters["jason-00"]) >= {"1", "3", "4", "5", "6", "7", "8", "9", "11", "13"}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
async def test_caught(mutant: Mutant, autojump_clock: MockClock) -> None:
    case = all_cases(mutant.revision)[mutant.case]
    run = Run(lambda case, seed: library_target(profile(mutant.revision), role=case.role, seed=seed))
    with mutant.alive():
        result = await run.one(case)
    caught = (Verdict.FAIL, Verdict.NONSTRICT)
    assert result.verdict in caught, f"{case.id}: {result.verdict} {result.detail}"
