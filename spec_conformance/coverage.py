"""Which statements of a draft have a case, which an exception, which await one, and which have neither."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from spec_conformance.case import all_cases
from spec_conformance.catalogue import Catalogue, load

AWAITED: Final = {
    "multiply": "Connection multiplication: the suite's own peer cannot make branches yet; fsp-trio can.",
    "mobility": "More than one address of an end: the suite's own peer has only one yet; fsp-trio can tell of several.",
    "ipv6": "Raw IPv6: fsp-trio has no port for it yet.",
}
"""Capabilities that no target has which is at hand, and why: a case that was never seen to pass and to fail judges
nobody, so the cases of such statements come with the first target."""


@dataclass(frozen=True, slots=True)
class SectionCoverage:
    """One section; numbers of statements and cases."""

    title: str
    statements: int
    """All of them."""
    covered: int
    """Those that a case names."""
    cases: int
    """Cases whose first statement is here."""
    excepted: int
    """Statements with a reason why no test from outside can tell."""
    awaited: tuple[str, ...]
    """Ids of statements whose case waits for a target with one of `AWAITED`."""
    open: tuple[str, ...]
    """Ids of statements with neither."""
    reason: str
    """Why the section has no statements; empty if it has."""


def coverage(revision: str) -> dict[str, SectionCoverage]:
    """By the numbers of the sections, in the order of the document."""
    catalogue = load(revision)
    cases = all_cases(revision).values()
    named = {statement for case in cases for statement in case.statements}
    found = {}
    for section in catalogue.sections:
        left = [each for each in section.statements if not each.untestable and each.id not in named]
        awaited = tuple(each.id for each in left if AWAITED.keys() & set(each.needs))
        found[section.number] = SectionCoverage(
            title=section.title,
            statements=len(section.statements),
            covered=sum(each.id in named for each in section.statements),
            cases=sum(case.section == section.number for case in cases),
            excepted=sum(bool(each.untestable) for each in section.statements),
            awaited=awaited,
            open=tuple(each.id for each in left if each.id not in awaited),
            reason=section.excepted,
        )
    return found


def unknown_statements(revision: str) -> list[tuple[str, str]]:
    """Pairs of case and statement where a case names a statement that the catalogue has not."""
    catalogue = load(revision)
    known = {statement.id for statement in catalogue.statements}
    return [(case.id, each) for case in all_cases(revision).values() for each in case.statements if each not in known]


def as_json(catalogue: Catalogue) -> dict[str, Any]:
    """The part of the JSON output that is of one draft."""
    sections = {number: asdict(each) for number, each in coverage(catalogue.revision).items()}
    return {"document": catalogue.document, "awaited": AWAITED, "sections": sections}
