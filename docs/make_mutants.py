"""Make docs/design/mutants.md: which violation of the protocol is caught by which case."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the list is part of the tests, which are not installed

from spec_conformance.case import all_cases  # noqa: E402
from spec_conformance.catalogue import REVISIONS, load  # noqa: E402
from tests.conformance.mutants import MUTANTS  # noqa: E402

PAGE = ROOT / "docs" / "design" / "mutants.md"
HEAD = """\
# The judge is judged

Each mutant below is the library with one small violation of the protocol in it: a few words of one function changed, or
one constant of the revision. The case beside it fails then, and passes without it; `tests/conformance/test_mutants.py`
and `test_self.py` show both. A mutant that lives means that a case is missing. Made by `python docs/make_mutants.py`.
"""


def table(revision: str) -> list[str]:
    mutants = [mutant for mutant in MUTANTS if mutant.revision == revision]
    lines = [
        f"## {load(revision).document}",
        "",
        f"{len(mutants)} mutants.",
        "",
        "| mutant | changed | caught by | whose rule is |",
        "|---|---|---|---|",
    ]
    for mutant in mutants:
        function = mutant.place.partition(":")[2]
        changed = f"`{function}`" if function else f"the constant `{mutant.old}`"
        rule = all_cases(revision)[mutant.case].statement.text
        lines.append(f"| {mutant.name.removeprefix('jason: ')} | {changed} | `{mutant.case}` | {rule} |")
    return [*lines, ""]


def page() -> str:
    """The page, made anew."""
    return "\n".join([HEAD, *(line for revision in REVISIONS for line in table(revision))])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
