"""The catalogues are whole and in order, and no statement loses its case."""

from __future__ import annotations

import re

import pytest

from spec_conformance.case import all_cases
from spec_conformance.catalogue import KINDS, LEVELS, REVISIONS, load
from spec_conformance.coverage import AWAITED, coverage, unknown_statements
from spec_conformance.profile import CAPABILITIES
from spec_conformance.targets.library import profile as library_profile

COUNTS = {"gao-07": 134, "jason-00": 97}
LEAST = {"gao-07": 300, "jason-00": 200}
"""Cases."""


def test_there_is_a_count_for_each() -> None:
    assert tuple(COUNTS) == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_section_is_there_once(revision: str) -> None:
    catalogue = load(revision)
    assert catalogue.revision == revision
    assert len(catalogue.sections) == COUNTS[revision]
    assert len({section.number for section in catalogue.sections}) == COUNTS[revision]
    assert all(section.title == section.title.strip() != "" for section in catalogue.sections)


@pytest.mark.parametrize("revision", REVISIONS)
def test_sections_follow_each_other_without_a_gap(revision: str) -> None:
    before: tuple[int, ...] = ()
    for section in load(revision).sections:
        path = section.path
        first_child = path == (*before, 1)
        next_of_an_ancestor = (*path[:-1], path[-1] - 1) == before[: len(path)]
        assert first_child or next_of_an_ancestor, section
        assert section.number == ".".join(map(str, path))
        before = path


@pytest.mark.parametrize(
    ("revision", "number", "title"),
    [
        ("gao-07", "5.10", "COMMITTING2"),
        ("gao-07", "8.4.2", "Respond to Transmit Transaction Commitment"),
        ("gao-07", "16", "References"),
        ("jason-00", "4.6", "ACTIVE {A.K.A. ESTABLISHED}"),
        ("jason-00", "16", "References"),
    ],
)
def test_sections_by_number(revision: str, number: str, title: str) -> None:
    assert load(revision).section(number).title == title


@pytest.mark.parametrize("revision", REVISIONS)
def test_statements_are_well_formed(revision: str) -> None:
    catalogue = load(revision)
    ids = [statement.id for statement in catalogue.statements]
    assert len(set(ids)) == len(ids)
    for section in catalogue.sections:
        assert bool(section.statements) != bool(section.excepted), section.number
        for statement in section.statements:
            assert statement.section == section.number
            assert re.fullmatch(r"[0-9.]+/[a-z0-9]+(-[a-z0-9]+)*", statement.id), statement.id
            assert statement.level in LEVELS
            assert statement.kind in KINDS
            assert statement.text.endswith(".")
            assert set(statement.roles) <= {"initiator", "responder"}
            assert set(statement.needs) <= CAPABILITIES


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_statement_has_a_case_or_an_exception(revision: str) -> None:
    found = coverage(revision).values()
    assert [statement for section in found for statement in section.open] == []
    catalogue = load(revision)
    awaited = [catalogue.statement(each) for section in found for each in section.awaited]
    assert all(set(each.needs) & AWAITED.keys() and not each.untestable for each in awaited)


def test_what_the_library_can_is_not_awaited() -> None:
    can = set(library_profile("gao-07").capabilities) | set(library_profile("jason-00").capabilities)
    assert not can & AWAITED.keys()
    assert AWAITED.keys() <= CAPABILITIES


@pytest.mark.parametrize("revision", REVISIONS)
def test_cases_name_statements_that_exist(revision: str) -> None:
    assert unknown_statements(revision) == []


@pytest.mark.parametrize("revision", REVISIONS)
def test_cases_fit_their_statements(revision: str) -> None:
    catalogue = load(revision)
    assert len(all_cases(revision)) >= LEAST[revision]
    for case in all_cases(revision).values():
        for statement in map(catalogue.statement, case.statements):
            assert not statement.untestable, case.id
            assert not statement.roles or case.role in statement.roles or ":" in case.id, case.id
        assert case.script.__doc__, f"{case.id} does not say what it does"


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="unknown revision 'gao-08'; known: gao-07, jason-00"):
        load("gao-08")
    with pytest.raises(KeyError):
        load("gao-07").section("5.18")
    with pytest.raises(KeyError):
        load("gao-07").statement("5.18/nothing")
