"""One page of HTML that needs nothing else: a map of the draft's sections, and every case with its packets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from spec_conformance.case import all_cases
from spec_conformance.catalogue import Section, load
from spec_conformance.report.model import CaseReport, Report

SIGNS: Final = {"pass": "✓", "pass-nonstrict": "~", "fail": "✗", "inconclusive": "?", "unsupported": "–"}
_ORDER: Final = ("fail", "inconclusive", "pass-nonstrict", "pass", "unsupported")
"""The first of these that a section has gives the section its colour."""

ENVIRONMENT: Final = Environment(
    loader=PackageLoader("spec_conformance.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A section on the map."""

    section: Section
    cases: list[CaseReport]
    covered: bool
    """There are cases for it, whether they were run or not."""

    @property
    def verdict(self) -> str:
        """The worst of its cases; "none" without any."""
        verdicts = {case.verdict for case in self.cases}
        return next((verdict for verdict in _ORDER if verdict in verdicts), "none")

    @property
    def words(self) -> str:
        if not self.cases:
            if not self.section.statements:
                return "nothing to test"
            return "not run" if self.covered else "no case"
        return f"{sum(case.verdict == 'pass' for case in self.cases)} of {len(self.cases)} pass"


def html(report: Report) -> str:
    """The page."""
    cases = report.sections()
    known = {case.section for case in all_cases(report.revision).values()}
    tiles = [
        Tile(section, cases.get(section.number, []), section.number in known)
        for section in load(report.revision).sections
    ]
    return ENVIRONMENT.get_template("report.html.j2").render(report=report, tiles=tiles, signs=SIGNS)
